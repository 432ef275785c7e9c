"""MATLAB files of version 4 to 7, without a WFDB header: a signal in a variable, or in a field of a structure.

Read here instead of by scipy, which a damaged file can crash together with Python.
"""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, as_float32, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.errors import ECGError

MAX_RATIO, MIN_BYTES, MAX_EXTRA_BYTES = 50, 200_000, 150_000_000
"""Limits of what a file unpacks to, which no ECG reaches: fifty times its size, but at least 10 MB, and 150 MB more."""

MAX_DEPTH = 20
"""Structures within one another."""

VERSION_4 = range(0, 53)
"""The number at the start of a file of version 4: 10 times the type of its numbers (0 to 5) plus 0, 1 or 2."""

TYPES_4 = ("f8", "f4", "i4", "i2", "u2", "u1")
"""Of numbers in version 4."""

TYPES_5 = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Of numbers in version 5, by the number of the type of an element; the others are:"""
NAMES, INTEGERS, MATRIX, COMPRESSED = 1, 5, 14, 15

STRUCTURE, NUMBERS, COMPLEX = 2, range(6, 16), 0x08
"""Classes of a matrix, and the flag of one with complex numbers."""

Named = Iterator[tuple[str, np.ndarray]]


class Element(NamedTuple):
    """A part of a file of version 5."""

    kind: int
    content: memoryview


def is_version_4(head: bytes) -> bool:
    """Whether these first bytes are those of a file of version 4, which has no mark of its own."""
    kind, rows, columns, is_complex, name_length = _header_4(head)
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
    if leads is None:
        raise ECGError(
            f"This is a MATLAB file without its WFDB header {path.stem}.hea; put that next to it or, if there is none,"
            " pass the rows of its signal by leads=, with sampling_rate_hz= and unit=."
        )
    content = path.read_bytes()
    matrices = list(_version_5(content) if content.startswith(b"MATLAB 5") else _version_4(content))
    fitting = [matrix for _, matrix in matrices if len(leads) in matrix.shape]
    if len(fitting) != 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in matrices[:9])
        raise ECGError(
            f"Of its matrices, {listed or 'none'}, {len(fitting)} have {len(leads)} rows or columns, one for each lead;"
            " save the signal alone."
        )
    signal = fitting[0]
    if signal.shape[0] == signal.shape[1]:
        raise ECGError(f"A signal of shape {signal.shape} has as many leads as samples, which is ambiguous; crop it.")
    if signal.shape[0] != len(leads):
        signal = signal.T
    channel_of, notes = match_leads([f"row {index + 1}" for index in range(len(signal))], leads)
    factor = mv_per_unit(None, unit, next(iter(channel_of)))
    signals_mv = {lead: as_float32(signal[index] * np.float64(factor)) for lead, index in channel_of.items()}
    return signals_mv, agreed_rate_hz(None, given_rate_hz), (*notes, *unit_notes([factor]))


def _matrix(name: str, dtype: str, dimensions: Sequence[int], content: memoryview) -> Named:
    """A matrix with its name, unless it is a single number or has more than two dimensions; the first one goes down."""
    values = np.frombuffer(content, dtype)
    if any(n < 0 for n in dimensions) or values.size != np.prod(dimensions, dtype=object):
        raise _damaged()
    array = values.reshape(dimensions, order="F").squeeze()
    if array.size > 1 and array.ndim <= 2:
        yield name, np.atleast_2d(array)


def _damaged() -> ECGError:
    return ECGError("The MATLAB file is damaged, as its parts do not fit into each other; copy or save it again.")


def _header_4(head: bytes) -> tuple[int, ...]:
    """Type, rows, columns, whether complex, and length of the name."""
    return tuple(int.from_bytes(head[at : at + 4], "little") for at in range(0, 20, 4))


def _version_4(content: bytes) -> Named:
    """One matrix after the other, each a header, its name and its numbers."""
    at = 0
    while at < len(content):
        kind, rows, columns, is_complex, name_length = _header_4(content[at : at + 20])
        dtype = TYPES_4[kind // 10] if kind in VERSION_4 and kind % 10 <= 2 else ""
        start = at + 20 + name_length
        at = start + rows * columns * (1 + is_complex) * np.dtype(dtype or "u1").itemsize
        if not dtype or is_complex > 1 or at > len(content):
            raise _damaged()
        if kind % 10 == 0 and not is_complex:  # 1 is text, 2 a sparse matrix
            name = content[start - name_length : start].rstrip(b"\0").decode("latin-1")
            yield from _matrix(name, f"<{dtype}", (rows, columns), memoryview(content)[start:at])


def _version_5(content: bytes) -> Named:
    """The matrices of real numbers, and those that are fields of structures."""
    order = ">" if content[126:128] == b"MI" else "<"
    limit = min(MAX_RATIO * max(len(content), MIN_BYTES), len(content) + MAX_EXTRA_BYTES)
    left = limit
    for kind, packed in _elements(memoryview(content)[128:], order):
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            unpacked = stream.decompress(packed, left + 1)
            left -= len(unpacked)
            if left < 0:
                raise ECGError(f"It unpacks to more than {limit / 1e6:.0f} MB, which no ECG does; save it again.")
            inside = _elements(memoryview(unpacked), order)
        else:
            inside = iter([Element(kind, packed)])
        for element in inside:
            if element.kind == MATRIX:
                yield from _matrices(element.content, "", order, 0)


def _matrices(content: memoryview, name: str, order: str, depth: int) -> Named:
    """The matrices in a variable, called by its own name or, in a structure, by that of the field."""
    parts = _elements(content, order)
    flags, dimensions, own_name = next(parts, None), next(parts, None), next(parts, None)
    if flags is None:
        return  # an empty field
    if dimensions is None or own_name is None or len(flags.content) != 8 or depth > MAX_DEPTH:
        raise _damaged()
    is_complex, kind = (int(flags.content[at]) for at in ((2, 3) if order == ">" else (1, 0)))
    shape = _integers(dimensions, order)
    name += _text(own_name)
    if kind == STRUCTURE and shape == [1, 1]:
        lengths, names = _integers(next(parts, None), order), _text(next(parts, None))
        if len(lengths) != 1 or lengths[0] < 1:
            raise _damaged()
        fields = [names[at : at + lengths[0]].partition("\0")[0] for at in range(0, len(names), lengths[0])]
        for field, part in zip(fields, parts, strict=False):
            if part.kind == MATRIX:
                yield from _matrices(part.content, f"{name}.{field}", order, depth + 1)
    elif kind in NUMBERS and not is_complex & COMPLEX:
        numbers = next(parts, None)
        if numbers is None or numbers.kind not in TYPES_5:
            raise _damaged()
        yield from _matrix(name, order + TYPES_5[numbers.kind], shape, numbers.content)


def _elements(content: memoryview, order: str) -> Iterator[Element]:
    """The elements one after the other; small ones have type and size in four bytes and the content in the next."""
    byte_order: Literal["big", "little"] = "big" if order == ">" else "little"
    at = 0
    while at + 8 <= len(content):
        kind = int.from_bytes(content[at : at + 4], byte_order)
        size = int.from_bytes(content[at + 4 : at + 8], byte_order)
        if kind >> 16:
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        else:
            start, step = at + 8, 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > min(len(content), at + step):
            raise _damaged()
        yield Element(kind, content[start : start + size])
        at += step


def _integers(element: Element | None, order: str) -> list[int]:
    if element is None or element.kind != INTEGERS or len(element.content) % 4:
        raise _damaged()
    return np.frombuffer(element.content, order + "i4").tolist()


def _text(element: Element | None) -> str:
    if element is None or element.kind != NAMES:
        raise _damaged()
    return bytes(element.content).decode("latin-1")
