"""Your own ECG files, in any supported format, as a source of `prepare`, with a table of their patients."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd

from lamae_toolkit.data.format import META, patient_fold
from lamae_toolkit.data.shards import REFUSED, CohortSource
from lamae_toolkit.ecg.io.listing import list_files
from lamae_toolkit.ecg.io.read import KINDS, kind_and_path, read_start
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ContradictionError, ECGError
from lamae_toolkit.icd10 import ancestors


def folder_source(
    folder: Path | str,
    table: Path | str | None = None,
    *,
    sampling_rate_hz: float | None = None,
    unit: str | None = None,
    leads: tuple[str, ...] | None = None,
) -> CohortSource:
    """All ECG files in a folder and its subfolders, for `prepare`.

    Every file that is or may be an ECG is read or refused with its reason; the others are counted by suffix.

    table: a CSV file with the columns file (below the folder) and patient_id, and, where known, age_years, sex (F or
    M) and codes (ICD-10, separated by semicolons; "none" for an ECG that is known to have none). Without a
    table, every file counts as a separate patient, which leaks if a patient has several.
    sampling_rate_hz, unit, leads: as in `read_ecg`, for files that do not give them; they change no file that does.
    """
    root = Path(folder)
    own = Path(table).resolve() if table is not None else None
    stores = {path.parent for path in root.rglob(META)} | set(root.rglob("*.preparing"))

    def below(paths: Iterable[Path]) -> list[Path]:
        """Without the table and what is inside of a store."""
        return [path for path in paths if path.resolve() != own and stores.isdisjoint(path.parents)]

    found, refused = list_files(root), []
    ecg_paths, passed_over = below(found.ecgs), Counter(path.suffix.lower() for path in below(found.passed_over))
    for path in below(found.unclear):
        try:
            kind_and_path(path.absolute())
        except ECGError as error:
            reason = "not recognized" if error.reason == "unreadable" else error.reason
            refused.append(_refusal(path.relative_to(root).as_posix(), reason, str(error)))
        else:
            ecg_paths.append(path)
    if not ecg_paths and not refused:
        raise ECGError(f"{root.resolve().name}: The folder holds no ECG; put {KINDS} there.")
    ecg_files = [path.relative_to(root).as_posix() for path in sorted(ecg_paths)]
    # Python writes bytes of a name that are not UTF-8 as lone surrogates.
    not_utf8 = [name for name in ecg_files if re.search("[\ud800-\udfff]", name)]
    refused += [_refusal(repr(name), "unreadable name", "Its name is not in UTF-8; rename it.") for name in not_utf8]
    ecgs = pd.DataFrame({"file": [name for name in ecg_files if name not in not_utf8]}, dtype=object)
    if table is None:
        ecgs["patient_id"], ecgs["age_years"], ecgs["sex"] = _numbers(ecgs.file), float("nan"), ""
        ecgs["codes"], ecgs["labelled"] = [()] * len(ecgs), False
    else:
        rows = _table(Path(table))
        listed = ecgs.file.isin(rows.file)
        refused += [
            _refusal(name, "not in the table", f"{Path(table).name} does not list it; add a row.")
            for name in ecgs.file[~listed]
        ]
        refused += [
            _refusal(name, "file missing", f"{Path(table).name} lists it, but the file is absent.")
            for name in rows.file[~rows.file.isin(ecgs.file)]
        ]
        ecgs = ecgs[listed].merge(rows, on="file", validate="1:1")
    ecgs["study_id"] = range(1, len(ecgs) + 1)
    ecgs["fold"] = [patient_fold(patient) for patient in ecgs.patient_id]
    read = partial(read_own, sampling_rate_hz=sampling_rate_hz, unit=unit, leads=leads)
    patients = "each file as a separate patient, since there is no table" if table is None else "by the table"
    refusals = pd.DataFrame(refused, columns=list(REFUSED))
    name, counted = f"ECG files of {root.resolve().name}", dict(passed_over.most_common())
    return CohortSource(name, root, ecgs, read, refusals, {"patients": patients}, passed_over=counted)


def _numbers(names: Iterable[str]) -> list[int]:
    """A number for each name, from the name only: a patient keeps the fold when others join the cohort."""
    numbers = {name: int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) >> 1 for name in set(names)}
    if len(set(numbers.values())) < len(numbers):
        raise ECGError("Two patients have names with the same hash; rename one of them.")
    return [numbers[name] for name in names]


def read_own(
    path: Path, duration_s: float, *, sampling_rate_hz: float | None, unit: str | None, leads: tuple[str, ...] | None
) -> Recording:
    """The first seconds of one ECG of many: the arguments hold for files that do not say what they give.

    `read_ecg` refuses an argument that contradicts a file; here, one argument may be right for some files only, and a
    file that says something else is read as it says.
    """
    arguments: dict[str, Any] = {"sampling_rate_hz": sampling_rate_hz, "unit": unit, "leads": leads}
    while True:
        try:
            return read_start(path, duration_s, **arguments)
        except ContradictionError as error:
            arguments[error.argument] = None


def _refusal(file: str, reason: str, sentence: str) -> dict:
    return {"file": file, "study_id": "", "reason": reason, "sentence": sentence}


def _table(path: Path) -> pd.DataFrame:
    """The table of files and patients; ECGError, naming the row, if it cannot be used."""
    if not path.is_file():
        raise ECGError(f"There is no table {path}; check the path.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise ECGError(f"{path.name} is not a table of comma-separated values ({type(error).__name__}).") from error
    table.columns = [str(name).strip() for name in table]
    table = table.apply(lambda column: column.fillna("").str.strip())
    for name in ("file", "patient_id"):
        if name not in table:
            raise ECGError(f"{path.name} has no column {name}, separated by commas; give file and patient_id.")
        _refuse(path, table[name] == "", f"has no {name}", "fill it in")
    _refuse(path, table.file.duplicated(), "lists a file for the second time", "keep one row")
    age, sex, codes = (table.get(name, pd.Series("", table.index, str)) for name in ("age_years", "sex", "codes"))
    years = pd.to_numeric(age, errors="coerce")
    _refuse(
        path, (age != "") & ~years.between(0, 130), "has an age that is not a number of years", "correct or empty it"
    )
    _refuse(path, ~sex.str.upper().isin(["F", "M", ""]), "has a sex other than F or M", "correct or empty it")
    return pd.DataFrame(
        {
            "file": table.file,
            "patient_id": _numbers(table.patient_id),
            "patient": table.patient_id,
            "age_years": years.astype(float),
            "sex": sex.str.upper(),
            "codes": [_codes(text, path) for text in codes],
            "labelled": codes != "",
        }
    )


def _refuse(path: Path, wrong: pd.Series, what: str, do: str) -> None:
    """Name the first row of the table in which something is wrong, if there is one."""
    if wrong.any():
        raise ECGError(f"{path.name} {what} in row {int(wrong.to_numpy().argmax()) + 2}; {do}.")


def _codes(text: str, path: Path) -> tuple[str, ...]:
    if text.lower() == "none":
        return ()
    try:
        return tuple(sorted({ancestors(code.strip())[-1] for code in text.split(";") if code.strip()}))
    except ECGError as error:
        raise ECGError(f"{path.name}: {error}") from error
