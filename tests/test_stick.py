"""A folder for computers without a network: `python start.py stick FOLDER`."""

import json
import subprocess
import sys

import pytest

from test_setup import ROOT, script


@pytest.fixture
def stick():
    return script("tools/stick.py")


@pytest.fixture
def start():
    return script("start.py")


def test_the_toolkit_is_copied_without_outputs_and_runs_from_there(stick, tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    for name in (*stick.FOLDERS, *stick.FILES):
        (tmp_path / "source" / name).symlink_to(ROOT / name)
    (tmp_path / "source" / "notebooks").unlink()
    (tmp_path / "source" / "notebooks").mkdir()
    output = {"output_type": "stream", "name": "stdout", "text": ["Jane Doe"]}
    cell = {"cell_type": "code", "source": ["print(1)"], "metadata": {}, "outputs": [output], "execution_count": 3}
    notebook = {"cells": [cell], "metadata": {"widgets": {"state": "Jane Doe"}}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "source" / "notebooks" / "mine.ipynb").write_text(json.dumps(notebook))
    monkeypatch.setattr(stick, "ROOT", tmp_path / "source")
    (tmp_path / "stick").mkdir()

    for _ in range(2):  # the second time over the first
        stick.add_toolkit(tmp_path / "stick")
    copied = (tmp_path / "stick" / "notebooks" / "mine.ipynb").read_text()
    assert "Jane Doe" not in copied and json.loads(copied)["cells"][0]["source"] == ["print(1)"]
    assert not list((tmp_path / "stick").rglob("__pycache__"))
    words = [sys.executable, "-c", "import lamae_toolkit as lt; print(lt.__file__)"]
    run = subprocess.run(words, cwd=tmp_path / "stick", capture_output=True, text=True)
    assert run.stdout.startswith(str(tmp_path / "stick")), run.stderr


def test_all_that_is_tracked_is_copied(stick):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    tracked = {line.split("/")[0] for line in listed.stdout.splitlines() if not line.startswith(".")}
    assert tracked == {*stick.FOLDERS, *stick.FILES}


def test_packages_are_those_of_the_lock_with_one_build_of_torch(stick):
    names = [
        {line.split("==")[0] for line in stick.locked_packages(cpu).splitlines() if "==" in line}
        for cpu in (True, False)
    ]
    assert "torch" not in names[0] and {"numpy", "jupyterlab"} < names[0]
    assert {"torch", "cuda-bindings"} <= names[1] and names[0] < names[1]
    assert "sha256" in stick.locked_packages(True).splitlines()[-1]


def test_a_folder_within_the_toolkit_is_refused(stick):
    with pytest.raises(SystemExit, match="would be copied into itself"):
        stick.main([str(ROOT / "notebooks" / "stick")])


def test_packages_next_to_start_are_installed_without_a_network(start, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "ROOT", tmp_path)
    assert start.package_source() == []
    (tmp_path / "wheels" / "Atari-m68k-python3.11").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"has packages for Atari-m68k-python3\.11, but this one is .*Run"):
        start.package_source()
    start.wheels(tmp_path).mkdir()
    assert start.package_source() == ["--no-index", "--find-links", str(start.wheels(tmp_path))]
