"""The files that the tests of the Python readers write, and what `read_ecg` makes of each: cases for other readers.

As a plugin of pytest (`python -m pytest -p reader_cases ...`, with LAMAE_READER_CASES naming a file) it records every
call of `read_ecg` by a test: the files, the arguments, and the recording or the refusal.
"""

import hashlib
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lamae_toolkit.ecg.io import read
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError

MAX_BYTES = 3_000_000
TESTS = ("test_cases_formats.py", "test_cases_rules.py", "test_formats.py", "test_readers.py", "test_hostile_files.py")
DESELECTED = " and ".join(
    f"not {word}"
    for word in (
        *["dicom", "edf", "matlab", "npy", "npz", "numpy", "scp", "mfer", "sparse"],
        *["random_damage", "read_permission", "fault_of_the_reader"],
    )
)
"""Tests of formats that the page does not read, and those that take long."""


@dataclass
class Case:
    """One call of `read_ecg`. files: content by name; test: which one made it."""

    files: dict[str, bytes]
    arguments: dict[str, Any]
    test: str
    kind: str | None = None
    recording: Recording | None = None
    refusal: str | None = None


def files_of(path: Path) -> dict[str, bytes] | None:
    """What a person would drop to read this: the file or, for WFDB, its header and the signal files; None if large."""
    header = path.with_suffix(".hea") if path.suffix in (".hea", ".dat", ".mat", "") else path
    paths = [path] if path.is_file() else []
    if header.suffix == ".hea" and header.is_file() and header.stat().st_size < MAX_BYTES:
        paths = [header]
        names = {line.split()[0] for line in header.read_text("latin-1").splitlines() if line.split()}
        named = [header.parent / name for name in names if "/" not in name and "\0" not in name]
        paths += [one for one in named if one.is_file() and one != header]
    if not paths or sum(one.stat().st_size for one in paths) > MAX_BYTES:
        return None
    try:
        return {one.name: one.read_bytes() for one in paths}
    except OSError:
        return None


class Recorder:
    """Wraps `read_ecg` in every test module and keeps what it was called with."""

    def __init__(self, target: Path) -> None:
        self.target, self.cases, self.test = target, {}, ""

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.test = item.nodeid
        module = getattr(item, "module", None)
        if getattr(module, "read_ecg", None) is read.read_ecg:
            module.read_ecg = self.read_ecg

    def read_ecg(self, path, **arguments) -> Recording:
        file = Path(path).expanduser().absolute()
        files = files_of(file) if not {"start_s", "duration_s"} & set(arguments) else None
        case = Case(files or {}, arguments, self.test)
        try:
            case.kind = read.kind_and_path(file)[0]
        except (ECGError, OSError):
            case.kind = None
        try:
            case.recording = read.read_ecg(path, **arguments)
            return case.recording
        except ECGError as error:
            case.refusal = str(error)
            raise
        finally:
            if files and (case.recording or case.refusal):
                digest = hashlib.sha256(pickle.dumps((files, repr(arguments)))).hexdigest()
                self.cases.setdefault(digest, case)

    def pytest_sessionfinish(self) -> None:
        with self.target.open("wb") as file:
            pickle.dump(list(self.cases.values()), file)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("LAMAE_READER_CASES"):
        config.pluginmanager.register(Recorder(Path(os.environ["LAMAE_READER_CASES"])))


def recorded_cases(folder: Path) -> list[Case]:
    """Run the tests of the Python readers in a process of their own, and return what they read."""
    tests = Path(__file__).parents[1]
    words = ["-q", "-p", "no:cacheprovider", "-p", "reader_cases", "-m", "not slow", "-k", DESELECTED]
    words += ["-o", "addopts=", "--strict-markers", *(str(tests / "ecg" / name) for name in TESTS)]
    environment = os.environ | {
        "LAMAE_READER_CASES": str(folder / "cases.pickle"),
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests / "ecg"), str(tests / "widgets")]),
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], env=environment, cwd=tests.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return pickle.loads((folder / "cases.pickle").read_bytes())
