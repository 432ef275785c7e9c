"""Run a command of lamae in a forked process in which something goes wrong at a chosen moment.

Python reports every call that changes the file system to its audit hooks, before the call: there the process is killed,
or the disk becomes full, at the n-th of them. A disk is full in both ways that occur: no file can be made, or bytes
cannot be written, the latter by the limit of the system on the size of files, which holds for libraries in C as well.
"""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lamae_toolkit import files
from lamae_toolkit.checksums import CHECKSUM_FILE
from lamae_toolkit.cli.main import main
from lamae_toolkit.data import shards

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SYSTEM_CALL = "kill at a system call"
SYSTEM_CALLS = "write,pwrite64,writev,rename,renameat,renameat2,unlink,unlinkat,mkdir,rmdir,ftruncate,fsync,flock"
TIME_OUT_S = 240
IN_USE = r"lamae: .* is being written by process \d+ on .* since [\d:+ -]+ \(.*\); wait"


class Ended(NamedTuple):
    """How a command ended: its exit code, or minus the signal that killed it; what it printed; its changes of files."""

    code: int
    text: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """What goes wrong, from the `at`-th change of the file system on; 0 for a fault that is there from the beginning.

    kind: "none", "kill", "kill in time" (after `at` milliseconds), "kill at a system call" (the `at`-th of those that
    strace sees, in any library; none if 0), "no new file" (a full disk), "no bytes" (a full disk), "read-only" or
    "closed pipe". in_two_steps: as on a system that cannot exchange names.
    """

    kind: str = "none"
    at: int = 0
    in_two_steps: bool = False

    def __str__(self) -> str:
        at = f" at {self.at}" if self.at else ""
        return self.kind + at + (", in two steps" if self.in_two_steps else "")

    def begin(self, report: int) -> None:
        """Set the fault up in this process, for ever; the number of changes is written to `report`, a line each."""
        if self.in_two_steps:
            files._exchange = lambda: None
        changes, own = 0, os.getpid()

        def watch(event: str, arguments: tuple) -> None:
            nonlocal changes
            if os.getpid() != own or not _is_change(event, arguments):
                return
            changes += 1
            if self.kind == "none":
                os.write(report, f"{event}\n".encode())
                return
            if changes < self.at:
                return
            if self.kind == "kill":
                os.kill(own, signal.SIGKILL)
            if self.kind == "no bytes":
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            if self.kind == "read-only" or (self.kind == "no new file" and event in ("open", "os.mkdir")):
                code = errno.EROFS if self.kind == "read-only" else errno.ENOSPC
                raise OSError(code, os.strerror(code), str(arguments[0]))

        if self.kind == "kill in time":
            signal.setitimer(signal.ITIMER_REAL, self.at / 1000)  # whose signal ends the process at once
        elif self.kind == SYSTEM_CALL:
            os.kill(own, signal.SIGSTOP)  # until strace watches
        elif self.kind != "closed pipe":
            sys.addaudithook(watch)


def _is_change(event: str, arguments: tuple) -> bool:
    if event != "open":
        return event in CHANGES
    path, _, flags = arguments
    return not isinstance(path, int) and bool(flags & WRITING) and os.fsdecode(path) != os.devnull


def start(run: Callable[[], int | None], fault: Fault = Fault()) -> Callable[[], Ended]:
    """Begin to run a function in a forked process; what is returned waits for its end."""
    report = os.memfd_create("changes")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking a process with threads, in newer versions of Python
        process = os.fork()
    if process == 0:
        _run_and_exit(run, fault, report, reading, writing)
    os.close(writing)
    strace = _attached(process, fault.at, report) if fault.kind == SYSTEM_CALL else None

    def ended() -> Ended:
        with open(reading, "rb") as pipe:
            text = pipe.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if strace is not None:
            strace.wait()
        os.lseek(report, 0, os.SEEK_SET)
        with open(report, encoding="utf-8") as lines:
            return Ended(code, text, tuple(lines.read().splitlines()))

    return ended


