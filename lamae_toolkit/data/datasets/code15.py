"""CODE-15% (Ribeiro et al., Zenodo 4916206; CC BY 4.0) as a source of `prepare`, with six diagnoses as ICD-10-CM codes.

345,779 ECGs of 233,770 patients in Brazil: `exams.csv` and up to 18 files `exams_part*.hdf5`, each with `exam_id` (n)
and `tracings` (n, 4096, 12) in float32 at 400 Hz, with zeros before and after an ECG and a last row of the exam 0.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lamae_toolkit._lazy import missing_extra
from lamae_toolkit.data.datasets.tables import read_table
from lamae_toolkit.data.format import patient_fold
from lamae_toolkit.data.shards import REFUSED, CohortSource
from lamae_toolkit.ecg.io.channels import usable_leads
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import scp_to_icd10

if TYPE_CHECKING:
    import h5py

TABLE, PARTS = "exams.csv", "exams_part*.hdf5"
RATE_HZ = 400.0
DIAGNOSES = {"1dAVb": "1AVB", "RBBB": "CRBBB", "LBBB": "CLBBB", "SB": "SBRAD", "AF": "AFIB", "ST": "STACH"}
"""The six diagnoses and the statement of PTB-XL that means the same, whose ICD-10-CM code they get."""
COLUMNS = ("exam_id", "age", "is_male", "patient_id", "trace_file", *DIAGNOSES)
UNIT = (
    "CODE-15 does not state its unit; its values are taken as mV, as the PhysioNet Challenge 2025 does, but others have"
    " found them 1.2 to 2.3 times larger than those of other sets"
)
CACHE_BYTES = 64_000_000


def code15_source(root: Path | str) -> CohortSource:
    """The ECGs of CODE-15, for `prepare`: folds by patient, and six diagnoses as statements and as ICD-10-CM codes.

    root: the folder with exams.csv and those of exams_part0.hdf5 to exams_part17.hdf5 that are at hand; exams of the
        other parts are counted in `meta["left_out"]`.

    The diagnoses come from written reports and automatic measurements; an ECG with none of them need not be normal.
    """
    root = Path(root)
    parts = sorted(root.glob(PARTS), key=lambda path: (len(path.name), path.name))
    if not parts:
        zipped = any(root.glob(PARTS.replace("hdf5", "zip")))
        raise ECGError(f"{root} holds no {PARTS}; {'unpack the zip files' if zipped else 'check the path'}.")
    exams = _exams(root / TABLE)
    at_hand = exams.trace_file.isin([path.name for path in parts])
    left_out = {"exams of parts that are not in the folder": int((~at_hand).sum())} if not at_hand.all() else {}
    stored = pd.concat([_stored(path) for path in parts], ignore_index=True)
    rows = exams[at_hand].merge(stored, on=["exam_id", "trace_file"], how="outer", indicator="where")
    absent, unlisted, rows = (rows[rows["where"] == where] for where in ("left_only", "right_only", "both"))
    rows = rows.sort_values(["trace_file", "row"])  # read from beginning to end
    refused = [
        _refusals(absent, "signal missing", "Its part does not hold it; download the part again."),
        _refusals(unlisted, "not in the table", f"{TABLE} does not list it; download the table again."),
    ]
    statements = [
        [name for name, found in zip(DIAGNOSES, row, strict=True) if found]
        for row in rows[list(DIAGNOSES)].to_numpy(dtype=bool)
    ]
    ecgs = pd.DataFrame(
        {
            "file": rows.trace_file + "/" + rows.exam_id.astype(str),
            "patient_id": rows.patient_id.astype(np.int64),
            "study_id": rows.exam_id.astype(np.int64),
            "age_years": rows.age.astype(float),
            "sex": np.where(rows.is_male.to_numpy(dtype=bool), "M", "F"),
            "codes": [tuple(sorted(scp_to_icd10(DIAGNOSES[name]) or "" for name in names)) for names in statements],
            "fold": [patient_fold(int(patient)) for patient in rows.patient_id],
            "statements": statements,
        }
    ).reset_index(drop=True)
    meta = {"unit": UNIT, "left_out": left_out}
    return CohortSource("CODE-15", root, ecgs, read_exam, pd.concat(refused)[list(REFUSED)], meta)


def read_exam(path: Path, duration_s: float = np.inf) -> Recording:
    """One exam, whose path is that of its part followed by its number: the twelve leads without the zeros around them.

    duration_s: read no more than the first seconds.

    ECGError if the part does not hold the exam, or holds only zeros.
    """
    part, exam = path.parent, path.name
    row = _rows(part).get(int(exam)) if exam.isdecimal() else None
    if row is None:
        raise ECGError(f"{part.name} does not hold the exam {exam}; check the number.")
    try:
        tracing = _opened(part)["tracings"][row]
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ECGError(f"{part.name} is damaged at the exam {exam}; download it again.") from error
    if tracing.ndim != 2 or tracing.shape[1] != len(LEADS) or tracing.dtype.kind != "f":
        raise ECGError(f"{part.name} has tracings of shape {tracing.shape}, not (samples, 12); download it again.")
    recorded = np.flatnonzero((tracing != 0).any(axis=1))
    if not recorded.size:
        raise ECGError(f"{part.name}/{exam}: The exam holds only zeros; leave it out.", "no signal")
    first, last = recorded[0], min(recorded[-1] + 1, recorded[0] + max(1, np.rint(duration_s * RATE_HZ)))
    signal_mv = tracing[first : int(last)].T.astype(np.float64)
    try:
        signals_mv, notes, flags = usable_leads(dict(zip(LEADS, signal_mv, strict=True)))
    except ECGError as error:
        raise ECGError(f"{part.name}/{exam}: {error}", error.reason) from error
    return Recording(np.stack(list(signals_mv.values())), RATE_HZ, tuple(signals_mv), notes, flags)


def _exams(path: Path) -> pd.DataFrame:
    """The table of exams; ECGError if it cannot be used."""
    exams = read_table(path, COLUMNS, "download exams.csv with the parts", usecols=lambda name: name in COLUMNS)
    numbers = exams[["exam_id", "patient_id", "age"]].apply(pd.to_numeric, errors="coerce")
    truth = exams[["is_male", *DIAGNOSES]].apply(_booleans)
    if numbers.isna().any(axis=None) or (numbers % 1 != 0).any(axis=None) or truth.isna().any(axis=None):
        raise ECGError(f"{path.name} has an exam without a number, patient, age, sex or diagnosis; download it again.")
    if numbers.exam_id.duplicated().any():
        raise ECGError(f"{path.name} lists an exam twice; download it again.")
    return pd.concat([numbers.astype(np.int64), truth.astype(bool), exams[["trace_file"]].astype(str)], axis=1)


def _booleans(column: pd.Series) -> pd.Series:
    """True and False, as numbers or as text of any case; missing for anything else."""
    return column.astype(str).str.strip().str.lower().map({"true": 1, "false": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0})


def _stored(path: Path) -> pd.DataFrame:
    """The exams that a part holds, with their rows, without the filler of the number 0."""
    rows = _rows(path)
    _opened.cache_clear()
    return pd.DataFrame({"exam_id": list(rows), "row": list(rows.values()), "trace_file": path.name})


@lru_cache(maxsize=32)
def _rows(part: Path) -> dict[int, int]:
    """The row of each exam in a part."""
    try:
        file = _opened(part)
        exams, shape = np.asarray(file["exam_id"]), file["tracings"].shape
    except (OSError, KeyError, ValueError) as error:
        raise ECGError(f"{part.name} is damaged or not a part of CODE-15 ({type(error).__name__}).") from error
    if exams.ndim != 1 or exams.dtype.kind not in "iu" or len(shape) != 3 or len(exams) != shape[0]:
        raise ECGError(f"{part.name} has exam_id and tracings that do not belong together; download it again.")
    rows = {exam: row for row, exam in enumerate(exams.tolist()) if exam}
    if len(rows) < np.count_nonzero(exams):
        raise ECGError(f"{part.name} holds an exam twice; download it again.")
    return rows


@lru_cache(maxsize=2)
def _opened(part: Path) -> "h5py.File":
    """A part that stays open in this process: its exams are read one after the other."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise missing_extra("Reading CODE-15", error) from error
    return h5py.File(part, "r", rdcc_nbytes=CACHE_BYTES)


def _refusals(rows: pd.DataFrame, reason: str, sentence: str) -> pd.DataFrame:
    file = rows.trace_file + "/" + rows.exam_id.astype(np.int64).astype(str)
    return pd.DataFrame({"file": file, "study_id": rows.exam_id, "reason": reason, "sentence": sentence})
