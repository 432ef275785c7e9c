"""A store on disk: its files, its units and its folds, without what only a model needs."""

import zlib
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int16

from lamae_toolkit.checksums import check_files
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import columns, resampled
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import read_json

VERSION, FOLDS = 1, 20
SIGNALS, INDEX, META = "signals.int16", "index.parquet", "store.json"
MV_PER_UNIT = 1e-3
ABSENT = np.int16(-32768)
REMEDY = "pack the cohort again"
MAX_INDEX_BYTES, MAX_ROW_BYTES = 2 * 10**7, 10**4
"""An index that unpacks to more, for its number of rows, is damaged: a row of the known cohorts has under 2 kB."""
UNREADABLE = (
    OSError,
    pyarrow.ArrowException,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)
"""What pyarrow and pandas raise for a damaged table."""
INDEX_COLUMNS = ("patient_id", "study_id", "age_years", "sex", "codes", "fold")


def patient_fold(patient_id: int) -> int:
    """The fold of a patient, 0 to 19, from the patient's number alone: no patient is on two sides of a split."""
    return zlib.crc32(f"patient {patient_id}".encode()) % FOLDS


def in_two_folds(patients: np.ndarray, folds: np.ndarray) -> bool:
    """Whether any patient has ECGs in more than one fold."""
    order = np.argsort(patients, kind="stable")
    patients, folds = patients[order], folds[order]
    return bool(((patients[1:] == patients[:-1]) & (folds[1:] != folds[:-1])).any())


def open_store(folder: Path) -> tuple[dict, np.ndarray, np.ndarray]:
    """`meta`, `folds` and `signals` of a store whose parts belong together; ECGError if they do not.

    Of the signals only the size is checked here, since hundreds of GB take minutes: `lamae check` compares their
    checksum.
    """
    if not (folder / META).is_file():
        raise ECGError(f"{folder} is not a store: it has no {META}; give the folder that a cohort was prepared to.")
    meta = read_json(folder / META, REMEDY)
    if meta.get("version") != VERSION:
        raise ECGError(
            f"{folder} is a store of version {meta.get('version')}, but this toolkit reads version {VERSION}; {REMEDY}."
        )
    check_files(folder, [META, INDEX])
    ecgs, samples, rate_hz = (meta.get(name, 0) for name in ("ecgs", "samples", "sampling_rate_hz"))
    if not (
        type(ecgs) is type(samples) is int
        and min(ecgs, samples) >= 1
        and type(rate_hz) in (int, float)
        and 0 < rate_hz < inf
        and isinstance(meta.get("source"), str)
    ):
        raise ECGError(f"{folder / META} is damaged: its numbers of ECGs, samples or Hz are not usable; {REMEDY}.")
    # The signals are read as if these were the only ones.
    for name, only in (("leads", list(LEADS)), ("mv_per_unit", MV_PER_UNIT), ("folds", FOLDS)):
        if meta.get(name, only) != only:
            raise ECGError(f"{folder / META} states other {name} ({meta[name]}) than every store has; {REMEDY}.")
    wanted = ecgs * len(LEADS) * samples * 2
    size = (folder / SIGNALS).stat().st_size if (folder / SIGNALS).is_file() else 0
    index_rows, bytes_of_index = _size_of_index(folder)
    if index_rows != ecgs or size != wanted:
        raise ECGError(
            f"{folder} should hold {ecgs} ECGs, but its index has {index_rows} rows and {SIGNALS} has {size} of"
            f" {wanted} bytes; {REMEDY}."
        )
    if bytes_of_index > MAX_INDEX_BYTES + ecgs * MAX_ROW_BYTES:
        raise ECGError(f"The index of {folder} unpacks to {bytes_of_index / 1e9:.3g} GB; {REMEDY}.")
    table = read_index(folder, ["patient_id", "fold"])
    patients, folds = (table[name].to_numpy() for name in ("patient_id", "fold"))
    if not (folds.dtype.kind in "iu" and ((folds >= 0) & (folds < FOLDS)).all()) or table.patient_id.isna().any():
        raise ECGError(f"The index of {folder} has an ECG without a patient or a fold from 0 to {FOLDS - 1}; {REMEDY}.")
    if in_two_folds(patients, folds):
        raise ECGError(f"A patient of {folder} is in two folds, which would leak; {REMEDY}.")
    signals = np.memmap(folder / SIGNALS, dtype=np.int16, mode="r", shape=(ecgs, len(LEADS), samples))
    return meta, folds, signals


