"""Preparing a cohort: the same store after interruptions, nothing done twice, every record counted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import written_ecgs
from lamae_toolkit.cli.main import main
from lamae_toolkit.data import prepare as prepare_module
from lamae_toolkit.data import shards as parts_module
from lamae_toolkit.data.datasets.folder import folder_source
from lamae_toolkit.data.datasets.ptbxl import SPLIT, ptbxl_source
from lamae_toolkit.data.prepare import prepare
from lamae_toolkit.data.shards import ECGS_PER_PART, CohortSource
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.io import stretch
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Split
from lamae_toolkit.experiments.ptbxl_store import ptbxl_store

ECGS = 45


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(parts_module, "ECGS_PER_PART", 10)


def write_ecgs(root: Path) -> Path:
    root.mkdir()
    for number in range(ECGS):
        noise = np.random.default_rng(number).normal(0, 0.3, (3, 5000)).cumsum(axis=1) * 0.02
        file = root / f"{number:03d}.npz"
        np.savez(file, signal=noise, leads=["I", "II", "V2"], sampling_rate_hz=500.0, unit="mV")
    (root / "007.npz").write_bytes((root / "007.npz").read_bytes()[:5000])
    return root


@pytest.fixture
def root(tmp_path) -> Path:
    return write_ecgs(tmp_path / "ecgs")


def content(store: Path) -> dict[str, bytes]:
    files = {file.name: file.read_bytes() for file in store.iterdir()}
    report = json.loads(files.pop("report.json"))
    for name in ("seconds", "ecgs_per_s", "read_in_this_run"):
        report.pop(name)
    return files | {"report": json.dumps(report).encode()}


@pytest.mark.slow
def test_store_is_independent_of_the_number_of_processes(root, tmp_path, small_parts):
    source = folder_source(root)
    one = prepare(source, tmp_path / "one", workers=1, progress=False)
    assert one["read"] == ECGS and one["kept"] == ECGS - 1 and one["dropped_by_reason"] == {"unreadable": 1}
    prepare(source, tmp_path / "two", workers=2, progress=False)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ecgs", "one", "two"]
    store = Store.open(tmp_path / "one")
    assert store.index.file.tolist() == [f"{n:03d}.npz" for n in range(ECGS) if n != 7]
    assert set(store.recording(0).leads) == {"I", "II", "V2"}


KILLED = """
import sys, time
from dataclasses import replace
from functools import partial
from lamae_toolkit.data import shards as parts
from lamae_toolkit.data.prepare import prepare
from lamae_toolkit.data.datasets.folder import folder_source
source = folder_source(sys.argv[1])
def read(path, duration_s, **options):
    if path.name == "025.npz":
        time.sleep(600)  # so that the kill always meets a run that is under way
    return source.read(path, duration_s)
