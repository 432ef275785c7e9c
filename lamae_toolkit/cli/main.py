"""The command `lamae`: its words and what they mean; `commands` does what they ask for."""

import argparse
import os
import sys
import warnings
from dataclasses import fields
from pathlib import Path

import torch

from lamae_toolkit.cli import commands
from lamae_toolkit.cli.app import add_app
from lamae_toolkit.cli.audit import add_audit
from lamae_toolkit.cli.prepare import add_prepare
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS
from lamae_toolkit.experiments.comparison.plans import PLANS
from lamae_toolkit.experiments.demo import METRICS_FILE
from lamae_toolkit.model.config import CHOICES, LAMAEConfig
from lamae_toolkit.model.precision import PRECISIONS
from lamae_toolkit.model.pretrained import shipped_or_own
from lamae_toolkit.training.distributed import world_size
from lamae_toolkit.training.loader import DATA
from lamae_toolkit.training.presets import SIZES
from lamae_toolkit.training.step import Compute
from lamae_toolkit.training.trainer import TrainConfig

HELP = {
    "sampling_rate_hz": "samples per second that the model reads",
    "patch_samples": "samples in a patch, the piece that is hidden or shown as a whole",
    "max_patches": "patches of the longest ECG",
    "width": "numbers by which the model describes a patch",
    "heads": "attention heads",
    "encoder_depth": "layers that read each lead on its own",
    "latent_depth": "layers of latent attention, which connect the leads",
    "pooling_heads": "sets of lead weights",
    "decoder_width": "width of the decoder",
    "decoder_heads": "attention heads of the decoder",
    "decoder_depth": "layers that draw the hidden patches",
    "tokens": "which latents meet in latent attention: all, one per lead (cls), or all by way of a few (induced)",
    "induced_latents": "how many learned latents stand between the leads, with tokens induced",
    "pooling": "how leads are added up: by weights that depend on the ECG, or all alike",
    "heart": "what the decoder hears of the other leads: one heart token, or the heart at each moment",
    "normalization": "divide by each lead's own spread, or by one for the whole record",
    "mask_ratio": "share of the patches that is hidden in pretraining",
    "masked_leads": "whole leads hidden in pretraining, besides the patches",
    "lead_embedding": "tell the lead encoder which lead it reads",
    "amplitude_input": "tell the lead encoder the lead's height in mV",
    "steps": "training steps",
    "batch_size": "ECGs per step",
    "learning_rate": "largest learning rate",
    "warmup_steps": "steps over which the learning rate rises",
    "weight_decay": "pull of the weights towards zero",
    "clip_norm": "largest gradient norm",
    "seed": "start of the random numbers",
    "log_every": "steps between rows of the log",
    "save_every": "steps between checkpoints",
    "accumulation": "parts in which a batch is computed one after the other, to save memory",
    "precision": "of matrix products; parameters stay in float32",
    "compile": "compile the model by torch.compile first",
    "data": "where the ECGs are: resident on the device, streamed to it, or what fits (auto)",
    "crop_patches": "patches of the stretch that is taken of each ECG at random; 0 takes it whole",
    "scale_jitter": "share by which each ECG is made larger or smaller at random",
    "lead_dropout": "chance at which each lead is left out",
    "noise_mv": "standard deviation of the noise that is added, in mV",
}


