"""Counterfactuals: what a model would predict if leads were missing, scaled, reversed or reconstructed.

Every change takes a Recording and returns a Recording; `what_if` runs the model on each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import expit

from lamae_toolkit.ecg.leads import ELECTRODES, LEADS, LEADS_FROM_ELECTRODES, LIMB_LEADS, PRECORDIAL_LEADS
from lamae_toolkit.ecg.recording import Recording, einthoven_error_mv
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.explain.reconstruction import as_read, reconstruct_masked
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE

Change = Callable[[Recording], Recording]
AS_RECORDED = "as recorded"
EINTHOVEN_MV = 0.05
LIMB_REVERSALS = (("RA", "LA"), ("RA", "LL"), ("LA", "LL"), ("RA", "RL"), ("LA", "RL"))
"""The limb electrode reversals that matter: the two leg electrodes hardly differ."""


def without_leads(recording: Recording, leads: Sequence[str]) -> Recording:
    """The same ECG without these leads. ECGError if the ECG lacks one of them, or if no lead would remain."""
    _check_recorded(recording, leads)
    left = [name for name in recording.leads if name not in leads]
    if not left:
        raise ECGError("Without these leads the ECG has no lead; keep at least one lead.")
    return recording.select(left)


def scaled_leads(recording: Recording, leads: Sequence[str], factor: float | int) -> Recording:
    """The same ECG with the amplitude of these leads scaled: x -> factor * x.

    A model with normalization "lead" is hardly affected by this change, see `normalization_note`.
    """
    _check_recorded(recording, leads)
    if not np.isfinite(factor):
        raise ECGError("The factor must be a finite number, such as 0.5.")
    gain = np.array([factor if name in leads else 1.0 for name in recording.leads], dtype=np.float32)
    return replace(recording, signal_mv=recording.signal_mv * gain[:, None])


def leads_reversed(recording: Recording, one: str, other: str) -> Recording:
    """The same ECG with the names of two leads swapped, as from swapped columns of a file.

    Two reversed chest electrodes do the same; for limb electrodes use `electrodes_reversed`.
    """
    _check_recorded(recording, (one, other))
    if one == other:
        raise ECGError(f"A lead reversal needs two leads, and {one} was given twice.")
    renamed = {one: other, other: one}
    signal_mv = np.stack([recording.lead(renamed.get(name, name)) for name in recording.leads])
    return replace(recording, signal_mv=signal_mv)


def electrodes_reversed(recording: Recording, one: str, other: str) -> Recording:
    """The same ECG with the cables of two electrodes reversed: RA, LA, LL, RL, V1 to V6.

    leads = A P electrodes, where A derives the leads (Einthoven, Goldberger, Wilson) and P swaps two electrodes; so the
    relations of the limb leads still hold, and Wilson's central terminal, and with it the chest leads, changes
    accordingly.
    RL is the ground, whose voltage the leads do not show: it is taken as that of LL (as both are on legs), so RA-RL
    makes lead II flat, and LL-RL changes nothing. Without RL, a second reversal undoes the first. ECGError if the
    recorded leads do not determine the result, or deviate from Einthoven's relations by more than 0.05 mV, as happens
    when leads are scaled one by one.
    """
    lead_matrix = LEADS_FROM_ELECTRODES[[LEADS.index(name) for name in recording.leads]]
    reversed_leads = lead_matrix @ _reversal(one, other)
    error_mv = _limb_error_mv(recording)
    if error_mv > EINTHOVEN_MV:
        raise ECGError(
            f"The limb leads deviate from Einthoven's relations by {error_mv:.2f} mV, so they were not recorded"
            " together; give an ECG whose leads were not scaled or filtered one by one."
        )
    weights = []
    for name, wanted in zip(recording.leads, reversed_leads, strict=True):
        combination = _in_terms_of(lead_matrix, wanted)
        if combination is None:
            raise ECGError(
                f"Lead {name} with {one} and {other} reversed cannot be derived from {', '.join(recording.leads)};"
                " give an ECG with leads I and II and the leads of these electrodes."
            )
        weights.append(combination)
    return replace(recording, signal_mv=(np.stack(weights) @ recording.signal_mv.astype(np.float64)).astype(np.float32))


def _limb_error_mv(recording: Recording) -> float:
    """Deviation of the limb leads from Einthoven's relations, 0 where there are too few to check."""
    limb = set(recording.leads) & set(LIMB_LEADS)
    return einthoven_error_mv(recording) if {"I", "II"} < limb else 0.0


def _reversal(one: str, other: str) -> Float[np.ndarray, "9 9"]:
    """P: the voltage at each electrode's cable after the reversal, in terms of the nine voltages before."""
    for name in (one, other):
        if name not in (*ELECTRODES, "RL"):
            raise ECGError(f"There is no electrode {name}; choose two of {', '.join((*ELECTRODES, 'RL'))}.")
    if one == other:
        raise ECGError(f"A reversal needs two electrodes, and {one} was given twice.")
    at = {name: ELECTRODES.index("LL" if name == "RL" else name) for name in (one, other)}
    moved = np.eye(len(ELECTRODES))
    for cable, electrode in ((one, other), (other, one)):
        if cable != "RL":  # the position of the ground does not matter
            moved[at[cable]] = np.eye(len(ELECTRODES))[at[electrode]]
    return moved


