"""Vendor formats: real files against values decoded by hand, recognition by content, and what must be refused."""

import base64
import io
import re
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

import written_ecgs as write
from lamae_toolkit.ecg.io.channels import complete_limb_leads
from lamae_toolkit.ecg.io.formats import safe_xml
from lamae_toolkit.ecg.io.listing import find_ecgs
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import einthoven_error_mv
from lamae_toolkit.errors import ECGError, LeadWarning, WarningNote

COMPUTED = "Leads III, aVR, aVL and aVF were computed from I and II, as the file stores only eight leads."
FROM_UV = "Converted from uV to mV."
VALID = {
    "muse": write.muse_xml(write.ecg_counts(write.EIGHT)),
    "sierra": write.sierra_xml(write.ecg_counts()),
    "aecg": write.aecg_xml(write.ecg_counts()),
    "dicom": write.dicom(write.dicom_group(write.ecg_counts())),
    "edf": write.edf(write.ecg_counts()),
    "csv": write.table(write.ecg_counts()),
    "npz": write.npz(write.ecg_counts()),
}
"""A small valid file of each format that says its own rate and unit."""


def saved(tmp_path: Path, content: bytes, name: str = "x.bin") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def refused(tmp_path: Path, content: bytes, message: str, **arguments) -> None:
    """Reading fails with one sentence that matches `message`."""
    path = saved(tmp_path, content)
    with pytest.raises(ECGError) as caught:
        read_ecg(path, **arguments)
    text = str(caught.value)
    assert re.fullmatch(r"x\.bin: [A-Z][^\n]*[A-Za-z0-9)\"=]\.", text), text
    assert not re.search(r"[.!?]\s+[A-Z]", text.replace("x.bin: ", "")), f"more than one sentence: {text}"
    assert re.search(message, text), text


def swapped(content: bytes, old: str, new: str, encoding: str = "utf-8") -> bytes:
    """The file with one text replaced everywhere; fails if it is not there."""
    assert old.encode(encoding) in content, old
    return content.replace(old.encode(encoding), new.encode(encoding))


# ---- Real files. Counts and places were read out of the raw files by a script of their own (regular expressions,
# base64 and struct; a slow LZW loop for Sierra) and looked at as plots: P, QRS and T where they belong, no jumps.

