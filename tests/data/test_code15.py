"""CODE-15: a small copy of its layout, made by the test, through the source and the command."""

import h5py
import numpy as np
import pandas as pd
import pytest

from lamae_toolkit.cli.main import main
from lamae_toolkit.data.datasets.code15 import code15_source, read_exam
from lamae_toolkit.data.format import patient_fold
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.simulate.simulator import sample_patient, simulate_ecg

LENGTHS = {101: 4096, 102: 2934, 103: 4000, 104: 4096, 105: 4096}
"""Samples at 400 Hz of each exam; 104 is in the second part, 105 has no signal."""
PATIENTS = {101: 7, 102: 7, 103: 8, 104: 9, 105: 9, 106: 10, 107: 11}
PARTS = {"exams_part0.hdf5": (103, 101, 102, 105), "exams_part1.hdf5": (104, 999)}


@pytest.fixture(scope="module")
def signals_mv() -> dict[int, np.ndarray]:
    """The twelve leads of each exam, (samples, leads) at 400 Hz."""
    signals = {}
    for exam, length in LENGTHS.items():
        random = np.random.default_rng(exam)
        ecg = simulate_ecg(sample_patient(exam, random), random).recording
        times = np.arange(length) / 400
        measured = np.arange(ecg.signal_mv.shape[1]) / ecg.sampling_rate_hz
        leads = [np.interp(times, measured, ecg.lead(lead)) for lead in LEADS]
        signals[exam] = np.stack(leads, axis=1).astype(np.float32) * (exam != 105)
    return signals


@pytest.fixture
def root(tmp_path, signals_mv):
    """Two parts with a filler row of the number 0, and exams.csv with an exam of a third part."""
    folder = tmp_path / "code-15"
    folder.mkdir()
    for name, exams in PARTS.items():
        tracings = np.zeros((len(exams) + 1, 4096, 12), np.float32)
        for row, exam in enumerate(exams):
            signal = signals_mv.get(exam, np.ones((4096, 12), np.float32))
            start = (4096 - len(signal)) // 2
            tracings[row, start : start + len(signal)] = signal
        with h5py.File(folder / name, "w") as file:
            file["exam_id"], file["tracings"] = np.array([*exams, 0]), tracings
    part_of = {exam: name for name, exams in PARTS.items() for exam in exams} | {106: "exams_part0.hdf5"}
    pd.DataFrame(
        {
            "exam_id": list(PATIENTS),
            "age": [50 + exam % 10 for exam in PATIENTS],
            "is_male": [exam % 2 == 0 for exam in PATIENTS],
            "nn_predicted_age": 50.5,
            **{name: [exam == 101 for exam in PATIENTS] for name in ("1dAVb", "AF")},
            **{name: [exam == 102 for exam in PATIENTS] for name in ("RBBB", "ST")},
            **{name: [False] * len(PATIENTS) for name in ("LBBB", "SB")},
            "patient_id": list(PATIENTS.values()),
            "death": "",
            "timey": "",
            "normal_ecg": False,
            "trace_file": [part_of.get(exam, "exams_part17.hdf5") for exam in PATIENTS],
        }
    ).to_csv(folder / "exams.csv", index=False)
    return folder


def test_source_lists_exams_labels_and_patients(root):
    source = code15_source(root)
    ecgs = source.ecgs.set_index("study_id")
    assert list(ecgs.index) == [103, 101, 102, 105, 104]  # in the order of the files
    assert ecgs.codes[101] == ("I44.0", "I48.91") and ecgs.statements[101] == ["1dAVb", "AF"]
    assert ecgs.codes[102] == ("I45.10", "R00.0") and ecgs.codes[103] == ()
    assert list(ecgs.patient_id) == [PATIENTS[exam] for exam in ecgs.index]
    assert list(ecgs.fold) == [patient_fold(PATIENTS[exam]) for exam in ecgs.index]
    assert list(ecgs.sex) == ["F", "F", "M", "F", "M"] and ecgs.age_years[102] == 52
    refused = source.refused.set_index("study_id").reason
    assert dict(refused) == {106: "signal missing", 999: "not in the table"}
    assert source.meta["left_out"] == {"exams of parts that are not in the folder": 1}


