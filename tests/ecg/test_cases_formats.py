"""Files as devices and converters write them, each read with its right values or refused with the true reason."""

import io
import re
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from scipy.io import savemat

import written_ecgs as write
from lamae_toolkit.ecg.io.formats import delimited
from lamae_toolkit.ecg.io.listing import find_ecgs
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError, LeadWarning, WarningNote

COUNTS = write.ecg_counts()
"""500 samples of 5 uV a count at 500 Hz, in all twelve leads."""
MV = {lead: signal * 0.005 for lead, signal in COUNTS.items()}


def saved(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_read(path: Path, expected: tuple[str, ...] = LEADS, atol: float = 1e-6, **arguments):
    """The file holds exactly these leads of the signal, at 500 Hz."""
    recording = read_ecg(path, **arguments)
    assert recording.leads == expected and recording.sampling_rate_hz == 500
    for lead in expected:
        np.testing.assert_allclose(recording.lead(lead), MV[lead], atol=atol)
    return recording


def refusal(path: Path, **arguments) -> str:
    with pytest.raises(ECGError) as caught:
        read_ecg(path, **arguments)
    return str(caught.value)


# ---- EDF and BDF


def test_edf_with_decimal_commas(tmp_path):
    content = write.edf(COUNTS)
    at = 256 + 12 * 104  # the field of the physical minimum, then the maximum, 8 bytes a lead
    low, high = content[at : at + 8].strip(), content[at + 96 : at + 104].strip()
    assert float(low) == -163840 and float(high) == 163835
    with_commas = content[:at] + b"-163,840" * 12 + b"163,835 " * 12 + content[at + 192 :]
    with_commas = with_commas.replace(b"uV      ", b"mV      ")
    assert_read(saved(tmp_path, "x.edf", with_commas))


@pytest.mark.parametrize("name", ["x.bdf", "x.edf"])
def test_bdf_holds_24_bits(tmp_path, name):
    content = write.bdf(COUNTS)
    path = saved(tmp_path, name, content)
    assert_read(path)
    path.write_bytes(content[:-3])
    assert "its header declares" in refusal(path)


# ---- WFDB


def wfdb_files(tmp_path: Path, record_line: str, leads: tuple[str, ...] = LEADS, fmt: str = "16", **parts) -> Path:
    """A record of 200 counts a mV with the name x; parts: the format's `packed` samples and the `signal` file."""
    stored = np.stack([COUNTS[lead] for lead in leads], axis=1).astype("<i2")
    signal = parts.get("signal", "x.dat")
    saved(tmp_path, signal, parts.get("packed", stored.tobytes()))
    lines = [f"{signal} {fmt} 200(0)/mV 16 0 {COUNTS[lead][0]} {signed_sum(COUNTS[lead])} 0 {lead}" for lead in leads]
    return saved(tmp_path, "x.hea", "\n".join([record_line, *lines, ""]))


def signed_sum(signal: np.ndarray) -> int:
    """WFDB's checksum: the sum of the samples in 16 bits."""
    return int(signal.sum(dtype=np.int16))


def packed_212(signals: np.ndarray) -> bytes:
    """Format 212: two samples of 12 bits in three bytes."""
    first, second = (signals.reshape(-1).astype(int) & 0xFFF).reshape(-1, 2).T
    return np.stack([first & 0xFF, first >> 8 | second >> 8 << 4, second & 0xFF], axis=1).astype(np.uint8).tobytes()


TWO = ("II", "V5")
PACKED = packed_212(np.stack([COUNTS[lead] for lead in TWO], axis=1))
MAT_4 = (30).to_bytes(4, "little") + b"".join(n.to_bytes(4, "little") for n in (12, 500, 0, 4)) + b"val\0"
"""The 24 bytes before the samples in a MATLAB file of version 4: int16, 12 by 500, not complex, four letters, val."""


@pytest.mark.parametrize("line", ["x 2 500 500 2006", "x 2 500 500 09:49 2006", "x 2 500 500 05-May-2020 09:49:17"])
def test_wfdb_date_does_not_matter(tmp_path, line):
    assert_read(wfdb_files(tmp_path, line, TWO, "212", packed=PACKED), TWO)
    assert_read(wfdb_files(tmp_path, line, TWO), TWO)


@pytest.mark.parametrize("line", ["x 2 500 0", "x 2 500", "x 2 500 0 10:00:00"])
def test_wfdb_length_0_is_that_of_the_signal_file(tmp_path, line):
    assert_read(wfdb_files(tmp_path, line, TWO), TWO)
    assert_read(wfdb_files(tmp_path, line, TWO, "212", packed=PACKED), TWO)


def test_wfdb_record_line_with_the_name_of_the_signal_file(tmp_path):
    """The headers of the PhysioNet Challenge 2021, and a MATLAB file of version 4."""
    content = MAT_4 + np.stack([COUNTS[lead] for lead in LEADS], axis=1).astype("<i2").tobytes()
    line = "x.mat 12 500 500 05-May-2020 09:49:17"
    path = wfdb_files(tmp_path, line, fmt="16+24", signal="x.mat", packed=content)
    assert_read(path)
    assert_read(path.with_suffix(".mat"))


def test_wfdb_signal_file_saved_again_by_matlab_is_refused(tmp_path):
    content = io.BytesIO()
    savemat(content, {"val": np.stack([COUNTS[lead] for lead in LEADS]).astype("<i2")})
    path = wfdb_files(tmp_path, "x 12 500 500", fmt="16+24", signal="x.mat", packed=content.getvalue())
    for name in (path, path.with_suffix(".mat")):
        assert "x.mat was saved again by MATLAB, whose version 5 does not fit the old header" in refusal(name)


@pytest.mark.parametrize(("fmt", "packed"), [("212", PACKED), ("16+0", b""), ("16", b"")])
def test_wfdb_signal_file_of_another_length_is_refused(tmp_path, fmt, packed):
    packed = packed or np.stack([COUNTS[lead] for lead in TWO], axis=1).tobytes()
    path = wfdb_files(tmp_path, "x 2 500 500", TWO, fmt, packed=packed + bytes(6))
    assert "one of the two belongs to another record; copy both again" in refusal(path)
    wfdb_files(tmp_path, "x 2 500 500", TWO, fmt, packed=packed[:-2])
    assert "so it is cut off; copy it again" in refusal(path)
    assert_read(wfdb_files(tmp_path, "x 2 500 500", TWO, fmt, packed=packed), TWO)


def segments(tmp_path: Path, *parts: str, frames: int = 125, layout: str = "") -> Path:
    """A record in segments of 125 frames of I and II, 4 samples a frame, and one pressure; "~" is a gap.

    "II" is a segment without lead I, and "ABP" one without any lead.
    """
    lines, start = [layout] if layout else [], 0
    for index, part in enumerate(parts):
        name = "~" if part == "~" else f"s{index}"
        lines.append(f"{name} {frames}")
        leads = {"I and II": ("I", "II"), "II": ("II",)}.get(part, ())
        piece = {lead: COUNTS[lead][start : start + 4 * frames] for lead in leads}
        start += 4 * frames
        if part == "~":
            continue
        columns = [signal.reshape(-1, 4) for signal in piece.values()]
        rows = np.concatenate([*columns, np.full((frames, 1), 80)], axis=1)
        saved(tmp_path, f"{name}.dat", rows.astype("<i2").tobytes())
        header = [f"{name} {len(leads) + 1} 125 {frames}"]
        header += [
            f"{name}.dat 16x4 200(0)/mV 16 0 {signal[0]} {signed_sum(signal)} 0 {lead}"
            for lead, signal in piece.items()
        ]
        header.append(f"{name}.dat 16 1(0)/mmHg 16 0 80 {80 * frames} 0 ABP")
        saved(tmp_path, f"{name}.hea", "\n".join([*header, ""]))
    n_frames = frames * len(parts)
    return saved(tmp_path, "x.hea", "\n".join([f"x/{len(lines)} 3 125 {n_frames}", *lines, ""]))


def test_wfdb_segments_with_several_samples_a_frame(tmp_path):
    path = segments(tmp_path, "I and II", "I and II", frames=60)
    recording = read_ecg(path)
    assert recording.sampling_rate_hz == 500 and recording.leads == ("I", "II")
    for lead in recording.leads:
        np.testing.assert_allclose(recording.lead(lead), MV[lead][:480], atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*had gaps:lamae_toolkit.errors.LeadWarning")
@pytest.mark.parametrize("gap", ["~", "ABP"])
def test_wfdb_segment_without_ecg_is_a_gap(tmp_path, gap):
    path = segments(tmp_path, "I and II", "I and II", gap, "I and II", "II", "I and II", frames=20)
    with pytest.warns(LeadWarning, match="Lead I was left out: 33.3 % of it is missing"):
        recording = read_ecg(path)
    assert recording.sampling_rate_hz == 500 and recording.leads == ("II",)
    assert "Lead II had gaps, 16.7 % of it, which were interpolated linearly." in recording.notes
    expected = MV["II"][:480].copy()
    expected[160:240] = np.interp(np.arange(160, 240), [159, 240], expected[[159, 240]])
    np.testing.assert_allclose(recording.lead("II"), expected, atol=1e-6)
    assert "None of its 2 segments holds one of the leads" in refusal(segments(tmp_path, "ABP", "ABP", frames=20))


def test_wfdb_header_that_lacks_a_segment_is_refused(tmp_path):
    path = segments(tmp_path, "II", "II", frames=20)
    text = path.read_text()
    for cut in (text.replace("s1 20\n", ""), text.replace("s1 20\n", "s1 19\n")):
        path.write_text(cut)
        assert "Its record line declares 2 segments and 40 samples, but its segment lines are" in refusal(path)


def test_wfdb_variable_layout(tmp_path):
    """The first segment has no samples: it says which signals may occur."""
    path = segments(tmp_path, "II", "I and II", frames=60, layout="layout 0")
    saved(tmp_path, "layout.hea", "layout 3 125 0\n~ 0x4 200/mV 16 0 0 0 0 I\n~ 0x4 200/mV 16 0 0 0 0 II\n")
    with pytest.warns(LeadWarning, match="Lead I was left out: 50 % of it is missing"):
        recording = read_ecg(path)
    np.testing.assert_allclose(recording.lead("II"), MV["II"][:480], atol=1e-6)


# ---- Tables


def rows(leads: tuple[str, ...] = LEADS, delimiter: str = ",", decimal: str = ".", times: bool = False) -> str:
    """The samples of these leads in mV, a row each."""
    columns = [MV[lead] for lead in leads]
    lines = []
    for index, values in enumerate(zip(*columns, strict=True)):
        cells = [f"{index / 500:.3f}"] * times + [f"{value:.3f}" for value in values]
        lines.append(delimiter.join(cell.replace(".", decimal) for cell in cells))
    return "\n".join([*lines, ""])


def header(leads: tuple[str, ...] = LEADS, delimiter: str = ",") -> str:
    return delimiter.join(f"{lead}_mV" for lead in leads) + "\n"


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_decimal_commas_after_an_integer(tmp_path, delimiter):
    body = rows(TWO, delimiter, ",")
    first, _, rest = body.partition("\n")
    integers = delimiter.join(["0", "0"])
    assert float(first.split(delimiter)[0].replace(",", ".")) == 0 == MV["V5"][0]
    assert_read(saved(tmp_path, "x", header(TWO, delimiter) + integers + "\n" + rest), TWO, sampling_rate_hz=500)


def test_csv_decimal_comma_is_that_of_the_leads(tmp_path):
    lines = [f"01.01.2000 10:00:00;{line}" for line in rows(TWO, ";", ",").splitlines()]
    path = saved(tmp_path, "x.csv", "\n".join(["date;II_mV;V5_mV", *lines]))
    assert_read(path, TWO, sampling_rate_hz=500)
    assert "use one decimal sign" in refusal(saved(tmp_path, "x.csv", "I_mV;II_mV\n0,1;0.2\n"), sampling_rate_hz=500)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["x.txt", "x"])
def test_csv_in_utf16(tmp_path, encoding, name):
    """Excel's "Unicode text"."""
    mark = "" if encoding == "utf-16" else "\ufeff"
    text = mark + header(delimiter="\t") + rows(delimiter="\t")
    path = saved(tmp_path, name, text.encode(encoding))
    assert_read(path, sampling_rate_hz=500)
    assert find_ecgs(tmp_path) == [path]


@pytest.mark.parametrize("quote", ["'", '"', ""])
@pytest.mark.parametrize("units", ["seconds", "hh:mm:ss.mmm"])
def test_csv_with_a_row_of_units(tmp_path, quote, units):
    """The samples.csv of PhysioBank ATM, whose names and units are in single quotes."""
    names, below = ["Elapsed time", "ii", "v5"], [units, "mV", "mV"]
    text = "\n".join(",".join(f"{quote}{cell}{quote}" for cell in cells) for cells in (names, below))
    lines = rows(TWO, times=True).splitlines()
    if units != "seconds":
        lines = [f"{quote}0:0{line[:5]}{quote}{line[5:]}" for line in lines]
    path = saved(tmp_path, "samples.csv", "\n".join([text, *lines, ""]))
    assert_read(path, TWO)
    assert find_ecgs(tmp_path) == [path]


@pytest.mark.parametrize("comment", ["# device: example\n# rate: 500 Hz\n", "#" + "x" * 3000 + "\n", "\n# a\n\n"])
def test_csv_comments_before_the_names(tmp_path, comment):
    path = saved(tmp_path, "x", comment + header(TWO) + rows(TWO) + "# end\n")
    assert_read(path, TWO, sampling_rate_hz=500)
    assert find_ecgs(tmp_path) == [path]


def test_csv_written_by_numpy_savetxt(tmp_path):
    """Its row of names is a comment."""
    content = io.StringIO()
    np.savetxt(content, np.stack([MV[lead] for lead in TWO], axis=1), delimiter=",", header="II,V5")
    path = saved(tmp_path, "x", content.getvalue())
    assert_read(path, TWO, sampling_rate_hz=500, unit="mV")
    assert find_ecgs(tmp_path) == [path]


def test_csv_quoted_values_with_decimal_commas(tmp_path):
    lines = [",".join(f'"{cell}"' for cell in line.split(";")) for line in rows(TWO, ";", ",").splitlines()]
    assert_read(saved(tmp_path, "x.csv", "\n".join([header(TWO) + lines[0], *lines[1:]])), TWO, sampling_rate_hz=500)


def test_refusal_of_a_foreign_table_repeats_none_of_it(tmp_path):
    path = saved(tmp_path, "x.csv", "Name,Erika Musterfrau\nBorn,1980\n1,2\n")
    for arguments in ({}, {"sampling_rate_hz": 500, "unit": "mV"}):
        message = refusal(path, **arguments)
        assert not any(word in message for word in ("Erika", "Musterfrau", "Born", "1980"))


# ---- Apple Watch


GERMAN = (
    "Name,Geburtsdatum,Aufzeichnungsdatum,Klassifizierung,Symptome,Softwareversion,Gerät,Messrate,Ableitung,Einheit"
)
JAPANESE = "名前,生年月日,記録日,分類,症状,ソフトウェアバージョン,デバイス,サンプルレート,リード,単位"


@pytest.mark.parametrize(
    ("headings", "rate", "rate_hz", "decimal", "lead"),
    [
        (write.WATCH_HEADINGS, "512 hertz", 512, ".", "Lead I"),
        (write.WATCH_HEADINGS, '"513,5 Hz"', 513.5, ".", "Lead I"),
        (GERMAN, '"511,562\xa0Hertz"', 511.562, ",", "Ableitung I"),
        (JAPANESE, "512ヘルツ", 512, ".", "第I誘導"),
    ],
)
def test_apple_watch_in_any_language(tmp_path, headings, rate, rate_hz, decimal, lead):
    path = saved(tmp_path, "ecg_2021-01-01.csv", write.watch(COUNTS["I"], rate, decimal, headings, lead))
    recording = read_ecg(path)
    assert recording.leads == ("I",) and recording.sampling_rate_hz == rate_hz
    np.testing.assert_allclose(recording.lead("I"), MV["I"], atol=1e-6)
    assert find_ecgs(tmp_path) == [path]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Lead I\n", "Lead II\n", "do not name lead I"),
        ("0.000\n0.000\n", "0.000\nErika\n0.000\n", "Row 15 is not one number"),
        ("0.000\n0.000\n", "0.000\n0,000\n", "commas as well as points"),
    ],
)
def test_damaged_apple_watch_file_is_refused_without_the_name(tmp_path, old, new, message):
    text = write.watch(COUNTS["I"])
    assert old in text
    told = refusal(saved(tmp_path, "x.csv", text.replace(old, new, 1)))
    assert message in told and "Erika" not in told
    assert "for 2 columns" not in refusal(saved(tmp_path, "x.csv", text.replace("512 hertz", "")))


