"""PR, QRS and QT of `lt.ecg.measure` against the marks of cardiologists on LUDB.

    python benchmarks/intervals.py --ludb LUDB_FOLDER

Thresholds were chosen on every third record (1, 4, 7, ...); these and the others, which nothing was chosen on, are
printed apart. The cardiologists marked each lead; what is compared holds for all leads (tests/ecg/ludb_marks.py).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "ecg"))
from ludb_marks import interval_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ludb", type=Path, required=True, help="LUDB, with its folder data")
    folder = parser.parse_args().ludb / "data"
    every = sorted(int(path.stem) for path in folder.glob("*.hea"))
    chosen_on = [number for number in every if number % 3 == 1]
    print("| records | interval | marked | measured | median error, ms | 90 % of absolute errors below, ms |")
    print("|---|---|---:|---:|---:|---:|")
    for name, numbers in (("chosen on", chosen_on), ("others", sorted({*every} - {*chosen_on}))):
        found = interval_errors(folder, tqdm(numbers, desc=name, unit="ECG"))
        for interval, errors in found.errors_ms.items():
            middle, most = np.median(errors), np.quantile(np.abs(errors), 0.9)
            counts = f"{found.marked[interval]} | {len(errors)}"
            print(f"| {name}, {len(numbers)} | {interval} | {counts} | {middle:+.0f} | {most:.0f} |")


if __name__ == "__main__":
    main()
