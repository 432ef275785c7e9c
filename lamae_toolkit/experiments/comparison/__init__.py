"""LAMAE beside its baselines."""
