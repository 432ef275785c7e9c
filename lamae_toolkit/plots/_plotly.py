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

from lamae_toolkit.palette import AGAINST, FOR, INK, TEXT_PX, TITLE_PX

WEIGHT_SCALE = "Viridis"
TOOLBAR_PX = 36
"""The right edge of every figure, in which plotly's toolbar stands, upright, so that it never covers a word."""

PRIVATE = {"showSendToCloud": False, "plotlyServerURL": "", "displaylogo": False, "responsive": True}
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
        title={"text": title, "x": 0.0, "xanchor": "left", "xref": "paper", "font": {"size": TITLE_PX}},
        height=height,
        template="plotly_white",
        margin={"l": 20, "r": TOOLBAR_PX, "t": 60, "b": 45},
        font={"size": TEXT_PX, "color": INK},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0},
        modebar={"orientation": "v"},
    )
    figure.update_layout(**layout)
    if (figure.layout.margin.r or 0) < TOOLBAR_PX:
        figure.layout.margin.r = TOOLBAR_PX
    for trace in figure.data:  # a color bar keeps clear of the toolbar, too
        if getattr(trace, "colorbar", None) is not None and trace.showscale is not False:
            trace.colorbar.xpad = TOOLBAR_PX
        elif getattr(trace, "marker", None) is not None and getattr(trace.marker, "showscale", False):
            trace.marker.colorbar.xpad = TOOLBAR_PX
    return figure


def signed_colors(values: Iterable[float]) -> list[str]:
    """The color of each value: evidence for a code, or against it."""
    return [FOR if value >= 0 else AGAINST for value in values]


def heatmap(z: np.ndarray, x: Iterable[str], y: Iterable[str], hover: str, **more: Any) -> go.Figure:
    """A table in colors, read from the top: a row for each y, a column for each x. more: arguments of go.Heatmap."""
    colors = go.Heatmap(z=z, x=list(x), y=list(y), hovertemplate=f"{hover}<extra></extra>", **more)
    plain = {"showgrid": False, "zeroline": False}
    return go.Figure(colors).update_xaxes(**plain).update_yaxes(**plain, autorange="reversed")


def shortened(name: str, letters: int) -> str:
    """The name, or its beginning and its last words where it has more letters: two infarctions differ in the wall."""
    name = name if len(name) <= letters else name.removesuffix(", unspecified")
    if len(name) <= letters:
        return name
    words, end = name.split(), ""
    while len(longer := f"{words.pop()} {end}".strip()) <= letters // 2:
        end = longer
    return name[: letters - 1 - len(end)].rstrip(" ,(") + "…" + end


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
