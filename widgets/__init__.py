"""Interactive widgets: shells over figures and explanations, for notebooks and the app."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "ECGPaper": "widgets.ecg_paper.widget",
        "MaskPlayground": "widgets.mask_playground.widget",
        "LeadExplorer": "widgets.lead_explorer.widget",
        "ICD10Board": "widgets.icd10_board.widget",
        "EmbeddingMap": "widgets.embedding_map.widget",
        "TrainingMonitor": "widgets.training_monitor.widget",
    },
)
