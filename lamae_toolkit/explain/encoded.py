"""One ECG whose leads are encoded once, so that any subset of them takes a few milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.preprocess import crop
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds
from lamae_toolkit.explain.attention import (
    AttentionSummary,
    attention_by_layer,
    in_float32,
    latent_attention,
    rolled_up_attention,
)
from lamae_toolkit.explain.ecg_terms import LeadTerms
from lamae_toolkit.explain.lead_subsets import batch_of
from lamae_toolkit.explain.terms import check_additive, terms_of, terms_over_time
from lamae_toolkit.model.hooks import record_attention
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Latents


@dataclass(frozen=True, eq=False)
class EncodedECG:
    """An ECG whose leads are encoded; see `encode_ecg`.

    recording: the part of the ECG that the model reads. batch: the same as a batch of one. latents: of all its leads,
    each encoded on its own, before latent attention.
    """

    model: LAMAE
    probe: Probe | None
    recording: Recording
    batch: Batch
    latents: Latents

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads that the ECG has, in the order of `LEADS`."""
        return self.batch.leads

    @torch.inference_mode()
    def log_odds(self, leads: Sequence[str]) -> Float[Tensor, " c"]:
        """The log-odds of each code if the ECG had only these leads, in any order; without leads, the probe's bias."""
        if self.probe is None:
            raise ECGError("Without a probe there are no codes to predict; give `encode_ecg` one.")
        if not leads:
            return torch.from_numpy(self.probe.bias).double()
        batch = self.batch.select(leads)
        with in_float32(self.model):
            embedding = self.model.embed_latents(self.model.connect(self._latents(batch)))
            return log_odds(embedding, batch, self.probe)[0]

    @torch.inference_mode()
    def attention_summary(self, leads: Sequence[str] | None = None) -> AttentionSummary:
        """Pooling weights, latent attention and probabilities if the ECG had only these leads, or all of them.

        The leads of the summary are in the order of `LEADS`. ECGError if the ECG has none of these leads.
        """
        batch = self.batch.select(self._chosen(leads))
        with in_float32(self.model), record_attention(self.model) as record:
            latents = self._latents(batch)
            embedding = self.model.embed_latents(self.model.connect(latents))
        weights = embedding.lead_weights
        recorded = latent_attention({name: calls[0] for name, calls in record.items()})
        by_layer = attention_by_layer(self.model, weights, recorded)
        rolled = rolled_up_attention(self.model, weights, recorded, latents.tokens.shape[2])
        probabilities = None
        if self.probe is not None:
            odds = log_odds(embedding, batch, self.probe)[0]
            probabilities = pd.Series(odds.sigmoid().numpy(), index=list(self.probe.codes))
        shares, layers, rolled_up, into_heart = (one[0].cpu().numpy() for one in (weights, by_layer, *rolled))
        return AttentionSummary(
            self.recording.select(batch.leads), shares, layers, probabilities, rolled_up, into_heart
        )

    @torch.inference_mode()
    def lead_terms(self, leads: Sequence[str] | None = None) -> LeadTerms:
        """What each lead adds to the log-odds of each code if the ECG had only these leads, or all of them.

        ECGError without a probe, with one that is not a sum over leads, and if the ECG has none of these leads.
        """
        if self.probe is None:
            raise ECGError("Without a probe there are no codes to predict; give `encode_ecg` one.")
        check_additive(self.probe)
        batch = self.batch.select(self._chosen(leads))
        with in_float32(self.model):
            latents = self.model.connect(self._latents(batch))
            embedding = self.model.embed_latents(latents)
            over_time = None
            if self.probe.representation == "leads":
                patch_s = self.model.config.patch_samples / self.model.config.sampling_rate_hz
                over_time = terms_over_time(self.probe, latents, embedding, batch, patch_s)
            terms = terms_of(self.model, self.probe, embedding, batch)[0].numpy()
        return LeadTerms(
            self.recording.select(batch.leads),
            self.probe.codes,
            terms,
            self.probe.bias,
            self.probe.usual_log_odds(),
            self._without_each(batch),
            over_time,
        )

    def _chosen(self, leads: Sequence[str] | None) -> tuple[str, ...]:
        """These leads of the ECG, in the order of `LEADS`; ECGError if it has none of them."""
        chosen = tuple(lead for lead in self.leads if leads is None or lead in leads)
        if not chosen:
            raise ECGError("All leads are turned off; turn at least one on again.")
        return chosen

    def _without_each(self, batch: Batch) -> Float[np.ndarray, "l c"]:
        """The log-odds of each code without each lead of the batch; without its only lead, the probe's bias."""
        return np.stack(
            [self.log_odds([other for other in batch.leads if other != lead]).numpy() for lead in batch.leads]
        )

    def _latents(self, batch: Batch) -> Latents:
        """The latents of the leads of a batch, which are part of this ECG."""
        if self.model.config.normalization == "record":  # the scale of each lead depends on the other leads
            return self.model.encode(batch)
        return self.latents.of_leads([self.leads.index(lead) for lead in batch.leads])


@torch.inference_mode()
def encode_ecg(model: LAMAE, recording: Recording, probe: Probe | None = None) -> EncodedECG:
    """Encode the leads of an ECG once, to compute predictions and attention for any of them.

    The ECG is resampled to the model's rate; the first `config.duration_s` seconds are read. ECGError if the ECG has
    no usable lead.
    """
    batch = batch_of(model, recording)
    read = crop(recording, 0.0, min(model.config.duration_s, recording.duration_s))
    with in_float32(model):
        return EncodedECG(model, probe, read, batch, model.encode(batch))


def attention_summary(model: LAMAE, recording: Recording, probe: Probe | None = None) -> AttentionSummary:
    """Which leads the model combined for one ECG: pooling weights, attention between leads, and probabilities.

    recording: the ECG; it is resampled to the model's rate, and its first `config.duration_s` seconds are read.
    probe: a linear probe of this model, for the probability of each ICD-10 code; without one there are none.

    Returns an `AttentionSummary`: pooling weights (h, l) and latent attention (layers, h, l, l), both as shares that
    sum to 1, and probabilities from 0 to 1. They show what the model combined, not why a code was predicted: for that,
    see `attribute_leads`. ECGError if the ECG has no usable lead, or if the leads of this model never meet
    (`IndependentMAE`). Source of the rolled-up attention: Abnar and Zuidema, arXiv 2005.00928.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording
        model = lt.LAMAE.from_pretrained("lamae-mini-ptbxl")
        summary = lt.attention_summary(model, ecg)
        print(summary.weight_table().round(3))
    """
    return encode_ecg(model, recording, probe).attention_summary()
