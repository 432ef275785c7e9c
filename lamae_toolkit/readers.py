"""Reading an ECG from a file: WFDB, CSV or NumPy in, a `Recording` in millivolts out.

LeadSignals are matched by name, whatever their order or case. What a file does not say and the caller does not
give (rate, unit, lead names) is never guessed. Everything that goes wrong is an `ECGError` of one sentence.
"""

import io
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import wfdb

from lamae_toolkit.ecg import LEADS, ECGError, LeadWarning, Recording, lead_name

WFDB_SUFFIXES, CSV_SUFFIXES, NUMPY_SUFFIXES = (".hea", ".dat", ".mat"), (".csv", ".tsv", ".txt"), (".npy", ".npz")
KINDS = "a WFDB record (.hea with .dat or .mat), a table (.csv, .tsv, .txt) or a NumPy file (.npy, .npz)"

MAX_MISSING = 0.2
"""A lead of which more than this part is missing is left out; smaller gaps are filled along a straight line."""

MAX_MV = 500.0
"""No ECG reaches this: electrode offsets stay within 300 mV. Microvolts that are called millivolts do."""

MV_PER_UNIT = {"mV": 1.0, "mv": 1.0, "uV": 1e-3, "uv": 1e-3, "V": 1e3, "v": 1e3}

