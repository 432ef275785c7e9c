"""Normalization: from patches in mV to the units of the model, and back.

The units are those of each lead's own standard deviation, so that a small lead counts as much as a large one.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.linear_path import USUAL_SCALE_MV
from lamae_toolkit.model.patches import cut


class Patches(NamedTuple):
    """The patches of an ECG in units of each lead's scale, and what leads from these units to mV.

    patches: (b, l, n, p), (signal - mean) / scale, 0 for an absent lead. mean_mv, scale_mv: (b, l, 1, 1).
    weight: (b, l, 1), by which an error in these units becomes one in units of the complete lead's standard deviation,
    if that is larger: a lead with an artifact where it is masked would outweigh all others.
    """

    patches: Float[Tensor, "b l n p"]
    mean_mv: Float[Tensor, "b l 1 1"]
    scale_mv: Float[Tensor, "b l 1 1"]
    weight: Float[Tensor, "b l 1"] | float = 1.0

    def centered_mv(self) -> Float[Tensor, "b l n p"]:
        """The patches in mV, without the mean of the lead."""
        return self.patches * self.scale_mv

    def amplitudes(self, mask: Bool[Tensor, "b l n"]) -> Float[Tensor, "b l a"]:
        """How large each lead is where it is visible: log10 of its scale in mV, highest and lowest voltage in mV."""
        voltage_mv = (self.centered_mv() * ~mask[..., None]).flatten(2)
        return torch.cat([self.scale_mv[..., 0].log10(), *voltage_mv.aminmax(dim=2, keepdim=True)[::-1]], dim=2)


class Normalization:
    """Cut each lead into patches and normalize it, as the configuration says.

    leads_meet: False for a model in which no lead may know of another.
    """

    def __init__(self, config: LAMAEConfig, leads_meet: bool = True) -> None:
        self.config, self.leads_meet = config, leads_meet

    def __call__(self, batch: Batch, mask: Bool[Tensor, "b l n"] | None = None) -> Patches:
        """mask: True for masked patches, from which nothing is taken with normalization "visible"."""
        patches_mv, recorded = cut(batch, self.config), batch.lead_mask[:, :, None]
        visible = recorded.expand(patches_mv.shape[:3]) if mask is None else recorded & ~mask
        visible_leads, kind = visible.any(dim=2), self.config.normalization
        used = visible if kind == "visible" else torch.ones_like(visible)
        mean_mv, scale_mv = mean_and_scale(patches_mv, used)
        weight: Tensor | float = 1.0
        if kind == "record":
            scale_mv = record_scale(scale_mv, batch.lead_mask).expand_as(scale_mv)
        elif kind == "visible":
            usual = record_scale(scale_mv, visible_leads) if self.leads_meet else USUAL_SCALE_MV
            scale_mv = torch.where(visible_leads[..., None, None], scale_mv, usual)
            if mask is not None:
                _, own_mv = mean_and_scale(patches_mv, torch.ones_like(visible))
                weight = (scale_mv / torch.maximum(scale_mv, own_mv)).square()[..., 0]
        return Patches((patches_mv - mean_mv) / scale_mv * recorded[..., None], mean_mv, scale_mv, weight)


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
