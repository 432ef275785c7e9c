"""Measured intervals against the simulator's programmed ones and against the marks of LUDB's cardiologists."""

import numpy as np
import pytest

import lamae_toolkit as lt
from lamae_toolkit.ecg.beats import RATE_HZ
from lamae_toolkit.ecg.intervals import QTC_FORMULAS, Measurements, measure
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.simulate.conditions import Patient, sample_patient
from lamae_toolkit.simulate.simulator import SimulatedECG, simulate_ecg
from ludb_marks import interval_errors

pytest.importorskip("neurokit2")


def simulated(seed: int, codes: dict[str, float], noise: float = 0.7, **more) -> SimulatedECG:
    person = sample_patient(seed, np.random.default_rng(seed))
    person = Patient(person.patient_id, person.age_years, person.sex, (), person.anatomy_seed, "inferior")
    return simulate_ecg(person, np.random.default_rng(100 + seed), codes=codes, noise=noise, **more)


@pytest.mark.parametrize("codes", [{}, {"I44.0": 0.6}, {"R00.1": 0.5}, {"I44.7": 0.7}])
def test_simulated_intervals_are_measured(codes):
    errors = {"rate_bpm": [], "pr_ms": [], "qrs_ms": [], "qt_ms": []}
    for seed in range(2):
        ecg = simulated(seed, codes)
        measured = measure(ecg.recording)
        for name, of in errors.items():
            if (value := getattr(measured, name)) is not None:
                of.append(value - getattr(ecg.truth, name.replace("rate_bpm", "heart_rate_bpm")))
    assert len(errors["rate_bpm"]) == 2 and np.abs(errors["rate_bpm"]).max() <= 1.5, errors
    assert len(errors["pr_ms"]) == 2 and np.abs(errors["pr_ms"]).max() <= 30, errors
    assert len(errors["qrs_ms"]) == 2 and np.abs(errors["qrs_ms"]).max() <= 30, errors
    assert len(errors["qt_ms"]) >= 1 and np.abs(errors["qt_ms"]).max() <= 40, errors


def test_atrial_fibrillation_has_a_rate_and_no_pr():
    for seed in range(2):
        ecg = simulated(seed, {"I48.91": 0.6})
        measured = measure(ecg.recording)
        assert measured.rate_bpm == pytest.approx(ecg.truth.heart_rate_bpm, abs=3) and measured.pr_ms is None
        assert measured.not_measured["PR"] and "PR" in " ".join(measured.sentences())


def test_every_value_is_given_or_its_absence_explained():
    noise = np.random.default_rng(3).normal(0, 0.3, (12, 5000)).astype(np.float32)
    flat = Recording(np.tile(np.float32([[0.1], [0.2]]), (6, 5000)), 500, lt.LEADS)
    short = simulated(1, {}, duration_s=1.5).recording
    for ecg in (Recording(noise, 500, lt.LEADS), flat, short, simulated(2, {}, noise=30).recording):
        measured = measure(ecg)
        for name, value in values_of(measured).items():
            assert (value is None) == (name in measured.not_measured), (name, value, measured.not_measured)
        assert measured.pr_ms is None and measured.qrs_ms is None and measured.qt_ms is None


def values_of(measured: Measurements) -> dict[str, float | None]:
    names = {"rate": "rate_bpm", "PR": "pr_ms", "QRS": "qrs_ms", "QT": "qt_ms", "QTc": "qtc_ms", "axis": "axis_deg"}
    return {name: getattr(measured, of) for name, of in names.items()}


def test_marks_and_median_beat_belong_to_the_intervals():
    ecg = simulated(0, {}).recording
    measured = measure(ecg)
    marks = measured.marks_s
    assert marks["P on"] < marks["P off"] < marks["QRS on"] < 0 < marks["QRS off"] < marks["T off"]
    assert 1000 * (marks["QRS off"] - marks["QRS on"]) == pytest.approx(measured.qrs_ms)
    assert 1000 * (marks["T off"] - marks["QRS on"]) == pytest.approx(measured.qt_ms)
    assert measured.median_beat.leads == ecg.leads and measured.median_beat.duration_s == pytest.approx(1.0)
    lead = measured.median_beat.lead("II")
    assert abs(int(np.abs(lead).argmax()) / RATE_HZ - 0.4) < 0.03  # R lies where it should


def test_the_axis_follows_a_heart_that_is_turned():
    ecg = simulated(0, {}).recording
    lead_i, lead_ii = ecg.lead("I"), ecg.lead("II")
    x, y = lead_i, (2 * lead_ii - lead_i) / np.sqrt(3)

    def turned(by_deg: float) -> float:
        c, s = np.cos(np.radians(by_deg)), np.sin(np.radians(by_deg))
        new_x, new_y = c * x - s * y, s * x + c * y
        signal = np.stack([new_x, (new_x + np.sqrt(3) * new_y) / 2])
        return measure(Recording(signal, ecg.sampling_rate_hz, ("I", "II"))).axis_deg

    straight = turned(0)
    assert straight == pytest.approx(measure(ecg).axis_deg, abs=8)
    assert turned(40) - straight == pytest.approx(40, abs=6) and turned(-60) - straight == pytest.approx(-60, abs=6)


def test_qtc_is_by_the_named_formula():
    ecg = simulated(0, {"R00.1": 0.5}).recording
    for name, formula in QTC_FORMULAS.items():
        measured = measure(ecg, qtc=name)
        rr_s = 60 / measured.rate_bpm
        assert measured.qtc_ms == pytest.approx(formula(measured.qt_ms, rr_s)) and f"QTc ({name})" in dict(
            measured.table()
        )
    assert QTC_FORMULAS["Bazett"](400, 0.64) == pytest.approx(500)
    assert QTC_FORMULAS["Fridericia"](400, 0.512) == pytest.approx(500)
    assert QTC_FORMULAS["Framingham"](400, 0.5) == pytest.approx(477)
    assert QTC_FORMULAS["Hodges"](400, 0.5) == pytest.approx(505)
    with pytest.raises(ECGError, match="no QTc by 'Nobody'; choose Fridericia"):
        measure(ecg, qtc="Nobody")


def test_few_leads_and_low_rates_are_measured_alike():
    ecg = simulated(0, {}).recording
    full, watch, low = measure(ecg), measure(ecg.select(["I"])), measure(lt.ecg.resample(ecg, 100))
    assert watch.rate_bpm == pytest.approx(full.rate_bpm, abs=1) and watch.axis_deg is None
    assert "leads I and II" in watch.not_measured["axis"]
    assert low.qrs_ms == pytest.approx(full.qrs_ms, abs=25) and low.qt_ms == pytest.approx(full.qt_ms, abs=25)


@pytest.mark.parametrize("key", ["PR", "QRS", "QT"])
def test_cardiologists_of_ludb_agree(ludb_errors, key):
    """Widest of the annotated leads, 10th to 90th percentile; the limits are what was found on 67 records."""
    errors = np.array(ludb_errors[key])
    middle, most = np.median(errors), np.quantile(np.abs(errors), 0.9)
    limits = {"PR": (0, 18, 30), "QRS": (-30, 0, 50), "QT": (-15, 15, 40)}[key]
    assert len(errors) >= 6 and limits[0] <= middle <= limits[1] and most <= limits[2], errors


@pytest.fixture(scope="module")
def ludb_errors(real_data) -> dict[str, list[float]]:
    return interval_errors(real_data / "ludb" / "data", (1, 3, 5, 10, 15, 25, 30, 36)).errors_ms
