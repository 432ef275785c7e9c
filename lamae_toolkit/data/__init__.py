"""A cohort: many ECGs with their patients and codes."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Batch": "data.batch",
        "collate": "data.batch",
        "Store": "data.store",
        "folder_source": "data.datasets.folder",
        "mimic_source": "data.datasets.mimic",
        "ptbxl_source": "data.datasets.ptbxl",
        "write_mimic_like": "data.datasets.mimic_like",
        "SILENT_CODES": "data.datasets.simulated",
        "simulate_store": "data.datasets.simulated",
        "label_matrix": "icd10",
        "ancestors": "icd10",
        "age_table": "data.summary",
        "co_occurrence": "data.summary",
        "code_table": "data.summary",
        "cohort_table": "data.summary",
        "explained_share": "data.summary",
        "flagged_rows": "data.summary",
        "lead_covariances": "data.summary",
        "lead_matrix": "data.summary",
        "pooled": "data.summary",
        "quality_table": "data.summary",
        "redundancy_table": "data.summary",
        "reversal_table": "data.summary",
        "some_rows": "data.summary",
    },
)
