"""Writing files that are either complete or absent."""

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lamae_toolkit.errors import ECGError


@contextmanager
def atomic_write(target: Path | str, replaces: str | None = None) -> Iterator[Path]:
    """A temporary path to write a file or folder to; it is renamed to the target only on success.

    An existing folder is replaced only if it is empty or holds the file named by `replaces`, which marks it
    as written by the toolkit; any other is refused (ECGError).

    On any error or interruption the partial file is removed and the target stays as it was. A full disk and a folder
    without write permission raise an ECGError.
    """
    target = Path(target).absolute()
    check_replaceable(target, replaces)
    # Another machine that shares the disk may have a process of the same number.
    partial = target.with_name(f"{target.name}.{platform.node()}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        replace_atomically(partial, target)
    except OSError as error:
        raise ECGError(
            f"{target} could not be written ({error.strerror or error}); no partial file was left:"
            " free some space or choose another folder."
        ) from error
    finally:
        _remove(partial)


def check_replaceable(target: Path, replaces: str | None = None) -> None:
    """Refuse (ECGError) a folder that holds anything, unless it holds the file named by `replaces`."""
    if target.is_dir() and any(target.iterdir()) and not (replaces and (target / replaces).is_file()):
        raise ECGError(f"{target} is a folder with other files; choose a new one.")


def replace_atomically(finished: Path, target: Path) -> None:
    """Rename a finished temporary file or folder to its target, replacing an existing one."""
    if not (finished.is_dir() and target.exists()):
        os.replace(finished, target)
        return
    if not target.is_dir():
        raise ECGError(f"{target} is a file, not a folder; choose another name.")
    # A folder cannot replace a folder in one step: the old one is moved aside, and moved back on an error.
    aside = target.with_name(f"{target.name}.{os.getpid()}.old")
    os.replace(target, aside)
    try:
        os.replace(finished, target)
    except BaseException:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)  # the new folder is in place even if the old one cannot be deleted


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
