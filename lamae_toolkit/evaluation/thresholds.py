"""What a score means in use: curves, a threshold with its predictive values, and whether chances come true."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from sklearn import metrics as sklearn_metrics

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Predictions
from lamae_toolkit.evaluation.metrics import Estimate, auprc, auroc, estimate, patient_bootstrap

Labels = UInt8[np.ndarray, " b"]
Probabilities = Float[np.ndarray, " b"]
Weights = Float[np.ndarray, "r b"]
Z_95 = 1.959964
"""The 97.5 % point of the normal distribution."""


def roc_curve(labels: Labels, probabilities: Probabilities) -> pd.DataFrame:
    """Sensitivity against the share of false alarms at every threshold, the strictest first.

    Columns: threshold (an ECG is called if its chance is at least that), sensitivity, false_positive_rate (1 - specificity).
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
    """What calling every ECG whose chance is at least `threshold` does, with 95 % intervals over patients.

    The four counts are of these ECGs; the predictive values are for patients of whom the share `prevalence` has the
    code. NaN where there is nothing to count.
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
        """The same as numbers of patients, which are understood sooner than shares."""
        ill = patients * self.prevalence
        if not np.isfinite(self.sensitivity.value) or not np.isfinite(self.specificity.value):
            return "Nothing can be said of patients: all of these ECGs have the code, or none."
        found, alarms = ill * self.sensitivity.value, (patients - ill) * (1 - self.specificity.value)
        return (
            f"Of {patients:,} patients {ill:,.0f} have the code: {found:,.0f} are found and {ill - found:,.0f} missed,"
            f" with {alarms:,.0f} false alarms."
        )


def operating_point(
    labels: Labels, probabilities: Probabilities, threshold: float, weights: Weights, prevalence: float | None = None
) -> OperatingPoint:
    """Sensitivity, specificity, and the predictive values at a chosen prevalence.

    By Bayes' rule PPV = sens pi / (sens pi + (1 - spec)(1 - pi)) and NPV = spec (1 - pi) / (spec (1 - pi) +
    (1 - sens) pi), with pi the prevalence; None takes that of these ECGs, and each resample its own. Intervals are
    95 % percentiles over `weights` (`metrics.patient_bootstrap`); a measure that is 0 or 1 in every resample has an
    interval of no width, which promises too much where few patients were counted.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise ECGError(f"The prevalence is {prevalence:g}, but it is a share of the patients between 0 and 1.")
    called, has = probabilities >= threshold, labels > 0
    cells = np.stack([called & has, called & ~has, ~called & has, ~called & ~has], axis=1).astype(np.float64)
    counted = np.vstack([np.ones((1, len(labels))), weights]) @ cells
    found, alarms, missed, passed = counted.T
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = found / (found + missed), passed / (passed + alarms)
        if prevalence is None:
            positive, negative = found / (found + alarms), passed / (passed + missed)
        else:
            true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
            positive = true / (true + false)
            true, false = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
            negative = true / (true + false)
    counts = (int(count) for count in counted[0])
    own = float(has.mean()) if len(labels) else float("nan")
    measures = (estimate(v[0], v[1:]) for v in (sensitivity, specificity, positive, negative))
    return OperatingPoint(float(threshold), own if prevalence is None else prevalence, *counts, *measures)


