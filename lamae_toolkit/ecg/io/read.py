"""Reading an ECG from a file: WFDB, a table, EDF, DICOM, SCP-ECG, XML ... in, a `Recording` in millivolts out.

The format is recognized by the content of the file, not by its name. Leads are matched by name, whatever their order
or case. What neither the file nor the caller gives (rate, unit, lead names) is never guessed. Every problem is an
`ECGError` of one sentence.
"""

import struct
import traceback
import warnings
import zlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np

from lamae_toolkit._lazy import missing_extra
from lamae_toolkit.ecg.io.channels import stacked, usable_leads
from lamae_toolkit.ecg.io.formats.sniff import kind_of_content
from lamae_toolkit.ecg.io.formats.unread import WAYS_OUT
from lamae_toolkit.ecg.io.stretch import Stretch
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ContradictionError, ECGError, LeadWarning, WarningNote, printable

WFDB_SUFFIXES, CSV_SUFFIXES, NUMPY_SUFFIXES = (".hea", ".dat", ".mat"), (".csv", ".tsv", ".txt"), (".npy", ".npz")
NAMED_AFTER = {".edf": "EDF", ".bdf": "BDF", ".dcm": "DICOM", ".scp": "SCP-ECG", ".ecg": "ISHNE"}
"""What the name of a file says that it is, for a file whose content says otherwise."""
KINDS = (
    "a WFDB record (.hea with .dat or .mat), a table with lead names in its first row, a NumPy or MATLAB file, EDF or"
    " BDF, a DICOM waveform, SCP-ECG, ISHNE or MFER, or XML of GE MUSE, Philips Sierra or HL7 aECG"
)
READERS = {
    "WFDB": "physionet",
    "CSV": "delimited",
    "Apple Watch CSV": "apple_watch",
    "NumPy": "npy",
    "MATLAB": "matlab",
    "EDF": "edf",
    "BDF": "edf",
    "SCP-ECG": "scp",
    "ISHNE": "scp",
    "MFER": "scp",
    "DICOM": "dicom",
    "MUSE XML": "muse",
    "Sierra XML": "sierra",
    "aECG XML": "aecg",
}
"""The module in `formats` that reads each kind, imported on demand: few users need all of them."""
READ_IN_PART = ("WFDB", "CSV", "NumPy", "EDF", "BDF")
"""Kinds whose records may last days: their readers take the stretch and read no more than it."""

MAX_MB = {
    "SCP-ECG": 1,
    "ISHNE": 100,
    "MFER": 20,
    "MATLAB": 100,
    "Apple Watch CSV": 2,
    "DICOM": 10,
    "MUSE XML": 25,
    "Sierra XML": 25,
    "aECG XML": 10,
}
"""Resting ECGs have 0.1 to 2 MB in these formats, and the memory that damaged ones may take grows with their size."""


def read_ecg(
    path: str | Path,
    *,
    sampling_rate_hz: float | int | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
    start_s: float | int = 0,
    duration_s: float | int | None = None,
) -> Recording:
    """Read one ECG from a file, in millivolts and with its leads by name.

    path: the `.hea`, `.dat` or `.mat` file of a WFDB record or its name without suffix; a table with one column
        per lead and lead names in the first row, or that of an Apple Watch; a NumPy or MATLAB file; EDF, EDF+ or BDF;
        a DICOM waveform; SCP-ECG, ISHNE or MFER; or the XML of GE MUSE, Philips Sierra or HL7 aECG. Except for WFDB,
        the file may have any name.
    sampling_rate_hz: needed where the file does not give it. A table gives it by a column `time_s` or
        `time_ms`, an `.npz` file by the key `sampling_rate_hz`.
    unit: "mV", "uV" or "V", needed where the file does not give it. A table gives it in its column names
        (`II_mV`, `II (uV)`), an `.npz` file by the key `unit`.
    leads: the name of each channel in the order of the file, needed where its own names are not those of leads, as in
        a NumPy or MATLAB signal, a table without a row of names, or a channel called ECG. A channel that is no lead
        keeps any other name.
    start_s, duration_s: the stretch to read, in seconds from the start of the record; all of it by default. Of a long
        WFDB, EDF, BDF or NumPy record only these samples are read, of a table only these rows are kept. It must lie
        inside the record.

    What may change a value is a LeadWarning and a note: a lead that was left out as it is flat or as more than 20 % of
    it is missing, a smaller gap that was interpolated, a channel that looks like a lead and was not read, samples that
    do not match their checksum, an amplitude that no ECG has, limb leads that contradict Einthoven's relations. What
    is harmless is a note only: another unit, a dropped channel of respiration.
    Raises ECGError, whose one sentence starts with the file's name, for anything else, and where an argument
    contradicts what the file says of itself. Raises MissingExtraError if the format needs a package that is not
    installed.

    Example:
        from pathlib import Path
        import lamae_toolkit as lt

        Path("ecg.csv").write_text("time_s,I_mV,II_mV\\n0.00,0.1,0.2\\n0.01,0.3,0.1\\n0.02,0.2,0.4\\n")
        ecg = lt.read_ecg("ecg.csv")
        ecg.leads, ecg.sampling_rate_hz  # (("I", "II"), 100.0)
    """
    return _read(path, sampling_rate_hz, unit, leads, Stretch(float(start_s), duration_s and float(duration_s)))


