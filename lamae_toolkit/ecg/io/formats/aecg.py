"""HL7 annotated ECG (aECG): the rhythm series, each lead as scaled integers in text."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, finite_number, match_leads, mv_per_unit, read_leads
from lamae_toolkit.ecg.io.checks import without_marks
from lamae_toolkit.ecg.io.formats.safe_xml import parse
from lamae_toolkit.ecg.io.waveforms import MAX_WAVEFORMS, Waveform, choose_waveforms
from lamae_toolkit.errors import ECGError

NAMESPACE = "{urn:hl7-org:v3}"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
S_PER_UNIT = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """The set of leads that `choose_waveforms` takes; representative beats are not read."""
    root = parse(path)
    series = [s for s in root.iter(f"{NAMESPACE}series") if _attribute(s, "code", "code") == "RHYTHM"]
    sets = [leads for one in series for leads in one.findall(f"{_path('component')}/{_path('sequenceSet')}")]
    if not sets:
        raise ECGError("It holds no series with the code RHYTHM; export the ECG with its rhythm.")
    recorded = [_recorded(one) for one in sets[:MAX_WAVEFORMS]]
    chosen, notes = choose_waveforms([waveform for waveform, *_ in recorded])
    channels = [channel for index in chosen for channel in recorded[index][2]]
    channel_of, lead_notes = match_leads([name for index in chosen for name in recorded[index][0].names], leads)
    time = recorded[chosen[0]][1]
    rate_hz = agreed_rate_hz(None if time is None else _rate_hz(time), given_rate_hz)
    return read_leads(channel_of, rate_hz, (*notes, *lead_notes), lambda i, lead: _read_lead(channels[i], lead, unit))


def _recorded(sequence_set: Element) -> tuple[Waveform, Element | None, list[Element]]:
    """A set of leads that were recorded together: what it is, its time, and the element of each lead."""
    sequences = sequence_set.findall(f"{_path('component')}/{_path('sequence')}")
    coded = [(_attribute(sequence, "code", "code") or "", sequence) for sequence in sequences]
    named = [(code, sequence) for code, sequence in coded if not code.startswith("TIME_")]
    time = next((sequence for code, sequence in coded if code in ("TIME_ABSOLUTE", "TIME_RELATIVE")), None)
    value = None if time is None else time.find(_path("value"))
    start = "" if value is None else _attribute(value, "head", "value") or ""
    step = "" if value is None else _attribute(value, "increment", "value") or ""
    n_samples = len(named[0][1].findtext(f"{_path('value')}/{_path('digits')}", "").split()) if named else 0
    return Waveform(tuple(code for code, _ in named), 0.0, n_samples, f"{start} {step}"), time, [s for _, s in named]


def _path(name: str) -> str:
    return f"{NAMESPACE}{name}"


def _attribute(element: Element, name: str, attribute: str) -> str | None:
    child = element.find(_path(name))
    return None if child is None else child.get(attribute)


def _values(sequence: Element, kinds: tuple[str, ...], where: str) -> Element:
    """The values of a sequence, of one of these types."""
    value = sequence.find(_path("value"))
    # The type is a name that may carry a prefix, as in "hl7:SLIST_PQ".
    kind = "" if value is None else value.get(XSI_TYPE, "").rpartition(":")[2]
    if value is None or kind not in kinds:
        raise ECGError(f"{where} is of the type {kind[:20] or 'none'!r}, not {kinds[0]}; export the ECG again.")
    return value


def _rate_hz(sequence: Element) -> float:
    """The sampling rate by the time between samples."""
    value = _values(sequence, ("GLIST_TS", "GLIST_PQ"), "Its time")
    unit = _attribute(value, "increment", "unit")
    step = finite_number(_attribute(value, "increment", "value"), "The increment of time")
    if unit not in S_PER_UNIT or step <= 0:
        raise ECGError(
            f"Its time goes by {step:g} in the unit {str(unit)[:20]!r}, not by s, ms or us; export it again."
        )
    return float(f"{1 / (step * S_PER_UNIT[unit]):.9g}")  # 1/0.002 is 500, whatever floating point makes of it


def _read_lead(sequence: Element, lead: str, unit: str | None) -> tuple[np.ndarray, float]:
    """Origin + scale * digits, in millivolts, and the factor from the unit of the scale to millivolts."""
    value = _values(sequence, ("SLIST_PQ",), f"Lead {lead}")
    scale = finite_number(_attribute(value, "scale", "value"), f"The scale of lead {lead}")
    origin = finite_number(_attribute(value, "origin", "value") or 0, f"The origin of lead {lead}")
    if scale == 0:
        raise ECGError(f"Lead {lead} has no scale, so its size in mV is unknown; export the ECG again.")
    factor = mv_per_unit(_attribute(value, "scale", "unit"), unit, lead)
    origin_mv = origin and origin * mv_per_unit(_attribute(value, "origin", "unit"), None, lead)
    digits = value.findtext(_path("digits"), "")
    odd = re.search(r"[^\s\d+-]\S*", digits)
    if odd:
        raise ECGError(f"Lead {lead} has the sample {odd[0][:20]!r}, which is not an integer; export the ECG again.")
    counts = without_marks(_integers(digits))
    return origin_mv + counts * (scale * factor), factor


def _integers(text: str) -> np.ndarray:
    """The integers of a text of digits, signs and white space; far faster and smaller than by a list of words."""
    if not text.strip():
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # NumPy's way of saying that a word is no number
        try:
            return np.fromstring(text, dtype=np.int64, sep=" ").astype(np.float64)
        except DeprecationWarning as error:
            raise ValueError("a sample is not a number") from error