def calibration_curve(
    labels: Labels, probabilities: Probabilities, patient_ids: Int[np.ndarray, " b"], bins: int | None = None
) -> pd.DataFrame:
    """Do chances come true? For each group of ECGs of similar chance the mean chance, and the share that has the code.

    The groups are `bins` equal parts of the ECGs by chance, equal chances together: by default ten, or fewer of 20 ECGs
    each. Columns: chance, observed, low, high, ECGs, patients. The interval is Wilson's 95 % one with the number of
    patients, not of ECGs, as n: unlike a bootstrap it has a width where no ECG of a group has the code.
    """
    rows = []
    group = _groups(probabilities, bins or _default_bins(len(probabilities)))
    for number in np.unique(group):
        members = group == number
        observed, n = float(labels[members].mean()), len(np.unique(patient_ids[members]))
        low, high = wilson_interval(observed, n)
        rows.append((float(probabilities[members].mean()), observed, low, high, int(members.sum()), n))
    return pd.DataFrame(rows, columns=["chance", "observed", "low", "high", "ECGs", "patients"])


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share p of n patients, which has a width at 0 and 1, too.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), Wilson, J Am Stat Assoc 1927.
    """
    middle, wide = share + Z_95**2 / (2 * n), 1 + Z_95**2 / n
    half = Z_95 * np.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return max(float((middle - half) / wide), 0.0), min(float((middle + half) / wide), 1.0)


def brier_score(labels: Labels, probabilities: Probabilities, weights: Weights) -> Estimate:
    """How far chances are from what is true: the mean of (chance - label)². 0 is best; pi (1 - pi) is guessing."""
    error = (probabilities - labels) ** 2
    return estimate(float(error.mean()), weights @ error / weights.sum(axis=1))


def calibration_error(
    labels: Labels, probabilities: Probabilities, weights: Weights, bins: int | None = None
) -> Estimate:
    """Expected calibration error: how far the groups of `calibration_curve` are from their chance, in the mean.

    ECE = sum over groups of (its share of the ECGs) |observed - mean chance| (Naeini et al., AAAI 2015, with groups of
    equal size). With few ECGs it is above 0 for perfect chances, too, and more so in bootstrap resamples.
    """
    bins = bins or _default_bins(len(probabilities))
    member = (_groups(probabilities, bins)[:, None] == np.arange(bins)).astype(np.float64)
    apart = (labels - probabilities)[:, None] * member
    all_weights = np.vstack([np.ones((1, len(labels))), weights])
    error = np.abs(all_weights @ apart).sum(axis=1) / all_weights.sum(axis=1)
    return estimate(float(error[0]), error[1:])


def paired_differences(
    ours: Predictions, theirs: Predictions, code: str, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Two models on one code, on the same ECGs and bootstrap resamples: which is better, and is it more than chance?

    Rows: AUROC, AUPRC, Brier score. Columns: ours, theirs, difference, low, high (95 %). ECGError if the two were not
    scored on the same ECGs.
    """
    (labels, probabilities), (other_labels, other_probabilities) = ours.of_code(code), theirs.of_code(code)
    if not (np.array_equal(ours.rows, theirs.rows) and np.array_equal(labels, other_labels)):
        raise ECGError("These two models were scored on different ECGs; score both on the same folds of one cohort.")
    weights = patient_bootstrap(ours.patient_ids, n_bootstrap, seed)
    rows = {}
    for name, metric in (("AUROC", auroc), ("AUPRC", auprc)):
        one, other = (metric(labels[:, None], c[:, None], weights) for c in (probabilities, other_probabilities))
        rows[name] = (one.value[0], other.value[0], one.resamples[:, 0] - other.resamples[:, 0])
    errors = [(c - labels) ** 2 for c in (probabilities, other_probabilities)]
    total = weights.sum(axis=1)
    rows["Brier score"] = (errors[0].mean(), errors[1].mean(), weights @ (errors[0] - errors[1]) / total)
    table = {}
    for name, (one, other, resample) in rows.items():
        difference = estimate(one - other, resample)
        table[name] = (one, other, difference.value, difference.low, difference.high)
    return pd.DataFrame.from_dict(table, orient="index", columns=["ours", "theirs", "difference", "low", "high"])


def _default_bins(ecgs: int) -> int:
    return int(np.clip(ecgs // 20, 2, 10))


def _groups(probabilities: Probabilities, bins: int) -> np.ndarray:
    """The group of each ECG, 0 to bins - 1, by the quantiles of the chances."""
    if len(probabilities) == 0:
        raise ECGError("There is no ECG to group by chance; choose folds of the cohort that have some.")
    return np.searchsorted(np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1]), probabilities)


def _refuse_one_kind(labels: Labels) -> None:
    if len(labels) == 0 or labels.min() == labels.max():
        which = "Every" if len(labels) and labels.max() else "No"
        raise ECGError(f"{which} ECG here has this code, so there is no curve; choose another code or more ECGs.")
