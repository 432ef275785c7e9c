"""Lead terms: the lead weights that a prediction is made of, signed and exact, from one forward pass.

A logistic regression on the latents of single leads adds up what the leads say: log-odds = bias + one term per lead.
The terms are therefore not an estimate of what the prediction rests on: they are the prediction.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, lead_features, weights_by_lead
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.explain.ecg_terms import BIAS, TermsOverTime
from lamae_toolkit.explain.lead_subsets import batch_of
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding, Latents
from lamae_toolkit.model.pretrained import check_rate

ADDITIVE = ("leads", "heart")
"""The representations of which a probe's log-odds are the bias and a sum over leads."""


def lead_terms(model: LAMAE, probe: Probe, ecg: Recording) -> pd.DataFrame:
    """How much each lead of an ECG adds to the log-odds of each code: a table of codes by leads.

    log-odds = bias + sum over leads of its term. With a probe on "leads", the term of lead l is w_l . (z_l - mean_l) /
    scale_l, where z_l is the mean and the standard deviation over time of the lead's latents and, of a model that reads
    amplitudes, the lead's amplitude; mean_l and scale_l are those of the probe's training ECGs. With a probe on
    "heart", it is pooling weight x (value of the lead - mean heart token), put through the probe. Above 0 the lead is
    evidence for the code, below 0 against it. A lead that looks as in the average training ECG has the term 0, and so
    has an absent lead. The leads know of each other through latent attention, so a term is not what the prediction
    would lose without the lead: for that, see `attribute_leads`.

    model: the frozen model on which the probe was fitted. probe: on "leads" or "heart"; no other is a sum over leads.
    ecg: any of the twelve leads; the first `config.duration_s` seconds are read.

    Returns a row per code, a column per lead of the ECG and the column "bias", in log-odds; each row sums to the
    log-odds of the code. Raises ECGError for a probe that is not a sum over leads or was fitted on another model, and
    for an ECG without a usable lead. Source: the centered terms of an additive predictor, Hastie and Tibshirani,
    Statistical Science 1:297, 1986.

    Example:
        import lamae_toolkit as lt

        model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
        ecg = lt.example_ecg("right bundle branch block", offline="simulate")
        terms = lt.lead_terms(model, probe, ecg)
        print(terms.loc["I45.10"].round(2))
    """
    batch = batch_of(model, ecg)
    terms = batch_lead_terms(model, probe, batch)[0].numpy()
    table = pd.DataFrame(terms.T, index=pd.Index(probe.codes, name="code"), columns=list(batch.leads))
    return table.assign(**{BIAS: probe.bias})


@torch.inference_mode()
def batch_lead_terms(model: LAMAE, probe: Probe, batch: Batch) -> Float[Tensor, "b l c"]:
    """The lead terms of several ECGs, in log-odds and 0 for an absent lead; see `lead_terms`. 64-bit, on the CPU."""
    check_additive(probe)
    with in_float32(model):
        return terms_of(model, probe, model.embed(batch), batch)


def check_additive(probe: Probe) -> None:
    """ECGError if the log-odds of this probe are not a sum over leads."""
    if probe.representation not in ADDITIVE:
        raise ECGError(
            f"A probe on {probe.representation!r} is not a sum over leads, so leads have no terms; fit one with"
            " `lamae evaluate --representation leads`, or use the probe of the shipped weights."
        )


def terms_of(model: LAMAE, probe: Probe, embedding: Embedding, batch: Batch) -> Float[Tensor, "b l c"]:
    """The lead terms of ECGs that are embedded."""
    if probe.representation == "heart":
        return _heart_terms(model, probe, embedding)
    return sum(_parts_of_terms(probe, embedding, batch), torch.zeros(()))


