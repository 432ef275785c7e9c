"""What each lead adds to a predicted code: exact Shapley values over all subsets of an ECG's leads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from lamae_toolkit.ecg.preprocess import crop
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.lead_subsets import batch_of, subset_log_odds
from lamae_toolkit.explain.shapley import grouped, shapley_interactions, shapley_values, subset_members
from lamae_toolkit.icd10 import column_of
from lamae_toolkit.model.lamae import LAMAE

LIMB_AND_CHEST = {"limb": ("I", "II", "III", "aVR", "aVL", "aVF")} | {
    name: (name,) for name in ("V1", "V2", "V3", "V4", "V5", "V6")
}
"""The limb leads as one player, since they are combinations of two independent leads; the chest leads one by one."""


@dataclass(frozen=True, eq=False)
class LeadAttribution:
    """What each lead of one ECG adds to the log-odds of each code.

    recording: the part of the ECG that was read; its leads are the players, in this order. log_odds: (s, c), what the
    model predicts from each subset of the leads (bit i of the row says whether lead i is in it), row 0 from none.
    """

    recording: Recording
    codes: tuple[str, ...]
    log_odds: Float[np.ndarray, "s c"]

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads, in the order of all the arrays."""
        return self.recording.leads

    @property
    def values(self) -> Float[np.ndarray, "l c"]:
        """The Shapley value of each lead, in log-odds: empty + sum over leads = full."""
        return shapley_values(self.log_odds)

    @property
    def interactions(self) -> Float[np.ndarray, "l l c"]:
        """What two leads add together beyond what they add one by one, in log-odds; below 0, they repeat each other."""
        return shapley_interactions(self.log_odds)

    @property
    def empty(self) -> Float[np.ndarray, " c"]:
        """The log-odds without any lead: the probe's bias."""
        return self.log_odds[0]

    @property
    def full(self) -> Float[np.ndarray, " c"]:
        """The log-odds from all leads."""
        return self.log_odds[-1]

    def column(self, code: str) -> int:
        """The column of a code in the arrays; ECGError if the probe does not predict it."""
        return column_of(self.codes, code)

    def select(self, leads: Sequence[str]) -> "LeadAttribution":
        """What each of these leads would add if the ECG had no others; ECGError if there is none.

        Their subsets are among those of all leads, so nothing is computed again.
        """
        kept = [lead for lead in self.leads if lead in leads]
        if not kept:
            raise ECGError("An attribution needs at least one lead of the ECG; choose one.")
        bits = np.array([1 << self.leads.index(lead) for lead in kept])
        rows = subset_members(len(kept)) @ bits
        return LeadAttribution(self.recording.select(kept), self.codes, self.log_odds[rows])

    def table(self, code: str) -> pd.DataFrame:
        """One row per lead: its Shapley value, and its single-lead and leave-one-lead-out difference, all in log-odds.

        single_lead: what the lead adds when it is the only one. leave_one_out: what the prediction loses without it.
        """
        odds = self.log_odds[:, self.column(code)]
        bits = 1 << np.arange(len(self.leads))
        return pd.DataFrame(
            {
                "attribution": shapley_values(odds),
                "single_lead": odds[bits] - odds[0],
                "leave_one_out": odds[-1] - odds[len(odds) - 1 - bits],
            },
            index=pd.Index(self.leads, name="lead"),
        )

    def group_table(self, code: str, groups: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
        """The Shapley values of groups of leads, each group one player; by default the limb leads are one group.

        `sum` is the sum of the values of its single leads. Leads that the ECG lacks are left out of their groups; each
        lead that it has must be in one of them (ECGError).
        """
        groups = LIMB_AND_CHEST if groups is None else groups
        for lead in self.leads:
            times = sum(list(leads).count(lead) for leads in groups.values())
            if times != 1:
                where = "twice or more in the" if times else "in none of the"
                raise ECGError(f"Lead {lead} is {where} groups; put each lead of the ECG into one group.")
        indices = {
            name: [self.leads.index(lead) for lead in leads if lead in self.leads] for name, leads in groups.items()
        }
        indices = {name: of_group for name, of_group in indices.items() if of_group}
        odds = self.log_odds[:, self.column(code)]
        single = shapley_values(odds)
        return pd.DataFrame(
            {
                "attribution": shapley_values(grouped(odds, list(indices.values()))),
                "sum": [single[of_group].sum() for of_group in indices.values()],
            },
            index=pd.Index(indices, name="leads"),
        )


def attribute_leads(model: LAMAE, probe: Probe, recording: Recording) -> LeadAttribution:
    """What each lead of an ECG adds to the prediction of each ICD-10 code: exact Shapley values over all subsets.

    probe: a linear probe of this model. recording: the ECG; it is resampled to the model's rate, and its first
    `config.duration_s` seconds are read.

    Returns a `LeadAttribution` with the log-odds of every subset of the leads (2^leads, codes): 4,096 subsets for 12
    leads, a few seconds on a laptop. `table(code)` has a row per lead, in log-odds; the Shapley values of all leads sum
    to the prediction minus the probe's bias. ECGError if the ECG has no usable lead, or if the probe was fitted on a
    model of another width. Source: Shapley, A value for n-person games, 1953.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording.select(("I", "II", "V1", "V5"))
        model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
        print(lt.attribute_leads(model, probe, ecg).table(probe.codes[0]).round(2))
    """
    batch = batch_of(model, recording)
    read = crop(recording.select(batch.leads), 0.0, min(model.config.duration_s, recording.duration_s))
    return LeadAttribution(read, probe.codes, subset_log_odds(model, probe, batch)[0].cpu().numpy())
