"""A few faults in each command that writes; `python tests/faults` tries hundreds."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("processes are forked, and their files limited, as Linux does", allow_module_level=True)

from cases import CASES, Inputs
from harness import Case, Expected, Fault, leftovers, run, survives, two_at_once

QUICK = ("simulate, replacing", "prepare folder, replacing", "pretrain, resuming", "embed")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory) -> dict[str, tuple[Case, Expected]]:
    """The commands that are tried, and what they leave if nothing goes wrong."""
    folder = tmp_path_factory.mktemp("faults")
    inputs = Inputs(folder / "inputs")
    found = {name: CASES[name](inputs) for name in QUICK}
    return {name: (case, Expected.of(case, case.folder(folder / name))) for name, case in found.items()}


def replacing(expected: Expected) -> int:
    """The number of the change by which a folder is replaced first: the one before its old version is set aside."""
    renamed = [number for number, event in enumerate(expected.changes, 1) if event == "os.rename"]
    return next(one for one, after in pairwise(renamed) if after == one + 1)


@pytest.mark.parametrize("name", ["simulate, replacing", "prepare folder, replacing", "pretrain, resuming"])
def test_kill_while_a_folder_is_replaced_loses_nothing(chosen, tmp_path, name):
    case, expected = chosen[name]
    at = replacing(expected)
    assert not survives(case, Fault("kill", at + 1), expected, tmp_path / "exchanged")
    # In two steps, the folder is for a moment under neither name.
    folder, fault = case.folder(tmp_path / "killed"), Fault("kill", at + 1, in_two_steps=True)
    run(lambda: case.run(folder), fault)
    assert not (folder / case.kept[0]).exists() and any(".lamae-" in name for name in leftovers(folder))
    assert not survives(case, fault, expected, tmp_path / "in two steps")


@pytest.mark.parametrize("name", ["simulate, replacing", "pretrain, resuming", "embed"])
def test_full_disk_is_named_and_the_same_command_resumes(chosen, tmp_path, name):
    case, expected = chosen[name]
    for kind in ("no new file", "no bytes"):
        fault = Fault(kind, len(expected.changes) // 3)
        assert not survives(case, fault, expected, tmp_path / kind)


@pytest.mark.parametrize("name", ["simulate, replacing", "pretrain, resuming"])
def test_two_at_once_do_not_disturb_each_other(chosen, tmp_path, name):
    case, expected = chosen[name]
    assert not two_at_once(case, expected, tmp_path / "twice")


def test_read_only_folder_is_named(chosen, tmp_path):
    case, expected = chosen["embed"]
    assert not survives(case, Fault("read-only", 1), expected, tmp_path / "read-only")


def test_closed_pipe_does_not_stop_a_command(chosen, tmp_path):
    case, expected = chosen["embed"]
    assert not survives(case, Fault("closed pipe"), expected, tmp_path / "closed")


def test_harness_sees_what_is_lost(chosen, tmp_path):
    """What the tests above would say if a command lost something."""
    case, expected = chosen["embed"]
    other = Expected({**expected.files, "more.csv": b""}, expected.changes)
    assert survives(case, Fault("closed pipe"), other, tmp_path / "one") == "differs in more.csv"

    def lose(folder: Path) -> int:
        (folder / "left.lamae-host-1.partial").touch()
        raise ValueError("unexpected")

    broken = Case(lose)
    assert "gave a traceback" in survives(broken, Fault("no bytes", 99), expected, tmp_path / "two")
    assert "again, ended with 70" in survives(broken, Fault("kill", 1), expected, tmp_path / "three")
