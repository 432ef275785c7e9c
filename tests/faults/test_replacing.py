"""Files and folders that are replaced: one complete version is there at any time, and one process writes it."""

import ctypes
import errno
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("processes are forked", allow_module_level=True)

from harness import start
from lamae_toolkit import files, locks
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import atomic_write, exchange_names, recover, replace_atomically, writing_to
from lamae_toolkit.locks import output_lock

MARK = "mark"


def write(folder: Path, text: str) -> None:
    with atomic_write(folder, replaces=MARK) as partial:
        partial.mkdir()
        (partial / MARK).write_text(text)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def no_exchange() -> None:
    """As on Windows."""


@pytest.mark.parametrize("in_two_steps", [False, True])
def test_folder_replaces_an_older_version(tmp_path, monkeypatch, in_two_steps):
    if in_two_steps:
        monkeypatch.setattr(files, "_exchange", no_exchange)
    for text in ("first", "second"):
        write(tmp_path / "run", text)
        assert (tmp_path / "run" / MARK).read_text() == text and names(tmp_path) == {"run"}
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "in an empty folder")
    assert names(tmp_path) == {"run", "empty"}


def test_names_are_exchanged_on_this_system(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").write_text("file")
    assert exchange_names(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one").is_file() and (tmp_path / "other").is_dir()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_file_system_that_exchanges_no_names_takes_two_steps(tmp_path, monkeypatch, code):
    def exchange(one: bytes, other: bytes) -> int:
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(files, "_exchange", lambda: exchange)
    for text in ("first", "second"):
        write(tmp_path / "run", text)
    assert (tmp_path / "run" / MARK).read_text() == "second" and names(tmp_path) == {"run"}


def test_error_of_an_exchange_is_raised(tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange_names(tmp_path / "one", tmp_path / "absent")


def test_error_in_the_second_step_undoes_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", no_exchange)
    write(tmp_path / "run", "first")
    replace, calls = os.replace, []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(ECGError, match="Input/output error"):
        write(tmp_path / "run", "second")
    assert (tmp_path / "run" / MARK).read_text() == "first" and names(tmp_path) == {"run"}


def test_folder_does_not_replace_a_file(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ECGError, match="is a file, not a folder"):
        replace_atomically(tmp_path / "new", tmp_path / "run")


def test_link_to_a_folder_is_followed(tmp_path):
    write(tmp_path / "run", "first")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    write(tmp_path / "link", "second")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "run" / MARK).read_text() == "second"


def killed_while_writing(folder: Path, *, between_the_steps: bool) -> None:
    """Write a folder in a process that is killed with a partial folder, or between the two steps of replacing."""

    def interrupted() -> None:
        files._exchange = no_exchange
        replace = os.replace

        def then_killed(source, target):
            replace(source, target)
            os.kill(os.getpid(), signal.SIGKILL)

        if between_the_steps:
            os.replace = then_killed
            write(folder, "second")
        with atomic_write(folder, replaces=MARK) as partial:
            partial.mkdir()
            os.kill(os.getpid(), signal.SIGKILL)

    assert start(interrupted)().code == -signal.SIGKILL


def test_version_that_lost_its_name_is_put_back(tmp_path):
    write(tmp_path / "run", "first")
    killed_while_writing(tmp_path / "run", between_the_steps=True)
    assert "run" not in names(tmp_path)
    with pytest.warns(UserWarning, match="its last complete version is back"):
        recover(tmp_path / "run")
    assert (tmp_path / "run" / MARK).read_text() == "first" and names(tmp_path) == {"run"}


def test_partial_folder_of_a_killed_process_is_removed(tmp_path):
    killed_while_writing(tmp_path / "run", between_the_steps=False)
    assert any(name.endswith(".partial") for name in names(tmp_path))
    write(tmp_path / "other", "of another name")
    assert any(name.endswith(".partial") for name in names(tmp_path))
    write(tmp_path / "run", "first")
    assert names(tmp_path) == {"run", "other"}


def test_partial_folder_of_a_living_process_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WAIT_S", 0.1)

    def slow() -> None:
        with atomic_write(tmp_path / "run") as partial:
            partial.mkdir()
            time.sleep(1)

    other = start(slow)
    left: set[str] = set()
    while not any(name.endswith(".partial") for name in left):
        time.sleep(0.01)
        left = names(tmp_path)
    with pytest.raises(ECGError, match=r"is being written by process \d+"):
        recover(tmp_path / "run")
    assert left <= names(tmp_path) and other().code == 0
    assert names(tmp_path) == {"run"}


def test_files_of_the_user_are_not_leftovers(tmp_path):
    mine = {"run.old", "run.1.old", "run.host.2.partial", "run.partial", "run.lamae.old"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    write(tmp_path / "run", "first")
    assert names(tmp_path) == {"run", *mine}


def test_new_folders_around_a_refused_output_are_removed(tmp_path):
    with pytest.raises(ECGError), writing_to(tmp_path / "new" / "deep" / "run"):
        raise ECGError("refused")
    assert names(tmp_path) == set()


def test_output_below_a_file_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ECGError, match=r"file is a file, so that .*run cannot be written"):
        write(tmp_path / "file" / "new" / "run", "first")


# The lock.


def held_elsewhere(target: Path) -> int:
    """The exit code of a forked process that tries to take the lock."""

    def take() -> int:
        with output_lock(target):
            return 7

    return start(take)().code


def test_lock_keeps_other_processes_out_until_it_is_released(tmp_path):
    with output_lock(tmp_path / "run") as held, output_lock(tmp_path / "run"):
        assert held
        assert held_elsewhere(tmp_path / "run") == 70
        assert held_elsewhere(tmp_path / "other") == 7
    assert held_elsewhere(tmp_path / "run") == 7
    assert names(tmp_path) == set()


def test_lock_message_says_who_holds_it_and_since_when(tmp_path):
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.dup2(writing, 1)
        try:
            with output_lock(tmp_path / "run"):
                os.write(1, b"held")
                time.sleep(60)
        finally:
            os._exit(1)
    os.read(reading, 4)
    who = rf"by process {process} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\S* \(.+\); wait until that has ended"
    with pytest.raises(ECGError, match=who), output_lock(tmp_path / "run", wait_s=0.1):
        pass
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with output_lock(tmp_path / "run"):
        pass
    assert names(tmp_path) == set()
    os.close(reading)
    os.close(writing)


def test_lock_keeps_other_threads_out(tmp_path):
    errors = []

    def take() -> None:
        try:
            with output_lock(tmp_path / "run"):
                pass
        except ECGError as error:
            errors.append(str(error))

    with output_lock(tmp_path / "run"):
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    assert len(errors) == 1 and "another thread of this process" in errors[0]


def test_lock_is_waited_for(tmp_path):
    def hold() -> None:
        with output_lock(tmp_path / "run"):
            (tmp_path / "held").touch()
            time.sleep(0.3)

    other = start(hold)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with output_lock(tmp_path / "run", wait_s=20):
        pass
    assert other().code == 0


def test_many_processes_take_a_lock_in_sequence(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count() -> None:
        for _ in range(20):
            with output_lock(counter, wait_s=60):
                counter.write_text(str(int(counter.read_text()) + 1))

    assert [end().code for end in [start(count) for _ in range(4)]] == [0] * 4
    assert counter.read_text() == "80" and names(tmp_path) == {"counter"}


def test_file_system_without_locks_is_named_and_nothing_is_removed(tmp_path, monkeypatch):
    def no_locks(file: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    write(tmp_path / "run", "first")
    killed_while_writing(tmp_path / "run", between_the_steps=False)
    left = {name for name in names(tmp_path) if name.endswith(".partial")}
    monkeypatch.setattr(locks, "_lock", no_locks)
    with pytest.warns(UserWarning, match="has no locks: start only one command at a time"):
        write(tmp_path / "run", "second")
    assert (tmp_path / "run" / MARK).read_text() == "second" and names(tmp_path) == {"run"} | left


def test_lock_of_a_folder_in_a_read_only_one_is_inside(tmp_path, monkeypatch):
    run = tmp_path / "mounted"
    run.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with output_lock(run):
        assert names(run) == {".lamae.lock"} and names(tmp_path) == {"mounted"}
        assert held_elsewhere(run) == 70
    assert names(run) == set()


def test_command_of_the_holder_is_printable(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lamae", "pretrain", "\x1b[31mred" + "x" * 10_000])
    with output_lock(tmp_path / "run"):
        text = (tmp_path / ".run.lock").read_text()
    assert "\x1b" not in text and len(text) < 400
