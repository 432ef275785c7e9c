"""The linear path of a reconstruction: what the visible leads say about a masked one at the same moment.

Four of the twelve leads are sums of two others, and the rest follow from one another in part. A linear regression knows
that, and where it is the better of the two, a reconstruction should be the regression's. Both are fitted after
pretraining, which they leave as it is: what is easy to a regression would otherwise not be learned.
"""

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

LEVELS = 10
"""Into so many levels the share of a lead that the regression leaves open is divided."""

KINDS = 3
"""Of masks, see `kind_of`."""

FEW = 20.0
"""The regression counts as this many patches in the fit of the weights."""


class LinearPrediction(NamedTuple):
    """What a linear regression says about each lead, in mV.

    predicted_mv: (b, l, n, p), the lead itself where it is visible. level: (b, l, n), from 0 where the regression
    leaves nothing open to LEVELS - 1 where it leaves all of the lead open.
    """

    predicted_mv: Float[Tensor, "b l n p"]
    level: Int[Tensor, "b l n"]


class LinearPath(nn.Module):
    """The linear regression of each lead on whichever leads are visible, and how it is combined with a model.

    covariance: (2, 12, 12), of ECGs whose amplitude is unknown, in units of each lead's standard deviation, and of ECGs
    in mV. weight: (3, LEVELS, 2), by which the predictions of a masked patch by a model and by the regression are
    added: for each kind of mask (see `kind_of`), and by how much the regression leaves open. Until both are fitted, the
    model's prediction is taken alone.
    """

    covariance: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("covariance", torch.eye(len(LEADS)).repeat(2, 1, 1))
        self.register_buffer("weight", torch.tensor([1.0, 0.0]).repeat(KINDS, LEVELS, 1))

    def forward(
        self,
        centered_mv: Float[Tensor, "b l n p"],
        visible: Bool[Tensor, "b l n"],
        in_mv: Bool[Tensor, " b"],
        names: Int[Tensor, " l"],
    ) -> LinearPrediction:
        """What the leads that are visible at each patch say about every lead.

        centered_mv: each lead without the mean of its visible patches. names: the index of each lead in LEADS.
        """
        covariance = self.covariance[:, names[:, None], names][in_mv.long()]
        at_patch = rearrange(visible, "b l n -> b n l")
        weight, open_variance = regression(covariance[:, None].expand(-1, at_patch.shape[1], -1, -1), at_patch)
        with full_precision(centered_mv.device):
            predicted = einsum(weight, centered_mv * visible[..., None], "b n v l, b v n p -> b l n p")
        usual = covariance.diagonal(dim1=1, dim2=2)[..., None].clamp(min=1e-12)
        left = (rearrange(open_variance, "b n l -> b l n") / usual).clamp(0, 1).sqrt()
        level = (left * LEVELS).long().clamp(max=LEVELS - 1)
        return LinearPrediction(torch.where(visible[..., None], centered_mv, predicted), level)

    def combine(
        self, model_mv: Float[Tensor, "b l n p"], linear: LinearPrediction, visible: Bool[Tensor, "b l n"]
    ) -> Float[Tensor, "b l n p"]:
        """A model's prediction, where a patch is masked combined with the regression's; both without the mean."""
        weight = self.weight[kind_of(visible), linear.level]
        combined = weight[..., :1] * model_mv + weight[..., 1:] * linear.predicted_mv
        return torch.where(visible[..., None], model_mv, combined)


def kind_of(visible: Bool[Tensor, "b l n"]) -> Int[Tensor, "b l 1"]:
    """The kind of mask of each lead: 0 if a part of the lead is visible, 1 if nothing of it is, and 2 if nothing of it
    is and all of every other lead, as where a lead was not recorded: there a regression is hardest to beat."""
    masked, complete = ~visible.any(dim=2, keepdim=True), visible.all(dim=2, keepdim=True)
    return masked.long() * (1 + (masked | complete).all(dim=1, keepdim=True).long())


class CovarianceFit:
    """The covariance of the leads over all samples of ECGs, each with the twelve leads in the order of LEADS.

    An absent lead is left out. float64 on the CPU, so that it is the same on every device.
    """

    def __init__(self) -> None:
        self.total = torch.zeros(2, len(LEADS), len(LEADS), dtype=torch.float64)
        self.pairs = torch.zeros_like(self.total)

    def add(self, batch: Batch) -> None:
        """Take these ECGs into account."""
        batch = batch.to("cpu")
        centered = (batch.signal_mv - batch.signal_mv.mean(dim=2, keepdim=True)).double()
        unit = centered / (centered.square().mean(dim=2, keepdim=True) + 1e-12).sqrt()
        known = batch.lead_mask * batch.in_mv()[:, None]
        for row, (x, recorded) in enumerate(((unit, batch.lead_mask), (centered, known))):
            x, recorded = x * recorded[:, :, None], recorded.double()
            self.total[row] += einsum(x, x, "b i t, b j t -> i j") / x.shape[2]
            self.pairs[row] += einsum(recorded, recorded, "b i, b j -> i j")

    def covariance(self) -> Float[Tensor, "2 l l"]:
        """In units of each lead's standard deviation, and in mV; where no ECG is in mV, of the usual amplitude."""
        found = self.total / self.pairs.clamp(min=1)
        if not bool(self.pairs[1].any()):
            found[1] = found[0] * USUAL_SCALE_MV**2
        return found


class WeightFit:
    """The weights by which a model and a regression predict masked patches best: least squares for each kind of mask
    and level.

    Errors count in units of each lead and what is predicted of it, so that neither a large ECG nor an artifact, which
    the other leads do not explain, counts more than others. Where patches are few, the regression is trusted.
    """

    def __init__(self) -> None:
        shape = (KINDS, LEVELS)
        self.gram = torch.zeros(*shape, 2, 2, dtype=torch.float64)
        self.cross = torch.zeros(*shape, 2, dtype=torch.float64)

    def add(
        self,
        model_mv: Float[Tensor, "b l n p"],
        linear: LinearPrediction,
        true_mv: Float[Tensor, "b l n p"],
        visible: Bool[Tensor, "b l n"],
        masked: Bool[Tensor, "b l n"],
    ) -> None:
        """Take the masked patches of these ECGs into account; all in mV, without the mean."""
        signals = (true_mv, model_mv, linear.predicted_mv)
        power = torch.stack([signal.square().mean(dim=(2, 3), keepdim=True) for signal in signals])
        unit = power.sum(dim=0).sqrt() + 0.01
        both = torch.stack([model_mv, linear.predicted_mv], dim=-1) / unit[..., None]
        true = true_mv / unit
        gram = einsum(both, both, "b l n p i, b l n p j -> b l n i j") / true.shape[3]
        cross = einsum(both, true, "b l n p i, b l n p -> b l n i") / true.shape[3]
        index = (kind_of(visible) * LEVELS + linear.level)[masked].cpu()
        for total, part in ((self.gram, gram), (self.cross, cross)):
            total.flatten(0, 1).index_add_(0, index, part[masked].cpu().double())

    def weight(self) -> Float[Tensor, "k v 2"]:
        """The weight of the model and that of the regression."""
        gram = self.gram + FEW * torch.eye(2, dtype=torch.float64)
        cross = self.cross + FEW * torch.tensor([0.0, 1.0], dtype=torch.float64)
        return torch.linalg.solve(gram, cross)


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
