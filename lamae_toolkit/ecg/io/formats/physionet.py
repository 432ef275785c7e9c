"""WFDB records, of one or several segments: the common kind is read here, every other kind by the package wfdb."""

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
    match_leads,
    mv_per_unit,
    unit_notes,
)
from lamae_toolkit.ecg.io.checks import MAX_SPAN_MV, MIN_SPAN_MV, einthoven_error, without_marks
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
    rf"[-\w]+ +[0-9]+( +{NUMBER}(/\S+)?( +[1-9][0-9]*( +[0-9]+:[0-9:.]+( +[0-9]+/[0-9]+/[0-9]+)?)?)?)?"
)
"""A record line that wfdb takes: name, signals, rate, length, time, date."""
INTEGER = re.compile("-?[0-9]{1,9}")
INVALID = -32768
ROWS_AT_ONCE = 100

Leads = tuple[str, ...] | None
"""The caller's name of each channel, if given."""

BYTES_PER_SAMPLE = {
    **{"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3},
    # FLAC, whose size depends on the signal: a real ECG is never compressed a thousandfold.
    **{"508": 1e-3, "516": 2e-3, "524": 3e-3},
}
FLAC = ("508", "516", "524")
BLOCK_BYTES = 4
"""The largest block of a format that packs several samples together."""


def header_lines(header_path: Path) -> list[str]:
    """The lines of a header that say something: neither empty nor a comment."""
    lines = (line.strip() for line in read_text(header_path).splitlines())
    return [line for line in lines if line and line[0] != "#"]


def read(header_path: Path, given_rate_hz: float | None, unit: str | None, leads: Leads) -> Reading:
    """A WFDB record of one or several segments.

    Segments are joined here, lead by lead: wfdb joins them by position and trusts their units.
    """
    plain = _read_plain(header_path, given_rate_hz, unit, leads)
    if plain is not None:
        return plain
    lines = [line.split() for line in header_lines(header_path)]
    if not lines or "/" not in lines[0][0]:
        return _read_segment(header_path, given_rate_hz, unit, leads)
    return _read_segments(header_path, lines[1:], given_rate_hz, unit, leads)


def _read_segments(
    header_path: Path, lines: list[list[str]], given_rate_hz: float | None, unit: str | None, leads: Leads
) -> Reading:
    """A record of several segments; a gap between them, or a segment without any lead, is missing in all leads."""
    if any(len(line) < 2 or not line[1].isdecimal() or len(line[1]) > 12 for line in lines):
        raise ECGError("The header does not name its segments, one a line with its length; copy it again.")
    # A segment of length 0 only describes the layout; "~" is a gap.
    segments = [(line[0], int(line[1])) for line in lines if int(line[1])]
    n_frames, n_missing = sum(n for _, n in segments), sum(n for name, n in segments if name == "~")
    if n_missing >= n_frames or n_missing > MAX_MISSING * n_frames:
        raise ECGError(f"Of {n_frames} samples, {n_missing} lie in gaps between segments; choose single segments.")
    parts: list[LeadSignals] = []
    of_one_frame: set[tuple[float, float]] = set()
    notes: dict[str, None] = {}
    for name, length in segments:
        signals_mv: LeadSignals = {}
        if name != "~":
            segment_path = header_path.with_name(f"{name}.hea")
            if not segment_path.is_file():
                raise ECGError(f"The header of its segment {name} is missing; put {segment_path.name} next to it.")
            signals_mv, rate_hz, segment_notes = _read_segment(
                segment_path, given_rate_hz, unit, leads, may_lack_leads=True
            )
            notes |= dict.fromkeys(segment_notes)
        if signals_mv:
            n_samples = len(next(iter(signals_mv.values())))
            # A signal may have several samples in each frame, which is what the header counts.
            if n_samples % length:
                raise ECGError(
                    f"Its segment {name} does not have the promised {length} samples; copy the record again."
                )
            of_one_frame.add((rate_hz, n_samples // length))
        parts.append(signals_mv)
    if not of_one_frame:
        raise ECGError(f"None of its {len(segments)} segments holds one of the leads {', '.join(LEADS)}.")
    if len(of_one_frame) > 1:
        rates_hz = sorted({rate_hz for rate_hz, _ in of_one_frame})
        raise ECGError(f"Its segments have different sampling rates, {rates_hz} Hz; read them one by one.")
    rate_hz, samples_per_frame = of_one_frame.pop()
    lengths = [length * int(samples_per_frame) for _, length in segments]
    joined = {
        lead: np.concatenate([part.get(lead, np.full(n, np.nan)) for part, n in zip(parts, lengths, strict=True)])
        for lead in LEADS
        if any(lead in part for part in parts)
    }
    return joined, rate_hz, (*notes, f"Joined {len(segments)} segments.")


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
            # One number for all leads is several times faster than one for each.
            operation(signal_mv, np.array(values[:1] if len(set(values)) == 1 else values, np.float32), out=signal_mv)
        return signal_mv

    def is_plausible(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Whether leads between these samples, (channel,), are those of an ECG, and none is flat."""
        low_mv, high_mv = np.sort([self.signal_mv(low), self.signal_mv(high)], axis=0)
        span_mv = high_mv - low_mv
        return bool(
            (span_mv > 0).all()
            and MIN_SPAN_MV < span_mv.max() < MAX_SPAN_MV
            and max(-low_mv.min(), high_mv.max()) < MAX_MV
        )


class Plain(NamedTuple):
    """A plain record: its layout, the file of its samples, and the first values and checksums of its header."""

    layout: Layout
    signal_path: Path
    promised: np.ndarray


def _read_plain(header_path: Path, given_rate_hz: float | None, unit: str | None, leads: Leads) -> Reading | None:
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
    raw = np.fromfile(signal_path, dtype="<i2").reshape(layout.n_samples, layout.n_signals)
    signal_mv = np.ascontiguousarray(layout.signal_mv(raw).T)
    if raw.min() == INVALID:
        signal_mv[raw.T[list(layout.channels)] == INVALID] = np.nan
    wrong = _disagree(promised, raw[0], _of_each_channel(np.add, raw))[list(layout.channels)]
    notes = (
        *layout.notes,
        *_damage_notes([lead for lead, is_wrong in zip(layout.leads, wrong, strict=True) if is_wrong]),
    )
    return dict(zip(layout.leads, signal_mv, strict=True)), layout.sampling_rate_hz, notes


def _of_each_channel(function: np.ufunc, raw: np.ndarray) -> np.ndarray:
    """The minimum, maximum or sum (as 16 bits) of each channel of (t, channel): long rows are added far faster."""
    n_samples, n_channels = raw.shape
    rows = n_samples // ROWS_AT_ONCE * ROWS_AT_ONCE
    parts = [raw[rows:]]
    if rows:
        wide = function.reduce(raw[:rows].reshape(-1, ROWS_AT_ONCE * n_channels), axis=0, dtype=raw.dtype)
        parts.append(wide.reshape(ROWS_AT_ONCE, n_channels))
    return function.reduce(np.concatenate(parts), axis=0, dtype=raw.dtype)


def _disagree(promised: np.ndarray, first: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Which channels do not have the checksum, or for want of one the first value, of the header, (channel,)."""
    firsts, checksums = promised.T
    # Writers that compute no checksum write 0, and a first value of 0 with it.
    wrong_first = (firsts != 0) & (firsts != first)
    return np.where(checksums != 0, (sums - checksums) % 65536 != 0, wrong_first)


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
    is anything to report: it is damaged, has gaps, or may have a flat lead or an amplitude that no ECG has.
    """
    of_layout: dict[Layout, list[tuple[int, Path, np.ndarray]]] = {}
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
        rows: list[int] = []
        for row, path, promised in files:
            if _read_samples(path, raw, layout, promised):
                of_all[:, len(rows)] = of_one
                rows.append(row)
            if len(rows) == at_once or (rows and path is files[-1][1]):
                signal_mv = layout.signal_mv(together[:, : len(rows)])
                wrong, _ = einthoven_error({lead: signal_mv[:, :, i] for i, lead in enumerate(layout.leads)})
                if wrong.any():
                    rows, signal_mv = np.array(rows)[~wrong].tolist(), signal_mv[:, ~wrong]
                if rows:
                    yield rows, layout, signal_mv
                rows = []


def _read_samples(path: Path, raw: np.ndarray, layout: Layout, promised: np.ndarray) -> bool:
    """Read the samples into `raw`, (t, channel); returns whether there is nothing to report of them."""
    try:
        with open(path, "rb", buffering=0) as file:
            if file.readinto(raw.data) < raw.nbytes:
                return False
    except OSError:
        return False
    low, high, sums = (_of_each_channel(function, raw) for function in (np.minimum, np.maximum, np.add))
    return bool(low.min() != INVALID and layout.is_plausible(low, high) and not _disagree(promised, raw[0], sums).any())


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
        if len(words) != 9 or not (INTEGER.fullmatch(words[5]) and INTEGER.fullmatch(words[6])):
            return None
        promised.append((int(words[5]), int(words[6])))
        words[0], words[5], words[6] = "*", "0", "0"
        own.append(" ".join(words))
    layout = _layout((n_signals, rate, n_samples), tuple(own), given_rate_hz, unit, leads)
    return layout and Plain(layout, signal_path, np.array(promised))


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
    header_path: Path, given_rate_hz: float | None, unit: str | None, leads: Leads, *, may_lack_leads: bool = False
) -> Reading:
    """One segment. The header is checked against its own text and the files before wfdb reads any signal.

    may_lack_leads: whether a segment without any lead is none, instead of an error.

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
        rate_hz = float(lines[0][2].split("/")[0]) if len(lines[0]) > 2 else None
        if rate_hz is not None and not math.isclose(rate_hz, record.fs, rel_tol=1e-6):
            raise ECGError(
                f"The sampling rate {lines[0][2]!r} in the header cannot be understood; write it as a number."
            )
        rate_hz = agreed_rate_hz(rate_hz, given_rate_hz)
        names = [name or "" for name in record.sig_name]
        if may_lack_leads and leads is None and not any(map(lead_name, names)):
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
        channels = sorted(channel_of.values())
        record = wfdb.rdrecord(name, channels=channels, smooth_frames=False, physical=False)
    # wfdb returns the channels in ascending order; a channel may have several samples a frame.
    wrong = [
        lead
        for lead, channel in channel_of.items()
        if _is_damaged(lines[channel + 1], record.e_d_signal[channels.index(channel)])
    ]
    signals = dict(zip(channels, _in_units_of_the_header(record), strict=True))
    signals_mv = {lead: signals[channel] * factors[lead] for lead, channel in channel_of.items()}
    lengths = {len(signal) for signal in signals_mv.values()}
    if len(lengths) > 1 or lengths == {0}:
        raise ECGError("The leads are empty or have different sampling rates; resample them to one rate first.")
    notes = (*notes, *unit_notes(list(factors.values())), *_damage_notes(wrong))
    return signals_mv, rate_hz * lengths.pop() / record.sig_len, notes


def _is_damaged(words: list[str], counts: np.ndarray) -> bool:
    """Whether the samples of a signal do not have the checksum or first value in its line of the header."""
    if len(words) < 7 or not (INTEGER.fullmatch(words[5]) and INTEGER.fullmatch(words[6])):
        return False
    promised = np.array([[int(words[5]), int(words[6])]])
    return bool(_disagree(promised, counts[:1], np.array([counts.sum(dtype=np.int64)]))[0])


def _in_units_of_the_header(record: "wfdb.Record") -> list[np.ndarray]:
    """The signals, NaN where a sample is marked as missing: by the lowest integer, or by -32768 in longer formats."""
    counts = record.e_d_signal
    signals = record.dac(expanded=True)
    return [
        np.where(np.isnan(without_marks(of_channel)), np.nan, signal)
        for of_channel, signal in zip(counts, signals, strict=True)
    ]


@contextmanager
def _record_for_wfdb(header_path: Path) -> Iterator[str]:
    """The name by which wfdb finds a record, or a copy of it if its record line is not as the standard has it.

    Archives have lines with a year as the date, with the name of the signal file, or with the length 0, which the
    standard lets stand for any length. The name and the date do not matter here.
    """
    lines = header_lines(header_path)
    if STANDARD_LINE.fullmatch(lines[0]):
        yield str(header_path.with_suffix(""))
        return
    words = lines[0].split()[1:4]
    length = [] if words[2:] in ([], ["0"]) else words[2:]
    with TemporaryDirectory() as folder:
        for name in {line.split()[0] for line in lines[1:]}:
            signal_path = header_path.with_name(Path(name).name)
            if signal_path.is_file():
                shutil.copyfile(signal_path, Path(folder) / signal_path.name)
        text = "\n".join([" ".join(["record", *words[:2], *length]), *lines[1:], ""])
        (Path(folder) / "record.hea").write_text(text, encoding="utf-8")
        yield str(Path(folder) / "record")


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
