"""Simulated recordings."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__, {"simulate.conditions": "CONDITIONS sample_patient", "simulate.simulator": "simulate_ecg"}
)
