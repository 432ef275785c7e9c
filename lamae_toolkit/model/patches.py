"""From the leads of an ECG to the patches that the model reads: complete patches, each lead normalized."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.config import LAMAEConfig


def check_input(batch: Batch, config: LAMAEConfig, mask: Bool[Tensor, "b l n"] | None = None) -> None:
    """Refuse an ECG without a usable lead, and a mask of a wrong shape or that leaves nothing visible (ECGError).

    It reads values, which synchronizes with a GPU; a model that is being compiled or exported skips it.
    """
    if torch.compiler.is_compiling():
        return
    if not bool(batch.lead_mask.any(dim=1).all()):
        raise ECGError("An ECG of this batch has no usable lead; leave it out.")
    if mask is None:
        return
    shape = (len(batch), len(batch.leads), patch_count(batch, config))
    if tuple(mask.shape) != shape:
        raise ECGError(f"The mask has shape {tuple(mask.shape)}, but these ECGs have patches of shape {shape}.")
    if not bool((~mask & batch.lead_mask[:, :, None]).any(dim=2).any(dim=1).all()):
        raise ECGError("The mask covers all patches of an ECG; leave at least one patch visible.")


def patch_count(batch: Batch, config: LAMAEConfig) -> int:
    """How many complete patches these ECGs hold, at most `max_patches`; ECGError if fewer than two."""
    n = min(batch.signal_mv.shape[2] // config.patch_samples, config.max_patches)
    if n < 2:
        raise ECGError(
            f"These ECGs have {batch.signal_mv.shape[2]} samples a lead, but the model needs at least"
            f" {2 * config.patch_samples} at {config.sampling_rate_hz:g} Hz; give longer ECGs."
        )
    return n


def whole_patches(batch: Batch, config: LAMAEConfig) -> Batch:
    """The ECGs without the samples at their end that do not fill a patch."""
    samples = patch_count(batch, config) * config.patch_samples
    return Batch(batch.signal_mv[:, :, :samples], batch.lead_mask, batch.leads)


def cut_patches(batch: Batch, config: LAMAEConfig) -> Float[Tensor, "b l n p"]:
    """Normalize each lead and cut it into patches; those of an absent lead are 0."""
    cut = whole_patches(batch, config)
    mean_mv, scale_mv = lead_statistics(cut, config.normalization)
    normalized = (cut.signal_mv - mean_mv) / scale_mv * cut.lead_mask[:, :, None]
    return rearrange(normalized, "b l (n p) -> b l n p", p=config.patch_samples)


def lead_statistics(batch: Batch, normalization: str) -> tuple[Float[Tensor, "b l 1"], Float[Tensor, "b l 1"]]:
    """Mean and scale in mV by which each lead is normalized.

    "lead": each lead by its own standard deviation. "record": all leads of an ECG by one, so that their relative
    amplitudes stay. 0.01 mV is added in quadrature, so that noise in a flat lead is not amplified.
    """
    mean = batch.signal_mv.mean(dim=2, keepdim=True)
    variance = (batch.signal_mv - mean).square().mean(dim=2, keepdim=True)
    if normalization == "record":
        recorded = batch.lead_mask[:, :, None]
        variance = (variance * recorded).sum(dim=1, keepdim=True) / recorded.sum(dim=1, keepdim=True)
        variance = variance.expand_as(mean)
    return mean, (variance + 0.01**2).sqrt()
