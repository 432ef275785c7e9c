"""NumPy files: `.npy` holds a signal, `.npz` may name its leads, rate and unit as well."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING
from zipfile import ZipExtFile

import numpy as np

from lamae_toolkit.ecg.io.channels import (
    Reading,
    agreed_rate_hz,
    as_float32,
    finite_number,
    match_leads,
    mv_per_unit,
    unit_notes,
)
from lamae_toolkit.ecg.io.stretch import Stretch, blocks
from lamae_toolkit.errors import ECGError

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile

MAX_RATIO, MIN_BYTES = 50, 200_000
"""Limit of compression, which no ECG reaches; what unpacks to less than 10 MB is exempt."""

ABOUT = ("leads", "sampling_rate_hz", "unit")
"""The arrays by which an archive describes its signal."""

MAX_ABOUT_BYTES, MAX_HEADER_BYTES = 1_000_000, 10_000
"""Limits of what an archive says next to its signal, and of what a file says of its array."""


def read(
    path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None, stretch: Stretch
) -> Reading:
    """A two-dimensional array; `.npz` may have its own `leads`, `sampling_rate_hz` and `unit` next to `signal`."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's of the text of a damaged header, and NumPy's of old ones
        zipped = file.read(2) == b"PK"
        file.seek(0)
        if not zipped:
            return _read_array(file, path.stat().st_size, None, leads, given_rate_hz, (None, unit), stretch)
        with np.load(file, allow_pickle=False) as archive:
            members = {member.filename: member.file_size for member in archive.zip.infolist()}
            unpacked = sum(members.values())
            if unpacked > MAX_RATIO * max(path.stat().st_size, MIN_BYTES):
                raise ECGError(
                    f"It unpacks to {unpacked / 1e6:.0f} MB, far more than an ECG of its size; save it again."
                )
            if "signal" not in archive:
                listed = ", ".join(archive)[:100] or "none"
                raise ECGError(f"It has no array called 'signal' but {listed}; save it so.")
            if any(members.get(f"{name}.npy", 0) > MAX_ABOUT_BYTES for name in ABOUT):
                raise ECGError("Its leads, rate or unit take more than a megabyte, which no ECG needs; save it again.")
            about = {name: _about(archive, name) for name in ABOUT if name in archive}
            rate = about.get("sampling_rate_hz")
            rate_in_file_hz = None if rate is None else finite_number(rate.item(), "The sampling rate")
            unit_in_file = str(about["unit"].item()) if "unit" in about else None
            names = [str(name) for name in about["leads"]] if "leads" in about else None
            rate_hz = agreed_rate_hz(rate_in_file_hz, given_rate_hz)
            with archive.zip.open("signal.npy") as signal:
                size = members["signal.npy"]
                return _read_array(signal, size, names, leads, rate_hz, (unit_in_file, unit), stretch)


def _about(archive: "NpzFile", name: str) -> np.ndarray:
    """What an archive says of its signal under this name; ECGError if it is not one value or, of leads, a list."""
    array = np.asarray(archive[name])  # a member that is no array is given as bytes
    if not (array.ndim == 1 if name == "leads" else array.size == 1):
        raise ECGError(
            f"Its array {name!r} has the shape {array.shape}; save leads as a list of names, and sampling_rate_hz and"
            " unit as one value each."
        )
    if array.dtype.kind == "U":
        letters = np.frombuffer(array.tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if letters.max(initial=0) > sys.maxunicode:  # Python fails at such a text only when it is used
            raise ECGError(f"Its array {name!r} holds letters that do not exist, so it is damaged; save it again.")
    return array


def _read_array(
    file: IO[bytes] | ZipExtFile,
    size: int,
    names: Sequence[str] | None,
    leads: Sequence[str] | None,
    rate_hz: float | None,
    units: tuple[str | None, str | None],
    stretch: Stretch,
) -> Reading:
    """The array in an open `.npy` file of this size, of which only the stretch is kept, a few samples at a time."""
    shape, by_column, dtype = _header(file)
    names = leads if names is None else names
    if names is None:
        raise ECGError('The leads have no names; pass them in the order of the file, as in leads=["I", "II"].')
    if len(shape) != 2 or dtype.kind not in "iuf":
        raise ECGError(f"The signal has shape {shape} and type {dtype}; save numbers as (leads, samples).")
    if len(names) not in shape:
        raise ECGError(f"A signal of shape {shape} does not fit {len(names)} lead names; give one per lead.")
    if shape[0] == shape[1]:
        raise ECGError(f"A signal of shape {shape} has as many leads as samples, which is ambiguous; crop it.")
    start, promised = file.tell(), shape[0] * shape[1] * dtype.itemsize
    if size - start != promised:
        raise ECGError(
            f"Its array has {size - start} bytes, but its header declares {promised}, so it is damaged; save it again."
        )
    channel_of, notes = match_leads(names, leads)
    rate_hz = agreed_rate_hz(rate_hz, None)
    factor = mv_per_unit(*units, next(iter(channel_of)))
    n_channels, n_samples = len(names), shape[1] if shape[0] == len(names) else shape[0]
    samples = stretch.samples(n_samples, rate_hz, len(channel_of))
    signals_mv = {lead: np.empty(len(samples), np.float32) for lead in channel_of}
    by_lead = (shape[0] == n_channels) != by_column
    for channels in [[i] for i in range(n_channels)] if by_lead else [list(range(n_channels))]:
        wanted = {lead: channels.index(i) for lead, i in channel_of.items() if i in channels}
        if not wanted:
            continue
        skipped = channels[0] * n_samples + samples.start * len(channels)
        file.seek(start + dtype.itemsize * skipped)
        for block in blocks(samples, len(channels)):
            content = file.read(dtype.itemsize * len(block) * len(channels))
            values = np.frombuffer(content, dtype).reshape(len(block), len(channels))
            at = block.start - samples.start
            for lead, column in wanted.items():
                signals_mv[lead][at : at + len(block)] = as_float32(values[:, column].astype(np.float64) * factor)
    return signals_mv, rate_hz, (*notes, *unit_notes([factor]))


def _header(file: IO[bytes] | ZipExtFile) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of the array that follows in the file."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ECGError(f"It is a NumPy file of version {version}, which no array of numbers needs; save it again.")
    length = file.read(2 if version == (1, 0) else 4)
    if int.from_bytes(length, "little") > MAX_HEADER_BYTES:
        raise ECGError("Its header is longer than that of any array of numbers; save it again.")
    file.seek(-len(length), 1)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read_header(file)
