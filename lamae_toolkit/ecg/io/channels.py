"""What the channels of a file mean: lead names, units, sampling rates and gaps, for every format."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lamae_toolkit.ecg.io.checks import implausible, without_marks
from lamae_toolkit.ecg.leads import FROM_I_AND_II, LEADS, LIMB_LEADS, PRECORDIAL_LEADS, is_modified_lead, lead_name
from lamae_toolkit.errors import ContradictionError, ECGError, WarningNote

MAX_MISSING = 0.2
"""A lead with a larger fraction of missing samples is left out; smaller gaps are interpolated linearly."""

MAX_MV = 500.0
"""Beyond any ECG, whose electrode offsets stay within 300 mV; microvolts labeled as millivolts exceed it."""

MIN_PULSE_S = 0.02
"""A shorter stretch in which all leads are equal is by chance."""

MV_PER_UNIT = {"nV": 1e-6, "nv": 1e-6, "mV": 1.0, "mv": 1.0, "uV": 1e-3, "uv": 1e-3, "V": 1e3, "v": 1e3}

LIKE_A_LEAD = re.compile(
    r"(?i)v|(?!.*eeg).*?(?<![a-z])(?:(?:ecg|ekg|lead)|(?:a?v[rlf]|m?[dl]?i{1,3}|[vcd][1-6])(?![a-z0-9])).*"
)
"""Names that a lead of the twelve may have in some device: unlike V7, V4R, MCL1 or Frank's X, Y and Z."""

LeadSignals = dict[str, np.ndarray]
"""Signal of each lead in mV, float64 or, where records may be long, float32; NaN where a sample is missing."""

Reading = tuple[LeadSignals, float, tuple[str, ...]]
"""What a format's `read` returns: the signals, the sampling rate in Hz, and notes."""


