"""The WFDB records of the large archives, read without detours: one file of 16-bit samples, every gain written out.

MIMIC-IV-ECG, PTB-XL and most others look like this. The package wfdb reads them, too, but takes twenty times longer,
which counts when there are 800,000. Whatever is not as plain is left to it.
"""

import re
from pathlib import Path

import numpy as np

from lamae_toolkit.ecg.io.channels import LeadSignals, agreed_rate_hz, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.errors import ECGError

NUMBER = r"[0-9]+(?:\.[0-9]+)?"
RECORD_LINE = re.compile(rf"([^\s/]+) +([0-9]+) +({NUMBER}) +([0-9]+)(?: .*)?")
SIGNAL_LINE = re.compile(
    rf"(?P<file>[^\s/\\]+) +16 +(?P<gain>-?{NUMBER})(?:\((?P<baseline>-?[0-9]+)\))?/(?P<unit>\S+)"
    r" +[0-9]+ +(?P<zero>-?[0-9]+) +-?[0-9]+ +-?[0-9]+ +[0-9]+ +(?P<name>\S+)"
)
INVALID = -32768


def read(
    header_path: Path, header: str, given_rate_hz: float | None, unit: str | None
) -> tuple[LeadSignals, float, tuple[str, ...]] | None:
    """A plain WFDB record, or None if its header is not of the plain kind. header: the text of the file."""
    lines = [line.strip() for line in header.splitlines() if line.strip() and line.strip()[0] != "#"]
    first = RECORD_LINE.fullmatch(lines[0]) if lines else None
    channels = [SIGNAL_LINE.fullmatch(line) for line in lines[1:]]
    if first is None or not channels or None in channels or len({channel["file"] for channel in channels}) > 1:
        return None
    n_signals, n_samples = int(first[2]), int(first[4])
    gains = [float(channel["gain"]) for channel in channels]
    if n_signals != len(channels) or not n_samples or not all(gains):
        return None
    rate_hz = agreed_rate_hz(float(first[3]), given_rate_hz)
    place, notes = match_leads([channel["name"] for channel in channels])
    factors = {lead: mv_per_unit(channels[i]["unit"], unit, lead) for lead, i in place.items()}
    raw = _samples(header_path.with_name(channels[0]["file"]), n_samples, n_signals)
    rows = list(place.values())
    picked = raw.T[rows]
    scale = np.array([factors[lead] / gains[i] for lead, i in place.items()], dtype=np.float32)[:, None]
    baseline = [float(channels[i]["baseline"] or channels[i]["zero"]) for i in rows]
    signal_mv = (picked - np.array(baseline, dtype=np.float32)[:, None]) * scale
    if picked.min() == INVALID:
        signal_mv[picked == INVALID] = np.nan
    return dict(zip(place, signal_mv, strict=True)), rate_hz, (*notes, *unit_notes(list(factors.values())))


def _samples(path: Path, n_samples: int, n_signals: int) -> np.ndarray:
    """The samples, one row per moment; refused if the file is not there or not as long as the header says."""
    if not path.is_file():
        raise ECGError(f"Its signal file {path.name} is missing; put it beside the header.", "signal file missing")
    size, promised = path.stat().st_size, 2 * n_samples * n_signals
    if size < promised:
        raise ECGError(
            f"Its signal file {path.name} has {size} bytes, but the header promises at least {promised}, so it is cut"
            " off; copy it again.",
            "signal file cut off",
        )
    if size > promised:
        raise ECGError(
            f"Its signal file {path.name} has {size} bytes, but the header speaks of {promised} only, so one of the"
            " two is of another record; copy both again.",
            "header and signal disagree",
        )
    return np.fromfile(path, dtype="<i2").reshape(n_samples, n_signals)
