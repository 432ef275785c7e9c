"""DICOM waveforms (12-lead, general and ambulatory ECG), through pydicom; images are never decoded."""

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, finite_number, match_leads, mv_per_unit, read_leads
from lamae_toolkit.ecg.io.checks import without_marks
from lamae_toolkit.ecg.io.waveforms import Waveform, choose_waveforms
from lamae_toolkit.ecg.leads import LIMB_LEADS, PRECORDIAL_LEADS, lead_name
from lamae_toolkit.errors import ECGError, WarningNote

if TYPE_CHECKING:
    from pydicom import Dataset

LITTLE_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
"""Transfer syntaxes, implicit and explicit, that are read; the others are those of UNREAD, or of images."""

UNREAD = {
    "1.2.840.10008.1.2.2": "has its bytes in the big-endian order, which is retired",
    "1.2.840.10008.1.2.1.99": "is compressed as a whole (deflated)",
}
"""What a file of another transfer syntax has of its own."""

LEADS_BY_CODE = dict(enumerate(("I", "II", *PRECORDIAL_LEADS), 1)) | dict(enumerate(LIMB_LEADS[2:], 61))
"""The number of a lead in ISO/IEEE 11073 (`2:61`, scheme MDC) and in SCP-ECG (`5.6.3-9-61`, scheme SCPECG)."""

BEAT = re.compile("(?i)median|beat|average|template|representative")
"""Labels of waveforms that were computed from the rhythm."""

MAX_ITEMS = 20_000
"""Sequence items: an ECG has some hundreds, and each takes far more memory than its 8 bytes in the file."""


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """The recorded waveform that `choose_waveforms` takes; those that were computed from it are skipped."""
    with warnings.catch_warnings():
        # pydicom warns of names and dates that are not to the letter of the standard, which are not used here.
        warnings.simplefilter("ignore")
        return _read(path, given_rate_hz, unit, leads)


def _read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    groups = _waveforms(path)
    if not groups:
        raise ECGError("This DICOM file holds no waveform, only images or reports; export the ECG as a waveform.")
    waveforms = [_described(group) for group in groups]
    chosen, notes = choose_waveforms(waveforms)
    if not chosen:
        raise ECGError("Its waveforms are all derived, as median beats are; export the ECG with its rhythm.")
    channel_of, lead_notes = match_leads([name for index in chosen for name in waveforms[index].names], leads)
    rate_in_file_hz = finite_number(groups[chosen[0]].get("SamplingFrequency"), "The sampling rate")
    rate_hz = agreed_rate_hz(rate_in_file_hz, given_rate_hz)
    counts = np.concatenate([_counts(groups[index]) for index in chosen], axis=1)
    channels = [channel for index in chosen for channel in _items(groups[index], "ChannelDefinitionSequence")]

    def read_lead(channel: int, lead: str) -> tuple[np.ndarray, float]:
        scale, baseline, factor = _scale(channels[channel], lead, unit)
        return (without_marks(counts[:, channel]) * scale + baseline) * factor, factor

    skew_notes = _skew_notes({lead: channels[channel] for lead, channel in channel_of.items()}, rate_hz)
    return read_leads(channel_of, rate_hz, (*notes, *lead_notes, *skew_notes), read_lead)


def _described(group: "Dataset") -> Waveform:
    label = str(group.get("MultiplexGroupLabel") or "")
    is_beat = group.get("WaveformOriginality", "ORIGINAL") != "ORIGINAL" or BEAT.search(label) is not None
    offset_ms = finite_number(group.get("MultiplexGroupTimeOffset") or 0, "The time offset of a group")
    rate_hz = finite_number(group.get("SamplingFrequency") or 0, "The sampling rate")
    n_samples = int(finite_number(group.get("NumberOfWaveformSamples") or 0, "The number of samples"))
    return Waveform(tuple(_names(group)), rate_hz, n_samples, f"{offset_ms:g}", is_beat)


def _skew_notes(channel_of: dict[str, "Dataset"], rate_hz: float) -> list[WarningNote]:
    """A warning if leads were sampled at different times, which the file says and which is not undone."""
    skews_ms = []
    for lead, channel in channel_of.items():
        samples, seconds = channel.get("ChannelSampleSkew") or 0, channel.get("ChannelTimeSkew") or 0
        skew_ms = 1000 * finite_number(samples, f"The skew of lead {lead}") / rate_hz
        skews_ms.append(skew_ms or 1000 * finite_number(seconds, f"The skew of lead {lead}"))
    difference_ms = max(skews_ms) - min(skews_ms)
    if not difference_ms:
        return []
    sentence = f"By the file, its leads were sampled up to {difference_ms:.3g} ms apart, which was not corrected."
    return [WarningNote(sentence, "time skew")]


