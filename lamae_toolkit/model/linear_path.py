"""The linear path of the decoder: what the visible leads say about a masked one at the same moment.

Four of the twelve leads are sums of two others, and the rest follow from one another in part. A linear regression knows
that; a model that adds its own reconstruction to the regression's begins where the regression ends.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.model.precision import full_precision

USUAL_SCALE_MV = 0.2
"""The standard deviation over 10 s that a lead has in most ECGs, about."""

MIN_SHARE = 1e-4
"""A lead of which the leads before it explain all but this share of the variance is left out of the regression."""


class LinearPrediction(NamedTuple):
    """What a linear regression says about each lead, in mV.

    predicted_mv: (b, l, n, p), the lead itself where it is visible. open_mv: (b, l, n, 1), the standard deviation of
    what is left open, 0 where a lead is visible or a sum of visible ones. scale_mv: (b, l, 1, 1), the standard
    deviation that a lead without visible patches is expected to have.
    """

    predicted_mv: Float[Tensor, "b l n p"]
    open_mv: Float[Tensor, "b l n 1"]
    scale_mv: Float[Tensor, "b l 1 1"]


class LinearPath(nn.Module):
    """The linear regression of each lead on whichever leads are visible, from the leads' covariance.

    covariance: (2, 12, 12), of ECGs whose amplitude is unknown, in units of each lead's standard deviation, and of ECGs
    in mV. It is fitted once, before training (`fit`); until then the leads are taken as unrelated.
    """

    covariance: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("covariance", torch.eye(len(LEADS)).repeat(2, 1, 1))

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch]) -> None:
        """Take the covariance over all samples of these ECGs, each with the twelve leads in the order of LEADS.

        An absent lead is left out. float64 on the CPU, so that it is the same on every device.
        """
        total = torch.zeros(self.covariance.shape, dtype=torch.float64)
        pairs = torch.zeros_like(total)
        for batch in batches:
            batch = batch.to("cpu")
            centered = (batch.signal_mv - batch.signal_mv.mean(dim=2, keepdim=True)).double()
            unit = centered / (centered.square().mean(dim=2, keepdim=True) + 1e-12).sqrt()
            known = batch.lead_mask * batch.in_mv()[:, None]
            for row, (x, recorded) in enumerate(((unit, batch.lead_mask), (centered, known))):
                x, recorded = x * recorded[:, :, None], recorded.double()
                total[row] += einsum(x, x, "b i t, b j t -> i j") / x.shape[2]
                pairs[row] += einsum(recorded, recorded, "b i, b j -> i j")
        found = total / pairs.clamp(min=1)
        if not bool(pairs[1].any()):  # no ECG is in mV
            found[1] = found[0] * USUAL_SCALE_MV**2
        self.covariance.copy_(found)

    def forward(
        self,
        centered_mv: Float[Tensor, "b l n p"],
        visible: Bool[Tensor, "b l n"],
        scale_mv: Float[Tensor, "b l 1 1"],
        in_mv: Bool[Tensor, " b"],
        names: Int[Tensor, " l"],
    ) -> "LinearPrediction":
        """What the leads that are visible at each patch say about every lead.

        centered_mv: each lead without the mean of its visible patches. scale_mv: their standard deviation. names: the
        index of each lead in LEADS.
        """
        covariance = self.covariance[:, names[:, None], names][in_mv.long()]
        at_patch = rearrange(visible, "b l n -> b n l")
        weight, open_variance = regression(covariance[:, None].expand(-1, at_patch.shape[1], -1, -1), at_patch)
        with full_precision(centered_mv.device):
            predicted = einsum(weight, centered_mv * visible[..., None], "b n v l, b v n p -> b l n p")
        # How much larger the visible leads of this ECG are than on average.
        seen, usual = visible.any(dim=2), covariance.diagonal(dim1=1, dim2=2)
        larger = (scale_mv[..., 0, 0].square() * seen).sum(dim=1) / (usual * seen).sum(dim=1).clamp(min=1e-12)
        open_variance = rearrange(open_variance, "b n l -> b l n 1") * larger[:, None, None, None]
        variance = predicted.square().mean(dim=(2, 3), keepdim=True) + open_variance.mean(dim=2, keepdim=True)
        predicted = torch.where(visible[..., None], centered_mv, predicted)
        return LinearPrediction(predicted, open_variance.sqrt() * ~visible[..., None], (variance + 0.01**2).sqrt())


def regression(
    covariance: Float[Tensor, "*b l l"], visible: Bool[Tensor, "*b l"]
) -> tuple[Float[Tensor, "*b v l"], Float[Tensor, "*b l"]]:
    """The linear regression of every lead on the visible ones: weights, and the variance that is left.

    By the sweep operator (Goodnight, The American Statistician 33:149, 1979): one pivot after the other, each a visible
    lead. It passes over leads that follow from those before, where a matrix inverse would be undefined, and it needs
    nothing but sums and products, so that the model compiles and exports as one graph.
    """
    swept, used = covariance, []
    eye = torch.eye(covariance.shape[-1], dtype=torch.bool, device=covariance.device)
    for lead in range(covariance.shape[-1]):
        pivot = swept[..., lead, lead]
        use = visible[..., lead] & (pivot > MIN_SHARE * covariance[..., lead, lead])
        inverse = torch.where(use, pivot, 1.0).reciprocal()[..., None]
        column = swept[..., :, lead] * inverse
        rest = swept - column[..., :, None] * swept[..., lead, None, :]
        # Row and column of the pivot become the weights of this lead.
        rest = torch.where(eye[lead][:, None], swept[..., lead, None, :] * inverse[..., None], rest)
        rest = torch.where(eye[lead][None], column[..., None], rest)
        rest = torch.where(eye[lead][:, None] & eye[lead], -inverse[..., None], rest)
        swept = torch.where(use[..., None, None], rest, swept)
        used.append(use)
    on_visible = torch.stack(used, dim=-1)
    weight = swept * on_visible[..., :, None] * ~on_visible[..., None, :]
    open_variance = swept.diagonal(dim1=-2, dim2=-1) * ~on_visible
    return weight, open_variance.clamp(min=0)
