"""Whether what was read can be an ECG: amplitudes, Einthoven's relations, and marks of missing samples.

The limits were tried on 1,754 real ECGs of eleven archives and five devices. Einthoven's relations are broken in the
200 of LUDB, whose headers scale each lead on its own, and in one of CODE-15; nothing else is warned of.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from lamae_toolkit.ecg.leads import FROM_I_AND_II
from lamae_toolkit.errors import WarningNote

MAX_SPAN_MV = 50.0
"""Peak to peak: real leads have up to 15 mV, with artefacts up to 45; counts of an analog-to-digital converter that are
called mV have 100 and more."""

MIN_SPAN_MV = 0.05
"""Peak to peak of the largest lead: real ones have 0.4 mV or more, and microvolts that are called mV 15 at the most."""

EINTHOVEN_MV, EINTHOVEN_SPAN, EINTHOVEN_TIME = 0.05, 0.01, 0.01
"""By how much, in mV or as a share of the largest lead, and for which share of the time the relations may be off."""

MISSING = (-32768.0, -32.768)
"""The lowest integer of 16 bits, by which devices mark a missing sample, and the same converted with others to mV."""


def without_marks(values: np.ndarray) -> Float[np.ndarray, " t"]:
    """The samples of a lead, in the unit of the file, NaN where a -32768 stands for a missing one.

    It does where it stands apart: if it is the lowest value, and no other is near it.
    """
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    low = np.fmin.reduce(values) if values.size else np.nan
    if not any(abs(low - mark) <= -1e-6 * mark for mark in MISSING):
        return values
    others = values[values > low]
    if others.size == 0 or others.min() - low <= np.ptp(others) / 2:
        return values
    return np.where(values == low, np.nan, values)


def einthoven_error(signals_mv: Mapping[str, Float[np.ndarray, "t ..."]]) -> tuple[np.ndarray, np.ndarray]:
    """Whether the limb leads contradict Einthoven's and Goldberger's relations, and by how many mV.

    signals_mv: of one ECG, or of several in parallel; the results have the shape of a time step of theirs.
    """
    compared = [name for name in FROM_I_AND_II if name in signals_mv]
    if not compared or not {"I", "II"} <= set(signals_mv):
        shape = next(iter(signals_mv.values())).shape[1:]
        return np.zeros(shape, dtype=bool), np.zeros(shape)
    # Some hundred time steps are enough, as it is a share of the time that counts.
    step = max(1, len(signals_mv["I"]) // 200)
    lead_I, lead_II, *others = (np.ascontiguousarray(signals_mv[name][::step]) for name in ("I", "II", *compared))
    error_mv = np.zeros_like(lead_I)
    for name, lead_mv in zip(compared, others, strict=True):
        of_I, of_II = FROM_I_AND_II[name]
        np.maximum(error_mv, np.abs(lead_mv - of_I * lead_I - of_II * lead_II), out=error_mv)
    span_mv = np.maximum(np.ptp(lead_I, axis=0), np.ptp(lead_II, axis=0))
    wrong = error_mv > np.maximum(EINTHOVEN_MV, EINTHOVEN_SPAN * span_mv)
    return np.asarray(wrong.mean(axis=0) > EINTHOVEN_TIME), np.asarray(error_mv.max(axis=0))


def implausible(signals_mv: Mapping[str, Float[np.ndarray, " t"]]) -> list[WarningNote]:
    """What is to be warned of in the leads of one ECG, in mV and without gaps."""
    spans_mv = {lead: float(np.ptp(signal_mv)) for lead, signal_mv in signals_mv.items()}
    notes = []
    high = [lead for lead, span_mv in spans_mv.items() if span_mv > MAX_SPAN_MV]
    if high:
        whose = f"Lead {high[0]} spans" if len(high) == 1 else f"Leads {', '.join(high)} span up to"
        sentence = f"{whose} {max(spans_mv.values()):.3g} mV, which no ECG does; check the unit and the gain."
        notes.append(WarningNote(sentence, "impossible amplitude"))
    elif max(spans_mv.values()) < MIN_SPAN_MV:
        sentence = f"No lead spans more than {max(spans_mv.values()):.2g} mV, too little for an ECG"
        notes.append(WarningNote(f"{sentence}; check the unit and the gain.", "impossible amplitude"))
    broken, error_mv = einthoven_error(signals_mv)
    if broken:
        sentence = (
            f"The limb leads contradict Einthoven's relations (as III = II - I), by up to {float(error_mv):.2g} mV;"
            " check their names, their gains, and whether a calibration pulse or damage is among the samples."
        )
        notes.append(WarningNote(sentence, "Einthoven's relations broken"))
    return notes
