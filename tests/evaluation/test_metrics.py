"""Metrics agree with scikit-learn in every resample, and their intervals have the right coverage."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.metrics import (
    Estimate,
    auprc,
    auroc,
    auroc_and_auprc,
    estimate,
    macro_difference,
    patient_bootstrap,
)


def some_scores(seed: int, ecgs: int = 200, codes: int = 3, levels: int | None = None):
    rng = np.random.default_rng(seed)
    labels = (rng.random((ecgs, codes)) < 0.2).astype(np.uint8)
    scores = rng.normal(size=(ecgs, codes)) + labels
    if levels:
        scores = np.round(scores * levels) / levels
    return labels, scores, rng.integers(0, ecgs // 2, ecgs)


@pytest.mark.parametrize("levels", [None, 2], ids=["all different", "many ties"])
def test_metrics_are_scikit_learns_in_every_resample(levels):
    labels, scores, patients = some_scores(0, levels=levels)
    counts = patient_bootstrap(patients, n_bootstrap=5)
    ours = {"roc": auroc(labels, scores, counts), "prc": auprc(labels, scores, counts)}
    for code in range(labels.shape[1]):
        y, x = labels[:, code], scores[:, code]
        assert ours["roc"].value[code] == pytest.approx(roc_auc_score(y, x), abs=1e-12)
        assert ours["prc"].value[code] == pytest.approx(average_precision_score(y, x), abs=1e-12)
        for resample, count in enumerate(counts):
            expected = roc_auc_score(y, x, sample_weight=count), average_precision_score(y, x, sample_weight=count)
            assert ours["roc"].resamples[resample, code] == pytest.approx(expected[0], abs=1e-12)
            assert ours["prc"].resamples[resample, code] == pytest.approx(expected[1], abs=1e-12)


def test_bootstrap_draws_patients_not_ecgs():
    patients = np.repeat(np.arange(10), 5)
    counts = patient_bootstrap(patients, n_bootstrap=50, seed=3)
    by_patient = counts.reshape(50, 10, 5)
    assert (by_patient == by_patient[:, :, :1]).all()
    assert (by_patient[:, :, 0].sum(axis=1) == 10).all()
    assert np.array_equal(counts, patient_bootstrap(patients, n_bootstrap=50, seed=3))


def test_interval_covers_the_true_auroc():
    """Normal scores one standard deviation apart have an AUROC of Phi(1/sqrt 2) = 0.7602."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = (np.arange(150) < 50).astype(np.uint8)[:, None]
        scores = rng.normal(size=(150, 1)) + labels
        estimate = auroc(labels, scores, patient_bootstrap(np.arange(150), 200, seed)).of_code(0)
        covered += estimate.low <= 0.7602 <= estimate.high
    assert 88 <= covered <= 100, "95 % intervals; 100 trials of 95 % lie between 88 and 100 in 99.9 % of cases"


def test_several_ecgs_of_a_patient_widen_the_interval():
    labels, scores, _ = some_scores(5, ecgs=100, codes=1)
    fivefold = np.repeat(labels, 5, axis=0), np.repeat(scores, 5, axis=0)
    by_patient = auroc(*fivefold, patient_bootstrap(np.repeat(np.arange(100), 5))).of_code(0)
    by_ecg = auroc(*fivefold, patient_bootstrap(np.arange(500))).of_code(0)
    assert by_patient.high - by_patient.low > 1.8 * (by_ecg.high - by_ecg.low)


def test_macro_and_paired_difference():
    labels, scores, patients = some_scores(1)
    counts = patient_bootstrap(patients)
    ours, theirs = auroc(labels, scores, counts), auroc(labels, scores * 0 + np.arange(200)[:, None], counts)
    assert ours.macro().value == pytest.approx(ours.value.mean())
    difference = macro_difference(ours, theirs)
    assert difference.value == pytest.approx(ours.macro().value - theirs.macro().value)
    assert difference.low > 0
    same = macro_difference(ours, ours)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_code_without_positives_is_undefined_and_left_out_of_the_macro_mean():
    labels, scores, patients = some_scores(2)
    labels[:, 1] = 0
    result = auroc(labels, scores, patient_bootstrap(patients, 20))
    assert np.isnan(result.value[1]) and np.isnan(auprc(labels, scores, patient_bootstrap(patients, 20)).value[1])
    assert result.macro().value == pytest.approx(result.value[[0, 2]].mean())
    assert np.isnan(result.of_code(1).low)


def test_scores_that_are_not_finite_and_fractional_counts_are_refused():
    labels, scores, patients = some_scores(3)
    scores[4, 0] = np.nan
    with pytest.raises(ECGError, match="not finite"):
        auroc(labels, scores, patient_bootstrap(patients, 2))
    with pytest.raises(ECGError, match="give integers"):
        auroc(labels, np.nan_to_num(scores), np.full((1, len(labels)), 0.5))


@pytest.mark.parametrize("memory_bytes", [1, 60 * 300 * 7])
def test_metrics_in_little_memory_are_the_same(memory_bytes):
    rng = np.random.default_rng(1)
    counts = patient_bootstrap(rng.integers(0, 90, size=300), 50, seed=3)
    scores = np.round(rng.normal(size=(300, 6)), 1).astype(np.float32)  # with many ties
    labels = (scores + rng.normal(size=(300, 6)) > [0, 0.5, 1, 2, 9, -9]).astype(np.uint8)  # the last two: none, all
    labels[0, 3], scores[:, 0] = 1, 0.0
    in_pieces = auroc_and_auprc(labels, scores, counts, memory_bytes=memory_bytes)
    at_once = auroc(labels, scores, counts), auprc(labels, scores, counts)
    for ours, expected in zip(in_pieces, at_once, strict=True):
        np.testing.assert_allclose(ours.value, expected.value, atol=1e-12)
        np.testing.assert_allclose(ours.resamples, expected.resamples, atol=1e-12)
    roc, prc = in_pieces
    assert np.isnan(roc.value[4:]).all() and roc.value[0] == 0.5
    assert np.isnan(prc.value[4]) and prc.value[5] == 1


def test_estimate_as_text():
    assert str(Estimate(0.81249, 0.7, 0.9)) == "0.812 (0.700 to 0.900)"


def test_interval_is_from_the_2_5_to_the_97_5_percentile_of_the_defined_resamples():
    resamples = np.append(np.random.default_rng(0).permutation(np.arange(1001) / 10), [np.nan, np.nan])
    result = estimate(50, resamples)
    assert (result.value, result.low, result.high) == pytest.approx((50.0, 2.5, 97.5))
    nothing = estimate(1.0, np.full(3, np.nan))
    assert nothing.value == 1.0 and np.isnan([nothing.low, nothing.high]).all()
