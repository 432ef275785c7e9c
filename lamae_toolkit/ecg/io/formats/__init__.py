"""How each file format is read: a module for each, whose `read` gives signals in mV, rate and notes."""
