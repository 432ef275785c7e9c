"""The lead terms of one ECG: what each lead adds to the log-odds of each code, as arrays, tables and sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import expit

from lamae_toolkit.ecg.leads import LIMB_LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.icd10 import column_of, name_of

BIAS = "bias"
EVEN = 0.1
"""Terms below this many log-odds are too small to say that a prediction rests on a lead."""


@dataclass(frozen=True, eq=False)
class TermsOverTime:
    """Where in time the lead terms of one ECG come from, in log-odds; all but patch_s sum to the term.

    patch: (l, n, c), what each patch adds through the mean over time. cls: (l, c), what the CLS token of the lead adds
    to that mean. variability, amplitude: (l, c), what comes from the standard deviation over time, and from the
    amplitude of the lead: they belong to no single patch. patch_s: seconds per patch.
    """

    patch: Float[np.ndarray, "l n c"]
    cls: Float[np.ndarray, "l c"]
    variability: Float[np.ndarray, "l c"]
    amplitude: Float[np.ndarray, "l c"]
    patch_s: float


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
        return column_of(self.codes, code)

    def ranked(self) -> pd.DataFrame:
        """One row per code, first the one whose log-odds lie furthest above those of its prevalence."""
        return ranked_codes(self.codes, self.log_odds, self.usual)

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

        A probability below the prevalence of the code comes first. It says so where the prediction hardly changes
        without the lead: the leads know of each other through latent attention, so that others can take its place.
        """
        of_lead, column = self.of_code(code), self.column(code)
        total = of_lead.term.sum()
        lead = (of_lead.term * np.sign(total or 1)).idxmax()
        term, lost, without = of_lead.loc[lead]
        probability, prevalence = expit(self.log_odds[column]), expit(self.usual[column])
        says = ""
        if probability < prevalence:
            says = f"Below its prevalence ({percent(probability)} against {percent(prevalence)}). "
        if abs(term) < EVEN:
            return f"{says}Rests on no lead in particular: each looks as in the average ECG."
        begins = "Rests on" if term > 0 else "Most against it:"
        says += f"{begins} {lead}. Without it: {percent(probability)} → {percent(without)}."
        if lead in disagreeing(of_lead.term, of_lead.leave_one_out) and lost * np.sign(term) < abs(term):
            says += " So the other leads make up for it."
        return says


def ranked_codes(codes: Sequence[str], log_odds: np.ndarray, usual: np.ndarray) -> pd.DataFrame:
    """Probability, prevalence and how far the log-odds lie above those of the prevalence: the furthest above first."""
    columns = {"probability": expit(log_odds), "prevalence": expit(usual), "above_prevalence": log_odds - usual}
    table = pd.DataFrame(columns, index=pd.Index(codes, name="code"))
    return table.sort_values("above_prevalence", ascending=False, kind="stable")


def disagreeing(terms: pd.Series, check: pd.Series) -> list[str]:
    """The leads whose term differs from another measure of the lead by more than 0.3 log-odds and half of the larger.

    Leads know of each other through latent attention, so leaving one out, or its Shapley value, may differ from its
    term.
    """
    difference, larger = (terms - check).abs(), np.maximum(terms.abs(), check.abs())
    return terms.index[(difference > 0.3) & (difference > larger / 2)].tolist()


def percent(probability: float) -> str:
    """A probability in percent, with a decimal where it is small or close to 1; never 0 % or 100 %."""
    if probability < 0.0005:
        return "< 0.1 %"
    if probability >= 0.9995:
        return "> 99.9 %"
    return f"{probability:.1%}"[:-1] + " %" if not 0.0995 <= probability < 0.995 else f"{probability:.0%}"[:-1] + " %"


def in_words(terms: LeadTerms, codes: int = 5, leads: int = 3) -> str:
    """The first-ranked codes with probability and prevalence, and for each the leads that carry it, with their sign."""
    lines = []
    for code, row in terms.ranked().head(codes).iterrows():
        of_lead = terms.of_code(str(code)).term
        carried = of_lead.reindex(of_lead.abs().sort_values(ascending=False).index).head(leads)
        named = ", ".join(f"{lead} {term:+.1f}" for lead, term in carried.items())
        lines.append(f"{code_in_words(str(code), row)}: {named}")
    return "\n".join(lines)


def code_in_words(code: str, row: pd.Series) -> str:
    """A code with probability and prevalence; row: of `ranked_codes`."""
    return f"{percent(row.probability):>6}  {name_of(code)} (prevalence {percent(row.prevalence)})"
