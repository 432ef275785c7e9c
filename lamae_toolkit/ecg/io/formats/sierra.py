"""Philips Sierra XML (PageWriter, TraceMaster): all leads in one Base64 text, compressed by Philips' method XLI.

The method is described by the open-source sierra-ecg-tools: each lead is a chunk of LZW codes of 10 bits, which
give the high bytes and then the low bytes of second differences.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from lamae_toolkit.ecg.io.channels import Reading, agreed_rate_hz, finite_number, match_leads, mv_per_unit, read_leads
from lamae_toolkit.ecg.io.checks import without_marks
from lamae_toolkit.ecg.io.formats.safe_xml import bytes_of_base64, parse
from lamae_toolkit.ecg.leads import LEADS, LIMB_LEADS, lead_name
from lamae_toolkit.errors import ECGError

NAMESPACE = "{http://www3.medical.philips.com}"

MAX_SAMPLES = 100_000
"""Limit of one lead, 100 s at 1000 Hz, far above a resting ECG: LZW can expand a small text to a huge one."""

CODE_BITS, STOP_CODE = 10, 1023

LEAD_SETS = ("STD-12", "10-WIRE")
"""The twelve leads in the usual order: what files of version 1.03 have instead of the names of their leads."""


def read(path: Path, given_rate_hz: float | None, unit: str | None, leads: Sequence[str] | None) -> Reading:
    """The rhythm of a resting ECG; its representative beats are derived from it and are not read."""
    root = parse(path)
    waveforms = list(root.iter(f"{NAMESPACE}parsedwaveforms"))
    if len(waveforms) != 1:
        raise ECGError(f"It holds {len(waveforms)} rhythm waveforms (parsedwaveforms), not one; export the ECG again.")
    waveform = waveforms[0]
    device = next(root.iter(f"{NAMESPACE}signalcharacteristics"), Element("none"))

    def setting(attribute: str, element: str) -> str | None:
        """An attribute of the waveform or, in older files, an element of the complete acquisition."""
        return waveform.get(attribute, device.findtext(f"{NAMESPACE}{element}"))

    rate_in_file = setting("samplespersecond", "samplingrate")
    rate_in_file_hz = None if rate_in_file is None else finite_number(rate_in_file, "The sampling rate")
    duration_s = finite_number(waveform.get("durationperchannel"), "durationperchannel") / 1000
    rate_hz = agreed_rate_hz(rate_in_file_hz, given_rate_hz)
    n_samples = round(duration_s * rate_hz)
    names = waveform.get("leadlabels", "").split()
    if not names and device.findtext(f"{NAMESPACE}leadset", "").strip() in LEAD_SETS:
        names = list(LEADS)
    names = names[: int(finite_number(waveform.get("numberofleads", len(names)), "numberofleads"))]
    if not 0 < n_samples <= MAX_SAMPLES:
        raise ECGError(f"It declares {n_samples} samples a lead, which no resting ECG has; export the ECG again.")
    bits, signed = setting("bitspersample", "bitspersample"), setting("signalsigned", "signalsigned") or ""
    if bits != "16" or signed.lower() != "true":
        raise ECGError("Its samples are not of 16 bits with a sign, or it does not say so; export the ECG again.")
    channel_of, notes = match_leads(names, leads)
    # The schema gives resolution in microvolts per count, and signaloffset as the count of 0 mV.
    in_file = setting("resolution", "resolution") or device.findtext(f"{NAMESPACE}signalresolution")  # in 1.03
    resolution = finite_number(in_file, "The resolution")
    offset = finite_number(setting("signaloffset", "signaloffset") or 0, "signaloffset")
    if resolution <= 0:
        raise ECGError("Its resolution is not above zero, so its size in mV is unknown; export the ECG again.")
    counts = _counts(waveform, [lead_name(name) or name for name in names], n_samples)

    def read_lead(channel: int, lead: str) -> tuple[np.ndarray, float]:
        factor = mv_per_unit("uV", unit, lead)
        return (without_marks(counts[channel]) - offset) * resolution * factor, factor

    return read_leads(channel_of, rate_hz, notes, read_lead)


def _counts(waveform: Element, names: list[str], n_samples: int) -> list[np.ndarray]:
    """The counts of each named lead."""
    encoding, text = waveform.get("dataencoding", ""), waveform.text or ""
    method = waveform.get("compression", waveform.get("compressmethod", "Uncompressed"))
    if waveform.get("compressflag", "").lower() == "false":
        method = "Uncompressed"
    if encoding != "Base64" or method not in ("XLI", "Uncompressed"):
        raise ECGError(
            f"Its samples are in {encoding[:20]!r} and {method[:20]!r}, not Base64 and XLI; export it again."
        )
    content = bytes_of_base64(text, "The waveform")
    if method == "Uncompressed":
        if len(content) != 2 * len(names) * n_samples:
            raise ECGError(
                f"Its waveform has {len(content)} bytes, but {len(names)} leads of {n_samples} samples need"
                f" {2 * len(names) * n_samples}; export the ECG again."
            )
        return list(np.frombuffer(content, "<i2").reshape(len(names), n_samples).astype(np.int64))
    if names[: len(LIMB_LEADS)] != list(LIMB_LEADS):
        raise ECGError(f"Compressed leads begin with {', '.join(LIMB_LEADS)}, but these do not; export the ECG again.")
    counts = []
    for name in names:  # there are 16 chunks, of which the last ones may be unused
        size, start = int.from_bytes(content[:4], "little"), int.from_bytes(content[6:8], "little", signed=True)
        if not 0 < size <= len(content) - 8:
            raise ECGError(f"The samples of lead {name} are cut off or damaged; export the ECG again.")
        lead = _undo_differences(_undo_lzw(content[8 : 8 + size], 2 * n_samples), start)
        if len(lead) != n_samples:
            raise ECGError(f"Lead {name} has {len(lead)} samples instead of {n_samples}; export the ECG again.")
        counts.append(lead)
        content = content[8 + size :]
    # The other limb leads are stored as what is left after Einthoven's and Goldberger's relations.
    lead_I, lead_II, rest = counts[0], counts[1], counts[2:6]
    lead_III = lead_II - lead_I - rest[0]
    counts[2] = lead_III
    counts[3] = -_half(lead_I + lead_II) - rest[1]
    counts[4] = _half(lead_I - lead_III) - rest[2]
    counts[5] = _half(lead_II + lead_III) - rest[3]
    return counts


def _half(counts: np.ndarray) -> np.ndarray:
    # Towards zero: only then do the augmented leads of a real file obey Goldberger to half a count.
    return np.sign(counts) * (np.abs(counts) // 2)


def _undo_lzw(content: bytes, n_bytes: int) -> bytes:
    """LZW (Welch 1984) with codes of 10 bits, the highest bit first, and a table that stays when it is full."""
    content = content[: (n_bytes + 2) * CODE_BITS // 8]  # at worst, each byte takes a code
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    words = bits[: len(bits) // CODE_BITS * CODE_BITS].reshape(-1, CODE_BITS)
    codes = words.astype(np.int64) @ (1 << np.arange(CODE_BITS)[::-1])
    table = [bytes([byte]) for byte in range(256)]
    parts, length, before = [], 0, b""
    for code in codes.tolist():
        if code == STOP_CODE or length > n_bytes:
            break
        if code > len(table) or (code == len(table) and not before):
            raise ECGError("The compressed samples are damaged; export the ECG again.")
        part = table[code] if code < len(table) else before + before[:1]
        if before and len(table) < STOP_CODE:
            table.append(before + part[:1])
        parts.append(part)
        length += len(part)
        before = part
    return b"".join(parts)


def _undo_differences(content: bytes, start: int) -> np.ndarray:
    """Samples from second differences: z[i] = 2 z[i-1] - z[i-2] - d[i-1], where d is stored with 64 added."""
    half = (len(content) + 1) // 2
    high, low = np.frombuffer(content.ljust(2 * half, b"\0"), np.uint8).reshape(2, half).astype(np.int64)
    words = ((high << 8 | low) ^ 0x8000) - 0x8000
    if half < 3:
        return words
    second = -np.concatenate([[start], words[2:-1] - 64])
    first = np.concatenate([[words[0], words[1] - words[0]], words[1] - words[0] + np.cumsum(second)])
    return np.cumsum(first)
