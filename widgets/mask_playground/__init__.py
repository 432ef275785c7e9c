"""Mask patches and leads, and see what LAMAE and its twin reconstruct."""
