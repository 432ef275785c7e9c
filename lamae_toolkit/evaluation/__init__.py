"""ICD-10 codes from a frozen model."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "nearest": "evaluation.embedding_map",
        "map_positions": "evaluation.embedding_map",
        "operating_point": "evaluation.thresholds",
        "Split": "evaluation.evaluate",
        "codes_to_predict": "evaluation.evaluate",
        "macro_differences": "evaluation.evaluate",
        "embed_rows": "evaluation.evaluate",
        "random_encoder": "evaluation.evaluate",
        "Probe": "evaluation.linear_probe",
        "features": "evaluation.linear_probe",
        "fit_probe": "evaluation.linear_probe",
        "predict": "evaluation.linear_probe",
        "auprc": "evaluation.metrics",
        "auroc": "evaluation.metrics",
        "patient_bootstrap": "evaluation.metrics",
        "Calibration": "evaluation.calibration",
    },
)