def _attached(process: int, at: int, report: int) -> subprocess.Popen:
    """strace on a process that has stopped, which then goes on and is killed at a system call."""
    os.waitpid(process, os.WUNTRACED)
    kill = [] if at == 0 else ["-e", f"inject={SYSTEM_CALLS}:signal=SIGKILL:when={at}"]
    words = ["strace", "-f", "-qq", "-o", f"/dev/fd/{report}", "-e", f"trace={SYSTEM_CALLS}", *kill, "-p", str(process)]
    strace = subprocess.Popen(words, pass_fds=[report], stderr=subprocess.DEVNULL)
    while "TracerPid:\t0\n" in Path(f"/proc/{process}/status").read_text():
        assert strace.poll() is None, "strace cannot watch a process here"
        time.sleep(0.001)
    os.kill(process, signal.SIGCONT)
    return strace


def _run_and_exit(run: Callable, fault: Fault, report: int, reading: int, writing: int) -> None:
    """In the forked process: nothing of it may return to the tests."""
    code = 70
    try:
        signal.alarm(TIME_OUT_S)
        os.dup2(writing, 2)
        if fault.kind == "closed pipe":
            closed, printing = os.pipe()
            os.close(closed)
            os.dup2(printing, 1)
        else:
            os.dup2(writing, 1)
        os.close(reading)
        os.close(writing)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        warnings.resetwarnings()
        fault.begin(report)
        code = run() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 2
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def run(function: Callable[[], int | None], fault: Fault = Fault()) -> Ended:
    """Run a function in a forked process, to its end."""
    return start(function, fault)()


@dataclass(frozen=True)
class Case:
    """A command that writes, and the folder in which it begins.

    words: the command, with OUT for the folder that it writes to; or a function. before: what the folder holds: earlier
    versions that are replaced or resumed. kept: stores and checkpoints of which a complete version is there at any
    time. again: the exit code if all was complete already. smaller: makes the command smaller, in the process in which
    it runs.
    """

    words: Sequence[str | Path] | Callable[[Path], int]
    before: Path | None = None
    kept: Sequence[str] = ()
    again: int = 0
    smaller: Callable[[], None] = lambda: None

    def run(self, folder: Path) -> int | None:
        """Run the command within a folder; only in a forked process."""
        os.chdir(folder)
        shards.ECGS_PER_PART = 2  # so that there are several parts
        self.smaller()
        if callable(self.words):
            return self.words(folder)
        return main([str(word).replace("OUT", str(folder)) for word in self.words])

    def folder(self, folder: Path) -> Path:
        """Make the folder in which the command begins."""
        if self.before is None:
            folder.mkdir()
        else:
            shutil.copytree(self.before, folder)
        return folder


@dataclass(frozen=True)
class Expected:
    """What an uninterrupted run leaves, and the changes of the file system that it takes."""

    files: dict[str, object]
    changes: tuple[str, ...]

    @classmethod
    def of(cls, case: Case, folder: Path) -> "Expected":
        """Run the case without a fault."""
        found = run(lambda: case.run(folder), Fault())
        assert found.code in (0, 1), found.text
        return cls(contents(folder), found.changes)


def survives(case: Case, fault: Fault, expected: Expected, folder: Path) -> str:
    """Run a case with a fault, and again without: "" if nothing is lost, else what is wrong."""
    case.folder(folder)
    before = {name: contents(folder / name) for name in case.kept}
    broken = run(lambda: case.run(folder), fault)
    if fault.kind.startswith("kill"):
        if broken.code not in (-signal.SIGKILL, -signal.SIGALRM, 0, 1):
            return f"was not killed but ended with {broken.code}: {broken.text[-500:]}"
    elif fault.kind == "closed pipe":
        if broken.code not in (0, 1) or "Traceback" in broken.text:
            return f"ended with {broken.code}: {broken.text[-500:]}"
        return differences(expected.files, contents(folder))
    elif problem := no_sentence(broken):
        return problem
    elif left := leftovers(folder):
        return f"left {left[0]} behind"
    for name, held in before.items():
        now = [folder / name, *folder.joinpath(name).parent.glob(f"{Path(name).name}.lamae-*.old")]
        if not any(contents(path) == held or is_complete(path) for path in now):
            return f"lost {name}"
    again = run(lambda: case.run(folder))
    if again.code not in (0, 1, case.again):
        return f"again, ended with {again.code}: {again.text[-500:]}"
    if left := leftovers(folder):
        return f"again, left {left[0]} behind"
    return differences(expected.files, contents(folder))


