"""What stands above the first sample of a table: comments, the names of the columns, and their units."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from lamae_toolkit.ecg.leads import lead_name
from lamae_toolkit.errors import ECGError

DELIMITERS = ",;\t"
QUOTES = "\"'"
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|[+-]?nan|[+-]?inf|", re.IGNORECASE)
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
        first -= any(map(lead_name, cells_of(commented, DELIMITERS))) and is_numbers(cells_of(lines[first], DELIMITERS))
    if first >= len(lines):
        raise ECGError("It has no row of names and no samples; export it again.")
    line = lines[first].lstrip("# ")
    delimiter = max(DELIMITERS, key=line.count)
    columns = cells_of(line, delimiter)
    if is_numbers(columns):
        return Head(delimiter, [], [], first)
    below = cells_of(lines[first + 1], delimiter) if first + 1 < len(lines) else []
    has_units = any(below) and not is_numbers(below) and all(UNIT_ROW.fullmatch(cell) for cell in below)
    # "II_mV" and "II (mV)" are lead and unit.
    matches = [re.fullmatch(r"(.*?)(?:[ _]+|\s*[(\[])([munµμ]?[vV])[)\]]?", column) for column in columns]
    units = [match[2] if match else None for match in matches]
    if has_units:
        units = [unit or (cell or None) for unit, cell in zip(units, below, strict=False)]
        units += [None] * (len(columns) - len(units))
    names = [match[1] if match else column for match, column in zip(matches, columns, strict=True)]
    return Head(delimiter, names, units, first + 1 + has_units)


def cells_of(line: str, delimiters: str) -> list[str]:
    """The cells of a row without quotes, between the one of these delimiters that is most frequent in it."""
    delimiter = max(delimiters, key=line.count)
    return [cell.strip().strip(QUOTES).strip() for cell in line.split(delimiter)]


def is_numbers(cells: Sequence[str]) -> bool:
    return all(NUMBER.fullmatch(cell) for cell in cells)
