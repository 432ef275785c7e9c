"""Fitting the linear path of a model, after pretraining: the regression between leads, and how it is combined."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.linear_path import CovarianceFit, WeightFit
from lamae_toolkit.model.random_numbers import Purpose, random_keys, uniform

AT_ONCE = 32


@torch.no_grad()
def fit_linear_path(model: LAMAE, ecgs: Iterable[Batch], examples: Sequence[Batch]) -> None:
    """Fit the regression between the leads to `ecgs`, and how the model is combined with it to `examples`.

    The examples, some hundreds of ECGs with all twelve leads, are reconstructed twice each: from the patches that
    pretraining would show, and from a random number of complete leads. The model itself is not changed. ECGError if it
    has no linear path or there is no ECG.
    """
    if model.linear_path is None:
        raise ECGError("This model has no linear path to fit; make it with linear_path=True.")
    covariance, weight = CovarianceFit(), WeightFit()
    for batch in ecgs:
        covariance.add(batch)
    if not bool(covariance.pairs.any()) or not examples:
        raise ECGError("There is no ECG to fit the linear path to; give at least one.")
    device = next(model.parameters()).device
    model.linear_path.covariance.copy_(covariance.covariance())
    first = 0
    for example in examples:
        for start in range(0, len(example), AT_ONCE):
            batch = example.rows(slice(start, start + AT_ONCE)).to(device)
            keys = random_keys(0, 0, torch.arange(first, first + len(batch), device=device))
            first += len(batch)
            patches = model.sample_visible(batch, keys).mask(*model.patches(batch).shape[1:3])
            for mask in (patches, complete_leads(keys, batch.lead_mask)[..., None].expand_as(patches)):
                _add(weight, model, batch, mask)
    model.linear_path.weight.copy_(weight.weight())


def complete_leads(keys: Int64[Tensor, " b"], lead_mask: Bool[Tensor, "b l"]) -> Bool[Tensor, "b l"]:
    """A random number of leads of each ECG, from one to all but one of those that were recorded."""
    noise = uniform(keys, Purpose.MASKED_LEADS, (lead_mask.shape[1],)).masked_fill(~lead_mask, 2.0)
    rank = noise.argsort(dim=1).argsort(dim=1)
    at_most = lead_mask.sum(dim=1, keepdim=True) - 1
    number = (1 + (uniform(keys, Purpose.MASK_KIND, (1,)) * at_most).long()).minimum(at_most)
    return lead_mask & (rank < number)


def _add(weight: WeightFit, model: LAMAE, batch: Batch, mask: Bool[Tensor, "b l n"]) -> None:
    """Take the reconstruction of these ECGs under this mask into account."""
    assert model.linear_path is not None
    patches, names = model.normalize(batch, mask), batch.lead_indices()
    true_mv, visible = patches.centered_mv(), batch.lead_mask[:, :, None] & ~mask
    model_mv = model.predict(patches, batch, mask)[1] * patches.scale_mv
    linear = model.linear_path(true_mv, visible, batch.in_mv(), names)
    weight.add(model_mv, linear, true_mv, visible, mask & batch.lead_mask[:, :, None])