# ---- XML in another encoding than it declares


@pytest.mark.parametrize(
    ("declared", "written"),
    [("UTF-8", "latin-1"), ("utf-16", "utf-8"), ("utf-16", "latin-1"), ("UTF-8", "utf-16"), ("ISO-8859-1", "utf-16")],
)
@pytest.mark.parametrize("kind", ["muse", "sierra", "aecg"])
def test_xml_is_read_in_the_encoding_that_it_is_in(tmp_path, kind, declared, written):
    eight = {lead: COUNTS[lead] for lead in write.EIGHT}
    content = {
        "muse": write.muse_xml(eight, per_bit="5").decode("latin-1"),
        "sierra": write.sierra_xml(COUNTS, encoding="utf-8").decode(),
        "aecg": write.aecg_xml(COUNTS).decode(),
    }[kind]
    text = re.sub('encoding="[^"]*"', f'encoding="{declared}"', content, count=1)
    end = text.rindex("</")
    text = text[:end] + "<!-- Müller -->" + text[end:]
    path = saved(tmp_path, "x.xml", text.encode(written))
    assert_read(path, atol=3e-3)  # half a count of the computed leads
    assert find_ecgs(tmp_path) == [path]


# ---- Philips Sierra 1.03


@pytest.mark.parametrize("lead_set", ["STD-12", "10-WIRE"])
def test_sierra_of_version_1_03_names_a_set_of_leads(tmp_path, lead_set):
    device = (
        "<dataacquisition><signalcharacteristics><samplingrate>500</samplingrate><signalresolution>5</signalresolution>"
        "<bitspersample>16</bitspersample><signaloffset>0</signaloffset><signalsigned>True</signalsigned>"
        f"<leadset>{lead_set}</leadset></signalcharacteristics></dataacquisition>"
    )
    head, rest = write.sierra_xml(COUNTS, encoding="utf-8").decode().split("<parsedwaveforms ")
    samples = rest[rest.index(">") :]
    waveform = 'compressflag="True" compressmethod="XLI" dataencoding="Base64" durationperchannel="1000"'
    old = f"{head.replace('1.04', '1.03').replace('<waveforms>', device + '<waveforms>')}<parsedwaveforms {waveform}"
    assert_read(saved(tmp_path, "x.xml", old + samples))
    unknown = old.replace(lead_set, "CABRERA")
    assert "Unknown lead names (none given)" in refusal(saved(tmp_path, "x.xml", unknown + samples))


