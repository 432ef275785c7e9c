"""LAMAE and its baselines."""
