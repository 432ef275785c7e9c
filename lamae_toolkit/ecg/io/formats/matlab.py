"""MATLAB files of version 4 to 7, without a WFDB header: a signal in a variable, or in a field of a structure."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.errors import ECGError

MAX_RATIO, MIN_BYTES = 50, 200_000
"""Limit of compression, which no ECG reaches; what unpacks to less than ten million bytes is exempt."""

COMPRESSED = 15
"""The type of an element of version 5 that holds a zlib stream."""

VERSION_4 = range(0, 53)
"""The number at the start of a file of version 4: 10 times the type of its numbers (0 to 5) plus 0, 1 or 2."""


def is_version_4(head: bytes) -> bool:
    """Whether these first bytes are those of a file of version 4, which has no mark of its own."""
    kind, rows, columns, is_complex, name_length = (int.from_bytes(head[i : i + 4], "little") for i in range(0, 20, 4))
    name = head[20 : 20 + name_length]
    return (
        kind in VERSION_4
        and is_complex in (0, 1)
        and 0 < rows * columns < 2**31
        and 1 < name_length < 64
        and name.endswith(b"\0")
        and name[:-1].decode("latin-1").isidentifier()
    )


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """The one matrix with as many rows or columns as there are lead names."""
    from scipy.io import loadmat

    if leads is None:
        raise ECGError(
            f"This is a MATLAB file without its WFDB header {path.stem}.hea; put that next to it or, if there is none,"
            " pass the rows of its signal by leads=, with sampling_rate_hz= and unit=."
        )
    _refuse_bomb(path)
    with path.open("rb") as file:
        variables = loadmat(file, simplify_cells=True)
    fitting = {name: array for name, array in _matrices(variables) if len(leads) in array.shape}
    if len(fitting) != 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in list(_matrices(variables))[:9])
        raise ECGError(
            f"Of its matrices, {listed or 'none'}, {len(fitting)} have {len(leads)} rows or columns, one for each lead;"
            " save the signal alone."
        )
    signal = next(iter(fitting.values()))
    if signal.shape[0] == signal.shape[1]:
        raise ECGError(f"A signal of shape {signal.shape} has as many leads as samples, which is ambiguous; crop it.")
    if signal.shape[0] != len(leads):
        signal = signal.T
    channel_of, notes = match_leads([f"row {index + 1}" for index in range(len(signal))], leads)
    factor = mv_per_unit(None, unit, next(iter(channel_of)))
    signals_mv = {lead: signal[index].astype(np.float64) * factor for lead, index in channel_of.items()}
    return signals_mv, agreed_rate_hz(None, given_rate_hz), (*notes, *unit_notes([factor]))


def _matrices(values: dict[str, Any], within: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """The matrices of real numbers among these variables and the fields of structures among them."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _matrices(value, f"{within}{name}.")
        elif isinstance(value, np.ndarray) and value.ndim <= 2 and value.size > 1 and value.dtype.kind in "iuf":
            yield f"{within}{name}", np.atleast_2d(value)


def _refuse_bomb(path: Path) -> None:
    """Refuse a file whose compressed variables unpack to far more than an ECG, before they are unpacked."""
    content = path.read_bytes()
    if not content.startswith(b"MATLAB 5"):
        return
    limit = MAX_RATIO * max(len(content), MIN_BYTES)
    order: Literal["big", "little"] = "big" if content[126:128] == b"MI" else "little"
    at, unpacked = 128, 0
    while at + 8 <= len(content):
        kind, size = (int.from_bytes(content[i : i + 4], order) for i in (at, at + 4))
        if kind == COMPRESSED:
            stream, rest = zlib.decompressobj(), content[at + 8 : at + 8 + size]
            while rest and not stream.eof:
                unpacked += len(stream.decompress(rest, 1_000_000))
                rest = stream.unconsumed_tail
                if unpacked > limit:
                    raise ECGError(f"It unpacks to more than {limit / 1e6:.0f} MB, which no ECG does; save it again.")
        at += 8 + size
