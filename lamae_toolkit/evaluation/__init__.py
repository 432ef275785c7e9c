"""ICD-10 codes from a frozen model."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "evaluation.embedding_map": "nearest map_positions",
        "evaluation.thresholds": "operating_point",
        "evaluation.embed": "embed_rows random_encoder",
        "evaluation.evaluate": "Split codes_to_predict macro_differences",
        "evaluation.linear_probe": "Probe features fit_probe predict",
        "evaluation.metrics": "auprc auroc patient_bootstrap",
        "evaluation.calibration": "Calibration",
    },
)
