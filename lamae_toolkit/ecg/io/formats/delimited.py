"""Tables with a column per lead: comma, semicolon or tab between the columns."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.ecg.io.stretch import Stretch
from lamae_toolkit.ecg.leads import LEADS, lead_name
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import read_text

DELIMITERS = ",;\t"
QUOTES = "\"'"
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|[+-]?nan|[+-]?inf|", re.IGNORECASE)
TIME = re.compile(r"(?i)(t|time|elapsed time|seconds|zeit|temps|tiempo|tempo)([ _]*[(\[]?m?s[)\]]?)?")
UNIT_ROW = re.compile(r"(?i)[munµμ]?v|s|ms|sec|seconds|milliseconds|hh:mm:ss(\.m+)?|samples?|#|")
"""What stands in a row of units under the row of names; empty where a column has none."""


class Head(NamedTuple):
    """What stands above the first sample: names and, in the name or in a row of their own, units of the columns."""

    delimiter: str
    columns: list[str]
    units: list[str | None]
    n_lines: int
    """Lines before the first sample."""


def head_of(lines: Sequence[str]) -> Head:
    """What the first lines of a table say: no columns if they hold no names; ECGError if there is nothing at all."""
    first = 0
    while first < len(lines) and (not lines[first].strip() or lines[first].startswith("#")):
        first += 1
    if first and first < len(lines) and lines[first - 1].startswith("#"):
        # numpy.savetxt writes the row of names as a comment.
        commented = lines[first - 1].lstrip("# ")
        first -= any(map(lead_name, _cells(commented, DELIMITERS))) and _is_numbers(_cells(lines[first], DELIMITERS))
    if first >= len(lines):
        raise ECGError("It has no row of names and no samples; export it again.")
    line = lines[first].lstrip("# ")
    delimiter = max(DELIMITERS, key=line.count)
    columns = _cells(line, delimiter)
    if _is_numbers(columns):
        return Head(delimiter, [], [], first)
    below = _cells(lines[first + 1], delimiter) if first + 1 < len(lines) else []
    has_units = any(below) and not _is_numbers(below) and all(UNIT_ROW.fullmatch(cell) for cell in below)
    # "II_mV" and "II (mV)" are lead and unit.
    matches = [re.fullmatch(r"(.*?)(?:[ _]+|\s*[(\[])([munµμ]?[vV])[)\]]?", column) for column in columns]
    units = [match[2] if match else None for match in matches]
    if has_units:
        units = [unit or (cell or None) for unit, cell in zip(units, below, strict=False)]
        units += [None] * (len(columns) - len(units))
    names = [match[1] if match else column for match, column in zip(matches, columns, strict=True)]
    return Head(delimiter, names, units, first + 1 + has_units)


def _cells(line: str, delimiters: str) -> list[str]:
    delimiter = max(delimiters, key=line.count)
    return [cell.strip().strip(QUOTES).strip() for cell in line.split(delimiter)]


def _is_numbers(cells: Sequence[str]) -> bool:
    return all(NUMBER.fullmatch(cell) for cell in cells)


def read(
    path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None, stretch: Stretch
) -> Reading:
    """A table with lead names in the first row and one row per sample, separated by comma, semicolon or tab.

    Comments above the names (#), a row of units below them, quotes and decimal commas are understood.
    """
    import pandas as pd

    lines = read_text(path).strip("\r\n").splitlines()
    head = head_of(lines)
    delimiter, columns, units = head.delimiter, head.columns, head.units
    if not columns:
        if leads is None:
            raise ECGError(
                "Its first row holds numbers instead of lead names; add a row of names, or pass them in the order of"
                ' the columns, as in leads=["I", "II"].'
            )
        columns = [f"column {number + 1}" for number in range(lines[head.n_lines].count(delimiter) + 1)]
        units = [None] * len(columns)
    times = [i for i, column in enumerate(columns) if TIME.fullmatch(column)]
    counters = [i for i, column in enumerate(columns) if column.lower() in ("", "sample", "index")]
    channels = [i for i in range(len(columns)) if i not in times + counters]
    if leads is None and not any(lead_name(columns[i]) for i in channels):
        # The names are not repeated: those of another table may be of persons.
        raise ECGError(
            f"Unknown lead names in the {len(columns)} columns of its first row; name the leads {', '.join(LEADS)}, or"
            " pass leads= with a name for each channel."
        )
    channel_of, notes = match_leads([columns[i] for i in channels], leads)
    channel_of = {lead: channels[index] for lead, index in channel_of.items()}

    rows = lines[head.n_lines :]
    while rows and rows[-1].startswith("#"):
        rows.pop()
    if not rows:
        raise ECGError("There are no samples below the first row; export it again.")
    if any(quote in rows[0] for quote in QUOTES):
        delimiter, rows = ";", _unquoted(rows, delimiter)
    for row, line in enumerate(rows, head.n_lines + 1):
        if line.count(delimiter) + 1 != len(columns):
            raise ECGError(f"Row {row} has {line.count(delimiter) + 1} values for {len(columns)} columns; complete it.")
    text = "\n".join(rows)
    clocks = {i: _seconds for i in times if ":" in _cells(rows[0], delimiter)[i]}
    # A decimal comma goes with a semicolon or tab between the columns; the first value may be whole.
    decimals = ",." if delimiter != "," and "," in text else "."
    for decimal in decimals:
        try:
            table = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                header=None,
                usecols=[*channel_of.values(), *times],
                dtype={i: np.float64 for i in [*channel_of.values(), *times] if i not in clocks},
                converters=clocks,
                decimal=decimal,
                skip_blank_lines=False,  # an empty row is a missing sample, and to skip it would shift all that follow
            )
            break
        except ValueError as error:
            failure = error
    else:
        raise ECGError(
            "Not every value below the first row is a number; correct or empty such cells, and use one decimal sign."
        ) from failure
    rate_hz = given_rate_hz
    for column in times:
        unit_of_time = "s" if column in clocks else units[column] or columns[column]
        rate_hz = _rate_of_times_hz(unit_of_time, table[column].to_numpy(), rate_hz)
    rate_hz = agreed_rate_hz(rate_hz, given_rate_hz)
    factors = {lead: mv_per_unit(units[i], unit, lead) for lead, i in channel_of.items()}
    samples = stretch.samples(len(table), rate_hz, len(channel_of))
    signals_mv = {
        lead: table[i].to_numpy()[samples.start : samples.stop] * factors[lead] for lead, i in channel_of.items()
    }
    return signals_mv, rate_hz, (*notes, *unit_notes(list(factors.values())))


def _unquoted(rows: Sequence[str], delimiter: str) -> list[str]:
    """The rows with a semicolon between the values and no quotes, within which a value may hold the delimiter."""
    quote = max(QUOTES, key=rows[0].count)
    try:
        return [";".join(cells) for cells in csv.reader(rows, delimiter=delimiter, quotechar=quote)]
    except csv.Error as error:
        raise ECGError("The quotes around its values do not match; export it again.") from error


def _seconds(clock: str) -> float:
    """Seconds of a time like "0:00:01.250" or "01:02.5"; ValueError for anything else."""
    seconds = 0.0
    for part in clock.strip(" '\"").replace(",", ".").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def _rate_of_times_hz(name: str, times: np.ndarray, given_rate_hz: float | None) -> float:
    """The sampling rate by a column of times, whose unit or name says s or ms (`time_s`, `time_ms`)."""
    even = np.linspace(times[0], times[-1], len(times))
    step = (times[-1] - times[0]) / max(len(times) - 1, 1)
    if not step > 0 or not np.abs(times - even).max() <= 0.6 * step:
        raise ECGError("The times in its column of times are not evenly spaced; resample the ECG to one rate first.")
    unit = re.search(r"(?i)(?:^|[^a-z])(m)?(?:s|sec|seconds|illiseconds)[)\]]?$", name)
    rates_hz = [1000 / step] if unit and unit[1] else [1 / step] if unit else [1 / step, 1000 / step]
    if unit is None and given_rate_hz is None:
        raise ECGError("The column of times does not say its unit; name it time_s or time_ms or pass sampling_rate_hz.")
    # Printed times are rounded: within 0.1 % the rate is a whole number, within 1 % it is the caller's.
    rate_hz = min(rates_hz, key=lambda rate: abs(rate - (given_rate_hz or rate)))
    rate_hz = float(round(rate_hz)) if abs(rate_hz - round(rate_hz)) <= 1e-3 * rate_hz else rate_hz
    return agreed_rate_hz(rate_hz, given_rate_hz, tolerance=0.01)
