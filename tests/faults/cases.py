"""The commands that write, at their smallest size, with what they read."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from harness import Case, run
from lamae_toolkit.cli import commands
from lamae_toolkit.cli.main import main
from lamae_toolkit.data.datasets.code15 import DIAGNOSES
from lamae_toolkit.data.datasets.mimic_like import ECG, ED, HOSP
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.experiments.comparison.plans import Plan
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.trainer import TrainConfig

TINY = shlex.split(
    "--width 32 --heads 4 --pooling-heads 4 --decoder-width 16 --decoder-heads 4 --encoder-depth 1 --latent-depth 1"
    " --batch-size 4 --warmup-steps 1 --log-every 1 --save-every 1 --validate-every 2 --device cpu"
)

CPU = ["--device", "cpu"]
HEAVY = "torch._dynamo", "torch.utils.tensorboard"
"""What training imports while it runs: imported here, it is not imported again in every forked process."""


class Inputs:
    """What the commands read, made when it is first asked for, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        torch.set_num_threads(1)
        for name in HEAVY:
            import_module(name)

    def made(self, name: str, *words: str | Path) -> Path:
        """The output of a command, by its name."""
        return self.by(
            name, lambda folder: main([str(folder / name) if word == "OUT" else str(word) for word in words])
        )

    def by(self, name: str, function: Callable[[Path], int]) -> Path:
        """What a function writes, as a name in this folder."""
        if not (self.folder / name).exists():
            found = run(lambda: function(self.folder))
            assert found.code in (0, 1), found.text
        return self.folder / name

    @property
    def store(self) -> Path:
        return self.made("store", "simulate", "--ecgs", "90", "--out", "OUT")

    @property
    def ecgs(self) -> Path:
        return self.by("ecgs", lambda folder: write_ecgs(folder / "ecgs"))


def write_ecgs(folder: Path, ecgs: int = 3) -> int:
    """Some ECG files."""
    folder.mkdir()
    for number in range(ecgs):
        random = np.random.default_rng(number)
        recording = simulate_ecg(sample_patient(number, random), random).recording
        leads, rate_hz = recording.leads, recording.sampling_rate_hz
        np.savez(folder / f"{number}.npz", signal=recording.signal_mv, sampling_rate_hz=rate_hz, unit="mV", leads=leads)
    return 0


SIMULATE = ["simulate", "--ecgs", "4", "--out"]


def simulate(inputs: Inputs) -> Case:
    return Case([*SIMULATE, "OUT/store"])


def simulate_replacing(inputs: Inputs) -> Case:
    older = inputs.made("older/store", *SIMULATE, "OUT", "--seed", "1")
    return Case([*SIMULATE, "OUT/store"], older.parent, ["store"])


MIMIC_LIKE = ["prepare", "mimic-like", "--ecgs", "4", "--workers", "1", "--out"]


def mimic_like(inputs: Inputs) -> Case:
    return Case([*MIMIC_LIKE, "OUT/new/practice"], again=2)  # it writes only new folders


def mimic(inputs: Inputs) -> Case:
    tree = inputs.made("practice", *MIMIC_LIKE, "OUT")
    tables = ["--ecg", tree / ECG, "--hosp", tree / HOSP, "--ed", tree / ED, "--min-records-per-code", "1"]
    return Case(["prepare", "mimic", *tables, "--workers", "1", "--out", "OUT/store"])


def folder(inputs: Inputs) -> Case:
    return Case(["prepare", "folder", inputs.ecgs, "--workers", "1", "--out", "OUT/store"])


def folder_by_two_workers(inputs: Inputs) -> Case:
    return Case(["prepare", "folder", inputs.ecgs, "--workers", "2", "--out", "OUT/store"])


def folder_replacing(inputs: Inputs) -> Case:
    words = ["prepare", "folder", inputs.ecgs, "--workers", "1", "--out"]
    older = inputs.made("prepared/store", *words, "OUT", "--duration-s", "5")
    return Case([*words, "OUT/store"], older.parent, ["store"])


def ptbxl(inputs: Inputs) -> Case:
    return Case(
        ["prepare", "ptbxl", "--root", inputs.by("ptb-xl", write_ptbxl), "--workers", "1", "--out", "OUT/store"]
    )


def code15(inputs: Inputs) -> Case:
    root = inputs.by("code-15", write_code15)
    return Case(["prepare", "code15", root, "--duration-s", "7", "--workers", "1", "--out", "OUT/store"])


def write_code15(folder: Path, ecgs: int = 3) -> int:
    """Files in the layout of CODE-15: noise in one part, and its table."""
    import h5py

    root, exams = folder / "code-15", np.arange(1, ecgs + 1)
    root.mkdir()
    with h5py.File(root / "exams_part0.hdf5", "w") as file:
        file["exam_id"] = np.append(exams, 0)
        file["tracings"] = np.random.default_rng(0).normal(0, 0.3, (ecgs + 1, 4096, 12)).astype(np.float32)
    about = {"exam_id": exams, "patient_id": exams, "age": 60, "is_male": True, "trace_file": "exams_part0.hdf5"}
    pd.DataFrame(about | {name: exams == 1 for name in DIAGNOSES}).to_csv(root / "exams.csv", index=False)
    return 0


