"""Figures of how well methods reconstruct missing leads: functions that take the results and return a plotly Figure."""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lamae_toolkit.errors import ECGError
from lamae_toolkit.palette import model_looks
from lamae_toolkit.plots._plotly import error_bars, finish


def wave_figure(
    rows: Sequence[Mapping], measure: str = "survives", title: str = "Do P, QRS and T survive in a reconstructed lead?"
) -> go.Figure:
    """Bars for each scenario, wave and method with their 95 % intervals over patients.

    rows: `waves` of `results/missing_leads.json`. measure: survives, polarity_right, correlation or amplitude_ratio.
    """
    names = {
        "survives": "waves that survive: correlation ≥ 0.7, amplitude within a factor of 2",
        "polarity_right": "waves whose main deflection has the right polarity",
        "correlation": "correlation within the wave",
        "amplitude_ratio": "amplitude of the wave, reconstructed / true",
    }
    _check_known("measure", measure, names)
    table = pd.DataFrame(rows)
    figure = _panels(table, ["P", "QRS", "T"], "wave", measure, title)
    figure.update_yaxes(title_text=names[measure], title_font={"size": 11}, col=1)
    return figure


def lead_figure(
    rows: Sequence[Mapping],
    cohort: str,
    measure: str = "rmse_mv",
    title: str = "How far are reconstructed leads from the true ones?",
) -> go.Figure:
    """Bars for each scenario and method with their 95 % intervals over patients, in one cohort, the mean over leads.

    rows: `leads` of `results/missing_leads.json`. measure: rmse_mv, relative_rmse or correlation.
    """
    names = {
        "rmse_mv": "root mean square error in mV",
        "relative_rmse": "error / standard deviation of the true lead",
        "correlation": "correlation with the true lead",
    }
    _check_known("measure", measure, names)
    table = pd.DataFrame(rows)
    _check_known("cohort", cohort, dict.fromkeys(table.cohort))
    table = table[(table.cohort == cohort) & (table.lead == "all")]
    figure = go.Figure()
    scenarios = list(dict.fromkeys(table.scenario))
    for method in dict.fromkeys(table.method):
        part = table[table.method == method].set_index("scenario").reindex(scenarios)
        _add_bars(figure, part, scenarios, method, measure, True)
    figure.update_yaxes(title_text=names[measure], rangemode="tozero")
    return finish(figure.update_layout(barmode="group"), f"{title} ({cohort})", height=430)


def _check_known(what: str, name: str, known: Mapping) -> None:
    if name not in known:
        raise ECGError(f"There is no {what} {name!r}; choose from {', '.join(known)}.")


def _panels(table: pd.DataFrame, groups: list[str], along: str, measure: str, title: str) -> go.Figure:
    """A panel per scenario, and in it groups of bars, one bar per method."""
    scenarios = list(dict.fromkeys(table.scenario))
    figure = make_subplots(
        rows=1, cols=len(scenarios), shared_yaxes=True, subplot_titles=scenarios, horizontal_spacing=0.02
    )
    for column, scenario in enumerate(scenarios, start=1):
        of_scenario = table[table.scenario == scenario]
        for method in dict.fromkeys(of_scenario.method):
            part = of_scenario[of_scenario.method == method].set_index(along).reindex(groups)
            _add_bars(figure, part, groups, method, measure, column == 1, row=1, col=column)
    figure.update_annotations(font={"size": 12})
    finish(figure.update_layout(barmode="group"), title, height=430)
    return figure.update_layout(margin={"l": 20, "r": 20, "t": 110, "b": 40}, legend={"y": 1.1})


def _add_bars(
    figure: go.Figure, part: pd.DataFrame, groups: list[str], method: str, measure: str, legend: bool, **where: int
) -> None:
    figure.add_bar(
        x=groups,
        y=part[measure],
        name=method,
        legendgroup=method,
        showlegend=legend,
        **where,
        marker_color=model_looks([method])[method].color,
        error_y=error_bars(part, measure, f"{measure}_low", f"{measure}_high"),
        hovertemplate=f"{method}, %{{x}}: %{{y:.3f}}<extra></extra>",
    )
