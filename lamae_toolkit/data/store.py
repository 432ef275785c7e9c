"""A cohort on disk: one memory-mapped int16 array of all signals, and a table of patients and codes."""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet as pq
import torch
from jaxtyping import Int16, Int64
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import crop, resample
from lamae_toolkit.ecg.quality import quality_columns
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import atomic_write, write_json

VERSION, FOLDS = 1, 20
SIGNALS, INDEX, META = "signals.int16", "index.parquet", "store.json"
MV_PER_UNIT = 1e-3
ABSENT = np.int16(-32768)
INDEX_COLUMNS = ("patient_id", "study_id", "age_years", "sex", "codes", "fold")


@dataclass(frozen=True)
class Record:
    """One ECG to be written to a store: the signal, the patient, and the ICD-10 codes.

    sex: "F", "M" or "" if unknown. age_years: NaN if unknown. fold: if the source has patient-wise folds of its
    own; else it is computed from the patient's number. `extra` becomes further columns of the index.
    """

    recording: Recording
    patient_id: int
    study_id: int
    age_years: float
    sex: str
    codes: tuple[str, ...]
    extra: tuple[tuple[str, object], ...] = ()
    fold: int | None = None


def patient_fold(patient_id: int) -> int:
    """The fold of a patient, 0 to 19, from the patient's number alone: no patient is on two sides of a split."""
    return zlib.crc32(f"patient {patient_id}".encode()) % FOLDS


class Store:
    """A cohort on disk, ready for training: all signals as one int16 array, and a table of patients and codes.

    A folder of three files, made by `prepare` or `simulate_store`. Signals are in units of 0.001 mV, with leads in the
    order of `LEADS`.

    signals: (b, l, t), memory-mapped. An absent lead is a row of the value -32768. folds: (b,), the patient-wise fold
        of each ECG.
    meta: what `store.json` holds: the source of the ECGs, their number, samples, sampling rate in Hz and more.
    index: a table with patient_id, study_id, age_years, sex, codes (ICD-10, a list), fold, and the quality flags
        `FLAG_COLUMNS`, row by row with the signals; read on first use, so that a store of 800,000 ECGs
        opens at once.

    `Store.open(folder)` opens one and raises ECGError if it is damaged or not a store.

    Example:
        import tempfile
        import lamae_toolkit as lt

        with tempfile.TemporaryDirectory() as folder:
            lt.simulate_store(folder + "/store", ecgs=4, workers=1, progress=False)
            store = lt.Store.open(folder + "/store")
            print(len(store), store.sampling_rate_hz, store.index[["age_years", "sex", "codes"]])
            print(store.recording(0).leads, store.batch([0, 1]).signal_mv.shape)
            del store  # Windows deletes no file that is open
    """

    def __init__(self, folder: Path, meta: dict, folds: np.ndarray, signals: np.ndarray) -> None:
        self.folder, self.meta, self.folds, self.signals = folder, meta, folds, signals

    @classmethod
    def open(cls, folder: Path | str) -> "Store":
        """Open a store and check that its parts belong together; ECGError if they do not."""
        folder = Path(folder)
        if not (folder / META).is_file():
            raise ECGError(f"{folder} is not a store: it has no {META}; give the folder that a cohort was prepared to.")
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            version, ecgs, samples = meta["version"], int(meta["ecgs"]), int(meta["samples"])
        except (ValueError, KeyError, TypeError) as error:
            raise ECGError(f"{folder / META} is damaged; pack the cohort again.") from error
        if version != VERSION:
            raise ECGError(
                f"{folder} is a store of version {version}, but this toolkit reads version {VERSION};"
                " pack the cohort again."
            )
        try:
            with pq.ParquetFile(folder / INDEX) as file:
                index_rows, columns = file.metadata.num_rows, file.schema_arrow.names
                missing = [name for name in INDEX_COLUMNS if name not in columns]
                table = None if missing else file.read(["patient_id", "fold"])
        except (OSError, pyarrow.ArrowException) as error:
            raise ECGError(f"The index {folder / INDEX} is missing or damaged; pack the cohort again.") from error
        if table is None:
            raise ECGError(f"The index of {folder} lacks the column {missing[0]}; pack the cohort again.")
        wanted = ecgs * len(LEADS) * samples * 2
        size = (folder / SIGNALS).stat().st_size if (folder / SIGNALS).is_file() else 0
        if index_rows != ecgs or size != wanted:
            raise ECGError(
                f"{folder} should hold {ecgs} ECGs, but its index has {index_rows} rows and {SIGNALS} has {size} of"
                f" {wanted} bytes; pack the cohort again."
            )
        patients, folds = (table[name].to_numpy() for name in ("patient_id", "fold"))
        if in_two_folds(patients, folds):
            raise ECGError(f"A patient of {folder} is in two folds, which would leak; pack the cohort again.")
        signals = np.memmap(folder / SIGNALS, dtype=np.int16, mode="r", shape=(ecgs, len(LEADS), samples))
        return cls(folder, meta, folds, signals)

    @cached_property
    def index(self) -> pd.DataFrame:
        """The table of the ECGs: patient, age, sex, codes, fold and quality flags."""
        try:
            return pd.read_parquet(self.folder / INDEX)
        except (OSError, pyarrow.ArrowException) as error:
            raise ECGError(f"The index {self.folder / INDEX} is damaged; pack the cohort again.") from error

    def __len__(self) -> int:
        return len(self.signals)

    @property
    def sampling_rate_hz(self) -> float:
        """Samples per second of every ECG in the store."""
        return float(self.meta["sampling_rate_hz"])

    def batch(self, rows: Sequence[int] | np.ndarray, device: torch.device | str = "cpu") -> Batch:
        """These ECGs, scaled to mV on the device; ECGError if one has no lead."""
        return unpacked(torch.from_numpy(self.packed(np.asarray(rows, dtype=np.int64))).to(device))

    def packed(self, rows: Int64[np.ndarray, " b"]) -> Int16[np.ndarray, "b 12 t"]:
        """These ECGs as they are stored; ECGError if one has no lead."""
        outside = rows[(rows < -len(self)) | (rows >= len(self))]
        if len(outside):
            raise ECGError(f"Row {outside[0]} is not among the {len(self)} ECGs of {self.folder}.")
        packed = np.take(self.signals, rows, axis=0)
        if not (packed[:, :, 0] != ABSENT).any(axis=1).all():
            raise ECGError("An ECG of this batch has no usable lead; leave it out.")
        return packed

    def recording(self, row: int) -> Recording:
        """One ECG with the leads that it has."""
        stored = self.signals[row]
        valid = np.flatnonzero(stored[:, 0] != ABSENT)
        signal_mv = stored[valid].astype(np.float32) * np.float32(MV_PER_UNIT)
        return Recording(signal_mv, self.sampling_rate_hz, tuple(LEADS[lead] for lead in valid))

    def rows(self, folds: Iterable[int]) -> np.ndarray:
        """The rows of the ECGs in these folds."""
        return np.flatnonzero(np.isin(self.folds, list(folds)))


