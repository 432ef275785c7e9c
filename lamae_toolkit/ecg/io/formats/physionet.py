"""WFDB records, of one or several segments: the common kind is read here, every other kind by the package wfdb."""

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from lamae_toolkit.ecg.io.channels import (
    MAX_MISSING,
    MAX_MV,
    LeadSignals,
    Reading,
    agreed_rate_hz,
    as_float32,
    finite_number,
    match_leads,
    mv_per_unit,
    unit_notes,
)
from lamae_toolkit.ecg.io.checks import MAX_SPAN_MV, MIN_SPAN_MV, einthoven_error
from lamae_toolkit.ecg.io.stretch import Stretch, blocks, check_size
from lamae_toolkit.ecg.leads import LEADS, lead_name
from lamae_toolkit.errors import ECGError, WarningNote
from lamae_toolkit.files import read_text

NUMBER = r"[0-9]+(?:\.[0-9]+)?"
RECORD_LINE = re.compile(rf"([^\s/]+) +([0-9]+) +({NUMBER}) +([0-9]+)(?: .*)?")
SIGNAL_LINE = re.compile(
    rf"(?P<file>[^\s/\\]+) +16 +(?P<gain>-?{NUMBER})(?:\((?P<baseline>-?[0-9]+)\))?/(?P<unit>\S+)"
    r" +[0-9]+ +(?P<zero>-?[0-9]+) +-?[0-9]+ +-?[0-9]+ +[0-9]+ +(?P<name>\S+)"
)
STANDARD_LINE = re.compile(
    rf"[-\w]+ +[0-9]+ +{NUMBER}(/\S+)? +[1-9][0-9]*( +[0-9]+:[0-9:.]+( +[0-9]+/[0-9]+/[0-9]+)?)?"
)
"""A record line that wfdb takes and that gives the length: name, signals, rate, length, time, date."""
INTEGER = re.compile("-?[0-9]{1,9}")
INVALID = -32768

Leads = tuple[str, ...] | None
"""The caller's name of each channel, if given."""

