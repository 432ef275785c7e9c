"""One's own ECG files as a store, whatever their formats, with a table that says whose they are."""

from functools import partial
from pathlib import Path

import pandas as pd

from lamae_toolkit.ecg import ECGError, Recording
from lamae_toolkit.icd10 import ancestors
from lamae_toolkit.prepare import REFUSED, Source
from lamae_toolkit.readers import NUMPY_SUFFIXES, find_ecgs, read_ecg

ECG_SUFFIXES = (".xml", ".dcm", ".edf", ".csv", ".npy", ".npz")
"""A file of such a name that is no ECG is accounted for; others, such as notes and pictures, are passed over."""


def folder_source(
    folder: Path | str,
    table: Path | str | None = None,
    *,
    sampling_rate_hz: float | None = None,
    unit: str | None = None,
    leads: tuple[str, ...] | None = None,
) -> Source:
    """All ECG files in a folder and its subfolders, for `prepare`.

    table: a CSV file with the columns file (below the folder) and patient_id, and, where known, age_years, sex (F or
    M) and codes (ICD-10, separated by semicolons; "none" for an ECG that is known to have none). Without it nobody
    knows whose the ECGs are: every file then counts as a patient of its own, which leaks if one patient has several.
    sampling_rate_hz, unit, leads: for files that do not say, as in `read_ecg`.
    """
    root = Path(folder)
    found = [path.relative_to(root).as_posix() for path in find_ecgs(root)]
    if table is not None and Path(table).resolve().is_relative_to(root.resolve()):
        own = Path(table).resolve().relative_to(root.resolve()).as_posix()
        found = [name for name in found if name != own]
    else:
        own = ""
    others = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix.lower() in ECG_SUFFIXES
    ]
    strangers = sorted(set(others) - set(found) - {own})
    refused = [
        _refusal(name, "not recognised", "It is no ECG that can be read; export it again.") for name in strangers
    ]
    ecgs = pd.DataFrame({"file": found})
    ecgs["study_id"] = range(1, len(ecgs) + 1)
    if table is None:
        ecgs["patient_id"], ecgs["age_years"], ecgs["sex"] = ecgs.study_id, float("nan"), ""
        ecgs["codes"], ecgs["labelled"] = [()] * len(ecgs), False
    else:
        known = _table(Path(table))
        listed = ecgs.file.isin(known.file)
        refused += [_refusal(name, "not in the table", f"{Path(table).name} does not list it; add a row.")
                    for name in ecgs.file[~listed]]  # fmt: skip
        refused += [_refusal(name, "file missing", f"{Path(table).name} lists it, but it is not there.")
                    for name in known.file[~known.file.isin(ecgs.file)]]  # fmt: skip
        ecgs = ecgs[listed].merge(known, on="file", validate="1:1")
    read = partial(_read, sampling_rate_hz=sampling_rate_hz, unit=unit, leads=leads)
    patients = "each file a patient of its own, since no table says whose they are" if table is None else "by the table"
    refusals = pd.DataFrame(refused, columns=list(REFUSED))
    return Source(f"ECG files of {root.name}", root, ecgs, read, refusals, {"patients": patients})


def _read(path: Path, sampling_rate_hz: float | None, unit: str | None, leads: tuple[str, ...] | None) -> Recording:
    names = leads if path.suffix.lower() in NUMPY_SUFFIXES else None
    return read_ecg(path, sampling_rate_hz=sampling_rate_hz, unit=unit, leads=names)


def _refusal(file: str, reason: str, sentence: str) -> dict:
    return {"file": file, "study_id": "", "reason": reason, "sentence": sentence}


def _table(path: Path) -> pd.DataFrame:
    """The table of whose the ECGs are; ECGError, naming the row, if it cannot be used."""
    if not path.is_file():
        raise ECGError(f"There is no table {path}; check the path.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise ECGError(f"{path.name} is no table of comma-separated values ({type(error).__name__}).") from error
    for name in ("file", "patient_id"):
        if name not in table:
            raise ECGError(f"{path.name} has no column {name}; give file and patient_id for each ECG.")
        if table[name].isna().any():
            row = int(table[name].isna().to_numpy().argmax()) + 2
            raise ECGError(f"{path.name} has no {name} in row {row}; fill it in.")
    if table.file.duplicated().any():
        raise ECGError(f"{path.name} lists {table.file[table.file.duplicated()].iloc[0]} twice; keep one row.")
    # Patients are numbered by the order of their names, so that the same table gives the same folds.
    numbers = {name: number for number, name in enumerate(sorted(set(table.patient_id)), 1)}
    return pd.DataFrame(
        {
            "file": table.file,
            "patient_id": table.patient_id.map(numbers),
            "patient": table.patient_id,
            "age_years": pd.to_numeric(_column(table, "age_years"), errors="coerce").astype(float),
            "sex": _column(table, "sex").where(_column(table, "sex").isin(["F", "M"]), ""),
            "codes": [_codes(text, path) for text in _column(table, "codes")],
            "labelled": _column(table, "codes").notna(),
        }
    )


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series([None] * len(table), dtype=object)


def _codes(text: object, path: Path) -> tuple[str, ...]:
    if not isinstance(text, str) or text.strip().lower() == "none":
        return ()
    try:
        return tuple(sorted({ancestors(code.strip())[-1] for code in text.split(";") if code.strip()}))
    except ECGError as error:
        raise ECGError(f"{path.name}: {error}") from error
