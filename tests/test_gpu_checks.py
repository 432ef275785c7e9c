"""benchmarks/gpu_checks.sh: everything that will run on the first GPU runs on a CPU, with the core's packages only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_core_install import block_all_but_the_core

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu_checks.sh"
HEADINGS = [
    "## What must hold on a GPU",
    "## Ceilings and training steps",
    "## Waiting for data",
    "## Embedding 800,000 ECGs",
    "## A probe of many codes",
]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="a script for Linux")


def run_script(*words: str, **environment: str) -> subprocess.CompletedProcess:
    command = ["bash", str(SCRIPT), "--device", "cpu", "--quick", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.slow
def test_gpu_checks_run_on_a_cpu_with_the_packages_of_the_core(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(block_all_but_the_core())
    ran = run_script(PYTHON=sys.executable, PYTHONPATH=str(tmp_path), OUT=str(tmp_path / "out"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert [line for line in lines if line.startswith("## ")] == HEADINGS
    assert "failed" not in ran.stdout.lower() and "skipped" not in ran.stdout.lower(), ran.stdout
    parts = ran.stdout.split("## ")[1:]
    checks, training, feed, embedding, probe = ([line for line in part.splitlines() if "|" in line] for part in parts)
    assert len(checks) == 2 + 7 and all(" | passed | " in line for line in checks[2:])
    assert sum(line.startswith("| toy, plain |") for line in training) == 2 and "TFLOP/s" in parts[1]
    assert [line.split(" | ")[0] for line in feed[2:]] == [
        "| the same again",
        "| read when due",
        "| resident",
        "| streamed",
    ]
    assert embedding[-1].startswith("| mini | ") and "extrapolated from 8" in embedding[-1]
    assert [line.split(" | ")[0] for line in probe[2:]] == ["| probe of 4 codes", "| 5 resamples of AUROC and AUPRC"]
    report = (tmp_path / "out" / "gpu_checks.md").read_text()
    assert ran.stdout.startswith(report) and HEADINGS[-1] in report


def test_a_part_that_fails_is_reported_and_the_others_run(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase $1 in *feed*) echo no such GPU >&2; exit 3;; esac\necho "ran $*"\n')
    python.chmod(0o755)
    ran = run_script(PYTHON=str(python))
    assert ran.returncode == 1
    assert [line for line in ran.stdout.splitlines() if line.startswith("## ")] == HEADINGS
    assert ran.stdout.count("ran benchmarks/") == 4 and "ran benchmarks/probe_at_scale.py --device cpu" in ran.stdout
    assert "Failed with exit code 3:\n```\nno such GPU\n```" in ran.stdout and "a part failed" in ran.stdout
    assert run_script("--cpu").returncode == 2
