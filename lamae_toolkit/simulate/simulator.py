"""Simulated 12-lead ECGs with ground truth: a moving cardiac dipole measured through the lead field of one person.

Nine electrodes (RA, LA, LL, V1 to V6) pick up the heart's nine sources and all the noise; the twelve
leads are then derived from the electrodes as in an electrocardiograph, so Einthoven's and
Goldberger's relations hold with the noise, too:
leads = LEADS_FROM_ELECTRODES @ (lead_field @ sources + noise).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
from jaxtyping import Float

from lamae_toolkit.ecg.leads import DOWER, LEADS, LEADS_FROM_ELECTRODES, PRECORDIAL_LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.parallel import worker_pool
from lamae_toolkit.simulate.conditions import (
    CONDITIONS,
    Patient,
    check_codes,
    evidence_leads,
    heart_with,
    sample_codes,
    sample_patient,
)
from lamae_toolkit.simulate.heart import Heart
from lamae_toolkit.simulate.rhythm import Schedule, schedule
from lamae_toolkit.simulate.waves import sources


@dataclass(frozen=True)
class Truth:
    """The ground truth: conditions, intervals of the prevailing beats, and where the evidence lies.

    heart_rate_bpm: 60 / mean RR of the QRS complexes in the recording. pr_ms: None if no P wave leads to a QRS.
    beat_times_s: onset of each QRS. evidence_spans_s: for each code the spans (start, end) that show it.
    """

    codes: tuple[str, ...]
    severity: dict[str, float]
    heart_rate_bpm: float
    pr_ms: float | None
    qrs_ms: float
    qt_ms: float
    beat_times_s: tuple[float, ...]
    evidence_spans_s: dict[str, tuple[tuple[float, float], ...]]
    evidence_leads: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class SimulatedECG:
    """A simulated recording, its ground truth, and the patient."""

    recording: Recording
    truth: Truth
    patient: Patient


def lead_field(patient: Patient, rng: np.random.Generator) -> Float[np.ndarray, "9 9"]:
    """What each electrode measures of each source in this patient, on this day.

    Dower's lead vectors for a heart that is turned in the frontal and the horizontal plane, a chest
    that attenuates the signal more or less, and electrodes slightly off their positions.
    """
    person = np.random.default_rng([patient.anatomy_seed, 2])
    age, woman = patient.age_years, patient.sex == "F"
    # Positive turns the axis upwards and to the left, as hearts do with the years.
    frontal = np.radians(person.normal(-2 + 0.35 * (age - 55), 12) + rng.normal(0, 2))
    if person.random() < 0.05 + 0.002 * max(0.0, age - 50):
        frontal += np.radians(person.uniform(25, 55))  # left axis deviation, as in left anterior hemiblock
    horizontal = np.radians(person.normal(0, 10) + rng.normal(0, 2))
    cos_f, sin_f, cos_h, sin_h = np.cos(frontal), np.sin(frontal), np.cos(horizontal), np.sin(horizontal)
    turn_frontal = np.array([[cos_f, sin_f, 0], [-sin_f, cos_f, 0], [0, 0, 1]])
    turn_horizontal = np.array([[cos_h, 0, sin_h], [0, 1, 0], [-sin_h, 0, cos_h]])
    lead_vectors = DOWER @ turn_frontal @ turn_horizontal
    limb_gain = np.exp(person.normal(0.0, 0.22))
    chest_gain = limb_gain * np.exp(person.normal(0.02 if woman else 0.18, 0.16) + person.normal(0, 0.06, 6))
    one, two = limb_gain * lead_vectors[0], limb_gain * lead_vectors[1]
    chest = np.hstack([lead_vectors[2:], np.eye(6)])
    # An electrode moved along its row measures a mixture of what it and its neighbor should measure.
    shift = np.clip(person.normal(0, 0.12, 6) + rng.normal(0, 0.10, 6), -0.5, 0.5)
    neighbor = np.clip(np.arange(6) + np.sign(shift).astype(int), 0, 5)
    chest = (1 - np.abs(shift))[:, None] * chest + np.abs(shift)[:, None] * chest[neighbor]
    field = np.zeros((9, 9))
    field[:3, :3] = np.stack([-(one + two) / 3, one - (one + two) / 3, two - (one + two) / 3])
    field[3:] = chest_gain[:, None] * chest
    return field


def electrode_noise(
    n_samples: int, sampling_rate_hz: float | int, heart: Heart, amount: float, rng: np.random.Generator
) -> Float[np.ndarray, "9 t"]:
    """Baseline wander, muscle noise, mains and moving electrodes, in mV at each of the nine electrodes.

    The strength differs from recording to recording (log-normal), as between a calm and a shivering
    patient; `amount` scales all of it.
    """
    time = np.arange(n_samples) / sampling_rate_hz
    level = amount * np.exp(rng.normal(0, [0.5, 0.8, 0.8, 0.6]))
    # Wander: breathing, and a slow drift of the skin potential (a random walk without its trend).
    breath = np.sin(2 * np.pi * heart.respiration_hz * time + rng.uniform(0, 2 * np.pi))
    noise = 0.030 * level[0] * rng.normal(0, 1, (9, 1)) * breath
    knots = rng.standard_normal((9, max(4, int(np.ceil(time[-1] * 0.6)) + 1))).cumsum(1)
    knots -= knots.mean(1, keepdims=True)
    position = time / time[-1] * (knots.shape[1] - 1)
    left = np.minimum(position.astype(int), knots.shape[1] - 2)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    noise += 0.024 * level[0] * ((1 - blend) * knots[:, left] + blend * knots[:, left + 1])
    # Muscle: white up to 150 Hz, so a recording at 100 Hz holds a third of its power; it comes and goes.
    density_mv = 0.0013 * level[1] * np.sqrt(min(1.0, sampling_rate_hz / 2 / 150))
    white = rng.standard_normal((9, n_samples))
    swell = np.exp(0.5 * np.sin(2 * np.pi * rng.uniform(0.05, 0.3) * time + rng.uniform(0, 2 * np.pi)))
    noise += density_mv * np.exp(rng.normal(0, 0.35, (9, 1))) * swell * white
    mains_hz = 50.0 if rng.random() < 0.7 else 60.0
    if mains_hz < 0.45 * sampling_rate_hz:
        strength = 0.0015 * level[2] * rng.normal(0, 1, (9, 1))
        noise += strength * np.sin(2 * np.pi * mains_hz * time + rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.08 * min(1.0, amount):  # one electrode is pulled: a step that decays
        start, size = rng.uniform(0, time[-1]), 0.35 * level[3] * rng.normal()
        noise[rng.integers(9)] += np.where(time > start, size * np.exp(-(time - start) / 0.6), 0.0)
    return noise


def simulate_ecg(
    patient: Patient,
    rng: np.random.Generator,
    *,
    sampling_rate_hz: float | int = 500,
    duration_s: float | int = 10.0,
    codes: Mapping[str, float | int] | None = None,
    noise: float | int = 1.0,
) -> SimulatedECG:
    """One ECG of this patient, with its ground truth.

    patient: whose heart, chest and conditions are simulated. rng: the source of random numbers.
    sampling_rate_hz: samples per second. duration_s: length in seconds.
    codes: ICD-10 codes of conditions with their severity (above 0, at most 1) in place of the patient's own, for
        teaching; `{}` gives a normal ECG.
    noise: 1 as in practice, 0 for none, other numbers scale it.

    Returns the recording, its ground truth (beats, intervals, codes) and the patient. Raises ECGError for a code that
    cannot be simulated.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        patient = lt.sample_patient(0, np.random.default_rng(0))
        ecg = lt.simulate_ecg(patient, np.random.default_rng(1), codes={"I44.7": 1.0})
        ecg.recording.leads, ecg.truth.qrs_ms  # left bundle branch block: a wide QRS complex
    """
    severity = sample_codes(patient, rng) if codes is None else check_codes(codes)
    heart = heart_with(patient, severity, rng)
    clock = schedule(heart, duration_s, rng)
    time_s = np.arange(round(duration_s * sampling_rate_hz)) / sampling_rate_hz
    # einsum, unlike @, starts no threads: with a process on every core they would compete for the cores.
    electrodes_mv = np.einsum("es,st->et", lead_field(patient, rng), sources(heart, clock, time_s, rng))
    amount = float(noise)
    if amount:
        electrodes_mv = electrodes_mv + electrode_noise(len(time_s), sampling_rate_hz, heart, amount, rng)
    signal_mv = np.einsum("le,et->lt", LEADS_FROM_ELECTRODES, electrodes_mv)
    recording = Recording(signal_mv.astype(np.float32), float(sampling_rate_hz), LEADS)
    if amount and rng.random() < 0.012:
        # A detached chest electrode gives a flat line: the lead is absent.
        off = PRECORDIAL_LEADS[rng.integers(6)]
        recording = recording.select([lead for lead in LEADS if lead != off])
        recording = recording.with_note(f"Lead {off} was off and is left out.")
    return SimulatedECG(recording, _truth(severity, heart, clock, duration_s, patient), patient)


def _truth(
    severity: dict[str, float], heart: Heart, clock: Schedule, duration_s: float | int, patient: Patient
) -> Truth:
    inside = (clock.qrs_onset_s >= 0) & (clock.qrs_onset_s < duration_s)
    beats = clock.qrs_onset_s[inside]
    # The prevailing beats: all except the ectopic ones; of a demand pacemaker the more frequent kind.
    kinds, counts = np.unique(clock.kind[inside & clock.own].astype(str), return_counts=True)
    main = inside & (clock.kind == kinds[counts.argmax()])
    pr_s = clock.pr_s[main & np.isfinite(clock.pr_s)]
    spans = {code: _spans(CONDITIONS[code].evidence_wave, clock, heart, duration_s) for code in severity}
    return Truth(
        codes=tuple(severity),
        severity=dict(severity),
        heart_rate_bpm=float(60 / np.diff(beats).mean()),
        pr_ms=float(1000 * np.median(pr_s)) if len(pr_s) else None,
        qrs_ms=float(1000 * np.median(clock.qrs_s[main])),
        qt_ms=float(1000 * np.median(clock.qt_s[main])),
        beat_times_s=tuple(float(t) for t in beats),
        evidence_spans_s=spans,
        evidence_leads={code: evidence_leads(code, patient) for code in severity},
    )


def _spans(wave: str, clock: Schedule, heart: Heart, duration_s: float | int) -> tuple[tuple[float, float], ...]:
    q, j, t_end = clock.qrs_onset_s, clock.qrs_onset_s + clock.qrs_s, clock.qrs_onset_s + clock.qt_s
    own = clock.own
    if wave == "rhythm":
        start, end = np.array([0.0]), np.array([duration_s])
    elif wave == "PR":
        start = clock.p_onset_s
        end = start + (heart.pr_ms if heart.av_conduction == "1:1" else 2 * heart.p_ms) / 1000
    elif wave == "ectopic":
        start, end = q[~own], t_end[~own]
    elif wave == "paced":
        paced = clock.kind == "paced"
        start, end = q[paced] - 0.01, j[paced]
    else:
        start, end = {
            "QRS": (q[own], j[own]),
            "ST": (j[own] - 0.01, j[own] + 0.5 * (t_end - j)[own]),
            "T": (j[own], t_end[own]),
        }[wave]
    return tuple(
        (float(max(a, 0.0)), float(min(b, duration_s)))
        for a, b in zip(start, end, strict=True)
        if b > 0 and a < duration_s
    )


def _ecgs_of_patient(job: tuple[int, np.random.SeedSequence, float | int]) -> list[SimulatedECG]:
    """All ECGs of one patient: half the patients have one, few have more than four."""
    patient_id, seed, sampling_rate_hz = job
    rng = np.random.default_rng(seed)
    patient = sample_patient(patient_id, rng)
    ecgs = []
    for _ in range(min(int(rng.geometric(0.55)), 6)):
        ecg = simulate_ecg(patient, rng, sampling_rate_hz=sampling_rate_hz)
        ecgs.append(ecg)
        patient = _after(ecg)
    return ecgs


def _after(ecg: SimulatedECG) -> Patient:
    """The patient after this ECG: an acute infarction leaves an old one behind."""
    patient, has = ecg.patient, dict(ecg.patient.conditions)
    acute = [code for code in ("I21.19", "I21.09") if code in ecg.truth.codes]
    if not acute or "I25.2" in has:
        return patient
    has["I25.2"] = ecg.truth.severity[acute[0]]
    wall = "inferior" if acute[0] == "I21.19" else "anterior"
    return replace(patient, conditions=tuple(has.items()), infarct_wall=wall)


def simulate_patients(
    n_ecgs: int, seed: int, sampling_rate_hz: float | int = 100, workers: int | None = None
) -> Iterator[SimulatedECG]:
    """A cohort of `n_ecgs` ECGs, patient after patient, the same for a seed with any number of processes.

    workers: processes to use; None or 1 uses only this one, which simulates hundreds of ECGs per second. With more, a
        script must guard its main part with `if __name__ == "__main__":`, as Python's multiprocessing requires.
    """
    if n_ecgs <= 0:
        return
    # There are at least as many ECGs as patients, so this many patients are always enough.
    seeds = np.random.SeedSequence(seed).spawn(n_ecgs)
    jobs = [(patient_id, patient_seed, sampling_rate_hz) for patient_id, patient_seed in enumerate(seeds)]
    if workers is None or workers <= 1:
        yield from islice(chain.from_iterable(map(_ecgs_of_patient, jobs)), n_ecgs)
        return
    with worker_pool(workers, uses_torch=False) as pool:
        blocks = (
            pool.map(_ecgs_of_patient, jobs[start : start + 256], chunksize=16) for start in range(0, n_ecgs, 256)
        )
        yield from islice(chain.from_iterable(chain.from_iterable(blocks)), n_ecgs)