REAL = {
    # file: (rate, samples, mV per count, {lead: (first four, least, where, greatest, where)})
    "guangxi_teaching_sinus_rhythm.xml": (
        500,
        5000,
        4.88e-3,
        {
            "I": ((48, 51, 52, 46), -83, 195, 211, 3912),
            "II": ((90, 89, 89, 88), -65, 470, 311, 1706),
            "V1": ((-16, -17, -17, -14), -214, 1712, 134, 4805),
            "V2": ((73, 69, 68, 66), -479, 1711, 342, 479),
            "V3": ((103, 98, 95, 95), -286, 2972, 378, 2666),
            "V4": ((94, 92, 89, 88), -153, 195, 519, 2669),
            "V5": ((87, 85, 83, 83), -98, 195, 443, 2352),
            "V6": ((56, 54, 50, 50), -115, 1693, 397, 2024),
        },
    ),
    "synthetic_muse.xml": (
        500,
        5000,
        4.88e-3,
        {
            "I": ((12, 11, 10, 10), -25, 1733, 145, 472),
            "II": ((18, 17, 16, 14), -40, 1734, 247, 472),
            "V1": ((6, 6, 5, 5), -186, 1733, 61, 471),
            "V4": ((10, 10, 9, 8), -99, 1733, 327, 472),
            "V6": ((9, 8, 8, 7), -40, 1733, 206, 472),
        },
    ),
    # The raw waveform has 5500 samples, of which the last 200 are a 1 mV pulse.
    "philips_sierra_1.04.xml": (
        500,
        5300,
        5e-3,
        {
            "I": ((33, 33, 30, 30), -43, 1365, 46, 1690),
            "II": ((38, 38, 34, 35), -184, 2491, 280, 3736),
            "III": ((5, 5, 4, 5), -150, 2491, 245, 3738),
            "aVR": ((-35, -35, -32, -32), -161, 4157, 110, 2089),
            "aVL": ((14, 14, 13, 13), -108, 3738, 58, 2091),
            "aVF": ((22, 22, 19, 20), -167, 2491, 261, 3736),
            "V1": ((19, 18, 17, 17), -344, 762, 49, 1680),
            "V2": ((117, 116, 115, 114), -620, 1359, 147, 1800),
            "V3": ((217, 215, 212, 209), -803, 4571, 250, 1465),
            "V4": ((146, 145, 142, 140), -432, 1060, 164, 5072),
            "V5": ((106, 105, 103, 103), -283, 3745, 235, 2078),
            "V6": ((79, 79, 78, 78), -152, 2490, 319, 1692),
        },
    ),
    "hl7_aecg_example.xml": (
        500,
        5000,
        2.5e-3,
        {
            "I": ((-2, -2, -2, -2), -122, 1810, 166, 1388),
            "II": ((-7, -7, -7, -7), -267, 1394, 134, 2679),
            "III": ((-5, -5, -5, -5), -363, 968, 181, 687),
            "aVR": ((4, 4, 4, 4), -102, 1384, 136, 1836),
            "aVL": ((1, 1, 1, 1), -126, 687, 253, 1390),
            "aVF": ((-6, -6, -6, -6), -310, 1393, 145, 687),
            "V1": ((43, 43, 43, 43), -586, 2682, 69, 4508),
            "V2": ((55, 53, 51, 49), -771, 3123, 162, 278),
            "V6": ((-9, -7, -5, -3), -124, 1401, 389, 2683),
        },
    ),
    "mortara_12lead_1000hz.dcm": (
        1000,
        10000,
        1.25e-3,
        {
            "I": ((80, 65, 50, 35), -50, 8891, 580, 527),
            "II": ((90, 85, 80, 75), -167, 9724, 910, 527),
            "III": ((10, 20, 30, 40), -235, 9721, 350, 3489),
            "aVR": ((-85, -75, -65, -55), -745, 527, 68, 4451),
            "aVL": ((35, 22, 10, -3), -98, 3567, 275, 9379),
            "aVF": ((50, 52, 55, 57), -200, 9721, 620, 527),
            "V1": ((40, 40, 40, 40), -900, 3491, 165, 9340),
            "V3": ((-10, -10, -10, -10), -870, 5469, 640, 9612),
            "V5": ((-55, -60, -65, -70), -180, 4453, 1570, 2505),
            "V6": ((-40, -40, -40, -40), -130, 2472, 1155, 6444),
        },
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(real_data, name):
    rate_hz, n_samples, mv_per_count, expected = REAL[name]
    recording = read_ecg(real_data / "formats" / name)
    assert recording.sampling_rate_hz == rate_hz and recording.signal_mv.shape == (12, n_samples)
    assert set(recording.leads) == set(LEADS) and not recording.flags
    for lead, (first, low, low_at, high, high_at) in expected.items():
        counts = recording.lead(lead) / mv_per_count
        np.testing.assert_allclose(counts[:4], first, atol=1e-3)
        np.testing.assert_allclose([counts.min(), counts.max()], [low, high], atol=1e-3)
        assert (counts.argmin(), counts.argmax()) == (low_at, high_at)
    # The devices round the other limb leads to half a count.
    assert einthoven_error_mv(recording) <= 0.501 * mv_per_count
    notes = {"philips_sierra_1.04.xml": (FROM_UV, "Left out the last 0.4 s, a calibration pulse alike in all leads.")}
    assert recording.notes == notes.get(name, (FROM_UV, COMPUTED) if "V1" in list(expected)[2] else (FROM_UV,))


def test_find_ecgs_recognizes_real_files_by_content(real_data):
    assert [path.name for path in find_ecgs(real_data / "formats")] == sorted(REAL)


# ---- Written files


@pytest.mark.parametrize("kind", VALID)
def test_kind_is_recognized_by_content_whatever_the_name(tmp_path, kind):
    expected = write.ecg_counts()
    unit_mv = 4.88e-3 if kind == "muse" else 5e-3
    # A table without suffix is known by its lead names; only WFDB goes by the name of its header.
    for name in ("x", "x.bin", "x.txt", "x.csv", "x.npy", "x.dat", "x.xml", "x.dcm", "ÄKG 1.edf"):
        recording = read_ecg(saved(tmp_path, VALID[kind], name))
        assert recording.sampling_rate_hz == 500 and set(recording.leads) == set(LEADS)
        for lead in write.EIGHT:
            np.testing.assert_allclose(recording.lead(lead), expected[lead] * unit_mv, atol=1e-6)
        assert find_ecgs(tmp_path) == [tmp_path / name]
        (tmp_path / name).unlink()


def test_find_ecgs_lists_each_ecg_once(tmp_path):
    counts = write.ecg_counts(n_samples=50)
    found = []
    for folder, name in ((tmp_path, "rec"), (tmp_path / "segments", "s1"), (tmp_path / "segments", "s2")):
        folder.mkdir(exist_ok=True)
        saved(folder, write.wfdb_header(counts, name), f"{name}.hea")
        saved(folder, write.wfdb_signals(counts), f"{name}.dat")
    found.append(tmp_path / "rec.hea")
    found.append(saved(tmp_path / "segments", b"# long\nlong/3 12 500 100\ns1 50\n~ 0\ns2 50\n", "long.hea"))
    for kind, content in VALID.items():
        found.append(saved(tmp_path, content, f"{kind} without suffix"))
    found.append(saved(tmp_path, write.npy(counts), "x.data"))
    found.append(saved(tmp_path, b'"I";"II"\r\n"0,1";"0,2"\r\n', "german"))
    found.append(saved(tmp_path, b"I\tII (uV)\n\t\n", "gaps.tsv"))
    for name, content in {
        "prose.txt": b"I, for one, read ECGs.\nV1 is a lead.\n",
        "ages.csv": b"age,sex\n1,2\n",
        "empty.csv": b"",
        "page.html": b"<!DOCTYPE html><html></html>",
        "drawing.svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "bomb.xml": b'<!DOCTYPE a [<!ENTITY b "c">]><RestingECG>&b;</RestingECG>',
        "other.xml": b"<AnnotatedECG/>",
        "zeros.bin": bytes(5000),
        "archive.zip": b"PK\x03\x04" + bytes(26) + b"readme.txt",
        "lonely.dat": write.wfdb_signals(counts),
        "rec.atr": b"\0\0",
        "rec.sha": b"\xff\xd8\xff\xe0JFIF",
    }.items():
        saved(tmp_path, content, name)
    assert find_ecgs(tmp_path) == sorted(found)
    (tmp_path / "none").mkdir()
    saved(tmp_path / "none", bytes(5000))
    with pytest.raises(ECGError, match=r"^none: The folder holds no ECG; put a WFDB record .* HL7 aECG there\.$"):
        find_ecgs(tmp_path / "none")


def test_xml_of_no_ecg_format_is_refused(tmp_path):
    for content in (b"<svg/>", b"<AnnotatedECG/>", b"<restingecgdata/>", b"<RestingECG", b'<?xml encoding="no"?><a/>'):
        refused(tmp_path, content, "This is XML, but of no ECG that can be read; give a WFDB record")
    with pytest.raises(ECGError, match="This is XML, but of no ECG"):
        read_ecg(saved(tmp_path, b"<svg/>", "x.csv"))


@pytest.mark.parametrize("kind", ["muse", "sierra", "aecg", "dicom", "edf"])
def test_argument_that_contradicts_the_file_is_refused(tmp_path, kind):
    refused(tmp_path, VALID[kind], "500 Hz by the file but 250 Hz", sampling_rate_hz=250)
    refused(tmp_path, VALID[kind], "is in uV by the file but in mV by unit=", unit="mV")
    own = write.EIGHT if kind == "muse" else LEADS
    refused(tmp_path, VALID[kind], "A channel is lead I by its name .* leave out the argument leads", leads=own[::-1])
    refused(tmp_path, VALID[kind], "channels, .* but leads= names 1; leave out the argument leads", leads=["I"])
    assert read_ecg(tmp_path / "x.bin", leads=own).leads == LEADS
    assert read_ecg(tmp_path / "x.bin", sampling_rate_hz=500, unit="uV").sampling_rate_hz == 500


def test_file_without_read_permission_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, EDF)

    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert find_ecgs(tmp_path) == [path]
    with pytest.raises(ECGError, match=r"^x.bin: The file cannot be opened \(Permission denied\); check that you may"):
        read_ecg(path)


# ---- Eight leads become twelve


def eight(kind: str) -> bytes:
    counts = write.ecg_counts(write.EIGHT)
    return {
        "muse": lambda: write.muse_xml(counts, per_bit="5"),
        "sierra": lambda: write.sierra_xml(counts, "Uncompressed"),
        "aecg": lambda: write.aecg_xml(counts),
        "dicom": lambda: write.dicom(write.dicom_group(counts)),
        "edf": lambda: write.edf(counts),
        "csv": lambda: write.table(counts),
        "npz": lambda: write.npz(counts),
    }[kind]()


@pytest.mark.parametrize("kind", ["muse", "sierra", "aecg", "dicom", "edf"])
def test_eight_stored_leads_are_completed_to_twelve(tmp_path, kind):
    recording = read_ecg(saved(tmp_path, eight(kind)))
    assert recording.leads == LEADS and recording.notes == (FROM_UV, COMPUTED)
    I, II = (write.ecg_counts()[lead] * 0.005 for lead in ("I", "II"))
    for lead, mv in {"III": II - I, "aVR": -(I + II) / 2, "aVL": I - II / 2, "aVF": II - I / 2}.items():
        np.testing.assert_allclose(recording.lead(lead), mv, atol=1e-6)


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_table_of_eight_leads_is_not_completed(tmp_path, kind):
    recording = read_ecg(saved(tmp_path, eight(kind)))
    assert recording.leads == write.EIGHT and not recording.notes


def test_other_sets_of_leads_are_not_completed():
    signals = {lead: np.zeros(3) for lead in write.EIGHT}
    assert tuple(complete_limb_leads(signals)[0]) == LEADS
    for other in ({**signals, "III": np.zeros(3)}, dict(list(signals.items())[1:]), {"I": np.zeros(3)}):
        assert complete_limb_leads(other) == (other, ())


# ---- MUSE


MUSE = VALID["muse"]


def test_muse_first_of_two_rhythm_waveforms_is_warned_of(tmp_path):
    rhythm = MUSE[MUSE.rindex(b"<Waveform>") : MUSE.rindex(b"</RestingECG>")]
    twice = MUSE.replace(b"</RestingECG>", rhythm + b"</RestingECG>")
    with pytest.warns(LeadWarning, match="Read the first of 2 waveforms; another one has the same leads and length"):
        recording = read_ecg(saved(tmp_path, twice))
    assert recording.signal_mv.shape == (12, 500)
    refused(tmp_path, MUSE.replace(rhythm, b""), "no rhythm waveform, only Median; export the ECG with its rhythm")
    refused(tmp_path, b"<RestingECG/>", "no rhythm waveform; export")


@pytest.mark.filterwarnings("ignore:.*(electrode|Einthoven|spans):lamae_toolkit.errors.LeadWarning")
def test_muse_electrode_off_other_rate_and_other_leads(tmp_path):
    head, _, tail = MUSE.rpartition(b"<LeadOff>FALSE")
    recording = read_ecg(saved(tmp_path, head + b"<LeadOff>TRUE" + tail))
    assert recording.notes[0] == "The device says that the electrode of lead V6 was off."
    assert isinstance(recording.notes[0], WarningNote)
    slow = swapped(
        MUSE, "<SampleBase>500</SampleBase><SampleExponent>0", "<SampleBase>25</SampleBase><SampleExponent>1"
    )
    assert read_ecg(saved(tmp_path, slow)).sampling_rate_hz == 250
    recording = read_ecg(saved(tmp_path, swapped(MUSE, "<LeadID>V6", "<LeadID>V4R")))
    assert recording.leads == write.EIGHT[:-1]
    assert recording.notes == ("Dropped channels other than the twelve leads: V4R.", FROM_UV)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<SampleBase>500", "<SampleBase>x", "SampleBase is 'x', which is not a usable number"),
        ("<SampleBase>500", "<SampleBase>5000", "sampling rate is 5000 Hz, but"),
        ("<SampleBase>500</SampleBase>", "", "The rhythm waveform has no SampleBase; export"),
        ("<SampleExponent>0", "<SampleExponent>400", "sampling rate is 5e.11 Hz, but"),
        ("CONTINUOUS_SAMPLES", "DIFFERENCES", "samples are 'DIFFERENCES', not CONTINUOUS_SAMPLES"),
        ("<LeadID>II<", "<LeadID>I<", "Lead I is given twice"),
        ("<LeadID>", "<LeadID>X", "Unknown lead names 'XI'"),
        ("<LeadID>V6</LeadID>", "", "A lead has no LeadID"),
        ("<LeadSampleSize>2", "<LeadSampleSize>4", "samples of '4' bytes"),
        ("<LeadSampleCountTotal>500", "<LeadSampleCountTotal>501", "500 as LeadSampleCountTotal, but declares '501'"),
        ("<LeadByteCountTotal>1000", "<LeadByteCountTotal>²", "1000 as LeadByteCountTotal, but declares '²'"),
        (">4.88<", ">0<", "Lead I has no gain"),
        (">4.88<", ">nan<", "LeadAmplitudeUnitsPerBit is 'nan', which is not a usable number"),
        (">4.88<", ">1e300<", "'1e300', which is not a usable number"),
        (">4.88<", ">48800<", "Lead I reaches .* mV, which no ECG does"),
        ("MICROVOLTS", "NANOVOLTS", "Lead I is in the unit 'NANOVOLTS', which is not a voltage"),
        ("<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>", "", "The unit of lead I is not given"),
        ("<LeadDataCRC32>", "<LeadDataCRC32>1", "do not match their checksum, so they were damaged"),
        ("</WaveFormData>", "*</WaveFormData>", "samples that are not valid Base64"),
        ("</RestingECG>", "", "damaged or is not MUSE XML"),
    ],
)
def test_invalid_muse_is_refused(tmp_path, old, new, message):
    refused(tmp_path, swapped(MUSE, old, new, "latin-1"), message)


