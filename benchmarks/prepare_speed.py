"""How fast a MIMIC-shaped tree becomes a store, next to the usual loop, in one run; and how fast the store then is.

    python benchmarks/prepare_speed.py --records 20000

The usual loop reads a record with `wfdb.rdrecord`, resamples it with scipy's `resample_poly` and saves it with
`numpy.save`, one file per record; it does a part of the records, in turn with `lamae prepare`, which also checks,
flags, labels and packs. Peak memory is of the largest process, for trees of two sizes, and for a list and tables as
long as those of MIMIC-IV. The store of 800,000 ECGs is a sparse file with a real index. Needs 4 GB of disk for 20,000
records.
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

import numpy as np
import pandas as pd
import wfdb
from scipy.signal import resample_poly

from lamae_toolkit.data.datasets.mimic_like import ECG, write_mimic_like
from lamae_toolkit.data.format import INDEX, META, SIGNALS, patient_fold, quantized, store_meta
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS, quality_columns
from lamae_toolkit.files import write_json

PREPARE = """
import resource, sys, time
from pathlib import Path
from lamae_toolkit.data.datasets.mimic import mimic_source
from lamae_toolkit.data.prepare import prepare
if __name__ == "__main__":
    tree, out, workers, records = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    start = time.perf_counter()
    source = mimic_source(tree / "mimic-iv-ecg", hosp=tree / "mimic-iv/hosp", ed=tree / "mimic-iv-ed/ed", minimum=20)
    source.ecgs.drop(source.ecgs.index[records:], inplace=True)
    listed = time.perf_counter()
    report = prepare(source, out, workers=workers, progress=False)
    end = time.perf_counter()
    mb = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(report["kept"], listed - start, end - listed, *mb)
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
    """Records per second of the usual loop and of `prepare`, in turn."""
    usual_loop(headers[:50], folder / "loop")
    loops, whole = [], []
    for _ in range(chosen.rounds):
        loops.append(usual_loop(headers[: chosen.loop], folder / "loop"))
        whole.append(run(tree, folder / "store", chosen.workers, chosen.records))
    half = run(tree, folder / "half", chosen.workers, chosen.records // 2)
    rate = [kept / (listing + seconds) for kept, listing, seconds, *_ in whole]
    ratio = [ours / theirs for ours, theirs in zip(rate, loops, strict=True)]
    print(f"{chosen.records} records, {chosen.workers} processes, {chosen.rounds} rounds, median (range)")
    print(f"wfdb + resample_poly + numpy.save, one process   {summary(loops)} records/s")
    print(f"lamae prepare mimic, tables and labels included  {summary(rate)} records/s")
    print(f"ratio, round by round                            {summary(ratio, 1)}")
    print(f"  of which listing and labels {whole[0][1]:.1f} s, reading and packing {whole[0][2]:.1f} s (first round)")
    for records, result in ((chosen.records // 2, half), (chosen.records, whole[-1])):
        print(
            f"peak memory with {records} records: {result[3]:.0f} MB in the main process, {result[4]:.0f} in a worker"
        )


def usual_loop(headers: list[Path], out: Path) -> float:
    """Records per second of what most people write."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start = time.perf_counter()
    for header in headers:
        signal_mv = wfdb.rdrecord(str(header.with_suffix(""))).p_signal
        np.save(out / f"{header.stem}.npy", resample_poly(signal_mv, 1, 5, axis=0).astype(np.float32))
    return len(headers) / (time.perf_counter() - start)


def run(tree: Path, out: Path, workers: int, records: int) -> tuple[float, ...]:
    """One preparation in a process of its own: kept, seconds of listing, seconds of reading, MB of memory."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "prepare_tree.py"
        script.write_text(PREPARE)
        words = [sys.executable, str(script), str(tree), str(out), str(workers), str(records)]
        output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return tuple(float(word) for word in output.split())


def parts_of_the_work(headers: list[Path]) -> None:
    """Milliseconds per record of each step, in one process."""
    warnings.simplefilter("ignore")  # of leads that are flat or have gaps
    recordings = [read_ecg(header) for header in headers]
    steps = {
        "the file alone (numpy.fromfile)": lambda at: np.fromfile(headers[at].with_suffix(".dat"), dtype="<i2"),
        "read_ecg": lambda at: read_ecg(headers[at]),
        "quality flags": lambda at: quality_columns(recordings[at]),
        "resample to 100 Hz and quantise": lambda at: quantized(recordings[at], 100.0, 10.0),
    }
    print("ms per record, one process")
    for name, step in steps.items():
        start = time.perf_counter()
        for at in range(len(headers)):
            step(at)
        print(f"  {name:34} {1000 * (time.perf_counter() - start) / len(headers):.2f}")


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
