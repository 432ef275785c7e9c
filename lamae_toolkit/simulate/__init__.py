"""Simulated recordings."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "CONDITIONS": "simulate.conditions",
        "sample_patient": "simulate.conditions",
        "simulate_ecg": "simulate.simulator",
    },
)
