"""SCP-ECG (EN 1064), ISHNE Holter and MFER (ISO 22077), through ecgdatakit.

ecgdatakit returns counts and their scale, also where there is no scale, and warns of what it leaves out or makes up;
here both are looked at.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, match_leads, mv_per_unit, read_leads
from lamae_toolkit.ecg.io.checks import without_marks
from lamae_toolkit.errors import ECGError, WarningNote

MFER_SUFFIXES = (".mwf", ".mfer", ".mfr")
"""MFER has no mark at its beginning that every file has."""

FAULT = -32768
"""The count by which ISHNE marks samples that a lead lacks."""


def kind_by_start(head: bytes, suffix: str) -> str | None:
    """Which of the three kinds a file is, by its first bytes and, for MFER, its suffix."""
    if head.startswith(b"ISHNE1.0"):
        return "ISHNE"
    # Section 0 of SCP-ECG comes first, and lists itself first, at byte 7.
    if len(head) >= 32 and head[8:10] == head[22:24] == b"\0\0" and head[28:32] == b"\7\0\0\0":
        return "SCP-ECG"
    return "MFER" if head[2:6] == b"MFR " or (suffix.lower() in MFER_SUFFIXES and head) else None


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """The rhythm; representative beats are not read."""
    from ecgdatakit.exceptions import ECGDataKitError, UnsupportedFormatError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            record = _parser(path)().parse(path)
        except UnsupportedFormatError as error:
            raise ECGError(
                f"It is not supported by ecgdatakit ({_short(error)}); export it in another form."
            ) from error
        except ECGDataKitError as error:
            raise ECGError(f"The file is damaged ({_short(error)}); copy or export it again.") from error
    about = record.raw_metadata
    if not record.leads:
        raise ECGError("It holds no rhythm; export the ECG with its rhythm.")
    notes = [
        WarningNote(f"The file is not as its standard says: {_short(w.message)}.", "not by the standard")
        for w in caught
    ]
    channel_of, lead_notes = match_leads([lead.label for lead in record.leads], leads)
    rates_hz = about.get("sampling_rates") or [lead.sampling_rate for lead in record.leads]
    if "rhythm_sample_interval_us" in about:  # ecgdatakit rounds the rate
        rates_hz = [1e6 / about["rhythm_sample_interval_us"]] * len(record.leads)
    if len({rates_hz[channel] for channel in channel_of.values()}) > 1:
        raise ECGError("The leads have different sampling rates; resample them to one rate first.")
    rate_in_file_hz = float(f"{rates_hz[next(iter(channel_of.values()))]:.9g}")
    # MFER lets 1000 Hz be meant where nothing is said, which a writer may have forgotten.
    rate_hz = agreed_rate_hz(rate_in_file_hz if about.get("sampling_rate_stated", True) else None, given_rate_hz, 1e-3)
    # A lead of SCP-ECG may start later than others.
    starts = [int(lead.annotations.get("start_sample", 1)) - 1 for lead in record.leads]
    first = min(starts[channel] for channel in channel_of.values())
    n_samples = max(starts[i] + len(record.leads[i].samples) for i in channel_of.values()) - first
    of_ishne = record.source_format == "ishne_holter"
    if of_ishne:
        notes += _length_notes(about, path)
    if n_samples > 2 * max(len(record.leads[i].samples) for i in channel_of.values()):
        raise ECGError("Its leads were recorded one after the other; export an ECG whose leads were recorded together.")

    def read_lead(channel: int, lead: str) -> tuple[np.ndarray, float]:
        stored = record.leads[channel]
        factor = mv_per_unit(stored.resolution_unit or None, unit, lead)
        counts, stored.samples = stored.samples, np.empty(0)  # so that a lead is not in memory twice
        counts = np.where(counts == FAULT, np.nan, counts) if of_ishne else without_marks(counts)
        signal_mv = np.full(n_samples, np.nan)
        start = starts[channel] - first
        signal_mv[start : start + len(counts)] = (counts * stored.resolution + stored.offset) * factor
        return signal_mv, factor

    return read_leads(channel_of, rate_hz, (*notes, *lead_notes), read_lead)


def _parser(path: Path) -> Callable[[], Any]:
    with path.open("rb") as file:
        kind = kind_by_start(file.read(32), path.suffix)
    if kind == "ISHNE":
        from ecgdatakit.parsing.parsers.ishne_holter import ISHNEHolterParser

        return ISHNEHolterParser
    if kind == "MFER":
        from ecgdatakit.parsing.parsers.mfer import MFERParser

        return MFERParser
    from ecgdatakit.parsing.parsers.scp_ecg import SCPECGParser

    return SCPECGParser


def _short(message: object) -> str:
    """A message of ecgdatakit as a part of a sentence."""
    return " ".join(str(message).split())[:150].rstrip(".")


def _length_notes(about: dict[str, Any], path: Path) -> list[WarningNote]:
    """What an ISHNE file is short of or has too much; ECGError if its last time step is not complete."""
    n_leads, n_samples, promised = len(about["lead_spec"]), about["samples_per_lead"], about["ecg_size"]
    rest = path.stat().st_size - 522 - about["var_block_size"] - 2 * n_leads * n_samples
    if rest:
        raise ECGError(f"The file ends within a time step, {rest} bytes after the last complete one; copy it again.")
    # Writers differ in whether they count the samples of one lead or of all.
    if promised <= 0 or promised in (n_samples, n_samples * n_leads):
        return []
    return [WarningNote(f"The file declares {promised} samples but holds {n_samples} in each lead.", "length")]
