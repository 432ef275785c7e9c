"""Functions that return a figure."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "roll_up_figure": "plots.attention",
        "saliency_figure": "plots.attention",
        "age_figure": "plots.cohort",
        "co_occurrence_figure": "plots.cohort",
        "code_figure": "plots.cohort",
        "flagged_figure": "plots.cohort",
        "lead_matrix_figure": "plots.cohort",
        "quality_figure": "plots.cohort",
        "redundancy_figure": "plots.cohort",
        "lead_figure": "plots.counterfactuals",
        "wave_figure": "plots.counterfactuals",
        "what_if_figure": "plots.counterfactuals",
        "along_figure": "plots.comparison",
        "auroc_figure": "plots.evaluation",
        "difference_figure": "plots.comparison",
        "ecg_figure": "plots.ecg",
        "lead_weight_figure": "plots.ecg",
        "learning_curve_figure": "plots.training",
        "ranking_figure": "plots.comparison",
        "reconstruction_figure": "plots.ecg",
        "attribution_figure": "plots.shapley",
        "group_attribution_figure": "plots.shapley",
        "interaction_figure": "plots.shapley",
        "paper_figure": "plots.paper",
    },
)
