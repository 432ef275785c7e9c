"""The embedded cohort: simulated patients with ICD-10-coded conditions, packed to a store."""

import json
from pathlib import Path

from tqdm.auto import tqdm

from lamae_toolkit.simulate import SimulatedECG, simulate_patients
from lamae_toolkit.store import Entry, Store, pack


def simulate_store(
    folder: Path | str,
    ecgs: int = 3000,
    seed: int = 0,
    *,
    sampling_rate_hz: float = 100.0,
    workers: int | None = None,
    progress: bool = True,
) -> Store:
    """Simulate a cohort and pack it: the same seed gives the same ECGs, on any number of cores.

    Besides the usual columns the index has the ground truth: heart_rate_bpm, pr_ms (missing where there
    is no PR interval), qrs_ms, qt_ms, and severity, a JSON object from code to 0..1.
    """
    simulated = simulate_patients(ecgs, seed, sampling_rate_hz=sampling_rate_hz, workers=workers)
    bar = tqdm(simulated, total=ecgs, desc="simulating", unit="ECG", disable=not progress)
    entries = (_entry(study_id, ecg) for study_id, ecg in enumerate(bar))
    return pack(entries, folder, source=f"simulated, seed {seed}", sampling_rate_hz=sampling_rate_hz)


def _entry(study_id: int, ecg: SimulatedECG) -> Entry:
    truth = ecg.truth
    extra = (
        ("heart_rate_bpm", truth.heart_rate_bpm),
        ("pr_ms", truth.pr_ms),
        ("qrs_ms", truth.qrs_ms),
        ("qt_ms", truth.qt_ms),
        ("severity", json.dumps(truth.severity)),
    )
    patient = ecg.patient
    return Entry(ecg.recording, patient.patient_id, study_id, patient.age_years, patient.sex, truth.codes, extra)
