"""One recording: leads, signal, quality, and the files it comes from."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "LEADS": "ecg.leads",
        "LIMB_LEADS": "ecg.leads",
        "PRECORDIAL_LEADS": "ecg.leads",
        "quality_flags": "ecg.quality",
        "suspected_reversal": "ecg.quality",
        "Recording": "ecg.recording",
        "einthoven_error_mv": "ecg.recording",
        "read_ecg": "ecg.io.read",
        "find_ecgs": "ecg.io.read",
        "crop": "ecg.preprocess",
        "resample": "ecg.preprocess",
    },
)