# ---- DICOM


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("lacks", ["preamble", "header"])
def test_dicom_without_its_preamble_or_header(tmp_path, syntax, lacks):
    content = write.dicom(write.dicom_group(COUNTS), syntax=syntax)
    start = content.index(b"\x08\0\x16\0") if lacks == "header" else 132
    assert content[132:140] == b"\x02\0\0\0UL\x04\0"
    path = saved(tmp_path, "x.dcm", content[start:])
    assert_read(path)
    assert find_ecgs(tmp_path) == [path]


def test_big_endian_dicom_is_refused_with_the_reason(tmp_path):
    content = write.dicom(write.dicom_group(COUNTS)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0")
    message = refusal(saved(tmp_path, "x.dcm", content))
    assert message.endswith("bytes in the big-endian order, which is retired; export it as Explicit VR Little Endian.")


# ---- MATLAB without a WFDB header


SIGNAL = np.stack([MV[lead] for lead in LEADS])
GIVEN = {"unit": "mV", "sampling_rate_hz": 500, "leads": LEADS}


@pytest.mark.parametrize(
    "variables",
    [
        {"ECG": {"sex": "Male", "age": 60.0, "data": SIGNAL}},  # CPSC 2018
        {"val": SIGNAL.T, "fs": 500.0, "beats": np.arange(30.0)},
        {"val": SIGNAL.astype(np.float32)},
    ],
)
@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
def test_matlab_file_without_header(tmp_path, variables, options):
    if "ECG" in variables and "format" in options:
        variables = {"data": SIGNAL}  # version 4 has no structures
    path = tmp_path / "x.mat"
    savemat(path, variables, **options)
    assert_read(path, **GIVEN)
    assert find_ecgs(tmp_path) == [path]
    assert "MATLAB file without its WFDB header x.hea; put that next to it or, if there is none, pass" in refusal(path)
    assert "unit of lead I is not given" in refusal(path, leads=LEADS, sampling_rate_hz=500)
    assert "sampling rate is not given" in refusal(path, leads=LEADS, unit="mV")


def test_matlab_file_of_several_or_no_fitting_matrices_is_refused(tmp_path):
    savemat(tmp_path / "x.mat", {"a": SIGNAL, "b": SIGNAL[:, :100], "name": "Erika"})
    message = refusal(tmp_path / "x.mat", **GIVEN)
    assert "Of its matrices, a (12, 500), b (12, 100), 2 have 12 rows or columns" in message and "Erika" not in message
    assert "0 have 2 rows or columns" in refusal(tmp_path / "x.mat", **GIVEN | {"leads": TWO})


@pytest.mark.parametrize("where", ["pressure", "ECG.data"])
def test_matlab_matrices_are_found_in_structures_and_by_shape(tmp_path, where):
    data = SIGNAL.astype(np.int16) if where == "ECG.data" else SIGNAL[:, :100]
    variables = {"ECG": {"data": data, "name": "Erika", "empty": [], "cells": np.array([SIGNAL, "x"], dtype=object)}}
    variables |= {"pressure": SIGNAL if where == "pressure" else SIGNAL[:3], "phase": SIGNAL[:5] * 1j, "flag": True}
    variables |= {"three": np.ones((3, 12, 500)), "letters": np.array(["abc", "def"])}
    savemat(tmp_path / "x.mat", variables)
    message = refusal(tmp_path / "x.mat", **GIVEN | {"leads": [*LEADS, "x"]})
    assert f"Of its matrices, ECG.data {data.shape}, pressure {variables['pressure'].shape}, 0 have 13" in message


def test_matlab_big_endian_and_one_lead(tmp_path):
    """Older computers wrote the highest byte first; one lead is stored as a row or as a column."""
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI"
    samples = np.round(MV["II"] * 200).astype(">i2")
    parts = [(6, np.array([6, 0], ">u4")), (5, np.array([500, 1], ">i4")), (1, b"val"), (3, samples)]
    content = b"".join(
        np.array([kind, len(bytes(part))], ">u4").tobytes() + bytes(part) + bytes(-len(bytes(part)) % 8)
        for kind, part in parts
    )
    (tmp_path / "x.mat").write_bytes(head + np.array([14, len(content)], ">u4").tobytes() + content)
    recording = read_ecg(tmp_path / "x.mat", leads=["II"], unit="uV", sampling_rate_hz=500)
    np.testing.assert_allclose(recording.signal_mv[0], samples / 1000, atol=1e-6)


def test_damaged_matlab_file_is_refused(tmp_path):
    """scipy crashed together with Python on a type that no number has."""
    savemat(tmp_path / "x.mat", {"val": SIGNAL})
    content = (tmp_path / "x.mat").read_bytes()
    at = content.index(b"val") + 4  # the tag of the numbers follows the name
    assert content[at : at + 4] == b"\x09\0\0\0"
    for kind in (0, 8, 10, 11, 14, 15, 16, 19, 20, 200):
        (tmp_path / "x.mat").write_bytes(content[:at] + bytes([kind]) + content[at + 1 :])
        assert "damaged, as its parts do not fit into each other" in refusal(tmp_path / "x.mat", **GIVEN)
    for damaged in (content[:-100], content[:200], content[:at] + b"\0" + content[at:]):
        (tmp_path / "x.mat").write_bytes(damaged)
        assert "damaged, as its parts do not fit" in refusal(tmp_path / "x.mat", **GIVEN)
    savemat(tmp_path / "x.mat", {"val": SIGNAL}, format="4")
    content = (tmp_path / "x.mat").read_bytes()
    for damaged in (content[:-100], content + content[:19], content + b"\xff" * 30):
        (tmp_path / "x.mat").write_bytes(damaged)
        assert "damaged, as its parts do not fit" in refusal(tmp_path / "x.mat", **GIVEN)


def test_matlab_file_that_unpacks_to_far_more_is_refused(tmp_path):
    savemat(tmp_path / "x.mat", {"val": np.zeros((12, 600_000))}, do_compression=True)
    assert (tmp_path / "x.mat").stat().st_size < 100_000
    assert "unpacks to more than 10 MB" in refusal(tmp_path / "x.mat", **GIVEN)


# ---- What is not read is named, with the way out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n\0\0", "This is HDF5, .*; for CODE-15 run lamae prepare code15, otherwise save .* as .npz"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "version 7.3; save it again with save"),
        (
            b"%PDF-1.4 \n",
            "a PDF, which shows an ECG on paper without its samples; export the ECG from the device as DI",
        ),
        (b"\x89PNG\r\n\x1a\n", "This is a picture, .* without its samples; export"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "This is a picture"),
        (b"ALIVE\0\0\0\x03\0\0\0", r"AliveCor Kardia \(\.atc\), which is not read; convert it to EDF or CSV first"),
        (b'<?xml version="1.0"?>\n<CardiologyXML><a/></CardiologyXML>', "GE CardioSoft, .*; export the ECG as DICOM"),
        (b'<examdescript xmlns="http://www.schiller.ch">', "Schiller, which is not read; export the ECG as DICOM, SCP"),
        (b"PK\x03\x04" + bytes(26) + b"ecg.csv", "an archive of several files; unpack it"),
    ],
)
@pytest.mark.parametrize("name", ["x", "x.csv", "x.mat", "x.dat"])
def test_format_that_is_not_read_is_named_with_the_way_out(tmp_path, content, message, name):
    path = saved(tmp_path, name, content)
    assert re.search(message, refusal(path))
    with pytest.raises(ECGError, match="The folder holds no ECG"):
        find_ecgs(tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            IndexError("x"),
            "The reader of CSV failed .IndexError in line .* of test_cases_formats.py.*fault of lamae_tool",
        ),
        (ValueError("x"), "The file is damaged or is not CSV .ValueError.; copy or export it again"),
    ],
)
def test_fault_of_the_reader_is_not_blamed_on_the_file(tmp_path, monkeypatch, fault, message):
    def reader(*_arguments):
        raise fault

    monkeypatch.setattr(
        delimited, "read", FunctionType(reader.__code__, vars(delimited), "read", None, reader.__closure__)
    )
    assert re.search(message, refusal(saved(tmp_path, "x.csv", header(TWO) + rows(TWO))))


