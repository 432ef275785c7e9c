"""The page of an ECG on paper: position and size of each lead, and the same in words.

A page has millimetres from its left upper corner. Speed (mm/s) and gain (mm/mV) turn seconds and millivolts into them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lamae_toolkit.ecg.leads import LEADS, LIMB_LEADS, PRECORDIAL_LEADS
from lamae_toolkit.ecg.quality import found_flags
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError

SPEEDS_MM_PER_S, GAINS_MM_PER_MV = (25, 50), (5, 10, 20)
PAGE_S = 10.0
RHYTHM = "rhythm"
RHYTHM_LEADS = ("II", "V1", "V5", *LEADS)
"""The rhythm strip is the first of these that was recorded."""

LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "3x4": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), (RHYTHM,)),
    "6x2": tuple(zip(LIMB_LEADS, PRECORDIAL_LEADS, strict=True)),
    "12x1": tuple((lead,) for lead in LEADS),
    "cabrera": tuple(zip(("aVL", "I", "-aVR", "II", "aVF", "III"), PRECORDIAL_LEADS, strict=True)),
}
"""The leads of each row, from left to right. Cabrera's order goes round the frontal plane from aVL to III."""

EDGE_MM, CALIBRATION_S = 5.0, 0.2
QRS_QUANTILE, LEAST_MV, MOST_MV, CALIBRATION_MV = 0.0005, 0.4, 3.0, 1.0
ROOM_MV, LEAST_ROOM_MV = 24.0, 2.0
"""The height that rows divide among themselves, and the least of a row. Of four rows, waves of 3 mV stay in theirs."""


@dataclass(frozen=True)
class Strip:
    """A segment of one lead on the page, or the blank of a lead that was not recorded.

    name: as written, "-aVR" for the inverted lead. at_s: where it begins, in seconds from the first column.
    from_s, to_s: what it shows, in seconds from the beginning of the page.
    """

    name: str
    row: int
    at_s: float
    from_s: float
    to_s: float
    recorded: bool

    @property
    def lead(self) -> str:
        """The lead whose signal it shows, without the sign."""
        return self.name.removeprefix("-")

    @property
    def sign(self) -> int:
        """-1 for an inverted lead."""
        return -1 if self.name.startswith("-") else 1


@dataclass(frozen=True)
class Page:
    """The strips of a layout and the room in millivolts above, between and below their rows.

    head_mm: more room above, for words.
    """

    strips: tuple[Strip, ...]
    width_s: float
    rows: int
    top_mv: float
    pitch_mv: float
    bottom_mv: float
    head_mm: float = 0.0

    def left_mm(self, mm_per_s: float) -> float:
        """Where the first column begins: after the edge and the calibration pulse with 2.5 mm on both sides."""
        return 2 * EDGE_MM + CALIBRATION_S * mm_per_s

    def pitch_mm(self, mm_per_mv: float) -> float:
        """From one row to the next, in complete large squares."""
        return max(15.0, _large_squares_mm(self.pitch_mv * mm_per_mv + 2))

    def row_mm(self, row: int, mm_per_mv: float) -> float:
        """The height of a row's baseline, always on a bold line of the grid."""
        pitch_mm = self.pitch_mm(mm_per_mv)
        field_mm = pitch_mm / 2 if self.head_mm else 0.0  # the words keep clear of the first row's field
        first_mm = self.head_mm + _large_squares_mm(max(self.top_mv * mm_per_mv + 8, field_mm))
        return first_mm + row * pitch_mm

    def size_mm(self, mm_per_s: float, mm_per_mv: float) -> tuple[float, float]:
        """Width and height of the page."""
        bottom_mm = _large_squares_mm(self.bottom_mv * mm_per_mv + 8)
        width_mm = _large_squares_mm(self.left_mm(mm_per_s) + self.width_s * mm_per_s + EDGE_MM)
        return width_mm, self.row_mm(self.rows - 1, mm_per_mv) + bottom_mm


class Calipers(NamedTuple):
    """Two points of one lead between which a time and a voltage are measured."""

    lead: str
    start_s: float
    end_s: float
    start_mv: float
    end_mv: float

    @property
    def ms(self) -> float:
        """The time between the points."""
        return 1000 * abs(self.end_s - self.start_s)

    @property
    def bpm(self) -> float | None:
        """The heart rate if the points are one beat apart, 60000 / ms; None if they are at the same time."""
        return 60000 / self.ms if self.ms else None

    @property
    def mv(self) -> float:
        """The voltage from the first point to the second."""
        return self.end_mv - self.start_mv


