"""What the steps of the model return: latents, embedding and reconstruction."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Reconstruction(NamedTuple):
    """What a pretraining step returns: `loss, prediction, mask = model(batch)`.

    prediction: (b, l, n, p), every patch, in units of its lead's scale. mask: (b, l, n), True where a recorded patch
    was masked: the patches of which the loss is the mean.
    """

    loss: Float[Tensor, ""]
    prediction: Float[Tensor, "b l n p"]
    mask: Bool[Tensor, "b l n"]


class Embedding(NamedTuple):
    """The features of each ECG, from which a linear probe predicts.

    heart: (b, d), the pooled heart token; with pooling "named" (b, h (2 d + a)).
    per_lead: (b, l, d), the latent of each lead (0 if absent).
    lead_weights: (b, h, l), the share that each lead has in the heart token; sums to 1 over the leads.
    per_lead_std: (b, l, d), how much each lead's tokens vary over time (standard deviation; 0 if absent).
    summary: (b, 5 d), leads and time steps summarized by mean and standard deviation (see `Latents.summary`); like the
    heart token it does not depend on the order of the leads.
    amplitude: (b, l, a), of a model that reads amplitudes, the decimal logarithm of each lead's standard deviation in
    mV, its highest and its lowest voltage in mV from its mean (about the R and the S wave), and 0 where the lead is
    absent or its amplitude unknown; else without columns.
    """

    heart: Float[Tensor, "b d"]
    per_lead: Float[Tensor, "b l d"]
    lead_weights: Float[Tensor, "b h l"]
    per_lead_std: Float[Tensor, "b l d"]
    summary: Float[Tensor, "b s"]
    amplitude: Float[Tensor, "b l a"]


class Latents(NamedTuple):
    """The latents of all leads: each lead's CLS token, then its patch tokens.

    tokens: (b, l, m, d), m = 1 + patch tokens. valid_mask: (b, l, m), True for a visible patch of a recorded lead, and
    for the CLS token of a lead that has one; False for masked patches and absent leads. position: (b, l, m - 1), the
    index of the patch that each patch token stands for. lead: (b, l), the row of each lead in the batch. name: (b, l),
    its index in LEADS. amplitude: as in `Embedding`; without columns in training, where no probe reads it.
    """

    tokens: Float[Tensor, "b l m d"]
    valid_mask: Bool[Tensor, "b l m"]
    lead: Int[Tensor, "b l"]
    position: Int[Tensor, "b l k"]
    name: Int[Tensor, "b l"]
    amplitude: Float[Tensor, "b l a"]

    def lead_mask(self) -> Bool[Tensor, "b l"]:
        """Which leads have a visible patch."""
        return self.valid_mask[:, :, 0]

    def of_leads(self, rows: Sequence[int]) -> "Latents":
        """The latents of these rows alone, in this order."""
        return Latents(*(part[:, rows] for part in self))

    def time_steps(self) -> tuple[Float[Tensor, "b l k d"], Bool[Tensor, "b l k"]]:
        """The patch tokens, without the CLS token, and which of them are valid."""
        return self.tokens[:, :, 1:], self.valid_mask[:, :, 1:]

    def lead_latents(self) -> Float[Tensor, "b l d"]:
        """One latent per lead: the mean of its valid tokens, or 0 for a lead without any."""
        count = self.valid_mask.sum(dim=2).clamp(min=1)
        return (self.tokens * self.valid_mask[..., None]).sum(dim=2) / count[..., None]

    def lead_std(self) -> Float[Tensor, "b l d"]:
        """The standard deviation of each lead's patch tokens over time, or 0 for a lead without any."""
        return mean_and_std(*self.time_steps())[1] * self.lead_mask()[..., None]

    def summary(self) -> Float[Tensor, "b s"]:
        """Five numbers for each latent dimension, whatever the number and order of the leads.

        Mean and standard deviation of the lead latents over the leads; the leads' mean standard deviation over time;
        and, of the mean of the leads at each time step, the standard deviation over time and the mean absolute change
        from one patch to the next. The mean over time of a regular and of an irregular rhythm can be the same; how much
        it varies and changes is not.
        """
        leads, (tokens, valid) = self.lead_mask(), self.time_steps()
        mean, over_leads = mean_and_std(self.lead_latents(), leads)
        lead_mean, _ = mean_and_std(tokens.transpose(1, 2), valid.transpose(1, 2))
        in_any_lead = valid.any(dim=1)
        _, over_time = mean_and_std(lead_mean, in_any_lead)
        change, _ = mean_and_std(lead_mean.diff(dim=1).abs(), in_any_lead[:, 1:] & in_any_lead[:, :-1])
        return torch.cat([mean, over_leads, mean_and_std(self.lead_std(), leads)[0], over_time, change], dim=1)


def mean_and_std(x: Float[Tensor, "*b k d"], valid_mask: Bool[Tensor, "*b k"]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (both *b d) over the valid k."""
    share = (valid_mask / valid_mask.sum(dim=-1, keepdim=True).clamp(min=1))[..., None].to(x.dtype)
    mean = (x * share).sum(dim=-2)
    variance = ((x - mean[..., None, :]).square() * share).sum(dim=-2)
    return mean, (variance + 1e-8).sqrt()  # the gradient of the root is infinite at 0


def keys_within_leads(valid_mask: Bool[Tensor, "b l m"]) -> Bool[Tensor, "bl m"]:
    """The tokens that may be attended to within each lead: the valid ones and always the CLS token.

    An absent lead is left out later, but a softmax over no keys would be NaN.
    """
    return torch.cat([torch.ones_like(valid_mask[:, :, :1]), valid_mask[:, :, 1:]], dim=2).flatten(0, 1)
