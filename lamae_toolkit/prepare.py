"""Turning ECG files into a store: in parallel, resumable, and with an account of every record.

A source (`datasets`) lists its ECGs; the workers read, check, resample and pack them part by part. A finished part is
never done again, whatever stops the run, and a record that cannot be used is refused with its reason while the others
go on. Memory holds the list of ECGs and one part per worker, however many records there are.
"""

import json
import multiprocessing
import os
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from lamae_toolkit.ecg import LEADS, ECGError, LeadWarning, Recording
from lamae_toolkit.files import check_replaceable, take_place, write_json, written_whole
from lamae_toolkit.quality import FLAG_COLUMNS, quality_columns
from lamae_toolkit.store import INDEX, META, SIGNALS, Store, patient_fold, quantised, store_meta

REPORT_FILE, REFUSED_FILE, PLAN_FILE, PARTS = "report.json", "refused.csv", "plan.json", "parts"
ECGS_PER_PART = 500
REFUSED = ("file", "study_id", "reason", "sentence")


@dataclass(frozen=True, eq=False)
class Source:
    """The ECGs of a cohort, listed but not yet read.

    ecgs: a row per ECG: file (below root), patient_id, study_id, age_years, sex, codes, and whatever else shall be in
        the store's index; fold where the source has folds of its own.
    refused: what the source's own tables rule out, a row each, with the columns `REFUSED`.
    read: reads one file; a function that worker processes can import. The quality flags are of what it returns.
    meta: what else `store.json` shall say.
    clean: what is then done to the ECG, such as a filter; nothing if None.
    """

    name: str
    root: Path
    ecgs: pd.DataFrame
    read: Callable[[Path], Recording]
    refused: pd.DataFrame
    meta: dict
    clean: Callable[[Recording], Recording] | None = None


def prepare(
    source: Source,
    out: Path | str,
    *,
    sampling_rate_hz: float = 100.0,
    duration_s: float = 10.0,
    workers: int | None = None,
    progress: bool = True,
) -> dict:
    """Read all ECGs of a source into a store at `out`, with `report.json` and `refused.csv` inside; returns the report.

    Each ECG is checked, flagged (`quality_columns`), resampled and cut to its first `duration_s` seconds. The same call
    goes on after an interruption or a kill, and does nothing once the store is complete, which takes its name only
    then; a store of other ECGs is replaced. Raises ECGError if no ECG is left, if `out` is something else, or if
    another preparation was begun there.
    """
    out, start = Path(out).absolute(), time.perf_counter()
    check_replaceable(out, META)
    plan = _plan(source, sampling_rate_hz, duration_s)
    if (out / REPORT_FILE).is_file() and Store.open(out).meta.get("prepared") == plan:
        return json.loads((out / REPORT_FILE).read_text(encoding="utf-8"))
    working = out.with_name(out.name + ".preparing")
    _keep_plan(plan, source, working)
    workers = workers or os.cpu_count() or 1
    try:
        new = _read_parts(source, working / PARTS, sampling_rate_hz, duration_s, workers, progress)
        results = pd.concat(
            [pd.read_parquet(_table(working / PARTS, part)) for part in range(_parts(source))], ignore_index=True
        )
        kept = results.reason.to_numpy() == ""
        if not kept.any():
            raise ECGError(f"None of the {len(results)} ECGs of {source.name} could be used: {_first(results)}")
        samples = round(sampling_rate_hz * duration_s)
        _join_signals(working, [int(kept[at : at + ECGS_PER_PART].sum()) for at in _starts(source)], samples)
        index = pd.concat([source.ecgs.reset_index(drop=True), results[list(FLAG_COLUMNS)]], axis=1)[kept]
        if "fold" not in index:
            index["fold"] = [patient_fold(patient) for patient in index.patient_id]
        index.reset_index(drop=True).to_parquet(working / INDEX)
        refused = pd.concat(
            [source.refused, source.ecgs[["file", "study_id"]].reset_index(drop=True).join(results)[~kept]]
        )[list(REFUSED)]
        refused.to_csv(working / REFUSED_FILE, index=False)
        report = _report(source, index, results[kept], refused, new, time.perf_counter() - start, workers)
        write_json(working / REPORT_FILE, report)
        meta = store_meta(source.name, len(index), sampling_rate_hz, duration_s) | source.meta | {"prepared": plan}
        write_json(working / META, meta)
        for left in (*(working / PARTS).iterdir(), working / PARTS, working / PLAN_FILE):
            left.rmdir() if left.is_dir() else left.unlink()
        take_place(working, out)
    except OSError as error:
        raise ECGError(
            f"{out} could not be written ({error.strerror or error}); make room, and the same command goes on from"
            " where it stopped."
        ) from error
    Store.open(out)
    return report


# Parts: files that are there in whole or not at all.


def _starts(source: Source) -> range:
    return range(0, len(source.ecgs), ECGS_PER_PART)


def _parts(source: Source) -> int:
    return len(_starts(source))


def _table(folder: Path, part: int) -> Path:
    return folder / f"{part:06d}.parquet"


def _signals(folder: Path, part: int) -> Path:
    return folder / f"{part:06d}.int16"


def _plan(source: Source, sampling_rate_hz: float, duration_s: float) -> dict:
    """What is prepared and how: two calls with the same plan make the same store."""
    files = "\n".join(f"{file} {study}" for file, study in zip(source.ecgs.file, source.ecgs.study_id, strict=True))
    return {
        "source": source.name,
        "ecgs": f"{len(source.ecgs)}, {zlib.crc32(files.encode()):08x}",
        "sampling_rate_hz": sampling_rate_hz,
        "duration_s": duration_s,
        "ecgs_per_part": ECGS_PER_PART,
    }


