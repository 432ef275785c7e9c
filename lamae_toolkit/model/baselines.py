"""LAMAE's rivals: the same encoder, decoder, data, steps and budget, but the leads meet otherwise or never.

Independent leads: each lead is read and drawn on its own. Alignment: so, too, but the latents of the leads of one
ECG are pulled together (MVMAE, arXiv 2511.22294). Average joint: the leads meet in the decoder as their plain mean.
Random encoder: LAMAE without training. With equal sizes all have the same transformer blocks; only where LAMAE's
last ones look across leads, theirs look along the lead.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Latents, with_cls


class IndependentMAE(LAMAE):
    """A masked autoencoder for single leads: no information crosses leads, neither in the encoder nor the decoder."""

    def __init__(self, config: LAMAEConfig) -> None:
        # A lead that is hidden altogether could not be drawn from anything.
        super().__init__(replace(config, masked_leads=0, mask_ratio=config.mask_ratio or 0.75))
        del self.pooling, self.heart_to_decoder

    def connect(self, latents: Latents) -> Latents:
        """The blocks that are LAMAE's latent attention, each lead on its own."""
        tokens, seen, position = latents
        x = rearrange(tokens, "b l m d -> (b l) m d")
        keys = None if seen is None else rearrange(with_cls(seen), "b l m -> (b l) m")
        for block in self.latent_attention:
            x = block(x, keys)
        return Latents(self.norm(rearrange(x, "(b l) m d -> b l m d", b=len(tokens))), seen, position)

    def pool(self, latents: Latents, n: int, time_steps: bool = True):
        """The plain mean of the leads: heart (b, d), equal weights (b, 1, l), and no moments."""
        there = latents.lead_mask()
        weights = there / there.sum(dim=1, keepdim=True)
        return (self.lead_latents(latents) * weights[..., None]).sum(dim=1), weights[:, None], None

    def decode(self, latents: Latents, heart: Tensor, time_steps: None, batch) -> Float[Tensor, "b l n p"]:
        """Draw each lead from its own latents alone."""
        return super().decode(latents, None, None, batch)


class AlignmentMAE(IndependentMAE):
    """Independent leads whose latents are pulled together: loss = reconstruction + beta * alignment.

    The latent of a lead is the mean of its tokens at unit length; beta rises from 0 to 2 (`alignment_weight`).
    Source: MVMAE, arXiv 2511.22294, whose three alignment losses are the subclasses.
    """

    align: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, config: LAMAEConfig) -> None:
        super().__init__(config)
        # A tensor: a compiled model takes its value anew in every step, and is compiled again for every new number.
        self.register_buffer("beta", torch.tensor(0.0), persistent=False)
        self._progress = 0.0

    @property
    def progress(self) -> float:
        """The share of pretraining after warm-up that is done, which beta follows."""
        return self._progress

    @progress.setter
    def progress(self, value: float) -> None:
        self._progress = value
        self.beta.fill_(alignment_weight(value))

    def auxiliary_loss(self, latents: Latents) -> Tensor:
        """beta times the alignment loss of the leads that are there."""
        unit = F.normalize(self.lead_latents(latents), dim=-1)
        return self.beta * type(self).align(unit, latents.lead_mask())


def alignment_weight(progress: float, largest: float = 2.0) -> float:
    """beta: 0 until warm-up ends (progress 0), then up a sigmoid, largest * sigmoid(12 * (progress - 1/2))."""
    return 0.0 if progress <= 0 else largest / (1 + math.exp(-12 * (progress - 0.5)))


def mse_alignment(unit: Float[Tensor, "b l d"], there: Bool[Tensor, "b l"]) -> Float[Tensor, ""]:
    """sum over ordered pairs of leads of mean_d (f_i - f_j)^2, divided by n^2; mean over ECGs."""
    pairs = (there[:, :, None] & there[:, None]).to(unit.dtype)
    # For unit vectors |f_i - f_j|^2 = 2 - 2 cos.
    distance = (2 - 2 * unit @ unit.mT) / unit.shape[-1]
    return ((distance * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2))).mean()


def cosine_alignment(unit: Float[Tensor, "b l d"], there: Bool[Tensor, "b l"]) -> Float[Tensor, ""]:
    """minus the mean cosine of all pairs of different leads of an ECG; mean over ECGs."""
    pairs = (there[:, :, None] & there[:, None]).to(unit.dtype) * (1 - torch.eye(unit.shape[1], device=unit.device))
    return -((unit @ unit.mT * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)).mean()


def info_nce_alignment(
    unit: Float[Tensor, "b l d"], there: Bool[Tensor, "b l"], temperature: float = 0.5
) -> Float[Tensor, ""]:
    """For each ordered pair of leads: tell the other lead of the same ECG from that lead of other ECGs.

    cross-entropy over the batch of f_i . f_j / temperature, mean over pairs and ECGs.
    """
    logits = torch.einsum("aid, bjd -> ijab", unit, unit) / temperature
    logits = logits.masked_fill(~there.T[None, :, None, :], -1e9)  # not -inf: a lead that no ECG has gives no NaN
    chance = logits.log_softmax(dim=-1).diagonal(dim1=-2, dim2=-1)
    pairs = (
        there.T[:, None] & there.T[None] & ~torch.eye(unit.shape[1], dtype=torch.bool, device=unit.device)[..., None]
    )
    return -torch.where(pairs, chance, 0.0).sum() / pairs.sum().clamp(min=1)


class AlignmentMSE(AlignmentMAE):
    """Alignment by the squared distance of the lead latents."""

    align = staticmethod(mse_alignment)


class AlignmentCosine(AlignmentMAE):
    """Alignment by the cosine of the lead latents."""

    align = staticmethod(cosine_alignment)


class AlignmentInfoNCE(AlignmentMAE):
    """Alignment by contrast with the other ECGs of the batch."""

    align = staticmethod(info_nce_alignment)
    ecgs_meet_in_loss = True


class AverageJoint(LAMAE):
    """Leads are read on their own, and their plain mean enters the decoder: joint, without attention or weights."""

    def __init__(self, config: LAMAEConfig) -> None:
        depth = config.encoder_depth + config.latent_depth
        super().__init__(replace(config, encoder_depth=depth, latent_depth=0, pooling="mean"))


class RandomEncoder(LAMAE):
    """LAMAE with the weights that it starts from: what the architecture alone is worth. Always show it beside."""


COMPARED_MODELS: dict[str, type[LAMAE]] = {
    "LAMAE": LAMAE,
    "independent leads": IndependentMAE,
    "alignment, MSE": AlignmentMSE,
    "alignment, cosine": AlignmentCosine,
    "alignment, InfoNCE": AlignmentInfoNCE,
    "average joint": AverageJoint,
    "random encoder": RandomEncoder,
}
"""The models of the comparison that share LAMAE's sizes, by name."""
