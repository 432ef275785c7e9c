"""Reading an ECG from a file: WFDB, CSV or NumPy in, a `Recording` in millivolts out.

Leads are matched by name, whatever their order or case. What a file does not say and the caller does not
give (rate, unit, lead names) is never guessed. Everything that goes wrong is an `ECGError` of one sentence.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamae_toolkit.channels import usable_leads
from lamae_toolkit.ecg import ECGError, Recording
from lamae_toolkit.formats import csv_format, numpy_format, wfdb_format

WFDB_SUFFIXES, CSV_SUFFIXES, NUMPY_SUFFIXES = (".hea", ".dat", ".mat"), (".csv", ".tsv", ".txt"), (".npy", ".npz")
KINDS = "a WFDB record (.hea with .dat or .mat), a table (.csv, .tsv, .txt) or a NumPy file (.npy, .npz)"


def read_ecg(
    path: str | Path,
    *,
    sampling_rate_hz: float | int | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
) -> Recording:
    """Read one ECG from a file, in millivolts and with its leads by name.

    path: the `.hea`, `.dat` or `.mat` file of a WFDB record or its name without suffix; a `.csv`, `.tsv` or
        `.txt` table with one column per lead and lead names in the first row; or a NumPy file.
    sampling_rate_hz: needed where the file does not give it. A table gives it by a column `time_s` or
        `time_ms`, an `.npz` file by the key `sampling_rate_hz`.
    unit: "mV", "uV" or "V", needed where the file does not give it. A table gives it in its column names
        (`II_mV`, `II (uV)`), an `.npz` file by the key `unit`.
    leads: the lead name of each row (or each column) of a NumPy signal, unless `.npz` has the key `leads`.

    Channels that are none of the twelve leads are dropped with a note. A lead that is flat, or of which more
    than 20 % is missing, is left out with a LeadWarning; smaller gaps are interpolated with a LeadWarning.
    Raises ECGError, whose one sentence starts with the file's name, for anything else, and where an argument
    contradicts the file.
    """
    path = Path(path).expanduser().absolute()
    given_rate_hz = None if sampling_rate_hz is None else float(sampling_rate_hz)
    try:
        kind, path = _kind_of(path)
        if leads is not None and kind != "NumPy":
            raise ECGError(f"A {kind} file names its own leads; leave out the argument leads.")
        try:
            if kind == "WFDB":
                signals_mv, rate_hz, notes = wfdb_format.read(path, given_rate_hz, unit)
            elif kind == "CSV":
                signals_mv, rate_hz, notes = csv_format.read(path, given_rate_hz, unit)
            else:
                signals_mv, rate_hz, notes = numpy_format.read(path, given_rate_hz, unit, leads)
        except ECGError:
            raise
        except Exception as error:  # wfdb, NumPy and pandas raise nearly every type on a damaged file
            problem = f"The file is damaged or is not {kind} ({type(error).__name__}); copy or export it again."
            raise ECGError(problem) from error
        signals_mv, lead_notes, flags = usable_leads(signals_mv, path.name)
        signal_mv = np.stack(list(signals_mv.values()))
        return Recording(signal_mv, rate_hz, tuple(signals_mv), (*notes, *lead_notes), flags)
    except ECGError as error:
        raise ECGError(f"{path.name}: {error}", error.reason) from error


def find_ecgs(folder: str | Path) -> list[Path]:
    """All files in a folder and its subfolders that look like an ECG, sorted: WFDB headers, tables, NumPy files.

    Raises ECGError if the folder is absent or holds none.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ECGError(f"{folder.name}: There is no such folder; check the path.")
    suffixes = (".hea", *CSV_SUFFIXES, *NUMPY_SUFFIXES)
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    if not found:
        raise ECGError(f"{folder.name}: The folder holds no ECG; put {KINDS} there.")
    return found


def _kind_of(path: Path) -> tuple[str, Path]:
    """What kind of file this is, and the file to open: for WFDB always the header."""
    if "::" in str(path):
        raise ECGError("The path contains '::', by which wfdb means a remote file; rename the file or folder.")
    if path.is_dir():
        raise ECGError("This is a folder; give one file, or list its ECGs with find_ecgs.")
    suffix = path.suffix.lower()
    header = path.with_suffix(".hea") if suffix in WFDB_SUFFIXES else path.with_name(path.name + ".hea")
    if suffix not in CSV_SUFFIXES + NUMPY_SUFFIXES and header.is_file():
        kind, path = "WFDB", header
    elif not path.is_file():
        raise ECGError("There is no such file; check the path.")
    elif suffix in WFDB_SUFFIXES:
        raise ECGError(f"Its WFDB header {header.name} is missing; put it beside this file.")
    elif suffix in CSV_SUFFIXES + NUMPY_SUFFIXES:
        kind = "CSV" if suffix in CSV_SUFFIXES else "NumPy"
    else:
        raise ECGError(f"Files of the kind {suffix or 'without suffix'} cannot be read; give {KINDS}.")
    if path.stat().st_size == 0:
        raise ECGError("The file is empty; copy or export it again.")
    return kind, path
