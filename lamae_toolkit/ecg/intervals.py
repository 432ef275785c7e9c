"""Beats, the median beat, and the intervals and axis that a cardiologist reads from a 12-lead ECG.

Beats, P and T are found by NeuroKit2 in up to six leads, and a value counts only where most of these leads agree. QRS
begins and ends where the slope of the median beat, all leads together, leaves and reaches its level at rest: one
onset and one end for the complete ECG, as Kligfield et al. (AHA/ACCF/HRS, Circulation 115:1306, 2007) ask for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lamae_toolkit.ecg.beats import BEFORE_S, RATE_HZ, Beats, agreed_beats, qrs_edges, waves_of
from lamae_toolkit.ecg.preprocess import resample
from lamae_toolkit.ecg.quality import quality_flags
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError

DELINEATED = ("II", "I", "V5", "V2", "V4", "V1", "aVF", "V3", "V6", "III", "aVL", "aVR")
MOST_DELINEATED = 6
STEADY_S, AGREED_S, REPEATED_S = 0.04, 0.06, 0.025
"""How much a mark may vary: from beat to beat and from lead to lead (quartile range), and between halves of beats."""
SHORTEST_ST_T_S = 0.1
FASTEST_PR_BPM = 120
"""Above it a P wave cannot be told from T, nor from a flutter wave."""
PLAUSIBLE_MS = {"pr": (90, 450), "qrs": (50, 240), "qt": (200, 700)}
PLAUSIBLE_BPM = (20, 320)

QTC_FORMULAS = {
    "Fridericia": lambda qt_ms, rr_s: qt_ms / rr_s ** (1 / 3),
    "Bazett": lambda qt_ms, rr_s: qt_ms / rr_s**0.5,
    "Framingham": lambda qt_ms, rr_s: qt_ms + 154 * (1 - rr_s),
    "Hodges": lambda qt_ms, rr_s: qt_ms + 1.75 * (60 / rr_s - 60),
}
"""QT at a rate of 60 beats a minute, from QT in ms and the mean RR interval in s."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """What was measured of one ECG; None where it could not be, with the reason in `not_measured`.

    rate_bpm: 60 / mean RR. pr_ms, qrs_ms, qt_ms, qtc_ms: of the prevailing beats; qtc_formula: its name.
    axis_deg: of QRS in the frontal plane, 0 to the patient's left, 90 to the feet. beats_s: the R peak of every beat;
    prevailing: which of them look like the median beat. marks_s: the beginning and end of P ("P on", "P off"), of QRS
    ("QRS on", "QRS off") and the end of T ("T off"), from the R peak. median_beat: the prevailing beats' median in
    every lead, at 500 Hz, its R peak `BEFORE_S` after its beginning; None without such a beat. not_measured: by name
    ("rate", "PR", "QRS", "QT", "QTc", "axis"), why it was not.
    """

    rate_bpm: float | None
    pr_ms: float | None
    qrs_ms: float | None
    qt_ms: float | None
    qtc_ms: float | None
    qtc_formula: str
    axis_deg: float | None
    beats_s: tuple[float, ...]
    prevailing: tuple[bool, ...]
    marks_s: Mapping[str, float]
    median_beat: Recording | None
    not_measured: Mapping[str, str]

    def table(self) -> list[tuple[str, str]]:
        """Name and value of each measurement with its unit; a dash for what could not be measured."""
        values = {
            "Rate": (self.rate_bpm, "/min"),
            "PR": (self.pr_ms, " ms"),
            "QRS": (self.qrs_ms, " ms"),
            "QT": (self.qt_ms, " ms"),
            f"QTc ({self.qtc_formula})": (self.qtc_ms, " ms"),
            "Axis": (self.axis_deg, "°"),
        }
        return [
            (name, "–" if value is None else f"{value:.0f}{unit}".replace("-", "−"))
            for name, (value, unit) in values.items()
        ]

    def sentences(self) -> list[str]:
        """Why something was not measured, one sentence for each reason."""
        names_of: dict[str, list[str]] = {}
        for name, reason in self.not_measured.items():
            names_of.setdefault(reason, []).append(name)
        return [f"{', '.join(names)} not measured: {reason}" for reason, names in names_of.items()]

    def in_words(self) -> str:
        """All measurements in sentences, for screen readers."""
        found = [f"{name} {value}" for name, value in self.table() if value != "–"]
        beats = f"{len(self.beats_s)} beats found."
        return " ".join([beats, *([f"{', '.join(found)}."] if found else []), *self.sentences()])


def measure(recording: Recording, qtc: str = "Fridericia") -> Measurements:
    """Measure rate, PR, QRS, QT, QTc and the QRS axis of an ECG, and find its beats and its median beat.

    recording: any leads at any rate; 2 s and two beats at least. qtc: the formula by which QT is corrected for the
    rate: "Fridericia", "Bazett", "Framingham" or "Hodges". A value that the leads do not agree on is not given, but
    a sentence that says why (`not_measured`). ECGError for an unknown formula. Against the marks of cardiologists on
    LUDB, see docs/howto/widgets.md. For research and teaching, not for diagnosis. Source of beats, P and T:
    NeuroKit2 (Makowski et al., Behav Res 53:1689, 2021), method "prominence".

    Example:
        import numpy as np
        import lamae_toolkit as lt

        patient = lt.sample_patient(0, np.random.default_rng(0))
        ecg = lt.simulate_ecg(patient, np.random.default_rng(1), codes={}).recording
        measured = lt.ecg.measure(ecg)
        measured.table()  # rate, PR, QRS, QT, QTc and axis
    """
    if qtc not in QTC_FORMULAS:
        raise ECGError(f"There is no QTc by {qtc!r}; choose {', '.join(QTC_FORMULAS)}.")
    found = _Found(qtc)
    if recording.duration_s < 2.0:
        return found.nothing(f"the ECG has {recording.duration_s:.1f} s, and at least 2 s are needed.")
    flags = quality_flags(recording)
    usable = [lead for lead in recording.leads if "flat" not in flags[lead]]
    if not usable:
        return found.nothing("every lead is flat.")
    ecg = resample(recording.select(usable), RATE_HZ)
    chosen = [lead for lead in DELINEATED if lead in usable][:MOST_DELINEATED]
    waves = [of_lead for lead in chosen if (of_lead := waves_of(ecg.lead(lead))) is not None]
    found.beats_s = agreed_beats([peaks for peaks, _ in waves], len(chosen))
    if len(found.beats_s) < 2:
        return found.nothing("fewer than two beats were found in most leads.")
    rr_s = float(np.diff(found.beats_s).mean())
    if not PLAUSIBLE_BPM[0] <= 60 / rr_s <= PLAUSIBLE_BPM[1]:
        return found.nothing(f"beats were found at {60 / rr_s:.0f}/min, which no heart has.")
    counts = [len(peaks) for peaks, _ in waves]
    if len(found.beats_s) < 0.75 * np.median(counts):
        return found.nothing("the leads disagree on where the beats are.")
    found.values["rate"] = 60 / rr_s
    beats = Beats.of(ecg, found.beats_s)
    if beats is None:
        return found.nothing("fewer than two complete beats look alike.")
    found.prevailing, found.median = beats.alike(found.beats_s), beats.median(ecg)
    _measure_qrs(found, beats, ecg)
    if found.qrs is not None:
        own, marks = found.beats_s[found.prevailing], [of_lead for _, of_lead in waves]
        _measure_p(found, found.qrs, marks, own, len(chosen))
        _measure_t(found, found.qrs, marks, own, len(chosen), rr_s)
    return found.result()


@dataclass
class _Found:
    """What has been found so far."""

    formula: str
    beats_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    prevailing: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    median: Recording | None = None
    qrs: tuple[float, float] | None = None
    values: dict[str, float] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def nothing(self, reason: str) -> Measurements:
        """None of what has not been measured yet can be, for this reason."""
        for name in ("rate", "PR", "QRS", "QT", "QTc", "axis"):
            if name not in self.values:
                self.reasons.setdefault(name, reason)
        return self.result()

    def interval(self, name: str, start_s: float, end_s: float) -> bool:
        """Take an interval if a heart can have it."""
        value_ms, (low, high) = 1000 * (end_s - start_s), PLAUSIBLE_MS[name.lower()]
        if low <= value_ms <= high:
            self.values[name] = value_ms
            return True
        self.reasons[name] = f"{value_ms:.0f} ms was found, which is outside {low} to {high} ms."
        return False

    def result(self) -> Measurements:
        names = ("rate", "PR", "QRS", "QT", "QTc")
        rate, pr, qrs, qt, corrected = (self.values.get(name) for name in names)
        return Measurements(
            rate,
            pr,
            qrs,
            qt,
            corrected,
            self.formula,
            self.values.get("axis"),
            tuple(float(beat) for beat in self.beats_s),
            tuple(bool(one) for one in self.prevailing) or (False,) * len(self.beats_s),
            self.marks,
            self.median,
            self.reasons,
        )


def _measure_qrs(found: _Found, beats: Beats, ecg: Recording) -> None:
    """QRS and its axis; without QRS nothing that begins or ends with it is measured."""
    median_mv = np.median(beats.beats_mv, axis=0)
    sets_of_beats = [beats.beats_mv]
    if len(beats.beats_mv) >= 4:
        sets_of_beats += [beats.beats_mv[::2], beats.beats_mv[1::2]]
    edges = [edge for some in sets_of_beats if (edge := qrs_edges(np.median(some, axis=0))) is not None]
    reason = ""
    if len(edges) < len(sets_of_beats):
        reason = "where it begins and ends cannot be told from noise, P or ST."
    elif max(np.ptp([one[side] for one in edges]) for side in (0, 1)) > REPEATED_S:
        reason = "its beginning or end differs from beat to beat."
    elif not found.interval("QRS", *edges[0]):
        reason = found.reasons["QRS"]
    if reason:
        found.reasons |= dict.fromkeys(("QRS", "PR", "QT", "QTc", "axis"), reason)
        return
    found.qrs = edges[0]
    found.marks |= {"QRS on": edges[0][0], "QRS off": edges[0][1]}
    if not {"I", "II"} <= set(ecg.leads) and not {"I", "aVF"} <= set(ecg.leads):
        found.reasons["axis"] = "it needs leads I and II, or I and aVF."
        return
    start, end = (round((BEFORE_S + edge) * RATE_HZ) for edge in edges[0])

    def area(lead: str) -> float:
        part = median_mv[ecg.leads.index(lead), start : end + 1]
        return float((part - part[0]).sum() / RATE_HZ * 1000)  # mV ms

    left = area("I")
    feet = area("aVF") if "aVF" in ecg.leads else area("II") - left / 2
    feet *= 2 / 3**0.5  # an augmented lead is shorter than a bipolar one
    if np.hypot(left, feet) < 3.0:
        found.reasons["axis"] = "QRS is as much positive as negative in the limb leads."
        return
    found.values["axis"] = float(np.degrees(np.arctan2(feet, left)))


def _agreed_mark(
    waves: list[dict[str, np.ndarray]], name: str, beats_s: np.ndarray, within_s: tuple[float, float], share: float
) -> tuple[float, int] | None:
    """Where a mark lies from the R peak, and in how many leads it is steady; None if these disagree or are too few.

    share: the quantile over leads; steady: in most beats, and at the same place.
    """
    steady = []
    for of_lead in waves:
        marks = of_lead.get(name, np.zeros(0))
        away = marks[None, :] - beats_s[:, None]
        away[~((away > within_s[0]) & (away < within_s[1]))] = np.nan
        seen = away[np.isfinite(away).any(axis=1)]
        if len(seen) <= len(beats_s) / 2:
            continue
        nearest = np.nanmin(np.abs(seen), axis=1) * np.sign(within_s[1])
        nearest = np.abs(nearest) if within_s[0] >= 0 else -np.abs(nearest)
        low, middle, high = np.quantile(nearest, [0.25, 0.5, 0.75])
        if high - low <= STEADY_S:
            steady.append(float(middle))
    if not steady or np.subtract(*np.quantile(steady, [0.75, 0.25])) > AGREED_S:
        return None
    return float(np.quantile(steady, share)), len(steady)


def _measure_p(
    found: _Found, qrs: tuple[float, float], waves: list[dict[str, np.ndarray]], beats_s: np.ndarray, leads: int
) -> None:
    """PR, if P waves precede QRS by the same time in most leads."""
    mark = _agreed_mark(waves, "P on", beats_s, (-0.46, -0.05), 0.25)
    if found.values["rate"] > FASTEST_PR_BPM:
        found.reasons["PR"] = f"above {FASTEST_PR_BPM}/min P cannot be told from T or from a flutter wave."
    elif mark is None or mark[1] <= leads / 2:
        found.reasons["PR"] = "no P wave was found at a constant time before QRS in most leads."
    elif found.interval("PR", mark[0], qrs[0]):
        found.marks["P on"] = mark[0]
        end = _agreed_mark(waves, "P off", beats_s, (mark[0], qrs[0] + 0.02), 0.75)
        if end is not None and mark[0] < end[0] < qrs[0]:
            found.marks["P off"] = end[0]


def _measure_t(
    found: _Found,
    qrs: tuple[float, float],
    waves: list[dict[str, np.ndarray]],
    beats_s: np.ndarray,
    leads: int,
    rr_s: float,
) -> None:
    """QT and QTc, if most leads agree where T ends."""
    mark = _agreed_mark(waves, "T off", beats_s, (0.12, 0.7), 0.5)
    if mark is None or mark[1] <= leads / 2 or mark[0] < qrs[1] + SHORTEST_ST_T_S:
        found.reasons["QT"] = found.reasons["QTc"] = "most leads do not agree where the T wave ends."
    elif found.interval("QT", qrs[0], mark[0]):
        found.marks["T off"] = mark[0]
        found.values["QTc"] = QTC_FORMULAS[found.formula](found.values["QT"], rr_s)
    else:
        found.reasons["QTc"] = found.reasons["QT"]
