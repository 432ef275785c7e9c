"""MIMIC-IV-ECG 1.0 (Gow et al., PhysioNet 2023) as a store: 800,035 ECGs of 161,352 patients, with ICD-10 labels."""

from pathlib import Path

import numpy as np
import pandas as pd

from lamae_toolkit.data.datasets.mimic_labels import TIME, frequent_classes, labels_from_released, labels_from_tables
from lamae_toolkit.data.datasets.tables import read_table
from lamae_toolkit.data.format import patient_fold
from lamae_toolkit.data.shards import REFUSED, CohortSource, is_inside
from lamae_toolkit.ecg.io.read import read_start
from lamae_toolkit.errors import ECGError

RECORD_LIST, MEASUREMENTS = "record_list.csv", "machine_measurements.csv"
MEASURED = ("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis")
"""What the electrocardiograph measured, in ms and degrees; 29999 means not measured."""
NOT_MEASURED = 29999
SPLIT = {"train": list(range(18)), "validation": [18], "test": [19]}
"""The patient-wise folds as Strodthoff et al. use them."""


def mimic_source(
    ecg: Path | str,
    *,
    hosp: Path | str | None = None,
    ed: Path | str | None = None,
    labels: Path | str | None = None,
    minimum: int = 2000,
) -> CohortSource:
    """The ECGs of MIMIC-IV-ECG, for `prepare`.

    ecg: the folder with record_list.csv and files/. hosp, ed: the folders of those names of MIMIC-IV and MIMIC-IV-ED,
    for ICD-10 codes, age and sex; or labels: the released table records_w_diag_icd10.csv instead.
    minimum: the ECGs that a code must have to be one of the store's `classes`, counted before any ECG is left out.

    The index has these further columns: file, ecg_time, stay, labelled, ecg_in_stay (1 is the first of its stay; a
    hospital stay and the emergency visit before it count by themselves) and the machine's measurements. An ECG that
    was taken during no stay has no codes and is not `labelled`.
    """
    root = Path(ecg)
    if labels is not None and (hosp is not None or ed is not None):
        raise ECGError("Labels come either from the tables (hosp, ed) or from the released table (labels); give one.")
    listed, refused = _listed(root / RECORD_LIST)
    if labels is not None:
        known = labels_from_released(Path(labels), listed)
    else:
        known = labels_from_tables(listed, None if hosp is None else Path(hosp), None if ed is None else Path(ed))
    ecgs = listed.rename(columns={"subject_id": "patient_id"}).drop(columns="ecg_time").join(known.table, on="study_id")
    if "fold" not in ecgs:
        ecgs["fold"] = [patient_fold(patient) for patient in ecgs.patient_id]
    ecgs = ecgs.join(_measurements(root / MEASUREMENTS), on="study_id")
    classes = list(frequent_classes(ecgs.codes, minimum))
    meta = {"classes": classes, "minimum": minimum, "left_out": known.left_out, "split": SPLIT}
    return CohortSource("MIMIC-IV-ECG", root, ecgs, read_start, refused, meta)


def _listed(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ECGs of record_list.csv, and those that the list itself rules out."""
    wanted = ["subject_id", "study_id", "ecg_time", "path"]
    advice = "give the folder of MIMIC-IV-ECG as it was unpacked"
    table = read_table(path, wanted, advice, dtype={"ecg_time": str, "path": str})
    table = table[wanted].rename(columns={"path": "file"})
    time = pd.to_datetime(table.ecg_time, format=TIME, errors="coerce")
    numbers = table[["subject_id", "study_id"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    problems = {
        "no number": (
            ~(np.isfinite(numbers) & (numbers == np.floor(numbers))).all(axis=1),
            "It has no integer subject and study number; correct record_list.csv.",
        ),
        "path outside the root": (
            ~table.file.map(is_inside).to_numpy(dtype=bool),
            "Its path points outside the folder; correct record_list.csv.",
        ),
        "unreadable time": (time.isna().to_numpy(), "Its time is not a date and time; write YYYY-MM-DD HH:MM:SS."),
    }
    reason, sentence = np.full(len(table), "", dtype=object), np.full(len(table), "", dtype=object)
    for name, (affected, text) in problems.items():
        new = affected & (reason == "")
        reason[new], sentence[new] = name, text
    # Of duplicates the first valid one is kept.
    for name, column in (("duplicate study", numbers[:, 1]), ("duplicate file", table.file.to_numpy())):
        good = np.flatnonzero(reason == "")
        twice = good[pd.Series(column[good]).duplicated().to_numpy()]
        reason[twice], sentence[twice] = name, "It is listed twice, and the first is kept; correct record_list.csv."
    bad = reason != ""
    refused = table[bad].assign(reason=reason[bad], sentence=sentence[bad])[list(REFUSED)]
    table = table[~bad].assign(ecg_time=time[~bad])
    table[["subject_id", "study_id"]] = numbers[~bad].astype(np.int64)
    table["file"] += ".hea"
    return table.reset_index(drop=True), refused


def _measurements(path: Path) -> pd.DataFrame:
    """The machine's measurements by study number; an empty table if there is none."""
    if not path.is_file():
        return pd.DataFrame(index=pd.Index([], name="study_id", dtype=np.int64))
    columns = ("study_id", *MEASURED)
    table = read_table(path, columns, usecols=lambda name: name in columns, low_memory=False)
    table = table.apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    table = table[table.study_id.notna() & (table.study_id % 1 == 0)].drop_duplicates("study_id")
    table = table.astype({"study_id": np.int64}).set_index("study_id").astype(np.float32)
    return table.where(table < NOT_MEASURED)
