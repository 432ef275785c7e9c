"""Two processes under torchrun train as one does, and a run with a killed process resumes exactly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lamae_toolkit.cli import main as cli
from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.trainer import CHECKPOINT, read_log

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="processes are not killed by signals on Windows"),
]

OPTIONS = """
--device cpu --steps 6 --batch-size 8 --warmup-steps 2 --log-every 1 --save-every 2 --width 32 --heads 4
--pooling-heads 4 --decoder-width 16 --decoder-heads 4 --encoder-depth 1 --latent-depth 1
""".split()  # noqa: SIM905

CHANGES = """
--steps 3 --crop-patches 20 --scale-jitter 0.2 --lead-dropout 0.3 --noise-mv 0.05
""".split()  # noqa: SIM905

TWO_RUNS = """
import sys
from lamae_toolkit.cli import main as cli

sys.exit(sum(cli.main([*sys.argv[2:], "--out", sys.argv[1] + name]) for name in ("/first", "/second")))
"""

DIES_IN_STEP_4 = """
import os, signal, sys
from lamae_toolkit.cli import main as cli
from lamae_toolkit.data.store import Store

taken, batch = [], Store.batch

def batch_until_step_4(*arguments):
    taken.append(1)
    if len(taken) == 4 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return batch(*arguments)

Store.batch = batch_until_step_4
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def uneven(cohort, tmp_path_factory) -> Store:
    """ECGs of which some lack leads, so that the halves of a batch differ in how many patches they hide."""

    def entries():
        for row in range(40):
            recording = cohort.recording(row)
            leads = recording.leads if row % 3 else recording.leads[: 3 + row % 9]
            yield Record(recording.select(leads), row, row, 50.0, "F", ())

    return pack(entries(), tmp_path_factory.mktemp("uneven") / "store", source="uneven")


def torchrun(*words: str | Path, processes: int = 2) -> subprocess.CompletedProcess:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.run([*launch, *map(str, words)], env=environment, capture_output=True, text=True, timeout=300)


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_log(folder)]


@pytest.fixture(scope="module")
def together(uneven, tmp_path_factory) -> Path:
    """A run of two processes, the second of the same that they made."""
    out = tmp_path_factory.mktemp("together")
    (out / "two_runs.py").write_text(TWO_RUNS, encoding="utf-8")
    done = torchrun(out / "two_runs.py", out, "pretrain", "--store", uneven.folder, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The checkpoint is in") == 2  # said by one process
    assert losses(out / "first") == losses(out / "second")
    return out / "second"


def test_two_processes_have_the_losses_and_the_model_of_one(uneven, together, tmp_path):
    assert cli.main(["pretrain", "--store", str(uneven.folder), "--out", str(tmp_path / "one"), *OPTIONS]) == 0
    assert [row["step"] for row in read_log(together)] == [1, 2, 3, 4, 5, 6]
    assert losses(together) == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    norms = [[row["gradient_norm"] for row in read_log(run)] for run in (together, tmp_path / "one")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    ours, theirs = (LAMAE.from_pretrained(run / CHECKPOINT).state_dict() for run in (together, tmp_path / "one"))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-5, rtol=0, msg=name)


def test_two_processes_augment_streamed_ecgs_as_one_process(uneven, tmp_path):
    words = ["pretrain", "--store", str(uneven.folder), *OPTIONS, *CHANGES]
    done = torchrun("-m", "lamae_toolkit.cli", *words, "--data-location", "streamed", "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert cli.main([*words, "--out", str(tmp_path / "one")]) == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)


def test_run_with_a_killed_process_ends_with_a_message_and_resumes_exactly(uneven, together, tmp_path):
    (tmp_path / "dies.py").write_text(DIES_IN_STEP_4, encoding="utf-8")
    words = ["pretrain", "--store", uneven.folder, "--out", tmp_path / "run", *OPTIONS]
    killed = torchrun(tmp_path / "dies.py", *words)
    assert killed.returncode != 0
    assert "lamae: Process 0 of 2 stops because another one ended or all were stopped" in killed.stderr
    assert "Signal 9 (SIGKILL)" in killed.stderr  # torchrun's own
    assert losses(tmp_path / "run") == losses(together)[:3]
    state = torch.load(tmp_path / "run" / CHECKPOINT / "training.pt", weights_only=True)
    assert state["step"] == 2
    went_on = torchrun("-m", "lamae_toolkit.cli", *words)
    assert went_on.returncode == 0, went_on.stderr
    assert losses(tmp_path / "run") == losses(together)
    ours, theirs = (LAMAE.from_pretrained(run / CHECKPOINT).state_dict() for run in (tmp_path / "run", together))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
