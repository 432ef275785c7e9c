"""The options of each command. What takes long to import is imported in the command that needs it."""

import argparse
import os
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from lamae_toolkit.errors import ECGError

DEFAULT_WEIGHTS = "lamae-mini-ptbxl"
"""The shipped weights that `explain`, `embed` and `app` use unless another checkpoint is given."""

WORKERS = os.cpu_count() or 1


def demo(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, default=Path("lamae_demo"), help="folder for the results")
    sub.add_argument("--ecgs", type=int, default=3000, help="number of simulated ECGs")
    sub.add_argument("--steps", type=int, default=700, help="training steps")
    sub.add_argument("--seed", type=int, default=0, help="random seed")


def explain(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "record", type=Path, help="an ECG file: WFDB, CSV, NumPy, EDF, DICOM, or XML of MUSE, Sierra or aECG"
    )
    _add_checkpoint(sub)
    sub.add_argument("--out", type=Path, default=None, help="file for the HTML report; explain_RECORD.html if left out")
    _add_reading(sub)


def app(sub: argparse.ArgumentParser) -> None:
    safety = "It listens on 127.0.0.1 only and asks for the token of the address that it prints."
    sub.description = f"{sub.description or ''} {safety}"
    sub.add_argument("folder", type=Path, help="folder of ECG files; nothing outside of it is read")
    _add_checkpoint(sub)
    sub.add_argument("--port", type=int, default=8866, help="port to listen on; 0 takes a free one")


def prepare(sub: argparse.ArgumentParser) -> None:
    from lamae_toolkit.cli.prepare import add_sources

    add_sources(sub)


def simulate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, required=True, help="folder of the new store")
    sub.add_argument("--ecgs", type=int, default=3000, help="number of ECGs")
    sub.add_argument("--seed", type=int, default=0, help="random seed")
    sub.add_argument("--sampling-rate-hz", type=float, default=100.0, help="samples per second")


def pretrain(sub: argparse.ArgumentParser) -> None:
    from lamae_toolkit.model.config import LAMAEConfig
    from lamae_toolkit.training.presets import SIZES
    from lamae_toolkit.training.step import RuntimeConfig
    from lamae_toolkit.training.trainer import TrainConfig

    sub.add_argument("--store", type=Path, required=True, help="folder of the store")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run: log.jsonl and checkpoint/")
    sub.add_argument(
        "--size",
        choices=tuple(SIZES),
        default=None,
        help="size of the model and how it is trained; the options below change single settings of it",
    )
    sub.add_argument("--epochs", type=int, default=None, help="passes over all ECGs, with --size; 100 if left out")
    sub.add_argument(
        "--no-validation",
        action="store_true",
        help="leave out the loss on the store's validation patients, which is logged next to that of training",
    )
    _add_device(sub)
    for config, title in ((TrainConfig, "training"), (LAMAEConfig, "model"), (RuntimeConfig, "hardware")):
        group = sub.add_argument_group(title)
        for field in fields(config):
            _add_setting(group, field)


def _add_setting(group: argparse._ArgumentGroup, field: "Field[Any]") -> None:
    """One setting of a configuration; what is not given comes from the size, if there is one, or else its default."""
    option = f"--{field.name.replace('_', '-')}"
    text = field.metadata["help"]
    if field.default is not MISSING and field.default is not None and field.type is not bool:
        text += f" (default: {field.default})"
    common: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    if field.type is bool:
        group.add_argument(option, action="store_true", **common)
    elif field.metadata["choices"]:
        group.add_argument(option, choices=field.metadata["choices"], **common)
    else:
        group.add_argument(option, type=field.type, **common)


def evaluate(sub: argparse.ArgumentParser) -> None:
    from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS
    from lamae_toolkit.model.precision import PRECISIONS

    sub.add_argument("--store", type=Path, required=True, help="folder of the store")
    sub.add_argument(
        "--checkpoint",
        type=_checkpoint,
        required=True,
        metavar="DIR",
        help="folder of the checkpoint, in which the probe is saved, or the name of shipped weights",
    )
    sub.add_argument("--out", type=Path, default=Path("metrics.json"), help="file for the results (JSON)")
    sub.add_argument(
        "--representation",
        choices=REPRESENTATIONS,
        default="heart",
        help="the features that the probe reads: see REPRESENTATIONS in lamae_toolkit.evaluation.linear_probe",
    )
    sub.add_argument(
        "--min-records-per-code",
        type=int,
        default=10,
        metavar="N",
        help="training ECGs that a code must have to be predicted",
    )
    _add_bootstrap(sub)
    sub.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="precision of the matrix products that embed the ECGs",
    )
    _add_device(sub)


