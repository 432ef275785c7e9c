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
        "ecg.io.read": "read_ecg",
        "ecg.recording": "Recording",
        "ecg.leads": "LEADS",
        "ecg.quality": "quality_flags",
        "errors": "ECGError LeadWarning",
        # Real and simulated ECGs.
        "data.examples": "examples example_ecg",
        "simulate.conditions": "sample_patient",
        "simulate.simulator": "simulate_ecg",
        "data.datasets.simulated": "simulate_store",
        # A cohort.
        "data.store": "Store",
        "data.prepare": "prepare",
        "data.batch": "Batch collate",
        "icd10": "name_of",
        # The model.
        "model.lamae": "LAMAE",
        "model.config": "LAMAEConfig",
        "model.baselines": "IndependentMAE",
        "model.masking": "random_mask named_lead_mask",
        "model.hooks": "record_attention edit_attention",
        # Training.
        "training.trainer": "TrainConfig pretrain",
        "training.run": "read_log",
        # ICD-10 codes.
        "evaluation.embed": "embed_rows random_encoder",
        "evaluation.evaluate": "Split evaluate",
        "evaluation.linear_probe": "Probe fit_probe predict",
        # What each lead contributes.
        "explain.encoded": "attention_summary",
        "explain.terms": "lead_terms",
        "explain.lead_shapley": "attribute_leads",
        "explain.counterfactuals": "what_if",
        # A model for other programs.
        "export.onnx_file": "export_onnx",
        # Figures.
        "plots.ecg": "ecg_figure reconstruction_figure",
        "plots.paper": "paper_figure",
        "plots.shapley": "attribution_figure",
        "plots.terms": "lead_terms_figure",
        "plots.training": "learning_curve_figure",
        # Widgets.
        "widgets.ecg_paper.widget": "ECGPaper",
        "widgets.mask_playground.widget": "MaskPlayground",
        "widgets.architecture.widget": "Architecture",
        "widgets.lead_explorer.widget": "LeadExplorer",
        "widgets.icd10_board.widget": "ICD10Board",
        "widgets.embedding_map.widget": "EmbeddingMap",
        "widgets.training_monitor.widget": "TrainingMonitor",
    },
    ("ecg", "simulate", "data", "model", "training", "evaluation", "explain", "export", "plots", "widgets"),
)
