"""What if: what a model would predict had the ECG been another, with leads lost, scaled_leads, exchanged or redrawn.

Every change takes a Recording and returns a Recording; `what_if` asks the model about each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from lamae_toolkit.data.batch import Batch, collate
from lamae_toolkit.ecg.leads import ELECTRODES, LEADS, LEADS_FROM_ELECTRODES, LIMB_LEADS, PRECORDIAL_LEADS
from lamae_toolkit.ecg.recording import Recording, einthoven_error_mv
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import named_lead_mask

Change = Callable[[Recording], Recording]
AS_IT_IS = "as it is"
EINTHOVEN_MV = 0.05
LIMB_REVERSALS = (("RA", "LA"), ("RA", "LL"), ("LA", "LL"), ("RA", "RL"), ("LA", "RL"))
"""The exchanges of limb electrodes that matter: the two leg electrodes differ by next to nothing."""


def without_leads(recording: Recording, leads: Sequence[str]) -> Recording:
    """The same ECG as if these leads had not been recorded. ECGError if one is not there, or none would be left."""
    _check_there(recording, leads)
    left = [name for name in recording.leads if name not in leads]
    if not left:
        raise ECGError("Without these leads nothing is left of the ECG; keep at least one lead.")
    return recording.select(left)


def scaled_leads(recording: Recording, leads: Sequence[str], factor: float | int) -> Recording:
    """The same ECG with these leads made lower (factor below 1) or higher: x -> factor * x.

    Whoever asks a model with normalization "lead" learns little by this, see `normalization_note`.
    """
    _check_there(recording, leads)
    if not np.isfinite(factor):
        raise ECGError("The factor of attenuation is a number, such as 0.5; give a finite one.")
    gain = np.array([factor if name in leads else 1.0 for name in recording.leads], dtype=np.float32)
    return replace(recording, signal_mv=recording.signal_mv * gain[:, None])


def leads_reversed(recording: Recording, one: str, other: str) -> Recording:
    """The same ECG with two leads under each other's names, as by wrong columns of a file.

    Two chest electrodes that are exchanged do the same; for limb electrodes take `electrodes_reversed`.
    """
    _check_there(recording, (one, other))
    if one == other:
        raise ECGError(f"An exchange needs two leads, and {one} was given twice.")
    renamed = {one: other, other: one}
    signal_mv = np.stack([recording.lead(renamed.get(name, name)) for name in recording.leads])
    return replace(recording, signal_mv=signal_mv)


def electrodes_reversed(recording: Recording, one: str, other: str) -> Recording:
    """The same ECG as it comes out when the cables of two electrodes are exchanged: RA, LA, LL, RL, V1 to V6.

    leads = A P electrodes, where A forms the leads (Einthoven, Goldberger, Wilson) and P exchanges two electrodes; so
    the relations of the limb leads hold again, and Wilson's terminal, and with it the chest leads, changes where it
    must. RL is the ground, whose voltage the leads do not show: it is taken as that of LL (as both are on legs), so
    RA-RL makes lead II silent, and LL-RL changes nothing. Without RL, a second exchange undoes the first.
    ECGError if the leads that are there do not tell the result, or miss Einthoven's relations by more than 0.05 mV, as
    leads do that were scaled one by one.
    """
    formed = LEADS_FROM_ELECTRODES[[LEADS.index(name) for name in recording.leads]]
    exchanged = formed @ _reversal(one, other)
    error_mv = _limb_error_mv(recording)
    if error_mv > EINTHOVEN_MV:
        raise ECGError(
            f"The limb leads miss Einthoven's relations by {error_mv:.2f} mV, so they are not what electrodes"
            " recorded together; give an ECG whose leads were not scaled or filtered one by one."
        )
    weights = [_in_terms_of(formed, wanted) for wanted in exchanged]
    for name, found in zip(recording.leads, weights, strict=True):
        if found is None:
            raise ECGError(
                f"What lead {name} shows when {one} and {other} are exchanged cannot be told from"
                f" {', '.join(recording.leads)}; give an ECG with leads I and II and the electrodes' own leads."
            )
    return replace(recording, signal_mv=(np.stack(weights) @ recording.signal_mv.astype(np.float64)).astype(np.float32))


def _limb_error_mv(recording: Recording) -> float:
    """How far the limb leads are from Einthoven's relations, 0 where there are too few to check."""
    there = set(recording.leads) & set(LIMB_LEADS)
    return einthoven_error_mv(recording) if {"I", "II"} < there else 0.0


def _reversal(one: str, other: str) -> Float[np.ndarray, "9 9"]:
    """P: what is at each electrode's cable after the exchange, in terms of the nine voltages before."""
    for name in (one, other):
        if name not in (*ELECTRODES, "RL"):
            raise ECGError(f"There is no electrode {name}; choose two of {', '.join((*ELECTRODES, 'RL'))}.")
    if one == other:
        raise ECGError(f"An exchange needs two electrodes, and {one} was given twice.")
    at = {name: ELECTRODES.index("LL" if name == "RL" else name) for name in (one, other)}
    moved = np.eye(len(ELECTRODES))
    for cable, place in ((one, other), (other, one)):
        if cable != "RL":  # the ground may lie anywhere
            moved[at[cable]] = np.eye(len(ELECTRODES))[at[place]]
    return moved


