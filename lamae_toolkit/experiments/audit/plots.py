"""Figures of an audit: every method on every test, the curves behind deletion and insertion, and localization."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lamae_toolkit.experiments.audit.methods import JUDGED_METHODS, LEAD_KIND, RANDOM, SIGNAL, STAGES
from lamae_toolkit.experiments.audit.scores import AGREES, BEST, OTHER_ECG, RANDOM_ORDER, RANDOMIZED
from lamae_toolkit.experiments.audit.verdict import LAST_STAGE
from lamae_toolkit.experiments.textbook import TERRITORIES
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW

TITLES = {
    "deletion": "deletion: fall of log-odds<br>beyond a random order",
    "insertion": "insertion: rise of log-odds<br>beyond a random order",
    "localization": "localization:<br>AUROC",
    LAST_STAGE: "similarity to the map of a<br>randomized model",
    AGREES: "similarity to the map of<br>another seed",
}
JUDGED = tuple(dict.fromkeys(name for methods in JUDGED_METHODS.values() for name in methods))
_COLORS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK, YELLOW)
_MARKS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "pentagon", "hexagon", "star")
LOOK = dict(zip(JUDGED, zip(_COLORS * 2, _MARKS * 2, strict=False), strict=False)) | {
    SIGNAL: (GRAY, "square-open"),
    RANDOM: (GRAY, "circle-open"),
    RANDOM_ORDER: (GRAY, "line-ew"),
}
"""Color and mark of each method in all figures; baselines without a model are gray."""
FLOORS = {"deletion": 0.0, "insertion": 0.0, "localization": 0.5, LAST_STAGE: 0.0, AGREES: 0.0}


def overview_figure(scores: pd.DataFrame, kind: str = LEAD_KIND, title: str = "") -> go.Figure:
    """Every method on every test: dots with 95 % intervals; the dotted line is guessing.

    scores: the rows of an audit's results. Hollow dots: for agreement, the map of another patient's ECG; baselines
    without a model are gray.
    """
    rows = scores[scores.kind == kind]
    metrics = [metric for metric in TITLES if metric in set(rows.metric)]
    methods = [*JUDGED_METHODS[kind], SIGNAL, RANDOM][::-1]
    figure = make_subplots(
        rows=1,
        cols=len(metrics),
        shared_yaxes=True,
        horizontal_spacing=0.02,
        subplot_titles=[TITLES[metric] for metric in metrics],
    )
    for column, metric in enumerate(metrics, start=1):
        control = OTHER_ECG if metric == AGREES else None
        for name, hollow in ((metric, False), (control, True)):
            some = rows[(rows.metric == name) & rows.method.isin(methods)]
            color = [GRAY if method in (SIGNAL, RANDOM) else BLUE for method in some.method]
            figure.add_scatter(
                x=some.value,
                y=some.method,
                mode="markers",
                row=1,
                col=column,
                showlegend=False,
                error_x=_bars(some),
                marker={"color": color, "size": 9, "symbol": "circle-open" if hollow else "circle"},
                hovertemplate=f"%{{y}}: %{{x:.3f}}<extra>{name or ''}</extra>",
            )
        best = rows[(rows.metric == metric) & (rows.method == BEST)]
        for value in best.value:
            figure.add_vline(x=value, line={"color": VERMILION, "dash": "dash"}, row=1, col=column)
        figure.add_vline(x=FLOORS[metric], line={"color": GRAY, "dash": "dot"}, row=1, col=column)
    figure.update_yaxes(categoryorder="array", categoryarray=methods)
    return finish(figure, title, 36 * len(methods) + 190)


def curves_figure(curves: dict[str, dict[str, list[float]]], shares: Sequence[float], title: str = "") -> go.Figure:
    """Mean log-odds as leads, in the order of their attribution, are removed or added, and as patches are masked."""
    rows, shown = -(-len(curves) // 2), set()
    figure = make_subplots(
        rows=rows, cols=2, subplot_titles=list(curves), vertical_spacing=0.32 / rows, horizontal_spacing=0.09
    )
    for panel, (what, of_method) in enumerate(curves.items()):
        cell = {"row": panel // 2 + 1, "col": panel % 2 + 1}
        leads = what.startswith("leads")
        for name, curve in of_method.items():
            color, symbol = LOOK[name]
            figure.add_scatter(
                x=np.arange(len(curve)) if leads else np.array(shares),
                y=curve,
                name=name,
                legendgroup=name,
                showlegend=name not in shown,
                mode="lines+markers",
                marker={"size": 6, "color": color, "symbol": symbol},
                line={"color": color, "width": 1.6, "dash": "dot" if name == RANDOM_ORDER else "solid"},
                hovertemplate=f"{name}: %{{y:.2f}}<extra></extra>",
                **cell,
            )
            shown.add(name)
        figure.update_xaxes(title_text="leads" if leads else "share of the patches", **cell)
        if not leads:
            figure.update_xaxes(tickformat=".0%", **cell)
        figure.update_yaxes(title_text="log-odds of the code", **cell)
    figure = finish(figure, title, 380 * rows)
    return figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "xanchor": "left", "yanchor": "top"})


def localization_figure(by_code: pd.DataFrame, kind: str = LEAD_KIND, title: str = "") -> go.Figure:
    """Localization AUROC of every method, code by code; 0.5, the middle of the scale, is guessing."""
    rows = by_code[(by_code.kind == kind) & (by_code.metric == "localization")]
    methods = [*JUDGED_METHODS[kind], SIGNAL]
    table = rows.pivot_table(index="code", columns="method", values="value").reindex(columns=methods)
    count = rows.groupby("code").predictions.first()
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(),
            x=methods,
            y=[
                f"{TERRITORIES[code].name if code in TERRITORIES else name_of(code)} ({count[code]})"
                for code in table.index
            ],
            colorscale="RdBu",
            zmid=0.5,
            zmin=0,
            zmax=1,
            colorbar={"title": "AUROC"},
            text=np.round(table.to_numpy(), 2),
            texttemplate="%{text:.2f}",
            hovertemplate="%{x}<br>%{y}: %{z:.2f}<extra></extra>",
        )
    )
    figure.update_xaxes(side="top", tickangle=-30)
    return finish(figure, title, 34 * len(table) + 220)


def randomization_figure(scores: pd.DataFrame, title: str = "") -> go.Figure:
    """How similar each method's map stays as the model is randomized from the top down, with 95 % intervals."""
    kinds, stages, shown = [kind for kind in JUDGED_METHODS if kind in set(scores.kind)], list(STAGES), set()
    figure = make_subplots(rows=1, cols=len(kinds), shared_yaxes=True, subplot_titles=kinds)
    for column, kind in enumerate(kinds, start=1):
        for number, name in enumerate((*JUDGED_METHODS[kind], SIGNAL)):
            rows = scores[(scores.kind == kind) & (scores.method == name)].set_index("metric")
            rows = rows.reindex([f"{RANDOMIZED} {stage}" for stage in stages])
            color, symbol = LOOK[name]
            figure.add_scatter(
                x=np.arange(len(stages)) + 0.05 * (number - 4),
                y=rows.value,
                error_y=_bars(rows),
                name=name,
                legendgroup=name,
                showlegend=name not in shown,
                mode="lines+markers",
                marker={"size": 8, "color": color, "symbol": symbol},
                line={"width": 1.5},
                row=1,
                col=column,
                hovertemplate=f"{name}: %{{y:.2f}}<extra></extra>",
            )
            shown.add(name)
        figure.update_xaxes(tickvals=np.arange(len(stages)), ticktext=stages, row=1, col=column)
    figure.update_yaxes(title_text="rank correlation with the map of the trained model", row=1, col=1)
    figure = finish(figure, title, 480)
    return figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "xanchor": "left", "yanchor": "top"})


def _bars(rows: pd.DataFrame) -> dict:
    return {
        "type": "data",
        "symmetric": False,
        "array": rows.high - rows.value,
        "arrayminus": rows.value - rows.low,
        "thickness": 1.2,
    }


def finish(figure: go.Figure, title: str, height: int) -> go.Figure:
    figure.update_layout(
        title={"text": title, "x": 0.0, "xanchor": "left", "xref": "paper"},
        height=height,
        template="plotly_white",
        margin={"l": 20, "r": 20, "t": 130 if title else 60, "b": 45},
        font={"size": 13},
    )
    return figure.update_annotations(font_size=12)