def unpacked(stored: Int16[Tensor, "b 12 t"]) -> Batch:
    """ECGs as they are stored, on whatever device, as a batch in mV: an absent lead is 0 and False in the lead mask."""
    lead_mask = stored[:, :, 0] != int(ABSENT)
    return Batch(stored * lead_mask[:, :, None] * MV_PER_UNIT, lead_mask)


def in_two_folds(patients: np.ndarray, folds: np.ndarray) -> bool:
    """Whether any patient has ECGs in more than one fold."""
    order = np.argsort(patients, kind="stable")
    patients, folds = patients[order], folds[order]
    return bool(((patients[1:] == patients[:-1]) & (folds[1:] != folds[:-1])).any())


def pack(
    records: Iterable[Record],
    folder: Path | str,
    *,
    source: str,
    sampling_rate_hz: float = 100.0,
    duration_s: float = 10.0,
) -> Store:
    """Write a cohort to a store, one ECG after the other, and open it.

    Each ECG is resampled, its first `duration_s` seconds are kept, and its amplitude is clipped at ±32.7 mV, after an
    electrode offset (the median) is subtracted from a lead that would exceed this. A shorter ECG is refused (ECGError),
    as are a study number that is given twice and an empty cohort. The store appears under its name only when it is
    complete; an existing store is replaced, any other folder is refused.
    """
    rows: list[dict] = []
    studies: set[int] = set()
    with atomic_write(folder, replaces=META) as partial:
        partial.mkdir()
        with open(partial / SIGNALS, "wb") as file:
            for record in records:
                if record.study_id in studies:
                    raise ECGError(f"Study {record.study_id} is listed twice; give every ECG a number of its own.")
                studies.add(record.study_id)
                try:
                    file.write(quantized(record.recording, sampling_rate_hz, duration_s).tobytes())
                except ECGError as error:
                    raise ECGError(f"Study {record.study_id}: {error}", error.reason) from error
                rows.append(
                    {
                        "patient_id": record.patient_id,
                        "study_id": record.study_id,
                        "age_years": record.age_years,
                        "sex": record.sex,
                        "codes": list(record.codes),
                        "fold": patient_fold(record.patient_id) if record.fold is None else record.fold,
                        **quality_columns(record.recording),
                        **dict(record.extra),
                    }
                )
        if not rows:
            raise ECGError(f"There is no ECG to pack into {folder}.")
        pd.DataFrame(rows).to_parquet(partial / INDEX)
        write_json(partial / META, store_meta(source, len(rows), sampling_rate_hz, duration_s))
    return Store.open(folder)


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


def quantized(recording: Recording, sampling_rate_hz: float, duration_s: float) -> Int16[np.ndarray, "12 t"]:
    """One ECG as it is stored: int16, all twelve leads, -32768 where a lead is absent. ECGError if it is too short."""
    samples = round(sampling_rate_hz * duration_s)
    # Half a sample of slack, at the ECG's own rate and the store's: a 9.998-s record at 500 Hz is 10 s long.
    if recording.duration_s < duration_s - 0.5 / min(recording.sampling_rate_hz, sampling_rate_hz):
        raise ECGError(
            f"The ECG lasts {recording.duration_s:g} s, but this store holds ECGs of {duration_s:g} s; leave it out or"
            " pack shorter ones.",
            "too short",
        )
    cropped = crop(recording, 0.0, min(duration_s, recording.duration_s))
    units = resample(cropped, sampling_rate_hz).signal_mv[:, :samples] * np.float32(1 / MV_PER_UNIT)
    if units.shape[1] < samples:
        units = np.pad(units, ((0, 0), (0, samples - units.shape[1])), mode="edge")
    too_high = max(-units.min(), units.max()) > 32767
    if too_high:
        beyond = np.abs(units).max(axis=1, keepdims=True) > 32767
        units = units - np.where(beyond, np.median(units, axis=1, keepdims=True), 0.0)
    packed = np.full((len(LEADS), samples), ABSENT, dtype=np.int16)
    packed[[LEADS.index(name) for name in recording.leads]] = np.rint(units).clip(-32767, 32767)
    return packed
