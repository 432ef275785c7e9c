"""Writing files and folders that are either complete or absent, by one process at a time.

Whatever is written is finished under a temporary name and then takes its own name in one step, or exchanges names with
what it replaces. At every moment one complete version is under the name, or, where the system cannot exchange names, is
put back under it when something is written there next.
"""

import ctypes
import errno
import json
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from lamae_toolkit.errors import ECGError, printable
from lamae_toolkit.locks import output_lock

WAIT_S = 10.0
"""How long to wait for another process that writes the same file; the write itself takes moments."""


@contextmanager
def atomic_write(target: Path | str, replaces: str | None = None) -> Iterator[Path]:
    """A temporary path to write a file or folder to; it gets the name of the target only on success.

    An existing folder is replaced only if it is empty or holds the file named by `replaces`, which marks it
    as written by the toolkit; any other is refused (ECGError).

    On any error or interruption the partial file is removed and the target stays as it was; what a killed process left
    of the same target is removed before. A full disk and a folder without write permission raise an ECGError, as does
    another process that writes the same target.
    """
    with writing_to(target, WAIT_S) as target:
        check_replaceable(target, replaces)
        partial = _temporary(target, "partial")
        try:
            with write_errors(target, "no partial file was left"):
                yield partial
                replace_atomically(partial, target)
        finally:
            _remove(partial)


@contextmanager
def writing_to(target: Path | str, wait_s: float = 0.0) -> Iterator[Path]:
    """Be the only process that writes this file or folder, which need not exist; gives its absolute path.

    First, what a killed process left is put in order: a version that had lost its name gets it back, with a warning,
    and partial files are removed. wait_s: how long to wait for another process; then an ECGError says which one it is.
    """
    target = Path(target).absolute()
    if target.is_dir():
        target = target.resolve()  # the folder is replaced, not a link to it
    new = [folder for folder in target.parents if not folder.exists()]
    around = next(folder for folder in target.parents if folder.exists())
    if not around.is_dir():
        raise ECGError(f"{around} is a file, so that {target} cannot be written; choose another folder.")
    with ExitStack() as held:
        held.callback(_remove_empty, new)
        with write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            alone = held.enter_context(output_lock(target, wait_s))
            _recover(target, alone)
        yield target


def recover(target: Path | str) -> None:
    """Put in order what a killed process left of this file or folder, as `writing_to` does."""
    with writing_to(target, WAIT_S):
        pass


@contextmanager
def write_errors(target: Path, kept: str = "what was complete is kept") -> Iterator[None]:
    """Errors of the file system as an ECGError that names the target. kept: what an error does not lose."""
    try:
        yield
    except OSError as error:
        raise ECGError(
            f"{target} could not be written ({error.strerror or error}); {kept}:"
            " free some space or choose another folder."
        ) from error


def check_replaceable(target: Path, replaces: str | None = None) -> None:
    """Refuse (ECGError) a folder that holds anything, unless it holds the file named by `replaces`."""
    if target.is_dir() and any(target.iterdir()) and not (replaces and (target / replaces).is_file()):
        raise ECGError(f"{target} is a folder with other files; choose a new one.")


def replace_atomically(finished: Path, target: Path) -> None:
    """Give a finished temporary file or folder the name of its target, and delete what had that name.

    All of it is on the disk before, so that a power failure loses no more than a kill.
    """
    _flush(finished)
    if not (finished.is_dir() and target.exists()):
        os.replace(finished, target)
        _sync(target.parent)
        return
    if not target.is_dir():
        raise ECGError(f"{target} is a file, not a folder; choose another name.")
    aside = _temporary(target, "old")
    if exchange_names(finished, target):
        os.replace(finished, aside)
    else:  # in two steps, of which an error undoes the first; after a kill, `_recover` does
        os.replace(target, aside)
        try:
            os.replace(finished, target)
        except BaseException:
            os.replace(aside, target)
            raise
    _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)  # the new folder is in place even if the old one cannot be deleted


def exchange_names(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders in one step; False if the system or the file system cannot."""
    exchange = _exchange()
    if exchange is None:
        return False
    sys.audit("os.rename", one, other, -1, -1)  # as for any other renaming
    if exchange(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


@cache
def _exchange() -> Callable[[bytes, bytes], int] | None:
    """The system's function that exchanges two names: of Linux or macOS."""
    if sys.platform == "win32":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "renameat2"):  # AT_FDCWD is -100, RENAME_EXCHANGE is 2
        return lambda one, other: library.renameat2(-100, one, -100, other, 2)
    if hasattr(library, "renamex_np"):  # RENAME_SWAP is 2
        return lambda one, other: library.renamex_np(one, other, 2)
    return None


def _temporary(target: Path, kind: str) -> Path:
    """A temporary name next to the target. Another computer may have a process of the same number."""
    return target.with_name(f"{target.name}.lamae-{platform.node()}-{os.getpid()}.{kind}")


def _recover(target: Path, alone: bool) -> None:
    """Put back a version that lost its name, and remove what else was left if nobody else can be writing it."""
    pattern = re.compile(re.escape(target.name) + r"\.lamae-.*-\d+\.(partial|old)")
    with suppress(FileNotFoundError):
        left = [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]
        old = [path for path in left if path.suffix == ".old"]
        if old and not os.path.lexists(target):
            newest = max(old, key=lambda path: path.stat().st_mtime)
            os.replace(newest, target)
            left.remove(newest)
            warnings.warn(
                printable(f"{target} was being replaced when a process was killed; its last complete version is back."),
                stacklevel=5,
            )
        for path in left if alone else ():
            _remove(path)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder with all in it, is on the disk."""
    for inside in path.iterdir() if path.is_dir() else ():
        _flush(inside)
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if sys.platform == "win32" and path.is_dir():  # which opens no folder
        return
    file = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with suppress(NotADirectoryError):  # its folder is a file, so nothing was written
            path.unlink(missing_ok=True)


def write_json(path: Path, values: dict) -> None:
    """Write results as JSON, completely or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path, remedy: str, max_mb: float = 10.0) -> dict[str, Any]:
    """The object that a JSON file holds; ECGError, which ends with the remedy, if it is damaged or larger than this."""
    try:
        if path.stat().st_size > max_mb * 1e6:
            raise ECGError(f"{path} has {path.stat().st_size / 1e6:.3g} MB, and at most {max_mb:g} are read; {remedy}.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except ECGError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # a ValueError is also a number of too many digits
        raise ECGError(f"{path} is damaged: it is not valid JSON; {remedy}.") from error
    if not isinstance(values, dict):
        raise ECGError(f"{path} is damaged: it holds no JSON object; {remedy}.")
    return values


def read_text(path: Path) -> str:
    """The text of a file, in UTF-16 if it says so, in UTF-8 or else in Latin-1, which decodes any byte."""
    return decoded(path.read_bytes())


def decoded(content: bytes) -> str:
    """The text that these bytes are, as in `read_text`."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # as in "Unicode text" of Excel
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def picture_ending(path: Path | str) -> str:
    """The format of a figure by the suffix of its file: ".html", ".png" or ".svg"; ECGError for any other."""
    ending = Path(path).suffix.lower()
    if ending not in (".html", ".png", ".svg"):
        raise ECGError(f"{Path(path).name} does not end in .html, .png or .svg; give it one of these suffixes.")
    return ending
