"""How fast records are packed to a store, beside a plain loop of `wfdb.rdrecord`, in one run.

    python benchmarks/packing_speed.py DIR [--records 300]

DIR holds WFDB records, such as PTB-XL's `records500`. Each round reads the same records three ways, in
turn: `wfdb.rdrecord` alone; `read_ecg` (the same, checked and by lead name); and packing (reading,
resampling to 100 Hz, int16, writing). The files are read once before, so that the disk's speed is not in it.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import wfdb

from lamae_toolkit.readers import find_ecgs, read_ecg
from lamae_toolkit.store import Entry, pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    files = find_ecgs(chosen.folder)[: chosen.records]
    with tempfile.TemporaryDirectory() as folder:
        jobs = {
            "wfdb.rdrecord alone": lambda: [wfdb.rdrecord(str(file.with_suffix(""))) for file in files],
            "read_ecg": lambda: [read_ecg(file) for file in files],
            "pack (read, resample to 100 Hz, write)": lambda: pack(
                (Entry(read_ecg(file), number, number, 60.0, "F", ()) for number, file in enumerate(files)),
                Path(folder) / "store",
                source="benchmark",
            ),
        }
        jobs["wfdb.rdrecord alone"]()
        times: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(chosen.rounds):
            for name, job in jobs.items():
                start = time.perf_counter()
                job()
                times[name].append(time.perf_counter() - start)
    plain = statistics.median(times["wfdb.rdrecord alone"])
    print(f"{len(files)} records, {chosen.rounds} rounds, one process, median (range)")
    for name, seconds in times.items():
        rate = [len(files) / s for s in seconds]
        print(
            f"{name:40} {statistics.median(rate):6.0f} records/s ({min(rate):.0f} to {max(rate):.0f}),"
            f" {statistics.median(seconds) / plain:.2f} times the plain loop"
        )


if __name__ == "__main__":
    main()
