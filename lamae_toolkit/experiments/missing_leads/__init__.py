"""Leads that are reconstructed from others."""
