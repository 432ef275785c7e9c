"""Studies with the toolkit; not part of its public face."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "along_figure": "experiments.comparison.plots",
        "difference_figure": "experiments.comparison.plots",
        "ranking_figure": "experiments.comparison.plots",
        "lead_figure": "experiments.missing_leads.plots",
        "wave_figure": "experiments.missing_leads.plots",
        "overview_figure": "experiments.audit.plots",
        "MAIN": "experiments.comparison.report",
        "compare_methods": "experiments.comparison.report",
        "joined": "experiments.comparison.report",
        "main_rows": "experiments.comparison.report",
        "published_results": "experiments.comparison.report",
        "readable": "experiments.comparison.report",
        "evaluate_beside_random": "experiments.demo",
        "simulated": "experiments.comparison.plans",
        "COIN": "experiments.leakage",
        "Leak": "experiments.leakage",
        "leak_experiment": "experiments.leakage",
        "leak_figure": "experiments.leakage",
        "mean_beats": "experiments.leakage",
    },
)
