"""The command lamae."""
