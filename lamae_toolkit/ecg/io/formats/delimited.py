"""Tables with a column per lead: comma, semicolon or tab between the columns."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lamae_toolkit.ecg.io.channels import (
    LeadSignals,
    Reading,
    agreed_rate_hz,
    as_float32,
    match_leads,
    mv_per_unit,
    unit_notes,
)
from lamae_toolkit.ecg.io.formats.table_head import QUOTES, cells_of, head_of
from lamae_toolkit.ecg.io.stretch import Stretch, check_size
from lamae_toolkit.ecg.leads import LEADS, lead_name
from lamae_toolkit.errors import ECGError

if TYPE_CHECKING:
    import pandas as pd

BLOCK_CHARACTERS, MAX_ROW_CHARACTERS = 1_000_000, 500_000
"""How much of a table is converted at a time, and the limit of one row, so that each time there is a complete one."""

TIME = re.compile(r"(?i)(t|time|elapsed time|seconds|zeit|temps|tiempo|tempo)([ _]*[(\[]?m?s[)\]]?)?")


def read(
    path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None, stretch: Stretch
) -> Reading:
    """A table with lead names in the first row and one row per sample, separated by comma, semicolon or tab.

    Comments above the names (#), a row of units below them, quotes and decimal commas are understood.
    """
    first = next(_lines(path), [])
    head = head_of(first)
    delimiter, columns, units = head.delimiter, head.columns, head.units
    if not columns:
        if leads is None:
            raise ECGError(
                "Its first row holds numbers instead of lead names; add a row of names, or pass them in the order of"
                ' the columns, as in leads=["I", "II"].'
            )
        columns = [f"column {number + 1}" for number in range(first[head.n_lines].count(delimiter) + 1)]
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

    factors = {lead: mv_per_unit(units[i], unit, lead) for lead, i in channel_of.items()}
    if len(first) <= head.n_lines:
        raise ECGError("There are no samples below the first row; export it again.")
    quoted = any(quote in first[head.n_lines] for quote in QUOTES)
    cells = cells_of(first[head.n_lines], delimiter)
    clocks = [i for i in times if i < len(cells) and ":" in cells[i]]
    read_columns = tuple(dict.fromkeys([*channel_of.values(), *times]))
    table = Table(path, head.n_lines, delimiter, len(columns), read_columns, clocks, quoted)
    of_time = {i: "s" if i in clocks else units[i] or columns[i] for i in times}
    # A decimal comma goes with a semicolon or tab between the columns; the first value may be whole.
    decimals = (
        "." if delimiter == "," and not quoted else ",." if any("," in line for line in first[head.n_lines :]) else ".,"
    )
    for decimal in decimals:
        try:
            signals_mv, rate_hz = _read_rows(table, decimal, channel_of, factors, of_time, given_rate_hz, stretch)
            break
        except ECGError:
            raise
        except ValueError as error:
            failure = error
    else:
        raise ECGError(
            "Not every value below the first row is a number; correct or empty such cells, and use one decimal sign."
        ) from failure
    return signals_mv, rate_hz, (*notes, *unit_notes(list(factors.values())))


class Table(NamedTuple):
    """Where the numbers of a file are: lines above them, sign between them, and its columns.

    columns: those to read. clocks: those of them with times like 0:00:01.250.
    """

    path: Path
    n_lines: int
    delimiter: str
    n_columns: int
    columns: tuple[int, ...]
    clocks: list[int]
    quoted: bool

    def rows(self, decimal: str) -> Iterator[tuple[int, Callable[[], "pd.DataFrame"]]]:
        """Some rows at a time, as a function that converts them: those of no use need not be converted."""
        before = 0
        for lines in _lines(self.path):
            numbered = lines[self.n_lines :] if before == 0 else lines
            first = before + len(lines) - len(numbered) + 1
            before += len(lines)
            rows = [line for line in numbered if not line.startswith("#")]
            if rows:
                yield len(rows), partial(self._numbers, rows, first, decimal)

    def _numbers(self, rows: list[str], first: int, decimal: str) -> "pd.DataFrame":
        import pandas as pd

        delimiter = self.delimiter
        if self.quoted:
            delimiter, rows = ";", _unquoted(rows, delimiter)
        for row, line in enumerate(rows, first):
            if line.count(delimiter) + 1 != self.n_columns:
                found = line.count(delimiter) + 1
                raise ECGError(f"Row {row} has {found} values for {self.n_columns} columns; complete it.")
        return pd.read_csv(
            io.StringIO("\n".join(rows)),
            sep=delimiter,
            header=None,
            usecols=list(self.columns),
            dtype={i: np.float64 for i in self.columns if i not in self.clocks},
            converters=dict.fromkeys(self.clocks, _seconds),
            decimal=decimal,
            skip_blank_lines=False,  # an empty row is a missing sample, and to skip it would shift all that follow
        )


def _read_rows(
    table: Table,
    decimal: str,
    channel_of: dict[str, int],
    factors: dict[str, float],
    of_time: dict[int, str],
    given_rate_hz: float | None,
    stretch: Stretch,
) -> tuple[LeadSignals, float]:
    """The leads in mV and the sampling rate; ValueError if a value is not a number with this decimal sign.

    of_time: unit or name of each column of times. Rows before the stretch are not converted, those behind not read.
    """
    parts: dict[str, list[np.ndarray]] = {lead: [] for lead in channel_of}
    times: dict[int, list[np.ndarray]] = {i: [] for i in of_time}
    n_rows, rate_hz, start, stop = 0, given_rate_hz, 0, None

    for n_here, numbers in table.rows(decimal):
        if n_rows == 0 and not stretch.is_complete:
            head = numbers()
            for i, name in of_time.items():
                rate_hz = _rate_of_times_hz(name, [head[i].to_numpy()], rate_hz)
            start, stop = stretch.wanted(agreed_rate_hz(rate_hz, given_rate_hz))
        first, last = max(start - n_rows, 0), n_here if stop is None else min(stop - n_rows, n_here)
        n_rows += n_here
        if first < last:
            values = numbers()
            for i, of_column in times.items():
                of_column.append(values[i].to_numpy()[first:last])
            for lead, i in channel_of.items():
                parts[lead].append(as_float32(values[i].to_numpy()[first:last] * factors[lead]))
            check_size(n_rows - start, len(parts))
        if stop is not None and n_rows >= stop:
            break
    for i, name in of_time.items():
        if times[i] and (stretch.is_complete or sum(map(len, times[i])) > 1):
            rate_hz = _rate_of_times_hz(name, times[i], rate_hz)
    times.clear()
    rate_hz = agreed_rate_hz(rate_hz, given_rate_hz)
    if stop is None or n_rows < stop:
        stretch.samples(n_rows, rate_hz, len(parts))  # which refuses a stretch that does not lie inside
    return {lead: np.concatenate(parts.pop(lead)) for lead in channel_of}, rate_hz


def _lines(path: Path) -> Iterator[list[str]]:
    """The lines of a text, about a million characters at a time, without empty ones at its end."""
    rest, empty = "", 0
    with path.open(encoding=_encoding(path), errors="replace") as file:
        while block := file.read(BLOCK_CHARACTERS):
            *lines, rest = (rest + block).split("\n")
            if len(rest) > MAX_ROW_CHARACTERS:
                raise ECGError(
                    "One of its rows is longer than half a million characters, so it is no table; export it again."
                )
            n_lines = len(lines)
            while lines and not lines[-1]:
                lines.pop()
            if lines:
                yield [""] * empty + lines
                empty = 0
            empty += n_lines - len(lines)
    if rest:
        yield [""] * empty + [rest]


def _encoding(path: Path) -> str:
    """UTF-16 if the file says so, UTF-8, or else Latin-1, which decodes any byte; ECGError if it is no text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):  # as in "Unicode text" of Excel
            return "utf-16"
        file.seek(0)
        try:
            while block := file.read(BLOCK_CHARACTERS):
                if b"\0" in block:
                    raise ECGError("It holds zero bytes, as a file that was cut off or is no text; copy it again.")
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8-sig"


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


