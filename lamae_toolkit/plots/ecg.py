"""Pictures: functions that take results and return a plotly Figure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Bool, Float
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

import lamae_toolkit.plots._plotly  # noqa: F401 (figures that a notebook shows offer no upload)
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.evaluation.evaluate import Evaluation
from lamae_toolkit.explain.attention import AttentionSummary
from lamae_toolkit.icd10 import name_of

# Okabe and Ito's colors, which the color-blind can tell apart.
BLUE, ORANGE, GREEN, VERMILION, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
SKY, YELLOW, PURPLE, BLACK = "#56B4E9", "#D9C900", "#CC79A7", "#000000"
MANY = (
    (BLUE, "circle"),
    (VERMILION, "square"),
    (GREEN, "diamond"),
    (ORANGE, "cross"),
    (PURPLE, "x"),
    (SKY, "triangle-up"),
    (GRAY, "star"),
    (BLACK, "pentagon"),
    (YELLOW, "hexagon"),
    (BLUE, "x"),
    (VERMILION, "star"),
    (GREEN, "hexagon"),
)
"""Color and mark of each of many lines."""
PAPER_LINE, PAPER_BOLD = "#f6d5d5", "#e9a8a8"
WEIGHT_SCALE = "Viridis"
COLUMNS = 2


def ecg_figure(
    recording: Recording,
    *,
    overlay: Recording | None = None,
    hidden: Bool[np.ndarray, "l n"] | None = None,
    weights: Float[np.ndarray, " l"] | None = None,
    title: str = "",
) -> go.Figure:
    """A 12-lead ECG in two columns, on a grid of 0.2 s and 0.5 mV.

    overlay: a second ECG drawn over it, such as a reconstruction. hidden: patches to shade, True where
    hidden, over the overlay's length, which is then drawn there only. weights: the weight of each lead,
    which colors its trace.
    """
    leads = [lead for lead in LEADS if lead in recording.leads]
    rows = -(-len(leads) // COLUMNS)
    figure = make_subplots(
        rows=rows, cols=COLUMNS, shared_xaxes="all", shared_yaxes="all", vertical_spacing=0.012, horizontal_spacing=0.03
    )
    time_s = np.arange(recording.signal_mv.shape[1]) / recording.sampling_rate_hz
    # One scale for all leads; a rare spike, of a pacemaker say, may leave the frame.
    bottom, top = np.quantile(recording.signal_mv, [0.0005, 0.9995]) * 1.15 + np.array([-0.15, 0.3])
    bands: list[dict] = []
    for index, lead in enumerate(leads):
        # Down the left column first, as on paper: limb leads left, chest leads right.
        place = {"row": index % rows + 1, "col": index // rows + 1}
        row = recording.leads.index(lead)
        color, label = "#222222", lead
        if weights is not None:
            share = (weights[row] - weights.min()) / max(float(np.ptp(weights)), 1e-9)
            # The palest yellow of the scale cannot be read on white.
            color, label = sample_colorscale(WEIGHT_SCALE, 0.85 * float(share))[0], f"{lead}  {weights[row]:.1%}"
        figure.add_scatter(
            x=time_s,
            y=recording.lead(lead),
            mode="lines",
            line={"color": color, "width": 1.3},
            name="ECG",
            legendgroup="ECG",
            showlegend=overlay is not None and index == 0,
            **place,
            hovertemplate=f"{lead}: %{{x:.2f}} s, %{{y:.2f}} mV<extra></extra>",
        )
        if overlay is not None and lead in overlay.leads:
            drawn = overlay.lead(lead)
            if hidden is not None:  # what was visible needs no drawing
                drawn = np.where(np.repeat(hidden[row], len(drawn) // hidden.shape[1]), drawn, np.nan)
            figure.add_scatter(
                x=np.arange(len(drawn)) / overlay.sampling_rate_hz,
                y=drawn,
                mode="lines",
                line={"color": VERMILION, "width": 1.3},
                name="reconstruction",
                legendgroup="overlay",
                showlegend=index == 0,
                **place,
            )
        if hidden is not None:
            bands += _bands(hidden[row], (overlay or recording).duration_s, figure.data[-1])
        figure.add_annotation(
            x=0.0,
            y=top,
            text=f"<b>{label}</b>",
            showarrow=False,
            xanchor="left",
            yanchor="top",
            bgcolor="rgba(255,255,255,0.75)",
            **place,
        )
    figure.update_xaxes(range=[0, time_s[-1]], dtick=0.2, gridcolor=PAPER_LINE, showticklabels=False, zeroline=False)
    figure.update_yaxes(
        range=[bottom, top], dtick=0.5, gridcolor=PAPER_LINE, showticklabels=False, zerolinecolor=PAPER_BOLD
    )
    for column in range(1, COLUMNS + 1):
        figure.update_xaxes(title_text="time, one line each 0.2 s; voltage, one line each 0.5 mV", row=rows, col=column)
    figure.update_layout(shapes=bands)  # all at once: plotly checks all shapes again with each one added
    return _finish(figure, title, height=105 * rows + 110)


def reconstruction_figure(
    recording: Recording, reconstruction: Recording, mask: Bool[np.ndarray, "l n"], title: str = ""
) -> go.Figure:
    """An ECG, what the model was not shown (shaded), and what it drew there."""
    return ecg_figure(recording, overlay=reconstruction, hidden=mask, title=title)


def learning_curve_figure(logs: dict[str, Sequence[dict]], title: str = "Learning curve") -> go.Figure:
    """Pretraining loss over the steps, one line for each run; 1 is what guessing each lead's mean gives."""
    figure = go.Figure()
    for (name, log), color in zip(logs.items(), (BLUE, VERMILION, GREEN, ORANGE), strict=False):
        steps, losses = [row["step"] for row in log], [row["loss"] for row in log]
        figure.add_scatter(x=steps, y=losses, mode="lines", name=name, line={"color": color})
    figure.add_hline(y=1.0, line={"color": GRAY, "dash": "dot"}, annotation_text="guessing the mean of each lead")
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(title_text="loss on hidden patches (1 = variance)", rangemode="tozero")
    return _finish(figure, title, height=380)


