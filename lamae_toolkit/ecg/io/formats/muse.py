"""GE MUSE XML: the rhythm waveform of a resting ECG, eight leads as 16-bit counts in Base64."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, finite_number, match_leads, mv_per_unit, read_leads
from lamae_toolkit.ecg.io.formats.safe_xml import bytes_of_base64, parse, text_of
from lamae_toolkit.errors import ECGError

UNITS = {"MICROVOLTS": "uV", "MILLIVOLTS": "mV"}

STARTS = ("LeadTimeOffset", "LeadOffsetFirstSample")
"""Where a lead begins; leads that were recorded together agree in both."""


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """The rhythm waveform; the median beats next to it are derived from it and are not read."""
    waveforms = parse(path).findall("Waveform")
    kinds = [text_of(waveform, "WaveformType", "A waveform") for waveform in waveforms]
    rhythms = [w for w, kind in zip(waveforms, kinds, strict=True) if kind.lower() == "rhythm"]
    if not rhythms:
        listed = ", ".join(dict.fromkeys(kind[:20] for kind in kinds[:5]))
        others = f", only {listed}" if listed else ""
        raise ECGError(f"It holds no rhythm waveform{others}; export the ECG with its rhythm.")
    rhythm, notes = rhythms[0], []
    if len(rhythms) > 1:
        notes.append(f"Read the first of {len(rhythms)} rhythm waveforms.")
    sample_type = text_of(rhythm, "SampleType", "The rhythm waveform")
    if sample_type != "CONTINUOUS_SAMPLES":
        raise ECGError(f"Its samples are {sample_type[:30]!r}, not CONTINUOUS_SAMPLES; export the ECG uncompressed.")
    base = finite_number(text_of(rhythm, "SampleBase", "The rhythm waveform"), "SampleBase")
    exponent = finite_number(text_of(rhythm, "SampleExponent", "The rhythm waveform"), "SampleExponent")
    rate_hz = agreed_rate_hz(base * 10.0 ** np.clip(exponent, -9, 9), given_rate_hz)

    elements = rhythm.findall("LeadData")
    channel_of, lead_notes = match_leads([text_of(lead, "LeadID", "A lead") for lead in elements], leads)
    chosen = {lead: elements[index] for lead, index in channel_of.items()}
    starts = {tuple(lead.findtext(name, "0").strip() for name in STARTS) for lead in chosen.values()}
    if len(starts) > 1:
        raise ECGError("Its leads start at different times; export an ECG whose leads were recorded together.")
    notes += [
        f"The device says that the electrode of lead {lead} was off."
        for lead, element in chosen.items()
        if element.findtext("LeadOff", "").strip().upper() == "TRUE"
    ]
    return read_leads(channel_of, rate_hz, (*notes, *lead_notes), lambda i, lead: _read_lead(elements[i], lead, unit))


def _read_lead(element: Element, lead: str, unit: str | None) -> tuple[np.ndarray, float]:
    """The signal of one lead in millivolts, and the factor from the unit of the file to millivolts."""
    where = f"Lead {lead}"
    size = text_of(element, "LeadSampleSize", where)
    if size != "2":
        raise ECGError(f"Lead {lead} has samples of {size[:20]!r} bytes, but MUSE has 2; export the ECG again.")
    content = bytes_of_base64(text_of(element, "WaveFormData", where), where)
    for name, count in (("LeadByteCountTotal", len(content)), ("LeadSampleCountTotal", len(content) / 2)):
        promised = text_of(element, name, where)
        if not promised.isdecimal() or int(promised[:20]) != count:
            raise ECGError(f"Lead {lead} has {count:g} as {name}, but declares {promised[:20]!r}; export it again.")
    # Anonymizers and converters write 0 instead of a checksum.
    checksum = element.findtext("LeadDataCRC32", "0").strip()
    if checksum != "0" and checksum != str(zlib.crc32(content)):
        raise ECGError(
            f"The samples of lead {lead} do not match their checksum, so they were damaged; export it again."
        )
    per_bit = finite_number(text_of(element, "LeadAmplitudeUnitsPerBit", where), "LeadAmplitudeUnitsPerBit")
    if per_bit == 0:
        raise ECGError(f"Lead {lead} has no gain, so its size in mV is unknown; export the ECG again.")
    unit_in_file = element.findtext("LeadAmplitudeUnits")
    if unit_in_file is not None:
        unit_in_file = UNITS.get(unit_in_file.strip().upper(), unit_in_file)
    factor = mv_per_unit(unit_in_file, unit, lead)
    return np.frombuffer(content, "<i2") * per_bit * factor, factor
