"""Preparing with Dask: real processes, one of them killed, and the same store; every failure in one sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lamae_toolkit.cli.main import main
from lamae_toolkit.data import cluster
from lamae_toolkit.data.datasets.folder import folder_source
from lamae_toolkit.data.prepare import prepare
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from test_prepare import content, small_parts, write_ecgs  # noqa: F401

pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.usefixtures("small_parts")]

WAITING_READER = """
import os, time
from pathlib import Path
from lamae_toolkit.ecg.io.read import read_start

def read(path, duration_s):
    if path.name == "025.npz":
        (path.parents[1] / f"{os.getpid()}.reads").touch()
        while not (path.parents[1] / "go").exists():
            time.sleep(0.05)
    return read_start(path, duration_s)
"""


class Cluster:
    """A Dask scheduler and its workers, as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.processes: list[subprocess.Popen] = []
        self.start("scheduler", "--port", "0", "--scheduler-file", str(self.file))
        until(self.file.is_file)
        self.address = json.loads(self.file.read_text())["address"]

    def start(self, what: str, *words: str) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{self.folder}"}
        words = (sys.executable, "-m", "dask", what, "--host", "127.0.0.1", "--no-dashboard", *words)
        with open(self.folder / f"{what}{len(self.processes)}.log", "w") as log:
            process = subprocess.Popen(words, env=environment, cwd=self.folder, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def worker(self) -> subprocess.Popen:
        return self.start("worker", self.address, "--nthreads", "1", "--no-nanny", "--memory-limit", "0")


def until(is_so, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def dask(tmp_path) -> Iterator[Cluster]:
    running = Cluster(tmp_path)
    try:
        yield running
    finally:
        for process in running.processes:
            process.kill()
            process.wait()


@pytest.fixture
def root(tmp_path) -> Path:
    return write_ecgs(tmp_path / "ecgs")


def test_store_equals_that_of_one_process_though_a_worker_is_killed(root, tmp_path, dask, monkeypatch):
    (tmp_path / "waiting_reader.py").write_text(WAITING_READER)
    monkeypatch.syspath_prepend(tmp_path)
    import waiting_reader

    workers = [dask.worker(), dask.worker()]
    source = replace(folder_source(root), read=waiting_reader.read)
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, waiting_reader\nfrom dataclasses import replace\n"
        "from lamae_toolkit.data import shards\nfrom lamae_toolkit.data.prepare import prepare\n"
        "from lamae_toolkit.data.datasets.folder import folder_source\nshards.ECGS_PER_PART = 10\n"
        "source = replace(folder_source(sys.argv[1]), read=waiting_reader.read)\n"
        "prepare(source, sys.argv[2], scheduler=sys.argv[3], progress=False)\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{tmp_path}"}
    words = [sys.executable, str(script), str(root), str(tmp_path / "store"), dask.address]
    run = subprocess.Popen(words, env=environment)
    dask.processes.append(run)
    parts = tmp_path / "store.preparing" / "parts"
    # One worker waits in the middle of the third part; the other finishes all parts but that.
    until(lambda: run.poll() or (len(list(parts.glob("*.parquet"))) == 4 and list(tmp_path.glob("*.reads"))))
    (reading,) = tmp_path.glob("*.reads")
    killed = next(worker for worker in workers if worker.pid == int(reading.stem))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    until(lambda: len(list(tmp_path.glob("*.reads"))) == 2)  # the part was given to the other worker
    assert not (tmp_path / "store").exists()
    (tmp_path / "go").touch()
    assert run.wait(120) == 0
    prepare(source, tmp_path / "alone", workers=1, progress=False)
    assert content(tmp_path / "store") == content(tmp_path / "alone")
    assert not parts.parent.exists()


def test_command_prepares_on_a_cluster_and_reports_a_lost_scheduler(root, tmp_path, dask, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "WORKERS_S", 3.0)
    words = ["prepare", "folder", str(root), "--scheduler", dask.address, "--out"]
    assert main([*words, str(tmp_path / "store")]) == 2
    assert "has no worker; start some with `dask worker" in capsys.readouterr().err
    monkeypatch.setattr(cluster, "WORKERS_S", 60.0)
    dask.worker()
    assert main([*words, str(tmp_path / "store")]) == 1  # one ECG is damaged
    assert len(Store.open(tmp_path / "store")) == 44
    (tmp_path / "waiting_reader.py").write_text(WAITING_READER)  # so that the kill meets a run that is under way
    monkeypatch.syspath_prepend(tmp_path)
    import waiting_reader

    real = cluster.run_on_cluster

    def run_and_kill(*arguments):
        for finished in real(*arguments):
            dask.processes[0].kill()
            yield finished

    monkeypatch.setattr("lamae_toolkit.data.shards.run_on_cluster", run_and_kill)
    source = replace(folder_source(root), read=waiting_reader.read)
    with pytest.raises(ECGError, match=r"scheduler at .* was lost; finished parts are kept"):
        prepare(source, tmp_path / "other", scheduler=dask.address, progress=False)
    assert (tmp_path / "other.preparing" / "parts" / "000000.parquet").is_file()
    (tmp_path / "go").touch()
    report = prepare(source, tmp_path / "other", workers=1, progress=False)
    assert report["kept"] == 44 and report["read_in_this_run"] <= 45 - 10


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://127.0.0.1:8786", "127.0.0.1:eight"])
def test_wrong_address_is_refused(root, tmp_path, address, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "CONNECT_S", 3.0)
    assert main(["prepare", "folder", str(root), "--out", str(tmp_path / "store"), "--scheduler", address]) == 2
    assert f"No Dask scheduler answers at {address}; start one" in capsys.readouterr().err


def test_worker_that_does_not_see_the_folder_is_reported(tmp_path):
    from lamae_toolkit.data.shards import _read_part_elsewhere

    with pytest.raises(ECGError, match=r"The worker on .* does not see the folder .*absent; the ECGs and the store"):
        _read_part_elsewhere(tmp_path / "absent", 0, tmp_path)


def test_missing_package_is_named_with_its_extra(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ["prepare", "folder", str(root), "--out", str(tmp_path / "store"), "--scheduler", "tcp://127.0.0.1:1"]
    assert main(words) == 2
    assert "pip install 'lamae-toolkit[cluster]'" in capsys.readouterr().err


def test_slurm_script_prepares_and_ends_all_processes(root, tmp_path):
    """With a `srun` that starts one task on this machine."""
    commands = {
        "dask": f'exec {sys.executable} -m dask "$@"',
        "lamae": f'exec {sys.executable} -m lamae_toolkit.cli "$@"',
        "python": f'exec {sys.executable} "$@"',
        "hostname": "echo 127.0.0.1",
        "srun": 'while [ "$1" != dask ]; do shift; done; exec "$@"',
    }
    (tmp_path / "bin").mkdir()
    for name, line in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    repository = Path(__file__).parents[2]
    environment = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(repository),
        "SLURM_CPUS_PER_TASK": "1",
    }
    words = ["bash", str(repository / "docs" / "prepare.slurm"), "folder", str(root), "--out", str(tmp_path / "store")]
    run = subprocess.run(words, env=os.environ | environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and "45 listed = 44 kept + 1 refused" in run.stdout, run.stdout + run.stderr
    assert len(Store.open(tmp_path / "store")) == 44
    assert not list(tmp_path.glob("scheduler.*"))
