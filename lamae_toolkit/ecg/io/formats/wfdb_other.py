"""WFDB records of any other kind, one segment, by the package wfdb, with checks of all that it would assume."""

import math
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, as_float32, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.ecg.io.formats.wfdb_header import (
    INVALID,
    NUMBER,
    Leads,
    checked_size,
    damage_notes,
    disagree,
    header_lines,
    rate_in_header_hz,
    too_long,
)
from lamae_toolkit.ecg.io.stretch import Stretch, blocks
from lamae_toolkit.ecg.leads import lead_name
from lamae_toolkit.errors import ECGError

STANDARD_LINE = re.compile(
    rf"[-\w]+ +[0-9]+ +{NUMBER}(/\S+)? +[1-9][0-9]*( +[0-9]+:[0-9:.]+( +[0-9]+/[0-9]+/[0-9]+)?)?"
)
"""A record line that wfdb takes and that gives the length: name, signals, rate, length, time, date."""

INTEGER = re.compile("-?[0-9]{1,9}")
BYTES_PER_SAMPLE = {
    **{"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3},
    # FLAC, whose size depends on the signal: a real ECG is never compressed a hundredfold.
    **{"508": 1e-2, "516": 2e-2, "524": 3e-2},
}
FLAC = ("508", "516", "524")
BLOCK_BYTES = 4
"""The largest block of a format that packs several samples together."""


def read_segment(
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
        described = None if isinstance(record, wfdb.MultiRecord) else len(record.file_name or ())
        if described is None or not described == record.n_sig == len(lines) - 1 > 0:
            raise ECGError(f"The header {header_path.name} does not describe its signals, one a line; copy it again.")
        rate_hz = rate_in_header_hz(lines[0])
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
            frames = frames.samples(record.sig_len or 0, rate_hz, per_frame * len(channel_of))
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
    notes = (*notes, *unit_notes(list(factors.values())), *damage_notes(damaged))
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
        return bool(disagree(promised, np.array([self.first]), np.array([self.total]))[0])


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
    return int((checked_size(header_path.with_name(name), offset) - offset) / per_frame)


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
        size = checked_size(path, promised)
        with path.open("rb") as file:
            if offset and file.read(6) == b"MATLAB":
                raise ECGError(
                    f"Its signal file {name} was saved again by MATLAB, whose version 5 does not fit the old header;"
                    f" copy both again, or rename {header_path.name} to read {name} alone.",
                    "header and signal disagree",
                )
        # A writer may fill up its last block.
        if record.sig_len and kind not in FLAC and size > promised + BLOCK_BYTES:
            raise too_long(path, size, promised)
