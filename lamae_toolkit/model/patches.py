"""From the leads of an ECG to patches, and what the model refuses to read."""

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


def cut(batch: Batch, config: LAMAEConfig) -> Float[Tensor, "b l n p"]:
    """The patches in mV; samples at the end of the ECG that do not fill a patch are left out."""
    n = patch_count(batch, config)
    signal_mv = batch.signal_mv[:, :, : n * config.patch_samples]
    return rearrange(signal_mv, "b l (n p) -> b l n p", p=config.patch_samples)
