"""Small ECG files of every format for tests and fuzzing, written independently of the readers."""

import base64
import binascii
import io
import re
import zipfile
import zlib
from pathlib import Path

import edfio
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid
from scipy.io import savemat

from lamae_toolkit.ecg.leads import LEADS

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def ecg_counts(leads: tuple[str, ...] = LEADS, n_samples: int = 500) -> dict[str, np.ndarray]:
    """A heartbeat-like signal in 5 uV counts that differs from lead to lead; the limb leads obey Einthoven."""
    time = np.arange(n_samples)
    beat = 200 * np.exp(-(((time % 250) - 60) ** 2) / 20) + 40 * np.exp(-(((time % 250) - 150) ** 2) / 500)
    counts = {lead: np.round(beat * (i - 5) / 6 + 9 * np.sin(time / (30 + i))) for i, lead in enumerate(LEADS)}
    counts["III"] = counts["II"] - counts["I"]
    counts["aVR"] = -np.trunc((counts["I"] + counts["II"]) / 2)
    counts["aVL"] = np.trunc((counts["I"] - counts["III"]) / 2)
    counts["aVF"] = np.trunc((counts["II"] + counts["III"]) / 2)
    return {lead: counts[lead].astype(np.int16) for lead in leads}


def muse_xml(counts: dict[str, np.ndarray], per_bit: str = "4.88", rate: str = "500") -> bytes:
    """GE MUSE XML with median beats before the rhythm."""
    waveforms = []
    for kind, n in (("Median", 60), ("Rhythm", None)):
        leads = []
        for lead, signal in counts.items():
            content = signal[:n].astype("<i2").tobytes()
            leads.append(
                f"<LeadData><LeadByteCountTotal>{len(content)}</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>"
                f"<LeadSampleCountTotal>{len(content) // 2}</LeadSampleCountTotal>"
                f"<LeadAmplitudeUnitsPerBit>{per_bit}</LeadAmplitudeUnitsPerBit>"
                f"<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{lead}</LeadID>"
                "<LeadOffsetFirstSample>0</LeadOffsetFirstSample><LeadSampleSize>2</LeadSampleSize>"
                f"<LeadOff>FALSE</LeadOff><LeadDataCRC32>{zlib.crc32(content)}</LeadDataCRC32>"
                f"<WaveFormData>{base64.encodebytes(content).decode()}</WaveFormData></LeadData>"
            )
        waveforms.append(
            f"<Waveform><WaveformType>{kind}</WaveformType><SampleType>CONTINUOUS_SAMPLES</SampleType>"
            f"<SampleBase>{rate}</SampleBase><SampleExponent>0</SampleExponent>{''.join(leads)}</Waveform>"
        )
    head = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
    return f"{head}<RestingECG>{''.join(waveforms)}</RestingECG>".encode("latin-1")


def sierra_xml(counts: dict[str, np.ndarray], compression: str = "XLI", encoding: str = "utf-16") -> bytes:
    """Philips Sierra XML with all leads in one text, 5 uV a count at 500 Hz."""
    n_samples = len(next(iter(counts.values())))
    if compression == "XLI":
        stored = {lead: signal.astype(int) for lead, signal in counts.items()}
        I, II, III = (stored[lead] for lead in ("I", "II", "III"))
        rest = {"III": II - I, "aVR": -half(I + II), "aVL": half(I - III), "aVF": half(II + III)}
        stored |= {lead: whole - stored[lead] for lead, whole in rest.items()}
        content = b"".join(map(xli_chunk, stored.values()))
    else:
        content = b"".join(signal.astype("<i2").tobytes() for signal in counts.values())
    return (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<restingecgdata xmlns="http://www3.medical.philips.com">'
        "<documentinfo><documentversion>1.04</documentversion></documentinfo><waveforms>"
        f'<parsedwaveforms dataencoding="Base64" compression="{compression}" numberofleads="{len(counts)}"'
        f' leadlabels="{" ".join(counts)}" durationperchannel="{n_samples * 2}" samplespersecond="500" resolution="5"'
        f' signaloffset="0" signalsigned="True" bitspersample="16">{base64.encodebytes(content).decode()}'
        "</parsedwaveforms></waveforms></restingecgdata>"
    ).encode(encoding)