def test_exam_is_read_without_the_zeros_around_it(root, signals_mv):
    for exam, part in ((101, 0), (102, 0), (103, 0), (104, 1)):
        recording = read_exam(root / f"exams_part{part}.hdf5" / str(exam))
        assert recording.leads == LEADS and recording.sampling_rate_hz == 400
        recorded = np.flatnonzero((signals_mv[exam] != 0).any(axis=1))
        np.testing.assert_array_equal(recording.signal_mv, signals_mv[exam][recorded[0] : recorded[-1] + 1].T)
        start = read_exam(root / f"exams_part{part}.hdf5" / str(exam), 2.0)
        np.testing.assert_array_equal(start.signal_mv, recording.signal_mv[:, :800])
    for exam, message in (("105", "holds only zeros"), ("0", "does not hold the exam 0"), ("x", "not hold the exam x")):
        with pytest.raises(ECGError, match=message):
            read_exam(root / "exams_part0.hdf5" / exam)


@pytest.mark.parametrize(("duration_s", "kept"), [("7", [103, 101, 102, 104]), ("10", [101, 104])])
def test_command_makes_a_store(root, tmp_path, capsys, duration_s, kept):
    if duration_s == "10":  # the simulated exam of 4000 samples may begin with a zero
        kept = [103, *kept] if read_exam(root / "exams_part0.hdf5" / "103").duration_s >= 9.995 else kept
    out = tmp_path / "store"
    code = main(["prepare", "code15", str(root), "--out", str(out), "--workers", "1", "--duration-s", duration_s])
    printed = capsys.readouterr()
    assert code == 1 and "left out: 1 exams of parts that are not in the folder" in printed.err
    assert "CODE-15 does not state its unit" in printed.err
    store = Store.open(out)
    assert store.index.study_id.tolist() == kept
    refused = pd.read_csv(out / "refused.csv").set_index("study_id").reason
    assert refused[105] == "no signal" and refused[106] == "signal missing" and len(refused) + len(kept) == 7


def damage(root, how: str) -> None:
    table = root / "exams.csv"
    if how == "no parts":
        for path in root.glob("*.hdf5"):
            path.unlink()
    elif how == "zipped":
        for path in root.glob("*.hdf5"):
            path.rename(path.with_suffix(".zip"))
    elif how == "other HDF5":
        with h5py.File(root / "exams_part0.hdf5", "w") as file:
            file["signals"] = np.zeros(3)
    elif how == "no HDF5":
        (root / "exams_part0.hdf5").write_bytes(b"not found")
    elif how == "exam twice in a part":
        with h5py.File(root / "exams_part0.hdf5", "a") as file:
            file["exam_id"][1] = file["exam_id"][0]
    elif how == "exam twice in the table":
        table.write_text(table.read_text().replace("\n102,", "\n101,"))
    else:
        table.write_text(table.read_text().replace("patient_id", "patient"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no parts", r"holds no exams_part\*.hdf5; check the path"),
        ("zipped", "unpack the zip files"),
        ("other HDF5", "exams_part0.hdf5 is damaged or not a part of CODE-15"),
        ("no HDF5", "exams_part0.hdf5 is damaged or not a part of CODE-15"),
        ("exam twice in a part", "exams_part0.hdf5 holds an exam twice"),
        ("exam twice in the table", "exams.csv lists an exam twice"),
        ("other column", "exams.csv has no column patient_id"),
    ],
)
def test_damaged_copy_is_refused(root, how, message):
    damage(root, how)
    with pytest.raises(ECGError, match=message):
        code15_source(root)
