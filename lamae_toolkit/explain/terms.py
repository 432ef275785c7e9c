"""Lead terms: the lead weights that a prediction is made of, signed and exact, from one forward pass.

A logistic regression on the latents of single leads adds up what the leads say: log-odds = bias + one term per lead.
The terms are therefore not an estimate of what the prediction rests on: they are the prediction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from scipy.special import expit
from torch import Tensor
from tqdm.auto import tqdm

from lamae_toolkit.data.batch import Batch, collate
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, weights_by_lead
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding, Latents
from lamae_toolkit.model.pretrained import check_rate

ADDITIVE = ("leads", "heart")
"""The representations of which a probe's log-odds are the bias and a sum over leads."""
BIAS = "bias"
LIMB_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF")
"""Six views of two independent leads: their terms are read together as well as one by one."""
EVEN = 0.1
"""Terms below this many log-odds are too small to say that a prediction rests on a lead."""


@dataclass(frozen=True, eq=False)
class TermsOverTime:
    """Where in time the lead terms of one ECG come from, in log-odds; patch, cls and variability sum to the term.

    patch: (l, n, c), what each patch adds through the mean over time. cls: (l, c), what the CLS token of the lead adds
    to that mean. variability: (l, c), what comes from the standard deviation over time: it belongs to no single patch.
    """

    patch: Float[np.ndarray, "l n c"]
    cls: Float[np.ndarray, "l c"]
    variability: Float[np.ndarray, "l c"]


@dataclass(frozen=True, eq=False)
class LeadTerms:
    """What one ECG is predicted, lead by lead: the terms of each code, and what happens when a lead goes.

    recording: what was read; its leads are in the order of the arrays. terms: (l, c) and bias: (c,), which sum to the
    log-odds. usual: (c,), the log-odds of each code's prevalence among the training ECGs of the probe. without: (l, c),
    the log-odds if the ECG lacked that lead. over_time: of a probe on "leads"; None of one on "heart".
    """

    recording: Recording
    codes: tuple[str, ...]
    terms: Float[np.ndarray, "l c"]
    bias: Float[np.ndarray, " c"]
    usual: Float[np.ndarray, " c"]
    without: Float[np.ndarray, "l c"]
    over_time: TermsOverTime | None

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads, in the order of the arrays."""
        return self.recording.leads

    @property
    def log_odds(self) -> Float[np.ndarray, " c"]:
        """The prediction: bias + sum of the terms."""
        return self.bias + self.terms.sum(axis=0)

    def column(self, code: str) -> int:
        """The column of a code in the arrays; ECGError if the probe does not predict it."""
        if code not in self.codes:
            raise ECGError(f"The probe does not predict {code!r}; choose from {', '.join(self.codes)}.")
        return self.codes.index(code)

    def ranked(self) -> pd.DataFrame:
        """One row per code, first the one whose log-odds lie furthest above those of its prevalence."""
        table = pd.DataFrame(
            {
                "probability": expit(self.log_odds),
                "prevalence": expit(self.usual),
                "above_prevalence": self.log_odds - self.usual,
            },
            index=pd.Index(self.codes, name="code"),
        )
        return table.sort_values("above_prevalence", ascending=False)

    def table(self) -> pd.DataFrame:
        """Codes by leads and the bias, in log-odds; each row sums to the log-odds of the code."""
        table = pd.DataFrame(self.terms.T, index=pd.Index(self.codes, name="code"), columns=list(self.leads))
        return table.assign(**{BIAS: self.bias})

    def of_code(self, code: str) -> pd.DataFrame:
        """One row per lead: its term, what the log-odds lose without the lead, and the probability without it."""
        column = self.column(code)
        without = self.without[:, column]
        return pd.DataFrame(
            {
                "term": self.terms[:, column],
                "leave_one_out": self.log_odds[column] - without,
                "probability_without": expit(without),
            },
            index=pd.Index(self.leads, name="lead"),
        )

    def limb_term(self, code: str) -> float:
        """The sum of the terms of the limb leads."""
        rows = [row for row, lead in enumerate(self.leads) if lead in LIMB_LEADS]
        return float(self.terms[rows, self.column(code)].sum())

    def sentence(self, code: str) -> str:
        """What the prediction of a code rests on, for example "Rests on V1. Without it: 18 % -> 2 %."

        It says so where the prediction hardly changes without the lead: the leads know of each other through latent
        attention, so that others can take its place.
        """
        of_lead = self.of_code(code)
        total = of_lead.term.sum()
        lead = (of_lead.term * np.sign(total or 1)).idxmax()
        term, lost, without = of_lead.loc[lead]
        if abs(term) < EVEN:
            return "Rests on no lead in particular: each looks as in the average ECG."
        begins = "Rests on" if term > 0 else "Most against it:"
        with_all = expit(self.log_odds[self.column(code)])
        says = f"{begins} {lead}. Without it: {percent(with_all)} → {percent(without)}."
        if lost * np.sign(term) < abs(term) / 4:
            says += " So the other leads make up for it."
        return says


def disagreeing(terms: pd.Series, check: pd.Series) -> list[str]:
    """The leads whose term differs from another measure of the lead by more than 0.3 log-odds and half of the larger.

    Leads know of each other through latent attention, so leaving one out, or its Shapley value, may differ from its
    term.
    """
    difference, larger = (terms - check).abs(), np.maximum(terms.abs(), check.abs())
    return terms.index[(difference > 0.3) & (difference > larger / 2)].tolist()


def percent(probability: float) -> str:
    """A probability in percent, with a decimal where it is small."""
    return f"{probability:.1%}".replace("%", " %") if probability < 0.0995 else f"{probability:.0%}".replace("%", " %")


def lead_terms(model: LAMAE, probe: Probe, ecg: Recording) -> pd.DataFrame:
    """How much each lead of an ECG adds to the log-odds of each code: a table of codes by leads.

    log-odds = bias + sum over leads of its term. With a probe on "leads", the term of lead l is w_l . (z_l -
    mean_l) / scale_l, where z_l is the mean and the standard deviation over time of the lead's latents, and mean_l
    and scale_l are those of the probe's training ECGs. With a probe on "heart", it is pooling weight x (value of
    the lead - mean heart token), put through the probe. Above 0 the lead speaks for the code, below 0 against it. A
    lead that looks as in the average training ECG has the term 0, and so has an absent lead. The leads know of each
    other through latent attention, so a term is not what the prediction would lose without the lead: for that, see
    `attribute_leads`.

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
    batch = collate([ecg], model.config.sampling_rate_hz, model.config.duration_s).to(_device(model))
    terms = batch_lead_terms(model, probe, batch)[0].numpy()
    valid = batch.lead_mask[0].tolist()
    leads = [lead for lead, is_valid in zip(batch.leads, valid, strict=True) if is_valid]
    table = pd.DataFrame(terms[valid].T, index=pd.Index(probe.codes, name="code"), columns=leads)
    return table.assign(**{BIAS: probe_bias(probe)})


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


