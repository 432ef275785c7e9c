"""How fast a MIMIC-shaped tree becomes a store, next to the usual loop, in one run; and how fast the store then is.

    python benchmarks/prepare_speed.py --records 20000

The usual loop reads a record with `wfdb.rdrecord`, resamples it with scipy's `resample_poly` and saves it with
`numpy.save`, one file per record; it does a part of the records, in turn with `lamae prepare`, which also checks,
flags, labels and packs. Both are measured by processor time, one thread each, and by the clock. Peak memory is of the
largest process, for trees of two sizes, and for a list and tables as long as those of MIMIC-IV. The store of 800,000
ECGs is a sparse file with a real index. Needs 4 GB of disk for 20,000 records.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import wfdb
from scipy.signal import resample_poly
from threadpoolctl import threadpool_limits

from lamae_toolkit.data.convert import stored_ecgs
from lamae_toolkit.data.datasets.mimic_like import ECG, write_mimic_like
from lamae_toolkit.data.format import INDEX, META, SIGNALS, patient_fold, quantized, store_meta
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.io.formats.wfdb_plain import read_alike
from lamae_toolkit.ecg.io.read import read_ecg, read_start
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS, flag_columns
from lamae_toolkit.files import write_json

PREPARE = """
import resource, sys, time
from pathlib import Path
from lamae_toolkit.data.datasets.mimic import mimic_source
from lamae_toolkit.data.prepare import prepare
if __name__ == "__main__":
    tree, out, workers, records = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    source = mimic_source(tree / "mimic-iv-ecg", hosp=tree / "mimic-iv/hosp", ed=tree / "mimic-iv-ed/ed", minimum=20)
    source.ecgs.drop(source.ecgs.index[records:], inplace=True)
    start = time.process_time()
    report = prepare(source, out, workers=workers, progress=False)
    end = time.process_time()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    mb = [usage.ru_maxrss / 1024 for usage in used]
    print(report["kept"], start, end - start + used[1].ru_utime + used[1].ru_stime, *mb)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--loop", type=int, default=2_000, help="records of the usual loop, per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; a tree that is there is used again")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp())
    tree = folder / f"tree{chosen.records}"
    if not tree.is_dir():
        write_mimic_like(tree, chosen.records, workers=chosen.workers)
    headers = sorted((tree / ECG).rglob("*.hea"))[: chosen.records]
    preparing(tree, folder, headers, chosen)
    parts_of_the_work(headers[:500])
    listing(folder, 800_000)
    opening(folder, 800_000)
    batches(Store.open(folder / "store"))
    if chosen.folder is None:
        shutil.rmtree(folder)


