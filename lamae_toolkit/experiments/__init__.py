"""Studies with the toolkit; not part of its public face."""
