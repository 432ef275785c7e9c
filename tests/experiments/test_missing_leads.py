"""Leads reconstructed from others: exact where physics determines them, without access to the truth."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.datasets.ptbxl import filtered
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS, LIMB_LEADS, PRECORDIAL_LEADS
from lamae_toolkit.ecg.preprocess import resample
from lamae_toolkit.ecg.recording import einthoven_error_mv
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.metrics import over_patients, patient_bootstrap
from lamae_toolkit.experiments.missing_leads.ludb import Mark, read_ludb, read_marks
from lamae_toolkit.experiments.missing_leads.methods import (
    LEAD_VECTORS,
    SCENARIOS,
    Amplitudes,
    Task,
    apply,
    lead_scores,
    linear_regression,
    reconstructed_by_model,
    score_table,
    through_dipole,
)
from lamae_toolkit.experiments.missing_leads.plots import lead_figure, wave_figure
from lamae_toolkit.experiments.missing_leads.waves import main_deflection, record_scores, wave_score, wave_table
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.config import LAMAEConfig

RESULTS = Path(__file__).parents[2] / "lamae_toolkit" / "experiments" / "results" / "missing_leads.json"
SMALL = LAMAEConfig(width=24, heads=2, pooling_heads=2, decoder_width=16, encoder_depth=1)
TO_CHEST = Task(LIMB_LEADS, PRECORDIAL_LEADS)


@pytest.fixture(scope="module")
def ecgs_mv(cohort) -> np.ndarray:
    """60 simulated ECGs with all leads, in mV."""
    whole = [row for row in range(len(cohort)) if len(cohort.recording(row).leads) == 12][:60]
    return np.stack([filtered(cohort.recording(row)).signal_mv for row in whole])


def of(signal_mv: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return signal_mv[:, [LEADS.index(name) for name in names]]


def test_scenarios_have_disjoint_visible_and_missing_leads():
    for tasks in SCENARIOS.values():
        for task in tasks:
            assert not set(task.visible) & set(task.missing)
    assert [task.missing for task in SCENARIOS["one lead at a time"]] == [(lead,) for lead in LEADS]
    with pytest.raises(ECGError, match="Lead II is both visible and missing"):
        Task(("I", "II"), ("II",))
    with pytest.raises(ECGError, match="at least one of each"):
        Task(("I",), ())
    with pytest.raises(ECGError, match="Unknown lead name 'v1'"):
        Task(("I",), ("v1",))


def test_the_inverse_of_the_published_matrix_is_the_published_inverse():
    eight = ("V1", "V2", "V3", "V4", "V5", "V6", "I", "II")
    inverse = np.linalg.pinv(LEAD_VECTORS[[LEADS.index(name) for name in eight]])
    published = [  # Edenbrandt & Pahlm (1988); there z points to the back
        [-0.172, -0.074, 0.122, 0.231, 0.239, 0.194, 0.156, -0.010],
        [0.057, -0.019, -0.106, -0.022, 0.041, 0.048, -0.227, 0.887],
        [0.229, 0.310, 0.246, 0.063, -0.055, -0.108, -0.022, -0.102],
    ]
    np.testing.assert_allclose(inverse, published, atol=6e-4)


def test_a_pure_dipole_is_found_from_three_leads():
    dipole = np.random.default_rng(0).standard_normal((2, 3, 400)).cumsum(axis=2)
    signal_mv = np.einsum("ls,bst->blt", LEAD_VECTORS, dipole)
    for task in (
        *SCENARIOS["I, II, V2 to other chest leads"],
        *SCENARIOS["one lead at a time"],
        Task(("V3", "I", "V1"), ("aVF", "V6")),
    ):
        drawn = apply(through_dipole(task), signal_mv, LEADS, task)
        np.testing.assert_allclose(drawn, of(signal_mv, task.missing), atol=1e-8)
    # Limb leads do not see what points straight to the front.
    unseen = np.linalg.svd(LEAD_VECTORS[:6])[2][2]
    front = np.einsum("ls,bst->blt", LEAD_VECTORS, unseen[:, None] * dipole[:, :1])
    assert np.abs(apply(through_dipole(TO_CHEST), front, LEADS, TO_CHEST)).max() < 1e-9 < np.abs(front[:, 6:]).max()


def test_regression_reconstructs_limb_leads_from_two_of_them_exactly(ecgs_mv):
    task = Task(("V5", "II", "I"), ("III", "aVR", "aVL", "aVF"))
    matrix = linear_regression(ecgs_mv[:40], LEADS, task)
    np.testing.assert_allclose(matrix[:, 0], 0, atol=1e-3)
    np.testing.assert_allclose(matrix[:, 1:], [[1, -1], [-0.5, -0.5], [-0.5, 1], [1, -0.5]], atol=1e-3)
    error = lead_scores(apply(matrix, ecgs_mv[40:], LEADS, task), of(ecgs_mv[40:], task.missing))
    assert error["rmse_mv"].max() < 2e-3 and error["correlation"].min() > 0.999


def test_regression_is_the_least_squares_fit(ecgs_mv):
    task = Task(("II", "V2"), ("V3", "V6"))
    x, y = (
        of(ecgs_mv, names).transpose(0, 2, 1).reshape(-1, 2).astype(np.float64)
        for names in (task.visible, task.missing)
    )
    np.testing.assert_allclose(
        linear_regression(ecgs_mv, LEADS, task), np.linalg.lstsq(x, y, rcond=None)[0].T, atol=1e-6
    )
    with pytest.raises(ECGError, match="Lead V3 is not among I, II, V2"):
        linear_regression(of(ecgs_mv, ("I", "II", "V2")), ("I", "II", "V2"), task)


def test_amplitudes_are_fitted_on_other_ecgs_and_follow_the_visible_leads(ecgs_mv):
    task = Task(("I", "II", "V2"), ("V3",))
    made = ecgs_mv.astype(np.float64)
    visible_scale = np.sqrt(of(made, task.visible).var(axis=2) + 1e-4)
    wanted = 1.7 * visible_scale[:, 0] ** 0.25 * visible_scale[:, 2] ** 0.75
    at = LEADS.index("V3")
    made[:, at] *= (np.sqrt(wanted**2 - 1e-4) / made[:, at].std(axis=1))[:, None]
    amplitudes = Amplitudes.fit(made[:40], LEADS, task)
    np.testing.assert_allclose(amplitudes.weight, [[0.25, 0, 0.75]], atol=1e-6)
    np.testing.assert_allclose(amplitudes.scale_mv(of(made[40:], task.visible))[:, 0], wanted[40:], rtol=1e-6)
    with pytest.raises(ECGError, match="4 training ECGs are too few"):
        Amplitudes.fit(made[:4], LEADS, task)


def test_reconstruction_never_reads_the_masked_lead(ecgs_mv):
    model, task = random_encoder(SMALL), Task(("I", "II", "V2"), ("V1", "V6"))
    amplitudes = Amplitudes.fit(ecgs_mv[:40], LEADS, task)
    drawn = reconstructed_by_model(model, amplitudes, ecgs_mv[40:44], LEADS)
    other = ecgs_mv[40:44].copy()
    other[:, [LEADS.index(name) for name in task.missing]] = 1e3
    np.testing.assert_array_equal(reconstructed_by_model(model, amplitudes, other, LEADS), drawn)
    absent = of(other, task.visible)
    np.testing.assert_array_equal(reconstructed_by_model(model, amplitudes, absent, task.visible), drawn)
    # It does see the others, and the leads that are neither are not there at all.
    other[:, LEADS.index("V5")] = 1e3
    np.testing.assert_array_equal(reconstructed_by_model(model, amplitudes, other, LEADS), drawn)
    other[:, LEADS.index("II")] = ecgs_mv[:4, LEADS.index("II")]
    assert np.abs(reconstructed_by_model(model, amplitudes, other, LEADS) - drawn).max() > 1e-4
    assert drawn.shape == (4, 2, 1000)
    for nothing in (
        lambda: reconstructed_by_model(model, amplitudes, ecgs_mv[:0], LEADS),
        lambda: linear_regression(ecgs_mv[:0], LEADS, task),
    ):
        with pytest.raises(ECGError, match="There is no ECG to learn or reconstruct from"):
            nothing()
    by_record = random_encoder(LAMAEConfig(**{**SMALL.to_dict(), "normalization": "record"}))
    with pytest.raises(ECGError, match="normalization is 'lead'"):
        reconstructed_by_model(by_record, amplitudes, ecgs_mv[:1], LEADS)


def test_ecgs_are_moved_to_the_device_of_the_model(ecgs_mv, monkeypatch):
    """No GPU is needed to see it: what is not taken to the model's device stays where it is."""
    taken, task = [], Task(("I", "II", "V2"), ("V1",))
    monkeypatch.setattr(Batch, "to", lambda batch, device: taken.append(device) or batch)
    reconstructed_by_model(random_encoder(SMALL), Amplitudes.fit(ecgs_mv[:40], LEADS, task), ecgs_mv[:20], LEADS)
    assert taken == [torch.device("cpu")] * 2, "each of the two batches"