# ---- SCP-ECG, ISHNE and MFER, written by their standards, as no real file was at hand


EIGHT_COUNTS = {lead: COUNTS[lead] for lead in write.EIGHT}


@pytest.mark.parametrize("encoding", ["plain", "differences", "huffman"])
def test_scp_ecg(tmp_path, encoding):
    path = saved(tmp_path, "x", write.scp(EIGHT_COUNTS, encoding))
    recording = assert_read(path, atol=3e-3)  # half a count of the computed leads
    for lead in write.EIGHT:
        np.testing.assert_allclose(recording.lead(lead), MV[lead], atol=1e-6)
    assert find_ecgs(tmp_path) == [path]
    assert not any(isinstance(note, WarningNote) for note in recording.notes)


def test_scp_lead_that_starts_later_has_a_gap_before(tmp_path):
    counts = {"II": COUNTS["II"], "V5": COUNTS["V5"][50:]}
    with pytest.warns(LeadWarning, match="Lead V5 had gaps, 10 % of it"):
        recording = read_ecg(saved(tmp_path, "x.scp", write.scp(counts, starts={"V5": 50})))
    np.testing.assert_allclose(recording.lead("V5")[50:], MV["V5"][50:], atol=1e-6)
    apart = write.scp({"II": COUNTS["II"], "V5": COUNTS["V5"]}, starts={"V5": 600})
    assert "recorded one after the other" in refusal(saved(tmp_path, "x.scp", apart))


