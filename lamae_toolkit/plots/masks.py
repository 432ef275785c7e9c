"""Figures of how models reconstruct the masked parts of an ECG, one model next to the other."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import crop
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.reconstruction import masked_errors
from lamae_toolkit.palette import BLACK, GRAY, Look, model_looks
from lamae_toolkit.plots._plotly import finish
from lamae_toolkit.plots.ecg import ecg_figure

MOST_MODELS = 4


def mask_figure(
    recording: Recording, reconstructions: Mapping[str, Recording], mask: Bool[np.ndarray, "l n"], title: str = ""
) -> go.Figure:
    """The ECG, its masked patches (shaded), how each model reconstructs them, and the errors next to the lead's name.

    reconstructions: by name of the model, at most four, as from `reconstruct_masked`. mask: True where masked, a row
    for each lead of the recording. Errors as from `masked_errors`: 1 is the error of predicting the lead's mean.
    """
    looks, errors = _looks(reconstructions), _errors(recording, reconstructions, mask)
    read_s = min(reconstruction.duration_s for reconstruction in reconstructions.values())
    figure = ecg_figure(crop(recording, 0.0, read_s), mask=mask, title=title)
    figure.data[0].update(showlegend=True)
    leads = [lead for lead in LEADS if lead in recording.leads]
    traces, labels = [], []
    for number, (lead, truth, label) in enumerate(zip(leads, figure.data, figure.layout.annotations, strict=True)):
        row = recording.leads.index(lead)
        words = []
        for name, reconstruction in reconstructions.items():
            color, dash, _ = looks[name]
            masked = np.repeat(mask[row], reconstruction.signal_mv.shape[1] // mask.shape[1])
            traces.append(
                go.Scatter(
                    x=np.arange(len(masked)) / reconstruction.sampling_rate_hz,
                    y=np.where(masked, reconstruction.lead(lead), np.nan),
                    xaxis=truth.xaxis,
                    yaxis=truth.yaxis,
                    mode="lines",
                    line={"color": color, "dash": dash, "width": 1.6},
                    name=name,
                    legendgroup=name,
                    showlegend=number == 0,
                    hovertemplate=f"{name}, {lead}: %{{y:.2f}} mV<extra></extra>",
                )
            )
            if mask[row].any():
                words.append(f"<span style='color:{color}'>{name} {errors[name][row]:.2f}</span>")
        completely = " (all masked)" if mask[row].all() else ""
        labels.append(label.to_plotly_json() | {"text": "  ".join([f"<b>{lead}</b>{completely}", *words])})
    figure.add_traces(traces)
    return figure.update_layout(annotations=labels)


def error_figure(
    recording: Recording, reconstructions: Mapping[str, Recording], mask: Bool[np.ndarray, "l n"], title: str = ""
) -> go.Figure:
    """The error of each model on the masked patches of each lead, as bars; a star marks leads that were masked
    completely.

    Arguments as of `mask_figure`. A lead of which nothing was masked has no bar.
    """
    looks, errors = _looks(reconstructions), _errors(recording, reconstructions, mask)
    leads = [lead for lead in LEADS if lead in recording.leads]
    rows = [recording.leads.index(lead) for lead in leads]
    figure = go.Figure()
    for (name, values), pattern in zip(errors.items(), ("", "/", "x", "."), strict=False):
        figure.add_bar(
            x=leads,
            y=values[rows],
            name=name,
            marker={"color": looks[name].color, "pattern": {"shape": pattern, "fgcolor": "white", "size": 6}},
            hovertemplate=f"{name}, %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    highest = np.nan_to_num(np.stack(list(errors.values()))).max(axis=0)
    top = max(1.2, 1.15 * float(highest.max()))
    figure.add_scatter(
        x=[lead for lead, row in zip(leads, rows, strict=True) if mask[row].all()],
        y=[highest[row] + 0.05 * top for row in rows if mask[row].all()],
        mode="markers",
        marker={"symbol": "star", "size": 9, "color": BLACK},
        name="masked completely",
        hoverinfo="skip",
    )
    figure.add_hline(y=1.0, line={"color": GRAY, "dash": "dot"})
    figure.update_xaxes(categoryorder="array", categoryarray=leads, range=[-0.6, max(len(leads), 6) - 0.4])
    figure.update_yaxes(title_text="error on masked patches <br>(1 = guessing the mean)", range=[0, top])
    return finish(figure, title, height=240)


def _looks(reconstructions: Mapping[str, Recording]) -> dict[str, Look]:
    if not 0 < len(reconstructions) <= MOST_MODELS:
        raise ECGError(
            f"{len(reconstructions)} models cannot be told apart in one figure; give 1 to {MOST_MODELS} of them."
        )
    return model_looks(reconstructions)


def _errors(recording, reconstructions, mask) -> dict[str, np.ndarray]:
    return {name: masked_errors(recording, reconstruction, mask) for name, reconstruction in reconstructions.items()}
