"""Calibration: the observed share of a code among test ECGs of similar predicted probability."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Evaluation
from lamae_toolkit.evaluation.metrics import Estimate, estimate
from lamae_toolkit.evaluation.thresholds import Counts, Labels, Probabilities
from lamae_toolkit.files import atomic_write, read_json
from lamae_toolkit.model.pretrained import shipped_or_own

CALIBRATION_FILE = "calibration.json"
EDGES = (0.05, 0.2, 0.5, 0.8)
"""Upper edges of the groups of `Calibration`. Equal sizes would put 10 % and 90 % of a rare code into one group."""
COLUMNS = ("observed", "low", "high", "ECGs", "patients")
Z_95 = 1.959964
"""The 97.5 % point of the normal distribution."""


def calibration_curve(
    labels: Labels,
    probabilities: Probabilities,
    patient_ids: Int[np.ndarray, " b"],
    edges: Sequence[float] | None = None,
) -> pd.DataFrame:
    """For each group of ECGs of similar probability the mean probability, and the share that has the code.

    edges: the upper edges of the groups; by default there are ten groups of equal size by probability, or fewer of 20
    ECGs each; equal probabilities stay together. Columns: group (its number), probability, observed, low, high, ECGs,
    patients. The interval is Wilson's 95 % one with the number of patients, not of ECGs, as n: unlike a bootstrap, its
    width is not 0 if no ECG of a group has the code.
    """
    rows = []
    group = _groups(probabilities, _quantiles(probabilities) if edges is None else edges)
    for number in np.unique(group):
        members = group == number
        observed, n = float(labels[members].mean()), len(np.unique(patient_ids[members]))
        mean, interval = float(probabilities[members].mean()), wilson_interval(observed, n)
        rows.append((int(number), mean, observed, *interval, int(members.sum()), n))
    return pd.DataFrame(rows, columns=["group", "probability", *COLUMNS])


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share p of n patients; its width is not 0 at p = 0 and p = 1.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), Wilson, J Am Stat Assoc 1927.
    """
    center, denominator = share + Z_95**2 / (2 * n), 1 + Z_95**2 / n
    half = Z_95 * np.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return max(float((center - half) / denominator), 0.0), min(float((center + half) / denominator), 1.0)


def brier_score(labels: Labels, probabilities: Probabilities, counts: Counts) -> Estimate:
    """Mean of (p - label)²: 0 is best; the prevalence pi as constant probability gives pi (1 - pi)."""
    error = (probabilities - labels) ** 2
    return estimate(float(error.mean()), counts @ error / counts.sum(axis=1))


def calibration_error(labels: Labels, probabilities: Probabilities, counts: Counts) -> Estimate:
    """Expected calibration error: the mean distance between probability and observed share in `calibration_curve`.

    ECE = sum over groups of (its share of the ECGs) |observed - mean probability| (Naeini et al., AAAI 2015, with
    groups of equal size). With few ECGs it is above 0 even for perfect probabilities, and more so in bootstrap
    resamples.
    """
    edges = _quantiles(probabilities)
    member = (_groups(probabilities, edges)[:, None] == np.arange(len(edges) + 1)).astype(np.float64)
    deviation = (labels - probabilities)[:, None] * member
    all_counts = np.vstack([np.ones((1, len(labels))), counts])
    error = np.abs(all_counts @ deviation).sum(axis=1) / all_counts.sum(axis=1)
    return estimate(float(error[0]), error[1:])


@dataclass(frozen=True, eq=False)
class Calibration:
    """For each code the calibration curve of a probe on unseen patients, in the fixed groups of `EDGES`.

    groups: by code, a row per group that has ECGs; columns: group (its number), observed (the share that had the
    code), low and high (Wilson's 95 % interval with the patients as n), ECGs and patients.

    The interval says how far to trust a probability *among patients like those of the test*. It is not an interval for
    one patient, and it holds for ECGs as in the test: with all their leads, and unchanged.
    """

    groups: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, evaluation: Evaluation) -> "Calibration":
        """From a probe's predictions for test patients."""
        predictions = evaluation.predictions
        return cls(
            {
                code: calibration_curve(*predictions.of_code(code), predictions.patient_ids, EDGES)[["group", *COLUMNS]]
                for code in predictions.codes
            }
        )

    def intervals(self, probabilities: pd.Series) -> pd.DataFrame:
        """For each code the row of the group that a probability belongs to; none where the group is empty.

        probabilities: by code. Columns: observed, low, high, ECGs, patients.
        """
        rows = {}
        for (code, _), group in zip(probabilities.items(), _groups(probabilities.to_numpy(), EDGES), strict=True):
            table = self.groups.get(code, pd.DataFrame({"group": []}))
            if (table.group == group).any():
                rows[code] = table[table.group == group].iloc[0][list(COLUMNS)]
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))

    def save(self, folder: Path | str) -> None:
        """Write `calibration.json` into a checkpoint's folder, next to the probe that was scored."""
        values = {code: group.round(6).to_dict(orient="list") for code, group in self.groups.items()}
        with atomic_write(Path(folder) / CALIBRATION_FILE) as partial:
            partial.write_text(json.dumps(values) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> "Calibration | None":
        """Read `calibration.json` from a checkpoint's folder, or of shipped weights by name; None if there is none.

        ECGError if it is damaged.
        """
        path = shipped_or_own(folder) / CALIBRATION_FILE
        if not path.is_file():
            return None
        values = read_json(path, "write it again or delete it", 100)
        try:
            groups = {code: pd.DataFrame(group)[["group", *COLUMNS]] for code, group in values.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ECGError(f"{path} is damaged; write it again or delete it.") from error
        return cls(groups)


def _quantiles(probabilities: Probabilities) -> np.ndarray:
    """The edges of ten groups of equal size, or of fewer groups of 20 ECGs each."""
    if len(probabilities) == 0:
        raise ECGError("There is no ECG to group by probability; choose folds that have ECGs.")
    bins = int(np.clip(len(probabilities) // 20, 2, 10))
    # A probability that is an edge belongs to the group below it.
    return np.nextafter(np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1]), np.inf)


def _groups(probabilities: Probabilities, edges: Sequence[float] | np.ndarray) -> np.ndarray:
    """The group of each ECG, from 0: how many edges are not above its probability."""
    return np.searchsorted(edges, probabilities, side="right")