def test_muse_leads_with_different_start_times_are_refused(tmp_path):
    head, _, tail = MUSE.rpartition(b"<LeadTimeOffset>0")
    refused(tmp_path, head + b"<LeadTimeOffset>2500" + tail, "Its leads start at different times")


def test_muse_without_checksum_and_in_millivolts(tmp_path):
    content = re.sub(rb"<LeadDataCRC32>\d+", b"<LeadDataCRC32>0", swapped(MUSE, "MICROVOLTS", "MILLIVOLTS"))
    recording = read_ecg(saved(tmp_path, swapped(content, "4.88", "0.005")))
    np.testing.assert_allclose(recording.lead("V6"), write.ecg_counts()["V6"] * 0.005, atol=1e-6)
    assert recording.notes == (COMPUTED,)


# ---- Sierra


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
@pytest.mark.parametrize("compression", ["XLI", "Uncompressed"])
def test_sierra_compressed_and_uncompressed(tmp_path, compression, encoding):
    content = write.sierra_xml(write.ecg_counts(n_samples=3000), compression, encoding)
    recording = read_ecg(saved(tmp_path, content))
    for lead, counts in write.ecg_counts(n_samples=3000).items():
        np.testing.assert_allclose(recording.lead(lead), counts * 0.005, atol=1e-6)