BYTES_PER_SAMPLE = {
    **{"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3},
    # FLAC, whose size depends on the signal: a real ECG is never compressed a hundredfold.
    **{"508": 1e-2, "516": 2e-2, "524": 3e-2},
}
FLAC = ("508", "516", "524")
BLOCK_BYTES = 4
"""The largest block of a format that packs several samples together."""

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


def read(header_path: Path, given_rate_hz: float | None, unit: str | None, leads: Leads, stretch: Stretch) -> Reading:
    """A WFDB record of one or several segments, or a stretch of it.

    Segments are joined here, lead by lead: wfdb joins them by position and trusts their units.
    """
    plain = _read_plain(header_path, given_rate_hz, unit, leads, stretch)
    if plain is not None:
        return plain
    lines = [line.split() for line in header_lines(header_path)]
    if not lines or "/" not in lines[0][0]:
        return _read_segment(header_path, given_rate_hz, unit, leads, stretch)
    return _read_segments(header_path, lines, given_rate_hz, unit, leads, stretch)


def _read_segments(
    header_path: Path,
    lines: list[list[str]],
    given_rate_hz: float | None,
    unit: str | None,
    leads: Leads,
    stretch: Stretch,
) -> Reading:
    """The segments in which the stretch lies; a gap, or a segment without any lead, is missing in all leads."""
    if any(len(line) < 2 or not line[1].isdecimal() or len(line[1]) > 12 for line in lines[1:]):
        raise ECGError("The header does not name its segments, one a line with its length; copy it again.")
    # A segment of length 0 only describes the layout; "~" is a gap.
    listed = [(line[0], int(line[1])) for line in lines[1:] if int(line[1])]
    names = [name for name, _ in listed if name != "~"]
    if len(names) > MAX_SEGMENTS:
        raise ECGError(f"It has {len(names)} segments, and at most {MAX_SEGMENTS} are joined; read single segments.")
    if len(set(names)) < len(names):
        raise ECGError("Its header lists a segment twice, so it is damaged; copy the record again.")
    n_frames = sum(n for _, n in listed)
    n_segments, promised = lines[0][0].partition("/")[2], lines[0][3] if len(lines[0]) > 3 else "0"
    if n_segments != str(len(lines) - 1) or promised not in ("0", str(n_frames)):
        raise ECGError(
            f"Its record line declares {n_segments[:9]} segments and {promised[:12]} samples, but its segment lines are"
            f" {len(lines) - 1} with {n_frames}; copy the record again.",
            "header and signal disagree",
        )
    if stretch.is_complete:
        frames = range(n_frames)
        check_size(n_frames, 1)
    else:
        frames = stretch.samples(n_frames, agreed_rate_hz(_rate_in_header_hz(lines[0]), given_rate_hz), 1)
    segments, start = [], 0
    for name, length in listed:
        inside = range(max(frames.start, start) - start, min(frames.stop, start + length) - start)
        if inside:
            segments.append((name, length, inside))
        start += length
    n_missing = sum(len(inside) for name, _, inside in segments if name == "~")
    if n_missing >= len(frames) or n_missing > MAX_MISSING * len(frames):
        raise ECGError(f"Of {len(frames)} samples, {n_missing} lie in gaps between segments; choose single segments.")
    parts: list[LeadSignals] = []
    of_one_frame: set[tuple[float, float]] = set()
    notes: dict[str, None] = {}
    for name, length, inside in segments:
        signals_mv: LeadSignals = {}
        if name != "~":
            segment_path = header_path.with_name(f"{name}.hea")
            if not segment_path.is_file():
                raise ECGError(f"The header of its segment {name} is missing; put {segment_path.name} next to it.")
            signals_mv, rate_hz, segment_notes = _read_segment(
                segment_path, given_rate_hz, unit, leads, inside, n_frames=length
            )
            notes |= dict.fromkeys(segment_notes)
        if signals_mv:
            # A signal may have several samples in each frame, which is what the header counts.
            of_one_frame.add((rate_hz, len(next(iter(signals_mv.values()))) // len(inside)))
        parts.append(signals_mv)
    if not of_one_frame:
        raise ECGError(f"None of its {len(segments)} segments holds one of the leads {', '.join(LEADS)}.")
    if len(of_one_frame) > 1:
        rates_hz = sorted({rate_hz for rate_hz, _ in of_one_frame})
        raise ECGError(f"Its segments have different sampling rates, {rates_hz} Hz; read them one by one.")
    rate_hz, samples_per_frame = of_one_frame.pop()
    lengths = [len(inside) * int(samples_per_frame) for _, _, inside in segments]
    joined: LeadSignals = {}
    for lead in LEADS:
        if any(lead in part for part in parts):
            joined[lead] = np.full(sum(lengths), np.nan, np.float32)
            ends = np.cumsum(lengths)
            for part, n_samples, end in zip(parts, lengths, ends, strict=True):
                if lead in part:
                    joined[lead][end - n_samples : end] = part.pop(lead)  # so that it is not in memory twice
    many = (f"Joined {len(segments)} segments.",) if len(segments) > 1 else ()
    return joined, rate_hz, (*notes, *many)


def _rate_in_header_hz(words: list[str]) -> float | None:
    """Frames a second by a record line, each with one or several samples of a signal; None if it does not say so."""
    return finite_number(words[2].split("/")[0], "The sampling rate in the header") if len(words) > 2 else None


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


def _read_plain(
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
    size = _checked_size(signal_path, layout.n_bytes)
    if size > layout.n_bytes:
        raise _too_long(signal_path, size, layout.n_bytes)
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
        wrong = _disagree(of_header if len(samples) == layout.n_samples else of_header * [1, 0], first, sums)
        damaged = [lead for lead, channel in zip(layout.leads, layout.channels, strict=True) if wrong[channel]]
    return signals_mv, layout.sampling_rate_hz, (*layout.notes, *_damage_notes(damaged))


def _sums(raw: np.ndarray) -> np.ndarray:
    """The sum over time of samples (t, ..., channel), in 16 bits as the checksums are."""
    rows = len(raw) // 100 * 100
    wide = np.add.reduce(raw[:rows].reshape(max(1, rows // 100), -1), axis=0, dtype=raw.dtype)  # faster in long rows
    parts = [wide.reshape(-1, *raw.shape[1:]), raw[rows:]]
    return np.add.reduce(np.concatenate(parts), axis=0, dtype=raw.dtype)


def _disagree(promised: np.ndarray, first: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Which channels do not have the checksum, or for want of one the first value, of the header, (..., channel).

    promised: the first value and the checksum of each, (..., channel, 2). Writers that compute no checksum write 0.
    """
    firsts, checksums = promised[..., 0], promised[..., 1]
    return np.where(checksums != 0, (sums - checksums) & 0xFFFF != 0, (firsts != 0) & (firsts != first))


def _damage_notes(leads: Sequence[str]) -> tuple[WarningNote, ...]:
    """What is to be warned of if these leads do not have the checksum or first value of the header."""
    if not leads:
        return ()
    of = f"lead {leads[0]}" if len(leads) == 1 else f"leads {', '.join(leads)}"
    sentence = f"The samples of {of} do not match the checksum or first value in the header"
    return (WarningNote(f"{sentence}, so one of the two was changed; copy the record again.", "checksum"),)


def read_alike(
    headers: Sequence[Path],
    given_rate_hz: float | None = None,
    unit: str | None = None,
    leads: Leads = None,
    *,
    at_once: int = 16,
) -> Iterator[tuple[list[int], Layout, np.ndarray]]:
    """The plain records among these, some of one layout at a time: which, and their leads in mV, (t, b, l).

    The values are those of `read`, far faster. Left out is every record of which there
    is anything to report: it is damaged, has gaps, may have a flat lead, or would be warned of.
    """
    of_layout: dict[Layout, list[tuple[int, Path, list[tuple[int, int]]]]] = {}
    for row, header in enumerate(headers):
        with suppress(ECGError, OSError):
            plain = _plain_layout(header, given_rate_hz, unit, leads)
            # Before any memory is taken for its signals.
            if plain and plain.signal_path.stat().st_size == plain.layout.n_bytes:
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
                agree = ~_disagree(np.array(of_headers), ecgs[0], _sums(ecgs)).any(axis=1)
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


def _read_segment(
    header_path: Path,
    given_rate_hz: float | None,
    unit: str | None,
    leads: Leads,
    stretch: Stretch | range,
    *,
    n_frames: int | None = None,
) -> Reading:
    """One segment. The header is checked against its own text and the files before wfdb reads any signal.

    stretch: what to read of it, also as a range of frames. n_frames: how many it must have, as one of several
        segments, which may also be without any lead.

    wfdb silently assumes 250 Hz, a gain of 200 and mV where a header gives nothing, and reads "µV" as "V".
    """
    import wfdb

    lines = [line.split() for line in header_lines(header_path)]
    if not lines or len(lines[0]) < 2 or not lines[0][1].isdecimal() or "/" in lines[0][0]:
        raise ECGError(f"The header {header_path.name} does not describe its signals, one a line; copy it again.")
    with _record_for_wfdb(header_path) as name:
        record = wfdb.rdheader(name)
        if isinstance(record, wfdb.MultiRecord) or len(lines) - 1 != record.n_sig or record.n_sig == 0:
            raise ECGError(f"The header {header_path.name} does not describe its signals, one a line; copy it again.")
        rate_hz = _rate_in_header_hz(lines[0])
        if rate_hz is not None and not math.isclose(rate_hz, record.fs, rel_tol=1e-6):
            raise ECGError(
                f"The sampling rate {lines[0][2]!r} in the header cannot be understood; write it as a number."
            )
        rate_hz = agreed_rate_hz(rate_hz, given_rate_hz)
        names = [name or "" for name in record.sig_name]
        if n_frames is not None and leads is None and not any(map(lead_name, names)):
            return {}, rate_hz, ()
        channel_of, notes = match_leads(names, leads)
        factors = {}
        for lead, channel in channel_of.items():
            gain, slash, unit_in_file = (lines[channel + 1] + [""])[2].partition("/")
            # A wrong gain is as bad as a wrong unit, so the assumed 200 units per mV is not good enough.
            if not gain or not float(gain.split("(")[0] or 0) == record.adc_gain[channel] != 0:
                raise ECGError(
                    f"Lead {lead} has no gain, so its size in mV is unknown; write the gain into the header."
                )
            factors[lead] = mv_per_unit(unit_in_file if slash else None, unit, lead)
        _check_files(header_path, record)
        if n_frames not in (None, record.sig_len):
            raise ECGError(
                f"Its segment {header_path.stem} does not have the promised {n_frames} samples; copy the record again."
            )
        of_leads = {record.samps_per_frame[channel] or 1 for channel in channel_of.values()}
        if len(of_leads) > 1:
            raise ECGError("The leads have different sampling rates; resample them to one rate first.")
        per_frame = of_leads.pop()
        frames = stretch
        if not isinstance(frames, range):
            frames = frames.samples(record.sig_len, rate_hz, per_frame * len(channel_of))
        channels = sorted(channel_of.values())
        signals_mv = {lead: np.empty(len(frames) * per_frame, np.float32) for lead in channel_of}
        counts_of = {lead: Counts() for lead in channel_of}
        for block in blocks(frames, sum(n or 1 for n in record.samps_per_frame)):
            read = wfdb.rdrecord(name, block.start, block.stop, channels=channels, smooth_frames=False, physical=False)
            # wfdb returns the channels in ascending order; a channel may have several samples a frame.
            counts = dict(zip(channels, read.e_d_signal, strict=True))
            signals = dict(zip(channels, read.dac(expanded=True), strict=True))
            at = (block.start - frames.start) * per_frame
            for lead, channel in channel_of.items():
                block_mv = as_float32(signals[channel] * factors[lead])
                counts_of[lead].add(counts[channel], block_mv)
                signals_mv[lead][at : at + len(block) * per_frame] = block_mv
    complete = len(frames) == record.sig_len
    damaged = []
    for lead, channel in channel_of.items():
        if counts_of[lead].are_damaged(lines[channel + 1], frames.start, complete):
            damaged.append(lead)
        if counts_of[lead].mark_missing:
            signals_mv[lead][signals_mv[lead] == counts_of[lead].mark_mv] = np.nan
    notes = (*notes, *unit_notes(list(factors.values())), *_damage_notes(damaged))
    return signals_mv, rate_hz * per_frame, notes


@dataclass
class Counts:
    """What is to be known of the stored integers of a signal that is read block by block."""

    first: int | None = None
    total: int = 0
    low: float = np.inf
    high: float = -np.inf
    """Among the samples that are not marked as missing by -32768."""
    lowest: float = np.inf
    mark_mv: float = np.nan

    def add(self, counts: np.ndarray, signal_mv: np.ndarray) -> None:
        """The next block, as integers and in mV."""
        self.first = int(counts[0]) if self.first is None else self.first
        self.total += int(counts.sum(dtype=np.int64))
        self.lowest = min(self.lowest, counts.min())
        marked = counts == INVALID
        if marked.any():
            self.mark_mv = float(signal_mv[marked][0])
            counts = counts[~marked]
        if counts.size:
            self.low, self.high = min(self.low, counts.min()), max(self.high, counts.max())

    @property
    def mark_missing(self) -> bool:
        """Whether -32768 stands for a missing sample, also in longer integers: it is the lowest and stands apart."""
        return bool(self.lowest == INVALID and self.low - INVALID > (self.high - self.low) / 2)

    def are_damaged(self, words: list[str], start: int, complete: bool) -> bool:
        """Whether they do not have the checksum or first value in the line of the header."""
        if len(words) < 7 or not (INTEGER.fullmatch(words[5]) and INTEGER.fullmatch(words[6])) or start:
            return False
        promised = np.array([[int(words[5]), int(words[6]) if complete else 0]])
        return bool(_disagree(promised, np.array([self.first]), np.array([self.total]))[0])


@contextmanager
def _record_for_wfdb(header_path: Path) -> Iterator[str]:
    """The name by which wfdb finds a record, or a copy of it if its record line is not as the standard has it.

    Archives have lines with a year as the date, with the name of the signal file, or without a length or with the
    length 0, which the standard lets stand for any length. The name and the date do not matter here.
    """
    lines = header_lines(header_path)
    if STANDARD_LINE.fullmatch(lines[0]):
        yield str(header_path.with_suffix(""))
        return
    n_signals, rate, length, *_ = [*lines[0].split()[1:4], "", ""]
    if length in ("", "0"):
        length = str(_frames_by_size(header_path, lines[1:]))
    if not re.fullmatch("[0-9]+", length):
        raise ECGError(f"The length {length[:12]!r} in the header cannot be understood; write the number of samples.")
    with TemporaryDirectory() as folder:
        for name in {line.split()[0] for line in lines[1:]}:
            signal_path = header_path.with_name(Path(name).name)
            if signal_path.is_file():
                _link_or_copy(signal_path, Path(folder) / signal_path.name)
        # 250 Hz is what wfdb assumes; it is not used.
        text = "\n".join([f"record {n_signals} {rate or 250} {length}", *lines[1:], ""])
        (Path(folder) / "record.hea").write_text(text, encoding="utf-8")
        yield str(Path(folder) / "record")


def _frames_by_size(header_path: Path, signals: list[str]) -> int:
    """How many frames the first signal file of a header holds by its size."""
    per_frame, offset, name = 0.0, 0, ""
    for words in map(str.split, signals):
        layout = re.fullmatch(r"([0-9]+)(?:x([0-9]+))?(?::[0-9]+)?(?:\+([0-9]+))?", words[1]) if words[1:] else None
        if layout is None or layout[1] in FLAC or layout[1] not in BYTES_PER_SAMPLE:
            raise ECGError("Its header does not give its length; write the number of samples into its first line.")
        name = name or words[0]
        if words[0] == name:
            per_frame += BYTES_PER_SAMPLE[layout[1]] * int(layout[2] or 1)
            offset = int(layout[3] or 0)
    if not per_frame:
        return 1  # it has no signal, which is refused later
    return int((_checked_size(header_path.with_name(name), offset) - offset) / per_frame)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:  # Windows lets only some users do so
        shutil.copyfile(source, target)


def _check_files(header_path: Path, record: Any) -> None:
    """Refuse signal files that are longer or shorter than the header declares, or of another kind."""
    for name in dict.fromkeys(record.file_name):
        of_file = [channel for channel in range(record.n_sig) if record.file_name[channel] == name]
        samples_per_frame = sum(record.samps_per_frame[channel] or 1 for channel in of_file)
        kind, offset = record.fmt[of_file[0]], record.byte_offset[of_file[0]] or 0
        if kind not in BYTES_PER_SAMPLE:
            raise ECGError(
                f"Its signal file {name} is in the format {kind[:9]}, which WFDB does not have; copy it again."
            )
        n_bytes = BYTES_PER_SAMPLE[kind] * samples_per_frame * (record.sig_len or 1)
        # Rounded first, as 4/3 byte is not exact in floating point.
        promised = offset + math.ceil(round(n_bytes, 3))
        path = header_path.with_name(name)
        size = _checked_size(path, promised)
        with path.open("rb") as file:
            if offset and file.read(6) == b"MATLAB":
                raise ECGError(
                    f"Its signal file {name} was saved again by MATLAB, whose version 5 does not fit the old header;"
                    f" copy both again, or rename {header_path.name} to read {name} alone.",
                    "header and signal disagree",
                )
        # A writer may fill up its last block.
        if record.sig_len and kind not in FLAC and size > promised + BLOCK_BYTES:
            raise _too_long(path, size, promised)


def _too_long(path: Path, size: int, promised: int) -> ECGError:
    return ECGError(
        f"Its signal file {path.name} has {size} bytes, but the header declares {promised} only, so one of the two"
        " belongs to another record; copy both again.",
        "header and signal disagree",
    )


def _checked_size(path: Path, promised: int) -> int:
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
