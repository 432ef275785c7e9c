"""Tables with a column per lead: comma, semicolon or tab between the columns."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import read_text

NUMBER = re.compile(r"[+-]?[0-9]*[.,]?[0-9]+(?:[eE][+-]?[0-9]+)?|nan", re.IGNORECASE)


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """A table with lead names in the first row and one row per sample, separated by comma, semicolon or tab."""
    import pandas as pd

    lines = read_text(path).strip("\r\n").splitlines()
    delimiter = max(",;\t", key=lines[0].count)
    columns = [column.strip().strip('"').strip() for column in lines[0].split(delimiter)]
    if all(NUMBER.fullmatch(column) for column in columns):
        if leads is None:
            raise ECGError(
                "Its first row holds numbers instead of lead names; add a row of names, or pass them in the order of"
                ' the columns, as in leads=["I", "II"].'
            )
        columns = [f"column {number}" for number in range(1, len(columns) + 1)]
        lines.insert(0, "")
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
    channel_of, notes = match_leads([names[i] for i in channels], leads)
    channel_of = {lead: channels[index] for lead, index in channel_of.items()}

    # A decimal comma goes with a semicolon or tab between the columns.
    decimal = "," if delimiter != "," and "," in lines[1] else "."
    try:
        table = pd.read_csv(
            io.StringIO("\n".join(lines[1:])),
            sep=delimiter,
            header=None,
            usecols=[*channel_of.values(), *times],
            dtype=np.float64,
            decimal=decimal,
            skip_blank_lines=False,  # an empty row is a missing sample, and to skip it would shift all that follow
        )
    except ValueError as error:
        raise ECGError("Not every value below the first row is a number; correct or empty such cells.") from error
    rate_hz = given_rate_hz
    for column in times:
        rate_hz = _rate_of_times_hz(columns[column], table[column].to_numpy(), rate_hz)
    rate_hz = agreed_rate_hz(rate_hz, given_rate_hz)
    units = [match[2] if match else None for match in matches]
    factors = {lead: mv_per_unit(units[i], unit, lead) for lead, i in channel_of.items()}
    signals_mv = {lead: table[i].to_numpy() * factors[lead] for lead, i in channel_of.items()}
    return signals_mv, rate_hz, (*notes, *unit_notes(list(factors.values())))


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
    return agreed_rate_hz(rate_hz, given_rate_hz, tolerance=0.01)