def probe_bias(probe: Probe) -> Float[np.ndarray, " c"]:
    """The log-odds of each code for the average training ECG: what the terms are relative to."""
    return probe.bias.astype(np.float64)


def terms_of(model: LAMAE, probe: Probe, embedding: Embedding, batch: Batch) -> Float[Tensor, "b l c"]:
    """The lead terms of ECGs that are embedded."""
    if probe.representation == "heart":
        return _heart_terms(model, probe, embedding)
    return sum(_mean_and_variability(probe, embedding, batch))


def _mean_and_variability(probe: Probe, embedding: Embedding, batch: Batch) -> Iterator[Float[Tensor, "b l c"]]:
    """The two parts of the terms of a probe on "leads": by the mean of the latents over time, by their deviation."""
    width = embedding.per_lead.shape[-1]
    probe.check_width(2 * 12 * width)
    valid = batch.lead_mask.cpu().double()[..., None]
    both = (embedding.per_lead.cpu().double(), embedding.per_lead_std.cpu().double())
    for x, weight, mean in zip(both, *weights_by_lead(probe, batch.leads, width), strict=True):
        yield einsum(x - mean, weight, "b l d, l d c -> b l c") * valid


def _heart_terms(model: LAMAE, probe: Probe, embedding: Embedding) -> Float[Tensor, "b l c"]:
    """The terms of a probe on the heart token: per head, pooling weight x (value - its part of the mean heart token).

    The weights of a head sum to 1 over the leads, so what does not depend on the lead can be shared out by them.
    """
    probe.check_width(embedding.heart.shape[1])
    weight = torch.from_numpy((probe.weight / probe.scale).astype(np.float64))
    mean = torch.from_numpy(probe.mean.astype(np.float64))
    shares, values = embedding.lead_weights.cpu().double(), model.lead_values(embedding.per_lead).cpu().double()
    return einsum(shares, values - mean / shares.shape[1], weight, "b h l, b h l d, c d -> b l c")


def terms_over_time(probe: Probe, latents: Latents, embedding: Embedding, batch: Batch) -> TermsOverTime:
    """Which patches carry the terms of one ECG without masked patches, for a probe on "leads".

    latents: connected. The mean over time of a lead's latents is a mean over its tokens, so that part of its term is a
    sum over tokens: w . (token - mean) / scale / number of tokens.
    """
    weight, mean = (part[0] for part in weights_by_lead(probe, batch.leads, latents.tokens.shape[-1]))
    tokens = latents.tokens[0].cpu().double()
    by_token = einsum(tokens - mean[:, None], weight, "l m d, l d c -> l m c") / tokens.shape[1]
    _, variability = _mean_and_variability(probe, embedding, batch)
    return TermsOverTime(by_token[:, 1:].numpy(), by_token[:, 0].numpy(), variability[0].numpy())


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
        batch = store.batch(chosen).to(_device(model))
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
    return pd.concat([named, values], axis=1).assign(**{BIAS: np.tile(probe_bias(probe), len(ids))})


def in_words(terms: LeadTerms, codes: int = 5, leads: int = 3) -> str:
    """The first-ranked codes with probability and prevalence, and for each the leads that carry it, with their sign."""
    lines = []
    for code, row in terms.ranked().head(codes).iterrows():
        of_lead = terms.of_code(str(code)).term
        carried = of_lead.reindex(of_lead.abs().sort_values(ascending=False).index).head(leads)
        named = ", ".join(f"{lead} {term:+.1f}" for lead, term in carried.items())
        lines.append(
            f"{percent(row.probability):>6}  {name_of(str(code))} (prevalence {percent(row.prevalence)}): {named}"
        )
    return "\n".join(lines)


def _device(model: LAMAE) -> torch.device:
    return next(model.parameters()).device
