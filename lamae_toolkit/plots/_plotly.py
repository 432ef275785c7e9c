"""The style of all figures: one palette, one layout, and settings without upload buttons.

Figures show patients, so no button may send them anywhere.
"""

import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

# Okabe and Ito's colors, which the color-blind can tell apart.
BLUE, ORANGE, GREEN, VERMILION, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
FOR, AGAINST = VERMILION, BLUE
SKY, YELLOW, PURPLE, BLACK = "#56B4E9", "#D9C900", "#CC79A7", "#000000"
PAPER_LINE, PAPER_BOLD = "#f6d5d5", "#e9a8a8"
WEIGHT_SCALE = "Viridis"

PRIVATE = {"showSendToCloud": False, "plotlyServerURL": "", "displaylogo": False}
"""Settings of a figure on a page: without them, a button of plotly sends it to plotly's server."""


def keep_private() -> None:
    """In a notebook, no figure shows a button that sends it away.

    Called when a figure is made, not on import: plotly's renderers take seconds to import, which a page without a
    plotly figure, such as the ECG on paper, need not wait for.
    """
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        _configure_renderers()


@cache
def _configure_renderers() -> None:
    from plotly.io import renderers

    for name in renderers:
        if hasattr(renderers[name], "config"):
            renderers[name].config = {**(renderers[name].config or {}), **PRIVATE}


def finish(figure: go.Figure, title: str, height: int, **layout: Any) -> go.Figure:
    """Give a figure the title, height, font and legend that all figures of the toolkit have, but for `layout`."""
    keep_private()
    figure.update_layout(
        title={"text": title, "x": 0.0, "xanchor": "left", "xref": "paper"},
        height=height,
        template="plotly_white",
        margin={"l": 20, "r": 20, "t": 60, "b": 45},
        font={"size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0},
    )
    return figure.update_layout(**layout)


def signed_colors(values: Iterable[float]) -> list[str]:
    """The color of each value: evidence for a code, or against it."""
    return [FOR if value >= 0 else AGAINST for value in values]


def heatmap(z: np.ndarray, x: Iterable[str], y: Iterable[str], hover: str, **more: Any) -> go.Figure:
    """A table in colors, read from the top: a row for each y, a column for each x. more: arguments of go.Heatmap."""
    colors = go.Heatmap(z=z, x=list(x), y=list(y), hovertemplate=f"{hover}<extra></extra>", **more)
    plain = {"showgrid": False, "zeroline": False}
    return go.Figure(colors).update_xaxes(**plain).update_yaxes(**plain, autorange="reversed")


def shortened(name: str, letters: int) -> str:
    """The name, or its beginning where it has more letters."""
    return name if len(name) <= letters else name[: letters - 1].rstrip(" ,(") + "…"


def runs(mask: np.ndarray) -> np.ndarray:
    """Where each run of True in a row begins and ends, the end excluded: (k, 2)."""
    return np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]]))).reshape(-1, 2)


def error_bars(rows: pd.DataFrame, value: str, low: str, high: str) -> dict:
    """The error bars of plotly from three columns of a table; low and high are the ends of the interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": rows[high] - rows[value],
        "arrayminus": rows[value] - rows[low],
        "thickness": 1.2,
    }
