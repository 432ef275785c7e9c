"""The architecture of LAMAE and of its twin, with the numbers of one ECG."""
