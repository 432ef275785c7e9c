"""Terms, Shapley values or pooling weights of leads, drawn at their axes in the frontal and the horizontal plane."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from lamae_toolkit.ecg.leads import FRONTAL_AXIS_DEG, HORIZONTAL_AXIS_DEG, LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.palette import GRAY
from lamae_toolkit.plots._plotly import WEIGHT_SCALE, finish, signed_colors

MEASURES = {"term": "Lead terms", "attribution": "Shapley values of leads", "weight": "Share in the heart token"}
"""Name of each measure; a term and a Shapley value are in log-odds, a pooling weight is a share."""
LIMIT = 2.0
"""Log-odds from which a disc is as large as it gets, the same for every ECG and code, so that small values look
small."""
DISCS, NAMES = 4, 5
"""Indices of the traces of discs and labels in the data of `geometry_figure`."""
BELOW = -3.1
"""Vertical position of the center of the horizontal plane below that of the frontal plane, in radii of the circle."""
CHEST = (1.25, 0.88)
"""Half the width and half the depth of the chest."""
SMALLEST_PX, LARGEST_PX = 7.0, 36.0
SHADES = sample_colorscale(WEIGHT_SCALE, np.linspace(0, 0.85, 101).tolist())
"""From no weight to the largest; the lightest yellow of the scale cannot be seen on white."""
POSITIONS = {lead: (np.cos(a), -np.sin(a)) for lead, a in ((k, np.radians(v)) for k, v in FRONTAL_AXIS_DEG.items())} | {
    lead: (CHEST[0] * np.cos(a), CHEST[1] * np.sin(a) + BELOW)
    for lead, a in ((k, np.radians(v)) for k, v in HORIZONTAL_AXIS_DEG.items())
}
"""Of each lead: limb leads on a circle seen from the front, chest leads on the chest seen from the feet. The patient's
left is on the right; up is towards the head, or to the front."""
LABELS = {
    "I": (0.24, 0.0, "left"),
    "II": (0.2, -0.16, "left"),
    "III": (-0.2, -0.16, "right"),
    "aVR": (-0.22, 0.1, "right"),
    "aVL": (0.24, 0.1, "left"),
    "aVF": (0.0, -0.27, "center"),
    "V1": (-0.22, 0.14, "right"),
    "V2": (-0.02, 0.3, "center"),
    "V3": (0.12, 0.3, "left"),
    "V4": (0.25, 0.17, "left"),
    "V5": (0.25, 0.06, "left"),
    "V6": (0.24, 0.0, "left"),
}
"""Offset of each label from its lead, and its anchor."""
SIDE = {"left": "middle right", "right": "middle left", "center": "middle center"}
"""The side of the position on which a text with this anchor stands."""
SIDES = (
    (-2.0, 1.3, "<b>Frontal plane</b>, from the front", "left"),
    (0, 1.12, "head", "center"),
    (0, -1.5, "feet", "center"),
    (-1.08, 0, "right", "right"),
    (-2.0, BELOW + 1.42, "<b>Horizontal plane</b>, from the feet", "left"),
    (0, BELOW - 1.02, "back", "center"),
    (-CHEST[0] - 0.08, BELOW, "right", "right"),
)


def geometry_figure(values: pd.Series, measure: str = "weight", title: str | None = None) -> go.Figure:
    """The leads at their axes on the body, each with a disc that grows with its term, Shapley value or pooling weight.

    values: by lead. measure: "term" or "attribution" (lead terms or Shapley values, in log-odds: discs are evidence for
    the code, diamonds against it) or "weight" (pooling weights, which sum to 1, dark to light). A lead without a value
    is a small cross. Limb leads lie at their angles in the frontal plane, V1 to V6 around the chest in the horizontal
    plane.
    """
    figure = go.Figure()
    circle = np.radians(np.linspace(0, 360, 73))
    for x, y, color in (
        (np.cos(circle), np.sin(circle), "#cccccc"),
        (CHEST[0] * np.cos(circle), BELOW + CHEST[1] * np.sin(circle), "#999999"),
        (0.22 + 0.36 * np.cos(circle), BELOW + 0.1 + 0.28 * np.sin(circle - 0.6), "#cccccc"),
    ):
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": color, "width": 1.5})
    figure.add_scatter(**_spokes(), mode="lines", line={"color": "#cccccc", "width": 1})
    lead_x, lead_y = zip(*(POSITIONS[lead] for lead in LEADS), strict=True)
    figure.add_scatter(x=lead_x, y=lead_y, mode="markers", marker={"opacity": 1.0, "line": {"width": 1}})
    offset_x, offset_y, anchors = zip(*(LABELS[lead] for lead in LEADS), strict=True)
    figure.add_scatter(
        x=np.add(lead_x, offset_x), y=np.add(lead_y, offset_y), textposition=[SIDE[one] for one in anchors], mode="text"
    )
    side_x, side_y, sides, anchors = zip(*SIDES, strict=True)
    gray = {"color": "#555555", "size": 12}
    held = [SIDE[one] for one in anchors]
    figure.add_scatter(x=side_x, y=side_y, text=sides, textposition=held, textfont=gray, mode="text")
    figure.update_traces(showlegend=False, hoverinfo="skip")
    figure.data[DISCS].update(hoverinfo="text")
    invisible = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[-2.1, 2.3], **invisible)
    figure.update_yaxes(range=[BELOW - 1.12, 1.42], scaleanchor="x", **invisible)
    finish(figure, "", height=640, margin={"l": 5, "r": 5, "t": 45, "b": 5}, hovermode="closest")
    return show_values(figure, values, measure, title)


def show_values(
    figure: go.Figure | dict, values: pd.Series, measure: str = "weight", title: str | None = None
) -> go.Figure | dict:
    """Give a figure of `geometry_figure`, or its dictionary, other values, which is faster than a new figure."""
    if measure not in MEASURES:
        raise ECGError(f"There is no measure {measure!r} of leads; choose from {', '.join(MEASURES)}.")
    unknown = [lead for lead in values.index if lead not in LEADS]
    if unknown or not len(values):
        raise ECGError(f"Values are needed by lead, but these are of {', '.join(unknown) or 'no lead'}.")
    values = {lead: float(value) for lead, value in values.items()}
    largest = max(max(values.values()), 1e-12) if measure == "weight" else LIMIT
    looks: list[tuple[float, str, str, str]] = []
    for lead in LEADS:
        if lead not in values:
            size, color, symbol, text = SMALLEST_PX, GRAY, "x", f"<span style='color:#666666'>{lead} absent</span>"
        else:
            value, share = values[lead], min(abs(values[lead]) / largest, 1.0)
            size = SMALLEST_PX + (LARGEST_PX - SMALLEST_PX) * share**0.5  # the area is proportional to the value
            color = SHADES[round(share * (len(SHADES) - 1))] if measure == "weight" else signed_colors([value])[0]
            symbol = "diamond" if value < 0 else "circle"
            text = f"<b>{lead}</b> " + (f"{value:.1%}" if measure == "weight" else f"{value:+.2f}")
        looks.append((size, color, symbol, text))
    sizes, colors, symbols, texts = map(list, zip(*looks, strict=True))
    discs, names = figure["data"][DISCS], figure["data"][NAMES]
    discs["marker"]["size"], discs["marker"]["color"], discs["marker"]["symbol"] = sizes, colors, symbols
    discs["hovertext"], names["text"] = texts, texts
    if title is None:
        title = f"{MEASURES[measure]} ({f'equal: {1 / len(values):.1%}' if measure == 'weight' else 'log-odds'})"
    figure["layout"]["title"]["text"] = title
    return figure


def _spokes() -> dict[str, list]:
    """A line from the center to each lead, all in one trace."""
    x, y = [], []
    for lead, end in POSITIONS.items():
        x += [0.0, end[0], None]
        y += [BELOW if lead in HORIZONTAL_AXIS_DEG else 0.0, end[1], None]
    return {"x": x, "y": y}