def auroc_figure(evaluations: Sequence[Evaluation], title: str = "") -> go.Figure:
    """AUROC of each code with its 95 % interval, best first, for one model or several side by side."""
    order = evaluations[0].table().auroc.sort_values().index
    figure = go.Figure()
    for position, (evaluation, color) in enumerate(zip(evaluations, (BLUE, GRAY, VERMILION, GREEN), strict=False)):
        table = evaluation.table().loc[order]
        figure.add_scatter(
            x=table.auroc,
            y=np.arange(len(order)) - 0.18 * position,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": table.auroc_high - table.auroc,
                "arrayminus": table.auroc - table.auroc_low,
                "thickness": 1.2,
            },
            mode="markers",
            marker={"color": color, "size": 8, "symbol": ("circle", "diamond", "square", "cross")[position]},
            name=f"{evaluation.name}, macro {evaluation.auroc.macro()}",
            customdata=np.stack([table.positives, table.auprc, table.prevalence], axis=1),
            hovertemplate="AUROC %{x:.3f}, AUPRC %{customdata[1]:.3f} (prevalence %{customdata[2]:.3f},"
            " %{customdata[0]:.0f} ECGs)<extra></extra>",
        )
    figure.add_vline(x=0.5, line={"color": GRAY, "dash": "dot"}, annotation_text="guessing")
    figure.update_yaxes(tickvals=np.arange(len(order)), ticktext=[name_of(code) for code in order])
    figure.update_xaxes(title_text="AUROC on unseen patients, 95 % interval")
    return _finish(figure, title, height=32 * len(order) + 160)


def lead_weight_figure(summary: AttentionSummary, title: str = "") -> go.Figure:
    """The ECG with each trace colored by the weight of its lead."""
    return ecg_figure(summary.recording, weights=summary.lead_weights.mean(axis=0), title=title)