parts.ECGS_PER_PART = 10
read.__qualname__ = source.read.func.__qualname__
prepare(replace(source, read=partial(read, **source.read.keywords)), sys.argv[2], workers=1, progress=False)
"""


@pytest.mark.slow
def test_killed_preparation_resumes_with_unfinished_parts(root, tmp_path, small_parts):
    """A real process, killed for good in its third part."""
    out, parts = tmp_path / "store", tmp_path / "store.preparing" / "parts"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(root), str(out)], env=environment)
    for _ in range(600):
        if (parts / "000001.parquet").is_file() or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert not out.exists()
    assert sorted(file.name for file in parts.glob("*.parquet")) == ["000000.parquet", "000001.parquet"]
    report = prepare(folder_source(root), out, workers=1, progress=False)
    assert report["read_in_this_run"] == ECGS - 20
    prepare(folder_source(root), tmp_path / "in one go", workers=1, progress=False)
    assert content(out) == content(tmp_path / "in one go")
    assert not parts.parent.exists()


@pytest.mark.parametrize("at", ["replace_atomically", "_report", "join_signals"])
def test_interruption_while_joining_parts_loses_nothing(root, tmp_path, small_parts, monkeypatch, at):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare_module, at, interrupted)
        prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    assert not (tmp_path / "store").exists()
    if at == "join_signals":  # and once more between two parts
        join = prepare_module.join_signals

        def half(folder, signals, kept, samples):
            join(folder, signals, kept[:2], samples)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(prepare_module, at, half)
            prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    report = prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    prepare(folder_source(root), tmp_path / "in one go", workers=1, progress=False)
    assert content(tmp_path / "store") == content(tmp_path / "in one go")
    if at != "replace_atomically":
        assert report["read_in_this_run"] == 0


def test_a_complete_store_is_not_prepared_again_and_one_of_other_ecgs_is_replaced(root, tmp_path, monkeypatch):
    first = prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "read_parts", None)
        assert prepare(folder_source(root), tmp_path / "store", workers=1, progress=False) == first | {"new": False}
    (root / "044.npz").unlink()
    assert prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)["read"] == ECGS - 1
    assert len(Store.open(tmp_path / "store")) == ECGS - 2


def test_unfinished_preparation_of_other_ecgs_is_refused(root, tmp_path, small_parts, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare_module, "_report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    with pytest.raises(ECGError, match="holds another preparation"):
        prepare(folder_source(root), tmp_path / "store", sampling_rate_hz=250.0, workers=1, progress=False)


def test_folder_with_other_files_is_refused_before_reading(root, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("three years of work")
    with pytest.raises(ECGError, match="other files"):
        prepare(folder_source(root), tmp_path / "mine", workers=1, progress=False)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.docx"]


def test_preparation_with_other_options_is_not_resumed(root, tmp_path, small_parts, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare_module, "_report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    with pytest.raises(ECGError, match="holds another preparation"):
        prepare(folder_source(root, unit="uV"), tmp_path / "store", workers=1, progress=False)
    prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    table = tmp_path / "table.csv"
    table.write_text("file,patient_id,codes\n000.npz,1,I10\n")
    report = prepare(folder_source(root, table), tmp_path / "store", workers=1, progress=False)
    assert report["new"] and list(Store.open(tmp_path / "store").index.codes[0]) == ["I10"]


def test_missing_options_can_be_added_after_all_ecgs_were_refused(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    signal_mv = np.random.default_rng(0).normal(0, 0.3, (1000, 2))
    pd.DataFrame(signal_mv, columns=["I", "II"]).to_csv(folder / "a.csv", index=False)
    with pytest.raises(ECGError, match=r"None of the 1 ECGs .* unit of lead I is not given"):
        prepare(folder_source(folder), tmp_path / "store", workers=1, progress=False)
    source = folder_source(folder, sampling_rate_hz=100.0, unit="mV")
    assert prepare(source, tmp_path / "store", workers=1, progress=False)["kept"] == 1


def test_user_files_are_neither_moved_nor_deleted(root, tmp_path):
    source = folder_source(root)
    file = tmp_path / "thesis.csv"
    file.write_text("three years of work")
    with pytest.raises(ECGError, match="cannot become the folder of a store"):
        prepare(source, file, workers=1, progress=False)
    (tmp_path / "a.preparing").mkdir()
    (tmp_path / "a.preparing" / "mine.txt").write_text("mine")
    with pytest.raises(ECGError, match="was not made by this command"):
        prepare(source, tmp_path / "a", workers=1, progress=False)
    prepare(source, tmp_path / "store", workers=1, progress=False)
    other = folder_source(write_ecgs(tmp_path / "other"))
    with pytest.raises(ECGError, match="is a store of ECG files of ecgs, not of ECG files of other"):
        prepare(other, tmp_path / "store", workers=1, progress=False)
    (tmp_path / "store" / "notes.txt").write_text("mine")
    with pytest.raises(ECGError, match=r"other files, such as notes\.txt"):
        prepare(source, tmp_path / "store", duration_s=5.0, workers=1, progress=False)
    assert file.read_text() == "three years of work" and (tmp_path / "a.preparing" / "mine.txt").is_file()
    assert len(Store.open(tmp_path / "store")) == ECGS - 1


def test_a_damaged_store_is_prepared_again(root, tmp_path):
    prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    (tmp_path / "store" / "signals.int16").write_bytes(b"too short")
    assert prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)["new"]
    assert len(Store.open(tmp_path / "store")) == ECGS - 1


@pytest.mark.parametrize(
    ("rate_hz", "duration_s"),
    [(0.0, 10.0), (float("nan"), 10.0), (30.0, 10.0), (100.0, 0.0), (100.0, float("inf")), (100.0, -1.0)],
)
def test_impossible_rates_and_durations_are_refused(root, tmp_path, rate_hz, duration_s):
    with pytest.raises(ECGError, match="A store cannot"):
        prepare(folder_source(root), tmp_path / "store", sampling_rate_hz=rate_hz, duration_s=duration_s, workers=1)
    assert not (tmp_path / "store.preparing").exists()


def test_patient_in_two_folds_is_refused_before_reading(root, tmp_path):
    source = folder_source(root)
    source.ecgs["patient_id"], source.ecgs["fold"] = 1, np.arange(len(source.ecgs)) % 2
    with pytest.raises(ECGError, match="a patient in two folds"):
        prepare(source, tmp_path / "store", workers=1, progress=False)
    assert not (tmp_path / "store.preparing").exists()


@pytest.mark.slow
def test_workers_end_when_the_main_process_is_killed(root, tmp_path):
    (tmp_path / "slow_reader.py").write_text(
        "import os, time\n\ndef read(path, duration_s):\n"
        "    (path.parents[1] / f'{os.getpid()}.reads').touch()\n    time.sleep(600)\n"
    )
    (tmp_path / "run.py").write_text(
        "import sys\nfrom dataclasses import replace\nimport slow_reader\n"
        "from lamae_toolkit.data import shards as parts\nfrom lamae_toolkit.data.prepare import prepare\n"
        "from lamae_toolkit.data.datasets.folder import folder_source\n"
        "if __name__ == '__main__':\n    parts.ECGS_PER_PART = 10\n"
        "    prepare(replace(folder_source(sys.argv[1]), read=slow_reader.read), sys.argv[2], workers=2)\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{tmp_path}"}
    words = [sys.executable, str(tmp_path / "run.py"), str(root), str(tmp_path / "store")]
    process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)

    def workers() -> list[Path]:
        """The processes that multiprocessing began for this run."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_text()
                environ = (folder / "environ").read_text()
            except OSError:
                continue
            if "spawn_main" in words and str(tmp_path) in environ:
                found.append(folder)
        return found

    if not Path("/proc/self/environ").is_file():
        pytest.skip("processes are looked up in /proc, which this system lacks")
    try:
        _until(lambda: len(workers()) >= 2 and len(list(tmp_path.glob("*.reads"))) >= 2)
    finally:
        process.kill()
        process.wait()
    _until(lambda: not workers())


