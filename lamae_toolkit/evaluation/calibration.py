"""What became of chances like these: of unseen patients with a similar chance, the share that had the code."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Evaluation
from lamae_toolkit.evaluation.thresholds import wilson_interval
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.pretrained import shipped_or_own

CALIBRATION_FILE = "calibration.json"
EDGES = (0.0, 0.05, 0.2, 0.5, 0.8, 1.0)
"""The groups by chance. They are not of equal size: of a rare code that would put 10 % and 90 % into one group."""
COLUMNS = ("observed", "low", "high", "ECGs", "patients")


@dataclass(frozen=True, eq=False)
class Calibration:
    """For each code, groups of unseen patients' ECGs by the chance that a probe gave them, and what they had.

    groups: by code, a row per group of `EDGES` that has ECGs; columns: group (its number), observed (the share that had
    the code), low and high (Wilson's 95 % interval with the patients as n), ECGs and patients.

    The interval says how far to trust a chance *among patients like those that were scored*. It is none of this
    patient, and it holds for ECGs as they were scored: with all their leads, and unchanged.
    """

    groups: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, evaluation: Evaluation) -> "Calibration":
        """From a probe's predictions for unseen patients."""
        predictions, groups = evaluation.predictions, {}
        for code in predictions.codes:
            labels, probabilities = predictions.of_code(code)
            number, rows = _group(probabilities), []
            for group in np.unique(number):
                there = number == group
                observed, n = float(labels[there].mean()), len(np.unique(predictions.patient_ids[there]))
                rows.append((int(group), observed, *wilson_interval(observed, n), int(there.sum()), n))
            groups[code] = pd.DataFrame(rows, columns=["group", *COLUMNS])
        return cls(groups)

    def intervals(self, probabilities: pd.Series) -> pd.DataFrame:
        """For each code what became of the group that a chance belongs to, a row each; none where the group is empty.

        chances: by code. Columns: observed, low, high, ECGs, patients.
        """
        rows = {}
        for (code, _), group in zip(probabilities.items(), _group(probabilities.to_numpy()), strict=True):
            found = self.groups[code] if code in self.groups else pd.DataFrame({"group": []})
            if (found.group == group).any():
                rows[code] = found[found.group == group].iloc[0][list(COLUMNS)]
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))

    def save(self, folder: Path | str) -> None:
        """Write `calibration.json` into a checkpoint's folder, beside the probe that was scored."""
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
        try:
            groups = {
                code: pd.DataFrame(group)[["group", *COLUMNS]]
                for code, group in json.loads(path.read_text(encoding="utf-8")).items()
            }
        except (ValueError, KeyError, AttributeError) as error:
            raise ECGError(f"{path} is damaged; write it anew or delete it.") from error
        return cls(groups)


def _group(probabilities: np.ndarray) -> np.ndarray:
    """The number of the group of each chance, from 0."""
    return np.searchsorted(EDGES[1:-1], probabilities, side="right")
