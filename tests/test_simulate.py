"""The simulator is measured on its signals, by NeuroKit2 and by lead, not by its own programme."""

import warnings

import numpy as np
import pytest

from lamae_toolkit.conditions import CONDITIONS, Patient, sample_codes, sample_patient
from lamae_toolkit.ecg import LEADS, PRECORDIAL_LEADS, ECGError, einthoven_error_mv
from lamae_toolkit.icd10 import NAMES
from lamae_toolkit.simulate import SimulatedECG, simulate_ecg, simulate_patients

ASKED_FOR = (
    "I48.91 I48.92 I44.0 I44.1 I44.2 I44.7 I45.10 I21.19 I21.09 I25.2 I51.7 I47.1 R00.0 R00.1 I49.3"
    " E87.5 E87.6 I45.81 Z95.0"
).split()


def ecgs(codes: dict[str, float], n: int = 12, noise: float = 0.0, wall: str = "inferior") -> list[SimulatedECG]:
    """The same n people, with these conditions."""
    people = [sample_patient(i, np.random.default_rng(i)) for i in range(n)]
    people = [Patient(p.patient_id, p.age_years, p.sex, (), p.anatomy_seed, wall) for p in people]
    return [simulate_ecg(p, np.random.default_rng(100 + p.patient_id), codes=codes, noise=noise) for p in people]


def beat(ecg: SimulatedECG, lead: str) -> np.ndarray:
    """The median beat of a lead at 500 Hz from 300 ms before to 700 ms after QRS onset, from the level before QRS."""
    starts = [round(500 * t) for t in ecg.truth.beat_times_s if 0.35 < t < 9.2]
    signal = ecg.recording.lead(lead)
    return np.median([signal[s - 150 : s + 350] - signal[s - 6 : s].mean() for s in starts], axis=0)


def qrs(ecg: SimulatedECG, lead: str) -> np.ndarray:
    return beat(ecg, lead)[150 : 150 + round(ecg.truth.qrs_ms / 2)]


def j60_mv(ecg: SimulatedECG, lead: str) -> float:
    return float(beat(ecg, lead)[150 + round(ecg.truth.qrs_ms / 2) + 30])


def t_mv(ecg: SimulatedECG, lead: str) -> float:
    part = beat(ecg, lead)[150 + round(ecg.truth.qrs_ms / 2) + 40 : 150 + round(ecg.truth.qt_ms / 2)]
    return float(part[np.abs(part).argmax()])


def median_change(codes: dict[str, float], measure, wall: str = "inferior") -> float:
    """By how much a condition changes a measurement in the same people, as a median."""
    pairs = zip(ecgs(codes, wall=wall), ecgs({}, wall=wall), strict=True)
    return float(np.median([measure(ill) - measure(well) for ill, well in pairs]))


# --- physics ---------------------------------------------------------------------------------------


def test_limb_leads_obey_einthoven_with_noise_and_all():
    for ecg in (*ecgs({}, noise=3.0), *ecgs({"I49.3": 0.8, "I44.7": 0.5}, noise=3.0)):
        assert einthoven_error_mv(ecg.recording) < 2e-6


def test_noise_is_added_and_scaled():
    rough, clean = ecgs({}, noise=2.0)[0], ecgs({}, noise=0)[0]
    assert np.std(rough.recording.lead("V2") - clean.recording.lead("V2")) > 0.01
    assert rough.truth == clean.truth


@pytest.mark.parametrize("rate_hz", [100, 250.0, 500, 1000])
def test_any_rate_and_duration(rate_hz):
    patient = sample_patient(0, np.random.default_rng(0))
    ecg = simulate_ecg(patient, np.random.default_rng(1), sampling_rate_hz=rate_hz, duration_s=6, codes={})
    assert ecg.recording.signal_mv.shape == (12, round(6 * rate_hz))
    assert ecg.recording.leads == LEADS and ecg.recording.sampling_rate_hz == rate_hz


def test_the_same_heart_looks_the_same_at_every_rate():
    patient = sample_patient(0, np.random.default_rng(0))
    slow, quick = (
        simulate_ecg(patient, np.random.default_rng(1), sampling_rate_hz=rate, codes={}, noise=0) for rate in (100, 500)
    )
    np.testing.assert_allclose(slow.recording.signal_mv, quick.recording.signal_mv[:, ::5], atol=1e-5)


def test_a_lead_that_is_off_is_absent_and_noted():
    off = [ecg for ecg in simulate_patients(300, seed=5) if len(ecg.recording.leads) < 12]
    assert 0 < len(off) < 20
    for ecg in off:
        (missing,) = set(LEADS) - set(ecg.recording.leads)
        assert missing in PRECORDIAL_LEADS and missing in ecg.recording.notes[0]


# --- cohort ----------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_cohort_with_one_and_two_processes():
    one, two, other = (
        list(simulate_patients(24, seed=seed, workers=workers)) for seed, workers in ((1, 1), (1, 2), (2, 1))
    )
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.recording.signal_mv, b.recording.signal_mv)
        assert a.truth == b.truth and a.patient == b.patient
    assert not np.array_equal(one[0].recording.signal_mv, other[0].recording.signal_mv)


def test_cohort_size_is_exact_and_patients_come_back_with_what_is_chronic():
    cohort = list(simulate_patients(150, seed=3))
    assert len(cohort) == 150 and list(simulate_patients(0, seed=3)) == []
    by_patient: dict[int, list[SimulatedECG]] = {}
    for ecg in cohort:
        by_patient.setdefault(ecg.patient.patient_id, []).append(ecg)
    assert 60 < len(by_patient) < 110
    for visits in by_patient.values():
        chronic = {code for code, _ in visits[0].patient.conditions}
        assert all(chronic <= set(ecg.truth.codes) for ecg in visits)
    assert any(len({ecg.truth.codes for ecg in visits}) > 1 for visits in by_patient.values())


