"""Thin interactive shells over the figures of `lamae_toolkit.plots.ecg`."""
