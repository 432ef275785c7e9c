"""How well predicted codes agree with the true ones, with intervals over patients."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from lamae_toolkit.errors import ECGError


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval: percentiles of a bootstrap over patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Scores:
    """One metric for all codes: per code (c,) and its bootstrap resamples (r, c); NaN where undefined."""

    value: Float[np.ndarray, " c"]
    resamples: Float[np.ndarray, "r c"]

    def of_code(self, index: int) -> Estimate:
        """The metric of one code."""
        return estimate(self.value[index], self.resamples[:, index])

    def macro(self) -> Estimate:
        """The mean over codes. A resample that drew no patient with a code leaves that code out of its mean."""
        return estimate(mean_of_defined(self.value), mean_of_defined(self.resamples))


def macro_difference(ours: Scores, theirs: Scores) -> Estimate:
    """By how much the macro metric of one model is above another's, on the same patients and resamples."""
    return estimate(
        mean_of_defined(ours.value) - mean_of_defined(theirs.value),
        mean_of_defined(ours.resamples) - mean_of_defined(theirs.resamples),
    )


def patient_bootstrap(patient_ids: np.ndarray, n_bootstrap: int = 1000, seed: int = 0) -> Float[np.ndarray, "r b"]:
    """How often each ECG counts in each resample: patients, not ECGs, are drawn with replacement."""
    draws, patient = bootstrap_counts(patient_ids, n_bootstrap, seed)
    return draws[:, patient].astype(np.float64)


def bootstrap_counts(
    patient_ids: np.ndarray, n_bootstrap: int, seed: int
) -> tuple[Int[np.ndarray, "r k"], Int[np.ndarray, " b"]]:
    """How often each of the k patients is drawn in each resample, and which of them each ECG belongs to."""
    _, patient = np.unique(patient_ids, return_inverse=True)
    patients = int(patient.max()) + 1
    share = np.full(patients, 1 / patients)
    return np.random.default_rng(seed).multinomial(patients, share, size=n_bootstrap), patient


def auroc(
    labels: UInt8[np.ndarray, "b c"], scores: Float[np.ndarray, "b c"], weights: Float[np.ndarray, "r b"]
) -> Scores:
    """The chance that an ECG with the code gets a higher score than one without it; 0.5 is guessing.

    weights: resamples as from `patient_bootstrap`. Ties count half. A code that all or no ECGs have
    gives NaN.
    """
    return _per_code(_weighted_auroc, labels, scores, weights)


def auprc(
    labels: UInt8[np.ndarray, "b c"], scores: Float[np.ndarray, "b c"], weights: Float[np.ndarray, "r b"]
) -> Scores:
    """Average precision: precision at each threshold, weighted by the step in recall; guessing gives the prevalence."""
    return _per_code(_weighted_average_precision, labels, scores, weights)


def _per_code(metric, labels, scores, weights) -> Scores:
    if not np.isfinite(scores).all():
        raise ECGError("Some scores are not numbers; look at the model that gave them.")
    all_weights = np.vstack([np.ones((1, len(labels))), weights])
    table = np.stack([metric(labels[:, c], scores[:, c], all_weights) for c in range(labels.shape[1])], axis=1)
    return Scores(table[0], table[1:])


def _weighted_auroc(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of pairs (one ECG with the code, one without) that are in the right order, for each resample."""
    positive, negative = _weight_by_threshold(label, score, weights)
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (positive * below).sum(axis=1) / pairs, np.nan)


def _weighted_average_precision(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    positive, negative = _weight_by_threshold(label, score, weights)
    true_positives = np.cumsum(positive[:, ::-1], axis=1)
    called = true_positives + np.cumsum(negative[:, ::-1], axis=1)
    total = positive.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(called > 0, true_positives / called, 0.0)
        return np.where(total > 0, (precision * positive[:, ::-1]).sum(axis=1) / total, np.nan)


def _weight_by_threshold(label: np.ndarray, score: np.ndarray, weights: np.ndarray):
    """The weight of ECGs with and without the code at each distinct score, lowest first: two (r, thresholds) arrays."""
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)
    weights, positive = weights[:, order], label[order] > 0
    with_code = np.add.reduceat(weights * positive, first, axis=1)
    without_code = np.add.reduceat(weights * ~positive, first, axis=1)
    return with_code, without_code


def mean_of_defined(values: np.ndarray, axis: int = -1) -> np.ndarray | np.float64:
    """The mean over an axis of what is defined there; NaN where nothing is."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0.0).sum(axis=axis) / defined.sum(axis=axis)


def estimate(value: float, resamples: np.ndarray) -> Estimate:
    """A value with the 95 % percentiles of its resamples."""
    low, high = np.nanpercentile(resamples, [2.5, 97.5]) if np.isfinite(resamples).any() else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))


def over_patients(values: Float[np.ndarray, " b"], weights: Float[np.ndarray, "r b"]) -> Estimate:
    """The mean of what is defined, with its 95 % interval; weights: from `patient_bootstrap`.

    The same weights for the difference of two methods on the same ECGs give a paired interval. A resample that drew
    no patient with a defined value counts for nothing; NaN if there is no defined value at all.
    """
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        resamples = weights @ np.where(defined, values, 0.0) / (weights @ defined)
    return estimate(mean_of_defined(values), resamples)
