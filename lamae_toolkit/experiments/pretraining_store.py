"""The store that studies pretrain on: all real ECGs at hand but PTB-XL's folds 9 and 10, and simulated ones."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Record, Store, pack

OTHER_FOLD = 0
"""The fold of all ECGs that are not of PTB-XL."""

FIRST_STUDY = {"ptbxl_mv": 1_000_000_000, "ptbxl_z": 2_000_000_000, "nine": 3_000_000_000, "ludb": 4_000_000_000}
"""Patient and study numbers of each store begin here."""
FIRST_SIMULATED = 5_000_000_000


def pretraining_store(stores: Path, out: Path, simulated_ecgs: int = 3000, *, progress: bool = True) -> Store:
    """The ECGs of pretraining in one store, made once: those of `lamae research stores` and simulated ones.

    PTB-XL's ECGs of folds 1 to 8 keep their fold; all others have fold 0. In mV except for PTB-XL's z-scored records,
    whose amplitude is marked as unknown.
    """
    if out.exists():
        return Store.open(out)
    simulated = simulate_store(out.parent / "simulated", simulated_ecgs, seed=0, progress=progress)
    parts = [(Store.open(stores / name), first) for name, first in FIRST_STUDY.items()]
    chosen = [
        (store, store.rows(range(1, 9)) if "ptbxl" in store.folder.name else np.arange(len(store)), first)
        for store, first in parts
    ]
    chosen.append((simulated, np.arange(len(simulated)), FIRST_SIMULATED))
    with tqdm(total=sum(len(rows) for _, rows, _ in chosen), desc=out.name, unit="ECG", disable=not progress) as bar:
        source = "PTB-XL's folds 1 to 8, nine sets, LUDB, simulated ECGs"
        return pack(_entries(chosen, bar), out, source=source)


def _entries(chosen: list[tuple[Store, np.ndarray, int]], bar: tqdm) -> Iterator[Record]:
    """The ECGs one after the other, with numbers of their own."""
    for store, rows, first in chosen:
        for row in rows.tolist():
            about, recording = store.index.iloc[row], store.recording(row)
            valid = int(about.get("n_valid", recording.signal_mv.shape[1]))
            signal_mv = recording.signal_mv.copy()
            # A record of less than 10 s goes on as its mirror image: a model would learn the silence otherwise.
            signal_mv[:, valid:] = signal_mv[:, 2 * valid - signal_mv.shape[1] : valid][:, ::-1]
            extra = (("amplitude_known", bool(about.get("amplitude_known", True))),)
            fold = int(about.fold) if "ptbxl" in store.folder.name else OTHER_FOLD
            study = first + row
            yield Record(replace(recording, signal_mv=signal_mv), study, study, np.nan, "", (), extra, fold=fold)
            bar.update()