def is_complete(path: Path) -> bool:
    """Whether a store or a checkpoint can be opened."""
    from lamae_toolkit.data.store import Store
    from lamae_toolkit.errors import ECGError
    from lamae_toolkit.model.pretrained import CONFIG_FILE, FILES
    from lamae_toolkit.training.run import STATE_FILE

    if (path / CONFIG_FILE).is_file():
        return all((path / name).is_file() for name in (*FILES, STATE_FILE))
    try:
        Store.open(path)
    except ECGError:
        return False
    return True


def no_sentence(ended: Ended) -> str:
    """What is wrong with the message of a command that should have ended with one sentence; "" if nothing is."""
    last = ended.text.strip().splitlines()[-1] if ended.text.strip() else ""
    if "Traceback" in ended.text or "Exception ignored" in ended.text:
        return f"gave a traceback: {ended.text[-900:]}"
    if ended.code in (0, 1):
        return ""  # the fault came after the last change that it could spoil
    if ended.code != 2 or not last.startswith("lamae: ") or not last.endswith("."):
        return f"ended with {ended.code}: {ended.text[-500:]}"
    return ""


def leftovers(folder: Path) -> list[str]:
    """Temporary files in a folder: a preparation that can be resumed is none."""
    pattern = re.compile(r"\.lamae-.*\.(partial|old)$|^\..*\.lock$")
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if pattern.search(path.name)]


def two_at_once(case: Case, expected: Expected, folder: Path) -> str:
    """Run a case twice at once: one does it, the other says so or finds it done; "" if so, else what is wrong."""
    case.folder(folder)
    first = start(lambda: case.run(folder))
    time.sleep(0.02)
    second = start(lambda: case.run(folder))
    ends = [first(), second()]
    refused = [end for end in ends if end.code == 2]
    for end in refused:
        if not case.again and not re.search(IN_USE, end.text):
            return f"gave no sentence: {end.text[-500:]}"
    if sorted(end.code in (0, 1) for end in ends) not in ([False, True], [True, True]) or len(refused) > 1:
        return f"ended with {[end.code for end in ends]}: {ends[0].text[-300:]} {ends[1].text[-300:]}"
    if left := leftovers(folder):
        return f"left {left[0]} behind"
    return differences(expected.files, contents(folder))


# What two runs must have in common.

CHANGING = ("seconds", "ecgs_per_s", "date", "read_in_this_run", "machine")
"""What may differ between two runs that end alike."""


def differences(expected: dict[str, object], found: dict[str, object]) -> str:
    """In which files two folders differ; "" if they are equal."""
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    return f"differs in {', '.join(names[:5])}" if names else ""


def contents(folder: Path) -> dict[str, object]:
    """All files of a folder, or one file, with what in them is the same in every run."""
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): _content(path)
        for path in paths
        if path.is_file() and "tensorboard" not in path.parts and not path.name.endswith(".lock")
    }


def _content(path: Path) -> object:
    if path.suffix == ".json":
        return _lasting(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".jsonl":
        return [_lasting(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    if path.suffix == ".pt":
        return _comparable(torch.load(path, weights_only=True))
    if path.name == CHECKSUM_FILE:  # equal values are not always the same bytes of a .pt file
        lines = path.read_text(encoding="utf-8").splitlines()
        return [line.split()[-1] if line.endswith(".pt") else line for line in lines]
    if path.suffix == ".html":
        hexadecimal = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
        return re.sub(hexadecimal, "", path.read_text(encoding="utf-8"))
    return path.read_bytes()


def _comparable(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.numpy().shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return {name: _comparable(inside) for name, inside in value.items()}
    return [_comparable(inside) for inside in value] if isinstance(value, list | tuple) else value


def _lasting(value: object) -> object:
    if isinstance(value, dict):
        return {name: _lasting(inside) for name, inside in value.items() if name not in CHANGING}
    return [_lasting(inside) for inside in value] if isinstance(value, list) else value
