"""EDF, EDF+ (16 bits a sample) and BDF (24 bits): one header, then records that hold a stretch of every signal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from lamae_toolkit.ecg.io.channels import (
    Reading,
    agreed_rate_hz,
    complete_limb_leads,
    finite_number,
    match_leads,
    mv_per_unit,
    unit_notes,
)
from lamae_toolkit.ecg.io.stretch import Stretch, blocks
from lamae_toolkit.errors import ECGError

WIDTHS = {"label": 16, "transducer": 80, "unit": 8, "physical_min": 8, "physical_max": 8, "digital_min": 8} | {
    "digital_max": 8,
    "filters": 80,
    "n_samples": 8,
}
"""The fields of the header that follow its first 256 bytes, each with its bytes a signal, in the order of the file."""

MAX_SIGNALS = 1000
"""Far above any recording; a damaged header may declare more."""


class Header(NamedTuple):
    """What a file declares; the fields of the signals as text, one a signal."""

    n_records: int
    record_s: float
    bytes_per_sample: int
    fields: dict[str, list[str]]

    def number(self, field: str, signal: int) -> float:
        """The value of a field; some writers use the decimal comma of their country."""
        what = f"The {field.replace('_', ' ')} of signal {self.fields['label'][signal][:16]!r}"
        return finite_number(self.fields[field][signal].replace(",", "."), what)


def read(
    path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None, stretch: Stretch
) -> Reading:
    """The signals named after a lead, as "ECG II" or "II"; each has a unit and may have a rate of its own."""
    header = _header(path)
    labels = header.fields["label"]
    signals = [i for i, label in enumerate(labels) if label not in ("EDF Annotations", "BDF Annotations")]
    channel_of, notes = match_leads([labels[i] for i in signals], leads)
    channel_of = {lead: signals[index] for lead, index in channel_of.items()}
    n_samples = [int(header.number("n_samples", signal)) for signal in range(len(labels))]
    if len({n_samples[channel] for channel in channel_of.values()}) > 1:
        raise ECGError("The leads have different sampling rates; resample them to one rate first.")
    rate_hz = n_samples[next(iter(channel_of.values()))] / header.record_s
    rate_hz = agreed_rate_hz(float(f"{rate_hz:.9g}"), given_rate_hz)
    scales = {lead: _scale(header, channel, lead, unit) for lead, channel in channel_of.items()}
    total = header.n_records * n_samples[next(iter(channel_of.values()))]
    samples = stretch.samples(total, rate_hz, len(channel_of))
    signals_mv = {lead: np.empty(len(samples), np.float32) for lead in channel_of}
    with path.open("rb") as file:
        for lead, at, counts in _counts(file, header, n_samples, channel_of, samples):
            low, gain, digital_low, factor = scales[lead]
            signals_mv[lead][at : at + len(counts)] = ((counts - digital_low) * gain + low) * factor
    signals_mv, derived = complete_limb_leads(signals_mv)
    return signals_mv, rate_hz, (*notes, *unit_notes([factor for *_, factor in scales.values()]), *derived)


def _scale(header: Header, channel: int, lead: str, unit: str | None) -> tuple[float, float, float, float]:
    """Lowest value in the unit of the file, size of a count in it, the count of that value, and millivolts a unit."""
    low, high = header.number("physical_min", channel), header.number("physical_max", channel)
    digital_low, digital_high = header.number("digital_min", channel), header.number("digital_max", channel)
    limit = 2 ** (8 * header.bytes_per_sample - 1)
    if low == high or not -limit <= digital_low < digital_high < limit:
        raise ECGError(f"Lead {lead} has no range, so its size in mV is unknown; export the ECG again.")
    factor = mv_per_unit(header.fields["unit"][channel] or None, unit, lead)
    return low, (high - low) / (digital_high - digital_low), digital_low, factor


def _counts(
    file: BinaryIO, header: Header, n_samples: list[int], channel_of: dict[str, int], samples: range
) -> Iterator[tuple[str, int, np.ndarray]]:
    """The stored integers of these samples of each lead: lead, index of the first within the stretch, and integers.

    Only the data records that hold the stretch are read, some at a time.
    """
    width, of_lead = header.bytes_per_sample, n_samples[next(iter(channel_of.values()))]
    in_record, n_bytes = sum(n_samples), header.bytes_per_sample * sum(n_samples)
    file.seek(256 * (1 + len(n_samples)) + n_bytes * (samples.start // of_lead))
    for block in blocks(range(samples.start // of_lead, -(-samples.stop // of_lead)), in_record):
        records = np.frombuffer(file.read(n_bytes * len(block)), np.uint8).reshape(len(block), n_bytes)
        start = block.start * of_lead
        wanted = range(max(start, samples.start), min(block.stop * of_lead, samples.stop))
        for lead, channel in channel_of.items():
            first = width * sum(n_samples[:channel])
            counts = _integers(records[:, first : first + width * of_lead], width)
            for part in blocks(wanted, 1):  # a data record may be as long as the file
                yield lead, part.start - samples.start, counts[part.start - start : part.stop - start]


def _integers(content: np.ndarray, width: int) -> np.ndarray:
    """Signed integers of 2 or 3 bytes, the lowest byte first."""
    content = np.ascontiguousarray(content)
    if width == 2:
        return content.view("<i2").reshape(-1)
    low, middle, high = (content[:, byte::3].reshape(-1).astype(np.int32) for byte in range(3))
    return low | middle << 8 | (high ^ 0x80) - 0x80 << 16


def _header(path: Path) -> Header:
    """The header of a file, refused if the file is longer or shorter than it declares."""
    with path.open("rb") as file:
        head = file.read(256)
        n_records, record_s, n_signals = (
            finite_number(head[start:end].decode("latin-1").replace(",", "."), what)
            for start, end, what in ((236, 244, "Number of records"), (244, 252, "Duration"), (252, 256, "Signals"))
        )
        if n_records < 1 or record_s <= 0 or n_signals < 1:
            raise ECGError("Its header declares no samples, as during an unfinished recording; export it again.")
        if n_signals > MAX_SIGNALS:
            raise ECGError(f"Its header declares {n_signals:g} signals, which no ECG has; export it again.")
        text = file.read(256 * int(n_signals)).decode("latin-1")
    fields, start = {}, 0
    for name, width in WIDTHS.items():
        ends = range(start, start + width * int(n_signals), width)
        fields[name] = [text[at : at + width].rstrip("\0 ").strip() for at in ends]
        start += width * int(n_signals)
    header = Header(int(n_records), record_s, 3 if head[:1] == b"\xff" else 2, fields)
    n_samples = [int(header.number("n_samples", signal)) for signal in range(int(n_signals))]
    promised = 256 * (1 + int(n_signals)) + header.bytes_per_sample * int(n_records) * sum(n_samples)
    size = path.stat().st_size
    if min(n_samples) < 1 or size != promised:
        raise ECGError(f"The file has {size} bytes, but its header declares {promised}; copy or export it again.")
    if head[192:197] in (b"EDF+D", b"BDF+D"):
        raise ECGError("The recording has interruptions (EDF+D), which are not read; export it as one piece.")
    return header
