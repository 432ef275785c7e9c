"""A cohort on disk: one memory-mapped int16 array of all signals, and a table of patients and codes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int16, Int64
from torch import Tensor

from lamae_toolkit.checksums import write_checksums
from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.format import (
    ABSENT,
    INDEX,
    META,
    MV_PER_UNIT,
    SIGNALS,
    kept_samples,
    open_store,
    patient_fold,
    quantized,
    read_index,
    store_meta,
)
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import quality_columns
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import atomic_write, write_json, writing_to


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
        return cls(Path(folder), *open_store(Path(folder)))

    @cached_property
    def index(self) -> pd.DataFrame:
        """The table of the ECGs: patient, age, sex, codes, fold and quality flags."""
        return read_index(self.folder)

    def __len__(self) -> int:
        return len(self.signals)

    @property
    def sampling_rate_hz(self) -> float:
        """Samples per second of every ECG in the store."""
        return float(self.meta["sampling_rate_hz"])

    @cached_property
    def amplitude_known(self) -> Bool[np.ndarray, " b"] | None:
        """Which ECGs are in mV, (b,); None if all are. The column `amplitude_known` says so where some are not."""
        if not self.meta.get("amplitude_unknown"):
            return None
        return self.index.amplitude_known.to_numpy(dtype=bool)

    def batch(self, rows: Sequence[int] | np.ndarray, device: torch.device | str = "cpu") -> Batch:
        """These ECGs, scaled to mV on the device; ECGError if one has no lead."""
        rows = np.asarray(rows, dtype=np.int64)
        return unpacked(torch.from_numpy(self.packed(rows)).to(device), self.known_of(rows, device))

    def known_of(self, rows: Int64[np.ndarray, " b"], device: torch.device | str = "cpu") -> Bool[Tensor, " b"] | None:
        """`amplitude_known` of these ECGs, on the device."""
        return None if self.amplitude_known is None else torch.from_numpy(self.amplitude_known[rows]).to(device)

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


def unpacked(stored: Int16[Tensor, "b 12 t"], amplitude_known: Bool[Tensor, " b"] | None = None) -> Batch:
    """ECGs as they are stored, on whatever device, as a batch in mV: an absent lead is 0 and False in the lead mask.

    amplitude_known: as in `Batch`.
    """
    lead_mask = stored[:, :, 0] != int(ABSENT)
    return Batch(stored * lead_mask[:, :, None] * MV_PER_UNIT, lead_mask, amplitude_known=amplitude_known)


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
    with writing_to(folder), atomic_write(folder, replaces=META) as partial:
        partial.mkdir()
        with open(partial / SIGNALS, "wb") as file:
            for record in records:
                if record.study_id in studies:
                    raise ECGError(f"Study {record.study_id} is listed twice; give every ECG a number of its own.")
                studies.add(record.study_id)
                try:
                    recording, rate_hz = record.recording, record.recording.sampling_rate_hz
                    samples = kept_samples(recording.signal_mv.shape[1], rate_hz, sampling_rate_hz, duration_s)
                    kept_mv = recording.signal_mv.T[:samples, None]
                    stored, _ = quantized(kept_mv, rate_hz, recording.leads, sampling_rate_hz, duration_s)
                    file.write(stored.tobytes())
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
        unknown = {} if all(row.get("amplitude_known", True) for row in rows) else {"amplitude_unknown": True}
        write_json(partial / META, store_meta(source, len(rows), sampling_rate_hz, duration_s) | unknown)
        write_checksums(partial, (META, INDEX, SIGNALS))
    return Store.open(folder)
