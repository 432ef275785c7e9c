"""Files that would take minutes or gigabytes: each is refused with its reason, in little time and memory."""

import io
import re
from pathlib import Path

import numpy as np
import pytest

import written_ecgs as write
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.widgets.app.folder import ECGFolder
from limits import limited


def refused(path: Path, message: str, **arguments) -> None:
    """With one sentence, soon, and in little memory."""
    with limited(path), pytest.raises(ECGError, match=message) as caught:
        read_ecg(path, **arguments)
    assert re.fullmatch(r"[^\n]{20,400}\.", str(caught.value)), caught.value


def sparse(path: Path, head: bytes, size: int) -> Path:
    """A file of this size whose end is a hole, which takes no room on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def test_sparse_npy(tmp_path):
    head = io.BytesIO()
    description = {"descr": "<f8", "fortran_order": False, "shape": (12, 40_000_000)}
    np.lib.format.write_array_header_1_0(head, description)
    path = sparse(tmp_path / "x.npy", head.getvalue(), len(head.getvalue()) + 12 * 40_000_000 * 8)
    by_name = {"sampling_rate_hz": 500, "unit": "mV", "leads": LEADS}
    refused(path, "It has 480 million samples, and at most 300 million are read at once; read a stretch", **by_name)
    refused(path, "No lead can be used, as all are flat", duration_s=10, **by_name)  # which a stretch does


def test_sparse_text(tmp_path):
    refused(sparse(tmp_path / "x.csv", b"time_s,II_mV\n0,1\n", 3_000_000_000), "It holds zero bytes")
    header = b"x 1 500 5000\nx.dat 16 200/mV 16 0 0 0 0 II\n"
    path = sparse(tmp_path / "x.hea", header, 3_000_000_000)
    refused(path, "The header x.hea has 3e.03 MB, and no WFDB header has more than 1; copy it again")
    sparse(tmp_path / "x.edf", write.edf(write.ecg_counts()), 3_000_000_000)
    (tmp_path / "x.hea").unlink()
    refused(tmp_path / "x.edf", "The file has 3000000000 bytes, but its header declares")


def test_row_without_end(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"II_mV,V1_mV\n" + b"1," * 10_000_000)
    refused(path, "One of its rows is longer than half a million characters", sampling_rate_hz=500)


def test_table_of_an_apple_watch_that_lasts_for_hours(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(write.watch(np.tile(write.ecg_counts(("II",))["II"], 1000)), encoding="utf-8")
    refused(path, "The file has 4 MB, but Apple Watch CSV is read up to 2 MB; export one ECG")


def test_header_of_a_million_segments(tmp_path):
    (tmp_path / "x.hea").write_text("x/1000000 1 500 1000000\n" + "a 1\n" * 1_000_000)
    refused(tmp_path / "x.hea", "The header x.hea has 4 MB, and no WFDB header has more than 1")
    (tmp_path / "x.hea").write_text("x/20000 1 500 20000\n" + "".join(f"s{i} 1\n" for i in range(20_000)))
    refused(tmp_path / "x.hea", "It has 20000 segments, and at most 10000 are joined; read single segments")
    (tmp_path / "x.hea").write_text("x/2 1 500 2000\nb 1000\nb 1000\n")
    refused(tmp_path / "x.hea", "lists a segment twice")


def test_chain_of_headers(tmp_path):
    """Each header names the next as its only segment."""
    for i in range(1500):
        (tmp_path / f"c{i}.hea").write_text(f"c{i}/1 1 500 1000\nc{i + 1} 1000\n")
    refused(tmp_path / "c0.hea", "does not describe its signals")
    assert len(ECGFolder(tmp_path)) <= 1500  # which follows the chain to see whether it leaves the folder


@pytest.mark.parametrize(("shape", "message"), [((2, 25_000_000), "unpacks to 50 MB"), ((2, 4_000_000), "No lead can")])
def test_archive_of_zeros(tmp_path, shape, message):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, signal=np.zeros(shape, np.int8), leads=["I", "II"], sampling_rate_hz=500, unit="mV")
    assert path.stat().st_size < 100_000
    refused(path, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<a " + b" ".join(b'a%d=""' % i for i in range(400_000)) + b"/>", "has more than 300000 attributes"),
        (b"<a/>" * 60_000, "has more than 50000 elements"),
        (b"x" * 20_000_000, "no rhythm waveform"),
    ],
    ids=["attributes", "elements", "text"],
)
def test_huge_xml(tmp_path, content, message):
    (tmp_path / "x.xml").write_bytes(b"<RestingECG>" + content + b"</RestingECG>")
    refused(tmp_path / "x.xml", message)


def test_samples_of_aecg_beyond_any_ecg(tmp_path):
    digits = b"<digits>" + b"123 " * 2_400_000
    content = write.aecg_xml({"II": np.arange(3, dtype=np.int16)}).replace(b"<digits>", digits)
    (tmp_path / "x.xml").write_bytes(content)
    with limited(tmp_path / "x.xml"):
        assert read_ecg(tmp_path / "x.xml").signal_mv.shape == (1, 2_400_003)
    (tmp_path / "y.xml").write_bytes(content.replace(b"123 " * 9, b"99999999999999999999999 ", 1))
    refused(tmp_path / "y.xml", "Lead II reaches .* mV, which no ECG does")


def test_sierra_that_expands(tmp_path):
    content = write.sierra_xml(write.ecg_counts(), encoding="utf-8")
    longer = re.sub(rb'durationperchannel="\d+"', b'durationperchannel="900000"', content)
    assert longer != content
    (tmp_path / "x.xml").write_bytes(longer)
    refused(tmp_path / "x.xml", "declares 450000 samples a lead, which no resting ECG has")


@pytest.mark.parametrize("name", ["NumberOfWaveformSamples", "NumberOfWaveformChannels", "WaveformBitsAllocated"])
def test_dicom_with_two_values_for_one(tmp_path, name):
    """Found by fuzzing: pydicom gives a list, which is no number."""
    group = write.dicom_group(write.ecg_counts())
    setattr(group, name, [16, 16])
    (tmp_path / "x.dcm").write_bytes(write.dicom(group))
    refused(tmp_path / "x.dcm", "is '.16, 16.', which is not a usable number; export the ECG again")