def _until(is_so, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_killed_worker_is_reported_in_one_sentence(root, tmp_path, small_parts):
    source = replace(folder_source(root), read=_die)
    with pytest.raises(ECGError, match=r"A worker was killed; .* the same command resumes"):
        prepare(source, tmp_path / "store", workers=2, progress=False)


def _die(path: Path, duration_s: float) -> Recording:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_most_common_reason_is_reported_when_no_ecg_is_left(root, tmp_path):
    with pytest.raises(ECGError, match=r"None of the 45 ECGs .* lasts 10 s, but this store holds ECGs of 20 s"):
        prepare(folder_source(root), tmp_path / "store", duration_s=20.0, workers=1, progress=False)


def test_an_empty_source_is_refused(root, tmp_path):
    source = folder_source(root)
    empty = CohortSource(source.name, root, source.ecgs.head(0), source.read, source.refused, {})
    with pytest.raises(ECGError, match="lists no ECG"):
        prepare(empty, tmp_path / "store", workers=1, progress=False)
    assert ECGS_PER_PART == 500


# ---- One's own files


def test_files_of_all_formats_are_prepared(real_data, tmp_path, capsys):
    out = tmp_path / "store"
    assert main(["prepare", "folder", str(real_data / "formats"), "--out", str(out), "--workers", "1"]) == 0
    store = Store.open(out)
    assert len(store) == 5 and not store.index.labelled.any()
    assert "separate patient" in capsys.readouterr().out and "separate patient" in store.meta["patients"]


def test_table_assigns_ecgs_to_patients(root, tmp_path):
    common = {"age_years": 50, "sex": "F", "codes": "I48.91; i10"}
    rows = [{"file": f"{n:03d}.npz", "patient_id": f"P{n // 3}"} | common for n in range(6)]
    rows[1] |= {"codes": "none"}
    rows[2] |= {"codes": "", "sex": ""}
    rows.append({"file": "999.npz", "patient_id": "P9"})
    pd.DataFrame(rows).to_csv(root / "table.csv", index=False)
    source = folder_source(root, root / "table.csv")
    report = prepare(source, tmp_path / "store", workers=1, progress=False)
    store = Store.open(tmp_path / "store")
    assert store.index.patient.tolist() == ["P0"] * 3 + ["P1"] * 3 and store.index.patient_id.nunique() == 2
    assert store.index.groupby("patient").fold.nunique().max() == 1
    assert (
        list(store.index.codes[0]) == ["I10", "I48.91"]
        and store.index.labelled.tolist() == [True] * 2 + [False] + [True] * 3
    )
    assert report["dropped_by_reason"] == {"not in the table": ECGS - 6, "file missing": 1}
    assert report["read"] == ECGS + 1 == report["kept"] + report["dropped"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,age\n000.npz,5\n", "no column patient_id"),
        ("file;patient_id\n000.npz;1\n", "no column file, separated by commas"),
        ("file,patient_id,age_years\n000.npz,1,63y\n", "an age that is not a number of years in row 2"),
        ("file,patient_id,sex\n000.npz,1,woman\n", "a sex other than F or M in row 2"),
        ("file,patient_id\n000.npz,\n", "has no patient_id in row 2"),
        ("file,patient_id\n000.npz,1\n000.npz,2\n", "for the second time in row 3"),
        ("file,patient_id,codes\n000.npz,1,heart\n", "'heart' is not an ICD-10 code"),
    ],
)
def test_invalid_tables_are_refused(root, tmp_path, table, message):
    path = tmp_path / "table.csv"
    path.write_text(table)
    with pytest.raises(ECGError, match=message):
        folder_source(root, path)