def _in_terms_of(
    lead_matrix: Float[np.ndarray, "l 9"], wanted: Float[np.ndarray, "9"]
) -> Float[np.ndarray, " l"] | None:
    """Weights of the leads that give the wanted one: a single lead, perhaps inverted, if enough; None if none do."""
    for sign in (1.0, -1.0):
        same = np.flatnonzero(np.abs(lead_matrix - sign * wanted).max(axis=1) < 1e-9)
        if len(same):
            return sign * np.eye(len(lead_matrix))[same[0]]
    weights = np.linalg.lstsq(lead_matrix.T, wanted, rcond=None)[0]
    return weights if np.abs(weights @ lead_matrix - wanted).max() < 1e-9 else None


def leads_reconstructed(model: LAMAE, recording: Recording, leads: Sequence[str]) -> Recording:
    """The same ECG with these leads as the model reconstructs them from the others, at the model's rate and length.

    Mean and amplitude in mV are the lead's own (see `LAMAE.reconstruct`): a model that normalizes each lead does not
    read them. `experiments.missing_leads` measures reconstruction without them.
    """
    _check_recorded(recording, leads)
    if set(leads) >= set(recording.leads):
        raise ECGError("No lead would be left to reconstruct from; leave at least one out of the list.")
    read, masked = as_read(recording, model.config), np.array([name in leads for name in recording.leads])[:, None]
    mask = masked.repeat(read.signal_mv.shape[1] // model.config.patch_samples, axis=1)
    (reconstruction,) = reconstruct_masked({"": model}, recording, mask).values()
    changed = replace(read, signal_mv=np.where(masked, reconstruction.signal_mv, read.signal_mv))
    return changed.with_note(f"The model reconstructed {', '.join(leads)} from the other leads.")


def usual_perturbations(model: LAMAE, recording: Recording) -> dict[str, Change]:
    """The usual perturbations by name, those for which this ECG has the leads: missing, reversed and scaled leads."""
    limb, chest = (tuple(n for n in group if n in recording.leads) for group in (LIMB_LEADS, PRECORDIAL_LEADS))
    changes: dict[str, Change] = {}
    if limb and chest:
        changes["chest leads missing"] = partial(without_leads, leads=chest)
        changes["limb leads missing"] = partial(without_leads, leads=limb)
        changes["chest leads reconstructed"] = partial(leads_reconstructed, model, leads=chest)
    others = [name for name in recording.leads if name not in ("I", "II", "V2")]
    if others and {"I", "II", "V2"} <= set(recording.leads):
        changes["only I, II, V2"] = partial(without_leads, leads=others)
    if {"I", "II"} <= set(recording.leads) and _limb_error_mv(recording) <= EINTHOVEN_MV:
        changes |= {f"{a} and {b} reversed": partial(electrodes_reversed, one=a, other=b) for a, b in LIMB_REVERSALS}
    if {"V1", "V3"} <= set(recording.leads):
        changes["V1 and V3 reversed"] = partial(leads_reversed, one="V1", other="V3")
    if chest:
        changes["chest leads at half amplitude"] = partial(scaled_leads, leads=chest, factor=0.5)
    return changes


def what_if(model: LAMAE, probe: Probe, recording: Recording, changes: Mapping[str, Change]) -> pd.DataFrame:
    """What the model predicts for an ECG as recorded and after each change, such as missing leads or reversed
    electrodes.

    probe: a linear probe of this model. changes: from a name to a function that takes a Recording and returns the
    changed one; see `lt.explain.usual_perturbations`.

    Returns one row per scenario, the first "as recorded". Columns are ("probability", code), from 0 to 1, and
    ("log_odds_difference", code), against the ECG as recorded: +0.7 doubles the odds, -0.7 halves them.
    `attrs["note"]` says what the model's normalization means for scaled leads. A change shows what the prediction
    depends on, not what the heart would have done. ECGError if a change is named "as recorded", or if the ECG lacks a
    lead that a change needs.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording
        model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
        changes = {"arm electrodes reversed": lambda ecg: lt.explain.electrodes_reversed(ecg, "RA", "LA")}
        table = lt.what_if(model, probe, ecg, changes)
        print(table.probability.T.round(3))
    """
    if AS_RECORDED in changes:
        raise ECGError(f"A change cannot have the name {AS_RECORDED!r}, which is the unchanged ECG; rename it.")
    scenarios = {AS_RECORDED: recording} | {name: change(recording) for name, change in changes.items()}
    encoded = [encode_ecg(model, changed, probe) for changed in scenarios.values()]
    rows = [one.log_odds(one.leads).numpy() for one in encoded]
    odds = pd.DataFrame(rows, index=pd.Index(scenarios, name="scenario"), columns=list(probe.codes))
    tables = {"probability": expit(odds), "log_odds_difference": odds - odds.loc[AS_RECORDED]}
    table = pd.concat(tables, axis=1, names=["value", "code"])
    table.attrs["note"] = normalization_note(model.config)
    return table


def normalization_note(config: LAMAEConfig) -> str:
    """What a model's normalization means for scaled leads, in one sentence."""
    if config.normalization == "record":
        return (
            "This model reads all leads in units of one standard deviation, so it sees their amplitudes relative to"
            " each other."
        )
    note = "This model reads each lead in units of its own standard deviation, so it does not see its amplitude"
    if config.amplitude_input:
        return f"{note}, except for the amplitude in mV, which is a separate input."
    return f"{note}: scaling a lead changes hardly anything until it comes near the floor of 0.01 mV."


def _check_recorded(recording: Recording, leads: Sequence[str]) -> None:
    for name in leads:
        recording.lead(name)
    if not leads:
        raise ECGError("No lead was named; give at least one.")