def cohort_codes(n: int = 6000) -> tuple[list[Patient], list[dict[str, float]]]:
    rng = np.random.default_rng(0)
    patients = [sample_patient(i, rng) for i in range(n)]
    return patients, [sample_codes(patient, rng) for patient in patients]


def test_shares_ages_sexes_and_company_are_plausible():
    patients, codes = cohort_codes()
    share = {code: np.mean([code in c for c in codes]) for code in CONDITIONS}
    assert all(0.02 < s < 0.16 for s in share.values()), share
    assert 0.33 < np.mean([not c for c in codes]) < 0.47
    old = np.array([p.age_years > 70 for p in patients])
    woman = np.array([p.sex == "F" for p in patients])
    has = {code: np.array([code in c for c in codes]) for code in CONDITIONS}
    for code in ("I48.91", "I44.7", "I25.2", "Z95.0", "I44.2"):
        assert has[code][old].mean() > 1.5 * has[code][~old].mean(), code
    assert has["I47.1"][old].mean() < has["I47.1"][~old].mean()
    assert has["I25.2"][woman].mean() < 0.8 * has["I25.2"][~woman].mean()
    assert has["I45.81"][woman].mean() > 1.2 * has["I45.81"][~woman].mean()
    for code, company in (("I48.91", "Z95.0"), ("I51.7", "I44.7"), ("I25.2", "I49.3")):
        assert has[company][has[code]].mean() > 1.25 * has[company][~has[code]].mean(), (code, company)
    assert not (has["I48.91"] & has["I44.0"]).any() and not (has["I44.7"] & has["I45.10"]).any()


def test_all_conditions_asked_for_are_there_and_named():
    assert set(CONDITIONS) == set(ASKED_FOR) <= set(NAMES)
    assert all(c.name == NAMES[code] and set(c.evidence_leads) <= set(LEADS) for code, c in CONDITIONS.items())


def test_an_acute_infarction_leaves_an_old_one():
    cohort = list(simulate_patients(600, seed=11))
    followed = [
        (a, b)
        for a, b in zip(cohort, cohort[1:], strict=False)
        if a.patient.patient_id == b.patient.patient_id and {"I21.09", "I21.19"} & set(a.truth.codes)
    ]
    assert followed and all("I25.2" in b.truth.codes for _, b in followed)


@pytest.mark.parametrize("codes", [{"I99": 0.5}, {"I44.7": 0.0}, {"I44.7": 1.5}])
def test_impossible_conditions_are_refused(codes):
    with pytest.raises(ECGError, match=next(iter(codes))):
        ecgs(codes, n=1)


@pytest.mark.parametrize("code", CONDITIONS)
def test_truth_tells_where_the_evidence_lies(code):
    for ecg in ecgs({code: 0.7}, n=3):
        assert ecg.truth.codes == (code,) and ecg.truth.severity == {code: 0.7}
        spans = ecg.truth.evidence_spans_s[code]
        assert spans and all(0 <= start < end <= 10 for start, end in spans)
        assert set(ecg.truth.evidence_leads[code]) <= set(ecg.recording.leads)
        assert np.isfinite(ecg.recording.signal_mv).all() and np.abs(ecg.recording.signal_mv).max() < 8


# --- NeuroKit2 as judge ----------------------------------------------------------------------------


def neurokit(ecg: SimulatedECG, method: str, leads=("I", "II", "V5", "V6")) -> dict[str, float]:
    """Heart rate (1/min), PR, QRS and QT (ms) as NeuroKit2 finds them: medians over beats, then over leads."""
    nk = pytest.importorskip("neurokit2")
    found = []
    for lead in leads:
        signal = ecg.recording.lead(lead).astype(float)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NeuroKit2 warns of means of nothing and of pandas to come
            if method == "prominence":
                signal = nk.ecg_clean(signal, sampling_rate=500)
            try:
                peaks = nk.ecg_peaks(signal, sampling_rate=500)[1]["ECG_R_Peaks"]
                _, marks = nk.ecg_delineate(signal, peaks, sampling_rate=500, method=method)
            except (ValueError, IndexError, ZeroDivisionError):
                continue  # NeuroKit2 does not cope with every lead
            mark = {name: np.asarray(marks[f"ECG_{name}"], dtype=float) for name in MARKS}
            row = [60 * 500 / np.diff(peaks).mean()]
            for start, end in (("P_Onsets", "R_Onsets"), ("R_Onsets", "R_Offsets"), ("R_Onsets", "T_Offsets")):
                row.append(2 * np.nanmedian(mark[end] - mark[start]))
            found.append(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return dict(zip(("rate", "pr", "qrs", "qt"), np.nanmedian(found, axis=0), strict=True))


MARKS = ("P_Onsets", "R_Onsets", "R_Offsets", "T_Offsets")


def errors(codes: dict[str, float], method: str, key: str, programmed, n: int = 8) -> np.ndarray:
    out = [neurokit(e, method)[key] - programmed(e.truth) for e in ecgs(codes, n, noise=0.5)]
    return np.array(out)


@pytest.mark.parametrize("codes", [{}, {"R00.0": 0.6}, {"R00.1": 0.6}, {"I47.1": 0.4}, {"I48.91": 0.5}, {"I44.7": 0.6}])
def test_neurokit_finds_the_programmed_heart_rate(codes):
    error = errors(codes, "prominence", "rate", lambda truth: truth.heart_rate_bpm, n=6)
    assert np.abs(np.median(error)) < 1 and (np.abs(error) < 3).mean() >= 0.8, error
