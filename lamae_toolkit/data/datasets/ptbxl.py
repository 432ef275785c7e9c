"""PTB-XL (Wagner et al., Sci Data 7:154, 2020; CC BY 4.0) as a source of `prepare`, with ICD-10-CM codes."""

import ast
from pathlib import Path

import pandas as pd

from lamae_toolkit.data.datasets.tables import read_table
from lamae_toolkit.data.download import download_physionet
from lamae_toolkit.data.shards import REFUSED, CohortSource, is_inside
from lamae_toolkit.ecg.io.read import read_start
from lamae_toolkit.ecg.preprocess import bandpass
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import scp_to_icd10

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
"""PTB-XL's diagnostic superclasses: normal, infarction, ST-T change, conduction disturbance, hypertrophy."""

BAND_HZ, FILTER_ORDER = (0.5, 40.0), 4

PUBLISHED = "https://physionet.org/files/ptb-xl/1.0.3/"
TABLES = ("ptbxl_database.csv", "scp_statements.csv")
ADVICE = "give the folder of PTB-XL as it was unpacked"
SPLIT = {"train": [1, 2, 3, 4, 5, 6, 7, 8], "validation": [9], "test": [10]}
"""The folds as PTB-XL's authors recommend them: those of 9 and 10 have labels checked by a human."""


def download_ptbxl(folder: Path | str, url: str = PUBLISHED, *, progress: bool = True) -> Path:
    """Fetch PTB-XL at 500 Hz (about 1.8 GB) into a folder; the same call resumes after an interruption.

    See `download_physionet`. Returns the folder, the `root` of `ptbxl_source`.
    """
    return download_physionet(
        url, folder, lambda name: name in (*TABLES, "LICENSE.txt") or name.startswith("records500/"), progress=progress
    )


def ptbxl_source(root: Path | str) -> CohortSource:
    """The ECGs of PTB-XL, for `prepare`: its own folds, superclasses, statements and ICD-10-CM codes, in mV.

    root: the folder with ptbxl_database.csv, scp_statements.csv and records500/ (records100/ if that is absent).
    Every ECG is band-passed from 0.5 to 40 Hz. The index has the further columns superclasses, statements and file.
    """
    root = Path(root)
    superclass_of = superclass_by_statement(root / TABLES[1])
    described = read_database(root / TABLES[0])
    names = described.filename_hr if (root / "records500").is_dir() else described.filename_lr
    inside = names.map(is_inside).to_numpy(dtype=bool)
    refused = pd.DataFrame({"file": names[~inside], "study_id": names.index[~inside]})
    refused["reason"] = "path outside the root"
    refused["sentence"] = f"Its path points outside the folder; correct {TABLES[0]}."
    rows = [
        {"file": f"{name}.hea"} | index_row(int(ecg_id), row, superclass_of)
        for name, (ecg_id, row) in zip(names[inside], described[inside].iterrows(), strict=True)
    ]
    return CohortSource(
        "PTB-XL", root, pd.DataFrame(rows), read_start, refused[list(REFUSED)], {"split": SPLIT}, filtered
    )


def filtered(recording: Recording) -> Recording:
    """The same ECG, band-passed from 0.5 to 40 Hz."""
    return bandpass(recording, *BAND_HZ, FILTER_ORDER)


def index_row(ecg_id: int, row: pd.Series, superclass_of: dict[str, str]) -> dict:
    """The row of an ECG in a store's index."""
    try:
        statements = tuple(ast.literal_eval(row.scp_codes))
    except (ValueError, SyntaxError, TypeError) as error:
        raise ECGError(f"ECG {ecg_id} has statements that cannot be read; copy {TABLES[0]} again.") from error
    acute = row.infarction_stadium1 in ("Stadium I", "Stadium I-II")
    codes = {code for code in (scp_to_icd10(name, acute) for name in statements) if code is not None}
    superclasses = {superclass_of[name] for name in statements if name in superclass_of}
    return {
        "patient_id": int(row.patient_id),
        "study_id": ecg_id,
        "age_years": 90.0 if row.age == 300 else float(row.age),  # PTB-XL writes 300 for "older than 89"
        "sex": {0: "M", 1: "F"}.get(row.sex, ""),
        "codes": tuple(sorted(codes)),
        "fold": int(row.strat_fold),
        "superclasses": [name for name in SUPERCLASSES if name in superclasses],
        "statements": list(statements),
    }


def read_database(path: Path) -> pd.DataFrame:
    numbers = ["ecg_id", "patient_id", "strat_fold"]
    columns = [*numbers, "age", "sex", "scp_codes", "infarction_stadium1", "filename_hr", "filename_lr"]
    table = read_table(path, columns, ADVICE)
    integer = table[numbers].apply(pd.to_numeric, errors="coerce") % 1 == 0
    if not integer.all(axis=None) or table.ecg_id.duplicated().any():
        raise ECGError(f"{path} has an ECG twice or without an integer number, patient or fold; copy the table again.")
    return table.set_index("ecg_id")


def superclass_by_statement(path: Path) -> dict[str, str]:
    """The superclass of every diagnostic statement; statements of form and rhythm have none."""
    table = read_table(path, ["diagnostic", "diagnostic_class"], ADVICE, index_col=0)
    return table.diagnostic_class[table.diagnostic == 1].to_dict()
