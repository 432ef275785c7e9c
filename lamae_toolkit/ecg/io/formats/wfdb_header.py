"""What the header of a WFDB record promises: its lines, checksums, and the size of its signal file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamae_toolkit.ecg.io.channels import finite_number
from lamae_toolkit.errors import ECGError, WarningNote
from lamae_toolkit.files import read_text

NUMBER = r"[0-9]+(?:\.[0-9]+)?"
INVALID = -32768
Leads = tuple[str, ...] | None
"""The caller's name of each channel, if given."""

MAX_HEADER_BYTES, MAX_SEGMENTS = 1_000_000, 10_000
"""Limits of a header: that of an ECG has one or two thousand bytes, that of a week with a segment a minute 200,000."""


def header_lines(header_path: Path) -> list[str]:
    """The lines of a header that say something: neither empty nor a comment. ECGError if it is too large for one."""
    size = header_path.stat().st_size
    if size > MAX_HEADER_BYTES:
        raise ECGError(
            f"The header {header_path.name} has {size / 1e6:.3g} MB, and no WFDB header has more than"
            f" {MAX_HEADER_BYTES / 1e6:g}; copy it again."
        )
    lines = (line.strip() for line in read_text(header_path).splitlines())
    return [line for line in lines if line and line[0] != "#"]


def rate_in_header_hz(words: list[str]) -> float | None:
    """Frames a second by a record line, each with one or several samples of a signal; None if it does not say so."""
    return finite_number(words[2].split("/")[0], "The sampling rate in the header") if len(words) > 2 else None


def disagree(promised: np.ndarray, first: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Which channels do not have the checksum, or for want of one the first value, of the header, (..., channel).

    promised: the first value and the checksum of each, (..., channel, 2). Writers that compute no checksum write 0.
    """
    firsts, checksums = promised[..., 0], promised[..., 1]
    return np.where(checksums != 0, (sums - checksums) & 0xFFFF != 0, (firsts != 0) & (firsts != first))


def damage_notes(leads: Sequence[str]) -> tuple[WarningNote, ...]:
    """What is to be warned of if these leads do not have the checksum or first value of the header."""
    if not leads:
        return ()
    of = f"lead {leads[0]}" if len(leads) == 1 else f"leads {', '.join(leads)}"
    sentence = f"The samples of {of} do not match the checksum or first value in the header"
    return (WarningNote(f"{sentence}, so one of the two was changed; copy the record again.", "checksum"),)


def too_long(path: Path, size: int, promised: int) -> ECGError:
    return ECGError(
        f"Its signal file {path.name} has {size} bytes, but the header declares {promised} only, so one of the two"
        " belongs to another record; copy both again.",
        "header and signal disagree",
    )


def checked_size(path: Path, promised: int) -> int:
    """The size of a signal file; refused if it is missing or cut off, before any memory is taken for its signals."""
    if not path.is_file():
        raise ECGError(f"Its signal file {path.name} is missing; put it next to the header.", "signal file missing")
    size = path.stat().st_size
    if size < promised:
        raise ECGError(
            f"Its signal file {path.name} has {size} bytes, but the header declares at least {promised}, so it is cut"
            " off; copy it again.",
            "signal file cut off",
        )
    return size