def half(counts: np.ndarray) -> np.ndarray:
    return np.trunc(counts / 2).astype(int)


def xli_chunk(signal: np.ndarray) -> bytes:
    """One lead by Philips' method: second differences, high bytes before low bytes, LZW with 10 bits a code."""
    z = [int(value) for value in signal]
    words = z[:2] + [2 * z[i] - z[i - 1] - z[i + 1] + 64 for i in range(2, len(z) - 1)] + [64]
    start = 2 * z[1] - z[0] - z[2]
    packed = lzw(bytes(word >> 8 & 255 for word in words) + bytes(word & 255 for word in words))
    return len(packed).to_bytes(4, "little") + b"\1\0" + start.to_bytes(2, "little", signed=True) + packed


def lzw(content: bytes) -> bytes:
    codes = {bytes([byte]): byte for byte in range(256)}
    bits, word = "", b""
    for byte in content:
        longer = word + bytes([byte])
        if longer in codes:
            word = longer
            continue
        bits += f"{codes[word]:010b}"
        if len(codes) < 1023:
            codes[longer] = len(codes)
        word = bytes([byte])
    bits += f"{codes[word]:010b}{1023:010b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def aecg_xml(counts: dict[str, np.ndarray], scale: str = 'value="5" unit="uV"', step: str = "0.002") -> bytes:
    """HL7 annotated ECG with one rhythm series."""
    leads = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}"/><value xsi:type="SLIST_PQ">'
        f'<origin value="0" unit="uV"/><scale {scale}/><digits>{" ".join(map(str, signal))}</digits></value>'
        "</sequence></component>"
        for lead, signal in counts.items()
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!-- an example -->\n'
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><component>'
        '<series><code code="RHYTHM"/><component><sequenceSet><component><sequence><code code="TIME_ABSOLUTE"/>'
        f'<value xsi:type="GLIST_TS"><head value="20020101"/><increment value="{step}" unit="s"/></value></sequence>'
        f"</component>{leads}</sequenceSet></component></series></component></AnnotatedECG>"
    ).encode()


def dicom_group(counts: dict[str, np.ndarray], rate_hz: float = 500, originality: str = "ORIGINAL") -> Dataset:
    """One multiplex group of a DICOM waveform, 5 uV a count."""
    group = Dataset()
    group.WaveformOriginality = originality
    group.NumberOfWaveformChannels = len(counts)
    group.NumberOfWaveformSamples = len(next(iter(counts.values())))
    group.SamplingFrequency = rate_hz
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.ChannelDefinitionSequence = []
    for lead in counts:
        source, unit, channel = Dataset(), Dataset(), Dataset()
        number = {"III": 61, "aVR": 62, "aVL": 63, "aVF": 64}.get(lead) or 1 + EIGHT.index(lead)
        source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = f"2:{number}", "MDC", f"Lead {lead}"
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
        channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [unit]
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = 5, 1, 0
        channel.WaveformBitsStored = 16
        group.ChannelDefinitionSequence.append(channel)
    group.add_new("WaveformData", "OW", np.stack(list(counts.values()), axis=1).astype("<i2").tobytes())
    return group


