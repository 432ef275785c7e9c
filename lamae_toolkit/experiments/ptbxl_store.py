"""The store of PTB-XL that the studies use, also with an archive of records that were z-scored already."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
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

RATE_HZ = 100.0


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
    both contain are taken from `root`, one unit of the store is a standard deviation, not a millivolt, and the
    amplitude of its ECGs is marked as unknown.
    metadata: the table that describes the records of the archive; `root`'s own if None.
    """
    root = Path(root)
    listed, more = ptbxl_source(root), None if zscored is None else read_archive(Path(zscored))
    if len(listed.refused):
        raise ECGError(f"{listed.refused.file.iloc[0]}: {listed.refused.sentence.iloc[0]}")
    new = np.array([]) if more is None else np.flatnonzero(~np.isin(more["ecg_id"], listed.ecgs.study_id))

    def records() -> Iterator[Record]:
        for file, about in zip(listed.ecgs.file, listed.ecgs.drop(columns="file").to_dict("records"), strict=True):
            original = read_ecg(root / file)
            recording = resample(filtered(original), RATE_HZ)
            flags = quality_columns(original)
            if more is None:
                yield _record(recording, about, flags)
            else:
                yield _record(standardized(recording), about, {**flags, "amplitude_known": False})
        if more is None:
            return
        superclass_of = superclass_by_statement(root / TABLES[1])
        table = read_database(Path(metadata or root / TABLES[0]))
        for signal, ecg_id in zip(more["x"][new], more["ecg_id"][new], strict=True):
            if ecg_id not in table.index:
                raise ECGError(
                    f"Record {ecg_id} of {zscored} is not in the table of metadata; give the complete table."
                )
            recording = Recording(signal.astype(np.float32), RATE_HZ, LEADS)
            about = index_row(int(ecg_id), table.loc[ecg_id], superclass_of)
            # Without millivolts, noise and flat stretches cannot be recognized.
            yield _record(recording, about, {**dict.fromkeys(FLAG_COLUMNS, ""), "amplitude_known": False})

    source = "PTB-XL" if more is None else "PTB-XL, each lead divided by its standard deviation"
    bar = tqdm(records(), total=len(listed.ecgs) + len(new), desc="packing PTB-XL", unit="ECG", disable=not progress)
    return pack(iter(bar), folder, source=source, sampling_rate_hz=RATE_HZ)


def _record(recording: Recording, about: dict, more: Mapping[str, str | bool]) -> Record:
    extra = {**{name: about.pop(name) for name in ("superclasses", "statements")}, **more}
    return Record(recording, extra=tuple(extra.items()), **about)


def standardized(recording: Recording) -> Recording:
    """The same ECG with mean 0 and standard deviation 1 in each lead; a flat lead is 0."""
    mean = recording.signal_mv.mean(axis=1, keepdims=True)
    deviation = recording.signal_mv.std(axis=1, keepdims=True)
    deviation[deviation == 0] = 1
    return Recording((recording.signal_mv - mean) / deviation, recording.sampling_rate_hz, recording.leads)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """The signals (x) and numbers (ecg_id) of an archive of z-scored ECGs; ECGError if it is none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("x", "ecg_id")}
    except (OSError, ValueError, KeyError) as error:
        raise ECGError(f"{path} is not an archive of z-scored ECGs with x and ecg_id ({error}).") from error
