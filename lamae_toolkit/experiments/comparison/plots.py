"""Figures of a comparison of models: macro AUROC of each, differences to LAMAE, and along labels or lead sets."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.evaluation.linear_probe import REPRESENTATION_NAMES
from lamae_toolkit.palette import BLUE, GRAY, GREEN, ORANGE, SKY, model_looks
from lamae_toolkit.plots._plotly import error_bars, finish

SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon", "hexagon")
"""The markers of many lines, of which variants of one model share a color."""

REPRESENTATION_MARKS = {
    "per_lead": (BLUE, "circle"),
    "summary": (SKY, "triangle-up"),
    "heart": (ORANGE, "diamond"),
    "trained": (GREEN, "square"),
}
"""How the rows of a comparison's table are told apart: color and mark."""


def ranking_figure(macro: pd.DataFrame, title: str = "") -> go.Figure:
    """Macro AUROC of each variant with its 95 % interval, best last, one mark per representation.

    macro: rows of a comparison's table with variant, representation, auroc, low and high: of one task,
    label fraction and lead set.
    """
    figure = _marks_by_variant(macro, ("auroc", "low", "high"), "%{customdata}: %{x:.3f}", title)
    return figure.update_xaxes(title_text="macro AUROC on unseen patients, 95 % interval")


def difference_figure(macro: pd.DataFrame, title: str = "") -> go.Figure:
    """By how much LAMAE is above each variant in macro AUROC, with 95 % intervals; right of 0 LAMAE is better."""
    columns = ("difference", "difference_low", "difference_high")
    baselines = macro.dropna(subset=["difference"])
    figure = _marks_by_variant(baselines, columns, "LAMAE above %{customdata} by %{x:.3f}", title)
    figure.add_vline(x=0, line={"color": GRAY, "dash": "dot"})
    return figure.update_xaxes(title_text="LAMAE's macro AUROC minus the variant's, 95 % interval")


def _marks_by_variant(macro: pd.DataFrame, columns: tuple[str, str, str], hover: str, title: str) -> go.Figure:
    """A line of marks with intervals for each variant, the largest value on top; columns: value, low and high."""
    order = macro.groupby("variant")[columns[0]].max().sort_values().index.tolist()
    figure = go.Figure()
    for shift, (representation, (color, symbol)) in enumerate(REPRESENTATION_MARKS.items()):
        rows = macro[macro.representation == representation]
        if len(rows):
            figure.add_scatter(
                x=rows[columns[0]],
                y=[order.index(variant) + 0.16 - 0.16 * shift for variant in rows.variant],
                error_x=error_bars(rows, *columns),
                mode="markers",
                name=REPRESENTATION_NAMES[representation],
                marker={"color": color, "symbol": symbol, "size": 9},
                customdata=rows.variant,
                hovertemplate=f"{hover}<extra></extra>",
            )
    figure.update_yaxes(tickvals=list(range(len(order))), ticktext=order)
    return finish(figure, title, height=36 * len(order) + 160)


def along_figure(macro: pd.DataFrame, along: str, title: str = "") -> go.Figure:
    """Macro AUROC of each variant along "fraction" (the share of labels) or "leads" (the lead sets), with intervals."""
    figure = go.Figure()
    places = sorted(macro.fraction.unique()) if along == "fraction" else list(dict.fromkeys(macro.leads))
    names = [f"{place:.0%}" for place in places] if along == "fraction" else places
    variants = list(dict.fromkeys(macro.variant))
    looks = model_looks(variants)
    for number, variant in enumerate(variants):
        color, symbol = looks[variant].color, SYMBOLS[number % len(SYMBOLS)]
        rows = macro[macro.variant == variant].set_index(along).reindex(places)
        figure.add_scatter(
            x=np.arange(len(places)) + 0.3 * (number / max(len(variants) - 1, 1) - 0.5),
            y=rows.auroc,
            error_y=error_bars(rows, "auroc", "low", "high"),
            mode="lines+markers" if along == "fraction" else "markers",
            name=variant,
            marker={"size": 8, "color": color, "symbol": symbol},
            line={"width": 1.5},
            hovertemplate=f"{variant}: %{{y:.3f}}<extra></extra>",
        )
    figure.update_xaxes(
        tickvals=list(range(len(places))),
        ticktext=names,
        title_text="share of the training patients whose labels were used" if along == "fraction" else "leads",
    )
    figure.update_yaxes(title_text="macro AUROC, 95 % interval")
    return finish(figure, title, height=480)
