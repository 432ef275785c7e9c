"""Plain WFDB records, one file of 16-bit samples, read here: alone, or many of one layout at a time."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamae_toolkit.ecg.io.channels import MAX_MV, Reading, agreed_rate_hz, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.ecg.io.checks import MAX_SPAN_MV, MIN_SPAN_MV, einthoven_error
from lamae_toolkit.ecg.io.formats.wfdb_header import (
    INVALID,
    NUMBER,
    Leads,
    checked_size,
    damage_notes,
    disagree,
    header_lines,
    too_long,
)
from lamae_toolkit.ecg.io.stretch import Stretch, blocks
from lamae_toolkit.errors import ECGError

RECORD_LINE = re.compile(rf"([^\s/]+) +([0-9]+) +({NUMBER}) +([0-9]+)(?: .*)?")
SIGNAL_LINE = re.compile(
    rf"(?P<file>[^\s/\\]+) +16 +(?P<gain>-?{NUMBER})(?:\((?P<baseline>-?[0-9]+)\))?/(?P<unit>\S+)"
    r" +[0-9]+ +(?P<zero>-?[0-9]+) +-?[0-9]+ +-?[0-9]+ +[0-9]+ +(?P<name>\S+)"
)


MAX_BYTES_ALIKE = 2_000_000
"""Of records that are read in full and many at a time: twelve leads of 80 s at 1000 Hz."""


class Layout(NamedTuple):
    """What the headers of many plain records share: one file of 16-bit samples, every gain written out."""

    n_samples: int
    n_signals: int
    sampling_rate_hz: float
    leads: tuple[str, ...]
    channels: tuple[int, ...]
    baseline: tuple[float, ...]
    mv_per_unit: tuple[float, ...]
    notes: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        return 2 * self.n_samples * self.n_signals

    def signal_mv(self, raw: np.ndarray) -> np.ndarray:
        """Samples of the file, (..., channel), as leads in mV."""
        picked = raw if self.channels == tuple(range(self.n_signals)) else raw[..., self.channels]
        signal_mv = picked.astype(np.float32, order="C")
        for operation, values in ((np.subtract, self.baseline), (np.multiply, self.mv_per_unit)):
            if operation is np.multiply or any(values):
                # One number for all leads is several times faster than one for each.
                values = values[:1] if len(set(values)) == 1 else values
                operation(signal_mv, np.array(values, np.float32), out=signal_mv)
        return signal_mv

    def limits(self) -> tuple[float, float, float]:
        """The lowest and highest sample and the largest difference of two samples that any lead of an ECG may have."""
        units = np.abs(self.mv_per_unit)
        ends = np.array(self.baseline), MAX_MV / units
        return max(ends[0] - ends[1]), min(ends[0] + ends[1]), min(MAX_SPAN_MV / units)


class Plain(NamedTuple):
    """A plain record: its layout, the file of its samples, and the first values and checksums of its header."""

    layout: Layout
    signal_path: Path
    promised: list[tuple[int, int]]


def read_plain(
    header_path: Path, given_rate_hz: float | None, unit: str | None, leads: Leads, stretch: Stretch
) -> Reading | None:
    """A plain record; None if the header describes anything else.

    MIMIC-IV-ECG, PTB-XL and most other archives look like this. The package wfdb takes twenty times longer, which
    matters for 800,000 records.
    """
    plain = _plain_layout(header_path, given_rate_hz, unit, leads)
    if plain is None:
        return None
    layout, signal_path, promised = plain
    size = checked_size(signal_path, layout.n_bytes)
    if size > layout.n_bytes:
        raise too_long(signal_path, size, layout.n_bytes)
    samples = stretch.samples(layout.n_samples, layout.sampling_rate_hz, len(layout.leads))
    signals_mv = {lead: np.empty(len(samples), np.float32) for lead in layout.leads}
    first, sums = None, np.zeros(layout.n_signals, "<i2")
    with signal_path.open("rb") as file:
        file.seek(2 * layout.n_signals * samples.start)
        for block in blocks(samples, layout.n_signals):
            raw = np.fromfile(file, "<i2", len(block) * layout.n_signals).reshape(len(block), layout.n_signals)
            block_mv = layout.signal_mv(raw)
            if raw.min() == INVALID:
                block_mv[raw[:, layout.channels] == INVALID] = np.nan
            first = raw[0] if first is None else first
            sums += _sums(raw)
            at = block.start - samples.start
            for column, signal_mv in enumerate(signals_mv.values()):
                signal_mv[at : at + len(block)] = block_mv[:, column]
    damaged: list[str] = []
    if samples.start == 0 and first is not None:
        # A checksum is one of the complete record.
        of_header = np.array(promised)
        wrong = disagree(of_header if len(samples) == layout.n_samples else of_header * [1, 0], first, sums)
        damaged = [lead for lead, channel in zip(layout.leads, layout.channels, strict=True) if wrong[channel]]
    return signals_mv, layout.sampling_rate_hz, (*layout.notes, *damage_notes(damaged))


def _sums(raw: np.ndarray) -> np.ndarray:
    """The sum over time of samples (t, ..., channel), in 16 bits as the checksums are."""
    rows = len(raw) // 100 * 100
    wide = np.add.reduce(raw[:rows].reshape(max(1, rows // 100), -1), axis=0, dtype=raw.dtype)  # faster in long rows
    parts = [wide.reshape(-1, *raw.shape[1:]), raw[rows:]]
    return np.add.reduce(np.concatenate(parts), axis=0, dtype=raw.dtype)


def read_alike(
    headers: Sequence[Path],
    given_rate_hz: float | None = None,
    unit: str | None = None,
    leads: Leads = None,
    *,
    at_once: int = 16,
) -> Iterator[tuple[list[int], Layout, np.ndarray]]:
    """The plain records among these, some of one layout at a time: which, and their leads in mV, (t, b, l).

    The values are those of `read`, far faster. Left out is every long record, and every one of which there is anything
    to report: it is damaged, has gaps, may have a flat lead, or would be warned of.
    """
    of_layout: dict[Layout, list[tuple[int, Path, list[tuple[int, int]]]]] = {}
    for row, header in enumerate(headers):
        with suppress(ECGError, OSError):
            plain = _plain_layout(header, given_rate_hz, unit, leads)
            # Before any memory is taken for its signals.
            if plain and plain.signal_path.stat().st_size == plain.layout.n_bytes <= MAX_BYTES_ALIKE:
                of_layout.setdefault(plain.layout, []).append((row, plain.signal_path, plain.promised))
    for layout, files in of_layout.items():
        raw = np.empty((layout.n_samples, layout.n_signals), dtype="<i2")
        together = np.empty((layout.n_samples, min(at_once, len(files)), layout.n_signals), dtype="<i2")
        # All channels of a time step are moved as one value: several times faster than one by one.
        of_one, of_all = (array.view(f"V{2 * layout.n_signals}")[..., 0] for array in (raw, together))
        lowest, highest, span = layout.limits()
        rows: list[int] = []
        of_headers: list[list[tuple[int, int]]] = []
        for row, path, promised in files:
            if (
                _read_samples(path, raw)
                and lowest < (low := int(raw.min())) != INVALID
                and low + span > int(raw.max()) < highest
            ):
                of_all[:, len(rows)] = of_one
                rows.append(row)
                of_headers.append(promised)
            if len(rows) == at_once or (rows and path is files[-1][1]):
                ecgs = together[:, : len(rows)]
                agree = ~disagree(np.array(of_headers), ecgs[0], _sums(ecgs)).any(axis=1)
                signal_mv = layout.signal_mv(ecgs)
                plausible = agree & _plausible(signal_mv, layout.leads)
                if not plausible.all():
                    rows, signal_mv = np.array(rows)[plausible].tolist(), signal_mv[:, plausible]
                if rows:
                    yield rows, layout, signal_mv
                rows, of_headers = [], []


def _read_samples(path: Path, raw: np.ndarray) -> bool:
    """Read the samples into `raw`, (t, channel); returns whether they could be read and no lead may be flat."""
    try:
        with open(path, "rb", buffering=0) as file:
            if file.readinto(raw.data) < raw.nbytes:
                return False
    except OSError:
        return False
    return not (raw[:: max(1, len(raw) // 16)] == raw[0]).all(axis=0).any()


def _plausible(signal_mv: np.ndarray, leads: tuple[str, ...]) -> np.ndarray:
    """Which ECGs of (t, b, l) are neither too small nor in conflict with Einthoven's relations, (b,)."""
    some_mv = signal_mv[:: max(1, len(signal_mv) // 200)]
    broken, _ = einthoven_error({lead: signal_mv[:, :, i] for i, lead in enumerate(leads)})
    return (np.ptp(some_mv, axis=0).max(axis=1) > MIN_SPAN_MV) & ~broken


def _plain_layout(header_path: Path, given_rate_hz: float | None, unit: str | None, leads: Leads) -> Plain | None:
    """A plain record by its header; None if the header describes anything else."""
    lines = header_lines(header_path)
    first = RECORD_LINE.fullmatch(lines[0]) if lines else None
    files = {line.split(" ", 1)[0] for line in lines[1:]}
    if first is None or len(files) != 1:
        return None
    signal_path = header_path.with_name(files.pop())
    n_signals, rate, n_samples = first.group(2, 3, 4)
    if not int(n_samples) and int(n_signals) and signal_path.is_file():  # the length is as long as the file
        n_samples = str(signal_path.stat().st_size // (2 * int(n_signals)))
    own, promised = [], []
    for line in lines[1:]:
        words = line.split()
        try:
            promised.append((int(words[5]), int(words[6])))
        except (ValueError, IndexError):
            return None
        # What only this record has: the file, the first value and the checksum.
        words[0], words[5], words[6] = "*", "0", "0"
        own.append(" ".join(words))
    layout = _layout((n_signals, rate, n_samples), tuple(own), given_rate_hz, unit, leads)
    return layout and Plain(layout, signal_path, promised)


@lru_cache(maxsize=64)
def _layout(
    numbers: tuple[str, str, str], signals: tuple[str, ...], given_rate_hz: float | None, unit: str | None, leads: Leads
) -> Layout | None:
    """What a header means, without what only this record has: its name, first values and checksums."""
    channels = [channel for line in signals if (channel := SIGNAL_LINE.fullmatch(line))]
    n_signals, n_samples = int(numbers[0]), int(numbers[2])
    if not n_signals == len(channels) == len(signals) or not n_samples:
        return None
    gains = [float(channel["gain"]) for channel in channels]
    if not all(gains):
        return None
    rate_hz = agreed_rate_hz(float(numbers[1]), given_rate_hz)
    channel_of, notes = match_leads([channel["name"] for channel in channels], leads)
    factors = {lead: mv_per_unit(channels[i]["unit"], unit, lead) for lead, i in channel_of.items()}
    return Layout(
        n_samples,
        n_signals,
        rate_hz,
        tuple(channel_of),
        tuple(channel_of.values()),
        tuple(float(channels[i]["baseline"] or channels[i]["zero"]) for i in channel_of.values()),
        tuple(factors[lead] / gains[i] for lead, i in channel_of.items()),
        (*notes, *unit_notes(list(factors.values()))),
    )