def read_start(
    path: str | Path,
    duration_s: float,
    *,
    sampling_rate_hz: float | int | None = None,
    unit: str | None = None,
    leads: Sequence[str] | None = None,
) -> Recording:
    """The first `duration_s` seconds of an ECG, all of it if it is shorter, for callers that need no more.

    The other arguments, warnings and errors are those of `read_ecg`.
    """
    return _read(path, sampling_rate_hz, unit, leads, Stretch(0.0, float(duration_s), or_less=True))


def _read(
    path: str | Path,
    sampling_rate_hz: float | int | None,
    unit: str | None,
    leads: Sequence[str] | None,
    stretch: Stretch,
) -> Recording:
    path = Path(path).expanduser().absolute()
    given_rate_hz = None if sampling_rate_hz is None else float(sampling_rate_hz)
    names = None if leads is None else tuple(leads)
    in_part: tuple[Stretch, ...] = ()
    try:
        stretch = stretch.checked()
        kind, path = kind_and_path(path)
        try:
            # Values that are not numbers or too large become gaps or are refused below.
            with np.errstate(over="ignore", invalid="ignore"):
                reader = import_module(f"lamae_toolkit.ecg.io.formats.{READERS[kind]}")
                if kind in READ_IN_PART:
                    in_part = (stretch,)
                signals_mv, rate_hz, notes = reader.read(path, given_rate_hz, unit, names, *in_part)
        except ECGError:
            raise
        except ModuleNotFoundError as error:
            raise missing_extra(f"{path.name}: This {kind} file", error) from error
        except Exception as error:  # the libraries behind the formats raise nearly every type on a damaged file
            raise _unexpected(error, kind) from error
        lengths = sorted({len(signal_mv) for signal_mv in signals_mv.values()})
        if len(lengths) > 1:
            raise ECGError(f"Its leads have {lengths[0]} to {lengths[-1]} samples, not one length; export it again.")
        if not in_part:
            samples = stretch.samples(lengths[0], rate_hz, len(signals_mv))
            signals_mv = {lead: signal[samples.start : samples.stop] for lead, signal in signals_mv.items()}
        signals_mv, lead_notes, flags = usable_leads(signals_mv)
        usable = tuple(signals_mv)
        recording = Recording(stacked(signals_mv), rate_hz, usable, (*notes, *lead_notes), flags)
    except ContradictionError as error:
        raise ContradictionError(f"{path.name}: {error}", error.argument, error.reason) from error
    except ECGError as error:
        raise ECGError(f"{path.name}: {error}", error.reason) from error
    for note in recording.notes:
        if isinstance(note, WarningNote):
            warnings.warn(printable(f"{path.name}: {note}"), LeadWarning, stacklevel=3)
    return recording


OF_DAMAGE = (ValueError, ArithmeticError, EOFError, OSError, MemoryError, struct.error, zlib.error, ExpatError)
"""What our own readers raise where the text or the numbers of a file cannot be understood."""


def _unexpected(error: Exception, kind: str) -> ECGError:
    """The error of a reader that did not expect this file. Only a fault of the file is called so."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    if frame.f_globals.get("__name__", "").startswith("lamae_toolkit.") and not isinstance(error, OF_DAMAGE):
        where = f"{type(error).__name__} in line {line} of {Path(frame.f_code.co_filename).name}"
        return ECGError(
            f"The reader of {kind} failed ({where}), which is a fault of lamae_toolkit; please report this sentence.",
            "fault of the toolkit",
        )
    return ECGError(f"The file is damaged or is not {kind} ({type(error).__name__}); copy or export it again.")


def kind_and_path(path: Path) -> tuple[str, Path]:
    """What kind of file this is, and the file to open: for WFDB always the header."""
    if "::" in str(path):
        raise ECGError("The path contains '::', by which wfdb means a remote file; rename the file or folder.")
    if path.is_dir():
        raise ECGError("This is a folder; give one file, or list its ECGs with find_ecgs.")
    kind: str | None
    suffix = path.suffix.lower()
    header = path.with_suffix(".hea") if suffix in WFDB_SUFFIXES else path.with_name(path.name + ".hea")
    if suffix not in CSV_SUFFIXES + NUMPY_SUFFIXES and header.is_file():
        kind, path = "WFDB", header
    elif not path.is_file():
        raise ECGError("There is no such file; check the path.")
    else:
        try:
            kind = kind_of_content(path)
        except OSError as error:
            problem = f"The file cannot be opened ({error.strerror}); check that you may read it."
            raise ECGError(problem) from error
    if kind in WAYS_OUT:
        raise ECGError(WAYS_OUT[kind], "format not read")
    if kind == "XML":
        raise ECGError(f"This is XML, but of no ECG that can be read; give {KINDS}.")
    if kind is None:
        # A damaged or empty file may still have a name that says what it ought to be.
        if suffix in WFDB_SUFFIXES:
            raise ECGError(f"Its WFDB header {header.name} is missing; put it next to this file.")
        if suffix in NAMED_AFTER:
            raise ECGError(f"Its content is not {NAMED_AFTER[suffix]}, as its name says; copy or export it again.")
        if suffix not in CSV_SUFFIXES + NUMPY_SUFFIXES:
            raise ECGError(f"Files of the kind {suffix or 'without suffix'} cannot be read; give {KINDS}.")
        kind = "CSV" if suffix in CSV_SUFFIXES else "NumPy"
    size = path.stat().st_size
    if size == 0:
        raise ECGError("The file is empty; copy or export it again.")
    if size > MAX_MB.get(kind, np.inf) * 1e6:
        raise ECGError(f"The file has {size / 1e6:.0f} MB, but {kind} is read up to {MAX_MB[kind]} MB; export one ECG.")
    return kind, path
