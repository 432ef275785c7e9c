"""PTB-XL (Wagner et al., Sci Data 7:154, 2020; CC BY 4.0) as a store, with superclasses and ICD-10-CM codes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lamae_toolkit.ecg import LEADS, ECGError, Recording
from lamae_toolkit.icd10 import scp_to_icd10
from lamae_toolkit.readers import read_ecg
from lamae_toolkit.signal import bandpass, resample
from lamae_toolkit.store import Entry, Store, pack

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
"""PTB-XL's diagnostic superclasses: normal, infarction, ST-T change, conduction disturbance, hypertrophy."""

RATE_HZ, BAND_HZ, FILTER_ORDER = 100.0, (0.5, 40.0), 4


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
    both hold are taken from `root`, and one unit of the store is a standard deviation, not a millivolt.
    metadata: the table that describes the records of the archive; `root`'s own if None.
    """
    root = Path(root)
    superclass_of = _superclass_of(root / "scp_statements.csv")
    described = _database(root / "ptbxl_database.csv")
    more = None if zscored is None else _archive(Path(zscored))
    known = described if metadata is None else _database(Path(metadata))
    n = len(described) + (0 if more is None else int((~np.isin(more["ecg_id"], described.index)).sum()))

    def entries() -> Iterator[Entry]:
        for ecg_id, row in described.iterrows():
            recording = resample(bandpass(read_ecg(_record(root, row)), *BAND_HZ, FILTER_ORDER), RATE_HZ)
            yield _entry(int(ecg_id), row, recording if more is None else _standardised(recording), superclass_of)
        for signal, ecg_id in () if more is None else zip(more["x"], more["ecg_id"], strict=True):
            if ecg_id in described.index:
                continue
            if ecg_id not in known.index:
                raise ECGError(f"Record {ecg_id} of {zscored} is not in the table of metadata; give the whole table.")
            recording = Recording(signal.astype(np.float32), RATE_HZ, LEADS)
            yield _entry(int(ecg_id), known.loc[ecg_id], recording, superclass_of)

    source = "PTB-XL" if more is None else "PTB-XL, each lead divided by its standard deviation"
    bar = tqdm(entries(), total=n, desc="packing PTB-XL", unit="ECG", disable=not progress)
    return pack(iter(bar), folder, source=source, sampling_rate_hz=RATE_HZ)


def _entry(ecg_id: int, row: pd.Series, recording: Recording, superclass_of: dict[str, str]) -> Entry:
    statements = tuple(ast.literal_eval(row.scp_codes))
    acute = row.infarction_stadium1 in ("Stadium I", "Stadium I-II")
    codes = {code for code in (scp_to_icd10(name, acute) for name in statements) if code is not None}
    superclasses = {superclass_of[name] for name in statements if name in superclass_of}
    return Entry(
        recording,
        int(row.patient_id),
        ecg_id,
        90.0 if row.age == 300 else float(row.age),  # PTB-XL writes 300 for "older than 89"
        {0: "M", 1: "F"}.get(row.sex, ""),
        tuple(sorted(codes)),
        (("superclasses", [name for name in SUPERCLASSES if name in superclasses]), ("statements", list(statements))),
        int(row.strat_fold),
    )


def _standardised(recording: Recording) -> Recording:
    mean = recording.signal_mv.mean(axis=1, keepdims=True)
    deviation = recording.signal_mv.std(axis=1, keepdims=True)
    return Recording((recording.signal_mv - mean) / deviation, recording.sampling_rate_hz, recording.leads)


def _database(path: Path) -> pd.DataFrame:
    wanted = ["ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", "infarction_stadium1"]
    table = _table(path)
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ECGError(f"{path} has no column {missing[0]}; give the table ptbxl_database.csv of PTB-XL.")
    return table.set_index("ecg_id")


def _superclass_of(path: Path) -> dict[str, str]:
    """The superclass of every diagnostic statement; statements of form and rhythm have none."""
    table = _table(path).rename(columns={"Unnamed: 0": "statement"}).set_index("statement")
    return table.diagnostic_class[table.diagnostic == 1].to_dict()


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ECGError(f"{path.parent} has no {path.name}; give the folder of PTB-XL as it was unpacked.")
    return pd.read_csv(path)


def _record(root: Path, row: pd.Series) -> Path:
    high = root / f"{row.filename_hr}.hea"
    return high if high.is_file() else root / f"{row.filename_lr}.hea"


def _archive(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("x", "ecg_id")}
    except (OSError, ValueError, KeyError) as error:
        raise ECGError(f"{path} is not an archive of z-scored ECGs with x and ecg_id ({error}).") from error