def _keep_plan(plan: dict, source: Source, working: Path) -> None:
    """Write down what is prepared, or check that what was begun here is the same."""
    if (working / PLAN_FILE).is_file() and json.loads((working / PLAN_FILE).read_text(encoding="utf-8")) != plan:
        raise ECGError(f"{working} holds another preparation that was not finished; finish or delete it first.")
    if not len(source.ecgs):
        raise ECGError(f"{source.name} lists no ECG that could be read ({len(source.refused)} refused); check it.")
    write_json(working / PLAN_FILE, plan)


def _read_parts(
    source: Source, folder: Path, sampling_rate_hz: float, duration_s: float, workers: int, progress: bool
) -> int:
    """Read the parts that are not there yet, several at a time; returns how many ECGs that were."""
    folder.mkdir(exist_ok=True)
    files = source.ecgs.file.tolist()
    todo = [part for part in range(_parts(source)) if not _table(folder, part).is_file()]
    sizes = [len(files[at : at + ECGS_PER_PART]) for at in _starts(source)]
    done = len(files) - sum(sizes[part] for part in todo)
    with tqdm(total=len(files), initial=done, desc="preparing", unit="ECG", disable=not progress) as bar:

        def jobs() -> Iterator[tuple]:
            for part in todo:
                part_files = files[part * ECGS_PER_PART : (part + 1) * ECGS_PER_PART]
                yield folder, part, source.root, part_files, source.read, source.clean, sampling_rate_hz, duration_s

        if workers == 1 or len(todo) < 2:
            for job in jobs():
                bar.update(_read_part(*job))
        else:
            _side_by_side(jobs(), workers, bar)
    return len(files) - done


def _side_by_side(jobs: Iterator[tuple], workers: int, bar: tqdm) -> None:
    # Fresh processes: a forked one would inherit threads that are gone.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread)
    running: set[Future] = set()
    try:
        for job in jobs:
            running.add(pool.submit(_read_part, *job))
            if len(running) >= 2 * workers:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    bar.update(future.result())
        for future in running:
            bar.update(future.result())
    except BrokenProcessPool as error:
        raise ECGError("A worker was killed; finished parts are kept, and the same command goes on.") from error
    except KeyboardInterrupt:
        tqdm.write("Interrupted; finished parts are kept, and the same command goes on from there.")
        for process in (pool._processes or {}).values():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    threadpool_limits(1)


def _read_part(
    folder: Path,
    part: int,
    root: Path,
    files: list[str],
    read: Callable[[Path], Recording],
    clean: Callable[[Recording], Recording] | None,
    sampling_rate_hz: float,
    duration_s: float,
) -> int:
    """Read some ECGs and keep their signals and what became of each; returns how many there were."""
    results = []
    with written_whole(_signals(folder, part)) as partial, open(partial, "wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", LeadWarning)  # the flags say the same
        for name in files:
            try:
                if not (root / name).is_file():
                    raise ECGError(f"{name} is listed, but it is not there; copy it from the source.", "file missing")
                recording = read(root / name)
                packed = quantised(clean(recording) if clean else recording, sampling_rate_hz, duration_s)
                results.append({"reason": "", "sentence": "", **quality_columns(recording)})
                file.write(packed.tobytes())
            except ECGError as error:
                no_flags = dict.fromkeys(FLAG_COLUMNS, "")
                results.append({"reason": error.reason, "sentence": str(error), **no_flags})
    with written_whole(_table(folder, part)) as partial:  # last: it says that the part is complete
        pd.DataFrame(results).to_parquet(partial)
    return len(files)


def _join_signals(working: Path, kept: list[int], samples: int) -> None:
    """Append all parts to one file and delete each at once: a part that is gone is in it already."""
    row_bytes = len(LEADS) * samples * 2
    signals = working / SIGNALS
    signals.touch()
    with open(signals, "r+b") as file:
        for part, before in enumerate(np.cumsum([0, *kept[:-1]])):
            path = _signals(working / PARTS, part)
            if not path.is_file():
                continue
            file.seek(int(before) * row_bytes)
            content = path.read_bytes()
            if len(content) != kept[part] * row_bytes:
                raise ECGError(f"{path} is damaged; delete the folder {working} and prepare again.")
            file.write(content)
            file.flush()
            path.unlink()


# The account.


def _report(
    source: Source,
    index: pd.DataFrame,
    kept: pd.DataFrame,
    refused: pd.DataFrame,
    new: int,
    seconds: float,
    workers: int,
) -> dict:
    flags = {
        column.removeprefix("flag_"): dict(Counter(x for text in kept[column] if text for x in text.split(",")))
        for column in FLAG_COLUMNS
    }
    read = len(source.ecgs) + len(source.refused)
    report = {
        "source": source.name,
        "date": date.today().isoformat(),
        "read": read,
        "kept": len(index),
        "dropped": len(refused),
        "dropped_by_reason": dict(Counter(refused.reason).most_common()),
        "patients": int(index.patient_id.nunique()),
        "flagged_leads": flags,
        "ecgs_with_flags": {column.removeprefix("flag_"): int((kept[column] != "").sum()) for column in FLAG_COLUMNS},
        "read_in_this_run": new,
        "seconds": round(seconds, 1),
        "ecgs_per_s": round(new / seconds, 1),
        "workers": workers,
    }
    if report["kept"] + report["dropped"] != read:
        raise ECGError(f"The account of {source.name} does not add up; please report this.")
    return report


def _first(results: pd.DataFrame) -> str:
    """The commonest reason, with the sentence of one ECG."""
    reason = results.reason.value_counts().index[0]
    return results.sentence[results.reason == reason].iloc[0]