def page(recording: Recording, layout: str = "3x4", head_mm: float = 0.0) -> Page:
    """Lay out an ECG on paper: 10 s per page, columns in sequence of time.

    Of an ECG too short for that, the columns that would be less than half full repeat its end. The room for the rows
    follows from the amplitudes of the waves, so that neighbors rarely touch; very large waves may overlap, as on paper.
    """
    if layout not in LAYOUTS:
        raise ECGError(f"There is no layout {layout!r}; choose {', '.join(LAYOUTS)}.")
    rows = LAYOUTS[layout]
    columns, shown_s = max(map(len, rows)), min(PAGE_S, recording.duration_s)
    column_s = min(PAGE_S / columns, shown_s)
    rhythm = next(lead for lead in RHYTHM_LEADS if lead in recording.leads)
    strips = []
    for number, row in enumerate(rows):
        width_s = shown_s if row == (RHYTHM,) else column_s
        for column, slot in enumerate(row):
            name = rhythm if slot == RHYTHM else slot
            at_s = column * width_s
            from_s = at_s if at_s + width_s / 2 <= shown_s else shown_s - width_s
            recorded = name.removeprefix("-") in recording.leads
            strips.append(Strip(name, number, at_s, from_s, min(from_s + width_s, shown_s), recorded))
    up, down = _amplitudes_mv(recording, strips, len(rows))
    pitch_mv = max((below + above for below, above in zip(down, up[1:], strict=False)), default=0.0)
    pitch_mv = min(pitch_mv, max(ROOM_MV / len(rows), LEAST_ROOM_MV))
    return Page(tuple(strips), columns * column_s, len(rows), max(up[0], CALIBRATION_MV), pitch_mv, down[-1], head_mm)


def level_mv(recording: Recording, lead: str) -> float:
    """The voltage that lies on the row's baseline: the lead's median, as an electrocardiograph removes the offset."""
    return float(np.median(recording.lead(lead)))


def _amplitudes_mv(recording: Recording, strips: Sequence[Strip], rows: int) -> tuple[list[float], list[float]]:
    """How far the waves of each row reach above and below the baseline; a rare spike may reach further."""
    up, down = [LEAST_MV] * rows, [LEAST_MV] * rows
    for strip in strips:
        if strip.recorded:
            signal_mv = strip.sign * (recording.lead(strip.lead) - level_mv(recording, strip.lead))
            low, high = np.quantile(signal_mv, [QRS_QUANTILE, 1 - QRS_QUANTILE])
            up[strip.row] = max(up[strip.row], min(float(high), MOST_MV))
            down[strip.row] = max(down[strip.row], min(-float(low), MOST_MV))
    return up, down


def _large_squares_mm(least_mm: float) -> float:
    """Complete large squares of 5 mm for at least this amount."""
    return 5.0 * math.ceil(round(least_mm / 5, 9))


def describe(
    recording: Recording,
    flags: Mapping[str, Sequence[str]] | None = None,
    rate_bpm: float | int | None = None,
    overlay: Recording | None = None,
    mask: np.ndarray | None = None,
) -> str:
    """A description of an ECG on paper for readers who cannot see it.

    flags: as from `found_flags`, which is called if None.
    """
    flags = found_flags(recording) if flags is None else flags
    absent = [lead for lead in LEADS if lead not in recording.leads]
    number = len(recording.leads)
    sentences = [
        f"ECG of {number} lead{'s' * (number > 1)}, {recording.duration_s:.1f} s at {recording.sampling_rate_hz:g} Hz"
    ]
    sentences[0] += f", {rate_bpm:.0f} beats a minute." if rate_bpm else "."
    if absent:
        sentences.append(f"Not recorded: {', '.join(absent)}.")
    if flags:
        sentences.append("Flags: " + "; ".join(f"{lead} {', '.join(found)}" for lead, found in flags.items()) + ".")
    if overlay is not None:
        sentences.append(f"A second trace lies over {len(set(overlay.leads) & set(recording.leads))} of the leads.")
    if mask is not None:
        sentences.append(f"{np.mean(mask):.0%} of the patches are masked.")
    return " ".join(sentences)