def _in_terms_of(formed: Float[np.ndarray, "l 9"], wanted: Float[np.ndarray, "9"]) -> Float[np.ndarray, " l"] | None:
    """Weights of the leads that give the wanted one: one lead alone, perhaps turned over, if it does; None if none."""
    for sign in (1.0, -1.0):
        same = np.flatnonzero(np.abs(formed - sign * wanted).max(axis=1) < 1e-9)
        if len(same):
            return sign * np.eye(len(formed))[same[0]]
    weights = np.linalg.lstsq(formed.T, wanted, rcond=None)[0]
    return weights if np.abs(weights @ formed - wanted).max() < 1e-9 else None


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


@torch.inference_mode()
def leads_redrawn(model: LAMAE, recording: Recording, leads: Sequence[str]) -> Recording:
    """The same ECG with these leads as the model draws them from the others, at the model's rate and length.

    Mean and height in mV are the lead's own (see `LAMAE.reconstruct`): a model that normalizes each lead never sees
    them. How well a lead is drawn whose height is unknown, too, is the matter of `missing_leads`.
    """
    _check_there(recording, leads)
    if set(leads) >= set(recording.leads):
        raise ECGError("All leads were to be redrawn; leave at least one from which the others are drawn.")
    device = next(model.parameters()).device
    batch = collate([recording], model.config.sampling_rate_hz, model.config.duration_s).select(recording.leads)
    with in_float32(model):
        batch = batch.to(device)
        shape = tuple(model.patches(batch).shape[:3])
        drawn_mv = model.reconstruct(batch, named_lead_mask(shape, batch.leads, tuple(leads)).to(device))
    chosen = torch.tensor([name in leads for name in batch.leads], device=device)[:, None]
    signal_mv = torch.where(chosen, drawn_mv[0], batch.signal_mv[0, :, : drawn_mv.shape[2]]).cpu().numpy()
    changed = replace(recording, signal_mv=signal_mv, sampling_rate_hz=model.config.sampling_rate_hz)
    return changed.with_note(f"The model drew {', '.join(leads)} from the other leads.")


def usual_perturbations(model: LAMAE, recording: Recording) -> dict[str, Change]:
    """The changes that are worth a look first, as far as this ECG has the leads for them."""
    limb, chest = (tuple(n for n in group if n in recording.leads) for group in (LIMB_LEADS, PRECORDIAL_LEADS))
    changes: dict[str, Change] = {}
    if limb and chest:
        changes["chest leads lost"] = partial(without_leads, leads=chest)
        changes["limb leads lost"] = partial(without_leads, leads=limb)
        changes["chest leads redrawn"] = partial(leads_redrawn, model, leads=chest)
    others = [name for name in recording.leads if name not in ("I", "II", "V2")]
    if others and {"I", "II", "V2"} <= set(recording.leads):
        changes["only I, II, V2"] = partial(without_leads, leads=others)
    if {"I", "II"} <= set(recording.leads) and _limb_error_mv(recording) <= EINTHOVEN_MV:
        changes |= {f"{a} and {b} exchanged": partial(electrodes_reversed, one=a, other=b) for a, b in LIMB_REVERSALS}
    if {"V1", "V3"} <= set(recording.leads):
        changes["V1 and V3 exchanged"] = partial(leads_reversed, one="V1", other="V3")
    if chest:
        changes["chest leads at half height"] = partial(scaled_leads, leads=chest, factor=0.5)
    return changes


def what_if(model: LAMAE, probe: Probe, recording: Recording, changes: Mapping[str, Change]) -> pd.DataFrame:
    """What the model predicts for an ECG as it is and after each change, one row per scenario.

    The first row is "as it is". Columns are ("chance", code) and ("log_odds_difference", code), the latter against the
    ECG as it is: +0.7 doubles the odds, -0.7 halves them. `attrs["note"]` is what `normalization_note` says.
    A change shows what the model's output hangs on, not what the heart would have done.
    """
    if AS_IT_IS in changes:
        raise ECGError(f"A change cannot be called {AS_IT_IS!r}, which is the ECG without one; rename it.")
    device = next(model.parameters()).device
    scenarios = {AS_IT_IS: recording} | {name: change(recording) for name, change in changes.items()}
    rows = []
    with in_float32(model), torch.inference_mode():
        for changed in scenarios.values():
            batch: Batch = collate([changed], model.config.sampling_rate_hz, model.config.duration_s).to(device)
            rows.append(log_odds(model.embed(batch), batch, probe)[0].numpy())
    odds = pd.DataFrame(rows, index=pd.Index(scenarios, name="scenario"), columns=list(probe.codes))
    tables = {"chance": 1 / (1 + np.exp(-odds)), "log_odds_difference": odds - odds.loc[AS_IT_IS]}
    table = pd.concat(tables, axis=1, names=["value", "code"])
    table.attrs["note"] = normalization_note(model.config)
    return table


def normalization_note(config: LAMAEConfig) -> str:
    """What a model's normalization means for scaled_leads leads, in one sentence."""
    if config.normalization == "record":
        return "This model reads all leads in units of one spread, so it sees how high they are beside each other."
    note = "This model reads each lead in units of its own spread, so it does not see how high a lead is"
    if config.amplitude_input:
        return f"{note}, but for the height in mV that it is told beside."
    return f"{note}: attenuation changes hardly anything until the lead comes near the floor of 0.01 mV."


def _check_there(recording: Recording, leads: Sequence[str]) -> None:
    for name in leads:
        recording.lead(name)
    if not leads:
        raise ECGError("No lead was named; give at least one.")