def _size_of_index(folder: Path) -> tuple[int, int]:
    """Rows of the index and bytes that it unpacks to, as its footer states them; ECGError if it lacks a column."""
    try:
        with pq.ParquetFile(folder / INDEX) as file:
            columns, metadata = file.schema_arrow.names, file.metadata
            groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            rows, size = metadata.num_rows, sum(group.total_byte_size for group in groups)
    except UNREADABLE as error:
        raise ECGError(f"The index {folder / INDEX} is missing or damaged; {REMEDY}.") from error
    missing = [name for name in INDEX_COLUMNS if name not in columns]
    if missing:
        raise ECGError(f"The index of {folder} lacks the column {missing[0]}; {REMEDY}.")
    return rows, size


def read_index(folder: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """The index of a store, or some of its columns; ECGError if it is damaged."""
    try:
        return pd.read_parquet(folder / INDEX, columns=columns)
    except UNREADABLE as error:
        raise ECGError(f"The index {folder / INDEX} is damaged; {REMEDY}.") from error


def store_meta(source: str, ecgs: int, sampling_rate_hz: float, duration_s: float) -> dict:
    """The content of `store.json`."""
    return {
        "version": VERSION,
        "source": source,
        "ecgs": ecgs,
        "samples": round(sampling_rate_hz * duration_s),
        "sampling_rate_hz": sampling_rate_hz,
        "folds": FOLDS,
        "mv_per_unit": MV_PER_UNIT,
        "leads": list(LEADS),
    }


def kept_samples(n_samples: int, rate_hz: float, sampling_rate_hz: float, duration_s: float) -> int:
    """How many samples of an ECG a store of this rate and duration keeps; ECGError if the ECG is too short."""
    ecg_s = n_samples / rate_hz
    # Half a sample of slack, at the ECG's own rate and the store's: a 9.998-s record at 500 Hz is 10 s long.
    if ecg_s < duration_s - 0.5 / min(rate_hz, sampling_rate_hz):
        raise ECGError(
            f"The ECG lasts {ecg_s:g} s, but this store holds ECGs of {duration_s:g} s; leave it out or"
            " pack shorter ones.",
            "too short",
        )
    return min(n_samples, max(1, round(duration_s * rate_hz)))


def quantized(
    signal_mv: Float[np.ndarray, "t b l"],
    rate_hz: float,
    leads: tuple[str, ...],
    sampling_rate_hz: float,
    duration_s: float,
) -> tuple[Int16[np.ndarray, "b 12 k"], Bool[np.ndarray, "b l"]]:
    """Several ECGs with the same leads, of `kept_samples`, as they are stored: an absent lead has the value -32768.

    Also returns which leads went beyond the +-32.767 mV of a store: their median is subtracted, and what is still
    beyond is clipped.
    """
    samples = round(sampling_rate_hz * duration_s)
    units = resampled(columns(signal_mv), rate_hz, sampling_rate_hz)[:samples] * np.float32(1 / MV_PER_UNIT)
    if len(units) < samples:
        units = np.pad(units, ((0, samples - len(units)), (0, 0)), mode="edge")
    beyond = np.zeros(units.shape[1], dtype=bool)
    if max(-units.min(), units.max()) > 32767:
        beyond = np.abs(units).max(axis=0) > 32767
        units[:, beyond] -= np.median(units[:, beyond], axis=0)
    stored = np.full((signal_mv.shape[1], len(LEADS), samples), ABSENT, dtype=np.int16)
    rows = units.reshape(samples, -1, len(leads)).transpose(1, 2, 0)
    stored[:, [LEADS.index(name) for name in leads]] = np.rint(rows).clip(-32767, 32767)
    return stored, beyond.reshape(-1, len(leads))