def test_independent_twin_reconstructs_the_same_shape_for_every_ecg(ecgs_mv):
    torch.manual_seed(0)
    model, task = IndependentMAE(SMALL), Task(("I", "II", "V2"), ("V1", "V6"))
    drawn = reconstructed_by_model(model, Amplitudes.fit(ecgs_mv[:40], LEADS, task), ecgs_mv[40:44], LEADS)
    shape = drawn / drawn.std(axis=2, keepdims=True)
    np.testing.assert_allclose(shape[1:], np.repeat(shape[:1], 3, axis=0), atol=1e-4)


def test_scores_by_hand():
    true = np.array([[[0.0, 1.0, 0.0, -1.0]]])
    half = lead_scores(true / 2, true)
    assert half["rmse_mv"][0, 0] == pytest.approx(np.sqrt(0.125))
    assert half["relative_rmse"][0, 0] == pytest.approx(0.5) and half["correlation"][0, 0] == pytest.approx(1)
    flat = lead_scores(0 * true, true)
    assert flat["relative_rmse"][0, 0] == 1 and np.isnan(flat["correlation"][0, 0])
    weights = patient_bootstrap(np.array([1, 1, 2, 3]), 400, 0)
    found = over_patients(np.array([1.0, 3.0, np.nan, 5.0]), weights)
    assert found.value == 3 and 2 <= found.low < 3 < found.high <= 5
    assert np.isnan(over_patients(np.full(4, np.nan), weights).value)


