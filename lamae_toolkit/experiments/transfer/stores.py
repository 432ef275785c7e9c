"""The stores of the studies on amplitude and transfer: ECGs of ten other sets, and PTB-XL in millivolts and z-scored.

All ECGs are band-passed from 0.5 to 40 Hz and sampled at 100 Hz, as `ptbxl_store` makes them. Besides the usual
columns, the index of each store has

source, record, window: the set, the record as it is called there, and the number of the window in the record.
n_valid: the samples that were recorded; a record of less than 10 s is followed by zeros.
amplitude_known: False where each lead was divided by its standard deviation, so that one unit is not a millivolt.
held_out: PTB-XL's folds 9 and 10, which are scored once, at the end of a study.
labels: the labels as they are published. `codes`, `superclasses` and `statements` are of PTB-XL alone, and `labelled`
    is False where an ECG has none of them.
device: of PTB-XL, as published, without doubled spaces.
peak_mv: the largest deviation from 0 in any lead after filtering. CODE-15 has artifacts of 25 mV.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lamae_toolkit.data.datasets.ptbxl import (
    TABLES,
    filtered,
    index_row,
    ptbxl_source,
    read_database,
    superclass_by_statement,
)
from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import resample
from lamae_toolkit.ecg.quality import FLAG_COLUMNS, quality_columns
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.missing_leads.ludb import RECORDS, read_ludb
from lamae_toolkit.experiments.ptbxl_store import RATE_HZ, read_archive

PACK, METADATA = "nine_sets/ecg_pack_100hz.npz", "ptbxl_database_all_21837.csv"
PTBXL, ZSCORED, LUDB = "ptb-xl", "ptbxl_zscored_100hz_folds1-8.npz", "ludb"
N_SAMPLES = 1000

SETS = ("CODE-15", "CPSC2018", "CPSC2018-Extra", "Chapman-Shaoxing", "Georgia", "Ningbo", "PTB", "SPH", "SaMi-Trop")
"""The nine other sets of the pack, in the order of their patient numbers."""
FIRST_PATIENT = {name: 1_000_000 * (10 + number) for number, name in enumerate((*SETS, "LUDB"))}
"""Patient and study numbers of each set begin here, so that those of no two sets are equal."""
HELD_OUT = (9, 10)


def research_stores(
    data: Path | str, out: Path | str, names: tuple[str, ...] = (), *, progress: bool = True
) -> dict[str, Store]:
    """Pack the real ECGs at hand for the studies on amplitude and transfer; returns the stores by name.

    data: the folder with `ptb-xl/`, `ludb/`, `nine_sets/ecg_pack_100hz.npz`, the archive of z-scored PTB-XL records and
    the table that describes all of PTB-XL (see the constants of this module). out: one folder per store is written
    there, and an existing store replaced. names: which ones; all if empty.

    nine: the nine other sets of the pack, in mV; a patient is a record where no patients are published.
    ludb: LUDB's 200 records, in mV.
    ptbxl_mv: the records of PTB-XL whose signals are at hand in mV, with PTB-XL's patients, folds and labels.
    ptbxl_z: z-scored records of folds 1 to 8, without those that ptbxl_mv has in mV.

    Raises ECGError if a file is absent or damaged, or if there is no store of that name.
    """
    unknown = [name for name in names if name not in STORES]
    if unknown:
        raise ECGError(f"There is no store {unknown[0]!r}; choose from {', '.join(STORES)}.")
    data, stores = Path(data), {}
    for name in names or tuple(STORES):
        source, records = STORES[name]
        bar = tqdm(records(data), desc=name, unit="ECG", disable=not progress)
        stores[name] = pack(iter(bar), Path(out) / name, source=source, sampling_rate_hz=RATE_HZ)
    return stores


def _nine(data: Path) -> Iterator[Record]:
    ecgs = _read_pack(data)
    windows = [row for row in range(len(ecgs["x"])) if ecgs["source"][row] != "PTB-XL"]
    numbers = _patient_numbers(ecgs, windows)
    for study, row in enumerate(windows):
        recording, flags = _window(ecgs, row)
        yield _record(
            recording,
            flags,
            {"n_valid": int(ecgs["n_valid"][row]), **_published(ecgs, row)},
            patient_id=numbers[row],
            study_id=FIRST_PATIENT[str(ecgs["source"][row])] + study,
            age_years=_age(str(ecgs["age"][row])),
            sex=str(ecgs["sex"][row]),
        )


def _patient_numbers(ecgs: dict[str, np.ndarray], windows: list[int]) -> dict[int, int]:
    """A number for each patient; where none is published, each record is of a patient of its own."""
    numbers: dict[tuple[str, str], int] = {}
    of_window = {}
    for row in windows:
        source, patient = str(ecgs["source"][row]), str(ecgs["patient"][row])
        if source not in SETS:
            raise ECGError(f"The pack has the unknown set {source!r}; choose one of {', '.join(SETS)}.")
        if not patient and source == "PTB":
            # PTB has up to five records of a patient; the Challenge's copies keep age and sex, but not the patient.
            patient = f"{ecgs['age'][row]} {ecgs['sex'][row]}"
        key = (source, patient or str(ecgs["record"][row]))
        of_window[row] = numbers.setdefault(key, FIRST_PATIENT[source] + len(numbers))
    return of_window


def _ludb(data: Path) -> Iterator[Record]:
    path = data / LUDB / "ludb.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            table = {int(row["ID"]): row for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError) as error:
        raise ECGError(f"{path} is absent or damaged ({type(error).__name__}); copy LUDB again.") from error
    for number in RECORDS:
        if number not in table:
            raise ECGError(f"{path} has no record {number}; copy LUDB again.")
        row = {name: value.strip() for name, value in table[number].items()}
        original = read_ludb(data / LUDB, number).select(LEADS)
        labels = "\n".join(row[name] for name in row if name not in ("ID", "Sex", "Age") and row[name])
        yield _record(
            resample(filtered(original), RATE_HZ),
            quality_columns(original),
            {"source": "LUDB", "record": str(number), "window": 0, "labels": labels},
            patient_id=FIRST_PATIENT["LUDB"] + number,
            study_id=FIRST_PATIENT["LUDB"] + number,
            age_years=_age(row["Age"]),
            sex=row["Sex"],
        )


def _ptbxl_mv(data: Path) -> Iterator[Record]:
    listed, table = ptbxl_source(data / PTBXL), read_database(data / PTBXL / TABLES[0])
    if len(listed.refused):
        raise ECGError(f"{listed.refused.file.iloc[0]}: {listed.refused.sentence.iloc[0]}")
    for row in listed.ecgs.to_dict("records"):
        original = read_ecg(data / PTBXL / row.pop("file"))
        more = {"record": str(row["study_id"]), "window": 0, **_of_table(table, row["study_id"])}
        yield _record(resample(filtered(original), RATE_HZ), quality_columns(original), more, **row)
    describe, ecgs, table = _describing(data), _read_pack(data), read_database(data / METADATA)
    for row in np.flatnonzero((ecgs["source"] == "PTB-XL") & ~np.isin(_ecg_ids(ecgs), listed.ecgs.study_id)).tolist():
        recording, flags = _window(ecgs, row)
        ecg_id = int(ecgs["record"][row])
        about = describe(ecg_id)
        yield _record(recording, flags, _published(ecgs, row) | _of_table(table, ecg_id), **about)


def _ptbxl_z(data: Path) -> Iterator[Record]:
    describe, more = _describing(data), read_archive(data / ZSCORED)
    ecgs = _read_pack(data)
    doubled = {*_ecg_ids(ecgs), *ptbxl_source(data / PTBXL).ecgs.study_id}
    table = read_database(data / METADATA)
    for signal, ecg_id in zip(more["x"], more["ecg_id"].tolist(), strict=True):
        if ecg_id not in doubled:
            about = describe(ecg_id)
            # Without millivolts, noise and flat stretches cannot be recognized.
            yield _record(
                Recording(signal.astype(np.float32), RATE_HZ, LEADS),
                dict.fromkeys(FLAG_COLUMNS, ""),
                {"record": str(ecg_id), "window": 0, "amplitude_known": False, **_of_table(table, ecg_id)},
                **about,
            )


STORES: dict[str, tuple[str, Callable[[Path], Iterator[Record]]]] = {
    "nine": ("nine sets: " + ", ".join(SETS), _nine),
    "ludb": ("LUDB", _ludb),
    "ptbxl_mv": ("PTB-XL in millivolts", _ptbxl_mv),
    "ptbxl_z": ("PTB-XL, each lead divided by its standard deviation", _ptbxl_z),
}
"""The stores by name: what they hold, and what packs their ECGs."""


def _record(recording: Recording, flags: dict[str, str], more: dict, **about) -> Record:
    """An ECG with the columns that all stores of this module have; flags: of the ECG before it was filtered."""
    labels = {name: about.pop(name, []) for name in ("superclasses", "statements")}
    of_ptbxl, fold = "codes" in about, about.pop("fold", None)
    columns = {
        "source": "PTB-XL",
        "n_valid": recording.signal_mv.shape[1],
        "amplitude_known": True,
        "held_out": of_ptbxl and fold in HELD_OUT,
        "labelled": of_ptbxl,
        "device": "",
        "peak_mv": float(np.abs(recording.signal_mv).max()),
    }
    extra = labels | columns | more | flags
    return Record(recording, codes=about.pop("codes", ()), fold=fold, extra=tuple(extra.items()), **about)


def _describing(data: Path) -> Callable[[int], dict]:
    """What gives the row of an ECG in the index, by its number in PTB-XL."""
    superclass_of = superclass_by_statement(data / PTBXL / TABLES[1])
    table = read_database(data / METADATA)

    def describe(ecg_id: int) -> dict:
        if ecg_id not in table.index:
            raise ECGError(f"Record {ecg_id} of PTB-XL is not in {METADATA}; give the complete table.")
        return index_row(ecg_id, table.loc[ecg_id], superclass_of)

    return describe


def _of_table(table: pd.DataFrame, ecg_id: int) -> dict[str, str]:
    """What PTB-XL's table says of an ECG beyond the usual columns."""
    row = table.loc[ecg_id]
    return {"labels": f"SCP:{row.scp_codes}", "device": " ".join(str(row.get("device", "")).split())}


