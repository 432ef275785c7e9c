"""What a model would predict from every subset of an ECG's leads: encode the leads once, then connect each subset."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.explain.shapley import subset_members
from lamae_toolkit.explain.subset_latents import (
    SubsetLatents,
    latents_by_cls,
    latents_by_connecting,
    latents_in_one_layer,
    latents_of_leads_apart,
)
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Latents, mean_and_std


@torch.inference_mode()
def subset_log_odds(model: LAMAE, probe: Probe, batch: Batch) -> Float[Tensor, "b s c"]:
    """The log-odds of each code that the model would give if an ECG had only some of its leads, for every subset.

    s = 2^leads: bit i of the subset's number says whether the i-th present lead of the batch is in it. The empty
    subset is the probe at its mean features, that is its bias: nothing known. The same as `model.embed` and the probe
    on `batch.select(leads)`, subset by subset, to float32's accuracy. All ECGs of the batch must have the same leads.

    Cost, 12 leads: for tokens "all" in one layer a tenth of 4,096 full runs (the small network of every token is left
    to compute), for "cls" and models whose leads meet in the decoder only under a hundredth, for deeper or induced
    latent attention a half to a fifth, and with normalization "record", where nothing can be kept, all of it. Memory:
    the table and, at the shipped size, 65 MB (induced: 250 MB), however many ECGs.
    """
    batch = batch.select(present_leads(batch))
    members = torch.tensor(subset_members(len(batch.leads)), device=batch.signal_mv.device)
    tables = torch.empty(len(batch), len(members), len(probe.codes), dtype=torch.float64)
    classifier = _Classifier.of(probe, batch.leads, model.config.width)
    with in_float32(model):
        for row, table in enumerate(tables):
            one = Batch(batch.signal_mv[row : row + 1], batch.lead_mask[row : row + 1], batch.leads)
            for latents in _subset_latents(model, one, members):
                there = members[latents.rows]
                whole = _heart(model, latents, there) if probe.representation == "heart" else _summary(latents, there)
                table[latents.rows.cpu()] = classifier(latents, there, whole)
            table[0] = torch.from_numpy(probe.bias)
    return tables


def present_leads(batch: Batch) -> tuple[str, ...]:
    """The leads that the ECGs of a batch have; ECGError if they have none, or not all the same ones."""
    if not bool((batch.lead_mask == batch.lead_mask[:1]).all()):
        raise ECGError("The ECGs of this batch have different leads; put ECGs with the same leads into a batch.")
    leads = tuple(name for name, there in zip(batch.leads, batch.lead_mask[0].tolist(), strict=True) if there)
    if not leads:
        raise ECGError("An ECG of this batch has no usable lead at all; leave it out.")
    return leads


def _subset_latents(model: LAMAE, one: Batch, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """The quickest way that this model allows, with the same result."""
    config = model.config
    if config.normalization == "record":
        yield from _latents_by_encoding(model, one, members)
        return
    encoded = model.encode(one)
    if isinstance(model, IndependentMAE) or config.latent_depth == 0:
        yield from latents_of_leads_apart(model.connect(encoded), members)
    elif config.tokens == "cls":
        yield from latents_by_cls(model, encoded, members)
    elif config.tokens == "all" and config.latent_depth == 1:
        yield from latents_in_one_layer(model, encoded, members)
    else:
        yield from latents_by_connecting(model, encoded, members)


def _latents_by_encoding(model: LAMAE, one: Batch, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """Where the scale of a lead depends on the other leads, each subset must be encoded again: as slow as full runs."""
    for row in range(1, len(members)):
        there = members[row]
        leads = [name for name, is_in in zip(one.leads, there.tolist(), strict=True) if is_in]
        connected = model.connect(model.encode(one.select(leads)))
        tokens, _ = connected.time_steps()
        per_lead, spread = one.signal_mv.new_zeros(2, 1, len(one.leads), tokens.shape[-1])
        per_lead[:, there], spread[:, there] = connected.lead_latents(), connected.lead_std()
        yield SubsetLatents(
            torch.tensor([row], device=members.device), per_lead, spread, reduce(tokens, "s l n d -> n s d", "mean")
        )


def _heart(model: LAMAE, latents: SubsetLatents, there: Bool[Tensor, "s l"]) -> Float[Tensor, "s d"]:
    """The heart token of each subset, by the model's own pooling."""
    # One token a lead, of which the lead's latent is the mean.
    position = latents.rows.new_empty(*there.shape, 0)
    return model.pool(Latents(latents.per_lead[:, :, None], there[..., None], position))[0]


def _summary(latents: SubsetLatents, there: Bool[Tensor, "s l"]) -> Float[Tensor, "s w"]:
    """The summary of each subset: `Latents.summary` where every patch of a lead is there, twenty times as fast."""
    mean, over_leads = mean_and_std(latents.per_lead, there)
    over_time = (latents.heartbeat - latents.heartbeat.mean(dim=0)).square_().mean(dim=0).add_(1e-8).sqrt_()
    change = latents.heartbeat.diff(dim=0).abs_().mean(dim=0)
    return torch.cat([mean, over_leads, mean_and_std(latents.spread, there)[0], over_time, change], dim=1)


class _Classifier(NamedTuple):
    """A probe as it reads subsets of these leads: the same as `probe.log_odds`, with its scale and mean multiplied out.

    log-odds = known + whole . by_whole + for each lead in the subset its latent . by_lead + its spread . by_spread
    - average. whole: heart token or summary. 64-bit, on the CPU.
    """

    known: Float[Tensor, " c"]
    by_whole: Float[Tensor, "w c"]
    by_lead: Float[Tensor, "ld c"] | None
    by_spread: Float[Tensor, "ld c"] | None
    average: Float[Tensor, "l c"] | None

    @classmethod
    def of(cls, probe: Probe, leads: Sequence[str], width: int) -> "_Classifier":
        """ECGError if the probe was fitted on a model of another width."""
        mean, scale, weight, bias = (
            torch.from_numpy(values.astype(np.float64))
            for values in (probe.mean, probe.scale, probe.weight, probe.bias)
        )
        weight = (weight / scale).T
        in_places = 2 * len(LEADS) * width if probe.representation == "per_lead" else 0
        probe.check_width(in_places + width * (1 if probe.representation == "heart" else 5))
        known = bias - mean[in_places:] @ weight[in_places:]
        if not in_places:
            return cls(known, weight, None, None, None)
        here = [LEADS.index(name) for name in leads]
        places = rearrange(weight[:in_places], "(two l d) c -> two l d c", two=2, l=len(LEADS))[:, here]
        means = rearrange(mean[:in_places], "(two l d) -> two l d", two=2, l=len(LEADS))[:, here]
        average = einsum(means, places, "two l d, two l d c -> l c")
        by_lead, by_spread = rearrange(places, "two l d c -> two (l d) c")
        return cls(known, weight[in_places:], by_lead, by_spread, average)

    def __call__(
        self, latents: SubsetLatents, there: Bool[Tensor, "s l"], whole: Float[Tensor, "s w"]
    ) -> Float[Tensor, "s c"]:
        odds = self.known + whole.cpu().double() @ self.by_whole
        if self.average is None or self.by_lead is None or self.by_spread is None:
            return odds
        for x, weight in ((latents.per_lead, self.by_lead), (latents.spread, self.by_spread)):
            odds += x.flatten(1).cpu().double() @ weight
        return odds - there.cpu().double() @ self.average
