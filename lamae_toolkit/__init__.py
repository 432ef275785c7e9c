"""Masked autoencoding on 12-lead ECGs, from a file to a lead-weighted ICD-10 prediction."""