def embed(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("source", type=Path, help="a store, a folder of ECG files, or one ECG file")
    _add_checkpoint(sub)
    sub.add_argument("--out", type=Path, default=Path("embeddings.parquet"), help="file for the table (Parquet)")
    _add_reading(sub)
    _add_device(sub)


def compare(sub: argparse.ArgumentParser) -> None:
    from lamae_toolkit.experiments.comparison.plans import PLANS

    sub.add_argument(
        "recipe",
        choices=tuple(PLANS),
        help="what to compare: see the recipes in lamae_toolkit.experiments.comparison.plans",
    )
    sub.add_argument("--out", type=Path, required=True, help="folder of the comparison; the same command resumes in it")
    sub.add_argument("--store", type=Path, default=None, help="a store to use; made in --out if left out")
    sub.add_argument("--ptbxl", type=Path, default=None, help="folder of PTB-XL as it was unpacked")
    sub.add_argument("--zscored", type=Path, default=None, help="an archive of more PTB-XL records, z-scored (.npz)")
    sub.add_argument("--metadata", type=Path, default=None, help="the table that describes the archive's records")
    sub.add_argument("--seeds", type=int, default=3, help="number of random seeds")
    sub.add_argument(
        "--variant",
        action="append",
        default=None,
        metavar="NAME",
        help="only this row of the table; may be given several times",
    )
    sub.add_argument("--workers", type=int, default=WORKERS, help="cells computed in parallel")
    sub.add_argument("--stop-after", type=int, default=None, metavar="N", help="new cells to compute at most")
    _add_bootstrap(sub)
    _add_device(sub)


def audit(sub: argparse.ArgumentParser) -> None:
    from lamae_toolkit.cli.research import OTHER_COHORT
    from lamae_toolkit.experiments.audit.plan import AuditPlan

    plan = AuditPlan()
    sub.add_argument("--out", type=Path, required=True, help="folder of the audit; the same command resumes in it")
    sub.add_argument(
        "--checkpoint",
        type=_checkpoint,
        nargs="+",
        default=(),
        metavar="DIR",
        help="checkpoints to audit instead of pretraining, or names of shipped weights; several of one kind for the"
        " agreement of seeds",
    )
    sub.add_argument("--ecgs", type=int, default=plan.ecgs, help="ECGs of unseen patients to explain")
    sub.add_argument("--seeds", type=int, default=len(plan.seeds), help="number of models to pretrain")
    sub.add_argument(
        "--seed",
        type=int,
        default=0,
        help=f"seed of the simulated cohort; given checkpoints are audited on that of {OTHER_COHORT} + seed, which they"
        " have not seen",
    )
    sub.add_argument(
        "--representation",
        choices=("summary", "heart", "per_lead"),
        default=plan.representation,
        help="the features that the probe reads",
    )
    _add_bootstrap(sub)
    sub.add_argument("--workers", type=int, default=WORKERS, help="processes in parallel")


def shipped_weights(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, required=True, help="folder of the run; the same command resumes in it")
    sub.add_argument(
        "--store", type=Path, required=True, help="a store of PTB-XL, as `lamae research compare ptbxl` makes it"
    )
    sub.add_argument(
        "--model-name", choices=("LAMAE", "independent leads"), default="LAMAE", help="the model or its twin"
    )
    _add_device(sub)


def _add_checkpoint(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--checkpoint",
        type=_checkpoint,
        default=DEFAULT_WEIGHTS,
        metavar="DIR",
        help="folder of the checkpoint, or the name of weights that come with the toolkit",
    )


def _checkpoint(name: str) -> Path:
    from lamae_toolkit.model.pretrained import shipped_or_own

    try:
        return shipped_or_own(name)
    except ECGError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_bootstrap(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--n-bootstrap", type=int, default=1000, metavar="N", help="bootstrap resamples for the intervals")


def _add_device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--device",
        type=_device,
        default="auto",
        help="where to compute: cpu, cuda, cuda:1, mps; auto is a CUDA GPU if there is one, else the CPU",
    )


def _device(name: str) -> str:
    """A device that is available; argparse tells the user why another is not."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} is not available; choose cpu or leave it out") from error
    return name


def _add_reading(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--sampling-rate-hz", type=float, default=None, help="samples per second, for files that do not give it"
    )
    sub.add_argument("--leads", default=None, help="lead names of a NumPy file in its order, as in I,II,V1")
    sub.add_argument("--unit", default=None, help="unit of the values (mV, uV, V), for files that do not give it")
