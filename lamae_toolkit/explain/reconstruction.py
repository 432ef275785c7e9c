"""How models reconstruct the masked parts of one ECG, and the error of each lead."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.preprocess import crop, resample
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import SHIPPED

SILENCE_MV = 0.01
"""Added in quadrature to a lead's standard deviation, as the models do: noise in a silent lead is not blown up."""


def shipped_pair() -> dict[str, LAMAE]:
    """The two models that come with the toolkit, which differ in one thing: LAMAE connects the leads."""
    lamae, independent = SHIPPED
    return {"LAMAE": LAMAE.from_pretrained(lamae), "independent leads": IndependentMAE.from_pretrained(independent)}


def as_read(recording: Recording, config: LAMAEConfig) -> Recording:
    """The part of an ECG that a model reads: from its beginning, at the model's rate, in complete patches.

    As in `collate`, what comes after that part has no influence on it.

    ECGError if it is shorter than two patches, one visible and one masked.
    """
    patch = config.patch_samples
    part = crop(recording, 0.0, min(config.duration_s, recording.duration_s))
    signal_mv = resample(part, config.sampling_rate_hz).signal_mv
    patches = min(signal_mv.shape[1] // patch, config.max_patches)
    if patches < 2:
        raise ECGError(
            f"The ECG has {recording.duration_s:g} s, but the model reads at least two patches of"
            f" {patch / config.sampling_rate_hz:g} s; give a longer ECG."
        )
    return replace(recording, signal_mv=signal_mv[:, : patches * patch], sampling_rate_hz=config.sampling_rate_hz)


@torch.inference_mode()
def reconstruct_masked(
    models: Mapping[str, LAMAE], recording: Recording, mask: Bool[np.ndarray, "l n"]
) -> dict[str, Recording]:
    """Let each model reconstruct the complete ECG from the patches that are not masked.

    mask: True where masked, a row for each lead of the recording. Mean and amplitude in mV of a masked lead are taken
    from that lead (see `LAMAE.reconstruct`). ECGError if everything is masked.
    """
    reconstructions = {}
    for name, model in models.items():
        read, device = as_read(recording, model.config), next(model.parameters()).device
        batch = Batch(
            torch.from_numpy(read.signal_mv)[None], torch.ones(1, len(read.leads), dtype=torch.bool), read.leads
        )
        with in_float32(model):
            reconstructed = model.reconstruct(batch.to(device), torch.from_numpy(mask)[None].to(device))[0]
        reconstructions[name] = replace(read, signal_mv=reconstructed.cpu().numpy(), notes=(), flags=())
    return reconstructions


def masked_errors(
    recording: Recording, reconstruction: Recording, mask: Bool[np.ndarray, "l n"]
) -> Float[np.ndarray, " l"]:
    """The error of each lead's masked part: 0 is exact, 1 is the error of predicting the lead's mean.

    mean over masked samples of (reconstructed - true)^2 / (variance of the lead + 0.01^2 mV^2), for each lead of the
    recording; NaN where nothing is masked. With normalization "lead" their mean by `mean_error` is the model's loss.
    """
    true = resample(recording, reconstruction.sampling_rate_hz).signal_mv.astype(np.float64)
    reconstructed = reconstruction.select(recording.leads).signal_mv
    samples = reconstructed.shape[1]
    if true.shape[1] < samples or mask.shape[0] != len(true) or samples % mask.shape[1]:
        raise ECGError(
            f"A mask of shape {mask.shape} and a reconstruction of {reconstruction.duration_s:g} s do not fit an ECG of"
            f" {len(true)} leads and {recording.duration_s:g} s; give those that belong to it."
        )
    true = true[:, :samples]
    variance = true.var(axis=1) + SILENCE_MV**2
    error = rearrange(np.square(reconstructed - true), "l (n p) -> l n p", n=mask.shape[1]).mean(axis=2)
    number = mask.sum(axis=1)
    mean = (error * mask).sum(axis=1) / np.maximum(number, 1)
    return np.where(number > 0, mean / variance, np.nan)


def mean_error(errors: Float[np.ndarray, " l"], mask: Bool[np.ndarray, "l n"]) -> float:
    """The mean error over all masked patches of all leads; NaN where nothing is masked."""
    number = mask.sum(axis=1)
    return float(np.nansum(errors * number) / number.sum()) if number.any() else float("nan")
