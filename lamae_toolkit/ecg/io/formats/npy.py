"""NumPy files: `.npy` holds a signal, `.npz` may name its leads, rate and unit as well."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.errors import ECGError

MAX_RATIO, MIN_BYTES = 50, 1_000_000
"""Limit of compression, which no ECG reaches; files below a million bytes are exempt."""


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """A two-dimensional array; `.npz` may have its own `leads`, `sampling_rate_hz` and `unit` next to `signal`."""
    rate_in_file_hz, unit_in_file = None, None
    names_in_file = None
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if not zipped:
        # Memory-mapped, a file that is shorter than its header says is refused before memory is allocated.
        signal = np.load(path, allow_pickle=False, mmap_mode="r")
    else:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            unpacked = sum(member.file_size for member in archive.zip.infolist())
            if unpacked > MAX_RATIO * max(path.stat().st_size, MIN_BYTES):
                raise ECGError(
                    f"It unpacks to {unpacked / 1e6:.0f} MB, far more than an ECG of its size; save it again."
                )
            if "signal" not in archive:
                raise ECGError(f"It has no array called 'signal' but {', '.join(archive) or 'none'}; save it so.")
            signal = archive["signal"]
            rate_in_file_hz = float(archive["sampling_rate_hz"]) if "sampling_rate_hz" in archive else None
            unit_in_file = str(archive["unit"]) if "unit" in archive else None
            names_in_file = [str(name) for name in archive["leads"]] if "leads" in archive else None
    names = leads if names_in_file is None else names_in_file
    if names is None:
        raise ECGError('The leads have no names; pass them in the order of the file, as in leads=["I", "II"].')
    if signal.ndim != 2 or signal.dtype.kind not in "iuf":
        raise ECGError(
            f"The signal has shape {signal.shape} and type {signal.dtype}; save numbers as (leads, samples)."
        )
    if len(names) not in signal.shape:
        raise ECGError(f"A signal of shape {signal.shape} does not fit {len(names)} lead names; give one per lead.")
    if signal.shape[0] == signal.shape[1]:
        raise ECGError(f"A signal of shape {signal.shape} has as many leads as samples, which is ambiguous; crop it.")
    if signal.shape[0] != len(names):
        signal = signal.T
    channel_of, notes = match_leads(names, leads)
    rate_hz = agreed_rate_hz(rate_in_file_hz, given_rate_hz)
    factor = mv_per_unit(unit_in_file, unit, next(iter(channel_of)))
    signals_mv = {lead: np.asarray(signal[i], dtype=np.float64) * factor for lead, i in channel_of.items()}
    return signals_mv, rate_hz, (*notes, *unit_notes([factor]))