def test_the_table_pairs_differences_by_ecg():
    rng = np.random.default_rng(0)
    theirs = rng.uniform(1, 2, (50, 2))
    scores = {
        name: {measure: theirs + shift for measure in ("rmse_mv", "relative_rmse", "correlation")}
        for name, shift in (("LAMAE", -0.25), ("linear regression", 0.0))
    }
    table = score_table(scores, ("V1", "V2"), patient_bootstrap(np.arange(50), 200, 0)).set_index(["lead", "method"])
    row = table.loc[("all", "LAMAE")]
    np.testing.assert_allclose(
        row[["difference_rmse_mv", "difference_rmse_mv_low", "difference_rmse_mv_high"]].astype(float), -0.25
    )
    assert row.rmse_mv_high - row.rmse_mv_low > 0.05
    assert table.loc[("V2", "LAMAE")].rmse_mv == pytest.approx(theirs[:, 1].mean() - 0.25)
    assert np.isnan(table.loc[("all", "linear regression")].difference_rmse_mv)


def test_a_wave_survives_by_shape_and_amplitude():
    wave = np.sin(np.linspace(0, np.pi, 12))
    assert wave_score(0.6 * wave + 3, wave).survives, "an offset is no matter within the span"
    low, turned, flat = wave_score(0.4 * wave, wave), wave_score(-wave, wave), wave_score(0 * wave, wave)
    assert low.correlation == pytest.approx(1) and low.polarity_right and not low.survives
    assert turned.correlation == pytest.approx(-1) and not turned.polarity_right and not turned.survives
    assert np.isnan(flat.correlation) and flat.amplitude_ratio == 0 and not flat.survives and not flat.polarity_right
    assert not wave_score(np.linspace(0, 1, 12), wave).survives
    assert main_deflection(np.array([1.0, 1.0, -2.0, 1.5, 1.0])) == -3


def test_waves_are_scored_in_their_own_lead_and_span_and_ecgs_count_once():
    true = np.zeros((2, 1000))
    true[0, 100:112] = np.sin(np.linspace(0, np.pi, 12))
    drawn = true.copy()
    drawn[:, 300:] = 9.0  # outside the marks
    marks = (
        Mark("QRS", "V1", 1.0, 1.05, 1.11),
        Mark("QRS", "V2", 1.0, 1.05, 1.11),
        Mark("QRS", "I", 1.0, 1.05, 1.11),
        Mark("P", "V1", 9.95, 9.97, 10.2),
        Mark("T", "V1", 2.0, 2.005, 2.01),
    )
    found = record_scores(marks, drawn, true, ("V1", "V2"), 100.0)
    assert list(zip(found.wave, found.lead, found.survives, strict=True)) == [("QRS", "V1", True), ("QRS", "V2", False)]
    tables = {
        "LAMAE": pd.concat([found.assign(ecg=0), found.iloc[[0] * 6].assign(ecg=1)]),
        "linear regression": pd.concat([found.assign(ecg=0), found.iloc[[1] * 6].assign(ecg=1)]),
    }
    table = wave_table(tables, patient_bootstrap(np.arange(3), 200, 0)).set_index(["method", "wave"])
    row = table.loc[("LAMAE", "QRS")]
    assert row.survives == pytest.approx(0.75) and row.waves == 8, "a half of one ECG and all of the other"
    assert row.difference_survives == pytest.approx(0.5)
    assert np.isnan(table.loc[("LAMAE", "P")].survives)


