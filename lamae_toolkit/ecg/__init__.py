"""One recording: leads, signal, quality, and the files it comes from."""
