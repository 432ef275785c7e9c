"""Reading one ECG from a file."""