def lead_bar_figure(summary: AttentionSummary, title: str = "Lead weights") -> go.Figure:
    """The weight of each lead, mean over heads as bars and each head as a dot; equal weights as a dotted line."""
    table = summary.weight_table()
    figure = go.Figure(go.Bar(x=table.index, y=table.weight, marker_color=BLUE, name="mean over heads"))
    for head in table.columns[1:]:
        figure.add_scatter(
            x=table.index,
            y=table[head],
            mode="markers",
            marker={"color": ORANGE, "size": 7, "line": {"width": 1}},
            name="each head",
            legendgroup="head",
            showlegend=head == "head 1",
            hovertext=head,
        )
    figure.add_hline(y=1 / len(table), line={"color": GRAY, "dash": "dot"})
    figure.update_yaxes(title_text="share in the heart token", tickformat=".0%", rangemode="tozero")
    return _finish(figure, title, height=320)


def lead_attention_figure(
    summary: AttentionSummary,
    title: str = "Latent attention between leads",
    layer: int | None = None,
    head: int | None = None,
) -> go.Figure:
    """12 x 12: how much each lead (row) took from each lead (column), of one layer and head or the mean over them."""
    table = summary.attention_table(layer, head)
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(),
            x=table.columns,
            y=table.index,
            colorscale=WEIGHT_SCALE,
            colorbar={"title": "share"},
            hovertemplate="%{y} took %{z:.1%} from %{x}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", title_text="looking lead")
    figure.update_xaxes(title_text="looked-at lead")
    return _finish(figure, title, height=460)


def _bands(hidden: np.ndarray, duration_s: float, trace: go.Scatter) -> list[dict]:
    """Grey bands over the hidden patches of this trace's subplot; neighboring patches make one band."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]]))) * duration_s / len(hidden)
    look = {"type": "rect", "fillcolor": GRAY, "opacity": 0.18, "line_width": 0, "layer": "below"}
    where = {"xref": trace.xaxis, "yref": f"{trace.yaxis} domain", "y0": 0, "y1": 1}
    return [{**look, **where, "x0": start, "x1": end} for start, end in edges.reshape(-1, 2)]


def _finish(figure: go.Figure, title: str, height: int) -> go.Figure:
    figure.update_layout(
        title={"text": title, "x": 0.0, "xanchor": "left", "xref": "paper"},
        height=height,
        template="plotly_white",
        margin={"l": 20, "r": 20, "t": 60, "b": 45},
        font={"size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0},
    )
    return figure


REPRESENTATION_NAMES = {
    "per_lead": "all lead latents",
    "summary": "summary of the latents",
    "heart": "heart token",
    "trained": "trained on labels",
}
"""What a probe reads, or that a model was trained on the labels instead."""

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
                error_x=_error_bars(rows, *columns),
                mode="markers",
                name=REPRESENTATION_NAMES[representation],
                marker={"color": color, "symbol": symbol, "size": 9},
                customdata=rows.variant,
                hovertemplate=f"{hover}<extra></extra>",
            )
    figure.update_yaxes(tickvals=list(range(len(order))), ticktext=order)
    return _finish(figure, title, height=36 * len(order) + 160)


def along_figure(macro: pd.DataFrame, along: str, title: str = "") -> go.Figure:
    """Macro AUROC of each variant along "fraction" (the share of labels) or "leads" (the lead sets), with intervals."""
    figure = go.Figure()
    places = sorted(macro.fraction.unique()) if along == "fraction" else list(dict.fromkeys(macro.leads))
    names = [f"{place:.0%}" for place in places] if along == "fraction" else places
    variants = list(dict.fromkeys(macro.variant))
    for number, variant in enumerate(variants):
        color, symbol = MANY[number % len(MANY)]
        rows = macro[macro.variant == variant].set_index(along).reindex(places)
        figure.add_scatter(
            x=np.arange(len(places)) + 0.3 * (number / max(len(variants) - 1, 1) - 0.5),
            y=rows.auroc,
            error_y=_error_bars(rows, "auroc", "low", "high"),
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
    return _finish(figure, title, height=480)


def _error_bars(rows: pd.DataFrame, value: str, low: str, high: str) -> dict:
    return {
        "type": "data",
        "symmetric": False,
        "array": rows[high] - rows[value],
        "arrayminus": rows[value] - rows[low],
        "thickness": 1.2,
    }
