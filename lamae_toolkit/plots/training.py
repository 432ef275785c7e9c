"""A look at training from outside: one ECG that the model must draw again and again, and the curve of its error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Bool

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.model.masking import random_mask
from lamae_toolkit.model.pretrained import PretrainedModel, check_rate
from lamae_toolkit.plots._plotly import BLUE, GRAY, GREEN, ORANGE, VERMILION, finish
from lamae_toolkit.plots.ecg import reconstruction_figure


@dataclass(frozen=True, eq=False)
class MonitoredECG:
    """One ECG that is not trained on, and the patches of it that stay hidden for the whole training."""

    recording: Recording
    batch: Batch
    mask: Bool[torch.Tensor, "1 l n"]

    @classmethod
    def of(cls, store: Store, row: int, model: PretrainedModel, seed: int = 0) -> "MonitoredECG":
        """The ECG of this row, as much of it hidden as the model's configuration says."""
        check_rate(model, store.sampling_rate_hz)
        config = model.config
        patches = min(store.signals.shape[2] // config.patch_samples, config.max_patches)
        shape = (1, len(LEADS), patches)
        mask = random_mask(shape, config.mask_ratio, torch.Generator().manual_seed(seed))
        return cls(store.recording(row), store.batch([row]), mask)


@dataclass(frozen=True, eq=False)
class Drawing:
    """How the model drew the watched ECG after some steps.

    error: the mean squared error on its hidden patches, in units of each lead's variance, as the training loss is.
    """

    step: int
    reconstruction: Recording
    error: float


def draw(model: PretrainedModel, watched: MonitoredECG, step: int = 0) -> Drawing:
    """Let the model draw the hidden patches as it is now; it and its random numbers are left as they were."""
    device, was_training = next(model.parameters()).device, model.training
    batch, mask = watched.batch.to(device), watched.mask.to(device)
    try:
        with torch.inference_mode():
            drawn = model.eval().reconstruct(batch, mask)[0].cpu().numpy()
            target, (_, prediction, hidden) = model.patches(batch), model(batch, mask)
            error = ((prediction - target).square().mean(dim=-1) * hidden).sum() / hidden.sum()
    finally:
        model.train(was_training)
    signal = Recording(drawn, watched.recording.sampling_rate_hz, batch.leads)
    return Drawing(step, signal.select(watched.recording.leads), error.item())


def drawing_figure(watched: MonitoredECG, drawing: Drawing | None = None, title: str = "") -> go.Figure:
    """The watched ECG, its hidden patches in gray, and what the model drew there."""
    there = [LEADS.index(lead) for lead in watched.recording.leads]
    hidden = watched.mask[0, there].numpy()
    if drawing is None:  # nothing is drawn yet
        samples = watched.batch.signal_mv.shape[2]
        blank = np.zeros((len(there), samples - samples % hidden.shape[1]), dtype=np.float32)
        nothing = Recording(blank, watched.recording.sampling_rate_hz, watched.recording.leads)
        figure = reconstruction_figure(watched.recording, nothing, hidden, title or "Not drawn yet")
        return figure.update_traces(y=np.full(blank.shape[1], np.nan), selector={"legendgroup": "overlay"})
    title = title or f"Drawn after step {drawing.step}: error {drawing.error:.3f}"
    return reconstruction_figure(watched.recording, drawing.reconstruction, hidden, title)


def progress_figure(
    log: Sequence[dict], drawings: Sequence[Drawing] = (), steps: int | None = None, title: str = "Training"
) -> go.Figure:
    """Loss of each logged batch and error of the watched ECG over the steps; 1 is guessing the mean of each lead.

    log: rows as from `train.read_log`. steps: how many there will be.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=[row["step"] for row in log],
        y=[row["loss"] for row in log],
        mode="lines",
        name="loss of a training batch",
        line={"color": BLUE, "width": 1.5},
    )
    figure.add_scatter(
        x=[one.step for one in drawings],
        y=[one.error for one in drawings],
        mode="lines+markers",
        name="error of the watched ECG",
        line={"color": VERMILION, "width": 2},
        marker={"symbol": "diamond", "size": 6},
    )
    figure.add_hline(y=1.0, line={"color": GRAY, "dash": "dot"}, annotation_text="guessing the mean of each lead")
    last = max([steps or 1, *(row["step"] for row in log)])
    top = max([1.1, *(row["loss"] for row in log), *(one.error for one in drawings)])
    figure.update_xaxes(title_text="training step", range=[0, last])
    figure.update_yaxes(title_text="error on hidden patches (1 = variance)", range=[0, 1.05 * min(top, 3.0)])
    return finish(figure, title, height=360)


def learning_curve_figure(logs: dict[str, Sequence[dict]], title: str = "Learning curve") -> go.Figure:
    """Pretraining loss over the steps, one line for each run; 1 is what guessing each lead's mean gives."""
    figure = go.Figure()
    for (name, log), color in zip(logs.items(), (BLUE, VERMILION, GREEN, ORANGE), strict=False):
        steps, losses = [row["step"] for row in log], [row["loss"] for row in log]
        figure.add_scatter(x=steps, y=losses, mode="lines", name=name, line={"color": color})
    figure.add_hline(y=1.0, line={"color": GRAY, "dash": "dot"}, annotation_text="guessing the mean of each lead")
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(title_text="loss on hidden patches (1 = variance)", rangemode="tozero")
    return finish(figure, title, height=380)
