"""Two processes under torchrun train as one does, and a run with a killed process resumes exactly."""

import json
import os
import shutil
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

SEVERAL_RUNS = """
import json, sys
from lamae_toolkit.cli import main as cli

sys.exit(sum(cli.main(words) for words in json.loads(sys.argv[1])))
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
    """ECGs of which some lack leads, so that the halves of a batch differ in their number of masked patches."""

    def entries():
        for row in range(40):
            recording = cohort.recording(row)
            leads = recording.leads if row % 3 else recording.leads[: 3 + row % 9]
            yield Record(recording.select(leads), row, row, 50.0, "F", ())

    return pack(entries(), tmp_path_factory.mktemp("uneven") / "store", source="uneven")


def torchrun(*words: str | Path, processes: int = 2) -> subprocess.CompletedProcess:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.run([*launch, *map(str, words)], env=environment, capture_output=True, text=True, timeout=600)


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_log(folder)]


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    return LAMAE.from_pretrained(folder / CHECKPOINT).state_dict()


def pretraining(store: Store, out: Path, *words: str) -> list[str]:
    """The words of the command."""
    return ["pretrain", "--store", str(store.folder), "--out", str(out), *OPTIONS, *words]


@pytest.fixture(scope="module")
def killed(uneven, tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    """A run of two processes of which one was killed, and the message of torchrun."""
    out = tmp_path_factory.mktemp("killed")
    (out / "dies.py").write_text(DIES_IN_STEP_4, encoding="utf-8")
    return torchrun(out / "dies.py", *pretraining(uneven, out / "run")), out / "run"


@pytest.fixture(scope="module")
def together(uneven, killed, tmp_path_factory) -> Path:
    """Four runs of the same two processes, since it is their start that takes time: one, the same again, one with
    augmentation of streamed ECGs, and what is left of the one in which a process was killed."""
    out, interrupted = tmp_path_factory.mktemp("together"), killed[1]
    shutil.copytree(interrupted, out / "resumed")
    runs = [pretraining(uneven, out / name) for name in ("first", "second", "resumed")]
    runs.append(pretraining(uneven, out / "augmented", *CHANGES, "--data-location", "streamed"))
    (out / "several_runs.py").write_text(SEVERAL_RUNS, encoding="utf-8")
    done = torchrun(out / "several_runs.py", json.dumps(runs))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The checkpoint is in") == len(runs)  # one process reports
    assert losses(out / "first") == losses(out / "second")
    return out


def test_two_processes_have_the_losses_and_the_model_of_one(uneven, together, tmp_path):
    assert cli.main(pretraining(uneven, tmp_path / "one")) == 0
    assert [row["step"] for row in read_log(together / "second")] == [1, 2, 3, 4, 5, 6]
    assert losses(together / "second") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    norms = [[row["gradient_norm"] for row in read_log(run)] for run in (together / "second", tmp_path / "one")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    ours, theirs = parameters(together / "second"), parameters(tmp_path / "one")
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-5, rtol=0, msg=name)


def test_two_processes_augment_streamed_ecgs_as_one_process(uneven, together, tmp_path):
    assert cli.main(pretraining(uneven, tmp_path / "one", *CHANGES)) == 0
    assert losses(together / "augmented") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)


def test_run_with_a_killed_process_ends_with_a_message_and_resumes_exactly(killed, together):
    done, interrupted = killed
    assert done.returncode != 0
    assert "lamae: Process 0 of 2 stops because another one ended or all were stopped" in done.stderr
    assert "Signal 9 (SIGKILL)" in done.stderr  # torchrun's own
    assert losses(interrupted) == losses(together / "second")[:3]
    state = torch.load(interrupted / CHECKPOINT / "training.pt", weights_only=True)
    assert state["step"] == 2
    assert losses(together / "resumed") == losses(together / "second")
    ours, theirs = parameters(together / "resumed"), parameters(together / "second")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
