"""Figures of predicted codes: all of them with their intervals, and one of them from its curves to its ECGs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.special import logit

from lamae_toolkit.evaluation.calibration import calibration_curve
from lamae_toolkit.evaluation.evaluate import Evaluation, Predictions
from lamae_toolkit.evaluation.thresholds import precision_recall_curve, roc_curve
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import GRAY, WITH_CODE, WITHOUT_CODE, Look, model_looks
from lamae_toolkit.plots._plotly import error_bars, finish, shortened

TICKS = {0.0001: "0.01%", 0.001: "0.1%", 0.01: "1%", 0.1: "10%", 0.5: "50%"}
TICKS |= {1 - tick: f"{100 - 100 * tick:g}%" for tick in list(TICKS)[:4]}
"""Probabilities that are named on an axis of log-odds."""
MOST_POINTS, MOST_ECGS, LETTERS = 400, 1500, 44
WITH, WITHOUT = 13, 14
"""Indices of the traces of ECGs with and without the code in `board_figure`; `customdata` holds their rows."""


def codes_figure(
    evaluation: Evaluation, *, baseline: Evaluation | None = None, most: int = 40, title: str = ""
) -> go.Figure:
    """AUROC and AUPRC of every code with 95 % intervals, best first, for one model or two; guessing as gray marks.

    most: the largest number of codes, the most frequent ones of the test ECGs.
    """
    table = evaluation.table()
    order = table.nlargest(most, "positives").auroc.sort_values(na_position="first").index
    positions = np.arange(len(order))
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    looks = _looks(evaluation, baseline)
    for number, model in enumerate((evaluation, baseline)):
        for column, metric in ((1, "auroc"), (2, "auprc")):
            if model is None:
                figure.add_scatter(showlegend=False, row=1, col=column)
                continue
            own, look = model.table().reindex(order), looks[model.name]
            figure.add_scatter(
                x=own[metric],
                y=positions - 0.2 * number,
                mode="markers",
                name=model.name,
                customdata=list(order),
                legendgroup=model.name,
                showlegend=column == 1,
                row=1,
                col=column,
                hoverinfo="text",
                error_x=error_bars(own, metric, f"{metric}_low", f"{metric}_high"),
                marker={"color": look.color, "symbol": look.symbol, "size": 9},
                hovertext=_in_words(own, metric),
            )
    guessing = {
        "mode": "markers",
        "name": "guessing",
        "legendgroup": "guessing",
        "hoverinfo": "skip",
        "marker": {"symbol": "line-ns-open", "color": GRAY, "size": 12, "line": {"width": 2}},
    }
    figure.add_scatter(x=np.full(len(order), 0.5), y=positions, row=1, col=1, **guessing)
    figure.add_scatter(x=table.prevalence[order], y=positions, showlegend=False, row=1, col=2, **guessing)
    figure.update_yaxes(
        tickvals=positions.tolist(), ticktext=[shortened(name_of(code), LETTERS) for code in order], col=1
    )
    figure.update_yaxes(range=[-0.8, len(order) - 0.2])
    for column, name in ((1, "AUROC"), (2, "AUPRC")):
        figure.update_xaxes(range=[0, 1.02], title_text=name, col=column)
    which = "Codes" if len(order) == len(table) else f"The {len(order)} most frequent of {len(table)} codes"
    return finish(figure, title or f"{which}, unseen patients, 95 % intervals", height=28 * len(order) + 150)


def _looks(evaluation: Evaluation, baseline: Evaluation | None) -> dict[str, Look]:
    return model_looks([evaluation.name] if baseline is None else [evaluation.name, baseline.name])


def _in_words(table: pd.DataFrame, metric: str) -> list[str]:
    return [
        f"{name_of(code)}<br>{metric.upper()} {row[metric]:.3f} ({row[f'{metric}_low']:.3f} to"
        f" {row[f'{metric}_high']:.3f}), {row.positives:.0f} ECGs"
        for code, row in table.iterrows()
    ]


def board_figure(
    evaluation: Evaluation,
    code: str,
    threshold: float = 0.5,
    *,
    baseline: Evaluation | None = None,
    opened: int | None = None,
    title: str = "",
) -> go.Figure:
    """One code in four plots: ROC curve, precision-recall curve, calibration, and every ECG by its probability.

    threshold: the probability from which an ECG is predicted positive, marked on the curves and as a line through the
    ECGs. baseline: a second model. opened: the row of an ECG to mark. ECGError where all or no ECGs have the
    code.
    """
    figure = make_subplots(rows=2, cols=2, vertical_spacing=0.22, horizontal_spacing=0.11)
    looks = _looks(evaluation, baseline)
    for model in (evaluation, baseline):
        if model is None:  # empty traces, so that a widget can fill them later
            figure.add_traces([go.Scatter(showlegend=False)] * 5, rows=[1, 1, 1, 1, 2], cols=[1, 1, 2, 2, 1])
        else:
            _add_curves(figure, model, code, threshold, looks[model.name])
            _add_calibration(figure, model, code, looks[model.name])
    prevalence = float(evaluation.predictions.of_code(code)[0].mean())
    dotted = {"mode": "lines", "line": {"color": GRAY, "dash": "dot"}, "showlegend": False, "hoverinfo": "skip"}
    for row, column, y in ((1, 1, [0, 1]), (1, 2, [prevalence, prevalence]), (2, 1, [0, 1])):
        figure.add_scatter(x=[0, 1], y=y, row=row, col=column, **dotted)
    figure.update_xaxes(range=[-0.01, 1], row=1).update_yaxes(range=[0, 1.02], row=1)
    figure.update_layout(xaxis_title_text="the false positive rate (1 - specificity)", yaxis_title_text="sensitivity")
    figure.update_xaxes(title_text="recall (sensitivity)", row=1, col=2)
    figure.update_yaxes(title_text=f"precision at {prevalence:.1%} prevalence", row=1, col=2)
    _add_strip(figure, evaluation.predictions, code, threshold, opened)
    return finish(figure, title or name_of(code), height=470, hovermode="closest")


def _add_curves(figure: go.Figure, model: Evaluation, code: str, threshold: float, look: Look) -> None:
    """ROC and precision-recall curve, each with its point where all ECGs of this probability are predicted positive."""
    color, dash, symbol = look
    data = model.predictions.of_code(code)
    curves = (
        (roc_curve(*data), "false_positive_rate", "sensitivity"),
        (precision_recall_curve(*data), "recall", "precision"),
    )
    for column, (curve, x, y) in enumerate(curves, 1):
        some = np.unique(np.linspace(0, len(curve) - 1, MOST_POINTS).astype(int))
        hover = f"threshold %{{customdata:.2%}}<br>{x.replace('_', ' ')} %{{x:.3f}}, {y} %{{y:.3f}}<extra></extra>"
        for points, mode in ((curve.iloc[some], "lines"), (curve[curve.threshold >= threshold][-1:], "markers")):
            figure.add_scatter(
                x=points[x],
                y=points[y],
                customdata=points.threshold.clip(upper=1.0),
                mode=mode,
                hovertemplate=hover,
                name=model.name,
                legendgroup=model.name,
                showlegend=False,
                line={"color": color, "width": 2, "dash": dash},
                row=1,
                col=column,
                cliponaxis=mode == "lines",
                marker={"color": color, "symbol": symbol, "size": 13, "line": {"width": 1.5, "color": "black"}},
            )


def _add_calibration(figure: go.Figure, model: Evaluation, code: str, look: Look) -> None:
    """For groups of ECGs of similar probability, the share that has the code."""
    color, dash, symbol = look
    labels, probabilities = model.predictions.of_code(code)
    groups = calibration_curve(labels, probabilities, model.predictions.patient_ids)
    figure.add_scatter(
        x=groups.probability,
        y=groups.observed,
        error_y=error_bars(groups, "observed", "low", "high"),
        mode="lines+markers",
        name=model.name,
        legendgroup=model.name,
        line={"color": color, "width": 1, "dash": dash},
        row=2,
        col=1,
        marker={"color": color, "symbol": symbol, "size": 8},
        customdata=groups[["low", "high", "ECGs", "patients"]],
        hovertemplate="mean probability %{x:.1%}<br>with the code %{y:.1%}"
        " (%{customdata[0]:.1%} to %{customdata[1]:.1%})"
        "<br>%{customdata[2]} ECGs of %{customdata[3]} patients<extra></extra>",
    )
    top = max(
        1.03 * min(max(groups.probability.max(), groups.high.max()), 1.0), (figure.layout.xaxis3.range or (0, 0))[1]
    )
    figure.update_xaxes(title_text="predicted probability, mean of each group", range=[-0.02 * top, top], row=2, col=1)
    figure.update_yaxes(title_text="share with the code", range=[-0.02 * top, top], row=2, col=1)


def _add_strip(figure: go.Figure, predictions: Predictions, code: str, threshold: float, opened: int | None) -> None:
    """Every ECG at its probability, with the code above, without it below; the threshold; a ring around the opened one.

    Of more than MOST_ECGS of a kind, that many drawn at random are shown; the axis says so.
    """
    labels, probabilities = predictions.of_code(code)
    rng = np.random.default_rng(0)
    height = labels + rng.uniform(-0.32, 0.32, len(labels))  # so that points can be told apart and clicked
    log_odds = logit(probabilities.clip(1e-6, 1 - 1e-6))
    cell = {"row": 2, "col": 2, "showlegend": False}
    more = ""
    for label, color, symbol in ((1, WITH_CODE, "diamond"), (0, WITHOUT_CODE, "circle")):
        members = np.flatnonzero(labels == label)
        if len(members) > MOST_ECGS:
            members, more = np.sort(rng.choice(members, MOST_ECGS, replace=False)), f", {MOST_ECGS} of each kind"
        figure.add_scatter(
            x=log_odds[members],
            y=height[members],
            mode="markers",
            customdata=np.stack([predictions.rows, probabilities], axis=1)[members],
            marker={"color": color, "symbol": symbol, "size": 7, "opacity": 0.75},
            **cell,
            hovertemplate="row %{customdata[0]}: probability %{customdata[1]:.2%}<extra>click to open</extra>",
        )
    ring = predictions.rows == opened
    figure.add_scatter(
        x=log_odds[ring],
        y=height[ring],
        mode="markers",
        hoverinfo="skip",
        **cell,
        marker={"symbol": "circle-open", "size": 17, "color": "black", "line": {"width": 2}},
    )
    line = float(logit(np.clip(threshold, 1e-6, 1 - 1e-6)))
    figure.add_scatter(
        x=[line, line], y=[-0.5, 1.5], mode="lines", line={"color": "black", "dash": "dash"}, hoverinfo="skip", **cell
    )
    figure.update_xaxes(
        title_text=f"predicted probability of each ECG{more}",
        tickvals=logit(list(TICKS)).tolist(),
        ticktext=list(TICKS.values()),
        range=[log_odds.min() - 0.4, log_odds.max() + 0.4],
        zeroline=False,
        row=2,
        col=2,
    )
    figure.update_yaxes(
        tickvals=[0, 1], ticktext=["without", "with"], range=[-0.5, 1.5], zeroline=False, showgrid=False, row=2, col=2
    )
