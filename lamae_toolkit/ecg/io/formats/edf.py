"""EDF and EDF+ (16 bits), through edfio, with checks where edfio would silently fill in or shorten."""

import re
import warnings
from pathlib import Path

import edfio
import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, finite_number, match_leads, mv_per_unit, read_leads
from lamae_toolkit.errors import ECGError


def read(path: Path, given_rate_hz: float | None, unit: str | None) -> Reading:
    """The signals named after a lead, as "ECG II" or "II"; each has a unit and may have a rate of its own."""
    _check_size(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # edfio warns where it invents a calibration or a length
        file = edfio.read_edf(path, lazy_load_data=True, header_encoding="latin-1")
        if file.reserved.startswith("EDF+D"):
            raise ECGError("The recording has interruptions (EDF+D), which are not read; export it as one piece.")
        signals = file.signals
        # EDF+ names a signal by its type and its position, as in "ECG II".
        labels = [re.sub(r"(?i)^\s*(ECG|EKG) (?=.)", "", signal.label) for signal in signals]
        channel_of, notes = match_leads(labels)
        rates_hz = {signals[index].samples_per_data_record / file.data_record_duration for index in channel_of.values()}
        if len(rates_hz) > 1:
            raise ECGError("The leads have different sampling rates; resample them to one rate first.")
        rate_hz = agreed_rate_hz(float(f"{rates_hz.pop():.9g}"), given_rate_hz)

        def read_lead(channel: int, lead: str) -> tuple[np.ndarray, float]:
            signal = signals[channel]
            physical = [finite_number(x, f"The range of lead {lead}") for x in signal.physical_range]
            digital = signal.digital_range
            if physical[0] == physical[1] or not -32768 <= digital[0] < digital[1] <= 32767:
                raise ECGError(f"Lead {lead} has no range, so its size in mV is unknown; export the ECG again.")
            factor = mv_per_unit(signal.physical_dimension or None, unit, lead)
            return signal.data * factor, factor

        return read_leads(channel_of, rate_hz, notes, read_lead)


def _check_size(path: Path) -> None:
    """Refuse a file that is longer or shorter than its header says, before edfio adapts the header to the file."""
    with path.open("rb") as file:
        head = file.read(256)
        n_records, duration_s, n_signals = (
            finite_number(head[start:end].decode("latin-1"), what)
            for start, end, what in ((236, 244, "Number of records"), (244, 252, "Duration"), (252, 256, "Signals"))
        )
        if n_records < 1 or duration_s <= 0 or n_signals < 1:
            raise ECGError("Its header declares no samples, as during an unfinished recording; export it again.")
        file.seek(256 + 216 * int(n_signals))
        samples = file.read(8 * int(n_signals)).decode("latin-1")
    per_record = [finite_number(samples[i : i + 8], "Number of samples") for i in range(0, 8 * int(n_signals), 8)]
    promised = 256 * (1 + n_signals) + 2 * n_records * sum(per_record)
    size = path.stat().st_size
    if min(per_record) < 1 or size != promised:
        raise ECGError(f"The file has {size} bytes, but its header declares {promised:.0f}; copy or export it again.")
