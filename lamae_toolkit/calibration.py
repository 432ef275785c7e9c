"""What became of chances like these: of unseen patients with a similar chance, the share that had the code."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lamae_toolkit.ecg import ECGError
from lamae_toolkit.evaluate import Evaluation
from lamae_toolkit.files import written_whole
from lamae_toolkit.operating import calibration_curve

CALIBRATION_FILE = "calibration.json"
COLUMNS = ("observed", "low", "high", "ECGs", "patients")


@dataclass(frozen=True, eq=False)
class Calibration:
    """For each code, groups of unseen patients' ECGs by the chance that a probe gave them, and what they had.

    groups: by code, a row per group, the lowest chances first; columns: chance (its mean), observed (the share that had
    the code), low and high (Wilson's 95 % interval with the patients as n), ECGs and patients.

    The interval says how far to trust a chance *among patients like those that were scored*. It is none of this
    patient, and it holds for ECGs as they were scored: with all their leads, and unchanged.
    """

    groups: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, evaluation: Evaluation, groups: int = 5) -> "Calibration":
        """From the predictions for unseen patients, in groups of equal size."""
        predictions = evaluation.predictions
        return cls(
            {
                code: calibration_curve(*predictions.of_code(code), predictions.patient_ids, groups)
                for code in predictions.codes
            }
        )

    def intervals(self, chances: pd.Series) -> pd.DataFrame:
        """For each code the group whose mean chance is nearest to the chance given, a row each.

        chances: by code; codes that were not scored are left out. Columns: observed, low, high, ECGs, patients.
        """
        rows = {}
        for code, chance in chances.items():
            if code in self.groups:
                group = self.groups[code]
                rows[code] = group.iloc[int(np.abs(group.chance - chance).argmin())][list(COLUMNS)]
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))

    def save(self, folder: Path | str) -> None:
        """Write `calibration.json` into a checkpoint's folder, beside the probe that was scored."""
        values = {code: group.round(6).to_dict(orient="list") for code, group in self.groups.items()}
        with written_whole(Path(folder) / CALIBRATION_FILE) as partial:
            partial.write_text(json.dumps(values) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> "Calibration | None":
        """Read `calibration.json` from a checkpoint's folder; None if there is none, ECGError if it is damaged."""
        path = Path(folder) / CALIBRATION_FILE
        if not path.is_file():
            return None
        try:
            groups = {
                code: pd.DataFrame(group)[["chance", *COLUMNS]]
                for code, group in json.loads(path.read_text(encoding="utf-8")).items()
            }
        except (ValueError, KeyError, AttributeError) as error:
            raise ECGError(f"{path} is damaged; write it anew or delete it.") from error
        return cls(groups)
