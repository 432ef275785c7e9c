"""WFDB records, of one or several segments: the common kind is read here, every other kind by the package wfdb."""

from pathlib import Path

import numpy as np

from lamae_toolkit.ecg.io.channels import MAX_MISSING, LeadSignals, Reading, agreed_rate_hz
from lamae_toolkit.ecg.io.formats.wfdb_header import MAX_SEGMENTS, Leads, header_lines, rate_in_header_hz
from lamae_toolkit.ecg.io.formats.wfdb_other import read_segment
from lamae_toolkit.ecg.io.formats.wfdb_plain import read_plain
from lamae_toolkit.ecg.io.stretch import Stretch, check_size
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError


def read(header_path: Path, given_rate_hz: float | None, unit: str | None, leads: Leads, stretch: Stretch) -> Reading:
    """A WFDB record of one or several segments, or a stretch of it.

    Segments are joined here, lead by lead: wfdb joins them by position and trusts their units.
    """
    plain = read_plain(header_path, given_rate_hz, unit, leads, stretch)
    if plain is not None:
        return plain
    lines = [line.split() for line in header_lines(header_path)]
    if not lines or "/" not in lines[0][0]:
        return read_segment(header_path, given_rate_hz, unit, leads, stretch)
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
        frames = stretch.samples(n_frames, agreed_rate_hz(rate_in_header_hz(lines[0]), given_rate_hz), 1)
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
            signals_mv, rate_hz, segment_notes = read_segment(
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
