"""PTB-XL (Wagner et al., Sci Data 7:154, 2020; CC BY 4.0) as a store, with superclasses and ICD-10-CM codes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lamae_toolkit.data.datasets.tables import read_table
from lamae_toolkit.data.download import download_physionet
from lamae_toolkit.data.shards import REFUSED, CohortSource, is_inside
from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import bandpass, resample
from lamae_toolkit.ecg.quality import FLAG_COLUMNS, quality_columns
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import scp_to_icd10

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
"""PTB-XL's diagnostic superclasses: normal, infarction, ST-T change, conduction disturbance, hypertrophy."""

RATE_HZ, BAND_HZ, FILTER_ORDER = 100.0, (0.5, 40.0), 4

PUBLISHED = "https://physionet.org/files/ptb-xl/1.0.3/"
TABLES = ("ptbxl_database.csv", "scp_statements.csv")
ADVICE = "give the folder of PTB-XL as it was unpacked"
SPLIT = {"train": [1, 2, 3, 4, 5, 6, 7, 8], "validation": [9], "test": [10]}
"""The folds as PTB-XL's authors recommend them: the labels of 9 and 10 were checked by a human."""


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
    superclass_of = _superclass_of(root / TABLES[1])
    described = _database(root / TABLES[0])
    names = described.filename_hr if (root / "records500").is_dir() else described.filename_lr
    inside = names.map(is_inside).to_numpy(dtype=bool)
    refused = pd.DataFrame({"file": names[~inside], "study_id": names.index[~inside]})
    refused["reason"] = "path outside the root"
    refused["sentence"] = f"Its path points outside the folder; correct {TABLES[0]}."
    rows = [
        {"file": f"{name}.hea"} | _about(int(ecg_id), row, superclass_of)
        for name, (ecg_id, row) in zip(names[inside], described[inside].iterrows(), strict=True)
    ]
    return CohortSource(
        "PTB-XL", root, pd.DataFrame(rows), read_ecg, refused[list(REFUSED)], {"split": SPLIT}, filtered
    )


def filtered(recording: Recording) -> Recording:
    """The same ECG, band-passed from 0.5 to 40 Hz."""
    return bandpass(recording, *BAND_HZ, FILTER_ORDER)


def ptbxl_store(
    folder: Path | str,
    root: Path | str,
    *,
    zscored: Path | str | None = None,
    metadata: Path | str | None = None,
    progress: bool = True,
) -> Store:
    """Pack PTB-XL at 100 Hz: its own patient-wise folds 1 to 10, ICD-10-CM codes, superclasses and SCP statements.

    root: the folder with ptbxl_database.csv, scp_statements.csv and records500/ (records100/ if that is absent).
    Every ECG is band-passed from 0.5 to 40 Hz, then resampled. The index has two more
    columns, `superclasses` and `statements`.

    zscored: an archive of more records that are band-passed already and of which each lead was divided by its
    standard deviation (x, ecg_id, strat_fold, ...). Those of `root` are then brought to the same form, records that
    both contain are taken from `root`, and one unit of the store is a standard deviation, not a millivolt.
    metadata: the table that describes the records of the archive; `root`'s own if None.
    """
    root = Path(root)
    listed, more = ptbxl_source(root), None if zscored is None else _archive(Path(zscored))
    if len(listed.refused):
        raise ECGError(f"{listed.refused.file.iloc[0]}: {listed.refused.sentence.iloc[0]}")
    new = np.array([]) if more is None else np.flatnonzero(~np.isin(more["ecg_id"], listed.ecgs.study_id))

    def records() -> Iterator[Record]:
        for file, about in zip(listed.ecgs.file, listed.ecgs.drop(columns="file").to_dict("records"), strict=True):
            original = read_ecg(root / file)
            recording = resample(filtered(original), RATE_HZ)
            yield _record(recording if more is None else _standardized(recording), about, quality_columns(original))
        if more is None:
            return
        superclass_of, table = _superclass_of(root / TABLES[1]), _database(Path(metadata or root / TABLES[0]))
        for signal, ecg_id in zip(more["x"][new], more["ecg_id"][new], strict=True):
            if ecg_id not in table.index:
                raise ECGError(
                    f"Record {ecg_id} of {zscored} is not in the table of metadata; give the complete table."
                )
            recording = Recording(signal.astype(np.float32), RATE_HZ, LEADS)
            about = _about(int(ecg_id), table.loc[ecg_id], superclass_of)
            # Without millivolts, noise and flat stretches cannot be recognized.
            yield _record(recording, about, dict.fromkeys(FLAG_COLUMNS, ""))

    source = "PTB-XL" if more is None else "PTB-XL, each lead divided by its standard deviation"
    bar = tqdm(records(), total=len(listed.ecgs) + len(new), desc="packing PTB-XL", unit="ECG", disable=not progress)
    return pack(iter(bar), folder, source=source, sampling_rate_hz=RATE_HZ)


def _record(recording: Recording, about: dict, flags: dict[str, str]) -> Record:
    extra = {name: about.pop(name) for name in ("superclasses", "statements")} | flags
    return Record(recording, extra=tuple(extra.items()), **about)


def _about(ecg_id: int, row: pd.Series, superclass_of: dict[str, str]) -> dict:
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


def _standardized(recording: Recording) -> Recording:
    mean = recording.signal_mv.mean(axis=1, keepdims=True)
    deviation = recording.signal_mv.std(axis=1, keepdims=True)
    return Recording((recording.signal_mv - mean) / deviation, recording.sampling_rate_hz, recording.leads)


def _database(path: Path) -> pd.DataFrame:
    numbers = ["ecg_id", "patient_id", "strat_fold"]
    columns = [*numbers, "age", "sex", "scp_codes", "infarction_stadium1", "filename_hr", "filename_lr"]
    table = read_table(path, columns, ADVICE)
    integer = table[numbers].apply(pd.to_numeric, errors="coerce") % 1 == 0
    if not integer.all(axis=None) or table.ecg_id.duplicated().any():
        raise ECGError(f"{path} has an ECG twice or without an integer number, patient or fold; copy the table again.")
    return table.set_index("ecg_id")


def _superclass_of(path: Path) -> dict[str, str]:
    """The superclass of every diagnostic statement; statements of form and rhythm have none."""
    table = read_table(path, ["diagnostic", "diagnostic_class"], ADVICE, index_col=0)
    return table.diagnostic_class[table.diagnostic == 1].to_dict()


def _archive(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("x", "ecg_id")}
    except (OSError, ValueError, KeyError) as error:
        raise ECGError(f"{path} is not an archive of z-scored ECGs with x and ecg_id ({error}).") from error
