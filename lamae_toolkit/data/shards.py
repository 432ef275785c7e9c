"""Reading the ECGs of a source part by part, several parts in parallel: a part is complete or absent.

A part is two files: its signals, and a table of the result for each ECG, which is written last and marks the part
as complete. Finished parts are never read again after an interruption. Finally their signals are joined in one file.
"""

import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from lamae_toolkit.data.cluster import run_on_cluster
from lamae_toolkit.data.convert import stored_ecgs
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError, LeadWarning
from lamae_toolkit.files import atomic_write
from lamae_toolkit.parallel import MAX_WORKERS, worker_pool

ECGS_PER_PART = 500
VISIBLE_S = 60.0

REFUSED = ("file", "study_id", "reason", "sentence")
"""The columns of the table of refused ECGs."""


@dataclass(frozen=True, eq=False)
class CohortSource:
    """The ECGs of a cohort, listed but not yet read.

    ecgs: one row per ECG with file (below root), patient_id, study_id, age_years, sex, codes, fold, and further columns
        of the store's index.
    refused: ECGs that the source's own tables exclude, one row each, with the columns `REFUSED`.
    read: reads the first seconds, as many as its second argument says or what there is, of one file; a function that
        worker processes can import, such as `read_start`. Quality flags are computed from its result.
    meta: further entries of `store.json`.
    clean: processing after reading, such as a filter; None for none.
    passed_over: how many files are no ECG, by their suffix.
    """

    name: str
    root: Path
    ecgs: pd.DataFrame
    read: Callable[[Path, float], Recording]
    refused: pd.DataFrame
    meta: dict
    clean: Callable[[Recording], Recording] | None = None
    passed_over: dict[str, int] = field(default_factory=dict)

    def starts(self) -> range:
        """The row at which each part begins."""
        return range(0, len(self.ecgs), ECGS_PER_PART)


def is_inside(path: object) -> bool:
    """Whether a path that a table lists stays below the folder of the source, on any system."""
    if not isinstance(path, str) or "\\" in path or "\0" in path:
        return False
    parts = PurePosixPath(path)
    return bool(parts.parts) and not parts.is_absolute() and ".." not in parts.parts and ":" not in parts.parts[0]


def part_table(folder: Path, part: int) -> Path:
    """The result for each ECG of a part."""
    return folder / f"{part:06d}.parquet"


def part_signals(folder: Path, part: int) -> Path:
    """The signals of the ECGs of a part that were kept."""
    return folder / f"{part:06d}.int16"


def read_parts(
    source: CohortSource,
    folder: Path,
    sampling_rate_hz: float,
    duration_s: float,
    workers: int,
    progress: bool,
    scheduler: str | None = None,
) -> int:
    """Read the parts that are not in `folder` yet; returns their number of ECGs.

    workers: processes of this machine; or scheduler: the address of a Dask scheduler, whose workers read instead.
    """
    folder.mkdir(exist_ok=True)
    files, starts = source.ecgs.file.tolist(), source.starts()
    todo = [part for part in range(len(starts)) if not part_table(folder, part).is_file()]
    done = len(files) - sum(len(files[starts[part] : starts[part] + ECGS_PER_PART]) for part in todo)
    workers = min(workers, len(todo), MAX_WORKERS)
    root = source.root.resolve()
    with tqdm(total=len(files), initial=done, desc="preparing", unit="ECG", disable=not progress) as bar:

        def jobs() -> Iterator[tuple]:
            for part in todo:
                part_files = files[starts[part] : starts[part] + ECGS_PER_PART]
                yield folder, part, root, part_files, source.read, source.clean, sampling_rate_hz, duration_s

        if scheduler is not None:
            _on_cluster(jobs(), scheduler, bar)
        elif workers <= 1:
            for job in jobs():
                bar.update(_read_part(*job))
        else:
            _in_parallel(jobs(), workers, bar)
    return len(files) - done


def _in_parallel(jobs: Iterator[tuple], workers: int, bar: tqdm) -> None:
    running: set[Future] = set()
    try:
        with worker_pool(workers, "finished parts are kept", uses_torch=False) as pool:
            for job in jobs:
                running.add(pool.submit(_read_part, *job))
                if len(running) >= 2 * workers:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        bar.update(future.result())
            for future in running:
                bar.update(future.result())
    except BrokenProcessPool as error:
        raise ECGError("A worker was killed; finished parts are kept, and the same command resumes.") from error


def _on_cluster(jobs: Iterator[tuple], scheduler: str, bar: tqdm) -> None:
    try:
        for (folder, part, *_), ecgs in run_on_cluster(_read_part_elsewhere, jobs, scheduler):
            end = time.monotonic() + VISIBLE_S
            while not part_table(folder, part).is_file():  # a network file system may take some seconds
                if time.monotonic() > end:
                    raise ECGError(
                        f"A worker wrote a part that is not in {folder} on this machine; give a folder for the store on"
                        " a file system that all machines share."
                    )
                time.sleep(0.1)
            bar.update(ecgs)
    except KeyboardInterrupt:
        tqdm.write("Interrupted; finished parts are kept, and the same command resumes.")
        raise


def _read_part_elsewhere(folder: Path, part: int, root: Path, *job: object) -> int:
    """`_read_part` on a machine that may not see the same files."""
    for path in (folder, root):
        if not path.is_dir():
            raise ECGError(
                f"The worker on {platform.node()} does not see the folder {path}; the ECGs and the store belong on a"
                " file system that all machines share, at the same path."
            )
    with threadpool_limits(1):  # threads that synchronize are slower than independent tasks
        return _read_part(folder, part, root, *job)  # type: ignore[arg-type]


def _read_part(
    folder: Path,
    part: int,
    root: Path,
    files: list[str],
    read: Callable[[Path, float], Recording],
    clean: Callable[[Recording], Recording] | None,
    sampling_rate_hz: float,
    duration_s: float,
) -> int:
    """Read some ECGs and keep their signals and the result for each; returns their number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeadWarning)  # the results contain the same
        stored, results = stored_ecgs(root, files, read, clean, sampling_rate_hz, duration_s)
    with atomic_write(part_signals(folder, part)) as partial:
        stored[[not result["reason"] for result in results]].tofile(partial)
    with atomic_write(part_table(folder, part)) as partial:  # last: it marks the part as complete
        pd.DataFrame(results).to_parquet(partial)
    return len(files)


def read_results(source: CohortSource, folder: Path) -> pd.DataFrame:
    """The result for each ECG of the source, row by row: reason, sentence and flags."""
    tables = []
    for part in range(len(source.starts())):
        try:
            tables.append(pd.read_parquet(part_table(folder, part)))
        except (OSError, pyarrow.ArrowException) as error:
            raise ECGError(
                f"{part_table(folder, part)} is damaged; delete this file, and the same command reads its ECGs again."
            ) from error
    return pd.concat(tables, ignore_index=True)


def join_signals(folder: Path, signals: Path, kept: list[int], samples: int) -> None:
    """Append the signals of all parts to one file and delete each: a missing part is already in the file."""
    row_bytes = len(LEADS) * samples * 2
    signals.touch()
    with open(signals, "r+b") as file:
        for part, before in enumerate(np.cumsum([0, *kept[:-1]])):
            path = part_signals(folder, part)
            if not path.is_file():
                continue
            file.seek(int(before) * row_bytes)
            content = path.read_bytes()
            if len(content) != kept[part] * row_bytes:
                raise ECGError(f"{path} is damaged; delete the folder {folder.parent} and prepare again.")
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # before the only other copy is deleted
            path.unlink()
        file.truncate(sum(kept) * row_bytes)