def preparing(tree: Path, folder: Path, headers: list[Path], chosen: argparse.Namespace) -> None:
    """The usual loop and `prepare`, in turn: by processor time per record, and by the clock with all processes."""
    usual_loop(headers[:50], folder / "loop")
    loops, alone, all_cores = [], [], []
    for _ in range(chosen.rounds):
        loops.append(usual_loop(headers[: chosen.loop], folder / "loop"))
        alone.append(run(tree, folder / "store", 1, chosen.records))
        all_cores.append(run(tree, folder / "store", chosen.workers, chosen.records))
    half = run(tree, folder / "half", chosen.workers, chosen.records // 2)
    loop_ms, prepare_ms = [1000 * cpu for cpu, _ in loops], [1000 * each.reading_s / each.kept for each in alone]
    total_ms = [1000 * (each.start_s + each.reading_s) / each.kept for each in alone]
    clock = [each.kept / each.clock_s for each in all_cores]
    rows = {
        "wfdb + resample_poly + numpy.save, ms of a processor": (loop_ms, 2),
        "lamae prepare, one process, ms of a processor": (prepare_ms, 3),
        "  ratio, round by round": (ratios(loop_ms, prepare_ms), 1),
        "with start, imports, listing and labels, ms": (total_ms, 3),
        "  ratio, round by round, with all that": (ratios(loop_ms, total_ms), 1),
        "wfdb + resample_poly + numpy.save, records/s": ([1 / clock_s for _, clock_s in loops], 0),
        f"lamae prepare, {chosen.workers} processes, all of it, records/s": (clock, 0),
    }
    print(f"{chosen.records} records, {chosen.rounds} rounds, median (range)")
    for name, (values, digits) in rows.items():
        print(f"{name:56} {summary(values, digits)}")
    for records, result in ((chosen.records // 2, half), (chosen.records, all_cores[-1])):
        print(
            f"peak memory with {records} records: {result.main_mb:.0f} MB in the main process, {result.worker_mb:.0f}"
            " in a worker"
        )


def ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [one / other for one, other in zip(theirs, ours, strict=True)]


def usual_loop(headers: list[Path], out: Path) -> tuple[float, float]:
    """Seconds per record of what most people write: of a processor, and by the clock."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start, start_cpu = time.perf_counter(), time.process_time()
    with threadpool_limits(1):
        for header in headers:
            signal_mv = wfdb.rdrecord(str(header.with_suffix(""))).p_signal
            np.save(out / f"{header.stem}.npy", resample_poly(signal_mv, 1, 5, axis=0).astype(np.float32))
    return (time.process_time() - start_cpu) / len(headers), (time.perf_counter() - start) / len(headers)


class Prepared(NamedTuple):
    """One preparation: seconds of all its processors before the reading and from then on, memory, and the clock."""

    kept: float
    start_s: float
    reading_s: float
    main_mb: float
    worker_mb: float
    clock_s: float


def run(tree: Path, out: Path, workers: int, records: int) -> Prepared:
    """One preparation in a process of its own."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "prepare_tree.py"
        script.write_text(PREPARE)
        words = [sys.executable, str(script), str(tree), str(out), str(workers), str(records)]
        start = time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        output = subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout
    return Prepared(*(float(word) for word in output.split()), time.perf_counter() - start)


@threadpool_limits.wrap(limits=1)
def parts_of_the_work(headers: list[Path]) -> None:
    """Milliseconds of a processor per record of each step, in one process, the fastest of five rounds."""
    root, files = headers[0].parents[4], [str(header.relative_to(headers[0].parents[4])) for header in headers]
    rows, layout, signal_mv = next(read_alike(headers))
    n, rate_hz, leads = len(rows), layout.sampling_rate_hz, layout.leads
    rate_to_hz, duration_s = 100.0, 10.0
    steps = {
        "the usual loop": (lambda: [usual_loop(headers[:50], Path(tempfile.gettempdir()) / "loop")], 50),
        "lamae prepare: all of what follows": (
            lambda: stored_ecgs(root, files, read_start, None, 100.0, 10.0),
            len(files),
        ),
        "  headers and samples of most records": (lambda: list(read_alike(headers)), len(files)),
        "    of these the bytes (numpy.fromfile)": (
            lambda: [np.fromfile(header.with_suffix(".dat"), dtype="<i2") for header in headers],
            len(files),
        ),
        "  quality flags": (lambda: flag_columns(signal_mv, rate_hz, leads, [()] * n), n),
        "  resample to 100 Hz and quantize": (lambda: quantized(signal_mv, rate_hz, leads, rate_to_hz, duration_s), n),
        "one record by read_ecg, as for the others": (lambda: [read_ecg(header) for header in headers[:100]], 100),
    }
    best = dict.fromkeys(steps, np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of leads that are flat or have gaps
        for _ in range(5):
            for name, (step, records) in steps.items():
                start = time.process_time()
                step()
                best[name] = min(best[name], 1000 * (time.process_time() - start) / records)
    print("ms of a processor per record, one process, the fastest of five rounds")
    for name, value in best.items():
        print(f"  {name:44} {value:.3f}")


def opening(folder: Path, ecgs: int) -> None:
    """Seconds to open a store of this many ECGs, whose signals are a sparse file."""
    store = folder / "large"
    if not store.is_dir():
        store.mkdir(parents=True)
        rng = np.random.default_rng(0)
        with open(store / SIGNALS, "wb") as file:
            file.truncate(ecgs * len(LEADS) * 1000 * 2)
        patients = rng.integers(0, ecgs // 5, ecgs)
        codes = [f"{letter}{number:02d}.{tail}" for letter in "EIJ" for number in range(40) for tail in range(3)]
        columns = {
            "patient_id": patients,
            "study_id": np.arange(ecgs),
            "age_years": rng.uniform(20, 90, ecgs),
            "sex": "F",
            "codes": [list(rng.choice(codes, 8)) for _ in range(ecgs)],
            "fold": [patient_fold(int(patient)) for patient in patients],
            "file": [f"files/p{patient}/s{study}.hea" for study, patient in enumerate(patients)],
        }
        pd.DataFrame(columns | dict.fromkeys(FLAG_COLUMNS, "")).to_parquet(store / INDEX)
        write_json(store / META, store_meta("sparse", ecgs, 100.0, 10.0))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        opened = Store.open(store)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    rows = len(opened.index)
    print(
        f"opening a store of {ecgs} ECGs: {summary(times, 2)} s; its table of {rows} rows when first asked for:"
        f" {time.perf_counter() - start:.1f} s"
    )


LIST = """
import resource, sys, time
from pathlib import Path
from lamae_toolkit.data.datasets.mimic import mimic_source
root = Path(sys.argv[1])
start = time.perf_counter()
source = mimic_source(root, hosp=root / "hosp", ed=root / "ed")
seconds = time.perf_counter() - start
mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(len(source.ecgs), seconds, mb, int(source.ecgs.labelled.sum()))
"""


def listing(folder: Path, ecgs: int) -> None:
    """Seconds and memory to list and label as many ECGs as MIMIC-IV-ECG has, from tables of MIMIC-IV's size."""
    root = folder / "tables"
    if not root.is_dir():
        _write_tables(root, ecgs)
    output = subprocess.run([sys.executable, "-c", LIST, str(root)], check=True, capture_output=True, text=True).stdout
    listed, seconds, mb, labeled = (float(word) for word in output.split())
    print(f"listing {listed:.0f} ECGs, {labeled:.0f} of them with codes: {seconds:.0f} s, {mb:.0f} MB at most")


def _write_tables(root: Path, ecgs: int) -> None:
    """Tables of random stays and codes: sizes as in MIMIC-IV, and nothing else of it."""
    rng = np.random.default_rng(0)
    (root / "hosp").mkdir(parents=True)
    (root / "ed").mkdir()
    subjects, stays, visits = ecgs // 5, 430_000, 425_000
    start = pd.Timestamp("2150-01-01")

    def times(minutes: np.ndarray) -> pd.Series:
        return pd.Series(start + pd.to_timedelta(minutes, unit="min")).dt.strftime("%Y-%m-%d %H:%M:%S")

    begun = rng.integers(0, 5_000_000, stays)
    admissions = pd.DataFrame(
        {
            "subject_id": rng.integers(0, subjects, stays),
            "hadm_id": np.arange(stays),
            "admittime": times(begun),
            "dischtime": times(begun + rng.integers(600, 20_000, stays)),
            "deathtime": "",
        }
    )
    which = rng.integers(0, stays, ecgs)  # each ECG is taken during some stay
    subject = admissions.subject_id.to_numpy()[which]
    study = np.arange(ecgs)
    pd.DataFrame(
        {
            "subject_id": subject,
            "study_id": study,
            "file_name": study,
            "ecg_time": times(begun[which] + 30),
            "path": [f"files/p{s // 10000:04d}/p{s:08d}/s{n}/{n}" for s, n in zip(subject, study, strict=True)],
        }
    ).to_csv(root / "record_list.csv", index=False)
    tables = {
        "hosp/admissions": admissions,
        "hosp/patients": pd.DataFrame(
            {"subject_id": np.arange(subjects), "gender": "F", "anchor_age": 60, "anchor_year": 2150}
        ),
        "ed/edstays": pd.DataFrame(
            {
                "subject_id": rng.integers(0, subjects, visits),
                "hadm_id": "",
                "stay_id": np.arange(visits),
                "intime": times(rng.integers(0, 5_000_000, visits)),
                "outtime": times(np.full(visits, 5_000_500)),
            }
        ),
    }
    codes = np.array([f"I{n:03d}   " for n in range(1000)])
    for name, key, of, rows in (
        ("hosp/diagnoses_icd", "hadm_id", stays, 4_750_000),
        ("ed/diagnosis", "stay_id", visits, 900_000),
    ):
        tables[name] = pd.DataFrame(
            {key: rng.integers(0, of, rows), "icd_code": rng.choice(codes, rows), "icd_version": 10}
        )
    for name, table in tables.items():
        table.to_csv(root / f"{name}.csv.gz", index=False, compression={"method": "gzip", "compresslevel": 1})


def batches(store: Store) -> None:
    """Random batches of 256 ECGs a second, in mV as the model takes them."""
    rng, rates = np.random.default_rng(0), []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(20):
            store.batch(rng.integers(0, len(store), 256))
        rates.append(20 * 256 / (time.perf_counter() - start))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"random batches of 256 from a store of {len(store)} ECGs: {summary(rates)} ECGs/s ({peak_mb:.0f} MB at most)"
    )


def summary(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
