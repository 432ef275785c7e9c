"""A cohort: many ECGs with their patients and codes."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "data.batch": "Batch collate",
        "data.store": "Store",
        "data.datasets.folder": "folder_source",
        "data.datasets.code15": "code15_source",
        "data.datasets.mimic": "mimic_source",
        "data.datasets.ptbxl": "ptbxl_source",
        "data.datasets.mimic_like": "write_mimic_like",
        "data.datasets.simulated": "SILENT_CODES simulate_store",
        "data.examples": "simulated_examples",
        "icd10": "label_matrix ancestors",
        "data.summary": "age_table co_occurrence code_table cohort_table explained_share flagged_rows lead_covariances"
        " lead_matrix pooled quality_table redundancy_table reversal_table some_rows",
    },
)