@pytest.mark.parametrize("name", [b"\0\x54\0\x01SQ", b"\x3a\0\0\x02SQ", b"\x3a\0\x08\x02SQ", b"\x3a\0\x11\x02SQ"])
@pytest.mark.parametrize("kind", [b"UT", b"OW"])
def test_dicom_with_text_or_bytes_instead_of_a_sequence_is_refused(tmp_path, name, kind):
    assert VALID["dicom"].count(name)
    refused(tmp_path, VALID["dicom"].replace(name, name[:4] + kind, 1), "is not a sequence|damaged|no waveform")


@pytest.mark.filterwarnings("ignore:.*(Einthoven|span|gaps|missing):lamae_toolkit.errors.LeadWarning")
def test_sierra_decompression_of_random_signals(tmp_path):
    """Noise fills the table of 1023 words; a constant makes words of hundreds of bytes."""
    rng = np.random.default_rng(0)
    counts = write.ecg_counts(n_samples=4001)
    for lead in ("I", "II", "V1"):
        counts[lead] = rng.integers(-3000, 3000, 4001).astype(np.int16)
    counts["V2"][10:] = 7
    recording = read_ecg(saved(tmp_path, write.sierra_xml(counts)))
    for lead, signal in counts.items():
        np.testing.assert_allclose(recording.lead(lead), signal * 0.005, atol=1e-5)


