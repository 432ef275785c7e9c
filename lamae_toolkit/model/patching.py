"""From the leads of an ECG to the patches that the model reads: whole patches, each lead normalized."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.config import LAMAEConfig


def patch_count(batch: Batch, config: LAMAEConfig) -> int:
    """How many whole patches these ECGs hold, at most `max_patches`; ECGError if fewer than two."""
    n = min(batch.signal_mv.shape[2] // config.patch_samples, config.max_patches)
    if n < 2:
        raise ECGError(
            f"These ECGs have {batch.signal_mv.shape[2]} samples a lead, but the model needs at least"
            f" {2 * config.patch_samples} at {config.sampling_rate_hz:g} Hz; give longer ECGs."
        )
    return n


def whole_patches(batch: Batch, config: LAMAEConfig) -> Batch:
    """The ECGs without the samples at their end that fill no patch."""
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

    "lead": each lead by its own standard deviation. "record": all leads of an ECG by one, so that
    their relative heights stay. 0.01 mV is added in quadrature: noise in a silent lead is not blown up.
    """
    mean = batch.signal_mv.mean(dim=2, keepdim=True)
    variance = (batch.signal_mv - mean).square().mean(dim=2, keepdim=True)
    if normalization == "record":
        there = batch.lead_mask[:, :, None]
        variance = (variance * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True)
        variance = variance.expand_as(mean)
    return mean, (variance + 0.01**2).sqrt()
