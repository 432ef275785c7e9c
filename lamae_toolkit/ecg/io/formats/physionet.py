"""WFDB records, of one or several segments: the common kind is read here, every other kind by the package wfdb."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamae_toolkit.ecg.io.channels import (
    MAX_MISSING,
    LeadSignals,
    Reading,
    agreed_rate_hz,
    match_leads,
    mv_per_unit,
    unit_notes,
)
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import read_text

if TYPE_CHECKING:
    import wfdb

NUMBER = r"[0-9]+(?:\.[0-9]+)?"
RECORD_LINE = re.compile(rf"([^\s/]+) +([0-9]+) +({NUMBER}) +([0-9]+)(?: .*)?")
SIGNAL_LINE = re.compile(
    rf"(?P<file>[^\s/\\]+) +16 +(?P<gain>-?{NUMBER})(?:\((?P<baseline>-?[0-9]+)\))?/(?P<unit>\S+)"
    r" +[0-9]+ +(?P<zero>-?[0-9]+) +-?[0-9]+ +-?[0-9]+ +[0-9]+ +(?P<name>\S+)"
)
INVALID = -32768

BYTES_PER_SAMPLE = {
    **{"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3},
    # FLAC, whose size depends on the signal: a real ECG is never compressed a thousandfold.
    **{"508": 1e-3, "516": 2e-3, "524": 3e-3},
}


def header_lines(header_path: Path) -> list[str]:
    """The lines of a header that say something: neither empty nor a comment."""
    lines = (line.strip() for line in read_text(header_path).splitlines())
    return [line for line in lines if line and line[0] != "#"]


def read(header_path: Path, given_rate_hz: float | None, unit: str | None) -> Reading:
    """A WFDB record of one or several segments.

    Segments are joined here, lead by lead: wfdb joins them by position and trusts their units.
    """
    plain = _read_plain(header_path, given_rate_hz, unit)
    if plain is not None:
        return plain
    import wfdb

    record = wfdb.rdheader(str(header_path.with_suffix("")))
    if not isinstance(record, wfdb.MultiRecord):
        return _read_segment(header_path, record, given_rate_hz, unit)
    # A segment of length 0 only describes the layout; "~" is a gap.
    segments = [(name, length) for name, length in zip(record.seg_name, record.seg_len, strict=True) if length]
    n_samples, n_missing = sum(n for _, n in segments), sum(n for name, n in segments if name == "~")
    if n_missing >= n_samples or n_missing > MAX_MISSING * n_samples:
        raise ECGError(f"Of {n_samples} samples, {n_missing} lie in gaps between segments; choose single segments.")
    parts: list[LeadSignals] = []
    rates_hz: set[float] = set()
    notes: dict[str, None] = {}
    for name, length in segments:
        signals_mv: LeadSignals = {}
        if name != "~":
            segment_path = header_path.with_name(f"{name}.hea")
            if not segment_path.is_file():
                raise ECGError(f"The header of its segment {name} is missing; put {segment_path.name} next to it.")
            segment = wfdb.rdheader(str(segment_path.with_suffix("")))
            signals_mv, rate_hz, segment_notes = _read_segment(segment_path, segment, given_rate_hz, unit)
            if {len(signal_mv) for signal_mv in signals_mv.values()} != {length}:
                raise ECGError(
                    f"Its segment {name} does not have the promised {length} samples; copy the record again."
                )
            rates_hz.add(rate_hz)
            notes |= dict.fromkeys(segment_notes)
        parts.append(signals_mv)
    if len(rates_hz) > 1:
        raise ECGError(f"Its segments have different sampling rates, {sorted(rates_hz)} Hz; read them one by one.")
    joined = {
        lead: np.concatenate([part.get(lead, np.full(n, np.nan)) for part, (_, n) in zip(parts, segments, strict=True)])
        for lead in LEADS
        if any(lead in part for part in parts)
    }
    return joined, rates_hz.pop(), (*notes, f"Joined {len(segments)} segments.")


def _read_plain(header_path: Path, given_rate_hz: float | None, unit: str | None) -> Reading | None:
    """One file of 16-bit samples, every gain written out; None if the header describes anything else.

    MIMIC-IV-ECG, PTB-XL and most other archives look like this. The package wfdb takes twenty times longer, which
    matters for 800,000 records.
    """
    lines = header_lines(header_path)
    first = RECORD_LINE.fullmatch(lines[0]) if lines else None
    channels = [channel for line in lines[1:] if (channel := SIGNAL_LINE.fullmatch(line))]
    if first is None or len({channel["file"] for channel in channels}) != 1:
        return None
    n_signals, n_samples = int(first[2]), int(first[4])
    gains = [float(channel["gain"]) for channel in channels]
    if not n_signals == len(channels) == len(lines) - 1 or not n_samples or not all(gains):
        return None
    rate_hz = agreed_rate_hz(float(first[3]), given_rate_hz)
    channel_of, notes = match_leads([channel["name"] for channel in channels])
    factors = {lead: mv_per_unit(channels[i]["unit"], unit, lead) for lead, i in channel_of.items()}
    raw = _samples(header_path.with_name(channels[0]["file"]), n_samples, n_signals)
    rows = list(channel_of.values())
    picked = raw.T[rows]
    scale = np.array([factors[lead] / gains[i] for lead, i in channel_of.items()], dtype=np.float32)[:, None]
    baseline = [float(channels[i]["baseline"] or channels[i]["zero"]) for i in rows]
    signal_mv = (picked - np.array(baseline, dtype=np.float32)[:, None]) * scale
    if picked.min() == INVALID:
        signal_mv[picked == INVALID] = np.nan
    return dict(zip(channel_of, signal_mv, strict=True)), rate_hz, (*notes, *unit_notes(list(factors.values())))


def _samples(path: Path, n_samples: int, n_signals: int) -> np.ndarray:
    """The samples, one row per time step; refused if the file is missing or not as long as the header says."""
    promised = 2 * n_samples * n_signals
    size = _checked_size(path, promised)
    if size > promised:
        raise ECGError(
            f"Its signal file {path.name} has {size} bytes, but the header declares {promised} only, so one of"
            " the two belongs to another record; copy both again.",
            "header and signal disagree",
        )
    return np.fromfile(path, dtype="<i2").reshape(n_samples, n_signals)


def _read_segment(
    header_path: Path, record: "wfdb.Record | wfdb.MultiRecord", given_rate_hz: float | None, unit: str | None
) -> Reading:
    """One segment. The header is checked against its own text and the files before wfdb reads any signal.

    wfdb silently assumes 250 Hz, a gain of 200 and mV where a header gives nothing, and reads "µV" as "V".
    """
    import wfdb

    lines = [line.split() for line in header_lines(header_path)]
    if isinstance(record, wfdb.MultiRecord) or len(lines) - 1 != record.n_sig or record.n_sig == 0:
        raise ECGError(f"The header {header_path.name} does not describe its signals, one a line; copy it again.")
    rate_hz = float(lines[0][2].split("/")[0]) if len(lines[0]) > 2 else None
    if rate_hz is not None and not math.isclose(rate_hz, record.fs, rel_tol=1e-6):
        raise ECGError(f"The sampling rate {lines[0][2]!r} in the header cannot be understood; write it as a number.")
    rate_hz = agreed_rate_hz(rate_hz, given_rate_hz)
    channel_of, notes = match_leads([name or "" for name in record.sig_name])
    factors = {}
    for lead, channel in channel_of.items():
        gain, slash, unit_in_file = (lines[channel + 1] + [""])[2].partition("/")
        # A wrong gain is as bad as a wrong unit, so the assumed 200 units per mV is not good enough.
        if not gain or not float(gain.split("(")[0] or 0) == record.adc_gain[channel] != 0:
            raise ECGError(f"Lead {lead} has no gain, so its size in mV is unknown; write the gain into the header.")
        factors[lead] = mv_per_unit(unit_in_file if slash else None, unit, lead)
    for name in dict.fromkeys(record.file_name):
        of_file = [channel for channel in range(record.n_sig) if record.file_name[channel] == name]
        samples_per_frame = sum(record.samps_per_frame[channel] or 1 for channel in of_file)
        n_bytes = BYTES_PER_SAMPLE[record.fmt[of_file[0]]] * samples_per_frame * (record.sig_len or 1)
        # Rounded first, as 4/3 byte is not exact in floating point.
        promised = (record.byte_offset[of_file[0]] or 0) + math.ceil(round(n_bytes, 3))
        _checked_size(header_path.with_name(name), promised)
    record = wfdb.rdrecord(str(header_path.with_suffix("")), channels=sorted(channel_of.values()), smooth_frames=False)
    # wfdb returns the channels in ascending order; a channel may have several samples a frame.
    signals = dict(zip(sorted(channel_of.values()), record.e_p_signal, strict=True))
    signals_mv = {lead: signals[channel] * factors[lead] for lead, channel in channel_of.items()}
    lengths = {len(signal) for signal in signals_mv.values()}
    if len(lengths) > 1 or lengths == {0}:
        raise ECGError("The leads are empty or have different sampling rates; resample them to one rate first.")
    return signals_mv, rate_hz * lengths.pop() / record.sig_len, (*notes, *unit_notes(list(factors.values())))


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