def test_sierra_calibration_pulse_is_left_out(tmp_path):
    counts = write.ecg_counts()
    for signal in counts.values():
        signal[400:] = np.where(np.arange(400, 500) < 450, 200, 0)
    recording = read_ecg(saved(tmp_path, write.sierra_xml(counts)))
    assert recording.signal_mv.shape == (12, 400)
    assert recording.notes == (FROM_UV, "Left out the last 0.2 s, a calibration pulse alike in all leads.")


SIERRA = write.sierra_xml(write.ecg_counts(), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('samplespersecond="500"', "", "sampling rate is not given; pass for example"),
        ('samplespersecond="500"', 'samplespersecond="-500"', "It declares -500 samples a lead"),
        ('durationperchannel="1000"', 'durationperchannel="1e11"', "It declares 50000000000 samples a lead"),
        ('durationperchannel="1000"', 'durationperchannel="1100"', "Lead I has 500 samples instead of 550"),
        ('durationperchannel="1000"', 'durationperchannel="900"', "samples instead of 450"),
        ('resolution="5"', "", "resolution is 'None', which is not a usable number"),
        ('resolution="5"', 'resolution="0"', "resolution is not above zero"),
        ('signalsigned="True"', 'signalsigned="False"', "not of 16 bits with a sign"),
        ('bitspersample="16"', 'bitspersample="12"', "not of 16 bits with a sign"),
        ('dataencoding="Base64"', 'dataencoding="Plain"', "in 'Plain' and 'XLI', not Base64 and XLI"),
        ('"XLI"', '"ZIP"', "in 'Base64' and 'ZIP'"),
        ('"XLI"', '"Uncompressed"', "but 12 leads of 500 samples need 12000"),
        ('"I II III', '"II I III', "Compressed leads begin with I, II, III"),
        ('numberofleads="12"', 'numberofleads="3"', "Compressed leads begin with I, II, III"),
        ('numberofleads="12"', 'numberofleads="0"', "Unknown lead names .none given."),
        ("V5 V6", "V5 V5", "Lead V5 is given twice"),
        ("parsedwaveforms", "other", r"holds 0 rhythm waveforms \(parsedwaveforms\), not one"),
        ("</restingecgdata>", "", "damaged or is not Sierra XML"),
    ],
)
def test_invalid_sierra_is_refused(tmp_path, old, new, message):
    refused(tmp_path, swapped(SIERRA, old, new), message)


def test_damaged_sierra_samples_are_refused(tmp_path):
    start, end = SIERRA.index(b'"16">') + 5, SIERRA.index(b"</parsedwaveforms>")

    def with_samples(content: bytes) -> bytes:
        return SIERRA[:start] + base64.b64encode(content) + SIERRA[end:]

    whole = base64.b64decode(SIERRA[start:end])
    refused(tmp_path, with_samples(whole[:-20]), "samples of lead V6 are cut off or damaged")
    refused(tmp_path, with_samples(b""), "samples of lead I are cut off or damaged")
    refused(tmp_path, with_samples(b"\xff" * 4 + whole[4:]), "samples of lead I are cut off or damaged")
    # Code 1000 before there are so many words.
    refused(tmp_path, with_samples(whole[:8] + b"\xfa\0" + whole[10:]), "The compressed samples are damaged")
    # Words that double for ever: a million bytes from each 1300, stopped when a lead is full.
    bomb = np.unpackbits(np.array([[code >> 8, code & 255] for code in (0, *range(256, 1023))], np.uint8), axis=1)
    chunk = np.packbits(bomb[:, 6:].reshape(-1)).tobytes()
    full = len(chunk).to_bytes(4, "little") + bytes(4) + chunk
    refused(tmp_path, with_samples(full * 12), "Lead I has .* samples instead of 500")


# ---- aECG


AECG = VALID["aecg"]


@pytest.mark.filterwarnings("ignore:.*(Einthoven|span|gaps|missing):lamae_toolkit.errors.LeadWarning")
def test_aecg_units_prefixes_and_origin(tmp_path):
    counts = write.ecg_counts()
    recording = read_ecg(saved(tmp_path, write.aecg_xml(counts, 'value="0.005" unit="mV"')))
    np.testing.assert_allclose(recording.lead("aVL"), counts["aVL"] * 0.005, atol=1e-6)
    assert recording.notes == ()
    content = swapped(
        swapped(AECG, 'xsi:type="', 'xsi:type="hl7:'), '<origin value="0" unit="uV"', '<origin value="2" unit="mV"'
    )
    np.testing.assert_allclose(read_ecg(saved(tmp_path, content)).lead("V1"), counts["V1"] * 0.005 + 2, atol=1e-6)
    assert read_ecg(saved(tmp_path, swapped(AECG, '0.002" unit="s"', '4" unit="ms"'))).sampling_rate_hz == 250


