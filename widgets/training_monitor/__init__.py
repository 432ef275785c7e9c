"""Loss and a reconstruction while training runs."""