def test_damaged_scp_is_refused_or_warned_of(tmp_path):
    content = write.scp(EIGHT_COUNTS, "plain")
    assert "The file is damaged (" in refusal(saved(tmp_path, "x.scp", content[:-100]))
    changed = content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]
    with pytest.warns(LeadWarning, match="not as its standard says: SCP-ECG CRC mismatch in: record, Section 6"):
        read_ecg(saved(tmp_path, "x.scp", changed))


def test_ishne_with_faults_of_leads(tmp_path):
    path = saved(tmp_path, "x.ecg", write.ishne(COUNTS))
    assert_read(path)
    assert find_ecgs(tmp_path) == [path]
    faulty = {"II": COUNTS["II"].copy(), "V5": COUNTS["V5"]}
    faulty["II"][100:110] = -32768
    with pytest.warns(LeadWarning, match="Lead II had gaps, 2 % of it"):
        recording = read_ecg(saved(tmp_path, "x.ecg", write.ishne(faulty)))
    np.testing.assert_allclose(recording.lead("II")[110:], MV["II"][110:], atol=1e-6)


def test_ishne_of_another_length(tmp_path):
    content = write.ishne(COUNTS)
    assert_read(saved(tmp_path, "x.ecg", write.ishne(COUNTS, n_declared=500 * 12)))
    assert "ends within a time step, 20 bytes after" in refusal(saved(tmp_path, "x.ecg", content[:-4]))
    with pytest.warns(LeadWarning, match="declares 500 samples but holds 499 in each lead"):
        read_ecg(saved(tmp_path, "x.ecg", content[:-24]))


