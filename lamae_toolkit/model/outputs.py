"""What the model's steps hand on: the latents of the leads, and what is made of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Reconstruction(NamedTuple):
    """What a pretraining step returns: `loss, prediction, mask = model(batch)`.

    prediction: (b, l, n, p) in normalized units. mask: True where a patch was hidden and recorded.
    """

    loss: Float[Tensor, ""]
    prediction: Float[Tensor, "b l n p"]
    mask: Bool[Tensor, "b l n"]


class Embedding(NamedTuple):
    """What the model knows of each ECG.

    heart: (b, d), the pooled heart token. per_lead: (b, l, d), the latent of each lead (0 if absent).
    lead_weights: (b, h, l), the share that each lead has in the heart token; sums to 1 over the leads.
    per_lead_std: (b, l, d), how much each lead's tokens vary over time (standard deviation; 0 if absent).
    summary: (b, 5 d), leads and moments summarised by mean and spread (see `LAMAE.summary`); like the heart
    token it is the same in whatever order the leads come.
    """

    heart: Float[Tensor, "b d"]
    per_lead: Float[Tensor, "b l d"]
    lead_weights: Float[Tensor, "b h l"]
    per_lead_std: Float[Tensor, "b l d"]
    summary: Float[Tensor, "b s"]


class Latents(NamedTuple):
    """The latents of all leads: the lead's own CLS token, then one token per visible patch.

    tokens: (b, l, m, d) with m = 1 + visible patches. seen: (b, l, m), False for padding and absent
    leads, or None if there is neither. position: (b, l, m - 1), the patch that each token stands for.
    """

    tokens: Float[Tensor, "b l m d"]
    seen: Bool[Tensor, "b l m"] | None
    position: Int[Tensor, "b l k"]

    def lead_mask(self) -> Bool[Tensor, "b l"]:
        """Which leads were seen at all."""
        if self.seen is None:
            return torch.ones(self.tokens.shape[:2], dtype=torch.bool, device=self.tokens.device)
        return self.seen[:, :, 0]

    def of_leads(self, rows: Sequence[int]) -> "Latents":
        """The latents of these rows alone, in this order."""
        return Latents(self.tokens[:, rows], None if self.seen is None else self.seen[:, rows], self.position[:, rows])

    def time_steps(self) -> tuple[Float[Tensor, "b l k d"], Bool[Tensor, "b l k"]]:
        """The tokens of the patches, without the CLS token, and which of them were seen."""
        if self.seen is None:
            return self.tokens[:, :, 1:], torch.ones_like(self.position, dtype=torch.bool)
        return self.tokens[:, :, 1:], self.seen[:, :, 1:]


def with_cls(seen: Bool[Tensor, "b l m"]) -> Bool[Tensor, "b l m"]:
    """The same, with the CLS token of every lead to be seen: a lead that is absent must look at something."""
    return torch.cat([torch.ones_like(seen[:, :, :1]), seen[:, :, 1:]], dim=2)


def mean_and_std(x: Float[Tensor, "*b k d"], there: Bool[Tensor, "*b k"]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (both *b d) over the k that are there."""
    share = (there / there.sum(dim=-1, keepdim=True).clamp(min=1))[..., None].to(x.dtype)
    mean = (x * share).sum(dim=-2)
    variance = ((x - mean[..., None, :]).square() * share).sum(dim=-2)
    return mean, (variance + 1e-8).sqrt()  # the root of an exact 0 has no gradient