def write_ptbxl(folder: Path, ecgs: int = 3) -> int:
    """Files in the layout of PTB-XL: records of simulated ECGs, and its two tables."""
    root, rows = folder / "ptb-xl", []
    for number in range(1, ecgs + 1):
        random = np.random.default_rng(number)
        signal_mv = simulate_ecg(sample_patient(number, random), random).recording.select(LEADS).signal_mv
        name = f"records500/00000/{number:05d}_hr"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.dat").write_bytes(np.rint(signal_mv.T * 1000).astype("<i2").tobytes())
        lines = [f"{number:05d}_hr 12 500 {signal_mv.shape[1]}"]
        lines += [f"{number:05d}_hr.dat 16 1000.0(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS]
        (root / f"{name}.hea").write_text("\n".join(lines) + "\n")
        about = {"ecg_id": number, "patient_id": number, "age": 60.0, "sex": 0, "strat_fold": number}
        about |= {"scp_codes": "{'NORM': 100.0}", "infarction_stadium1": ""}
        rows.append(about | {"filename_hr": name, "filename_lr": name})
    pd.DataFrame(rows).to_csv(root / "ptbxl_database.csv", index=False)
    statements = pd.DataFrame({"diagnostic": [1.0], "diagnostic_class": ["NORM"]}, index=["NORM"])
    statements.to_csv(root / "scp_statements.csv")
    return 0


def pretraining(inputs: Inputs) -> list[str | Path]:
    return ["pretrain", "--store", inputs.store, *TINY, "--steps", "4", "--out"]


def pretrain(inputs: Inputs) -> Case:
    return Case([*pretraining(inputs), "OUT/run"])


def pretrain_resuming(inputs: Inputs) -> Case:
    words = [str(word) for word in pretraining(inputs)]

    def half(folder: Path) -> int:
        complete = commands.pretrain
        commands.pretrain = lambda *arguments, **options: complete(*arguments, **options, stop_after=2)
        return main([*words, str(folder / "begun" / "run")])

    return Case([*words, "OUT/run"], inputs.by("begun", half), ["run/checkpoint"])


def evaluate(inputs: Inputs) -> Case:
    trained = inputs.made("trained/run", *pretraining(inputs), "OUT").parent
    words = ["evaluate", "--store", inputs.store, "--checkpoint", "OUT/run/checkpoint", "--out", "OUT/metrics.json"]
    return Case([*words, "--n-bootstrap", "5", "--min-records-per-code", "3", *CPU], trained, ["run/checkpoint"])


def explain(inputs: Inputs) -> Case:
    return Case(["explain", inputs.ecgs / "0.npz", "--out", "OUT/explained.html"])


def embed(inputs: Inputs) -> Case:
    return Case(["embed", inputs.ecgs, "--out", "OUT/table.parquet", *CPU])


def lead_terms(inputs: Inputs) -> Case:
    return Case(["lead-terms", inputs.ecgs, "--out", "OUT/table.csv", *CPU])


def export(inputs: Inputs) -> Case:
    return Case(["export", "--onnx", "OUT/model.onnx"])


# Studies of many seconds, with smaller models and fewer resamples than their commands have options for.

SMALLEST: dict[str, Any] = {
    "model": replace(MINI, width=32, heads=4, pooling_heads=4, encoder_depth=1, latent_depth=1),
    "train": TrainConfig(steps=3, batch_size=8, warmup_steps=1),
}
STUDY = ["--workers", "1", "--n-bootstrap", "5", "--seeds", "1"]


def demo(inputs: Inputs) -> Case:
    from lamae_toolkit.experiments import demo

    def smaller() -> None:
        demo.demo.__kwdefaults__["n_bootstrap"] = 5

    return Case(["demo", "--out", "OUT/demo", "--ecgs", "200", "--steps", "2"], smaller=smaller)


def compare(inputs: Inputs) -> Case:
    from lamae_toolkit.experiments.comparison.plans import PLANS

    simulated = PLANS["simulated"]

    def small(store: Store) -> Plan:
        plan = simulated(store)
        tasks = {"codes": plan.tasks["codes"][:2]}
        return replace(plan, tasks=tasks, fractions=(1.0,), subsets=("12 leads",), **SMALLEST)

    larger = inputs.made("larger", "simulate", "--ecgs", "220", "--out", "OUT")
    words = ["research", "compare", "simulated", "--store", larger, "--out", "OUT/compared", *CPU, *STUDY]
    words += ["--variant", "LAMAE", "--variant", "random encoder"]
    return Case(words, smaller=lambda: PLANS.update(simulated=small))


def audit(inputs: Inputs) -> Case:
    from lamae_toolkit.cli import research

    plan = research.AuditPlan

    def small(*arguments: Any, **options: Any) -> Any:
        return replace(plan(*arguments, **options), cohort_ecgs=220, least_auroc=0.3, **SMALLEST)

    words = ["research", "audit", "--out", "OUT/audited", "--ecgs", "1", "--occluded-ecgs", "1", *STUDY]
    return Case(words, smaller=lambda: setattr(research, "AuditPlan", small))


CASES: dict[str, Callable[[Inputs], Case]] = {
    "simulate": simulate,
    "simulate, replacing": simulate_replacing,
    "prepare mimic-like": mimic_like,
    "prepare mimic": mimic,
    "prepare ptbxl": ptbxl,
    "prepare code15": code15,
    "prepare folder": folder,
    "prepare folder, two workers": folder_by_two_workers,
    "prepare folder, replacing": folder_replacing,
    "pretrain": pretrain,
    "pretrain, resuming": pretrain_resuming,
    "evaluate": evaluate,
    "explain": explain,
    "embed": embed,
    "lead-terms": lead_terms,
    "export": export,
    "demo": demo,
    "research compare": compare,
    "research audit": audit,
}