def test_aecg_first_of_several_rhythms_is_warned_of(tmp_path):
    start, end = AECG.index(b"<series>"), AECG.index(b"</series>") + 9
    twice = AECG[:end] + b"</component><component>" + AECG[start:]
    with pytest.warns(LeadWarning, match="Read the first of 2 waveforms; another one has the same leads and length"):
        assert read_ecg(saved(tmp_path, twice)).notes[1:] == (FROM_UV,)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"RHYTHM"', '"REPRESENTATIVE_BEAT"', "no series with the code RHYTHM"),
        ("TIME_ABSOLUTE", "TIME_OTHER", "The sampling rate is not given"),
        ('increment value="0.002"', 'increment value="0"', "Its time goes by 0 in the unit 's'"),
        ('increment value="0.002" unit="s"', 'increment value="0.002"', "in the unit 'None', not by s, ms or us"),
        ('value="0.002"', 'value="many"', "The increment of time is 'many', which is not a usable number"),
        ("GLIST_TS", "SLIST_TS", "Its time is of the type 'SLIST_TS', not GLIST_TS"),
        ("SLIST_PQ", "SLIST_INT", "Lead I is of the type 'SLIST_INT', not SLIST_PQ"),
        ('<scale value="5" unit="uV"', '<scale value="5"', "The unit of lead I is not given"),
        (
            '<scale value="5" unit="uV"',
            '<scale value="5" unit="mmHg"',
            "Lead I is in the unit 'mmHg', which is not a voltage",
        ),
        ('<scale value="5"', '<scale value="0"', "Lead I has no scale"),
        ('<scale value="5"', "<scale", "The scale of lead I is 'None', which is not a usable number"),
        ('<origin value="0" unit="uV"', '<origin value="1"', "The unit of lead I is not given"),
        ("<digits>", "<digits>0x1F ", "Lead I has the sample 'x1F', which is not an integer"),
        ("<digits>", "<digits>nan ", "Lead I has the sample 'nan'"),
        ("<digits>", "<digits>+- ", "damaged or is not aECG XML"),
        ("digits", "letters", "The record is empty, as it has no samples"),
        ("MDC_ECG_LEAD_", "MDC_EEG_", "Unknown lead names 'MDC_EEG_I'"),
        ("MDC_ECG_LEAD_V6", "MDC_ECG_LEAD_V5", "Lead V5 is given twice"),
        ("</AnnotatedECG>", "", "damaged or is not aECG XML"),
    ],
)
def test_invalid_aecg_is_refused(tmp_path, old, new, message):
    refused(tmp_path, swapped(AECG, old, new), message)


def test_leads_of_different_lengths_are_refused(tmp_path):
    head, _, tail = AECG.rpartition(b"<digits>")
    refused(tmp_path, head + b"<digits>1 2 3 " + tail, "Its leads have 500 to 503 samples, not one length")


# ---- DICOM


def changed(lead: int = 0, of_channel: dict | None = None, **of_group) -> bytes:
    """A DICOM file with other values in the group or in one channel; None deletes."""
    group = write.dicom_group(write.ecg_counts())
    for target, values in ((group, of_group), (group.ChannelDefinitionSequence[lead], of_channel or {})):
        for name, value in values.items():
            if value is None:
                delattr(target, name)
            else:
                setattr(target, name, value)
    return write.dicom(group)


def coded(value: str, scheme: str = "UCUM", meaning: str = "") -> list[Dataset]:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return [code]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (write.dicom(), "This DICOM file holds no waveform, only images or reports"),
        (changed(WaveformOriginality="DERIVED"), "Its waveforms are all derived"),
        (changed(SamplingFrequency=None), "The sampling rate is 'None', which is not a usable number"),
        (changed(SamplingFrequency=5000), "sampling rate is 5000 Hz, but"),
        (changed(NumberOfWaveformSamples=501), "has 12000 bytes, but 12 channels of 501 samples need 12024"),
        (changed(NumberOfWaveformSamples=4_000_000_000), "samples need 96000000000, so it is damaged"),
        (changed(NumberOfWaveformChannels=11), "has 12000 bytes, but 11 channels of 500 samples need 11000"),
        (changed(WaveformSampleInterpretation="MB"), "of the kind MB of 16 bits, which is not read"),
        (changed(WaveformData=None), "has 0 bytes, but 12 channels of 500 samples need 12000"),
        (changed(ChannelDefinitionSequence=None), r"Unknown lead names \(none given\)"),
        (changed(of_channel={"ChannelSensitivity": None}), "Lead I has no sensitivity"),
        (changed(of_channel={"ChannelSensitivity": 0}), "Lead I has the sensitivity 0"),
        (changed(of_channel={"ChannelSensitivityUnitsSequence": None}), "The unit of lead I is not given"),
        (changed(of_channel={"ChannelSensitivityUnitsSequence": coded("mmHg")}), "Lead I is in the unit 'mmHg'"),
        (changed(of_channel={"ChannelSourceSequence": coded("2:2", "MDC")}), "Lead II is given twice"),
        (
            changed(of_channel={"ChannelSourceSequence": coded("2:1", "MDC", "Lead V6")}),
            "A channel is lead I by its code but 'Lead V6' by name",
        ),
        (write.dicom(syntax=DeflatedExplicitVRLittleEndian), "compressed as a whole .deflated.; export it as"),
        (bytes(128) + b"DICM", "transfer syntax none, which no waveform has"),
        (VALID["dicom"][:-700], "damaged"),
        (VALID["dicom"][:300], "damaged|no waveform"),
    ],
)
def test_invalid_dicom_is_refused(tmp_path, content, message):
    refused(tmp_path, content, message)


