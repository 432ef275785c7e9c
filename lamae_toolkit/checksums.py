"""Checksums of the files of a checkpoint or a store, in the format of the program `sha256sum`."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from lamae_toolkit.errors import ECGError

CHECKSUM_FILE = "SHA256SUMS.txt"
"""Lies next to the files; `sha256sum -c SHA256SUMS.txt` checks them all, as does `lamae check`."""
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._-]{1,100})")
MAX_BYTES = 100_000


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the SHA-256 of these files of a folder, next to those that are listed already."""
    sums = read_checksums(folder) | {name: _sha256(folder / name) for name in names}
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (folder / CHECKSUM_FILE).write_text(text, encoding="ascii", newline="\n")


def read_checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each listed file; empty for a folder without such a list, as earlier versions wrote them.

    Raises ECGError if the list is damaged.
    """
    path = folder / CHECKSUM_FILE
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="ascii").splitlines() if path.stat().st_size <= MAX_BYTES else [""]
        pairs = [_LINE.fullmatch(line) for line in lines]
    except (OSError, UnicodeDecodeError):
        pairs = [None]
    sums = {pair[2]: pair[1] for pair in pairs if pair}
    if len(sums) != len(pairs):
        raise ECGError(f"{path} is damaged; copy the folder again, or delete this file to open the others unchecked.")
    return sums


def check_files(folder: Path, names: Iterable[str] | None = None) -> list[str]:
    """Compare these files, or all that are listed, with their checksums; returns the names of those compared.

    Raises ECGError for the first that has changed, is missing, or is there but not in the list; without a list, nothing
    is compared.
    """
    sums = read_checksums(folder)
    unlisted = [name for name in names or () if sums and name not in sums and (folder / name).is_file()]
    if unlisted:
        raise ECGError(
            f"{folder / CHECKSUM_FILE} is damaged: it does not list {unlisted[0]}; copy the folder again, or delete"
            " this file to open the others unchecked."
        )
    compared = [name for name in (sums if names is None else names) if name in sums]
    for name in compared:
        if not (folder / name).is_file():
            raise ECGError(f"{folder} has no {name}, which its {CHECKSUM_FILE} lists; copy the folder again.")
        if _sha256(folder / name) != sums[name]:
            raise ECGError(
                f"{folder / name} has changed since it was written: its checksum is not the one in {CHECKSUM_FILE};"
                " copy it again, or write it again by the command that made it."
            )
    return compared


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
