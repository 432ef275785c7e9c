"""Figures of the Shapley values of leads: functions that take a `LeadAttribution` and return a plotly Figure."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.special import expit

from lamae_toolkit.explain.lead_shapley import LeadAttribution
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import AGAINST, BLACK, FOR, GRAY
from lamae_toolkit.plots._plotly import finish, heatmap, signed_colors

AROUND_ZERO = "RdBu_r"
"""A diverging, color-blind safe scale; a positive interaction has the color of evidence for a code."""


def attribution_figure(attribution: LeadAttribution, code: str, title: str = "") -> go.Figure:
    """What each lead adds to the prediction of a code: Shapley values, from no lead to all leads.

    attribution: Shapley values of one ECG, in log-odds, as from `attribute_leads`; the bars add up to the prediction
    exactly, in any order. code: one that the probe predicts; ECGError if it does not. title: above the figure.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording.select(("I", "II", "V1", "V5"))
        model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
        figure = lt.attribution_figure(lt.attribute_leads(model, probe, ecg), probe.codes[0])
    """
    gains, empty = attribution.table(code).attribution, attribution.empty[attribution.column(code)]
    ends = empty + np.concatenate([[0.0], gains.cumsum()])
    rows = ["no lead", *attribution.leads, "all leads"]
    figure = go.Figure(
        go.Waterfall(
            x=gains,
            y=gains.index,
            base=empty,
            orientation="h",
            increasing={"marker": {"color": FOR}},
            decreasing={"marker": {"color": AGAINST}},
            connector={"line": {"color": GRAY, "width": 1, "dash": "dot"}},
            text=[f"{gain:+.2f}" for gain in gains],
            textposition="outside",
            cliponaxis=False,
            customdata=expit(ends[1:]),
            hovertemplate="%{y}: %{text} log-odds, to a probability of %{customdata:.1%}<extra></extra>",
        )
    )
    figure.add_scatter(
        x=ends[[0, -1]],
        y=[rows[0], rows[-1]],
        mode="markers+text",
        marker={"color": BLACK, "symbol": "diamond", "size": 11},
        textposition="middle right",
        text=[f"  {probability:.1%}" for probability in expit(ends[[0, -1]])],
        cliponaxis=False,
        hovertemplate="%{y}: log-odds %{x:.2f}, probability%{text}<extra></extra>",
    )
    figure.update_xaxes(_log_odds_axis(ends.min(), ends.max()))
    figure.update_yaxes(categoryorder="array", categoryarray=rows, autorange="reversed")
    title = title or f"{name_of(code)}: what each lead adds (Shapley values)"
    return finish(figure, title, height=30 * len(rows) + 150, margin={"t": 90, "b": 70}, showlegend=False)


def interaction_figure(attribution: LeadAttribution, code: str, title: str = "") -> go.Figure:
    """Leads by leads: what two leads add together beyond what they add one by one; below 0 they are redundant."""
    own = np.eye(len(attribution.leads), dtype=bool)
    z = np.where(own, np.nan, attribution.interactions[:, :, attribution.column(code)])
    look = {"colorscale": AROUND_ZERO, "zmid": 0.0, "hoverongaps": False, "xgap": 1, "ygap": 1}
    hover = "%{y} and %{x} together: %{z:+.3f} log-odds"
    figure = heatmap(z, attribution.leads, attribution.leads, hover, colorbar={"title": "log-odds"}, **look)
    title = title or f"{name_of(code)}: leads that complete (+) or repeat (−) each other"
    return finish(figure, title, height=500)


def group_attribution_figure(
    attribution: LeadAttribution, code: str, groups: Mapping[str, Sequence[str]] | None = None, title: str = ""
) -> go.Figure:
    """Shapley values of single leads, next to those of groups of leads as single players; by default the limb leads.

    A black mark shows the sum of the values of the group's leads: a group that is one player may get more or less.
    """
    single, group = attribution.table(code).attribution, attribution.group_table(code, groups)
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        column_widths=[len(single), len(group)],
        subplot_titles=["each lead a player", "each group a player"],
    )
    for column, bars in enumerate((single, group.attribution), 1):
        figure.add_bar(
            x=bars.index,
            y=bars,
            marker_color=signed_colors(bars),
            showlegend=False,
            hovertemplate="%{x}: %{y:+.3f} log-odds<extra></extra>",
            row=1,
            col=column,
        )
    figure.add_scatter(
        x=group.index,
        y=group["sum"],
        mode="markers",
        name="sum of its leads",
        marker={"color": BLACK, "symbol": "line-ew-open", "size": 18, "line": {"width": 3}},
        hovertemplate="%{x}: its leads one by one %{y:+.3f} log-odds<extra></extra>",
        row=1,
        col=2,
    )
    figure.update_yaxes(title_text="Shapley value in log-odds", col=1)
    title = title or f"{name_of(code)}: single leads and groups"
    return finish(figure, title, height=400, margin={"t": 90}, legend={"y": 1.1})


def _log_odds_axis(low: float, high: float) -> dict:
    """An axis of log-odds whose ticks also show the probability."""
    room = max(0.15 * (high - low), 0.1)
    step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0) if high - low + 2 * room <= 9 * step)
    ticks = np.arange(np.ceil((low - room) / step), np.floor((high + room) / step) + 1) * step + 0.0
    return {
        "range": [low - room, high + room],
        "tickvals": ticks,
        "ticktext": [f"{tick:.2g}<br>{100 * expit(tick):.3g}%" for tick in ticks],
        "title_text": "log-odds, and the probability that they mean",
        "zeroline": False,
    }