def match_leads(
    names: Sequence[str], given_leads: Sequence[str] | None = None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The channel index of each of the twelve leads among these names, and notes on the others.

    given_leads: the caller's name of each channel, for names that the file does not give or that are none of the
    twelve leads; ContradictionError if they differ from those that are.
    """
    names = [str(name) for name in names]
    leads = _leads_of(names)
    if given_leads is not None:
        names, leads = _given_names(names, leads, [str(name) for name in given_leads])
    channel_of: dict[str, int] = {}
    for index, (name, lead) in enumerate(zip(names, leads, strict=True)):
        if lead in channel_of:
            first = names[channel_of[lead]]
            raise ECGError(f"Lead {lead} is given twice, as {first!r} and {name!r}; keep one of the two.")
        if lead is not None:
            channel_of[lead] = index
    others = [name for name, lead in zip(names, leads, strict=True) if lead is None]
    if not channel_of:
        raise ECGError(
            f"Unknown lead names {_listed(others) or '(none given)'}; name the leads {', '.join(LEADS)}, or pass leads="
            " with a name for each channel."
        )
    notes = [
        f"Read {name.strip()}, with electrodes on the torso, as lead {lead}."
        for name, lead in zip(names, leads, strict=True)
        if is_modified_lead(name)
    ]
    complete = given_leads is not None or len(channel_of) == len(LEADS)
    suspicious = [] if complete else [name for name in others if LIKE_A_LEAD.fullmatch(name.strip()[:50])]
    if suspicious:
        sentence = f"Channels that look like leads were not read: {_listed(suspicious)}."
        notes.append(WarningNote(f"{sentence[:-1]}; name each channel by leads= if they are.", "lead not read"))
    harmless = [name for name in others if name not in suspicious]
    if harmless:
        notes.append(f"Dropped channels other than the twelve leads: {', '.join(name[:20] for name in harmless)}.")
    return channel_of, tuple(notes)


def _leads_of(names: Sequence[str]) -> list[str | None]:
    """The lead that each name means; C1 to C6 are V1 to V6 only with all six, limb leads, and no Cz of an EEG."""
    leads = [lead_name(name) for name in names]
    chest = {name: lead for name, lead in zip(names, leads, strict=True) if lead and re.search("(?i)c[ _]?[1-6]", name)}
    is_ecg = len(set(chest.values())) == 6 and not set(LIMB_LEADS).isdisjoint(leads)
    if not is_ecg or any("cz" in name.lower() for name in names):
        leads = [None if name in chest else lead for name, lead in zip(names, leads, strict=True)]
    return leads


def _given_names(names: list[str], leads: list[str | None], given: list[str]) -> tuple[list[str], list[str | None]]:
    """The names that the caller gives, where they agree with those of the file."""
    if len(given) != len(names):
        message = f"The file has {len(names)} channels, {_listed(names)}, but leads= names {len(given)}"
        if any(leads):
            raise ContradictionError(f"{message}; leave out the argument leads.", "leads")
        raise ECGError(f"{message}; give a name for each channel in its order.")
    for name, lead, other in zip(names, leads, given, strict=True):
        if lead not in (None, lead_name(other)):
            raise ContradictionError(
                f"A channel is lead {lead} by its name {name[:20]!r} but {other[:20]!r} by leads=; leave out the"
                " argument leads.",
                "leads",
            )
    return given, [lead_name(name) for name in given]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:20]) for name in names[:15]) + (" and more" if len(names) > 15 else "")


def mv_per_unit(unit_in_file: str | None, unit_given: str | None, lead: str) -> float:
    """The factor from the unit of this lead to millivolts; ECGError if the unit is unknown or contradictory."""
    factors = []
    for unit in (unit_in_file, unit_given):
        if unit is not None:
            unit = unit.strip().replace("µ", "u").replace("μ", "u")  # the micro sign and the Greek letter
            if unit not in MV_PER_UNIT:
                raise ECGError(
                    f"Lead {lead} is in the unit {unit[:20]!r}, which is not a voltage; give it in mV, uV or V."
                )
            factors.append(MV_PER_UNIT[unit])
    if not factors:
        raise ECGError(f'The unit of lead {lead} is not given; find out what it is and pass for example unit="mV".')
    if factors[0] != factors[-1]:
        raise ContradictionError(
            f"Lead {lead} is in {unit_in_file} by the file but in {unit_given} by unit=; correct one.", "unit"
        )
    return factors[0]


def unit_notes(factors: Sequence[float]) -> tuple[str, ...]:
    units = sorted({unit for unit in ("nV", "uV", "V") if MV_PER_UNIT[unit] in factors})
    return (f"Converted from {' and '.join(units)} to mV.",) if units else ()


def agreed_rate_hz(rate_in_file_hz: float | None, given_rate_hz: float | None, tolerance: float = 1e-6) -> float:
    """The sampling rate, from the file or the caller; ECGError if neither gives it or they contradict each other."""
    if given_rate_hz is None:
        if rate_in_file_hz is None:
            raise ECGError("The sampling rate is not given; pass for example sampling_rate_hz=500.")
        return rate_in_file_hz
    if rate_in_file_hz is None:
        return given_rate_hz
    if not abs(rate_in_file_hz - given_rate_hz) <= tolerance * given_rate_hz:
        raise ContradictionError(
            f"The sampling rate is {rate_in_file_hz:g} Hz by the file but {given_rate_hz:g} Hz by sampling_rate_hz=;"
            " correct one.",
            "sampling_rate_hz",
        )
    return given_rate_hz


def finite_number(value: Any, what: str) -> float:
    """A number from a file's header, as a float; ECGError if it is not a number or implausibly large."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not abs(number) <= 1e12:
        raise ECGError(f"{what} is {str(value).strip()[:20]!r}, which is not a usable number; export the ECG again.")
    return number


def complete_limb_leads(signals_mv: LeadSignals) -> tuple[LeadSignals, tuple[str, ...]]:
    """Twelve leads from the eight that a 12-lead device stores, and a note; any other set of leads stays as it is.

    The device measures two limb leads only and computes the other four in the same way when it prints them.
    """
    if set(signals_mv) != {"I", "II", *PRECORDIAL_LEADS}:
        return signals_mv, ()
    of_I_and_II = {lead: a * signals_mv["I"] + b * signals_mv["II"] for lead, (a, b) in FROM_I_AND_II.items()}
    both = signals_mv | of_I_and_II
    note = "Leads III, aVR, aVL and aVF were computed from I and II, as the file stores only eight leads."
    return {lead: both[lead] for lead in LEADS}, (note,)


def read_leads(
    channel_of: dict[str, int],
    rate_hz: float,
    notes: Iterable[str],
    read_lead: Callable[[int, str], tuple[np.ndarray, float]],
) -> Reading:
    """The reading of a device's file, lead by lead.

    channel_of: from `match_leads`. read_lead: gives, for a channel and the lead that it is, the signal in mV and the
    factor from the file's unit to millivolts.
    """
    signals_mv, factors = {}, []
    for lead, channel in channel_of.items():
        signal_mv, factor = read_lead(channel, lead)
        signals_mv[lead] = as_float32(signal_mv)
        factors.append(factor)
    signals_mv, cut = without_calibration(signals_mv, rate_hz)
    signals_mv, derived = complete_limb_leads(signals_mv)
    return signals_mv, rate_hz, (*notes, *unit_notes(factors), *cut, *derived)


def without_calibration(signals_mv: LeadSignals, rate_hz: float) -> tuple[LeadSignals, tuple[str, ...]]:
    """Without the pulse at the end, and a note: as III = II - I, leads that are equal and not 0 are not an ECG.

    Eight stored leads are I, II and the chest leads, which are not equal for long, either.
    """
    complete = set(LIMB_LEADS) <= set(signals_mv) or {"I", "II", *PRECORDIAL_LEADS} <= set(signals_mv)
    if not complete or len({len(signal_mv) for signal_mv in signals_mv.values()}) > 1:
        return signals_mv, ()
    first, *others = signals_mv.values()
    differ = np.zeros(len(first), dtype=bool)
    for other in others:
        differ |= other != first
    end = int(np.flatnonzero(differ)[-1]) + 1 if differ.any() else len(first)
    if len(first) - end < MIN_PULSE_S * rate_hz or not first[end:].any():
        return signals_mv, ()
    note = f"Left out the last {(len(first) - end) / rate_hz:.3g} s, a calibration pulse alike in all leads."
    return {lead: signal_mv[:end] for lead, signal_mv in signals_mv.items()}, (note,)


def usable_leads(signals_mv: LeadSignals) -> tuple[LeadSignals, tuple[WarningNote, ...], tuple[tuple[str, str], ...]]:
    """The leads that can be used, gaps filled; every lead left out or filled gets a flag and a note that warns."""
    usable, notes, flags = {}, [], []
    for lead in tuple(signals_mv):
        signal_mv = without_marks(
            signals_mv.pop(lead)
        )  # taken out, so that a lead is not in memory twice once its gaps are filled
        valid = np.isfinite(signal_mv)
        missing = 0.0 if valid.size and valid.all() else 1 - valid.mean() if valid.size else 1.0
        # Minimum and maximum are enough here, and faster than a copy.
        present = signal_mv if missing == 0 else signal_mv[valid]
        low_mv, high_mv = (present.min(), present.max()) if present.size else (0.0, 0.0)
        if max(-low_mv, high_mv) > MAX_MV:
            raise ECGError(
                f"Lead {lead} reaches {max(-low_mv, high_mv):.3g} mV, which no ECG does; check the unit and the gain.",
                "impossible amplitude",
            )
        if missing:
            flags.append((lead, "nan"))
        if missing > MAX_MISSING:
            note = f"Lead {lead} was left out: {100 * missing:.3g} % of it is missing."
            notes.append(WarningNote(note, "lead left out"))
        elif low_mv == high_mv:
            notes.append(WarningNote(f"Lead {lead} was left out: it is flat.", "lead left out"))
            flags.append((lead, "flat"))
        else:
            if missing:
                note = f"Lead {lead} had gaps, {100 * missing:.3g} % of it, which were interpolated linearly."
                notes.append(WarningNote(note, "gap filled"))
                signal_mv = _interpolated(signal_mv, valid)
            usable[lead] = signal_mv
    if not usable:
        raise ECGError("No lead can be used, as all are flat or mostly missing; check the recording.", "no usable lead")
    notes += implausible(usable)
    return usable, tuple(notes), tuple(flags)


def _interpolated(signal_mv: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The signal with its gaps filled linearly, from the samples next to them: a long record has far more of others."""
    missing = np.flatnonzero(~valid)
    after_gap, before_gap = missing[:-1][np.diff(missing) > 1] + 1, missing[1:][np.diff(missing) > 1] - 1
    edges = np.unique(np.r_[missing[0] - 1, before_gap, after_gap, missing[-1] + 1])
    edges = edges[(edges >= 0) & (edges < len(signal_mv))]
    filled = signal_mv.copy()
    filled[missing] = np.interp(missing, edges, signal_mv[edges])
    return filled


def as_float32(signal_mv: np.ndarray) -> np.ndarray:
    """The same signal in half the memory; a voltage too high for float32 stays finite, since infinity is a gap."""
    with np.errstate(over="ignore"):
        narrow = signal_mv.astype(np.float32)
    beyond = ~np.isfinite(narrow)
    if beyond.any():
        limit = np.finfo(np.float32).max
        of_beyond = signal_mv[beyond]
        narrow[beyond] = np.where(np.isfinite(of_beyond), np.clip(of_beyond, -limit, limit), np.nan)
    return narrow


def stacked(signals_mv: LeadSignals) -> np.ndarray:
    """The leads as rows of one array, float32; takes them out of the dictionary, so that none is in memory twice."""
    if len(signals_mv) == 1:
        return signals_mv.popitem()[1][None].astype(np.float32, copy=False)
    n_samples = len(next(iter(signals_mv.values())))
    rows = np.empty((len(signals_mv), n_samples), np.float32)
    for row, lead in enumerate(tuple(signals_mv)):
        rows[row] = signals_mv.pop(lead)
    return rows