def main(words: list[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 when all went well, 1 when some records were refused, 2 for a refused input, 130 when interrupted.
    """
    arguments = _parser().parse_args(words)
    # A lead that is left out is said in one line, without Python's source lines around it.
    warnings.showwarning = lambda message, *_, **__: print(f"lamae: {message}", file=sys.stderr)
    try:
        if world_size() > 1 and arguments.run is not commands.pretrain_command:
            raise ECGError("Several processes can share `lamae pretrain` alone; start this command without torchrun.")
        return arguments.run(arguments) or 0
    except ECGError as error:
        print(f"lamae: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamae",
        description="Masked autoencoding on 12-lead ECGs: pretrain a model, predict ICD-10 codes, see which leads it"
        " weighs. For research and teaching, not for diagnosis.",
    )
    subcommands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name, help_text):
        sub = subcommands.add_parser(
            name, help=help_text, description=help_text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(run=getattr(commands, f"{name}_command"))
        return sub

    sub = command("demo", "Do the whole job on simulated ECGs (no download) and write an HTML report.")
    sub.add_argument("--out", type=Path, default=Path("lamae_demo"), help="folder for the results")
    sub.add_argument("--ecgs", type=int, default=3000, help="simulated ECGs")
    sub.add_argument("--steps", type=int, default=700, help="training steps")
    sub.add_argument("--seed", type=int, default=0, help="start of the random numbers")

    sub = command("simulate", "Simulate a cohort of patients with ICD-10-coded conditions, as a store.")
    sub.add_argument("--out", type=Path, required=True, help="folder of the new store")
    sub.add_argument("--ecgs", type=int, default=3000, help="how many ECGs")
    sub.add_argument("--seed", type=int, default=0, help="start of the random numbers")
    sub.add_argument("--sampling-rate-hz", type=float, default=100.0, help="samples per second")

    add_prepare(subcommands)

    sub = command("pretrain", "Pretrain a model on the training patients of a store; the same command resumes.")
    sub.add_argument("--store", type=Path, required=True, help="folder of the store")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run: log.jsonl and checkpoint/")
    sub.add_argument(
        "--size",
        choices=tuple(SIZES),
        default=None,
        help="a recipe of lamae_toolkit.training.presets, which the options below change",
    )
    sub.add_argument("--epochs", type=int, default=None, help="how often a --size sees each ECG; 100 if not given")
    _add_device(sub)
    choices = CHOICES | {"precision": PRECISIONS, "data": DATA}
    for config, title in ((TrainConfig, "training"), (LAMAEConfig, "model"), (Compute, "hardware")):
        group = sub.add_argument_group(title)
        for field in fields(config):
            option = f"--{field.name.replace('_', '-')}"
            # What is not given comes from the size, if there is one, and else from these defaults.
            text = f"{HELP[field.name]} (default: {field.default})"
            if field.type is bool:
                group.add_argument(option, action="store_true", default=argparse.SUPPRESS, help=text)
            else:
                group.add_argument(
                    option, type=field.type, default=argparse.SUPPRESS, choices=choices.get(field.name), help=text
                )

    sub = command("evaluate", "Predict ICD-10 codes of unseen patients from a frozen model, beside a random one.")
    sub.add_argument("--store", type=Path, required=True, help="folder of the store")
    sub.add_argument(
        "--checkpoint",
        type=shipped_or_own,
        required=True,
        help="folder of the checkpoint, which gets the probe, or the name of shipped weights",
    )
    sub.add_argument("--out", type=Path, default=Path(METRICS_FILE), help="file for the results (JSON)")
    sub.add_argument(
        "--representation",
        choices=REPRESENTATIONS,
        default="heart",
        help="what the probe reads: see REPRESENTATIONS in lamae_toolkit.evaluation.linear_probe",
    )
    sub.add_argument("--minimum", type=int, default=10, help="training ECGs that a code must have to be predicted")
    sub.add_argument("--n-bootstrap", type=int, default=1000, help="bootstrap draws for the intervals")
    sub.add_argument(
        "--large",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="compute by torch on the device, in bounded memory; else from 50,000 ECGs on",
    )
    sub.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of the matrix products that embed the ECGs of a large cohort",
    )
    _add_device(sub)

    sub = command(
        "compare",
        "Pretrain LAMAE and its rivals with several seeds, probe them, and write a table with intervals and figures.",
    )
    sub.add_argument(
        "recipe",
        choices=tuple(PLANS),
        help="what to compare: see the recipes in lamae_toolkit.experiments.comparison.plans",
    )
    sub.add_argument("--out", type=Path, required=True, help="folder of the comparison; the same command goes on in it")
    sub.add_argument("--store", type=Path, default=None, help="a store to use; made in --out if not given")
    sub.add_argument("--ptbxl", type=Path, default=None, help="folder of PTB-XL as it was unpacked")
    sub.add_argument("--zscored", type=Path, default=None, help="an archive of more PTB-XL records, z-scored (.npz)")
    sub.add_argument("--metadata", type=Path, default=None, help="the table that describes the archive's records")
    sub.add_argument("--seeds", type=int, default=3, help="how many seeds")
    sub.add_argument("--variants", default=None, help="only these rows of the table, separated by semicolons")
    sub.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1)), help="cells computed side by side")
    sub.add_argument("--stop-after", type=int, default=None, help="new cells to compute at most")
    sub.add_argument("--n-bootstrap", type=int, default=1000, help="bootstrap draws for the intervals")
    _add_device(sub)

    add_audit(subcommands)

    sub = command("small", "Train the weights that come with the toolkit, on simulated ECGs and PTB-XL.")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run; the same command goes on in it")
    sub.add_argument("--store", type=Path, required=True, help="a store of PTB-XL, as `lamae compare ptbxl` makes it")
    sub.add_argument(
        "--model-name", choices=("LAMAE", "independent leads"), default="LAMAE", help="the model or its twin"
    )
    _add_device(sub)

    sub = command("embed", "Write what the model knows of each ECG of a store, a folder or a file, as a table.")
    sub.add_argument("source", type=Path, help="a store, a folder of ECG files, or one ECG file")
    sub.add_argument(
        "--checkpoint",
        type=shipped_or_own,
        default="lamae-small",
        help="folder of the checkpoint, or the name of weights that come with the toolkit",
    )
    sub.add_argument("--out", type=Path, default=Path("embeddings.parquet"), help="file for the table (Parquet)")
    _add_reading(sub)
    _add_device(sub)

    sub = command("explain", "Show the lead weights, latent attention and predicted codes of one ECG.")
    sub.add_argument("record", type=Path, help="an ECG file: WFDB (.hea), CSV or NumPy")
    sub.add_argument(
        "--checkpoint",
        type=shipped_or_own,
        default="lamae-small",
        help="folder of the checkpoint, or the name of weights that come with the toolkit",
    )
    sub.add_argument("--out", type=Path, default=None, help="the HTML report; explain_RECORD.html if not given")
    _add_reading(sub)

    add_app(subcommands)
    return parser


def _add_device(sub: argparse.ArgumentParser) -> None:
    default = "cuda" if torch.cuda.is_available() else "cpu"
    sub.add_argument("--device", type=_device, default=default, help="where to compute: cpu, cuda, cuda:1, mps")


def _device(name: str) -> str:
    """A device that is there; argparse tells the user why another is not."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} is not to be had here; choose cpu or leave it out") from error
    return name


def _add_reading(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--sampling-rate-hz", type=float, default=None, help="samples per second, for files that do not say"
    )
    sub.add_argument("--leads", default=None, help="lead names of a NumPy file in its order, as in I,II,V1")
    sub.add_argument("--unit", default=None, help="unit of the values (mV, uV, V), for files that do not say")


if __name__ == "__main__":
    sys.exit(main())