def test_patient_number_depends_on_the_name_alone(root, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("\ufefffile , patient_id\n000.npz,P1\n001.npz, P1 \n002.npz,P2\n", encoding="utf-8")
    before = folder_source(root, table).ecgs.set_index("file")
    table.write_text("file,patient_id\n003.npz,A\n000.npz,P1\n001.npz,P1\n002.npz,P2\n")
    after = folder_source(root, table).ecgs.set_index("file")
    assert before.patient_id["000.npz"] == before.patient_id["001.npz"] != before.patient_id["002.npz"]
    assert after.fold[before.index].tolist() == before.fold.tolist()


def test_files_that_are_no_ecgs_are_reported_as_refused(root, tmp_path):
    (root / "bomb.xml").write_text('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    (root / "notes.md").write_text("not an ECG, and nobody would think so")
    report = prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    assert report["dropped_by_reason"] == {"not recognized": 1, "unreadable": 1}


def test_options_hold_for_the_files_that_do_not_say_and_change_no_other(tmp_path):
    """A folder with a table without names or unit, and an EDF file of 250 Hz in uV that says all of it."""
    root = tmp_path / "mixed"
    root.mkdir()
    counts = written_ecgs.ecg_counts(n_samples=2600)
    two = np.stack([counts["I"], counts["V1"]], axis=1) * 0.005
    np.savetxt(root / "a.csv", two, delimiter=",", fmt="%.3f")
    (root / "b.edf").write_bytes(written_ecgs.edf(counts, rate_hz=250))
    source = folder_source(root, sampling_rate_hz=200.0, unit="mV", leads=("I", "V1"))
    report = prepare(source, tmp_path / "store", workers=1, progress=False)
    assert report["kept"] == 2 and report["dropped"] == 0
    table, edf = (Store.open(tmp_path / "store").recording(row) for row in (0, 1))
    assert set(table.leads) == {"I", "V1"} and len(edf.leads) == 12
    for stored, rate_hz in ((table, 200), (edf, 250)):
        peak_mv = 0.005 * counts["V1"][: 10 * rate_hz].max()
        assert stored.lead("V1").max() == pytest.approx(peak_mv, rel=0.05)


def test_every_file_of_a_folder_is_kept_refused_or_counted(tmp_path, capsys):
    """Five files of ECG kinds, of which two can be read; a table without leads, and files that are none."""
    root = tmp_path / "ecgs"
    shutil.copytree(Path(__file__).parents[1] / "ecg" / "cases" / "folder_account", root)
    (root / "ages.csv").write_text("age,sex\n1,2\n")
    (root / "export.bin").write_bytes(bytes(100))
    for name, text in {
        "README.md": "x",
        "notes.txt": "I, for one,\nread it.",
        ".hidden.csv": "x",
        "one.atr": "x",
    }.items():
        (root / name).write_text(text)
    (root / "page.pdf").write_bytes(b"%PDF-1.7")
    words = ["prepare", "folder", str(root), "--out", str(tmp_path / "store"), "--duration-s", "4", "--workers", "1"]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "7 listed = 2 kept + 5 refused" in printed
    assert "Passed over: 5 files that are no ECG (" in printed and "1 .pdf" in printed and "1 .atr" in printed
    refused = pd.read_csv(tmp_path / "store" / "refused.csv", keep_default_na=False)
    assert sorted(refused.file) == ["ages.csv", "export.bin", "four.mat", "three.ecg", "two.scp"]
    assert refused.sentence.str.len().gt(20).all() and refused.reason.ne("").all()
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert sum(report["passed_over"].values()) == 5 and report["read"] == 7
    only = tmp_path / "only"
    only.mkdir()
    (only / "five.scp").write_bytes(b"?")
    assert main(["prepare", "folder", str(only), "--out", str(tmp_path / "none"), "--workers", "1"]) == 2
    assert "1 refused, the first, five.scp: " in capsys.readouterr().err


def test_warnings_are_counted_and_named(tmp_path, capsys):
    """Samples that do not match their checksum, counts that are called mV, and an electrode offset of 40 mV."""
    root = tmp_path / "ecgs"
    root.mkdir()
    for name in ("wfdb_overwritten_16.hea", "wfdb_overwritten_16.dat", "adc_counts_called_mv.csv"):
        shutil.copy(Path(__file__).parents[1] / "ecg" / "cases" / name, root)
    wave = np.sin(np.arange(2000) / 50)
    for name, signal_mv in {"fine": [wave, wave[::-1]], "offset": [wave + 40, wave[::-1]]}.items():
        np.savez(root / f"{name}.npz", signal=signal_mv, leads=["II", "V1"], sampling_rate_hz=500, unit="mV")
    words = ["prepare", "folder", str(root), "--out", str(tmp_path / "store"), "--duration-s", "4", "--workers", "1"]
    assert main([*words, "--sampling-rate-hz", "500"]) == 0
    printed = capsys.readouterr().out
    counts = {"checksum": 1, "Einthoven's relations broken": 1, "impossible amplitude": 1, "beyond the store": 2}
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert report["ecgs_with_warnings"] == counts
    for kind, times in counts.items():
        assert f"  warned, {kind}: {times} ECGs\n" in printed
    index = Store.open(tmp_path / "store").index.set_index("file")
    assert index.warnings["fine.npz"] == ""
    offset = "Lead II goes beyond the 32.767 mV that a store can hold, and lost the median and what was still beyond."
    assert index.warnings["offset.npz"] == f"beyond the store: {offset}"
    rows = pd.read_csv(tmp_path / "store" / "warnings.csv")
    assert len(rows) == 5 and rows.set_index(["file", "kind"]).sentence["offset.npz", "beyond the store"] == offset
    assert rows.set_index(["file", "kind"]).sentence["wfdb_overwritten_16.hea", "checksum"].startswith("The samples of")


# ---- PTB-XL


def test_prepared_ptbxl_equals_packed_ptbxl(real_data, tmp_path):
    root = tmp_path / "ptb-xl"
    root.mkdir()
    table = pd.read_csv(real_data / "ptb-xl" / "ptbxl_database.csv").head(8)
    table.to_csv(root / "ptbxl_database.csv", index=False)
    for name in ("scp_statements.csv", "records500"):
        (root / name).symlink_to(real_data / "ptb-xl" / name)
    report = prepare(ptbxl_source(root), tmp_path / "store", workers=1, progress=False)
    store, packed = Store.open(tmp_path / "store"), ptbxl_store(tmp_path / "packed", root, progress=False)
    assert report["kept"] == 8
    # The sums of the filters are in another order, which not every processor rounds alike.
    difference = np.abs(store.signals.astype(int) - packed.signals)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-4
    for name in ("study_id", "patient_id", "fold", "codes", "superclasses", "statements", "flag_noisy"):
        assert store.index[name].map(str).tolist() == packed.index[name].map(str).tolist()
    assert Split.of(store) == Split(*(tuple(SPLIT[part]) for part in ("train", "validation", "test")))


def test_only_the_stretch_that_a_store_keeps_is_read(tmp_path, monkeypatch):
    """A Holter of a day costs no more than an ECG: here, more than 10 s at once would be refused."""
    folder = tmp_path / "ecgs"
    folder.mkdir()
    for seconds in (10, 40):
        counts = np.tile(np.arange(-100, 100, dtype="<i2")[:, None], (seconds * 500 // 200, 2))
        counts.tofile(folder / f"{seconds}.dat")
        lines = [f"{seconds}.dat 16 200/mV 16 0 0 0 0 {lead}" for lead in ("II", "V1")]
        (folder / f"{seconds}.hea").write_text("\n".join([f"{seconds} 2 500 {len(counts)}", *lines, ""]))
    monkeypatch.setattr(stretch, "MAX_SAMPLES", 2 * 10 * 500)
    report = prepare(folder_source(folder), tmp_path / "store", workers=1, progress=False)
    assert report["kept"] == 2
    ecgs = Store.open(tmp_path / "store")
    np.testing.assert_array_equal(ecgs.signals[0], ecgs.signals[1])
