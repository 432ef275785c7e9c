"""Probes of PTB-XL on ECGs of other hospitals and devices."""
