"""Functions that return a figure."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "plots.attention": "lead_attention_figure roll_up_figure saliency_figure",
        "plots.cohort": "age_figure co_occurrence_figure code_figure flagged_figure lead_matrix_figure"
        " quality_figure redundancy_figure",
        "plots.counterfactuals": "what_if_figure",
        "plots.ecg": "ecg_figure lead_bar_figure reconstruction_figure",
        "plots.embedding": "map_figure",
        "plots.evaluation": "board_figure codes_figure",
        "plots.lead_geometry": "geometry_figure",
        "plots.masks": "error_figure mask_figure",
        "plots.paper": "paper_figure",
        "plots.shapley": "attribution_figure group_attribution_figure interaction_figure",
        "plots.strips": "probabilities_figure weighted_strips_figure",
        "plots.terms": "lead_terms_figure",
        "plots.training": "MonitoredECG learning_curve_figure progress_figure snapshot_figure take_snapshot",
    },
)
