"""Normalization: from patches in mV to the units of the model, and back.

The units are those of each lead's own standard deviation, so that a small lead counts as much as a large one.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.linear_path import USUAL_SCALE_MV, LinearPath
from lamae_toolkit.model.patches import cut, lead_indices


class Patches(NamedTuple):
    """The patches of an ECG in units of each lead's scale, and what leads from these units to mV.

    patches: (b, l, n, p), (signal - mean) / scale, 0 for an absent lead. mean_mv, scale_mv: (b, l, 1, 1).
    linear: (b, l, n, p) in the same units, what the linear path predicts, and open: (b, l, n, 1), how much it leaves
    open; 0 and 1 without one. weight: (b, l, 1), by which an error in these units becomes one in units of the complete
    lead's standard deviation, if that is larger: a lead with an artifact where it is masked would outweigh all others.
    """

    patches: Float[Tensor, "b l n p"]
    mean_mv: Float[Tensor, "b l 1 1"]
    scale_mv: Float[Tensor, "b l 1 1"]
    linear: Float[Tensor, "b l n p"] | float = 0.0
    open: Float[Tensor, "b l n 1"] | float = 1.0
    weight: Float[Tensor, "b l 1"] | float = 1.0

    def prediction(self, decoded: Float[Tensor, "b l n p"]) -> Float[Tensor, "b l n p"]:
        """What the decoder gives, in these units: it adds to the linear path what that leaves open."""
        return self.linear + self.open * decoded

    def in_mv(self, prediction: Float[Tensor, "b l n p"]) -> Float[Tensor, "b l t"]:
        """A prediction in these units, as leads in mV."""
        return rearrange(prediction * self.scale_mv + self.mean_mv, "b l n p -> b l (n p)")


class Normalization(nn.Module):
    """Cut each lead into patches and normalize it, as the configuration says.

    linear_path: the linear regression between leads to which the decoder adds, if the model has one. leads_meet: False
    for a model in which no lead may know of another.
    """

    leads_meet: bool = True

    def __init__(self, config: LAMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.linear_path = LinearPath() if config.linear_path else None

    def forward(self, batch: Batch, mask: Bool[Tensor, "b l n"] | None = None) -> Patches:
        """mask: True for masked patches, from which nothing is taken with normalization "visible".

        Without a mask nothing is to be reconstructed, and the linear path is not asked.
        """
        patches_mv, recorded = cut(batch, self.config), batch.lead_mask[:, :, None]
        visible = recorded.expand(patches_mv.shape[:3]) if mask is None else recorded & ~mask
        visible_leads, kind = visible.any(dim=2), self.config.normalization
        used = visible if kind == "visible" else torch.ones_like(visible)
        mean_mv, scale_mv = mean_and_scale(patches_mv, used)
        if kind == "record":
            scale_mv = record_scale(scale_mv, batch.lead_mask).expand_as(scale_mv)
        elif kind == "visible":
            usual = record_scale(scale_mv, visible_leads) if self.leads_meet else USUAL_SCALE_MV
            scale_mv = torch.where(visible_leads[..., None, None], scale_mv, usual)
        linear: Tensor | float = 0.0
        left: Tensor | float = 1.0
        weight: Tensor | float = 1.0
        if self.linear_path is not None and mask is not None:
            names, in_mv = lead_indices(batch), batch.in_mv()
            centered_mv = (patches_mv - mean_mv) * recorded[..., None]
            found = self.linear_path(centered_mv, visible, scale_mv, in_mv, names)
            if kind == "visible":
                scale_mv = torch.where(visible_leads[..., None, None], scale_mv, found.scale_mv)
            linear, left = found.predicted_mv / scale_mv, found.open_mv / scale_mv
        if kind == "visible" and mask is not None:
            _, own_mv = mean_and_scale(patches_mv, torch.ones_like(visible))
            weight = (scale_mv / torch.maximum(scale_mv, own_mv)).square()[..., 0]
        return Patches((patches_mv - mean_mv) / scale_mv * recorded[..., None], mean_mv, scale_mv, linear, left, weight)


def mean_and_scale(
    patches_mv: Float[Tensor, "b l n p"], visible: Bool[Tensor, "b l n"]
) -> tuple[Float[Tensor, "b l 1 1"], Float[Tensor, "b l 1 1"]]:
    """Mean and standard deviation in mV of each lead's visible patches; 0 and 0.01 mV of a lead without any.

    0.01 mV is added in quadrature, so that noise in a flat lead is not amplified.
    """
    count = (visible.sum(dim=2) * patches_mv.shape[3]).clamp(min=1)[..., None, None]
    inside = visible[..., None]
    mean = (patches_mv * inside).sum(dim=(2, 3), keepdim=True) / count
    variance = ((patches_mv - mean).square() * inside).sum(dim=(2, 3), keepdim=True) / count
    return mean, (variance + 0.01**2).sqrt()


def record_scale(scale_mv: Float[Tensor, "b l 1 1"], visible_leads: Bool[Tensor, "b l"]) -> Float[Tensor, "b 1 1 1"]:
    """One scale of an ECG, the root of the mean square of those of its visible leads."""
    inside = visible_leads[..., None, None]
    return ((scale_mv.square() * inside).sum(dim=1, keepdim=True) / inside.sum(dim=1, keepdim=True)).sqrt()
