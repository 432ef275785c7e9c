"""The log of a run that was damaged, and what a command prints when it can be printed no more."""

import errno
import json
import os
import sys
import threading
import time

import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("processes are forked", allow_module_level=True)

import resource

from harness import Fault, start
from lamae_toolkit.cli import main as cli
from lamae_toolkit.cli.streams import lasting_output
from lamae_toolkit.data.datasets.folder import folder_source
from lamae_toolkit.data.prepare import prepare
from lamae_toolkit.errors import ECGError
from lamae_toolkit.training.run import LOG_FILE
from lamae_toolkit.training.tensorboard import tensorboard_scalars
from lamae_toolkit.training.trainer import CHECKPOINT, read_log
from small_models import run, same_bits, without_speed


@pytest.fixture
def half(cohort, tmp_path):
    """The folder of a run that was stopped after 5 of 10 steps."""
    run(cohort, tmp_path / "half", stop_after=5)
    return tmp_path / "half"


@pytest.fixture(scope="module")
def complete(cohort, tmp_path_factory):
    """A run without interruption: the model, and the rows of its log."""
    folder = tmp_path_factory.mktemp("complete")
    return run(cohort, folder), without_speed(folder)


@pytest.mark.parametrize("cut", ['{"step": 6, "lo', '{"step": 6, "loss": 1.0}', "\0\0\0", "6", '{"loss": 1.0}', "\xff"])
def test_last_row_of_the_log_that_is_cut_is_dropped_and_the_run_resumes(cohort, half, complete, cut):
    with open(half / LOG_FILE, "a", encoding="latin-1") as file:
        file.write(cut)
    if cut == '{"step": 6, "loss": 1.0}':  # only the end of the line is absent
        resumed = run(cohort, half)
    else:
        with pytest.warns(UserWarning, match=r"The last row of .*log\.jsonl is not complete and is left out"):
            resumed = run(cohort, half)
    assert same_bits(resumed, complete[0]) and without_speed(half) == complete[1]


def test_damaged_row_within_the_log_is_named(half):
    rows = (half / LOG_FILE).read_text().splitlines()
    (half / LOG_FILE).write_text("\n".join([rows[0], rows[1][:9], *rows[2:]]) + "\n")
    with pytest.raises(ECGError, match=r"Row 2 of .*log\.jsonl is damaged; remove this row"):
        read_log(half)


def test_log_is_cut_to_the_step_of_the_checkpoint(cohort, half, complete):
    with open(half / LOG_FILE, "a", encoding="utf-8") as file:
        file.writelines(json.dumps({"step": step, "loss": 0.0}) + "\n" for step in (6, 7))
    assert same_bits(run(cohort, half), complete[0]) and without_speed(half) == complete[1]


def test_log_without_a_checkpoint_begins_again_and_says_so(cohort, half, complete):
    (half / CHECKPOINT).rename(half / "elsewhere")
    with pytest.warns(UserWarning, match="has a log but no checkpoint: its run ended before step 4"):
        again = run(cohort, half)
    assert same_bits(again, complete[0]) and without_speed(half) == complete[1]


def test_log_that_cannot_be_written_ends_the_run_in_a_sentence(cohort, half, monkeypatch):
    monkeypatch.setattr("builtins.open", full_for(LOG_FILE, open))
    sentence = r"log\.jsonl could not be written \(No space left on device\); the checkpoint of step 5 is kept"
    with pytest.raises(ECGError, match=sentence):
        run(cohort, half)


def test_full_disk_under_tensorboard_is_reported_once(tmp_path):
    pytest.importorskip("torch.utils.tensorboard")

    def fill() -> None:
        threading.excepthook = threading.__excepthook__  # not that of pytest
        with tensorboard_scalars(tmp_path, 0) as write:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            for step in range(500):
                write({"step": step, "loss": 1.0})
                time.sleep(0.01)

    text = start(fill)().text
    assert text.strip().endswith("File too large") and "Exception in thread" not in text


def full_for(name: str, original):
    def open_or_fail(path, mode="r", *arguments, **options):
        if str(path).endswith(name) and "a" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, mode, *arguments, **options)

    return open_or_fail


def test_run_below_a_file_is_refused_in_a_sentence(cohort, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ECGError, match=r"file is a file, so that .*run cannot be written; choose another"):
        run(cohort, tmp_path / "file" / "run")
    with pytest.raises(ECGError, match=r"file could not be written \(File exists\)"):
        run(cohort, tmp_path / "file")


def test_clock_that_stands_still_is_no_division_by_zero(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    run(cohort, tmp_path / "run")
    assert all(np.isfinite(row["ecgs_per_s"]) for row in read_log(tmp_path / "run"))
    (tmp_path / "ecgs").mkdir()
    np.savez(
        tmp_path / "ecgs" / "one.npz",
        signal=np.random.default_rng(0).normal(0, 0.2, (2, 5000)),
        sampling_rate_hz=500,
        unit="mV",
        leads=["I", "II"],
    )
    report = prepare(folder_source(tmp_path / "ecgs"), tmp_path / "store", workers=1, progress=False)
    assert report["kept"] == 1 and report["seconds"] == 0 and np.isfinite(report["ecgs_per_s"])


# What is printed.


def test_printing_goes_on_after_the_reader_has_left(tmp_path):
    def print_much() -> int:
        with lasting_output():
            for _ in range(20_000):
                print("a line that fills the buffer of the pipe")
            (tmp_path / "result").write_text("written")
        return 3

    ended = start(print_much, Fault("closed pipe"))()
    assert ended.code == 3 and ended.text == "" and (tmp_path / "result").read_text() == "written"


def test_output_that_cannot_be_written_is_reported_at_the_end(monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(cli, "_run", lambda words: print("a result") or 0)

    def to_a_full_disk() -> int:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1)
        return cli.main(["explain"])

    ended = start(to_a_full_disk)()
    assert ended.code == 2
    assert ended.text == "lamae: What the command prints could not be written (No space left on device).\n"


def test_error_of_the_system_is_a_sentence(monkeypatch, capsys):
    def fails(words: list[str]) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "record.dat")

    monkeypatch.setattr(cli, "_refuse_old_names", fails)
    assert cli.main(["explain"]) == 2
    assert capsys.readouterr().err == (
        "lamae: record.dat could not be read or written (Too many open files); check it, and the space on its disk.\n"
    )


def test_lock_of_a_command_is_taken_before_it_computes(tmp_path):
    """The second command is refused at once, and the first one is not disturbed."""
    words = ["simulate", "--ecgs", "40", "--out", str(tmp_path / "store")]
    first = start(lambda: cli.main(words))
    while not (tmp_path / ".store.lock").exists():
        time.sleep(0.001)
    second = start(lambda: cli.main(words))()
    assert second.code == 2 and "store is being written by process" in second.text
    assert first().code == 0 and {path.name for path in tmp_path.iterdir()} == {"store"}