def _parts_of_terms(probe: Probe, embedding: Embedding, batch: Batch) -> Iterator[Float[Tensor, "b l c"]]:
    """The parts of the terms of a probe on "leads": by the mean of the latents over time, by their deviation, and by
    the amplitude."""
    parts = lead_features(embedding)
    probe.check_width(len(LEADS) * sum(x.shape[-1] for x in parts))
    for x, (weight, mean) in zip(parts, weights_by_lead(probe, batch.leads, [x.shape[-1] for x in parts]), strict=True):
        x = x.cpu().double()
        # Features that are exactly 0 are of an absent lead, or of an amplitude that is unknown.
        yield einsum((x - mean) * (x != 0), weight, "b l d, l d c -> b l c")


def _heart_terms(model: LAMAE, probe: Probe, embedding: Embedding) -> Float[Tensor, "b l c"]:
    """The terms of a probe on the heart token: per head, pooling weight x (value - its part of the mean token)."""
    probe.check_width(embedding.heart.shape[1])
    weight = torch.from_numpy((probe.weight / probe.scale).astype(np.float64))
    mean = torch.from_numpy(probe.mean.astype(np.float64))
    leads = model.pooling.describe(*lead_features(embedding))
    return model.pooling.split(leads, embedding.lead_weights, weight, mean)


def terms_over_time(
    probe: Probe, latents: Latents, embedding: Embedding, batch: Batch, patch_s: float
) -> TermsOverTime:
    """Which patches carry the terms of one ECG without masked patches, for a probe on "leads".

    latents: connected. The mean over time of a lead's latents is a mean over its tokens, so that part of its term is a
    sum over tokens: w . (token - mean) / scale / number of tokens.
    """
    sizes = [x.shape[-1] for x in lead_features(embedding)]
    (weight, mean), *_ = weights_by_lead(probe, batch.leads, sizes)
    tokens = latents.tokens[0].cpu().double()
    by_token = einsum(tokens - mean[:, None], weight, "l m d, l d c -> l m c") / tokens.shape[1]
    _, variability, amplitude = (part[0].numpy() for part in _parts_of_terms(probe, embedding, batch))
    return TermsOverTime(by_token[:, 1:].numpy(), by_token[:, 0].numpy(), variability, amplitude, patch_s)


def store_lead_terms(
    model: LAMAE,
    probe: Probe,
    store: Store,
    rows: Sequence[int] | np.ndarray | None = None,
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> pd.DataFrame:
    """The lead terms of many ECGs: a row per ECG and code.

    rows: rows of the store, all of them if None. Returns the columns study_id, patient_id, code, one per lead, and
    bias, in log-odds; an absent lead has 0. Errors as in `lead_terms`, and if the store has another sampling rate than
    the model.
    """
    check_additive(probe)
    check_rate(model, store.sampling_rate_hz)
    rows = np.arange(len(store)) if rows is None else np.asarray(rows)
    tables = []
    for start in tqdm(range(0, len(rows), batch_size), desc="lead terms", disable=not progress):
        chosen = rows[start : start + batch_size]
        batch = store.batch(chosen).to(next(model.parameters()).device)
        of_store = store.index.iloc[chosen]
        ids = {name: of_store[name].to_numpy() for name in ("study_id", "patient_id")}
        tables.append(terms_table(model, probe, batch, pd.DataFrame(ids)))
    return pd.concat(tables, ignore_index=True)


def terms_table(model: LAMAE, probe: Probe, batch: Batch, ids: pd.DataFrame) -> pd.DataFrame:
    """The lead terms of a batch with a row per ECG and code, behind the columns `ids` of each ECG."""
    terms = rearrange(batch_lead_terms(model, probe, batch), "b l c -> (b c) l").numpy()
    repeated = ids.loc[ids.index.repeat(len(probe.codes))].reset_index(drop=True)
    named = repeated.assign(code=np.tile(probe.codes, len(ids)))
    values = pd.DataFrame(terms, columns=list(batch.leads))
    return pd.concat([named, values], axis=1).assign(**{BIAS: np.tile(probe.bias, len(ids))})