def dicom(*groups: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A DICOM file with these waveforms, or with none."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    file.SOPClassUID, file.SOPInstanceUID = TwelveLeadECGWaveformStorage, generate_uid(entropy_srcs=["lamae"])
    file.PatientName = "Test"
    if groups:
        file.WaveformSequence = list(groups)
    content = io.BytesIO()
    pydicom.dcmwrite(content, file, enforce_file_format=True)
    return content.getvalue()


def edf(counts: dict[str, np.ndarray], unit: str = "uV", prefix: str = "ECG ", rate_hz: float = 500) -> bytes:
    """An EDF file, 5 units a count."""
    signals = [
        edfio.EdfSignal.from_digital(
            signal, rate_hz, label=prefix + lead, physical_dimension=unit, physical_range=(-5 * 32768, 5 * 32767)
        )
        for lead, signal in counts.items()
    ]
    content = io.BytesIO()
    edfio.Edf(signals, data_record_duration=len(next(iter(counts.values()))) / rate_hz).write(content)
    return content.getvalue()


def bdf(counts: dict[str, np.ndarray], rate_hz: float = 500) -> bytes:
    """A BDF file, 0.02 uV a count, so that a signal of 5 uV a count needs all of the three bytes."""
    unit = {"physical_dimension": "uV", "physical_range": (-160_000, 160_000), "digital_range": (-8_000_000, 8_000_000)}
    signals = [
        edfio.BdfSignal.from_digital(signal.astype(np.int32) * 250, rate_hz, label=lead, **unit)
        for lead, signal in counts.items()
    ]
    content = io.BytesIO()
    edfio.Bdf(signals, data_record_duration=len(next(iter(counts.values()))) / rate_hz).write(content)
    return content.getvalue()


def mat(counts: dict[str, np.ndarray], **options) -> bytes:
    """A MATLAB file without a WFDB header, with the structure of CPSC 2018, in mV."""
    signal = np.stack(list(counts.values())) * 0.005
    content = io.BytesIO()
    savemat(content, {"ECG": {"sex": "Male", "age": 60.0, "data": signal}}, **options)
    return content.getvalue()


def mat_4(counts: dict[str, np.ndarray]) -> bytes:
    """A MATLAB file of version 4, in mV."""
    content = io.BytesIO()
    savemat(content, {"val": np.stack(list(counts.values())) * 0.005}, format="4")
    return content.getvalue()


WATCH_HEADINGS = (
    "Name,Date of Birth,Recorded Date,Classification,Symptoms,Software Version,Device,Sample Rate,Lead,Unit"
)


def watch(
    signal: np.ndarray,
    rate: str = "512 hertz",
    decimal: str = ".",
    headings: str = WATCH_HEADINGS,
    lead: str = "Lead I",
) -> str:
    """The table that the Health app exports of an ECG of an Apple Watch, of a signal of 5 uV a count."""
    names = headings.split(",")
    values = ["Erika Muster", '"1. Jan. 1980"', "2021-01-01 10:00:00 +0000", "Sinus", "", "1.90", '"Watch6,1"', rate]
    head = [f"{name},{value}" for name, value in zip(names[:8], values, strict=True)]
    samples = [f"{count * 5:.3f}".replace(".", decimal) for count in signal.tolist()]
    return "\n".join([*head, "", "", f"{names[8]},{lead}", f"{names[9]},µV", "", *samples, ""])


LEAD_CODES = dict(zip(EIGHT, range(1, 9), strict=True)) | {"III": 61, "aVR": 62, "aVL": 63, "aVF": 64}
"""The numbers of the leads in SCP-ECG, MFER and ISO/IEEE 11073."""


def scp(counts: dict[str, np.ndarray], encoding: str = "huffman", starts: dict[str, int] | None = None) -> bytes:
    """SCP-ECG by EN 1064, 5 uV a count at 500 Hz; no real file was at hand.

    encoding: "plain", or "differences" in 16 bits, or "huffman", second differences by the default table. starts: the
    first time step of a lead that begins after the others.
    """
    starts = starts or {}
    leads = bytes([len(counts), 4 | len(counts) << 3 & 0xFF])
    for lead, signal in counts.items():
        start = starts.get(lead, 0) + 1
        leads += (
            start.to_bytes(4, "little") + (start + len(signal) - 1).to_bytes(4, "little") + bytes([LEAD_CODES[lead]])
        )
    stored = []
    for signal in counts.values():
        values = signal.astype(int)
        if encoding != "plain":
            values = np.concatenate([values[:2], values[2:] - 2 * values[1:-1] + values[:-2]])
        packed = scp_huffman(values) if encoding == "huffman" else values.astype("<i2").tobytes()
        stored.append(packed + bytes(len(packed) % 2))
    head = (5000).to_bytes(2, "little") + (2000).to_bytes(2, "little") + bytes([0 if encoding == "plain" else 2, 0])
    rhythm = head + b"".join(len(packed).to_bytes(2, "little") for packed in stored) + b"".join(stored)
    bodies = {1: b"\xff\0\0\0", 3: leads + bytes(len(leads) % 2), 6: rhythm}
    if encoding == "huffman":
        bodies[2] = (19999).to_bytes(2, "little")
    sections = {number: scp_section(number, bodies[number]) for number in sorted(bodies)}
    length_0, index = 16 + 10 * 12, 7
    pointers = b""
    for number in range(12):
        length = length_0 if number == 0 else len(sections.get(number, b""))
        at = index if length else 0
        pointers += number.to_bytes(2, "little") + length.to_bytes(4, "little") + at.to_bytes(4, "little")
        index += length
    record = scp_section(0, pointers, b"SCPECG") + b"".join(sections.values())
    sized = (6 + len(record)).to_bytes(4, "little") + record
    return binascii.crc_hqx(sized, 0xFFFF).to_bytes(2, "little") + sized


def scp_section(number: int, body: bytes, reserved: bytes = bytes(6)) -> bytes:
    head = number.to_bytes(2, "little") + (16 + len(body)).to_bytes(4, "little") + bytes([20, 20]) + reserved
    return binascii.crc_hqx(head + body, 0xFFFF).to_bytes(2, "little") + head + body


def scp_huffman(values: np.ndarray) -> bytes:
    """The default table of EN 1064: short codes for small differences, then 8 or 16 bits after an escape."""
    bits = ""
    for value in values.tolist():
        if value == 0:
            bits += "0"
        elif abs(value) <= 8:
            bits += "1" * abs(value) + "0" + ("1" if value < 0 else "0")
        elif -128 <= value < 128:
            bits += f"1111111110{value & 0xFF:08b}"
        else:
            bits += f"1111111111{value & 0xFFFF:016b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def ishne(counts: dict[str, np.ndarray], n_declared: int | None = None) -> bytes:
    """An ISHNE Holter file (Badilini 1998), 5000 nV a count at 500 Hz; no real file was at hand."""
    codes = {"I": 5, "II": 6, "III": 7, "aVR": 8, "aVL": 9, "aVF": 10} | {f"V{i}": 10 + i for i in range(1, 7)}
    n_leads, n_samples = len(counts), len(next(iter(counts.values())))

    def of_leads(values: list[int]) -> bytes:
        return np.array([*values, *[-9] * (12 - n_leads)], "<i2").tobytes()

    block = np.array([0, n_declared or n_samples, 522, 522], "<i4").tobytes() + (1).to_bytes(2, "little")
    block += bytes(100) + bytes(28) + n_leads.to_bytes(2, "little")
    block += of_leads([codes[lead] for lead in counts]) + of_leads([0] * n_leads) + of_leads([5000] * n_leads)
    block += bytes(42) + (500).to_bytes(2, "little") + bytes(80 + 80 + 88)
    assert len(block) == 512
    checksum = binascii.crc_hqx(block, 0xFFFF).to_bytes(2, "little")
    return b"ISHNE1.0" + checksum + block + np.stack(list(counts.values()), axis=1).astype("<i2").tobytes()


def mfer(counts: dict[str, np.ndarray], preamble: bool = True, rate: bool = True) -> bytes:
    """An MFER file (ISO 22077-1), 5 uV a count at 500 Hz, -32768 for none; no real file was at hand."""
    n_leads, n_samples = len(counts), len(next(iter(counts.values())))

    def definition(tag: int, content: bytes) -> bytes:
        length = len(content)
        size = bytes([length]) if length < 128 else b"\x84" + length.to_bytes(4, "big")
        return bytes([tag]) + size + content

    content = definition(0x40, b"MFR Standard 12 leads ECG".ljust(32)) if preamble else b""
    content += definition(0x01, b"\1") + definition(0x05, bytes([n_leads]))
    content += definition(0x0B, bytes([0, 0]) + (500).to_bytes(2, "little")) if rate else b""
    content += definition(0x0C, bytes([0, 256 - 6, 5, 0])) + definition(
        0x12, (-32768).to_bytes(2, "little", signed=True)
    )
    content += definition(0x04, n_samples.to_bytes(4, "little")) + definition(0x06, (1).to_bytes(2, "little"))
    for channel, lead in enumerate(counts):
        about = definition(0x09, LEAD_CODES[lead].to_bytes(2, "little"))
        content += bytes([0x3F, channel, len(about)]) + about
    samples = b"".join(signal.astype("<i2").tobytes() for signal in counts.values())
    return content + definition(0x1E, samples) + b"\x80\0"


def table(counts: dict[str, np.ndarray]) -> bytes:
    """A table with a column of times and one per lead."""
    n_samples = len(next(iter(counts.values())))
    rows = [f"{i / 500},{','.join(f'{signal[i] * 0.005:.3f}' for signal in counts.values())}" for i in range(n_samples)]
    return "\n".join([",".join(["time_s", *(f"{lead}_mV" for lead in counts)]), *rows, ""]).encode()


def npz(counts: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(
        content, signal=np.stack(list(counts.values())) * 0.005, leads=list(counts), sampling_rate_hz=500, unit="mV"
    )
    return content.getvalue()


NPZ_MEMBERS = ("signal", "leads", "sampling_rate_hz", "unit")
NPY_START = b"\x93NUMPY"


def joined_members(archive: bytes) -> bytes:
    """The arrays of an `.npz` file one after the other, as the files that they are."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return b"".join(file.read(f"{name}.npy") for name in NPZ_MEMBERS)


def zipped(members: bytes) -> bytes:
    """An `.npz` file of arrays one after the other, with valid checksums whatever they hold."""
    _, *arrays = members.split(NPY_START)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, array in zip(NPZ_MEMBERS, arrays, strict=False):
            file.writestr(f"{name}.npy", NPY_START + array)
    return content.getvalue()


def npy(counts: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.save(content, np.stack(list(counts.values())) * 0.005)
    return content.getvalue()


def wfdb_header(counts: dict[str, np.ndarray], name: str = "rec") -> bytes:
    n_samples = len(next(iter(counts.values())))
    lines = [f"{name} {len(counts)} 500 {n_samples}"]
    lines += [f"{name}.dat 16 200(0)/mV 16 0 {signal[0]} 0 0 {lead}" for lead, signal in counts.items()]
    return "\n".join([*lines, ""]).encode()


def wfdb_signals(counts: dict[str, np.ndarray]) -> bytes:
    return np.stack(list(counts.values()), axis=1).astype("<i2").tobytes()


# ---- Damage

EDITS = ("flip", "byte", "cut", "remove", "repeat", "splice", "head", "word", "noise", *["number"] * 4)
NUMBERS = "0 -1 1 2 65536 2147483648 99999999 1e12 1e308 -1e308 1e400 nan inf 0.0 -0.001 0x10 1_0 ٣ ² ''".split()  # noqa: SIM905
WORDS = (
    b"\xff" * 4,
    b"\0" * 4,
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\xfe\xff\0\xe0",
    b"\x01\0\0\0",
    b"SQ\0\0",
    b"<!--",
)


def damaged(content: bytes, other: bytes, edits: list[tuple[str, float, float]], noise: bytes = b"") -> bytes:
    """A file after some edits, each a kind and two numbers from 0 to 1 that say where and how."""
    for kind, where, how in edits:
        if not content:
            break
        at = min(int(where * len(content)), len(content) - 1)
        length = int(len(content) ** how)  # as likely a short block as a long one
        if kind == "flip":
            content = content[:at] + bytes([content[at] ^ 1 << int(how * 7.99)]) + content[at + 1 :]
        elif kind == "byte":
            content = content[:at] + bytes([int(how * 255)]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "remove":
            content = content[:at] + content[at + length :]
        elif kind == "repeat":
            content = content[: at + length] * (1 + int(9 * where)) + content[at:]
        elif kind == "splice":
            content = content[:at] + other[int(how * len(other)) :]
        elif kind == "head":
            n = min(length, 1024)
            content = other[:n] + content[n:]
        elif kind == "number":
            content = _with_number(content, where, NUMBERS[int(how * (len(NUMBERS) - 0.01))])
        elif kind == "word":
            content = content[:at] + WORDS[int(how * (len(WORDS) - 0.01))] + content[at + 4 :]
        else:
            content = content[:at] + noise + content[at + len(noise) :]
        content = content[:1_000_000]
    return content


def damaged_file(
    kind: str, files: dict[str, bytes], other: str, edits: list[tuple[str, float, float]], noise: bytes = b""
) -> bytes:
    """One of these files after some edits; four in five archives are damaged inside, behind valid checksums."""
    if kind == "npz" and edits and edits[0][2] < 0.8:
        return zipped(damaged(joined_members(files[kind]), files[other], edits, noise))
    return damaged(files[kind], files[other], edits, noise)


def _with_number(content: bytes, where: float, number: str) -> bytes:
    """One number in the text replaced, more often one of the header than one of the many samples."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not found:
        return content
    match = found[min(int(where**4 * len(found)), len(found) - 1)]
    new = number.strip("'").encode()
    # In binary headers, fields have a fixed width.
    width = len(match[0]) if where > 0.5 else 0
    return content[: match.start()] + (new.ljust(width)[:width] if width else new) + content[match.end() :]


def small_files(n_samples: int = 250) -> dict[str, bytes]:
    """A small valid file of every format; those of WFDB belong together as rec.hea and rec.dat."""
    counts, eight = ecg_counts(n_samples=n_samples), ecg_counts(EIGHT, n_samples)
    some = ecg_counts(("II", "V1"), n_samples)
    return {
        "WFDB header": wfdb_header(some),
        "WFDB signals": wfdb_signals(some),
        "CSV": table(some),
        "npz": npz(some),
        "npy": npy(some),
        "EDF": edf(some),
        "BDF": bdf(some),
        "MATLAB": mat(some, do_compression=True),
        "Apple Watch CSV": watch(some["II"]).encode(),
        "DICOM": dicom(dicom_group(ecg_counts(n_samples=60), originality="DERIVED"), dicom_group(counts)),
        "MUSE XML": muse_xml(eight),
        "Sierra XML": sierra_xml(counts, encoding="utf-8"),
        "Sierra XML in UTF-16": sierra_xml(eight, "Uncompressed"),
        "aECG XML": aecg_xml(some),
        "SCP-ECG": scp(some),
        "ISHNE": ishne(some),
        "MFER": mfer(some),
    }


GIVEN = {"sampling_rate_hz": 500, "unit": "mV", "leads": ("II", "V1")}
ARGUMENTS = {"npy": GIVEN, "MATLAB": GIVEN}
"""What `read_ecg` must be told beside the file."""


def write_into(folder: Path, kind: str, content: bytes) -> Path:
    """Write a file, for WFDB with the other one of the pair, and return the path to read."""
    some = ecg_counts(("II", "V1"), 250)
    pair = {"WFDB header": ("rec.hea", "rec.dat", wfdb_signals), "WFDB signals": ("rec.dat", "rec.hea", wfdb_header)}
    if kind not in pair:
        (folder / "x").write_bytes(content)
        return folder / "x"
    name, other_name, other = pair[kind]
    (folder / name).write_bytes(content)
    (folder / other_name).write_bytes(other(some))
    return folder / "rec.hea"
