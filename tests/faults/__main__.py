"""Many faults in every command that writes, and a table of how many were survived.

    python tests/faults [--seconds 100] [--only COMMAND ...] [--faults COLUMN ...]

A fault is survived if the command ends with one sentence and nothing half-written, or was killed, and if the same
command, run again, leaves exactly what an uninterrupted run leaves. Runs on Linux; kills at system calls need strace.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from cases import CASES, Inputs
from harness import SYSTEM_CALL, Case, Expected, Fault, run, survives, two_at_once

KILLS = ("kill", "kill, in two steps", SYSTEM_CALL, "kill in time")
COLUMNS = (*KILLS, "no new file", "no bytes", "read-only", "closed pipe", "twice")
HEADINGS = {"no new file": "full disk: no new file", "no bytes": "full disk: no more bytes", "twice": "two at once"}


def spread(last: int, at_most: int) -> list[int]:
    """Numbers from 1 to the last, all or `at_most` of them at equal distances."""
    count = min(last, at_most)
    return [int((number + 0.5) * last / count) + 1 for number in range(count)]


def trials(
    case: Case, expected: Expected, took_s: float, at_most: int, columns: Sequence[str]
) -> Iterator[tuple[str, Callable[[Path], str]]]:
    """The faults of a case: the column of the table, and what runs it in a folder and returns what is wrong."""

    def one(fault: Fault) -> Callable[[Path], str]:
        return lambda folder: survives(case, fault, expected, folder)

    last = len(expected.changes)
    for at in spread(last, at_most):
        yield "kill", one(Fault("kill", at))
        if case.kept:
            yield "kill, in two steps", one(Fault("kill", at, in_two_steps=True))
    if SYSTEM_CALL in columns and shutil.which("strace"):
        with tempfile.TemporaryDirectory() as other:
            folder = case.folder(Path(other) / "traced")
            calls = len(run(lambda: case.run(folder), Fault(SYSTEM_CALL)).changes)
        for at in spread(calls, at_most):
            yield SYSTEM_CALL, one(Fault(SYSTEM_CALL, at))
    for at in spread(int(1000 * took_s), max(1, at_most // 3)):
        yield "kill in time", one(Fault("kill in time", at))
    for at in spread(last, max(1, at_most // 2)):
        yield "no new file", one(Fault("no new file", at))
        yield "no bytes", one(Fault("no bytes", at))
    yield "read-only", one(Fault("read-only", 1))
    yield "closed pipe", one(Fault("closed pipe"))
    yield "twice", lambda folder: two_at_once(case, expected, folder)


def try_case(
    case: Case, folder: Path, seconds: float, columns: Sequence[str]
) -> tuple[int, dict[str, list[int]], list[str]]:
    """The changes of files; for each column how many faults were tried and survived; of the others what is wrong."""
    counts: dict[str, list[int]] = {}
    wrong = []
    case.folder(folder)
    start = time.perf_counter()
    expected = Expected.of(case, folder)
    took_s = time.perf_counter() - start
    shutil.rmtree(folder)
    for column, trial in trials(case, expected, took_s, max(2, int(seconds / (7 * took_s))), columns):
        if column not in columns:
            continue
        problem = trial(folder)
        shutil.rmtree(folder)
        tried = counts.setdefault(column, [0, 0])
        tried[0] += 1
        tried[1] += not problem
        if problem:
            wrong.append(f"{column}, number {tried[0]}: {problem}")
    return len(expected.changes), counts, wrong


def row(cells: Sequence[object]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


def run_all() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100.0, help="about how long to try faults in each command")
    parser.add_argument("--only", nargs="+", default=[], help="only these commands")
    parser.add_argument("--faults", nargs="+", default=COLUMNS, choices=COLUMNS, help="only these faults")
    chosen = parser.parse_args()
    print(row(["command", "changes of files", *(HEADINGS.get(name, name) for name in COLUMNS)]))
    print(row(["---"] * (len(COLUMNS) + 2)), flush=True)
    totals, problems = [0, 0], []
    with tempfile.TemporaryDirectory() as temporary:
        inputs = Inputs(Path(temporary) / "inputs")
        for name, case in CASES.items():
            if chosen.only and name not in chosen.only:
                continue
            changes, counts, wrong = try_case(case(inputs), Path(temporary) / "trial", chosen.seconds, chosen.faults)
            problems += [f"{name}, {problem}" for problem in wrong]
            print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr, flush=True)
            for tried, survived in counts.values():
                totals = [totals[0] + tried, totals[1] + survived]
            cells = ["{1} of {0}".format(*counts[column]) if column in counts else "" for column in COLUMNS]
            print(row([name, changes, *cells]), flush=True)
    print(f"\n{totals[1]} of {totals[0]} faults survived.")
    print(*problems, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_all())
