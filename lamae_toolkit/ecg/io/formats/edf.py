"""EDF, EDF+ (16 bits a sample) and BDF (24 bits): one header, then records that hold a stretch of every signal."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, finite_number, match_leads, mv_per_unit, read_leads
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


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
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
    width, start = header.bytes_per_sample, np.cumsum([0, *n_samples])
    offset = 256 * (1 + len(labels))
    # One row a record, mapped so that only the leads are read.
    records = np.memmap(path, np.uint8, "r", offset, (header.n_records, width * int(start[-1])))

    def read_lead(channel: int, lead: str) -> tuple[np.ndarray, float]:
        low, high = header.number("physical_min", channel), header.number("physical_max", channel)
        digital_low, digital_high = header.number("digital_min", channel), header.number("digital_max", channel)
        limit = 2 ** (8 * width - 1)
        if low == high or not -limit <= digital_low < digital_high < limit:
            raise ECGError(f"Lead {lead} has no range, so its size in mV is unknown; export the ECG again.")
        factor = mv_per_unit(header.fields["unit"][channel] or None, unit, lead)
        counts = _integers(records[:, width * start[channel] : width * start[channel + 1]], width)
        gain = (high - low) / (digital_high - digital_low)
        return ((counts - digital_low) * gain + low) * factor, factor

    return read_leads(channel_of, rate_hz, notes, read_lead)


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
