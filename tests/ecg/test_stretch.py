"""A stretch of a record is what the complete record holds there, in every format, and stays inside of the record."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb

import written_ecgs as write
from lamae_toolkit.ecg.io import stretch as stretch_module
from lamae_toolkit.ecg.io.formats import delimited
from lamae_toolkit.ecg.io.read import read_ecg, read_start
from lamae_toolkit.errors import ECGError, LeadWarning

COUNTS = write.ecg_counts(n_samples=900)
LEADS = ("II", "V1", "V5")
SOME = {lead: COUNTS[lead] for lead in LEADS}
RATE_HZ = 500
BY_NAME = {"sampling_rate_hz": RATE_HZ, "unit": "mV", "leads": LEADS}


def write_wfdb(folder: Path, code: str, **more) -> Path:
    """A record that wfdb writes in one of its formats, 5 uV a count."""
    signal = np.stack(list(SOME.values()), axis=1).astype(np.int64)
    per_lead = {"fmt": [code] * 3, "adc_gain": [200.0] * 3, "baseline": [0] * 3, "units": ["mV"] * 3}
    wfdb.wrsamp("rec", RATE_HZ, sig_name=list(LEADS), d_signal=signal, write_dir=str(folder), **per_lead, **more)
    return folder / "rec.hea"


def write_segments(folder: Path) -> Path:
    """Three segments, of 400, 100 missing and 400 samples."""
    for name, first in (("a", 0), ("b", 500)):
        part = {lead: signal[first : first + 400] for lead, signal in SOME.items()}
        (folder / f"{name}.hea").write_bytes(write.wfdb_header(part, name))
        (folder / f"{name}.dat").write_bytes(write.wfdb_signals(part))
    (folder / "long.hea").write_text("long/3 3 500 900\na 400\n~ 100\nb 400\n")
    return folder / "long.hea"


def saved(folder: Path, content: bytes) -> Path:
    (folder / "x").write_bytes(content)
    return folder / "x"


def npy(array: np.ndarray):
    def written(folder: Path) -> Path:
        np.save(folder / "x.npy", array)
        return folder / "x.npy"

    return written, BY_NAME


def npz(compress: bool):
    def written(folder: Path) -> Path:
        save = np.savez_compressed if compress else np.savez
        signal = np.stack(list(SOME.values())) * 0.005
        save(folder / "x.npz", leads=LEADS, sampling_rate_hz=RATE_HZ, unit="mV", signal=signal)
        return folder / "x.npz"

    return written, {}


MV = np.stack(list(SOME.values())) * 0.005
WRITTEN = {
    "WFDB": (lambda folder: write_wfdb(folder, "16"), {}),
    **{f"WFDB {code}": (lambda folder, code=code: write_wfdb(folder, code), {}) for code in ("212", "24", "32", "516")},
    "WFDB of segments": (write_segments, {}),
    "CSV": (lambda folder: saved(folder, write.table(SOME)), {}),
    "npy, leads first": npy(MV),
    "npy, samples first": npy(np.ascontiguousarray(MV.T)),
    "npy, columns first": npy(np.asfortranarray(MV)),
    "npy, big-endian": npy(MV.astype(">f4")),
    "npz": npz(False),
    "npz, compressed": npz(True),
    "EDF": (lambda folder: saved(folder, write.edf(SOME)), {}),
    "DICOM": (lambda folder: saved(folder, write.dicom(write.dicom_group(SOME))), {}),
    "MUSE XML": (lambda folder: saved(folder, write.muse_xml(SOME)), {}),
    "Sierra XML": (lambda folder: saved(folder, write.sierra_xml(COUNTS)), {}),
    "aECG XML": (lambda folder: saved(folder, write.aecg_xml(SOME)), {}),
}


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("block_samples", [1_000_000, 70])
@pytest.mark.parametrize(("start_s", "duration_s"), [(0, 0.5), (0.25, 0.33), (1.7, None), (1.79, 0.01)])
@pytest.mark.filterwarnings("ignore::lamae_toolkit.errors.LeadWarning")
def test_stretch_equals_that_part_of_the_complete_record(
    tmp_path, monkeypatch, kind, block_samples, start_s, duration_s
):
    monkeypatch.setattr(stretch_module, "BLOCK_SAMPLES", block_samples)
    written, arguments = WRITTEN[kind]
    path = written(tmp_path)
    complete = read_ecg(path, **arguments)
    part = read_ecg(path, start_s=start_s, duration_s=duration_s, **arguments)
    first, n_samples = round(start_s * RATE_HZ), 900 - round(start_s * RATE_HZ)
    if duration_s is not None:
        n_samples = round(duration_s * RATE_HZ)
    assert part.sampling_rate_hz == RATE_HZ and set(part.leads) <= set(complete.leads) and "II" in part.leads
    assert part.signal_mv.shape[1] == n_samples
    for lead in part.leads:
        np.testing.assert_array_equal(part.lead(lead), complete.lead(lead)[first : first + n_samples])
    if kind != "MUSE XML":  # which has 4.88 uV a count
        expected_mv = COUNTS["II"][first : first + n_samples] * 0.005
        np.testing.assert_allclose(part.lead("II"), expected_mv, atol=1e-6)


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.filterwarnings("ignore::lamae_toolkit.errors.LeadWarning")
def test_stretch_outside_of_the_record_is_refused(tmp_path, kind):
    written, arguments = WRITTEN[kind]
    path = written(tmp_path)
    for start_s, duration_s, text in (
        (0, 5, "from 0 s to 5 s"),
        (1.8, None, "from 1.8 s to the end"),
        (1, 1, "to 2 s"),
    ):
        with pytest.raises(ECGError, match=rf"{text} does not lie inside the record, which lasts 1\.8 s; correct"):
            read_ecg(path, start_s=start_s, duration_s=duration_s, **arguments)
    shorter = read_start(path, 5, **arguments)  # which takes what there is
    np.testing.assert_array_equal(shorter.signal_mv, read_ecg(path, **arguments).signal_mv)
    np.testing.assert_array_equal(
        read_start(path, 0.5, **arguments).signal_mv, read_ecg(path, duration_s=0.5, **arguments).signal_mv
    )


@pytest.mark.parametrize(("start_s", "duration_s"), [(-1, 1), (np.nan, 1), (np.inf, 1), (0, 0), (0, -1), (0, np.nan)])
def test_numbers_that_are_no_stretch_are_refused(tmp_path, start_s, duration_s):
    with pytest.raises(
        ECGError, match=r"^x: A stretch starts at 0 s or later and lasts more than 0 s; correct start_s"
    ):
        read_ecg(saved(tmp_path, write.table(SOME)), start_s=start_s, duration_s=duration_s)


def test_only_the_segments_of_the_stretch_are_needed(tmp_path):
    path = write_segments(tmp_path)
    (tmp_path / "b.hea").unlink()
    np.testing.assert_allclose(read_ecg(path, duration_s=0.8).lead("II"), COUNTS["II"][:400] * 0.005, atol=1e-6)
    with pytest.raises(ECGError, match="header of its segment b is missing"):
        read_ecg(path, start_s=1.0)


def test_gaps_are_judged_within_the_stretch(tmp_path):
    counts = {lead: signal.copy() for lead, signal in SOME.items()}
    counts["V1"][100:300] = -32768
    (tmp_path / "rec.hea").write_bytes(write.wfdb_header(counts))
    (tmp_path / "rec.dat").write_bytes(write.wfdb_signals(counts))
    with pytest.warns(LeadWarning, match="Lead V1 was left out: 50 %"):
        assert read_ecg(tmp_path / "rec.hea", duration_s=0.4).leads == ("II", "V5")
    assert read_ecg(tmp_path / "rec.hea", start_s=0.6).leads == LEADS


@pytest.mark.parametrize("kind", ["WFDB", "WFDB 212", "EDF", "npy, samples first", "npz"])
def test_record_beyond_the_limit_is_read_in_stretches(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(stretch_module, "MAX_SAMPLES", 1500)
    written, arguments = WRITTEN[kind]
    path = written(tmp_path)
    with pytest.raises(ECGError, match=r"million samples, and at most .* are read at once; read a stretch of it"):
        read_ecg(path, **arguments)
    assert read_ecg(path, duration_s=1, **arguments).duration_s == 1


@pytest.mark.parametrize("kind", ["WFDB", "EDF", "npy, leads first", "npy, samples first", "npz", "WFDB 212"])
def test_complete_record_takes_less_than_twice_its_size(tmp_path, monkeypatch, kind):
    """By what NumPy allocates, with blocks that are small next to the record."""
    monkeypatch.setattr(stretch_module, "BLOCK_SAMPLES", 10_000)
    counts = {lead: np.tile(signal, 400)[:300_000] for lead, signal in SOME.items()}
    if kind.startswith("WFDB"):
        write_long = {lead: signal.astype(np.int64) for lead, signal in counts.items()}
        code = "212" if "212" in kind else "16"
        wfdb.wrsamp(
            "rec", RATE_HZ, ["mV"] * 3, list(LEADS), d_signal=np.stack(list(write_long.values()), axis=1),
            fmt=[code] * 3, adc_gain=[200.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path),
        )  # fmt: skip
        path, arguments = tmp_path / "rec.hea", {}
    elif kind == "EDF":
        path, arguments = saved(tmp_path, write.edf(counts)), {}
    else:
        signal = np.stack(list(counts.values())).astype(np.float32) * np.float32(0.005)
        if kind == "npz":
            np.savez(tmp_path / "x.npz", signal=signal, leads=LEADS, sampling_rate_hz=RATE_HZ, unit="mV")
            path, arguments = tmp_path / "x.npz", {}
        else:
            np.save(tmp_path / "x.npy", signal if kind == "npy, leads first" else np.ascontiguousarray(signal.T))
            path, arguments = tmp_path / "x.npy", BY_NAME
    read_ecg(path, duration_s=1, **arguments)  # imports are not counted
    tracemalloc.start()
    recording = read_ecg(path, **arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert recording.signal_mv.shape == (3, 300_000)
    # An array counts from its allocation on, though it takes no memory before the leads are moved there, one by one.
    assert peak < 2.05 * recording.signal_mv.nbytes


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("time_s,", "# made by a test\ntime_s,") + "\n\n",
        lambda text: text.replace(",", ";").replace(".", ","),
        lambda text: "\n".join(
            ",".join(f'"{cell.replace(".", ",")}"' for cell in line.split(",")) for line in text.splitlines()
        ),
    ],
    ids=["plain", "CRLF", "CR", "UTF-16", "comment and empty lines", "decimal commas", "quotes and decimal commas"],
)
def test_table_is_read_block_by_block(tmp_path, monkeypatch, change):
    """With 300 characters at a time, about ten rows, a table of 900 rows has the values that it has at once."""
    changed = change(write.table(SOME).decode())
    path = saved(tmp_path, changed if isinstance(changed, bytes) else changed.encode())
    at_once = read_ecg(path)
    monkeypatch.setattr(delimited, "BLOCK_CHARACTERS", 300)
    by_block = read_ecg(path)
    assert by_block.leads == at_once.leads == LEADS and by_block.sampling_rate_hz == RATE_HZ
    np.testing.assert_array_equal(by_block.signal_mv, at_once.signal_mv)
    np.testing.assert_allclose(by_block.lead("V1"), COUNTS["V1"] * 0.005, atol=1e-6)
    part = read_ecg(path, start_s=0.7, duration_s=0.5)
    np.testing.assert_array_equal(part.signal_mv, at_once.signal_mv[:, 350:600])


def test_damaged_row_of_a_later_block_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_CHARACTERS", 300)
    monkeypatch.setattr(delimited, "MAX_ROW_CHARACTERS", 200)
    lines = write.table(SOME).decode().splitlines()
    for damage, message in (("1.2,0", "Row 602 has 2 values for 4 columns"), ("1.2,0,x,0", "Not every value below")):
        damaged = "\n".join([*lines[:601], damage, *lines[602:]])
        with pytest.raises(ECGError, match=message):
            read_ecg(saved(tmp_path, damaged.encode()))
    with pytest.raises(ECGError, match="longer than half a million characters"):
        read_ecg(saved(tmp_path, "\n".join([*lines[:9], "1" * 1000]).encode()))