@pytest.mark.filterwarnings("ignore:.*(Einthoven|span|gaps|missing):lamae_toolkit.errors.LeadWarning")
def test_dicom_scale_baseline_and_missing_samples(tmp_path):
    counts = write.ecg_counts()
    counts["I"][100:110] = -32768
    group = write.dicom_group(counts)
    group.add_new("WaveformPaddingValue", "OW", b"\0\x80")
    channel = group.ChannelDefinitionSequence[1]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = 0.01, 0.5, -1
    channel.ChannelSensitivityUnitsSequence = coded("mV")
    with pytest.warns(UserWarning, match="Lead I had gaps, 2 %"):
        recording = read_ecg(saved(tmp_path, write.dicom(group)))
    np.testing.assert_allclose(recording.lead("II"), counts["II"] * 0.005 - 1, atol=1e-6)
    line = np.interp(np.arange(100, 110), [99, 110], counts["I"][[99, 110]] * 0.005)
    np.testing.assert_allclose(recording.lead("I")[100:110], line, atol=1e-6)
    assert recording.flags == (("I", "nan"),)


def test_dicom_reads_original_waveform_with_most_leads(tmp_path):
    counts = write.ecg_counts()
    beats = write.dicom_group(write.ecg_counts(n_samples=60), originality="DERIVED")
    strip, whole = write.dicom_group({"II": counts["II"]}), write.dicom_group(counts)
    recording = read_ecg(saved(tmp_path, write.dicom(beats, strip, whole)))
    assert recording.signal_mv.shape == (12, 500)
    assert recording.notes == ("Read one of 2 waveforms, the one with the most leads or the longest.", FROM_UV)
    assert read_ecg(saved(tmp_path, write.dicom(beats, whole))).notes == (FROM_UV,)


def test_dicom_leads_without_code_are_matched_by_name(tmp_path):
    content = changed(of_channel={"ChannelSourceSequence": coded("x", "99PRIVATE", "Lead I (Einthoven)")})
    assert read_ecg(saved(tmp_path, content)).leads == LEADS
    content = changed(11, {"ChannelSourceSequence": coded("5.6.3-9-8", "SCPECG", "Lead V6")})
    assert read_ecg(saved(tmp_path, content)).leads == LEADS
    content = changed(11, {"ChannelSourceSequence": coded("8", "99PRIVATE", "Respiration")})
    assert read_ecg(saved(tmp_path, content)).notes[0] == "Dropped channels other than the twelve leads: Respiration."


# ---- EDF


EDF = VALID["edf"]


def test_edf_variants(tmp_path):
    counts = write.ecg_counts()
    for content in (write.edf(counts, prefix="EKG "), write.edf(counts, prefix="")):
        recording = read_ecg(saved(tmp_path, content))
        assert recording.leads == LEADS and recording.notes == (FROM_UV,)
        np.testing.assert_allclose(recording.lead("V3"), counts["V3"] * 0.005, atol=1e-6)
    assert read_ecg(saved(tmp_path, write.edf(counts, rate_hz=250))).sampling_rate_hz == 250
    small = {lead: (signal / 1000).astype(np.int16) for lead, signal in counts.items()}
    refused(tmp_path, write.edf(small, unit="mV"), "No lead can be used|reaches")
    unknown = write.edf(counts, unit="")
    refused(tmp_path, unknown, 'unit of lead I is not given; .* unit="mV"')
    np.testing.assert_allclose(read_ecg(saved(tmp_path, unknown), unit="uV").lead("I"), counts["I"] * 0.005, atol=1e-6)


def test_edf_written_byte_by_byte(tmp_path):
    """One record of 0.5 s with 100 samples of lead II, -1 to 1 mV over all of 16 bits."""
    counts = np.arange(-50, 50, dtype="<i2") * 600
    fields = [("ECG II", 16), ("", 80), ("mV", 8), ("-1", 8), ("1", 8), ("-32768", 8), ("32767", 8), ("", 80)]
    head = f"{'0':<8}{'X':<80}{'X':<80}01.01.2000.00.00{512:<8}{'':<44}{1:<8}{0.5:<8}{1:<4}"
    signal = "".join(f"{text:<{width}}" for text, width in [*fields, ("100", 8), ("", 32)])
    recording = read_ecg(saved(tmp_path, (head + signal).encode() + counts.tobytes()))
    assert recording.sampling_rate_hz == 200 and recording.leads == ("II",) and recording.notes == ()
    np.testing.assert_allclose(recording.lead("II"), (counts.astype(float) + 32768) * 2 / 65535 - 1, atol=1e-6)


def header(start: int, text: str, content: bytes = EDF) -> bytes:
    return content[:start] + text.encode().ljust(8) + content[start + 8 :]


PHYSICAL_MIN, PHYSICAL_MAX = 256 + 12 * (16 + 80 + 8), 256 + 12 * (16 + 80 + 16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (EDF[:-1], "has 15327 bytes, but its header declares 15328; copy or export it again"),
        (EDF + b"\0\0", "has 15330 bytes, but its header declares 15328"),
        (EDF[:300], "not a usable number|declares"),
        (EDF[:256], "not a usable number|declares"),
        (header(236, "-1"), "header declares no samples, as during an unfinished recording"),
        (header(236, "99999999"), "but its header declares"),
        (header(244, "0"), "header declares no samples"),
        (header(244, "x"), "Duration is 'x', which is not a usable number"),
        (header(244, "100"), "sampling rate is 5 Hz, but"),
        (header(192, "EDF+D"), "interruptions .EDF.D., which are not read"),
        (header(PHYSICAL_MIN, "163835"), "Lead I has no range"),
        (header(PHYSICAL_MIN, "nan"), "The physical min of signal 'ECG I' is 'nan'"),
        (header(PHYSICAL_MAX, ""), "physical max of signal 'ECG I' is ''"),
        (header(PHYSICAL_MAX, "1e9"), "Lead I reaches"),
        (EDF.replace(b"ECG V6", b"ECG V5"), "Lead V5 is given twice"),
        (EDF.replace(b"ECG ", b"EEG "), "Unknown lead names 'EEG I'"),
        (EDF.replace(b"uV ", b"mg "), "Lead I is in the unit 'mg', which is not a voltage"),
    ],
)
def test_invalid_edf_is_refused(tmp_path, content, message):
    refused(tmp_path, content, message)