@pytest.mark.filterwarnings("ignore:.*Einthoven:lamae_toolkit.errors.LeadWarning")
def test_ludb_is_read_in_the_unit_in_which_einthoven_holds(real_data):
    folder = real_data / "ludb"
    for number in (1, 63, 200):
        ecg = read_ludb(folder, number)
        assert ecg.leads == LEADS and ecg.sampling_rate_hz == 500 and ecg.signal_mv.shape == (12, 5000)
        assert einthoven_error_mv(ecg) < 1e-3
        by_header = read_ecg(folder / "data" / f"{number}.hea")
        # What the header says: each lead 1 mV from top to bottom.
        np.testing.assert_allclose(np.ptp(by_header.signal_mv, axis=1), 1.0, atol=1e-3)
        assert einthoven_error_mv(by_header) > 0.1
    marks = read_marks(folder, 1)
    assert {mark.wave for mark in marks} == {"P", "QRS", "T"} and {mark.lead for mark in marks} == set(LEADS)
    assert all(0 <= mark.onset_s < mark.peak_s < mark.end_s <= 10 for mark in marks)
    lead = read_ludb(folder, 1).lead("II")
    r_peaks = [round(mark.peak_s * 500) for mark in marks if mark.wave == "QRS" and mark.lead == "II"]
    assert all(np.abs(lead[at - 15 : at + 15]).argmax() == pytest.approx(15, abs=3) for at in r_peaks)
    with pytest.raises(ECGError, match="has no record 201"):
        read_ludb(folder, 201)


def test_regression_on_real_ecgs_beats_a_flat_line_and_is_exact_for_limb_leads(real_data):
    files = sorted((real_data / "ptb-xl" / "records100").rglob("*.hea"))[:40]
    signal_mv = np.stack([filtered(read_ecg(file)).signal_mv for file in files])
    ludb = resample(filtered(read_ludb(real_data / "ludb", 3)), 100)
    task = SCENARIOS["I, II, V2 to other chest leads"][0]
    drawn = apply(linear_regression(signal_mv, LEADS, task), ludb.signal_mv[None], LEADS, task)
    assert lead_scores(drawn, of(ludb.signal_mv[None], task.missing))["relative_rmse"].mean() < 0.7
    one = SCENARIOS["one lead at a time"][4]
    drawn = apply(linear_regression(signal_mv, LEADS, one), ludb.signal_mv[None], LEADS, one)
    assert lead_scores(drawn, of(ludb.signal_mv[None], one.missing))["rmse_mv"].max() < 2e-3


def test_published_results_are_complete_and_plotted():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    leads, waves = pd.DataFrame(results["leads"]), pd.DataFrame(results["waves"])
    assert set(leads.cohort) == {"simulated", "PTB-XL", "LUDB"} == set(results["cohorts"])
    assert set(leads.scenario) == set(SCENARIOS) == set(waves.scenario)
    assert (leads.rmse_mv_low <= leads.rmse_mv).all() and (leads.rmse_mv <= leads.rmse_mv_high).all()
    flat = leads[leads.method == "flat line"]
    np.testing.assert_allclose(flat.relative_rmse, 1, atol=0.02)
    # The six limb leads hold two signals: regression gives each back from the others.
    exact = leads[(leads.scenario == "one lead at a time") & (leads.method == "linear regression")]
    assert exact[exact.lead.isin(LIMB_LEADS)].rmse_mv.max() < 0.01
    for draw, complaint in (
        (lambda: lead_figure(results["leads"], "ptbxl"), "no cohort 'ptbxl'; choose from simulated, PTB-XL, LUDB"),
        (lambda: lead_figure(results["leads"], "PTB-XL", "mae"), "no measure 'mae'; choose from rmse_mv"),
        (lambda: wave_figure(results["waves"], "mae"), "no measure 'mae'; choose from survives"),
    ):
        with pytest.raises(ECGError, match=complaint):
            draw()
    figure = wave_figure(results["waves"])
    assert len(figure.data) == len(SCENARIOS) * leads.method.nunique()
    bars = lead_figure(results["leads"], "PTB-XL").data
    wanted = leads[(leads.cohort == "PTB-XL") & (leads.lead == "all") & (leads.method == "LAMAE")]
    np.testing.assert_allclose(bars[0].y, wanted.rmse_mv)
