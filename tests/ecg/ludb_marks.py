"""The marks of LUDB's cardiologists, and how far measured intervals are from them."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import lamae_toolkit as lt
from lamae_toolkit.ecg.intervals import measure
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import LeadWarning

INTERVALS = {
    "PR": ("P on", "QRS on", "pr_ms"),
    "QRS": ("QRS on", "QRS off", "qrs_ms"),
    "QT": ("QRS on", "T off", "qt_ms"),
}


@dataclass
class IntervalErrors:
    """By interval: measured minus marked in ms, and in how many records it was marked; those without a measurement
    have no error."""

    errors_ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in INTERVALS})
    marked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(INTERVALS, 0))


def interval_errors(folder: Path, numbers: Iterable[int]) -> IntervalErrors:
    """Measure some records of LUDB, and compare."""
    found = IntervalErrors()
    for number in numbers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeadWarning)  # each lead of LUDB has a scale of its own
            ecg = lt.read_ecg(folder / f"{number}.hea")
        measured = measure(ecg)
        marks = annotated(folder / str(number), ecg)(measured.beats_s)
        for name, (first, last, value) in INTERVALS.items():
            if {first, last} <= marks.keys():
                found.marked[name] += 1
                if (value_ms := getattr(measured, value)) is not None:
                    found.errors_ms[name].append(value_ms - 1000 * (marks[last] - marks[first]))
    return found


def annotated(base: Path, ecg: Recording) -> Callable[[Sequence[float]], dict[str, float]]:
    """The marks of LUDB, from the R peaks that are given: by beat over leads, then the median over beats.

    Over leads: nearly the widest, the 15th percentile of where P begins, the 10th of where QRS begins, the 90th of
    where QRS ends, and the 75th of where T ends.
    """
    import wfdb

    waves = []  # kind, beginning, peak, end in s
    for lead in ecg.leads:
        found = wfdb.rdann(str(base), lead.lower())
        for at in range(1, len(found.symbol) - 1):
            if found.symbol[at] in "pNt" and found.symbol[at - 1] == "(" and found.symbol[at + 1] == ")":
                waves.append((found.symbol[at], *(found.sample[at - 1 : at + 2] / ecg.sampling_rate_hz)))
    window = {"p": (-0.4, -0.04), "N": (-0.1, 0.1), "t": (0.08, 0.6)}
    wanted = {"P on": ("p", 1, 0.15), "QRS on": ("N", 1, 0.1), "QRS off": ("N", 3, 0.9), "T off": ("t", 3, 0.75)}

    def marks(beats_s) -> dict[str, float]:
        result = {}
        for name, (kind, side, share) in wanted.items():
            of_beats = []
            for beat in beats_s:
                low, high = window[kind]
                of_leads = [one[side] - beat for one in waves if one[0] == kind and low < one[2] - beat < high]
                if len(of_leads) >= 5:
                    of_beats.append(np.quantile(of_leads, share))
            if len(of_beats) >= 3:
                result[name] = float(np.median(of_beats))
        return result

    return marks
