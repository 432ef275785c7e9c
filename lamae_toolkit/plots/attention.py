"""Figures of attention and saliency: between leads, in one layer or rolled up, and over time on the ECG itself."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.attention import AttentionSummary
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import AGAINST, BLUE, FOR, GRAY, ORANGE
from lamae_toolkit.plots._plotly import WEIGHT_SCALE, finish, heatmap
from lamae_toolkit.plots.ecg import ecg_figure

# Behind an ECG, in the colors against and for a code; small values are transparent, so that the grid is visible.
BEHIND_SIGNED = [[0.0, "rgba(0,114,178,0.85)"], [0.5, "rgba(255,255,255,0)"], [1.0, "rgba(213,94,0,0.85)"]]
BEHIND = [[0.0, "rgba(230,159,0,0)"], [0.5, "rgba(230,159,0,0.6)"], [1.0, "rgba(213,94,0,0.9)"]]

UPPER, LOWER = {"row": 1, "col": 1}, {"row": 2, "col": 1}

SALIENCY_METHODS = {
    "attention_rollout": (
        "Attention rollout: patches with more ({more}) or less ({less}) than an equal share in the heart token,"
        " the same for every code",
        "times an equal share",
    ),
    "gradient_attention": (
        "Gradient times attention: patches that are evidence for {code}, as attention carries them",
        "relevance (no unit)",
    ),
    "gradient_input": (
        "Gradient times input: scaling a patch up would raise ({more}) or lower ({less}) the log-odds of {code}",
        "log-odds",
    ),
}
"""What each function of `lamae_toolkit.explain.saliency` shows, in a sentence, and the unit of the color bar."""


def saliency_figure(
    recording: Recording,
    saliency: Float[np.ndarray, "l n"],
    method: str,
    code: str | None = None,
    *,
    patch_s: float = 0.25,
) -> go.Figure:
    """A 12-lead ECG with the saliency of each patch of `patch_s` seconds as color behind the trace.

    saliency: of one ECG, its rows in the order of recording.leads. method: the function of
    `lamae_toolkit.explain.saliency` that it comes from. code: for which it was computed. The colors are scaled to the
    largest value of this ECG, so compare ECGs by the color bar. A rollout is drawn as multiples of an equal share.
    """
    if method not in SALIENCY_METHODS:
        raise ECGError(f"There is no saliency {method!r}; choose from {', '.join(SALIENCY_METHODS)}.")
    if len(saliency) != len(recording.leads):
        raise ECGError(f"The saliency has {len(saliency)} leads, but the ECG has {len(recording.leads)}.")
    sentence, unit = SALIENCY_METHODS[method]
    signs = {word: f"<span style='color:{color}'>■</span>" for word, color in (("more", FOR), ("less", AGAINST))}
    sentence = sentence.format(code="the code" if code is None else name_of(code), **signs)
    shown = saliency * saliency.size if method == "attention_rollout" else saliency
    figure = ecg_figure(recording)
    # The times are evenly spaced: two numbers a lead, not thousands.
    figure.update_traces(x=None, x0=0.0, dx=1 / recording.sampling_rate_hz, line={"color": "#111111", "width": 1.2})
    bottom, top = figure.layout.yaxis.range
    leads = [lead for lead in LEADS if lead in recording.leads]
    for lead, trace in zip(leads, list(figure.data), strict=True):
        figure.add_heatmap(
            z=shown[[recording.leads.index(lead)]].astype(np.float32),
            x0=patch_s / 2,
            dx=patch_s,
            y0=(bottom + top) / 2,
            dy=top - bottom,
            xaxis=trace.xaxis,
            yaxis=trace.yaxis,
            coloraxis="coloraxis",
            hovertemplate=f"{lead}, %{{x:.2f}} s: %{{z:.3g}} {unit}<extra></extra>",
        )
    figure.update_layout(
        coloraxis=_behind(shown, method) | {"colorbar": _color_bar(unit)},
        title={"text": sentence, "font": {"size": 15}},
        margin={"r": 90},
    )
    return figure


def lead_attention_figure(
    summary: AttentionSummary,
    title: str = "Latent attention between leads",
    layer: int | None = None,
    head: int | None = None,
) -> go.Figure:
    """How much each lead (row) took from each lead (column), of one layer and head or the mean over them."""
    table = summary.attention_table(layer, head)
    look = {"colorscale": WEIGHT_SCALE, "colorbar": {"title": "share"}}
    figure = heatmap(table.to_numpy(), table.columns, table.index, "%{y} took %{z:.1%} from %{x}", **look)
    figure.update_yaxes(title_text="attending lead").update_xaxes(title_text="attended lead")
    return finish(figure, title, height=460)


def roll_up_figure(summary: AttentionSummary, title: str = "Where the leads' latents and the heart token come from"):
    """Rolled-up attention: how much of each lead (row) came from each other lead (column), and below, into the heart.

    The share of a lead in itself is written on the diagonal, not colored, since it is much larger than all others. The
    bars are the shares in the heart token through all leads, the dots the pooling weights only.
    """
    leads, shares = list(summary.leads), summary.rolled_up
    own = np.eye(len(leads), dtype=bool)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.7, 0.3])
    figure.add_heatmap(
        z=np.where(own, np.nan, shares),
        x=leads,
        y=leads,
        colorscale=WEIGHT_SCALE,
        xgap=1,
        ygap=1,
        colorbar=_color_bar("share", y=0.66, length=0.66) | {"tickformat": ".1%"},
        hovertemplate="%{z:.1%} of %{y} came from %{x}<extra></extra>",
        **UPPER,
    )
    for row, lead in enumerate(leads):
        figure.add_annotation(
            x=lead,
            y=lead,
            text=f"{shares[row, row]:.0%}",
            showarrow=False,
            font={"size": 11, "color": "#444444"},
            **UPPER,
        )
    figure.add_bar(
        x=leads,
        y=summary.into_heart,
        marker_color=BLUE,
        name="through all leads",
        **LOWER,
        hovertemplate="%{y:.1%} of the heart token came from %{x}<extra></extra>",
    )
    figure.add_scatter(
        x=leads,
        y=summary.lead_weights.mean(axis=0),
        mode="markers",
        name="pooling weight only",
        marker={"color": ORANGE, "size": 9, "line": {"width": 1}},
        **LOWER,
    )
    figure.add_hline(y=1 / len(leads), line={"color": GRAY, "dash": "dot"}, **LOWER)
    figure.update_xaxes(range=[-0.5, len(leads) - 0.5], showgrid=False)
    figure.update_yaxes(autorange="reversed", title_text="lead", showgrid=False, **UPPER)
    figure.update_yaxes(title_text="into the heart token", tickformat=".0%", rangemode="tozero", **LOWER)
    figure.update_xaxes(title_text="came from lead", showticklabels=True, **LOWER)
    return finish(figure, title, height=680)


def _behind(shown: np.ndarray, method: str) -> dict:
    """The colors behind an ECG and the values where they begin and end: symmetric around the neutral value."""
    if method == "gradient_attention":
        return {"colorscale": BEHIND, "cmin": 0.0, "cmax": max(float(shown.max()), 1e-12)}
    neutral = 1.0 if method == "attention_rollout" else 0.0
    limit = max(float(np.abs(shown - neutral).max()), 1e-12)
    return {"colorscale": BEHIND_SIGNED, "cmin": neutral - limit, "cmax": neutral + limit}


def _color_bar(title: str, y: float = 0.5, length: float = 0.9) -> dict:
    return {"title": {"text": title, "side": "right"}, "thickness": 14, "len": length, "y": y}
