"""LUDB (Kalyakulina et al., IEEE Access 8:181186, 2020; ODC-By 1.0): 200 ECGs with P, QRS and T marked in each lead."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb

from lamae_toolkit.ecg.leads import LEADS, lead_name
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError

RECORDS = range(1, 201)
MV_PER_UNIT = 1e-3
"""What one unit of LUDB's signal files is worth. The headers of version 1.0.1 say otherwise, and are not used: of
each of the 2,400 leads they give as the gain that lead's own range, highest minus lowest value, so that by them every
lead has a range of 1 mV, and III = II - I fails by 0.3 mV. In plain units it holds exactly, and with 1,000
of them to the millivolt the leads have PTB-XL's amplitude (median range of lead II 1.4 and 1.2 mV, of V4 2.5 and 2.2):
the microvolt is inferred from that, LUDB does not state it."""

WAVES = {"p": "P", "N": "QRS", "t": "T"}
"""The waves by the symbol of their peak in the marks."""


@dataclass(frozen=True)
class Mark:
    """A wave as a cardiologist marked it in one lead: P, QRS or T, with its onset, peak and end in seconds."""

    wave: str
    lead: str
    onset_s: float
    peak_s: float
    end_s: float


def read_ludb(folder: Path | str, number: int) -> Recording:
    """One ECG of LUDB in mV, 500 Hz, 10 s, by its number from 1 to 200 (see `MV_PER_UNIT` for its unit).

    folder: LUDB as it was unpacked, with ludb.csv and data/. ECGError if the record is absent or damaged.
    """
    path = _record(folder, number)
    try:
        record = wfdb.rdrecord(str(path), physical=False)
        leads = tuple(lead_name(name) or name for name in record.sig_name)
        signal_mv = (record.d_signal.T * MV_PER_UNIT).astype(np.float32)
    except (OSError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise ECGError(f"{path.name}: LUDB's record is damaged ({type(error).__name__}); copy it again.") from error
    recording = Recording(signal_mv, float(record.fs), leads)
    return recording.with_note("The header's gain is each lead's own range; 1 unit was taken as 0.001 mV.")


def read_marks(folder: Path | str, number: int) -> tuple[Mark, ...]:
    """All waves that are marked in an ECG of LUDB with onset, peak and end, lead after lead.

    A wave that lacks one of the three, as a few do in records with fibrillation or a pacemaker, is left out.
    """
    path = _record(folder, number)
    return tuple(mark for lead in LEADS for mark in _marks_of_lead(path, lead))


def _marks_of_lead(path: Path, lead: str) -> list[Mark]:
    try:
        marks = wfdb.rdann(str(path), lead.lower())
    except (OSError, ValueError, IndexError) as error:
        problem = f"{path.name}.{lead.lower()}: LUDB's marks of lead {lead} are absent or damaged; copy them again."
        raise ECGError(problem) from error
    symbols, seconds = marks.symbol, np.asarray(marks.sample) / float(marks.fs or 500)
    return [
        Mark(WAVES[symbols[at]], lead, *(float(second) for second in seconds[at - 1 : at + 2]))
        for at in range(1, len(symbols) - 1)
        if symbols[at] in WAVES and symbols[at - 1] == "(" and symbols[at + 1] == ")"
    ]


def _record(folder: Path | str, number: int) -> Path:
    path = Path(folder) / "data" / str(number)
    if not path.with_suffix(".hea").is_file():
        raise ECGError(
            f"{folder} has no record {number} of LUDB (data/{number}.hea); give the folder that holds data/."
        )
    return path
