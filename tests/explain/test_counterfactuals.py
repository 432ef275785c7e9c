"""Counterfactuals: changed ECGs are what such recordings would be, and predictions are of exactly these."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from lamae_toolkit.data.batch import collate
from lamae_toolkit.ecg.leads import ELECTRODES, LEADS, LEADS_FROM_ELECTRODES, LIMB_LEADS
from lamae_toolkit.ecg.recording import Recording, einthoven_error_mv
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS, Probe, predict
from lamae_toolkit.explain.counterfactuals import (
    AS_RECORDED,
    electrodes_reversed,
    leads_reconstructed,
    leads_reversed,
    normalization_note,
    scaled_leads,
    usual_perturbations,
    what_if,
    without_leads,
)
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.plots.counterfactuals import what_if_figure

PAIRS = [(one, other) for at, one in enumerate(ELECTRODES) for other in ELECTRODES[at + 1 :]]
SMALL = LAMAEConfig(width=24, heads=2, pooling_heads=2, decoder_width=16, encoder_depth=1)


@pytest.fixture(scope="module")
def voltages() -> np.ndarray:
    """Nine electrodes at 250 Hz, each with a voltage of its own."""
    return np.random.default_rng(0).standard_normal((9, 500)).cumsum(axis=1) / 20


@pytest.fixture(scope="module")
def ecg(voltages) -> Recording:
    return recorded(voltages)


def recorded(voltages: np.ndarray) -> Recording:
    return Recording((LEADS_FROM_ELECTRODES @ voltages).astype(np.float32), 250.0, LEADS)


def probe_of(model: LAMAE, representation: str) -> Probe:
    """A probe with random weights: what it says of an ECG depends on everything that it reads."""
    d = model.config.width
    width = {"heart": d, "summary": 5 * d, "leads": 2 * 12 * d, "per_lead": 2 * 12 * d + 5 * d}[representation]
    random = np.random.default_rng(1)
    weight = random.standard_normal((3, width)) / np.sqrt(width)
    mean, scale = random.standard_normal(width), np.ones(width)
    return Probe(("I21", "I48", "I50"), representation, mean, scale, weight, np.zeros(3), 1.0)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_reversed_electrodes_equal_a_recording_with_swapped_voltages(ecg, voltages, one, other):
    moved = voltages.copy()
    a, b = ELECTRODES.index(one), ELECTRODES.index(other)
    moved[[a, b]] = voltages[[b, a]]
    swapped = electrodes_reversed(ecg, one, other)
    np.testing.assert_allclose(swapped.signal_mv, recorded(moved).signal_mv, atol=1e-5)
    assert einthoven_error_mv(swapped) < 1e-5
    assert np.abs(swapped.signal_mv - ecg.signal_mv).max() > 0.1
    np.testing.assert_allclose(electrodes_reversed(swapped, one, other).signal_mv, ecg.signal_mv, atol=1e-5)


def test_textbook_signs_of_the_limb_reversals(ecg):
    lead = {name: ecg.lead(name) for name in LEADS}
    arms = electrodes_reversed(ecg, "LA", "RA")
    for name, expected in {
        "I": -lead["I"],
        "II": lead["III"],
        "III": lead["II"],
        "aVR": lead["aVL"],
        "aVL": lead["aVR"],
        "aVF": lead["aVF"],
        "V1": lead["V1"],
    }.items():
        np.testing.assert_array_equal(arms.lead(name), expected, err_msg=name)
    right = electrodes_reversed(ecg, "RA", "LL")
    for name, expected in {"I": -lead["III"], "II": -lead["II"], "III": -lead["I"], "aVR": lead["aVF"]}.items():
        np.testing.assert_array_equal(right.lead(name), expected, err_msg=name)
    ground = electrodes_reversed(ecg, "RL", "RA")
    assert np.abs(ground.lead("II")).max() < 1e-6, "both ends of lead II are then on the legs"
    np.testing.assert_allclose(ground.lead("I"), -lead["III"], atol=1e-6)
    # Wilson's terminal is then (LA + 2 LL) / 3, higher by II / 3.
    np.testing.assert_allclose(ground.lead("V4"), lead["V4"] - lead["II"] / 3, atol=1e-5)
    np.testing.assert_array_equal(electrodes_reversed(ecg, "LL", "RL").signal_mv, ecg.signal_mv)


def test_few_leads_suffice_where_they_determine_the_reversal(ecg):
    few = ecg.select(("V2", "II", "I"))
    for one, other in (("RA", "LA"), ("LA", "V2")):
        whole = electrodes_reversed(ecg, one, other).select(few.leads)
        np.testing.assert_allclose(electrodes_reversed(few, one, other).signal_mv, whole.signal_mv, atol=1e-5)
    with pytest.raises(ECGError, match="Lead II with RA and LA reversed cannot be derived from II, V1"):
        electrodes_reversed(ecg.select(("II", "V1")), "RA", "LA")


def test_impossible_reversals_are_refused(ecg):
    with pytest.raises(ECGError, match="There is no electrode V7; choose two of RA, LA"):
        electrodes_reversed(ecg, "RA", "V7")
    with pytest.raises(ECGError, match="LA was given twice"):
        electrodes_reversed(ecg, "LA", "LA")
    scaled = Recording(ecg.signal_mv / ecg.signal_mv.std(axis=1, keepdims=True), 250.0, LEADS)
    with pytest.raises(ECGError, match="deviate from Einthoven's relations by"):
        electrodes_reversed(scaled, "RA", "LA")


def test_leads_are_removed_scaled_and_swapped(ecg):
    left = without_leads(ecg, ["V2", "I"])
    assert left.leads == tuple(name for name in LEADS if name not in ("I", "V2"))
    half = scaled_leads(ecg, ["V2"], 0.5)
    np.testing.assert_allclose(half.lead("V2"), ecg.lead("V2") / 2)
    np.testing.assert_array_equal(half.lead("V1"), ecg.lead("V1"))
    renamed = leads_reversed(ecg, "I", "V3")
    assert renamed.leads == LEADS
    np.testing.assert_array_equal(renamed.lead("I"), ecg.lead("V3"))
    np.testing.assert_array_equal(leads_reversed(renamed, "V3", "I").signal_mv, ecg.signal_mv)
    np.testing.assert_array_equal(  # of chest electrodes it is the same
        leads_reversed(ecg, "V1", "V3").signal_mv, electrodes_reversed(ecg, "V1", "V3").signal_mv
    )
    for change in (
        partial(without_leads, leads=LEADS),
        partial(scaled_leads, leads=["I"], factor=np.nan),
        partial(leads_reversed, one="V1", other="V1"),
        partial(without_leads, leads=[]),
        partial(without_leads, leads=["V7"]),
    ):
        with pytest.raises(ECGError):
            change(ecg)


def test_chosen_leads_are_reconstructed_and_the_others_unchanged(cohort):
    model, ecg = random_encoder(SMALL), cohort.recording(0)
    reconstructed = leads_reconstructed(model, ecg, ["V2", "V3"])
    assert reconstructed.leads == ecg.leads and "reconstructed V2, V3" in reconstructed.notes[-1]
    for name in ecg.leads:
        same = np.array_equal(reconstructed.lead(name), ecg.lead(name))
        assert same == (name not in ("V2", "V3"))
    # Only mean and standard deviation of a masked lead are used: the same lead reversed in time gives the same result.
    signal_mv = ecg.signal_mv.copy()
    signal_mv[ecg.leads.index("V2")] = signal_mv[ecg.leads.index("V2")][::-1]
    other = leads_reconstructed(model, Recording(signal_mv, 100.0, ecg.leads), ["V2", "V3"])
    np.testing.assert_allclose(other.signal_mv, reconstructed.signal_mv, atol=1e-5)
    with pytest.raises(ECGError, match="leave at least one"):
        leads_reconstructed(model, ecg, ecg.leads)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_what_if_table_equals_predictions_of_each_changed_ecg(cohort, representation):
    model, ecg = random_encoder(SMALL), cohort.recording(0)
    probe = probe_of(model, representation)
    changes = usual_perturbations(model, ecg)
    table = what_if(model, probe, ecg, changes)
    assert list(table.index) == [AS_RECORDED, *changes] and len(changes) >= 9
    assert (table.log_odds_difference.loc[AS_RECORDED] == 0).all()
    for name, change in changes.items():
        probability = predict(model, probe, collate([change(ecg)])).iloc[0]
        pd.testing.assert_series_equal(table.probability.loc[name], probability, check_names=False, rtol=1e-5)
        odds = np.log(probability / (1 - probability)) - np.log(
            table.probability.loc[AS_RECORDED] / (1 - table.probability.loc[AS_RECORDED])
        )
        np.testing.assert_allclose(table.log_odds_difference.loc[name], odds, atol=1e-5)
    with pytest.raises(ECGError, match="cannot have the name 'as recorded'"):
        what_if(model, probe, ecg, {AS_RECORDED: changes["limb leads missing"]})


def test_lead_normalization_removes_scaling(cohort):
    model, ecg = random_encoder(SMALL), cohort.recording(0)
    changes = {f"at {factor:g}": partial(scaled_leads, leads=["V2"], factor=factor) for factor in (0.5, 2.0, 0.01)}
    table = what_if(model, probe_of(model, "per_lead"), ecg, changes | {"lost": partial(without_leads, leads=["V2"])})
    change = table.log_odds_difference.abs().max(axis=1)
    assert change["at 0.5"] < 0.05 * change["lost"] and change["at 2"] < 0.05 * change["lost"]
    assert change["at 0.01"] > 5 * change["at 0.5"], "near the floor of 0.01 mV it shows"
    assert "in units of its own standard deviation" in table.attrs["note"] and "0.01 mV" in table.attrs["note"]
    by_record = LAMAEConfig(**{**SMALL.to_dict(), "normalization": "record"})
    assert "all leads in units of one standard deviation" in normalization_note(by_record)
    model = random_encoder(by_record)
    table = what_if(model, probe_of(model, "per_lead"), ecg, changes)
    assert table.log_odds_difference.loc["at 0.5"].abs().max() > 10 * change["at 0.5"]


def test_usual_perturbations_depend_on_the_leads_of_the_ecg(ecg):
    model = random_encoder(SMALL)
    assert "RA and LA reversed" in usual_perturbations(model, ecg)
    assert usual_perturbations(model, ecg.select(("II",))) == {}
    assert set(usual_perturbations(model, ecg.select(LIMB_LEADS))) == {
        "RA and LA reversed",
        "RA and LL reversed",
        "LA and LL reversed",
        "RA and RL reversed",
        "LA and RL reversed",
    }
    few = usual_perturbations(model, ecg.select(("I", "V1", "V3")))
    assert "chest leads missing" in few and "V1 and V3 reversed" in few and "RA and LA reversed" not in few
    scaled = Recording(ecg.signal_mv / ecg.signal_mv.std(axis=1, keepdims=True), 250.0, LEADS)
    assert not [name for name in usual_perturbations(model, scaled) if name.startswith(("RA", "LA"))]


def test_what_if_figure_shows_the_table(cohort):
    model, ecg = random_encoder(SMALL), cohort.recording(0)
    table = what_if(model, probe_of(model, "heart"), ecg, usual_perturbations(model, ecg))
    figure = what_if_figure(table, ["I21", "I50"])
    marks = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert len(marks) == 2
    np.testing.assert_allclose(1 / (1 + np.exp(-np.array(marks[1].x, dtype=float))), table.probability.I50, rtol=1e-5)
    assert list(figure.layout.yaxis.ticktext) == list(table.index)
    assert any(table.attrs["note"] in note.text.replace("<br>", " ") for note in figure.layout.annotations)
    with pytest.raises(ECGError, match="has no code X99"):
        what_if_figure(table, ["X99"])
    assert torch.is_grad_enabled()
