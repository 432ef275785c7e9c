"""Damaged files by the hundred thousand: `read_ecg` must give an ECG or an ECGError, soon and in little memory.

    python benchmarks/fuzz_readers.py --inputs 200000 --seed 0
    python benchmarks/fuzz_readers.py --inputs 25000 --first 50000 --seed 0  # a slice of them

Each input is a small valid file of one format after one or a few edits: flipped bits, cut off, blocks removed or
repeated, the head or the tail of another format, numbers replaced by huge or negative ones, random bytes. It is
written to memory (/dev/shm) where there is such a place, and read. The table counts inputs, ECGs and refusals by
format. Fails (exit code 1) on any other exception, on any warning but LeadWarning, on an input that takes more than
1 s of processor time, and if the process grows by more than 200 MB, beyond what it has after reading each valid file.
A refusal that calls itself a fault of the toolkit fails, too. `--only N` repeats input N alone and shows its error in
full.
"""

import argparse
import collections
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import written_ecgs as write
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.errors import ECGError, LeadWarning

MAX_S, MAX_MB = 1.0, 200.0
FILES = write.small_files()
KINDS = sorted(FILES)


def damaged_input(seed: int, number: int) -> tuple[str, bytes]:
    """The format and the content of one input, which depend on nothing but the seed and its number."""
    rng = np.random.default_rng([seed, number])
    kind, other = KINDS[number % len(KINDS)], KINDS[rng.integers(len(KINDS))]
    edits = [(write.EDITS[rng.integers(len(write.EDITS))], *rng.random(2)) for _ in range(rng.geometric(0.6))]
    return kind, write.damaged_file(kind, FILES, other, edits, rng.bytes(rng.integers(64)))


def outcome(folder: Path, kind: str, content: bytes) -> str:
    """What came of an input: "read", "refused", or the error that should not have been."""
    return outcome_of(write.write_into(folder, kind, content), **write.ARGUMENTS.get(kind, {}))


def outcome_of(path: Path, **arguments: Any) -> str:
    """What came of reading a file: "read", "refused", or the error that should not have been."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            read_ecg(path, **arguments)
            result = "read"
        except ECGError as error:
            result = str(error) if error.reason == "fault of the toolkit" else "refused"
        except Exception:
            return traceback.format_exc()
    others = [warning for warning in caught if not issubclass(warning.category, LeadWarning)]
    return f"{others[0].category.__name__}: {others[0].message}" if others else result


def peak_mb() -> float:
    """The largest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", type=int, help="repeat this input alone")
    arguments = parser.parse_args()
    numbers = range(arguments.first, arguments.first + arguments.inputs)
    if arguments.only is not None:
        numbers = range(arguments.only, arguments.only + 1)
    memory = Path("/dev/shm")
    counts, problems, slowest = collections.Counter(), [], (0.0, 0, "")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for kind in KINDS:  # imports are not counted
            outcome(Path(folder), kind, FILES[kind])
        started, before_mb = time.perf_counter(), peak_mb()
        for number in tqdm(numbers, disable=None):
            kind, content = damaged_input(arguments.seed, number)
            begin = time.process_time()
            result = outcome(Path(folder), kind, content)
            slowest = max(slowest, (time.process_time() - begin, number, kind))
            if result not in ("read", "refused"):
                problems.append((number, kind, result))
                result = "failed"
            counts[kind, result] += 1
        elapsed_s = time.perf_counter() - started

    columns = ("read", "refused", "failed")
    print(f"{'format':22}{'inputs':>9}" + "".join(f"{column:>9}" for column in columns))
    for kind in (*KINDS, "all"):
        row = [
            sum(n for (k, result), n in counts.items() if k == kind or kind == "all" if result == c) for c in columns
        ]
        print(f"{kind:22}{sum(row):>9}" + "".join(f"{n:>9}" for n in row))
    grown_mb = peak_mb() - before_mb
    print(
        f"slowest: input {slowest[1]} ({slowest[2]}), {slowest[0]:.3f} s of processor time; {grown_mb:.0f} MB of growth"
    )
    seeds = f"seed {arguments.seed}, inputs {numbers.start} to {numbers.stop - 1}"
    print(f"{seeds}, {elapsed_s:.0f} s, {len(numbers) / elapsed_s:.0f} inputs/s")
    for number, kind, result in problems[:10]:
        print(f"\ninput {number} ({kind}):\n{result}")
    return int(bool(problems) or slowest[0] > MAX_S or grown_mb > MAX_MB)


if __name__ == "__main__":
    sys.exit(main())