def _rate_of_times_hz(name: str, times: Sequence[np.ndarray], given_rate_hz: float | None) -> float:
    """The sampling rate by a column of times, whose unit or name says s or ms (`time_s`, `time_ms`)."""
    start, end, n_rows = times[0][0], times[-1][-1], sum(map(len, times))
    step, at, error = (end - start) / max(n_rows - 1, 1), 0, 0.0
    for part in times:
        off = np.abs(part - (start + step * np.arange(at, at + len(part))))
        error = np.fmax.reduce(off, initial=error)  # a time that is missing says nothing of the others
        at += len(part)
    if not step > 0 or not error <= 0.6 * step:
        raise ECGError("The times in its column of times are not evenly spaced; resample the ECG to one rate first.")
    unit = re.search(r"(?i)(?:^|[^a-z])(m)?(?:s|sec|seconds|illiseconds)[)\]]?$", name)
    rates_hz = [1000 / step] if unit and unit[1] else [1 / step] if unit else [1 / step, 1000 / step]
    if unit is None and given_rate_hz is None:
        raise ECGError("The column of times does not say its unit; name it time_s or time_ms or pass sampling_rate_hz.")
    # Printed times are rounded: within 0.1 % the rate is a whole number, within 1 % it is the caller's.
    rate_hz = min(rates_hz, key=lambda rate: abs(rate - (given_rate_hz or rate)))
    rate_hz = float(round(rate_hz)) if abs(rate_hz - round(rate_hz)) <= 1e-3 * rate_hz else rate_hz
    return agreed_rate_hz(rate_hz, given_rate_hz, tolerance=0.01)
