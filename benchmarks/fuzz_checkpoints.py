"""Damaged checkpoints, runs, probes and stores: each opens or is refused by an ECGError, soon and in little memory.

    python benchmarks/fuzz_checkpoints.py --inputs 200 --seed 0

Each input is a small checkpoint, a run that resumes, a probe and a store, of which one file is damaged: bytes flipped,
cut off, repeated or replaced, or, in JSON, a value that is removed, doubled, or replaced by a huge, negative, infinite
or nested one. `--inputs` of each kind are opened with their checksums, where every change must be refused, and as many
without them, as an earlier version wrote them. Fails (exit code 1) on any other exception, on a change that a checksum
should have found, on an input that takes more than 5 s of processor time, and if the process grows by more than 200 MB.
"""

import argparse
import collections
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tqdm import tqdm

for folder in ("", "ecg"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / folder))

import damaged_files as files  # noqa: E402
from lamae_toolkit.errors import ECGError  # noqa: E402

MAX_S, MAX_MB = 5.0, 200.0


def outcome(made: Path, folder: Path, kind: str, seed: int, number: int, checksums: bool) -> str:
    """What came of an input: "opened", "refused", or the error that should not have been."""
    folder = files.fresh(made, folder, checksums=checksums)
    path = folder / files.KINDS[kind].file
    if not path.exists():  # the list of checksums, in a folder without it
        return "refused"
    before = path.read_bytes()
    path.write_bytes(files.damaged(kind, before, seed, number))
    try:
        files.KINDS[kind].open(folder)
    except ECGError:
        return "refused"
    except Exception:
        return traceback.format_exc()
    missed = checksums and files.KINDS[kind].checked and path.exists() and path.read_bytes() != before
    # A run that resumes writes a new checkpoint, whose state differs from the damaged one.
    return "a change that its checksum should have found" if missed and kind != "training state" else "opened"


def peak_mb() -> float:
    """The largest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=200, help="of each kind, with checksums and without")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts, problems, slowest = collections.Counter(), [], (0.0, "", 0)
    with tempfile.TemporaryDirectory() as root:
        made = files.make(Path(root) / "made")
        for kind in files.KINDS.values():  # imports are not counted
            kind.open(files.fresh(made, Path(root) / "x"))
        before_mb = peak_mb()
        for number in tqdm(range(arguments.inputs), disable=None):
            for kind in files.KINDS:
                for checksums in (True, False):
                    begin = time.process_time()
                    result = outcome(made, Path(root) / "x", kind, arguments.seed, number, checksums)
                    slowest = max(slowest, (time.process_time() - begin, kind, number))
                    if result not in ("opened", "refused"):
                        problems.append((kind, number, checksums, result))
                        result = "failed"
                    counts[kind, checksums, result] += 1
        grown_mb = peak_mb() - before_mb
    print("| file | with checksums: opened | refused | failed | without: opened | refused | failed |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for kind in files.KINDS:
        row = [counts[kind, sums, result] for sums in (True, False) for result in ("opened", "refused", "failed")]
        print(f"| {kind} | " + " | ".join(map(str, row)) + " |")
    print(f"slowest: {slowest[1]} {slowest[2]}, {slowest[0]:.1f} s of processor time; {grown_mb:.0f} MB of growth")
    for kind, number, checksums, result in problems[:10]:
        print(f"\n{kind}, number {number}, checksums {checksums}:\n{result}")
    return int(bool(problems) or slowest[0] > MAX_S or grown_mb > MAX_MB)


if __name__ == "__main__":
    sys.exit(main())
