"""GE MUSE XML: the rhythm waveform of a resting ECG, eight leads as 16-bit counts in Base64."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, finite_number, match_leads, mv_per_unit, read_leads
from lamae_toolkit.ecg.io.checks import without_marks
from lamae_toolkit.ecg.io.formats.safe_xml import bytes_of_base64, parse, text_of
from lamae_toolkit.ecg.io.waveforms import MAX_WAVEFORMS, Waveform, choose_waveforms
from lamae_toolkit.errors import ECGError, WarningNote

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
    rhythms = rhythms[:MAX_WAVEFORMS]
    described = [_described(rhythm) for rhythm in rhythms]
    indices, notes = choose_waveforms(described)
    elements = [lead for index in indices for lead in rhythms[index].findall("LeadData")]
    for index in indices:
        sample_type = text_of(rhythms[index], "SampleType", "The rhythm waveform")
        if sample_type != "CONTINUOUS_SAMPLES":
            raise ECGError(f"Its samples are {sample_type[:30]!r}, not CONTINUOUS_SAMPLES; export it uncompressed.")
    rate_hz = agreed_rate_hz(described[indices[0]].rate_hz, given_rate_hz)
    channel_of, lead_notes = match_leads([name for index in indices for name in described[index].names], leads)
    chosen = {lead: elements[index] for lead, index in channel_of.items()}
    starts = {tuple(lead.findtext(name, "0").strip() for name in STARTS) for lead in chosen.values()}
    if len(starts) > 1:
        raise ECGError("Its leads start at different times; export an ECG whose leads were recorded together.")
    off_notes = [
        WarningNote(f"The device says that the electrode of lead {lead} was off.", "electrode off")
        for lead, element in chosen.items()
        if element.findtext("LeadOff", "").strip().upper() == "TRUE"
    ]
    notes = (*notes, *off_notes, *lead_notes)
    return read_leads(channel_of, rate_hz, notes, lambda i, lead: _read_lead(elements[i], lead, unit))


def _described(rhythm: Element) -> Waveform:
    base = finite_number(text_of(rhythm, "SampleBase", "The rhythm waveform"), "SampleBase")
    exponent = finite_number(text_of(rhythm, "SampleExponent", "The rhythm waveform"), "SampleExponent")
    leads = rhythm.findall("LeadData")
    names = tuple(text_of(lead, "LeadID", "A lead") for lead in leads)
    counts = {lead.findtext("LeadSampleCountTotal", "0").strip() for lead in leads}
    n_samples = max((int(count[:9]) for count in counts if count.isdecimal()), default=0)
    start = rhythm.findtext("WaveformStartTime", "").strip()
    return Waveform(names, float(base * 10.0 ** np.clip(exponent, -9, 9)), n_samples, start)


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
    # The count of 0 mV, which nearly all files give as 0.
    baseline = finite_number(element.findtext("FirstSampleBaseline") or 0, "FirstSampleBaseline")
    return (without_marks(np.frombuffer(content, "<i2")) - baseline) * per_bit * factor, factor