WFDB_BYTES_PER_SAMPLE = {
    **{"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3},
    # FLAC, whose size depends on the signal: a real ECG is never compressed a thousandfold.
    **{"508": 1e-3, "516": 2e-3, "524": 3e-3},
}

LeadSignals = dict[str, np.ndarray]
"""Signal of each lead in mV, float64, NaN where a sample is missing."""


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
                signals_mv, rate_hz, notes = _read_wfdb(path, given_rate_hz, unit)
            elif kind == "CSV":
                signals_mv, rate_hz, notes = _read_csv(path, given_rate_hz, unit)
            else:
                signals_mv, rate_hz, notes = _read_numpy(path, given_rate_hz, unit, leads)
        except ECGError:
            raise
        except Exception as error:  # wfdb, NumPy and pandas raise nearly every type on a damaged file
            problem = f"The file is damaged or is not {kind} ({type(error).__name__}); copy or export it again."
            raise ECGError(problem) from error
        signals_mv, lead_notes = _usable_leads(signals_mv, path.name)
        return Recording(np.stack(list(signals_mv.values())), rate_hz, tuple(signals_mv), (*notes, *lead_notes))
    except ECGError as error:
        raise ECGError(f"{path.name}: {error}") from error


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


# ---- What all formats share: names, units, rates, gaps


def _match_leads(names: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Where each of the twelve leads is among these channel names, and a note on the channels that are dropped."""
    place: dict[str, int] = {}
    for index, name in enumerate(names):
        lead = lead_name(name)
        if lead in place:
            raise ECGError(f"Lead {lead} is there twice, as {names[place[lead]]!r} and {name!r}; keep one of the two.")
        if lead is not None:
            place[lead] = index
    others = [str(name)[:20] for name in names if lead_name(name) is None]
    if not place:
        listed = ", ".join(map(repr, others[:15])) + (" and more" if len(others) > 15 else "")
        raise ECGError(f"Unknown lead names {listed or '(none given)'}; name the leads {', '.join(LEADS)}.")
    return place, (f"Dropped channels other than the twelve leads: {', '.join(others)}.",) if others else ()


def _mv_per_unit(unit_in_file: str | None, unit_given: str | None, lead: str) -> float:
    """The factor from the unit of this lead to millivolts; refuses where the unit is unknown or contradicted."""
    factors = []
    for unit in (unit_in_file, unit_given):
        if unit is not None:
            unit = unit.strip().replace("µ", "u").replace("μ", "u")  # the micro sign and the Greek letter
            if unit not in MV_PER_UNIT:
                raise ECGError(f"Lead {lead} is in the unit {unit!r}, which is no voltage; give it in mV, uV or V.")
            factors.append(MV_PER_UNIT[unit])
    if not factors:
        raise ECGError(f'The unit of lead {lead} is not given; find out what it is and pass for example unit="mV".')
    if factors[0] != factors[-1]:
        raise ECGError(f"Lead {lead} is in {unit_in_file} by the file but in {unit_given} by unit=; correct one.")
    return factors[0]


def _unit_notes(factors: Sequence[float]) -> tuple[str, ...]:
    units = sorted({unit for unit in ("uV", "V") if MV_PER_UNIT[unit] in factors})
    return (f"Converted from {' and '.join(units)} to mV.",) if units else ()


def _agreed_rate_hz(rate_in_file_hz: float | None, given_rate_hz: float | None, tolerance: float = 1e-6) -> float:
    """The sampling rate, from the file or the caller; refuses if neither gives it or they contradict each other."""
    if rate_in_file_hz is None and given_rate_hz is None:
        raise ECGError("The sampling rate is not given; pass for example sampling_rate_hz=500.")
    if rate_in_file_hz is None or given_rate_hz is None:
        return rate_in_file_hz if given_rate_hz is None else given_rate_hz
    if not abs(rate_in_file_hz - given_rate_hz) <= tolerance * given_rate_hz:
        raise ECGError(
            f"The sampling rate is {rate_in_file_hz:g} Hz by the file but {given_rate_hz:g} Hz by sampling_rate_hz=;"
            " correct one."
        )
    return given_rate_hz


def _usable_leads(signals_mv: LeadSignals, file: str) -> tuple[LeadSignals, tuple[str, ...]]:
    """The leads that can be used, gaps filled; every lead left out or filled gets a note and a LeadWarning."""
    usable, notes = {}, []
    for lead, signal_mv in signals_mv.items():
        there = np.isfinite(signal_mv)
        missing = 1 - there.mean() if there.size else 1.0
        if there.any() and np.abs(signal_mv[there]).max() > MAX_MV:
            reached_mv = np.abs(signal_mv[there]).max()
            raise ECGError(f"Lead {lead} reaches {reached_mv:.3g} mV, which no ECG does; check the unit and the gain.")
        if missing > MAX_MISSING:
            notes.append(f"Lead {lead} was left out: {100 * missing:.3g} % of it is missing.")
        elif np.ptp(signal_mv[there]) == 0:
            notes.append(f"Lead {lead} was left out: it is flat.")
        else:
            if missing:
                notes.append(f"Lead {lead} had gaps, {100 * missing:.3g} % of it, filled along straight lines.")
                time = np.arange(len(signal_mv))
                signal_mv = np.interp(time, time[there], signal_mv[there])
            usable[lead] = signal_mv
    if not usable:
        raise ECGError("No lead can be used, as all are flat or mostly missing; check the recording.")
    for note in notes:
        warnings.warn(f"{file}: {note}", LeadWarning, stacklevel=3)
    return usable, tuple(notes)


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


# ---- WFDB


def _read_wfdb(
    header_path: Path, given_rate_hz: float | None, unit: str | None
) -> tuple[LeadSignals, float, tuple[str, ...]]:
    """A WFDB record of one or several segments.

    Segments are joined here, lead by lead: wfdb joins them by position and trusts their units.
    """
    record = wfdb.rdheader(str(header_path.with_suffix("")))
    if not isinstance(record, wfdb.MultiRecord):
        return _read_wfdb_segment(header_path, given_rate_hz, unit)
    # A segment of length 0 only describes the layout; "~" is a gap.
    segments = [(name, length) for name, length in zip(record.seg_name, record.seg_len, strict=True) if length]
    n_samples, n_missing = sum(n for _, n in segments), sum(n for name, n in segments if name == "~")
    if n_missing >= n_samples or n_missing > MAX_MISSING * n_samples:
        raise ECGError(f"Of {n_samples} samples, {n_missing} lie in gaps between segments; choose single segments.")
    parts: list[LeadSignals] = []
    rates_hz, notes = set(), {}
    for name, length in segments:
        signals_mv = {}
        if name != "~":
            segment_path = header_path.with_name(f"{name}.hea")
            if not segment_path.is_file():
                raise ECGError(f"The header of its segment {name} is missing; put {segment_path.name} beside it.")
            signals_mv, rate_hz, segment_notes = _read_wfdb_segment(segment_path, given_rate_hz, unit)
            if {len(signal_mv) for signal_mv in signals_mv.values()} != {length}:
                raise ECGError(
                    f"Its segment {name} does not have the promised {length} samples; copy the record again."
                )
            rates_hz.add(rate_hz)
            notes |= dict.fromkeys(segment_notes)
        parts.append(signals_mv)
    if len(rates_hz) > 1:
        raise ECGError(f"Its segments have different sampling rates, {sorted(rates_hz)} Hz; read them one by one.")
    joined = {
        lead: np.concatenate([part.get(lead, np.full(n, np.nan)) for part, (_, n) in zip(parts, segments, strict=True)])
        for lead in LEADS
        if any(lead in part for part in parts)
    }
    return joined, rates_hz.pop(), (*notes, f"Joined {len(segments)} segments.")


def _read_wfdb_segment(
    header_path: Path, given_rate_hz: float | None, unit: str | None
) -> tuple[LeadSignals, float, tuple[str, ...]]:
    """One segment. The header is checked against its own text and the files before wfdb reads any signal.

    wfdb silently assumes 250 Hz, a gain of 200 and mV where a header says nothing, and reads "µV" as "V".
    """
    stem = str(header_path.with_suffix(""))
    record = wfdb.rdheader(stem)
    lines = [line.split() for line in _text(header_path).splitlines() if line.strip() and line.strip()[0] != "#"]
    if isinstance(record, wfdb.MultiRecord) or len(lines) - 1 != record.n_sig or record.n_sig == 0:
        raise ECGError(f"The header {header_path.name} does not describe its signals, one a line; copy it again.")
    rate_hz = float(lines[0][2].split("/")[0]) if len(lines[0]) > 2 else None
    if rate_hz is not None and not math.isclose(rate_hz, record.fs, rel_tol=1e-6):
        raise ECGError(f"The sampling rate {lines[0][2]!r} in the header cannot be understood; write it as a number.")
    rate_hz = _agreed_rate_hz(rate_hz, given_rate_hz)
    place, notes = _match_leads([name or "" for name in record.sig_name])
    factors = {}
    for lead, channel in place.items():
        gain, slash, unit_in_file = (lines[channel + 1] + [""])[2].partition("/")
        # A wrong gain is as bad as a wrong unit, so the assumed 200 units per mV is not good enough.
        if not gain or not float(gain.split("(")[0] or 0) == record.adc_gain[channel] != 0:
            raise ECGError(f"Lead {lead} has no gain, so its size in mV is unknown; write the gain into the header.")
        factors[lead] = _mv_per_unit(unit_in_file if slash else None, unit, lead)
    _check_wfdb_sizes(header_path, record)
    record = wfdb.rdrecord(stem, channels=sorted(place.values()), smooth_frames=False)
    # wfdb returns the channels in ascending order; a channel may have several samples a frame.
    signals = dict(zip(sorted(place.values()), record.e_p_signal, strict=True))
    signals_mv = {lead: signals[channel] * factors[lead] for lead, channel in place.items()}
    lengths = {len(signal) for signal in signals_mv.values()}
    if len(lengths) > 1 or lengths == {0}:
        raise ECGError("The leads are empty or have different sampling rates; resample them to one rate first.")
    return signals_mv, rate_hz * lengths.pop() / record.sig_len, (*notes, *_unit_notes(list(factors.values())))


def _check_wfdb_sizes(header_path: Path, record: wfdb.Record) -> None:
    """Refuse missing and cut-off signal files, before any memory is taken for what a header promises."""
    for name in dict.fromkeys(record.file_name):
        signal_path = header_path.with_name(name)
        if not signal_path.is_file():
            raise ECGError(f"Its signal file {name} is missing; put it beside the header.")
        channels = [channel for channel in range(record.n_sig) if record.file_name[channel] == name]
        bytes_per_sample = WFDB_BYTES_PER_SAMPLE[record.fmt[channels[0]]]
        samples_per_frame = sum(record.samps_per_frame[channel] or 1 for channel in channels)
        n_samples = samples_per_frame * (record.sig_len or 1)
        # Rounded first, as 4/3 byte is not exact in floating point.
        promised = (record.byte_offset[channels[0]] or 0) + math.ceil(round(bytes_per_sample * n_samples, 3))
        size = signal_path.stat().st_size
        if size < promised:
            raise ECGError(
                f"Its signal file {name} has {size} bytes, but the header promises at least {promised}, so it is cut"
                " off; copy it again."
            )


# ---- CSV


def _read_csv(path: Path, given_rate_hz: float | None, unit: str | None) -> tuple[LeadSignals, float, tuple[str, ...]]:
    """A table with lead names in the first row and one row per sample, separated by comma, semicolon or tab."""
    lines = _text(path).strip("\r\n").splitlines()
    delimiter = max(",;\t", key=lines[0].count)
    columns = [column.strip().strip('"').strip() for column in lines[0].split(delimiter)]
    for row, line in enumerate(lines[1:], 2):
        if line.count(delimiter) + 1 != len(columns):
            raise ECGError(f"Row {row} has {line.count(delimiter) + 1} values for {len(columns)} columns; complete it.")
    if len(lines) < 2:
        raise ECGError("There are no samples below the first row; export it again.")
    # "II_mV" and "II (mV)" are lead and unit.
    matches = [re.fullmatch(r"(.*?)(?:[ _]+|\s*[(\[])([munµμ]?[vV])[)\]]?", column) for column in columns]
    names = [match[1] if match else column for match, column in zip(matches, columns, strict=True)]
    times = [i for i, column in enumerate(columns) if re.fullmatch(r"(?i)(t|time)([ _]*[(\[]?m?s[)\]]?)?", column)]
    counters = [i for i, column in enumerate(columns) if column.lower() in ("", "sample", "index")]
    channels = [i for i in range(len(columns)) if i not in times + counters]
    place, notes = _match_leads([names[i] for i in channels])
    place = {lead: channels[index] for lead, index in place.items()}

    # A decimal comma goes with a semicolon or tab between the columns.
    decimal = "," if delimiter != "," and "," in lines[1] else "."
    try:
        table = pd.read_csv(
            io.StringIO("\n".join(lines[1:])),
            sep=delimiter,
            header=None,
            usecols=[*place.values(), *times],
            dtype=np.float64,
            decimal=decimal,
            skip_blank_lines=False,  # an empty row is a missing sample, and to skip it would shift all that follow
        )
    except ValueError as error:
        raise ECGError("Not every value below the first row is a number; correct or empty such cells.") from error
    rate_hz = given_rate_hz
    for column in times:
        rate_hz = _rate_of_times_hz(columns[column], table[column].to_numpy(), rate_hz)
    rate_hz = _agreed_rate_hz(rate_hz, given_rate_hz)
    factors = {lead: _mv_per_unit(matches[i][2] if matches[i] else None, unit, lead) for lead, i in place.items()}
    signals_mv = {lead: table[i].to_numpy() * factors[lead] for lead, i in place.items()}
    return signals_mv, rate_hz, (*notes, *_unit_notes(list(factors.values())))


def _rate_of_times_hz(column: str, times: np.ndarray, given_rate_hz: float | None) -> float:
    """The sampling rate by a column of times, whose unit is in its name (`time_s`, `time_ms`), else s or ms."""
    even = np.linspace(times[0], times[-1], len(times))
    step = (times[-1] - times[0]) / max(len(times) - 1, 1)
    if not step > 0 or not np.abs(times - even).max() <= 0.6 * step:
        raise ECGError(f"The times in column {column!r} are not evenly spaced; resample the ECG to one rate first.")
    unit = re.search(r"(?i)[^a-z](m?s)[)\]]?$", column)
    rates_hz = {"s": 1 / step, "ms": 1000 / step}
    if unit:
        rates_hz = {unit[1].lower(): rates_hz[unit[1].lower()]}
    elif given_rate_hz is None:
        raise ECGError(f"Column {column!r} does not say its unit; name it time_s or time_ms or pass sampling_rate_hz.")
    # Printed times are rounded: within 0.1 % the rate is a whole number, within 1 % it is the caller's.
    rate_hz = min(rates_hz.values(), key=lambda rate: abs(rate - (given_rate_hz or rate)))
    rate_hz = float(round(rate_hz)) if abs(rate_hz - round(rate_hz)) <= 1e-3 * rate_hz else rate_hz
    return _agreed_rate_hz(rate_hz, given_rate_hz, tolerance=0.01)


# ---- NumPy


def _read_numpy(
    path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None
) -> tuple[LeadSignals, float, tuple[str, ...]]:
    """A two-dimensional array; `.npz` may bring its own `leads`, `sampling_rate_hz` and `unit` beside `signal`."""
    rate_in_file_hz, unit_in_file = None, None
    names = None if leads is None else [str(name) for name in leads]
    if path.suffix.lower() == ".npy":
        # Memory-mapped, a file that is shorter than it claims is refused before memory is taken.
        signal = np.load(path, allow_pickle=False, mmap_mode="r")
    else:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if "signal" not in archive:
                raise ECGError(f"It has no array called 'signal' but {', '.join(archive) or 'none'}; save it so.")
            signal = archive["signal"]
            rate_in_file_hz = float(archive["sampling_rate_hz"]) if "sampling_rate_hz" in archive else None
            unit_in_file = str(archive["unit"]) if "unit" in archive else None
            names_in_file = [str(name) for name in archive["leads"]] if "leads" in archive else names
        if names is not None and names != names_in_file:
            raise ECGError("The argument leads differs from the leads in the file; leave it out.")
        names = names_in_file
    if names is None:
        raise ECGError('The leads have no names; pass them in the order of the file, as in leads=["I", "II"].')
    if signal.ndim != 2 or signal.dtype.kind not in "iuf":
        raise ECGError(
            f"The signal has shape {signal.shape} and type {signal.dtype}; save numbers as (leads, samples)."
        )
    if len(names) not in signal.shape:
        raise ECGError(f"A signal of shape {signal.shape} does not fit {len(names)} lead names; give one per lead.")
    if signal.shape[0] == signal.shape[1]:
        raise ECGError(
            f"A signal of shape {signal.shape} has as many leads as samples, so which is which is unclear; crop it."
        )
    if signal.shape[0] != len(names):
        signal = signal.T
    place, notes = _match_leads(names)
    rate_hz = _agreed_rate_hz(rate_in_file_hz, given_rate_hz)
    factor = _mv_per_unit(unit_in_file, unit, next(iter(place)))
    signals_mv = {lead: np.asarray(signal[i], dtype=np.float64) * factor for lead, i in place.items()}
    return signals_mv, rate_hz, (*notes, *_unit_notes([factor]))
