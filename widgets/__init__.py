"""Interactive widgets: shells over figures and explanations, for notebooks and the app."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "widgets.ecg_paper.widget": "ECGPaper",
        "widgets.mask_playground.widget": "MaskPlayground",
        "widgets.architecture.widget": "Architecture",
        "widgets.lead_explorer.widget": "LeadExplorer",
        "widgets.icd10_board.widget": "ICD10Board",
        "widgets.embedding_map.widget": "EmbeddingMap",
        "widgets.training_monitor.widget": "TrainingMonitor",
    },
)
