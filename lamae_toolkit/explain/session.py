"""One ECG as it is explored: what was done to it, and what the model makes of the leads that are left, quickly."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from lamae_toolkit.data.batch import Batch, collate
from lamae_toolkit.ecg.preprocess import crop
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds
from lamae_toolkit.explain.attention import (
    Explanation,
    at_rest,
    attention_by_layer,
    attention_summary,
    latent_attention,
    rolled_up_attention,
)
from lamae_toolkit.explain.counterfactuals import electrodes_reversed, scaled_leads
from lamae_toolkit.explain.lead_shapley import LeadAttribution, attribute_leads
from lamae_toolkit.explain.lead_subsets import present_leads
from lamae_toolkit.explain.shapley import subset_members
from lamae_toolkit.model.hooks import record_attention
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Latents


@dataclass(frozen=True)
class Changes:
    """What is done to an ECG before the model reads it: first electrodes exchanged, then leads made lower or higher.

    exchanged: two electrodes, as for `electrodes_reversed`. scaled: leads whose voltages are multiplied by factor.
    """

    exchanged: tuple[str, str] | None = None
    scaled: tuple[str, ...] = ()
    factor: float = 1.0

    def __call__(self, recording: Recording) -> Recording:
        """The ECG as it is with these changes; leads to be scaled that it lacks are passed over."""
        if self.exchanged:
            recording = electrodes_reversed(recording, *self.exchanged)
        there = [lead for lead in self.scaled if lead in recording.leads]
        return scaled_leads(recording, there, self.factor) if there and self.factor != 1.0 else recording

    def lines(self, recording: Recording) -> list[str]:
        """The same as lines of Python that change `recording`."""
        found = []
        if self.exchanged:
            found.append(f"recording = electrodes_reversed(recording, {self.exchanged[0]!r}, {self.exchanged[1]!r})")
        there = [lead for lead in self.scaled if lead in recording.leads]
        if there and self.factor != 1.0:
            found.append(f"recording = scaled_leads(recording, {there}, {self.factor:g})")
        return found

    def in_words(self) -> str:
        """The same as a sentence, empty if nothing is changed."""
        said = []
        if self.exchanged:
            said.append(f"electrodes {self.exchanged[0]} and {self.exchanged[1]} exchanged")
        if self.scaled and self.factor != 1.0:
            said.append(f"{', '.join(self.scaled)} at {self.factor:.0%} of their height")
        text = " and ".join(said)
        return f"{text[0].upper()}{text[1:]}." if said else ""


@dataclass(frozen=True, eq=False)
class EncodedLeads:
    """An ECG whose leads have been encoded once, so that turning leads off and on takes a few milliseconds.

    `explain(leads)` is `attention_summary(model, recording.select(leads), probe)`, to float32's accuracy. See
    `encoded_leads`.
    """

    model: LAMAE
    probe: Probe | None
    recording: Recording
    batch: Batch
    latents: Latents

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads that the ECG has."""
        return self.batch.leads

    def explain(self, leads: Sequence[str]) -> Explanation:
        """Lead weights, latent attention and chances if the ECG had only these leads. ECGError if there are none."""
        leads = tuple(lead for lead in self.leads if lead in leads)
        if not leads:
            raise ECGError("Every lead is taken away: turn at least one back on.")
        if self.model.config.normalization == "record":  # each lead's scale depends on which others there are
            return attention_summary(self.model, self.recording.select(leads), self.probe)
        batch, latents = self.batch.select(leads), self.latents.of_leads([self.leads.index(lead) for lead in leads])
        with torch.inference_mode(), at_rest(self.model), record_attention(self.model) as record:
            embedding = self.model.embed_latents(self.model.connect(latents))
            recorded = latent_attention({name: calls[0] for name, calls in record.items() if calls})
            probabilities = None
            if self.probe is not None:
                odds = log_odds(embedding, batch, self.probe)[0]
                probabilities = pd.Series(odds.sigmoid().numpy(), index=list(self.probe.codes))
            weights = embedding.lead_weights
            by_layer = attention_by_layer(self.model, weights, recorded)
            rolled = rolled_up_attention(self.model, weights, recorded, latents.tokens.shape[2])
        arrays = [tensor[0].cpu().numpy() for tensor in (weights, by_layer, *rolled)]
        return Explanation(self.recording.select(leads), *arrays[:2], probabilities, *arrays[2:])


@torch.inference_mode()
def encoded_leads(model: LAMAE, recording: Recording, probe: Probe | None = None) -> EncodedLeads:
    """Encode the leads of an ECG once, for `EncodedLeads.explain` of any of them.

    The ECG is resampled to the model's rate; the first `config.duration_s` seconds are read.
    """
    device = next(model.parameters()).device
    batch = collate([recording], model.config.sampling_rate_hz, model.config.duration_s).to(device)
    batch = batch.select(present_leads(batch))
    read = crop(recording, 0.0, min(model.config.duration_s, recording.duration_s))
    with at_rest(model):
        return EncodedLeads(model, probe, read, batch, model.encode(batch))


def independent_attribution(model: LAMAE, probe: Probe, recording: Recording) -> LeadAttribution:
    """`attribute_leads`, on a copy of the model, so that it may run beside explanations, which tap the model itself."""
    return attribute_leads(deepcopy(model), probe, recording)


def credit_of(attribution: LeadAttribution, leads: Sequence[str]) -> LeadAttribution:
    """What each of these leads adds if the ECG had no others, from what all its subsets are worth.

    The subsets of fewer leads are among those of all leads, so that nothing is computed again.
    """
    kept = [lead for lead in attribution.leads if lead in leads]
    if not kept:
        raise ECGError("There is no lead to give credit to; keep at least one.")
    bits = np.array([1 << attribution.leads.index(lead) for lead in kept])
    rows = subset_members(len(kept)) @ bits
    return LeadAttribution(attribution.recording.select(kept), attribution.codes, attribution.log_odds[rows])