def _waveforms(path: Path) -> list["Dataset"]:
    """The multiplex groups of the file: channels that were sampled together."""
    import pydicom  # imported here, since it is slow

    content = path.read_bytes()
    if content[128:132] != b"DICM" and content.startswith(b"\x02\0"):
        content = bytes(128) + b"DICM" + content  # some exports lack the preamble
    if content.count(b"\xfe\xff\x00\xe0") > MAX_ITEMS:
        raise ECGError(f"It has more than {MAX_ITEMS} sequence items, which no ECG does; export the ECG again.")
    if content[128:132] == b"DICM":
        syntax = _transfer_syntax(content)
        if syntax not in LITTLE_ENDIAN:
            problem = UNREAD.get(syntax, f"has the transfer syntax {syntax[:64]}, which no waveform has")
            raise ECGError(f"It {problem}; export it as Explicit VR Little Endian.")
    dataset = pydicom.dcmread(
        io.BytesIO(content),
        stop_before_pixels=True,
        specific_tags=["WaveformSequence", "SpecificCharacterSet"],
        force=True,  # without a header that gives the transfer syntax, pydicom sees implicit from explicit
    )
    return _items(dataset, "WaveformSequence")


def _items(dataset: "Dataset", name: str) -> list["Dataset"]:
    """The items of a sequence, none if the dataset lacks it; ECGError if it holds anything else under this name."""
    from pydicom import Dataset

    items = dataset.get(name) or []
    if isinstance(items, str) or not all(isinstance(item, Dataset) for item in items):
        raise ECGError(f"Its {name} is not a sequence, so the file is damaged; export the ECG again.")
    return list(items)


def _transfer_syntax(content: bytes) -> str:
    """How the values are written, by the header of the file, before anything else of it is read or unpacked."""
    from pydicom.filereader import read_dataset

    header = io.BytesIO(content)
    header.seek(132)
    meta = read_dataset(header, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    return str(meta.get("TransferSyntaxUID", "none"))


def _names(group: "Dataset") -> list[str]:
    """The name of each channel: one of the twelve leads by its code, otherwise what the file calls it."""
    from pydicom import Dataset

    names = []
    for channel in _items(group, "ChannelDefinitionSequence"):
        source = next(iter(_items(channel, "ChannelSourceSequence")), Dataset())
        code, scheme = str(source.get("CodeValue", "")), str(source.get("CodingSchemeDesignator", ""))
        meaning = re.sub(r"\(.*?\)", "", str(source.get("CodeMeaning", "") or channel.get("ChannelLabel", ""))).strip()
        number = re.fullmatch(r"(?:2:|5\.6\.3-9-)(\d+)", code)
        by_code = LEADS_BY_CODE.get(int(number[1])) if number and scheme in ("MDC", "SCPECG") else None
        if by_code and lead_name(meaning) not in (None, by_code):
            raise ECGError(f"A channel is lead {by_code} by its code but {meaning[:20]!r} by name; export it again.")
        names.append(by_code or meaning)
    return names


def _counts(group: "Dataset") -> np.ndarray:
    """The samples as they are stored, (samples, channels), NaN where one is marked as missing."""
    from pydicom import Dataset
    from pydicom.waveforms import multiplex_array

    n_channels, n_samples = _integer(group, "NumberOfWaveformChannels"), _integer(group, "NumberOfWaveformSamples")
    bits, kind = _integer(group, "WaveformBitsAllocated"), str(group.get("WaveformSampleInterpretation"))
    if (bits, kind) not in ((8, "SB"), (8, "UB"), (16, "SS"), (16, "US"), (32, "SL"), (32, "UL")):
        raise ECGError(f"Its samples are of the kind {kind[:9]} of {bits} bits, which is not read; export it again.")
    promised, samples = n_channels * n_samples * bits // 8, group.get("WaveformData")
    n_bytes = len(samples) if isinstance(samples, bytes) else 0
    # A byte of padding makes the length even.
    if n_channels != len(_items(group, "ChannelDefinitionSequence")) or n_bytes - promised not in (0, promised % 2):
        raise ECGError(
            f"Its waveform has {n_bytes} bytes, but {n_channels} channels of {n_samples} samples need {promised}, so it"
            " is damaged; export the ECG again."
        )
    dataset = Dataset()
    dataset.WaveformSequence = [group]
    stored = multiplex_array(dataset, 0, as_raw=True)
    counts = stored.astype(np.float64)
    padding = group.get("WaveformPaddingValue")
    if padding is not None:
        if isinstance(padding, bytes):
            padding = np.frombuffer(padding[: bits // 8], stored.dtype)[0]
        counts[stored == padding] = np.nan
    return counts


def _scale(channel: "Dataset", lead: str, unit: str | None) -> tuple[float, float, float]:
    """Size of one count and value of count 0, both in the unit of the file, and the factor from there to millivolts."""
    sensitivity = channel.get("ChannelSensitivity")
    if sensitivity is None:
        raise ECGError(f"Lead {lead} has no sensitivity, so its size in mV is unknown; export the ECG again.")
    correction = channel.get("ChannelSensitivityCorrectionFactor")
    scale = finite_number(sensitivity, f"The sensitivity of lead {lead}") * finite_number(
        1 if correction is None else correction, f"The correction factor of lead {lead}"
    )
    if scale == 0:
        raise ECGError(f"Lead {lead} has the sensitivity 0, so its size in mV is unknown; export the ECG again.")
    baseline = finite_number(channel.get("ChannelBaseline") or 0, f"The baseline of lead {lead}")
    units = [item.get("CodeValue") for item in _items(channel, "ChannelSensitivityUnitsSequence")[:1]]
    return scale, baseline, mv_per_unit(str(units[0]) if any(units) else None, unit, lead)


def _integer(group: "Dataset", name: str) -> int:
    return int(finite_number(group.get(name), f"{name} of the waveform"))
