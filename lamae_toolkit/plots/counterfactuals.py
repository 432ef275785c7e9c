"""Pictures of what-if and of missing leads: functions that take the tables and drawings and return a plotly Figure."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.plots._plotly import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, VERMILION, error_bars, finish

METHOD_COLORS = {
    "LAMAE": BLUE,
    "linear regression": VERMILION,
    "dipole (Dower)": GREEN,
    "independent leads": ORANGE,
    "flat line": GRAY,
}
"""One color for each way to draw a missing lead, in every figure."""
NAME_LETTERS = 26


def what_if_figure(
    table: pd.DataFrame, codes: Sequence[str], title: str = "What if the ECG were another?"
) -> go.Figure:
    """The probability of each chosen code after each change, a column per code; the dotted line is the ECG as it is.

    table: from `whatif.what_if`. Probabilities are drawn on the scale of log-odds, on which equal steps are equal
    evidence.
    """
    missing = [code for code in codes if code not in table.probability]
    if missing or not codes:
        raise ECGError(f"The table has no code {missing[0]}." if missing else "No code was chosen; give at least one.")
    names = [_wrapped(code) for code in codes]
    figure = make_subplots(rows=1, cols=len(codes), shared_yaxes=True, subplot_titles=names, horizontal_spacing=0.025)
    places = list(range(len(table)))[::-1]
    for column, code in enumerate(codes, start=1):
        probability, change = table.probability[code], table.log_odds_difference[code]
        odds = np.log(probability / (1 - probability))
        for place, value in zip(places, odds, strict=True):
            figure.add_scatter(
                x=[odds.iloc[0], value],
                y=[place, place],
                mode="lines",
                showlegend=False,
                line={"color": GRAY, "width": 2},
                hoverinfo="skip",
                row=1,
                col=column,
            )
        figure.add_scatter(
            x=odds,
            y=places,
            mode="markers+text",
            showlegend=False,
            row=1,
            col=column,
            cliponaxis=False,
            text=[f"{value:.1%}" for value in probability],
            textfont={"size": 10},
            textposition=["middle right" if value >= odds.iloc[0] else "middle left" for value in odds],
            marker={"size": 9, "color": [BLACK] + [VERMILION if d > 0 else BLUE for d in change[1:]]},
            customdata=np.stack([table.index, [f"{value:.2%}" for value in probability], change], axis=1),
            hovertemplate="%{customdata[0]}: %{customdata[1]}, log-odds %{customdata[2]:+.2f}<extra></extra>",
        )
        figure.add_vline(x=odds.iloc[0], line={"color": GRAY, "dash": "dot"}, row=1, col=column)
        low, high = min(odds.min(), -3.0), max(odds.max(), 0.5)
        ticks = [t for t in (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99) if low - 2 < np.log(t / (1 - t)) < high + 2]
        room = 0.3 * (high - low)
        figure.update_xaxes(
            tickvals=[np.log(t / (1 - t)) for t in ticks],
            ticktext=[f"{t:.6g}" for t in ticks],
            range=[low - room, high + room],
            row=1,
            col=column,
        )
    figure.update_yaxes(tickvals=places, ticktext=list(table.index), col=1)
    figure.update_annotations(font={"size": 12})
    note = table.attrs.get("note", "").replace(": ", ":<br>")
    figure.add_annotation(
        text=f"Probabilities, on a scale of log-odds.<br>{note}",
        x=0,
        y=-0.09,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        font={"size": 11, "color": GRAY},
    )
    finish(figure, title, height=34 * len(table) + 210)
    return figure.update_layout(margin={"l": 20, "r": 20, "t": 100, "b": 100})


def wave_figure(
    rows: Sequence[Mapping], measure: str = "survives", title: str = "Do P, QRS and T survive in a drawn lead?"
) -> go.Figure:
    """Bars for each scenario, wave and method with their 95 % intervals over patients.

    rows: `waves` of `results/missing_leads.json`. measure: survives, polarity_right, correlation or amplitude_ratio.
    """
    names = {
        "survives": "waves that survive: correlation ≥ 0.7, height within a factor of 2",
        "polarity_right": "waves whose main deflection points the right way",
        "correlation": "correlation within the wave",
        "amplitude_ratio": "height of the wave, drawn / true",
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
    title: str = "How far are drawn leads from the true ones?",
) -> go.Figure:
    """Bars for each scenario and method with their 95 % intervals over patients, in one cohort, the mean over leads.

    rows: `leads` of `results/missing_leads.json`. measure: rmse_mv, relative_rmse or correlation.
    """
    names = {
        "rmse_mv": "root mean square error in mV",
        "relative_rmse": "error / spread of the true lead",
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


def _panels(table: pd.DataFrame, places: list[str], along: str, measure: str, title: str) -> go.Figure:
    """A panel per scenario, and in it groups of bars, one bar per method."""
    scenarios = list(dict.fromkeys(table.scenario))
    figure = make_subplots(
        rows=1, cols=len(scenarios), shared_yaxes=True, subplot_titles=scenarios, horizontal_spacing=0.02
    )
    for column, scenario in enumerate(scenarios, start=1):
        there = table[table.scenario == scenario]
        for method in dict.fromkeys(there.method):
            part = there[there.method == method].set_index(along).reindex(places)
            _add_bars(figure, part, places, method, measure, column == 1, row=1, col=column)
    figure.update_annotations(font={"size": 12})
    finish(figure.update_layout(barmode="group"), title, height=430)
    return figure.update_layout(margin={"l": 20, "r": 20, "t": 110, "b": 40}, legend={"y": 1.1})


def _add_bars(
    figure: go.Figure, part: pd.DataFrame, places: list[str], method: str, measure: str, legend: bool, **where: int
) -> None:
    figure.add_bar(
        x=places,
        y=part[measure],
        name=method,
        legendgroup=method,
        showlegend=legend,
        **where,
        marker_color=METHOD_COLORS.get(method, PURPLE),
        error_y=error_bars(part, measure, f"{measure}_low", f"{measure}_high"),
        hovertemplate=f"{method}, %{{x}}: %{{y:.3f}}<extra></extra>",
    )


def _wrapped(code: str) -> str:
    name = name_of(code).removeprefix(code).strip()
    return f"<b>{code}</b><br>{name[:NAME_LETTERS]}{'…' if len(name) > NAME_LETTERS else ''}"
