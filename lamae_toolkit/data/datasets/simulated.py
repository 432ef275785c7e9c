"""The embedded cohort: simulated patients with ICD-10-coded conditions, packed to a store."""

import json
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.simulate.conditions import Condition, Patient
from lamae_toolkit.simulate.heart import Heart
from lamae_toolkit.simulate.simulator import SimulatedECG, simulate_patients


def _no_effect(heart: Heart, severity: float, random: np.random.Generator) -> Heart:
    return heart


_SILENT = (
    Condition("E11.9", (), "", _no_effect, 0.2, 1.2, chronic=True, odds_ratios={"I51.7": 1.3, "I25.2": 1.8}),
    Condition("E78.5", (), "", _no_effect, 0.35, 1.2, chronic=True, odds_ratios={"I51.7": 1.1, "I25.2": 2.5}),
    Condition("I10", (), "", _no_effect, 0.4, 1.4, chronic=True, odds_ratios={"I51.7": 3.0, "I25.2": 1.5}),
)
SILENT_CODES = tuple(condition.code for condition in _SILENT)
"""Codes that no wave of the ECG shows: type 2 diabetes, hyperlipidemia and hypertension."""


def simulate_store(
    folder: Path | str,
    ecgs: int = 3000,
    seed: int = 0,
    *,
    sampling_rate_hz: float = 100.0,
    workers: int | None = None,
    progress: bool = True,
) -> Store:
    """Simulate a cohort and write it to a store: the same seed gives the same ECGs, on any number of cores.

    folder: of the new store. ecgs: how many; some patients have several. sampling_rate_hz: of the store.
    workers: processes that simulate in parallel; None or 1 stays in this one.
    ECGError if the folder holds something else.

    Besides the usual columns the index has the ground truth: heart_rate_bpm, pr_ms (missing where there
    is no PR interval), qrs_ms, qt_ms, and severity, a JSON object from code to 0..1. The column silent_codes has
    the patient's conditions that the ECG does not show, more frequent with age and with what they lead to: they
    can be predicted only through the conditions that accompany them.

    Example:
        import tempfile
        import lamae_toolkit as lt

        with tempfile.TemporaryDirectory() as folder:
            store = lt.simulate_store(folder + "/store", ecgs=4, seed=1, workers=1, progress=False)
            print(store.index[["patient_id", "codes", "heart_rate_bpm"]])
            del store  # Windows deletes no file that is open
    """
    simulated = simulate_patients(ecgs, seed, sampling_rate_hz=sampling_rate_hz, workers=workers)
    with tqdm(simulated, total=ecgs, desc="simulating", unit="ECG", disable=not progress) as bar:
        records = (_record(study_id, ecg, seed) for study_id, ecg in enumerate(bar))
        return pack(records, folder, source=f"simulated, seed {seed}", sampling_rate_hz=sampling_rate_hz)


def _record(study_id: int, ecg: SimulatedECG, seed: int) -> Record:
    truth = ecg.truth
    extra = (
        ("heart_rate_bpm", truth.heart_rate_bpm),
        ("pr_ms", truth.pr_ms),
        ("qrs_ms", truth.qrs_ms),
        ("qt_ms", truth.qt_ms),
        ("severity", json.dumps(truth.severity)),
        ("silent_codes", list(silent_codes(ecg.patient, seed))),
    )
    patient = ecg.patient
    return Record(ecg.recording, patient.patient_id, study_id, patient.age_years, patient.sex, truth.codes, extra)


def silent_codes(patient: Patient, seed: int = 0) -> tuple[str, ...]:
    """The conditions of a patient that the ECG does not show, the same in all of the patient's ECGs.

    Their odds follow the rule of all simulated conditions, with round numbers.
    """
    chronic, random = dict(patient.conditions), np.random.default_rng([seed, patient.patient_id, 10])
    return tuple(
        condition.code
        for condition in _SILENT
        if random.random() < condition.probability(patient.age_years, patient.sex, chronic)
    )
