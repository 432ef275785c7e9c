"""Studies with the toolkit; not part of its public face."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "experiments.comparison.plots": "along_figure difference_figure ranking_figure",
        "experiments.missing_leads.plots": "lead_figure wave_figure",
        "experiments.audit.plots": "overview_figure",
        "experiments.comparison.report": "MAIN compare_methods joined main_rows published_results readable",
        "experiments.demo": "evaluate_beside_random",
        "experiments.comparison.plans": "simulated",
        "experiments.leakage": "COIN Leak leak_experiment leak_figure mean_beats",
    },
)