def _read_pack(data: Path) -> dict[str, np.ndarray]:
    """The arrays of the pack; ECGError if one is absent, or if it is not in microvolts at 100 Hz."""
    wanted = ("x", "n_valid", "source", "record", "window", "labels", "age", "sex", "patient", "leads", "fs", "unit")
    try:
        with np.load(data / PACK, allow_pickle=False) as archive:
            ecgs = {name: archive[name] for name in wanted}
    except (OSError, ValueError, KeyError) as error:
        raise ECGError(f"{data / PACK} is absent or no pack of ECGs ({error}); copy it again.") from error
    form = (int(ecgs["fs"]), str(ecgs["unit"]), tuple(ecgs["leads"].tolist()))
    if form != (int(RATE_HZ), "microvolt", LEADS):
        raise ECGError(f"{data / PACK} is not in microvolts at 100 Hz in the order of the twelve leads; copy it again.")
    return ecgs


def _ecg_ids(ecgs: dict[str, np.ndarray]) -> list[int]:
    """The numbers of the records of PTB-XL in the pack, -1 for those of other sets."""
    of_set = zip(ecgs["source"], ecgs["record"], strict=True)
    return [int(record) if source == "PTB-XL" else -1 for source, record in of_set]


def _window(ecgs: dict[str, np.ndarray], row: int) -> tuple[Recording, dict[str, str]]:
    """A window of the pack in mV, filtered and padded with zeros to 10 s, and its quality flags."""
    original = Recording(ecgs["x"][row, :, : ecgs["n_valid"][row]] * np.float32(1e-3), RATE_HZ, LEADS)
    signal_mv = filtered(original).signal_mv
    padded_mv = np.pad(signal_mv, ((0, 0), (0, N_SAMPLES - signal_mv.shape[1])))
    return Recording(padded_mv, RATE_HZ, LEADS), quality_columns(original)


def _published(ecgs: dict[str, np.ndarray], row: int) -> dict:
    names = {name: str(ecgs[name][row]) for name in ("source", "record", "labels")}
    return names | {"window": int(ecgs["window"][row])}


def _age(text: str) -> float:
    """An age in years; NaN if it is not published, and 90 for "older than 89", as for PTB-XL."""
    if text.startswith(">"):
        return 90.0
    return float(text) if text else float("nan")
