"""Operating points, curves and calibration: by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn import calibration
from sklearn import metrics as theirs

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.calibration import brier_score, calibration_curve, calibration_error, wilson_interval
from lamae_toolkit.evaluation.evaluate import Predictions, evaluate, score_probe
from lamae_toolkit.evaluation.linear_probe import features
from lamae_toolkit.evaluation.metrics import patient_bootstrap
from lamae_toolkit.evaluation.thresholds import operating_point, paired_differences, precision_recall_curve, roc_curve
from small_models import learnable

NO_DRAW = np.ones((1, 10))
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=np.uint8)
PROBABILITIES = np.array([0.9, 0.8, 0.7, 0.2, 0.75, 0.6, 0.3, 0.1, 0.1, 0.05])


def some(b=400, seed=0):
    """Labels and chances of 400 ECGs of 130 patients, well calibrated by construction."""
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.beta(1, 4, b), 3)
    return (rng.random(b) < probabilities).astype(np.uint8), probabilities, rng.integers(0, 130, b)


def test_an_operating_point_by_hand():
    point = operating_point(LABELS, PROBABILITIES, 0.7, NO_DRAW)
    counts = (point.true_positives, point.false_positives, point.false_negatives, point.true_negatives)
    assert counts == (3, 1, 1, 5)
    assert point.sensitivity.value == 3 / 4 and point.specificity.value == 5 / 6
    assert point.positive_predictive_value.value == 3 / 4 and point.negative_predictive_value.value == 5 / 6
    assert point.prevalence == 0.4
    rare = operating_point(LABELS, PROBABILITIES, 0.7, NO_DRAW, prevalence=0.01)
    assert rare.positive_predictive_value.value == pytest.approx(0.0075 / (0.0075 + 0.99 / 6))
    assert rare.negative_predictive_value.value == pytest.approx(0.99 * 5 / 6 / (0.99 * 5 / 6 + 0.01 / 4))
    assert rare.sensitivity == point.sensitivity
    assert (
        rare.in_words()
        == "Of 1,000 patients 10 have the code: 8 true positives and 2 false negatives, with 165 false positives."
    )
    assert list(rare.table().index[:2]) == ["sensitivity", "specificity"]


def test_bayes_at_the_own_prevalence_is_counting():
    labels, probabilities, patients = some()
    weights = patient_bootstrap(patients, 50)
    counted, bayes = (operating_point(labels, probabilities, 0.3, weights, p) for p in (None, float(labels.mean())))
    assert bayes.positive_predictive_value.value == pytest.approx(counted.positive_predictive_value.value)
    assert bayes.negative_predictive_value.value == pytest.approx(counted.negative_predictive_value.value)


def test_the_intervals_are_those_of_drawing_patients():
    labels, probabilities, patients = some()
    weights = patient_bootstrap(patients, 300, seed=4)
    found = []
    for drawn in weights.astype(int):
        again = np.repeat(np.arange(len(labels)), drawn)
        confusion = theirs.confusion_matrix(labels[again], probabilities[again] >= 0.3)
        sensitivity, specificity = confusion[1, 1] / confusion[1].sum(), confusion[0, 0] / confusion[0].sum()
        found.append(0.05 * sensitivity / (0.05 * sensitivity + 0.95 * (1 - specificity)))
    value = operating_point(labels, probabilities, 0.3, weights, 0.05).positive_predictive_value
    assert (value.low, value.high) == pytest.approx(np.percentile(found, [2.5, 97.5]))


def test_measures_without_positives_or_predictions_are_nan():
    nobody = operating_point(LABELS, PROBABILITIES, 0.99, NO_DRAW, prevalence=0.1)
    assert nobody.sensitivity.value == 0 and np.isnan(nobody.positive_predictive_value.value)
    none = operating_point(np.zeros(10, dtype=np.uint8), PROBABILITIES, 0.5, NO_DRAW, prevalence=0.1)
    assert np.isnan(none.sensitivity.value) and none.in_words().startswith("Numbers of patients are undefined")
    with pytest.raises(ECGError, match="prevalence is 5, but it is a share"):
        operating_point(LABELS, PROBABILITIES, 0.5, NO_DRAW, prevalence=5.0)


def test_curves_are_scikit_learns_and_pass_through_the_operating_point():
    labels, probabilities, _ = some()
    roc, prc = roc_curve(labels, probabilities), precision_recall_curve(labels, probabilities)
    assert theirs.auc(roc.false_positive_rate, roc.sensitivity) == pytest.approx(
        theirs.roc_auc_score(labels, probabilities)
    )
    precision = -np.sum(np.diff(prc.recall[::-1]) * prc.precision[::-1][:-1])
    assert precision == pytest.approx(theirs.average_precision_score(labels, probabilities))
    for row in (5, 60):
        threshold = roc.threshold[row]
        point = operating_point(labels, probabilities, threshold, np.ones((1, len(labels))))
        assert point.sensitivity.value == roc.sensitivity[row]
        assert 1 - point.specificity.value == pytest.approx(roc.false_positive_rate[row])
        assert point.positive_predictive_value.value == prc.precision[prc.threshold == threshold].item()
    for curve in (roc_curve, precision_recall_curve):
        with pytest.raises(ECGError, match="No ECG here has this code"):
            curve(np.zeros(10, dtype=np.uint8), PROBABILITIES)


def test_calibration_is_scikit_learns():
    labels, probabilities, patients = some()
    curve = calibration_curve(labels, probabilities, patients)
    observed, mean = calibration.calibration_curve(labels, probabilities, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.probability, mean)
    assert (curve.low <= curve.observed).all() and (curve.observed <= curve.high).all()
    few = calibration_curve(labels[:60], probabilities[:60], patients[:60])
    assert len(few) == 3 and few.ECGs.min() >= 19, "fewer ECGs, fewer groups"
    assert curve.ECGs.sum() == len(labels) and (curve.patients <= curve.ECGs).all()
    weights = patient_bootstrap(patients, 100)
    brier, error = brier_score(labels, probabilities, weights), calibration_error(labels, probabilities, weights)
    assert brier.value == pytest.approx(theirs.brier_score_loss(labels, probabilities)) and brier.low < brier.value
    assert error.value == pytest.approx((np.abs(curve.observed - curve.probability) * curve.ECGs).sum() / len(labels))
    too_sure = calibration_error(labels, 1 - (1 - probabilities) ** 3, weights)
    assert too_sure.low > error.value, "chances that are too high are seen"
    with pytest.raises(ECGError, match="no ECG to group"):
        calibration_curve(labels[:0], probabilities[:0], patients[:0])


def test_wilson_interval_covers_and_is_not_empty_at_0():
    assert wilson_interval(0.0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert wilson_interval(0.4, 25) == pytest.approx((0.2340, 0.5926), abs=1e-4)
    rng = np.random.default_rng(0)
    intervals = [wilson_interval(k / 30, 30) for k in rng.binomial(30, 0.1, 2000)]
    assert 0.93 < np.mean([low <= 0.1 <= high for low, high in intervals]) < 0.985


def test_paired_differences_favor_the_better_model():
    labels, probabilities, patients = some(seed=2)
    rng = np.random.default_rng(1)
    logit = np.log(np.clip(probabilities, 1e-3, None) / (1 - probabilities))
    worse = logit + rng.normal(0, 2, len(logit))
    ours, noisy = (
        Predictions(("I10",), np.arange(len(labels)), patients, labels[:, None], scores[:, None])
        for scores in (logit, worse)
    )
    table = paired_differences(ours, noisy, "I10", n_bootstrap=200)
    assert table.low["AUROC"] > 0 and table.high["Brier score"] < 0
    assert table.ours["AUROC"] == pytest.approx(theirs.roc_auc_score(labels, logit))
    assert (table.difference == table.ours - table.theirs).all()
    same = paired_differences(ours, ours, "I10", n_bootstrap=50)
    assert (same[["difference", "low", "high"]] == 0).all().all()
    elsewhere = Predictions(("I10",), np.arange(len(labels)) + 1, patients, ours.labels, ours.logits)
    with pytest.raises(ECGError, match="scored on different ECGs"):
        paired_differences(ours, elsewhere, "I10")
    with pytest.raises(ECGError, match="does not predict 'I48'; choose from I10"):
        ours.of_code("I48")


def test_evaluation_keeps_its_test_predictions():
    embedding, index = learnable()
    result = evaluate(embedding, index, ("I44.7", "I48.91"), n_bootstrap=20)
    test = np.flatnonzero(index.fold >= 16)
    assert (result.predictions.rows == test).all() and result.predictions.labels.shape == (180, 2)
    labels, probabilities = result.predictions.of_code("I48.91")
    assert theirs.roc_auc_score(labels, probabilities) == pytest.approx(result.table().auroc["I48.91"])
    assert "predictions" not in result.to_dict()
    again = score_probe(result.probe, features(embedding)[test], index.iloc[test], n_bootstrap=20)
    assert again.to_dict() | {"name": ""} == result.to_dict() | {"name": ""}
    with pytest.raises(ECGError, match="no ECG to score the probe on"):
        score_probe(result.probe, features(embedding)[:0], index.iloc[:0])
