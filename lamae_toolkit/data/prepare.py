"""Turning ECG files into a store: in parallel, resumable, and with a report on every record.

A source (`datasets`) lists its ECGs; `shards` reads them. A record that cannot be used is refused with its reason while
the others continue. Memory holds the list of ECGs and one part per worker, however many records there are.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import partial
from hashlib import sha256
from math import isfinite
from pathlib import Path
from shutil import rmtree

import pandas as pd

from lamae_toolkit.checksums import CHECKSUM_FILE, write_checksums
from lamae_toolkit.data.convert import WARNINGS
from lamae_toolkit.data.format import INDEX, META, SIGNALS, in_two_folds, open_store, store_meta
from lamae_toolkit.data.shards import REFUSED, CohortSource, join_signals, read_parts, read_results
from lamae_toolkit.ecg.quality import FLAG_COLUMNS
from lamae_toolkit.ecg.recording import MAX_RATE_HZ, MIN_RATE_HZ
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import recover, replace_atomically, write_errors, write_json, writing_to

REPORT_FILE, REFUSED_FILE, WARNINGS_FILE = "report.json", "refused.csv", "warnings.csv"
PLAN_FILE, PARTS = "plan.json", "parts"
OURS = {SIGNALS, INDEX, META, CHECKSUM_FILE, REPORT_FILE, REFUSED_FILE, WARNINGS_FILE, PLAN_FILE, PARTS}


def prepare(
    source: CohortSource,
    out: Path | str,
    *,
    sampling_rate_hz: float = 100.0,
    duration_s: float = 10.0,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> dict:
    """Turn a cohort's ECG files into a store at `out`, with `report.json`, `refused.csv` and `warnings.csv` inside.

    source: what to read: `lt.data.folder_source(...)` for your own files, `ptbxl_source`, `mimic_source`.
    sampling_rate_hz, duration_s: of the store. workers: processes that read in parallel, one per core if None.
    scheduler: the address of a Dask scheduler, whose workers read instead, on any number of machines that share the
        folders of the source and of the store; the store is the same.

    Returns the report, which counts what was kept, refused and warned of; `refused.csv` and `warnings.csv` name it.
    Each ECG is checked, flagged (`quality_columns`), resampled and cut to its first `duration_s` seconds. The same call
    resumes after an interruption or a kill, and does nothing once the store is complete (`new` in the report is then
    False); the store takes its name only when it is complete. A store of the same source that was prepared in another
    way is replaced, and nothing else is. Raises ECGError if no ECG is left, if `out` is something else, or if another
    preparation was begun there.

    Example:
        import tempfile
        from pathlib import Path
        import numpy as np
        import lamae_toolkit as lt

        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "ecgs"
            root.mkdir()
            random = np.random.default_rng(1)
            ecg = lt.simulate_ecg(lt.sample_patient(1, random), random).recording
            np.savez(root / "1.npz", signal=ecg.signal_mv, sampling_rate_hz=500, unit="mV", leads=ecg.leads)
            report = lt.prepare(lt.data.folder_source(root), Path(folder) / "store", workers=1, progress=False)
            print(report["kept"], "kept,", report["dropped"], "refused")
    """
    out, start = Path(out).resolve(), time.perf_counter()
    _check_shape(sampling_rate_hz, duration_s)
    if not len(source.ecgs):
        first = "".join(f", the first, {one.file}: {one.sentence}" for one in source.refused.head(1).itertuples())
        raise ECGError(
            f"{source.name} lists no ECG that could be read ({len(source.refused)} refused{first}); check it."
        )
    if in_two_folds(source.ecgs.patient_id.to_numpy(), source.ecgs.fold.to_numpy()):
        raise ECGError(f"{source.name} has a patient in two folds, which would leak; correct its table of folds.")
    plan = _plan(source, sampling_rate_hz, duration_s)
    working = out.with_name(out.name + ".preparing")
    with writing_to(out), write_errors(out, "finished parts are kept, and the same command resumes"):
        meta = _checked_meta(out, source)
        _remove_replaced(working)
        if meta.get("prepared") == plan and _is_complete(out):
            _clear(out)
            return _json(out / REPORT_FILE) | {"new": False}
        _keep_plan(plan, working)
        workers = workers or os.cpu_count() or 1
        new = read_parts(source, working / PARTS, sampling_rate_hz, duration_s, workers, progress, scheduler)
        results = read_results(source, working / PARTS)
        kept = results.reason.to_numpy() == ""
        if not kept.any():
            _clear(working)
            working.rmdir()
            raise ECGError(
                f"None of the {len(results)} ECGs of {source.name} could be used: {_most_frequent_reason(results)}"
            )
        by_part = [int(kept[at : at + source.starts().step].sum()) for at in source.starts()]
        join_signals(working / PARTS, working / SIGNALS, by_part, round(sampling_rate_hz * duration_s))
        ecgs = source.ecgs.reset_index(drop=True)
        index = pd.concat([ecgs, results[[*FLAG_COLUMNS, WARNINGS]]], axis=1)[kept].reset_index(drop=True)
        index.to_parquet(working / INDEX)
        warned = _warned(index)
        warned.to_csv(working / WARNINGS_FILE, index=False)
        refused = pd.concat([source.refused, ecgs[["file", "study_id"]].join(results)[~kept]])[list(REFUSED)]
        refused.to_csv(working / REFUSED_FILE, index=False)
        report = _report(source, index, refused, warned, new, time.perf_counter() - start)
        write_json(working / REPORT_FILE, report)
        meta = store_meta(source.name, len(index), sampling_rate_hz, duration_s) | source.meta | {"prepared": plan}
        write_json(working / META, meta)
        write_checksums(working, (META, INDEX, SIGNALS))
        if not _is_complete(working):  # before it replaces another one
            raise ECGError(f"The store in {working} is damaged; delete this folder and prepare again.")
        _clear(out)  # or the store that is replaced would be taken for an unfinished preparation, after a kill
        replace_atomically(working, out)
        _clear(out)
    return report | {"new": True}


# Only folders that this command made are changed.


def _check_shape(sampling_rate_hz: float, duration_s: float) -> None:
    if not MIN_RATE_HZ <= sampling_rate_hz <= MAX_RATE_HZ:
        raise ECGError(f"A store cannot have {sampling_rate_hz:g} Hz; choose {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz.")
    if not (isfinite(duration_s) and round(sampling_rate_hz * duration_s) >= 1):
        raise ECGError(f"A store cannot hold ECGs of {duration_s:g} s; choose a number of seconds above 0.")


def _checked_meta(out: Path, source: CohortSource) -> dict:
    """`store.json` of the store that exists already, {} if there is none; ECGError for any other folder."""
    if out.is_file() or os.path.ismount(out):
        raise ECGError(f"{out} cannot become the folder of a store; choose a new one.")
    if not out.is_dir() or not any(out.iterdir()):
        return {}
    others = sorted(path.name for path in out.iterdir() if path.name not in OURS)
    if others or not (out / META).is_file():
        what = f"such as {others[0]}" if others else "and is not a store"
        raise ECGError(f"{out} is a folder with other files, {what}; choose a new one.")
    meta = _json(out / META)
    if meta.get("source") != source.name:
        raise ECGError(f"{out} is a store of {meta.get('source')}, not of {source.name}; choose a new folder.")
    return meta


def _remove_replaced(working: Path) -> None:
    """Remove a store that was replaced, if a process was killed before it could do so: a store, but without a plan."""
    if (working / META).is_file() and {path.name for path in working.iterdir()} <= OURS - {PLAN_FILE, PARTS}:
        rmtree(working)


def _is_complete(folder: Path) -> bool:
    """Whether this is a store that can be opened."""
    try:
        open_store(folder)  # and close it at once: Windows does not move a folder with an open file
    except ECGError:
        return False
    return True


def _clear(folder: Path) -> None:
    """Remove the files that only the preparation needs."""
    if (folder / PARTS).is_dir():
        rmtree(folder / PARTS)
    (folder / PLAN_FILE).unlink(missing_ok=True)


def _json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ECGError(f"{path} is missing or damaged; delete the folder {path.parent} and prepare again.") from error
    if not isinstance(values, dict):
        raise ECGError(f"{path} is damaged; delete the folder {path.parent} and prepare again.")
    return values


def _plan(source: CohortSource, sampling_rate_hz: float, duration_s: float) -> dict:
    """What is prepared and how: two calls with the same plan make the same store."""
    digest = sha256(json.dumps(source.meta, default=str).encode())
    for name, column in source.ecgs.items():
        values = column.map(str) if column.dtype == object else column
        digest.update(str(name).encode() + pd.util.hash_pandas_object(values, index=False).to_numpy().tobytes())
    return {
        "source": source.name,
        "root": str(source.root.resolve()),
        "read": [_describe(source.read), _describe(source.clean)],
        "ecgs": f"{len(source.ecgs)}, {digest.hexdigest()}",
        "sampling_rate_hz": sampling_rate_hz,
        "duration_s": duration_s,
        "ecgs_per_part": source.starts().step,
    }


def _describe(function: Callable | None) -> str:
    """The name of a function, with the options bound to it."""
    if isinstance(function, partial):
        return f"{function.func.__qualname__} {sorted(function.keywords.items())}"
    return "" if function is None else function.__qualname__


def _keep_plan(plan: dict, working: Path) -> None:
    """Write the plan, or check that an unfinished preparation has the same plan."""
    recover(working / PLAN_FILE)
    if (working / PLAN_FILE).is_file():
        if _json(working / PLAN_FILE) != plan:
            raise ECGError(f"{working} holds another preparation that was not finished; finish or delete it first.")
    elif working.exists() and (not working.is_dir() or any(working.iterdir())):
        raise ECGError(f"{working} exists and was not made by this command; move it, or choose another folder.")
    else:
        write_json(working / PLAN_FILE, plan)


# The report.


def _warned(index: pd.DataFrame) -> pd.DataFrame:
    """The warnings of all ECGs, one row each."""
    table = index.loc[index[WARNINGS] != "", ["file", "study_id", WARNINGS]]
    table = table.assign(**{WARNINGS: table[WARNINGS].str.split("\n")}).explode(WARNINGS, ignore_index=True)
    kinds = table.pop(WARNINGS).astype(str).str.split(": ", n=1, expand=True).reindex(columns=[0, 1])
    return table.assign(kind=kinds[0], sentence=kinds[1])


def _report(
    source: CohortSource, index: pd.DataFrame, refused: pd.DataFrame, warned: pd.DataFrame, new: int, seconds: float
) -> dict:
    flagged = {
        column.removeprefix("flag_"): dict(Counter(x for text in index[column] if text for x in text.split(",")))
        for column in FLAG_COLUMNS
    }
    read = len(source.ecgs) + len(source.refused)
    if len(index) + len(refused) != read:
        raise ECGError(f"The report on {source.name} does not add up; please report this.")
    return {
        "source": source.name,
        "date": date.today().isoformat(),
        "read": read,
        "kept": len(index),
        "dropped": len(refused),
        "dropped_by_reason": dict(Counter(refused.reason).most_common()),
        "passed_over": source.passed_over,
        "ecgs_with_warnings": warned.drop_duplicates(["file", "kind"]).kind.value_counts().to_dict(),
        "patients": int(index.patient_id.nunique()),
        "flagged_leads": flagged,
        "ecgs_with_flags": {column.removeprefix("flag_"): int((index[column] != "").sum()) for column in FLAG_COLUMNS},
        "read_in_this_run": new,
        "seconds": round(seconds, 1),
        "ecgs_per_s": round(new / max(seconds, 1e-3), 1),
    }


def _most_frequent_reason(results: pd.DataFrame) -> str:
    """The most frequent reason, in the sentence of one ECG."""
    reason = results.reason.value_counts().index[0]
    return results.sentence[results.reason == reason].iloc[0]
