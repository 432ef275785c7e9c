"""Preparing a cohort: the same store however often it is interrupted, nothing done twice, every record counted."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamae_toolkit import prepare as prepare_module
from lamae_toolkit.cli import main
from lamae_toolkit.datasets.folder import folder_source
from lamae_toolkit.datasets.ptbxl import SPLIT, ptbxl_source, ptbxl_store
from lamae_toolkit.ecg import ECGError, Recording
from lamae_toolkit.evaluate import Split
from lamae_toolkit.prepare import ECGS_PER_PART, Source, prepare
from lamae_toolkit.store import Store

ECGS = 45


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(prepare_module, "ECGS_PER_PART", 10)


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
    for name in ("seconds", "ecgs_per_s", "read_in_this_run", "workers"):
        report.pop(name)
    return files | {"report": json.dumps(report).encode()}


def test_several_processes_make_the_same_store_as_one(root, tmp_path, small_parts):
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
from lamae_toolkit import prepare
from lamae_toolkit.datasets.folder import folder_source
source = folder_source(sys.argv[1])
def read(path):
    if path.name == "025.npz":
        time.sleep(600)  # so that the kill always meets a run that is under way
    return source.read(path)
prepare.ECGS_PER_PART = 10
prepare.prepare(replace(source, read=read), sys.argv[2], workers=1, progress=False)
"""


def test_after_a_kill_finished_parts_are_not_read_again(root, tmp_path, small_parts):
    """A real process, killed for good in its third part."""
    out, parts = tmp_path / "store", tmp_path / "store.preparing" / "parts"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
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


@pytest.mark.parametrize("at", ["take_place", "_report", "_join_signals"])
def test_an_interruption_at_the_end_costs_nothing(root, tmp_path, small_parts, monkeypatch, at):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare_module, at, interrupted)
        prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    assert not (tmp_path / "store").exists()
    if at == "_join_signals":  # and once more between two parts
        join = prepare_module._join_signals

        def half(working, kept, samples):
            join(working, kept[:2], samples)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(prepare_module, at, half)
            prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    report = prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    prepare(folder_source(root), tmp_path / "in one go", workers=1, progress=False)
    assert content(tmp_path / "store") == content(tmp_path / "in one go")
    if at != "take_place":
        assert report["read_in_this_run"] == 0


def test_a_complete_store_is_not_prepared_again_and_one_of_other_ecgs_is_replaced(root, tmp_path, monkeypatch):
    first = prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "_read_parts", None)
        assert prepare(folder_source(root), tmp_path / "store", workers=1, progress=False) == first
    (root / "044.npz").unlink()
    assert prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)["read"] == ECGS - 1
    assert len(Store.open(tmp_path / "store")) == ECGS - 2


def test_a_preparation_of_other_ecgs_is_not_mixed_in(root, tmp_path, small_parts, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare_module, "_report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    with pytest.raises(ECGError, match="holds another preparation"):
        prepare(folder_source(root), tmp_path / "store", sampling_rate_hz=250.0, workers=1, progress=False)


def test_a_folder_of_somebody_else_is_refused_before_any_work(root, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("three years of work")
    with pytest.raises(ECGError, match="something else in it"):
        prepare(folder_source(root), tmp_path / "mine", workers=1, progress=False)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.docx"]


def test_a_killed_worker_is_said_in_a_sentence(root, tmp_path, small_parts):
    source = replace(folder_source(root), read=_die)
    with pytest.raises(ECGError, match=r"A worker was killed; .* the same command goes on"):
        prepare(source, tmp_path / "store", workers=2, progress=False)


def _die(path: Path) -> Recording:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_when_no_ecg_is_left_the_commonest_reason_is_said(root, tmp_path):
    with pytest.raises(ECGError, match=r"None of the 45 ECGs .* lasts 10 s, but this store holds ECGs of 20 s"):
        prepare(folder_source(root), tmp_path / "store", duration_s=20.0, workers=1, progress=False)


def test_an_empty_source_is_refused(root, tmp_path):
    source = folder_source(root)
    empty = Source(source.name, root, source.ecgs.head(0), source.read, source.refused, {})
    with pytest.raises(ECGError, match="lists no ECG"):
        prepare(empty, tmp_path / "store", workers=1, progress=False)
    assert ECGS_PER_PART == 500


# ---- One's own files


def test_own_files_of_all_formats_become_a_store(real_data, tmp_path, capsys):
    out = tmp_path / "store"
    assert main(["prepare", "folder", str(real_data / "formats"), "--out", str(out), "--workers", "1"]) == 0
    store = Store.open(out)
    assert len(store) == 5 and not store.index.labelled.any()
    assert "a patient of its own" in capsys.readouterr().out and "patient of its own" in store.meta["patients"]


def test_a_table_says_whose_the_ecgs_are(root, tmp_path):
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
        ("file,patient_id\n000.npz,\n", "no patient_id in row 2"),
        ("file,patient_id\n000.npz,1\n000.npz,2\n", r"lists 000\.npz twice"),
        ("file,patient_id,codes\n000.npz,1,heart\n", "'heart' is not an ICD-10 code"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(root, tmp_path, table, message):
    path = tmp_path / "table.csv"
    path.write_text(table)
    with pytest.raises(ECGError, match=message):
        folder_source(root, path)


def test_files_that_only_look_like_ecgs_are_accounted_for(root, tmp_path):
    (root / "bomb.xml").write_text('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    (root / "notes.md").write_text("not an ECG, and nobody would think so")
    report = prepare(folder_source(root), tmp_path / "store", workers=1, progress=False)
    assert report["dropped_by_reason"] == {"not recognised": 1, "unreadable": 1}


# ---- PTB-XL


def test_ptbxl_is_prepared_as_it_is_packed_with_its_own_split(real_data, tmp_path):
    root = tmp_path / "ptb-xl"
    root.mkdir()
    table = pd.read_csv(real_data / "ptb-xl" / "ptbxl_database.csv").head(8)
    table.to_csv(root / "ptbxl_database.csv", index=False)
    for name in ("scp_statements.csv", "records500"):
        (root / name).symlink_to(real_data / "ptb-xl" / name)
    report = prepare(ptbxl_source(root), tmp_path / "store", workers=1, progress=False)
    store, packed = Store.open(tmp_path / "store"), ptbxl_store(tmp_path / "packed", root, progress=False)
    assert report["kept"] == 8 and np.array_equal(store.signals, packed.signals)
    for name in ("study_id", "patient_id", "fold", "codes", "superclasses", "statements", "flag_noisy"):
        assert store.index[name].map(str).tolist() == packed.index[name].map(str).tolist()
    assert Split.of(store) == Split(*(tuple(SPLIT[part]) for part in ("train", "validation", "test")))
