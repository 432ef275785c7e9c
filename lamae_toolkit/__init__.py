"""Masked autoencoding on 12-lead ECGs, from a file to an ICD-10 prediction and the leads that carry it.

    import lamae_toolkit as lt

    ecg = lt.read_ecg("record.hea")
    model = lt.LAMAE.from_pretrained("lamae-mini-ptbxl")
    lt.ECGPaper(ecg)

The names listed here are the stable interface; further functions are in the packages, such as `lt.plots`.
Nothing is imported before it is used.
"""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        # One recording.
        "read_ecg": "ecg.io.read",
        "Recording": "ecg.recording",
        "LEADS": "ecg.leads",
        "quality_flags": "ecg.quality",
        "ECGError": "errors",
        "LeadWarning": "errors",
        # Real and simulated ECGs.
        "examples": "data.examples",
        "example_ecg": "data.examples",
        "sample_patient": "simulate.conditions",
        "simulate_ecg": "simulate.simulator",
        "simulate_store": "data.datasets.simulated",
        # A cohort.
        "Store": "data.store",
        "prepare": "data.prepare",
        "Batch": "data.batch",
        "collate": "data.batch",
        "name_of": "icd10",
        # The model.
        "LAMAE": "model.lamae",
        "LAMAEConfig": "model.config",
        "IndependentMAE": "model.baselines",
        "random_mask": "model.masking",
        "named_lead_mask": "model.masking",
        "record_attention": "model.hooks",
        "edit_attention": "model.hooks",
        # Training.
        "TrainConfig": "training.trainer",
        "pretrain": "training.trainer",
        "read_log": "training.run",
        # ICD-10 codes.
        "Split": "evaluation.evaluate",
        "embed_rows": "evaluation.evaluate",
        "evaluate": "evaluation.evaluate",
        "random_encoder": "evaluation.evaluate",
        "Probe": "evaluation.linear_probe",
        "fit_probe": "evaluation.linear_probe",
        "predict": "evaluation.linear_probe",
        # What each lead contributes.
        "attention_summary": "explain.encoded",
        "attribute_leads": "explain.lead_shapley",
        "what_if": "explain.counterfactuals",
        # Figures.
        "ecg_figure": "plots.ecg",
        "paper_figure": "plots.paper",
        "reconstruction_figure": "plots.ecg",
        "attribution_figure": "plots.shapley",
        "learning_curve_figure": "plots.training",
        # Widgets.
        "ECGPaper": "widgets.ecg_paper.widget",
        "MaskPlayground": "widgets.mask_playground.widget",
        "LeadExplorer": "widgets.lead_explorer.widget",
        "ICD10Board": "widgets.icd10_board.widget",
        "EmbeddingMap": "widgets.embedding_map.widget",
        "TrainingMonitor": "widgets.training_monitor.widget",
    },
    ("ecg", "simulate", "data", "model", "training", "evaluation", "explain", "plots", "widgets"),
)
