"""Figures of training: learning curves, and and one ECG that the model reconstructs during training."""

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
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import random_mask
from lamae_toolkit.model.pretrained import PretrainedModel, check_rate
from lamae_toolkit.palette import BLUE, GRAY, GREEN, model_looks
from lamae_toolkit.plots._plotly import finish
from lamae_toolkit.plots.ecg import reconstruction_figure


@dataclass(frozen=True, eq=False)
class MonitoredECG:
    """One ECG that is not in training, with a mask that stays the same during the complete training."""

    recording: Recording
    batch: Batch
    mask: Bool[torch.Tensor, "1 l n"]

    @classmethod
    def of(cls, store: Store, row: int, model: PretrainedModel, seed: int = 0) -> "MonitoredECG":
        """The ECG of this row, masked as the model's configuration says."""
        check_rate(model, store.sampling_rate_hz)
        config = model.config
        patches = min(store.signals.shape[2] // config.patch_samples, config.max_patches)
        shape = (1, len(LEADS), patches)
        mask = random_mask(shape, config.mask_ratio, torch.Generator().manual_seed(seed))
        return cls(store.recording(row), store.batch([row]), mask)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The reconstruction of the monitored ECG after some steps.

    error: the mean squared error on its masked patches, in units of each lead's variance, as the training loss is.
    """

    step: int
    reconstruction: Recording
    error: float


def take_snapshot(model: LAMAE, monitored: MonitoredECG, step: int = 0) -> Snapshot:
    """Reconstruct the masked patches with the present model; its mode and the random state are restored."""
    device, was_training = next(model.parameters()).device, model.training
    batch, mask = monitored.batch.to(device), monitored.mask.to(device)
    try:
        with torch.inference_mode():
            reconstructed = model.eval().reconstruct(batch, mask)[0].cpu().numpy()
            target, (_, prediction, masked) = model.patches(batch, mask), model(batch, mask)
            error = ((prediction - target).square().mean(dim=-1) * masked).sum() / masked.sum()
    finally:
        model.train(was_training)
    signal = Recording(reconstructed, monitored.recording.sampling_rate_hz, batch.leads)
    return Snapshot(step, signal.select(monitored.recording.leads), error.item())


def snapshot_figure(monitored: MonitoredECG, snapshot: Snapshot | None = None, title: str = "") -> go.Figure:
    """The monitored ECG, its masked patches in gray, and the reconstruction."""
    rows = [LEADS.index(lead) for lead in monitored.recording.leads]
    masked = monitored.mask[0, rows].numpy()
    if snapshot is None:  # nothing is reconstructed yet
        samples = monitored.batch.signal_mv.shape[2]
        blank = np.zeros((len(rows), samples - samples % masked.shape[1]), dtype=np.float32)
        nothing = Recording(blank, monitored.recording.sampling_rate_hz, monitored.recording.leads)
        figure = reconstruction_figure(monitored.recording, nothing, masked, title or "Not reconstructed yet")
        return figure.update_traces(y=np.full(blank.shape[1], np.nan), selector={"legendgroup": "overlay"})
    title = title or f"Reconstructed after step {snapshot.step}: error {snapshot.error:.3f}"
    return reconstruction_figure(monitored.recording, snapshot.reconstruction, masked, title)


def progress_figure(
    log: Sequence[dict], snapshots: Sequence[Snapshot] = (), steps: int | None = None, title: str = "Training"
) -> go.Figure:
    """Loss of each logged batch and error of the monitored ECG over the steps; 1 is the error of predicting each lead's
    mean.

    log: rows as from `lt.read_log`. steps: their total number.
    """
    figure = go.Figure()
    _add_losses(figure, log, "loss of a training batch", "validation loss", BLUE)
    figure.add_scatter(
        x=[one.step for one in snapshots],
        y=[one.error for one in snapshots],
        mode="lines+markers",
        name="error of the monitored ECG",
        line={"color": GREEN, "width": 2},
        marker={"symbol": "diamond", "size": 6},
    )
    figure.add_hline(y=1.0, line={"color": GRAY, "dash": "dot"}, annotation_text="guessing the mean of each lead")
    last = max([steps or 1, *(row["step"] for row in log)])
    top = max([1.1, *(row["loss"] for row in log), *(one.error for one in snapshots)])
    figure.update_xaxes(title_text="training step", range=[0, last])
    figure.update_yaxes(title_text="error on masked patches (1 = variance)", range=[0, 1.05 * min(top, 3.0)])
    return finish(figure, title, height=360)


def learning_curve_figure(logs: dict[str, Sequence[dict]], title: str = "Learning curve") -> go.Figure:
    """Pretraining loss over the training steps, one line for each run; 1 is what guessing each lead's mean gives.

    logs: from the name of a run to its rows, each with "step" and "loss" (in units of the variance of each lead), as
    from `lt.read_log`. Where rows have a "validation_loss", the run has a second line for it, dashed.
    title: above the figure.

    Example:
        import lamae_toolkit as lt

        log = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.8}]
        figure = lt.learning_curve_figure({"LAMAE": log})
    """
    figure = go.Figure()
    for name, look in model_looks(logs).items():
        _add_losses(figure, logs[name], name, f"{name}, validation", look.color)
    figure.add_hline(y=1.0, line={"color": GRAY, "dash": "dot"}, annotation_text="guessing the mean of each lead")
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(title_text="loss on masked patches (1 = variance)", rangemode="tozero")
    return finish(figure, title, height=380)


def _add_losses(figure: go.Figure, log: Sequence[dict], name: str, name_of_validation: str, color: str) -> None:
    """The loss of each logged batch, and the validation loss, dashed and without a name where there is none."""
    for metric, words, look in (("loss", name, {}), ("validation_loss", name_of_validation, {"dash": "dash"})):
        rows = [row for row in log if metric in row]
        # Always two traces: a figure on a page is updated trace by trace.
        figure.add_scatter(
            x=[row["step"] for row in rows],
            y=[row[metric] for row in rows],
            mode="lines" if metric == "loss" else "lines+markers",
            name=words,
            line={"color": color, "width": 1.5, **look},
            showlegend=metric == "loss" or bool(rows),
        )
