"""The table that the Health app exports of an ECG of an Apple Watch, in the language of the phone: lead I.

A dozen lines with a heading and a value each, among them the name of the wearer, the sampling rate ("512 hertz",
"511,562 Hertz", "512ヘルツ"), the lead and the unit; then one value a line. Headings are translated, so they are not
looked at. The decimal sign is that of the language as well.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, match_leads, mv_per_unit, unit_notes
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import read_text

MAX_HEAD = 30
"""Lines above the values; the app writes about a dozen."""

NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?")
RATE = re.compile(r"(\d{2,4}(?:[.,]\d+)?)\s*[^\W\d_]+\.?")
"""A number and one word."""
UNIT = re.compile(r"[munµμ]?V")
LEAD = re.compile(r"(?:.*[\W_])?I(?:[\W_].*)?", re.ASCII)
"""The number of the lead, set off by anything but a Latin letter: "Lead I", "第I誘導"."""


def is_watch(lines: Sequence[str]) -> bool:
    """Whether these first lines are those of an ECG of an Apple Watch."""
    values = _head(lines)
    return len(values) >= 4 and any(map(UNIT.fullmatch, values)) and any(map(RATE.fullmatch, values))


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """Lead I at the rate and in the unit that the file gives."""
    lines = read_text(path).splitlines()
    values = _head(lines)
    rates = [match[1] for value in values if (match := RATE.fullmatch(value))]
    units = [value for value in values if UNIT.fullmatch(value)]
    if len(rates) != 1 or len(units) != 1:
        raise ECGError("The lines above its values do not give one sampling rate and one unit; export it again.")
    if not any(map(LEAD.fullmatch, values)):
        raise ECGError("The lines above its values do not name lead I, which the watch records; export it again.")
    start = next((i for i, line in enumerate(lines) if NUMBER.fullmatch(_cell(line))), len(lines))
    cells = [_cell(line) for line in lines[start:]]
    while cells and not cells[-1]:
        cells.pop()
    wrong = next((i for i, cell in enumerate(cells) if not NUMBER.fullmatch(cell)), None)
    if wrong is not None or not cells:
        raise ECGError(f"Row {start + (wrong or 0) + 1} is not one number; export the ECG again.")
    text = "\n".join(cells)
    if "," in text and "." in text:
        raise ECGError("Its values have commas as well as points; export the ECG again.")
    factor = mv_per_unit(units[0], unit, "I")
    rate_hz = agreed_rate_hz(float(rates[0].replace(",", ".")), given_rate_hz)
    signal_mv = np.array(text.replace(",", ".").split(), dtype=np.float64) * factor
    match_leads(["I"], leads)
    return {"I": signal_mv}, rate_hz, unit_notes([factor])


def _head(lines: Sequence[str]) -> list[str]:
    """The values behind the headings, which end where the numbers begin."""
    values = []
    for line in lines[:MAX_HEAD]:
        if NUMBER.fullmatch(_cell(line)):
            break
        _, comma, value = line.partition(",")
        if not comma:
            _, comma, value = line.partition(";")
        values.append(value.strip(' "\t'))
    else:
        return []
    return values


def _cell(line: str) -> str:
    return line.strip(' ",;\t')
