"""What a model would predict from every subset of an ECG's leads: encode the leads once, then connect each subset."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch, collate
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, feature_sizes, weights_by_lead
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.explain.shapley import subset_members
from lamae_toolkit.explain.subset_latents import (
    SubsetLatents,
    latents_by_cls,
    latents_by_connecting,
    latents_in_one_layer,
    latents_of_independent_leads,
)
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Latents, mean_and_std


@torch.inference_mode()
def subset_log_odds(model: LAMAE, probe: Probe, batch: Batch) -> Float[Tensor, "b s c"]:
    """The log-odds of each code that the model would give if an ECG had only some of its leads, for every subset.

    s = 2^leads: bit i of the subset's number says whether the i-th present lead of the batch is in it. The empty
    subset is the probe at its mean features, that is its bias. The result is the same as `model.embed` and the probe
    on `batch.select(leads)`, subset by subset, to float32's accuracy. All ECGs of the batch must have the same leads.

    Cost, 12 leads: for tokens "all" in one layer a tenth of 4,096 full runs (the MLP of every token must still be
    computed), for "cls" and models whose leads meet in the decoder only under a hundredth, for deeper or induced
    latent attention a half to a fifth, and with normalization "record", where nothing can be reused, all of it. Memory:
    the table and, at the shipped size, 65 MB (induced: 250 MB), however many ECGs.
    """
    return subset_tables(model, [probe], batch)[0]


@torch.inference_mode()
def subset_tables(model: LAMAE, probes: Sequence[Probe], batch: Batch) -> list[Float[Tensor, "b s c"]]:
    """`subset_log_odds` of several probes, at about the cost of one: the latents of each subset are computed once."""
    batch = batch.select(present_leads(batch))
    members = torch.tensor(subset_members(len(batch.leads)), device=batch.signal_mv.device)
    tables = [torch.empty(len(batch), len(members), len(probe.codes), dtype=torch.float64) for probe in probes]
    classifiers = [_Classifier.of(probe, batch.leads, model) for probe in probes]
    with in_float32(model):
        for row in range(len(batch)):
            one = batch.rows(slice(row, row + 1))
            encoded = model.encode(one)
            for latents in _subset_latents(model, one, encoded, members):
                lead_mask = members[latents.rows]
                for probe, classifier, table in zip(probes, classifiers, tables, strict=True):
                    pooled = _pooled(model, probe, latents, encoded, lead_mask)
                    table[row, latents.rows.cpu()] = classifier(latents, encoded.amplitude[0], lead_mask, pooled)
            for probe, table in zip(probes, tables, strict=True):
                table[row, 0] = torch.from_numpy(probe.bias)
    return tables


def _pooled(
    model: LAMAE, probe: Probe, latents: SubsetLatents, encoded: Latents, lead_mask: Bool[Tensor, "s l"]
) -> Float[Tensor, "s w"] | None:
    """What a probe reads of each subset that belongs to no single lead; None with "leads"."""
    if probe.representation == "leads":
        return None
    if probe.representation != "heart":
        return _summary(latents, lead_mask)
    amplitude, name = (one.expand(len(lead_mask), *one.shape[1:]) for one in (encoded.amplitude, encoded.name))
    return model.pooling(latents.per_lead, latents.per_lead_std, amplitude, lead_mask, name)[0]


def batch_of(model: LAMAE, recording: Recording) -> Batch:
    """One ECG as a model reads it, on the device of the model: the leads that it has, in the order of `LEADS`.

    It is resampled to the model's rate, and its first `config.duration_s` seconds are read.
    """
    batch = collate([recording], model.config.sampling_rate_hz, model.config.duration_s)
    return batch.select(present_leads(batch)).to(next(model.parameters()).device)


def present_leads(batch: Batch) -> tuple[str, ...]:
    """The leads that the ECGs of a batch have; ECGError if there is none, or if the ECGs have different ones."""
    if not bool((batch.lead_mask == batch.lead_mask[:1]).all()):
        raise ECGError("The ECGs of this batch have different leads; put ECGs with the same leads into a batch.")
    leads = tuple(name for name, valid in zip(batch.leads, batch.lead_mask[0].tolist(), strict=True) if valid)
    if not leads:
        raise ECGError("An ECG of this batch has no usable lead; leave it out.")
    return leads


def _subset_latents(
    model: LAMAE, one: Batch, encoded: Latents, members: Bool[Tensor, "s l"]
) -> Iterator[SubsetLatents]:
    """The fastest method that this model allows; all give the same result."""
    config = model.config
    if config.normalization == "record":
        yield from _latents_by_encoding(model, one, members)
        return
    if isinstance(model, IndependentMAE) or config.latent_depth == 0:
        yield from latents_of_independent_leads(model.connect(encoded), members)
    elif config.tokens == "cls":
        yield from latents_by_cls(model, encoded, members)
    elif config.tokens == "all" and config.latent_depth == 1:
        yield from latents_in_one_layer(model, encoded, members)
    else:
        yield from latents_by_connecting(model, encoded, members)


def _latents_by_encoding(model: LAMAE, one: Batch, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """For scales that depend on the other leads: each subset is encoded again, as slow as full runs."""
    for row in range(1, len(members)):
        lead_mask = members[row]
        leads = [name for name, valid in zip(one.leads, lead_mask.tolist(), strict=True) if valid]
        connected = model.connect(model.encode(one.select(leads)))
        tokens, _ = connected.time_steps()
        per_lead, std = one.signal_mv.new_zeros(2, 1, len(one.leads), tokens.shape[-1])
        per_lead[:, lead_mask], std[:, lead_mask] = connected.lead_latents(), connected.lead_std()
        yield SubsetLatents(
            torch.tensor([row], device=members.device), per_lead, std, reduce(tokens, "s l n d -> n s d", "mean")
        )


def _summary(latents: SubsetLatents, lead_mask: Bool[Tensor, "s l"]) -> Float[Tensor, "s w"]:
    """The summary of each subset: `Latents.summary` for leads without masked patches, twenty times as fast."""
    mean, over_leads = mean_and_std(latents.per_lead, lead_mask)
    over_time = (latents.lead_mean - latents.lead_mean.mean(dim=0)).square_().mean(dim=0).add_(1e-8).sqrt_()
    change = latents.lead_mean.diff(dim=0).abs_().mean(dim=0)
    return torch.cat([mean, over_leads, mean_and_std(latents.per_lead_std, lead_mask)[0], over_time, change], dim=1)


class _Classifier(NamedTuple):
    """A probe for subsets of these leads: the same as `probe.log_odds`, with its scale and mean multiplied out.

    log-odds = bias + pooled . pooled_weight + for each lead in the subset its latent and its standard deviation .
    lead_weight - offset + (its amplitude - the mean amplitude) . amplitude_weight. pooled: heart token or summary, None
    with "leads". 64-bit, on the CPU.
    """

    bias: Float[Tensor, " c"]
    pooled_weight: Float[Tensor, "w c"]
    lead_weight: Float[Tensor, "x c"] | None
    offset: Float[Tensor, "l c"] | None
    amplitude_weight: Float[Tensor, "l a c"] | None = None
    mean_amplitude: Float[Tensor, "l a"] | None = None

    @classmethod
    def of(cls, probe: Probe, leads: Sequence[str], model: LAMAE) -> "_Classifier":
        """ECGError if the probe was fitted on a model of another width."""
        mean, scale, weight, probe_bias = (
            torch.from_numpy(values.astype(np.float64))
            for values in (probe.mean, probe.scale, probe.weight, probe.bias)
        )
        weight = (weight / scale).T
        of_lead, of_ecg = feature_sizes(model, probe.representation)
        n_lead_features, width = len(LEADS) * of_lead, model.config.width
        probe.check_width(n_lead_features + of_ecg)
        bias = probe_bias - mean[n_lead_features:] @ weight[n_lead_features:]
        if not n_lead_features:
            return cls(bias, weight, None, None)
        *latents, (amplitude_weight, mean_amplitude) = weights_by_lead(
            probe, leads, (width, width, of_lead - 2 * width)
        )
        both, mean = (torch.stack(parts) for parts in zip(*latents, strict=True))
        offset = einsum(mean, both, "two l d, two l d c -> l c")
        lead_weight = rearrange(both, "two l d c -> (two l d) c")
        return cls(bias, weight[n_lead_features:], lead_weight, offset, amplitude_weight, mean_amplitude)

    def __call__(
        self,
        latents: SubsetLatents,
        amplitude: Float[Tensor, "l a"],
        lead_mask: Bool[Tensor, "s l"],
        pooled: Float[Tensor, "s w"] | None,
    ) -> Float[Tensor, "s c"]:
        odds = self.bias.expand(len(lead_mask), -1)
        if pooled is not None:
            odds = odds + pooled.cpu().double() @ self.pooled_weight
        if self.offset is None or self.lead_weight is None:
            return odds
        assert self.mean_amplitude is not None and self.amplitude_weight is not None
        x = torch.stack([latents.per_lead, latents.per_lead_std], dim=1).flatten(1).cpu().double()
        amplitude = amplitude.cpu().double()
        away = (amplitude - self.mean_amplitude) * (amplitude != 0)
        of_amplitude = einsum(away, self.amplitude_weight, "l a, l a c -> l c")
        return odds + x @ self.lead_weight + lead_mask.cpu().double() @ (of_amplitude - self.offset)
