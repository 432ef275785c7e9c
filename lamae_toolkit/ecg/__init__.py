"""One recording: leads, signal, quality, and the files it comes from."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "ecg.annotations": "Annotation read_annotations write_annotations",
        "ecg.leads": "LEADS LIMB_LEADS PRECORDIAL_LEADS",
        "ecg.quality": "quality_flags suspected_reversal",
        "ecg.recording": "Recording einthoven_error_mv",
        "ecg.intervals": "Measurements QTC_FORMULAS measure",
        "ecg.io.listing": "find_ecgs",
        "ecg.io.read": "read_ecg",
        "ecg.preprocess": "crop resample",
    },
)
