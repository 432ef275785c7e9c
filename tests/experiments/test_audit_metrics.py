"""Scores of explanations against brute force and known cases, from random floor to ceiling."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from lamae_toolkit.evaluation.metrics import over_patients, patient_bootstrap
from lamae_toolkit.experiments.audit.metrics import (
    best_areas,
    curve_area,
    deletion_area,
    deletion_curve,
    insertion_area,
    insertion_curve,
    localization_auroc,
    order_by_attribution,
    patches_in_spans,
    pointing_game,
    random_curve,
    rank_correlation,
)

LEADS = 5


def additive(worth: np.ndarray) -> np.ndarray:
    """The log-odds from every set of leads if each lead adds its own worth, (b, l) to (b, 2^l)."""
    sets = np.arange(1 << worth.shape[1])
    there = (sets[:, None] >> np.arange(worth.shape[1])) & 1
    return worth @ there.T


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def test_curves_remove_and_add_leads_in_the_order_of_attribution():
    worth = np.array([[1.0, 10.0, 100.0]])
    order = order_by_attribution(worth)
    assert order.tolist() == [[2, 1, 0]]
    assert deletion_curve(additive(worth), order).tolist() == [[111.0, 11.0, 1.0, 0.0]]
    assert insertion_curve(additive(worth), order).tolist() == [[0.0, 100.0, 110.0, 111.0]]
    assert curve_area(np.array([[5.0, 1.0, 3.0, 7.0]]), np.zeros((1, 4))).tolist() == [2.0], "without both ends"


def test_the_random_curve_and_the_ceilings_are_those_of_all_orders(random):
    values = random.normal(size=(3, 1 << LEADS))
    orders = [np.tile(order, (3, 1)) for order in permutations(range(LEADS))]
    np.testing.assert_allclose(random_curve(values), np.mean([insertion_curve(values, o) for o in orders], axis=0))
    np.testing.assert_allclose(random_curve(values)[:, ::-1], np.mean([deletion_curve(values, o) for o in orders], 0))
    deletion, insertion = best_areas(values)
    np.testing.assert_allclose(deletion, np.max([deletion_area(values, o) for o in orders], axis=0))
    np.testing.assert_allclose(insertion, np.max([insertion_area(values, o) for o in orders], axis=0))


def test_true_attribution_reaches_the_ceiling_and_random_order_the_floor(random):
    worth = random.normal(size=(400, LEADS))
    values, order = additive(worth), order_by_attribution(worth)
    deletion, insertion = best_areas(values)
    np.testing.assert_allclose(deletion_area(values, order), deletion, atol=1e-9)
    np.testing.assert_allclose(insertion_area(values, order), insertion, atol=1e-9)
    random_order = order_by_attribution(random.normal(size=worth.shape))
    weights = patient_bootstrap(np.arange(400), 200)
    for area, best in ((deletion_area, deletion), (insertion_area, insertion)):
        guess = over_patients(area(values, random_order), weights)
        assert guess.low < 0 < guess.high
        assert (area(values, order[:, ::-1]) <= 1e-9).all() and (best >= area(values, random_order) - 1e-9).all()


def test_equal_attributions_are_ordered_at_random():
    order = order_by_attribution(np.zeros((2000, 4)))
    assert np.abs(np.bincount(order[:, 0], minlength=4) / 2000 - 0.25).max() < 0.05
    assert (np.sort(order, axis=1) == np.arange(4)).all()


def test_rank_correlation_is_spearmans(random):
    one, other = random.integers(0, 4, size=(6, 9)).astype(float), random.normal(size=(6, 9))
    expected = [spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(rank_correlation(one, other), expected)
    assert np.isnan(rank_correlation(np.ones((1, 9)), other[:1])).all()


def test_localization_auroc_against_scikit_learn_and_known_cases(random):
    attribution = random.integers(0, 5, size=(20, 12)).astype(float)
    truth = random.random((20, 12)) < 0.4
    expected = [roc_auc_score(t, c) for t, c in zip(truth, attribution, strict=True)]
    np.testing.assert_allclose(localization_auroc(attribution, truth), expected)
    oracle = truth.astype(float)
    assert (localization_auroc(oracle, truth) == 1).all() and (pointing_game(oracle, truth) == 1).all()
    flat = np.zeros_like(oracle)
    assert (localization_auroc(flat, truth) == 0.5).all()
    np.testing.assert_allclose(pointing_game(flat, truth), truth.mean(axis=1))
    everything = np.ones((2, 12), dtype=bool)
    assert np.isnan(localization_auroc(attribution[:2], everything)).all()
    assert np.isnan(pointing_game(attribution[:2], ~everything)).all()


def test_patches_in_spans():
    shown = patches_in_spans([(0.10, 0.30), (0.99, 1.26), (1.51, 1.52)], 8, 0.25)
    assert shown.tolist() == [True, True, False, False, True, False, False, False]
    assert not patches_in_spans([], 8, 0.25).any()


def test_means_over_patients_ignore_undefined_values():
    patients = np.repeat(np.arange(50), 3)
    values = np.repeat(np.random.default_rng(0).normal(2.0, 1.0, 50), 3)
    values[0] = np.nan
    found = over_patients(values, patient_bootstrap(patients, 2000))
    assert found.value == pytest.approx(np.nanmean(values))
    # Three equal values of a patient are no more than one: the interval is that of 50 values, not of 150.
    assert found.high - found.low == pytest.approx(2 * 1.96 * values[3:].std() / np.sqrt(50), rel=0.15)
    assert np.isnan(over_patients(np.full(3, np.nan), np.ones((5, 3))).value)
