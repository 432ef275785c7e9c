"""One writer per output: a lock that is freed when its process ends, however it ends.

The lock is the operating system's, on a file next to the output, `.NAME.lock`, which says who holds it. It is removed
when it is released. The number of a process alone would prove nothing: numbers are used again, and a network file
system has processes of other computers. (The package filelock says neither who holds a lock nor since when, and leaves
its files next to the user's.)
"""

import errno
import os
import platform
import shlex
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lamae_toolkit.errors import ECGError, printable

POLL_S = 0.05
UNLOCKED = -1
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""How a file system answers that has no locks."""
LOCKED_BYTE = 1 << 30
"""Behind the text of the lock file: Windows lets no other process read a byte that is locked."""


@dataclass
class _Held:
    """A lock of this process, taken `depth` times by one thread."""

    process: int
    thread: int
    file: int
    depth: int = 1


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


@contextmanager
def output_lock(output: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock of an output, a file or a folder, that need not exist; the folder around it must.

    wait_s: how long to wait for another holder; then an ECGError says who holds it, and since when. The same thread may
    take the lock again. Gives True if the lock is held, False, with a warning, on a file system that has none. On NFS
    it holds for all computers if the file system is mounted with locks, as it is unless `nolock` was chosen.
    """
    path, end = _lock_file(output), time.monotonic() + wait_s
    while not (held := _acquire(path)):
        if time.monotonic() >= end:
            raise ECGError(
                f"{output} is being written by {_holder(path)}; wait until that has ended, or choose another name."
            )
        time.sleep(POLL_S)
    try:
        if held.file == UNLOCKED:
            warnings.warn(
                printable(
                    f"The file system of {output} has no locks: start only one command at a time that writes there."
                ),
                stacklevel=4,
            )
        yield held.file != UNLOCKED
    finally:
        _release(path, held)


def _lock_file(output: Path) -> Path:
    """Next to the output, so that it stays when a folder is replaced; inside a folder that has no other place for it,
    such as a mounted one."""
    if output.is_dir() and not (output.name and os.access(output.parent, os.W_OK)):
        return output / ".lamae.lock"
    return output.with_name(f".{output.name}.lock")


def _acquire(path: Path) -> _Held | None:
    """The lock of this file, taken or taken once more; None if another process or thread holds it."""
    process, thread = os.getpid(), threading.get_ident()
    with _guard:
        held = _held.get(path)
        if held is not None and held.process == process:  # a forked child holds no lock of its parent
            if held.thread != thread:
                return None
            held.depth += 1
            return held
        file = _open_locked(path)
        if file is None:
            return None
        _held[path] = _Held(process, thread, file)
        return _held[path]


def _open_locked(path: Path) -> int | None:
    """The open lock file, locked; None if another holds it, `UNLOCKED` if the file system has no locks."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(file):
                os.close(file)
                return None
            # The holder before may have removed the file between the two calls: such a lock guards nothing.
            if os.fstat(file).st_nlink:
                _sign(file)
                return file
            os.close(file)
        except OSError as error:
            os.close(file)
            if error.errno not in NO_LOCKS:
                raise
            path.unlink(missing_ok=True)
            return UNLOCKED


def _release(path: Path, held: _Held) -> None:
    with _guard:
        held.depth -= 1
        if held.depth:
            return
        del _held[path]
        if held.file == UNLOCKED:
            return
        if sys.platform != "win32":
            with suppress(OSError):  # the folder may have become read-only; the file itself locks nothing
                path.unlink(missing_ok=True)
        os.close(held.file)
        if sys.platform == "win32":  # which removes no open file
            with suppress(OSError):
                path.unlink(missing_ok=True)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> bool:
        os.lseek(file, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            # Not lockf, which is lost as soon as anything in this process closes the file, a copy of the folder say.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True


def _sign(file: int) -> None:
    """Write into the lock file who holds it; it is only for the message, so that a full disk may leave it out."""
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    text = f"process {os.getpid()} on {platform.node()} since {since} ({command})"
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, printable(text).encode())


def _holder(path: Path) -> str:
    """Who holds the lock, in words."""
    held = _held.get(path)
    if held is not None and held.process == os.getpid():
        return "another thread of this process"
    with suppress(OSError):
        return path.read_bytes()[:500].decode(errors="replace") or "another process"
    return "another process"
