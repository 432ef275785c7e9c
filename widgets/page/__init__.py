"""LAMAE in one HTML file that opens by a double click and works offline: how it is built."""
