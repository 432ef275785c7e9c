"""The ECGs that probes learn from, and those of other sets that they are scored on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int8

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.comparison.ecg_features import handmade_features
from lamae_toolkit.experiments.ptbxl_store import standardized
from lamae_toolkit.experiments.transfer.labels import UNKNOWN, finding_labels
from lamae_toolkit.files import atomic_write

PTBXL_FOLDS = tuple(range(1, 9))
"""The folds of PTB-XL that may be used here: 9 and 10 are held back."""
MILLIVOLTS, ZSCORED = "ptbxl_mv", "ptbxl_z"
OTHER_SETS = ("nine", "ludb")


@dataclass(frozen=True, eq=False)
class Cohort:
    """ECGs of several stores, in this order.

    parts: each store with the rows that are taken from it. index: their rows of the index, numbered from 0.
    labels: 1, 0 or UNKNOWN for each of `FINDINGS`.
    """

    name: str
    parts: tuple[tuple[Store, np.ndarray], ...]
    index: pd.DataFrame
    labels: Int8[np.ndarray, "b f"]

    @classmethod
    def of(cls, name: str, parts: list[tuple[Store, np.ndarray]]) -> "Cohort":
        index = pd.concat([store.index.iloc[rows] for store, rows in parts], ignore_index=True)
        return cls(name, tuple(parts), index, finding_labels(zip(index.labels, index.source, strict=True)))

    @property
    def patients(self) -> np.ndarray:
        """The number of each ECG's patient."""
        return self.index.patient_id.to_numpy()


def ptbxl_cohort(stores: Path | str, *, millivolts_only: bool = False) -> Cohort:
    """PTB-XL's folds 1 to 8 in the stores of `research_stores`, in mV and, unless left out, z-scored."""
    opened = [Store.open(Path(stores) / name) for name in (MILLIVOLTS, ZSCORED)[: 1 if millivolts_only else 2]]
    return Cohort.of("PTB-XL", [(store, store.rows(PTBXL_FOLDS)) for store in opened])


def other_sets_cohort(stores: Path | str) -> Cohort:
    """The ECGs of the nine sets and LUDB whose labels say something about a finding."""
    parts = []
    for name in OTHER_SETS:
        store = Store.open(Path(stores) / name)
        labels = finding_labels(zip(store.index.labels, store.index.source, strict=True))
        parts.append((store, np.flatnonzero((labels != UNKNOWN).any(axis=1))))
    return Cohort.of("other sets", parts)


def measured(cohort: Cohort, folder: Path, *, in_standard_deviations: bool) -> Float[np.ndarray, "b d"]:
    """The hand-made features of the ECGs, measured once and kept in `folder`.

    in_standard_deviations: measure amplitudes in each lead's standard deviations, where some ECGs have no millivolts.
    """
    unit = "standard deviations" if in_standard_deviations else "mV"
    path = folder / f"handmade, {cohort.name}, {unit}.parquet"
    studies = cohort.index.study_id.to_numpy()
    if not path.is_file():
        recordings = (store.recording(int(row)) for store, rows in cohort.parts for row in rows)
        table = pd.DataFrame(
            [handmade_features(standardized(ecg) if in_standard_deviations else ecg) for ecg in recordings]
        )
        with atomic_write(path) as partial:
            table.assign(study_id=studies).to_parquet(partial)
    kept = pd.read_parquet(path)
    if kept.study_id.tolist() != studies.tolist():
        raise ECGError(f"{path} has the features of other ECGs; choose another folder for this study.")
    return kept.drop(columns="study_id").to_numpy()