# ---- Files that want to do harm


def bomb(inside: str, root: str = "RestingECG", attributes: str = "") -> bytes:
    return f"<!DOCTYPE {root} [{inside}]><{root}{attributes}><Waveform>&a;</Waveform></{root}>".encode()


LAUGHS = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))


@pytest.mark.parametrize(
    "content",
    [
        bomb(LAUGHS + '<!ENTITY a "&a11;">'),
        bomb(LAUGHS + '<!ENTITY a "&a11;">', attributes=' x="&a11;"'),
        bomb('<!ENTITY a SYSTEM "file:///etc/passwd">'),
        bomb('<!ENTITY a SYSTEM "http://127.0.0.1/x">'),
        bomb('<!ENTITY % p SYSTEM "http://127.0.0.1/x"> %p;'),
        bomb('<!ATTLIST Waveform x CDATA "' + "x" * 10_000 + '">'),
        b"<!-- " + b"long " * 1000 + b"-->" + bomb('<!ENTITY a "b">'),
        bomb(LAUGHS, "restingecgdata"),
        bomb('<!ENTITY a "b">').decode().encode("utf-16"),
    ],
)
def test_xml_with_declarations_is_refused(tmp_path, content):
    tracemalloc.start()
    refused(tmp_path, content, "declares entities or elements of its own, which is unsafe")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_external_document_type_is_never_fetched(tmp_path):
    content = swapped(MUSE, '"restecg.dtd"', '"http://127.0.0.1:9/restecg.dtd"')
    assert read_ecg(saved(tmp_path, content)).leads == LEADS
    content = swapped(MUSE, "<SampleBase>500<", "<SampleBase>&rate;<")
    refused(tmp_path, content, "damaged or is not MUSE XML|unsafe")


def test_xml_with_too_many_or_too_deep_elements_is_refused(tmp_path, monkeypatch):
    refused(tmp_path, b"<RestingECG>" + b"<a>" * 1_000_000, "goes deeper than 100 elements, which no ECG does")
    monkeypatch.setattr(safe_xml, "MAX_ELEMENTS", 2000)
    refused(tmp_path, b"<RestingECG>" + b"<a/>" * 2000, "has more than 2000 elements, which no ECG does")


@pytest.mark.parametrize(("kind", "mb"), [("muse", 25), ("sierra", 25), ("aecg", 10), ("dicom", 10)])
def test_huge_files_are_refused_without_reading(tmp_path, kind, mb):
    path = saved(tmp_path, VALID[kind])
    with path.open("r+b") as file:
        file.truncate(3_000_000_000)  # a hole, which takes no room on the disk
    with pytest.raises(
        ECGError, match=rf"^x.bin: The file has 3000 MB, but .* is read up to {mb} MB; export one ECG\.$"
    ):
        read_ecg(path)


def test_dicom_with_too_many_or_too_deep_items_is_refused(tmp_path):
    head = VALID["dicom"][: VALID["dicom"].index(b"\0\x54\0\x01SQ")]
    items = b"\xfe\xff\0\xe0" + bytes(4)
    crowd = b"\0\x54\0\x01SQ\0\0" + (8 * 100_000).to_bytes(4, "little") + items * 100_000
    refused(tmp_path, head + crowd, "more than 20000 sequence items")
    deep = (b"\0\x54\0\x01SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff") * 5000
    refused(tmp_path, head + deep, "damaged or is not DICOM")
    refused(tmp_path, head + b"\0\x54\0\x01SQ\0\0\xf0\xff\xff\xff" + items, "damaged|no waveform|Unknown lead names")


def test_zip_bomb_in_npz_is_refused(tmp_path):
    content = io.BytesIO()
    np.savez_compressed(content, signal=np.zeros((12, 10_000_000), np.int8), leads=list(LEADS))
    assert len(content.getvalue()) < 1_000_000
    refused(tmp_path, content.getvalue(), "It unpacks to 120 MB, far more than an ECG of its size")


def test_reading_does_not_change_warning_filters(tmp_path):
    before = list(warnings.filters)
    for kind in ("dicom", "edf"):
        read_ecg(saved(tmp_path, VALID[kind]))
    assert warnings.filters == before


def test_muse_checksums_match_the_real_file(real_data):
    """GE's LeadDataCRC32 is the ordinary CRC-32 of the bytes."""
    text = (real_data / "formats" / "guangxi_teaching_sinus_rhythm.xml").read_text(encoding="utf-8")
    pairs = re.findall(r"<LeadDataCRC32>(\d+)</LeadDataCRC32>\s*<WaveFormData>(.*?)</WaveFormData>", text, re.DOTALL)
    assert len(pairs) == 16 and all(int(crc) == zlib.crc32(base64.b64decode(data)) for crc, data in pairs)
