"""Scores in clinical use: curves, and an operating point with its predictive values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Real, UInt8
from sklearn import metrics as sklearn_metrics

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Predictions
from lamae_toolkit.evaluation.metrics import Estimate, auprc, auroc, estimate, patient_bootstrap

Labels = UInt8[np.ndarray, " b"]
Probabilities = Float[np.ndarray, " b"]
Counts = Real[np.ndarray, "r b"]


def roc_curve(labels: Labels, probabilities: Probabilities) -> pd.DataFrame:
    """Sensitivity against the false positive rate at every threshold, the strictest first.

    Columns: threshold (an ECG is predicted positive if its probability is at least that), sensitivity,
    false_positive_rate (1 - specificity).
    """
    _refuse_one_kind(labels)
    false_positive_rate, sensitivity, threshold = sklearn_metrics.roc_curve(
        labels, probabilities, drop_intermediate=False
    )
    return pd.DataFrame(
        {"threshold": threshold, "sensitivity": sensitivity, "false_positive_rate": false_positive_rate}
    )


def precision_recall_curve(labels: Labels, probabilities: Probabilities) -> pd.DataFrame:
    """Precision against recall at every threshold, the strictest first, at the prevalence that these ECGs have.

    Columns: threshold, precision (positive predictive value), recall (sensitivity).
    """
    _refuse_one_kind(labels)
    precision, recall, threshold = sklearn_metrics.precision_recall_curve(labels, probabilities)
    table = pd.DataFrame({"threshold": np.append(threshold, np.inf), "precision": precision, "recall": recall})
    return table[::-1].reset_index(drop=True)


@dataclass(frozen=True)
class OperatingPoint:
    """The result of predicting every ECG positive whose probability is at least `threshold`, with 95 % intervals.

    The four counts are of these ECGs; the predictive values are for patients of whom the share `prevalence` has the
    code. Intervals are over patients. NaN where a measure is undefined.
    """

    threshold: float
    prevalence: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    sensitivity: Estimate
    specificity: Estimate
    positive_predictive_value: Estimate
    negative_predictive_value: Estimate

    def table(self) -> pd.DataFrame:
        """The four measures, a row each, with their intervals."""
        names = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
        estimates = {name.replace("_", " "): getattr(self, name) for name in names}
        return pd.DataFrame.from_dict(
            {name: (e.value, e.low, e.high) for name, e in estimates.items()},
            orient="index",
            columns=["value", "low", "high"],
        )

    def in_words(self, patients: int = 1000) -> str:
        """The same as numbers of patients (natural frequencies)."""
        with_code = patients * self.prevalence
        if not np.isfinite(self.sensitivity.value) or not np.isfinite(self.specificity.value):
            return "Numbers of patients are undefined: all of these ECGs have the code, or none."
        true_positives = with_code * self.sensitivity.value
        false_positives = (patients - with_code) * (1 - self.specificity.value)
        return (
            f"Of {patients:,} patients {with_code:,.0f} have the code: {true_positives:,.0f} true positives and"
            f" {with_code - true_positives:,.0f} false negatives, with {false_positives:,.0f} false positives."
        )


def operating_point(
    labels: Labels, probabilities: Probabilities, threshold: float, counts: Counts, prevalence: float | None = None
) -> OperatingPoint:
    """Sensitivity, specificity, and the predictive values at a chosen prevalence.

    By Bayes' rule PPV = sens pi / (sens pi + (1 - spec)(1 - pi)) and NPV = spec (1 - pi) / (spec (1 - pi) +
    (1 - sens) pi), with pi the prevalence; None takes that of these ECGs, and each resample its own. Intervals are
    95 % percentiles over the resamples `counts` (`metrics.patient_bootstrap`); a measure that is 0 or 1 in every
    resample has an interval of width 0, which is too narrow if there are few patients.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise ECGError(f"The prevalence is {prevalence:g}, but it is a share of the patients between 0 and 1.")
    positive, has = probabilities >= threshold, labels > 0
    cells = np.stack([positive & has, positive & ~has, ~positive & has, ~positive & ~has], axis=1).astype(np.float64)
    confusion = np.vstack([np.ones((1, len(labels))), counts]) @ cells
    tp, fp, fn, tn = confusion.T
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        if prevalence is None:
            ppv, npv = tp / (tp + fp), tn / (tn + fn)
        else:
            true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
            ppv = true / (true + false)
            true, false = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
            npv = true / (true + false)
    if prevalence is None:
        prevalence = float(has.mean()) if len(labels) else float("nan")
    numbers: Any = map(int, confusion[0])
    measures = (estimate(v[0], v[1:]) for v in (sensitivity, specificity, ppv, npv))
    return OperatingPoint(float(threshold), prevalence, *numbers, *measures)


def paired_differences(
    ours: Predictions, theirs: Predictions, code: str, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Two models on one code, on the same ECGs and bootstrap resamples: the paired difference and its interval.

    Rows: AUROC, AUPRC, Brier score. Columns: ours, theirs, difference, low, high (95 %). ECGError if the two were not
    scored on the same ECGs.
    """
    (labels, probabilities), (other_labels, other_probabilities) = ours.of_code(code), theirs.of_code(code)
    if not (np.array_equal(ours.rows, theirs.rows) and np.array_equal(labels, other_labels)):
        raise ECGError("These two models were scored on different ECGs; score both on the same folds of one cohort.")
    counts = patient_bootstrap(ours.patient_ids, n_bootstrap, seed)
    rows = {}
    for name, metric in (("AUROC", auroc), ("AUPRC", auprc)):
        one, other = (metric(labels[:, None], c[:, None], counts) for c in (probabilities, other_probabilities))
        rows[name] = (one.value[0], other.value[0], one.resamples[:, 0] - other.resamples[:, 0])
    errors = [(c - labels) ** 2 for c in (probabilities, other_probabilities)]
    total = counts.sum(axis=1)
    rows["Brier score"] = (errors[0].mean(), errors[1].mean(), counts @ (errors[0] - errors[1]) / total)
    table = {}
    for name, (one, other, resample) in rows.items():
        difference = estimate(one - other, resample)
        table[name] = (one, other, difference.value, difference.low, difference.high)
    return pd.DataFrame.from_dict(table, orient="index", columns=["ours", "theirs", "difference", "low", "high"])


def _refuse_one_kind(labels: Labels) -> None:
    if len(labels) == 0 or labels.min() == labels.max():
        which = "Every" if len(labels) and labels.max() else "No"
        raise ECGError(f"{which} ECG here has this code, so there is no curve; choose another code or more ECGs.")