@pytest.mark.parametrize(("name", "preamble"), [("x", True), ("x.mwf", False)])
def test_mfer(tmp_path, name, preamble):
    path = saved(tmp_path, name, write.mfer(COUNTS, preamble))
    assert_read(path)
    assert find_ecgs(tmp_path) == [path]
    silent = saved(tmp_path, name, write.mfer(COUNTS, preamble, rate=False))
    assert "sampling rate is not given" in refusal(silent)
    with pytest.warns(LeadWarning, match="no sampling interval"):
        assert_read(silent, sampling_rate_hz=500)


def test_mfer_missing_samples_are_a_gap(tmp_path):
    counts = {"II": COUNTS["II"].copy(), "V5": COUNTS["V5"]}
    counts["II"][100:110] = -32768
    with pytest.warns(LeadWarning, match="Lead II had gaps, 2 % of it"):
        read_ecg(saved(tmp_path, "x.mwf", write.mfer(counts)))


@pytest.mark.parametrize(
    ("name", "kind"), [("x.edf", "EDF"), ("x.dcm", "DICOM"), ("x.scp", "SCP-ECG"), ("x.ecg", "ISHNE")]
)
def test_content_that_is_not_what_the_name_says(tmp_path, name, kind):
    message = refusal(saved(tmp_path, name, b"nothing of the kind"))
    assert message == f"{name}: Its content is not {kind}, as its name says; copy or export it again."
