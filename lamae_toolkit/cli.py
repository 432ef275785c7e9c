"""The command `lamae`: each subcommand is a few lines over the library."""

import argparse
import os
import sys
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from lamae_toolkit.batch import collate
from lamae_toolkit.checkpoint import shipped_or_own
from lamae_toolkit.config import CHOICES, LAMAEConfig
from lamae_toolkit.datasets.ptbxl import ptbxl_store
from lamae_toolkit.datasets.simulated import simulate_store
from lamae_toolkit.ecg import ECGError, Recording
from lamae_toolkit.evaluate import Split, compare, embed_rows
from lamae_toolkit.explain import explain_ecg
from lamae_toolkit.files import write_json, written_whole
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model import LAMAE, Embedding
from lamae_toolkit.plans import PLANS
from lamae_toolkit.probe import Probe
from lamae_toolkit.readers import find_ecgs, read_ecg
from lamae_toolkit.recipes import (
    METRICS_FILE,
    REPORT_FILE,
    demo,
    evaluate_beside_random,
    explanation_sections,
)
from lamae_toolkit.report import write_report
from lamae_toolkit.rivals import RESULTS_FILE, compare_rivals, main_rows, readable
from lamae_toolkit.small import train_small
from lamae_toolkit.store import Store
from lamae_toolkit.train import CHECKPOINT, TrainConfig, pretrain

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
    "normalisation": "divide by each lead's own spread, or by one for the whole record",
    "mask_ratio": "share of the patches that is hidden in pretraining",
    "hidden_leads": "whole leads hidden in pretraining, besides the patches",
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
}


def main(words: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 when all went well, 2 for a refused input, 130 when interrupted."""
    arguments = _parser().parse_args(words)
    # A lead that is left out is said in one line, without Python's source lines around it.
    warnings.showwarning = lambda message, *_, **__: print(f"lamae: {message}", file=sys.stderr)
    try:
        arguments.run(arguments)
    except ECGError as error:
        print(f"lamae: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamae",
        description="Masked autoencoding on 12-lead ECGs: pretrain a model, predict ICD-10 codes, see which leads it"
        " weighs. For research and teaching, not for diagnosis.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name, run, help_text):
        sub = commands.add_parser(
            name, help=help_text, description=help_text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(run=run)
        return sub

    sub = command("demo", _demo, "Do the whole job on simulated ECGs (no download) and write an HTML report.")
    sub.add_argument("--out", type=Path, default=Path("lamae_demo"), help="folder for the results")
    sub.add_argument("--ecgs", type=int, default=3000, help="simulated ECGs")
    sub.add_argument("--steps", type=int, default=700, help="training steps")
    sub.add_argument("--seed", type=int, default=0, help="start of the random numbers")

    sub = command("simulate", _simulate, "Simulate a cohort of patients with ICD-10-coded conditions, as a store.")
    sub.add_argument("--out", type=Path, required=True, help="folder of the new store")
    sub.add_argument("--ecgs", type=int, default=3000, help="how many ECGs")
    sub.add_argument("--seed", type=int, default=0, help="start of the random numbers")
    sub.add_argument("--sampling-rate-hz", type=float, default=100.0, help="samples per second")

    sub = command(
        "pretrain", _pretrain, "Pretrain a model on the training patients of a store; the same command resumes."
    )
    sub.add_argument("--store", type=Path, required=True, help="folder of the store")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run: log.jsonl and checkpoint/")
    _add_device(sub)
    for config, title in ((TrainConfig, "training"), (LAMAEConfig, "model")):
        group = sub.add_argument_group(title)
        for field in fields(config):
            option = f"--{field.name.replace('_', '-')}"
            if field.type is bool:
                group.add_argument(option, action="store_true", help=HELP[field.name])
            else:
                group.add_argument(
                    option,
                    type=field.type,
                    default=field.default,
                    choices=CHOICES.get(field.name),
                    help=HELP[field.name],
                )

    sub = command(
        "evaluate", _evaluate, "Predict ICD-10 codes of unseen patients from a frozen model, beside a random one."
    )
    sub.add_argument("--store", type=Path, required=True, help="folder of the store")
    sub.add_argument(
        "--checkpoint", type=shipped_or_own, required=True, help="folder of the checkpoint; the probe is saved there"
    )
    sub.add_argument("--out", type=Path, default=Path(METRICS_FILE), help="file for the results (JSON)")
    sub.add_argument("--representation", choices=("heart", "per_lead"), default="heart",
                     help="what the probe reads: the pooled heart token, or the latents of all leads")  # fmt: skip
    sub.add_argument("--minimum", type=int, default=10, help="training ECGs that a code must have to be predicted")
    sub.add_argument("--replicates", type=int, default=1000, help="bootstrap draws for the intervals")
    _add_device(sub)

    sub = command(
        "compare",
        _compare,
        "Pretrain LAMAE and its rivals with several seeds, probe them, and write a table with intervals and figures.",
    )
    sub.add_argument("recipe", choices=tuple(PLANS), help="what to compare: see the recipes in lamae_toolkit.plans")
    sub.add_argument("--out", type=Path, required=True, help="folder of the comparison; the same command goes on in it")
    sub.add_argument("--store", type=Path, default=None, help="a store to use; made in --out if not given")
    sub.add_argument("--ptbxl", type=Path, default=None, help="folder of PTB-XL as it was unpacked")
    sub.add_argument("--zscored", type=Path, default=None, help="an archive of more PTB-XL records, z-scored (.npz)")
    sub.add_argument("--metadata", type=Path, default=None, help="the table that describes the archive's records")
    sub.add_argument("--seeds", type=int, default=3, help="how many seeds")
    sub.add_argument("--variants", default=None, help="only these rows of the table, separated by semicolons")
    sub.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1)), help="cells computed side by side")
    sub.add_argument("--stop-after", type=int, default=None, help="new cells to compute at most")
    sub.add_argument("--replicates", type=int, default=1000, help="bootstrap draws for the intervals")
    _add_device(sub)

    sub = command("small", _small, "Train the weights that come with the toolkit, on simulated ECGs and PTB-XL.")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run; the same command goes on in it")
    sub.add_argument("--store", type=Path, required=True, help="a store of PTB-XL, as `lamae compare ptbxl` makes it")
    sub.add_argument("--rival", choices=("LAMAE", "independent leads"), default="LAMAE", help="the model or its twin")
    _add_device(sub)

    sub = command("embed", _embed, "Write what the model knows of each ECG of a store, a folder or a file, as a table.")
    sub.add_argument("source", type=Path, help="a store, a folder of ECG files, or one ECG file")
    sub.add_argument("--checkpoint", type=shipped_or_own, default="lamae-small",
                     help="folder of the checkpoint, or the name of weights that come with the toolkit")  # fmt: skip
    sub.add_argument("--out", type=Path, default=Path("embeddings.parquet"), help="file for the table (Parquet)")
    _add_reading(sub)
    _add_device(sub)

    sub = command("explain", _explain, "Show the lead weights, latent attention and predicted codes of one ECG.")
    sub.add_argument("record", type=Path, help="an ECG file: WFDB (.hea), CSV or NumPy")
    sub.add_argument("--checkpoint", type=shipped_or_own, default="lamae-small",
                     help="folder of the checkpoint, or the name of weights that come with the toolkit")  # fmt: skip
    sub.add_argument("--out", type=Path, default=None, help="the HTML report; explain_RECORD.html if not given")
    _add_reading(sub)
    return parser


def _add_device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")


def _add_reading(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--rate", type=float, default=None, help="sampling rate in Hz, for files that do not say")
    sub.add_argument("--leads", default=None, help="lead names of a NumPy file in its order, as in I,II,V1")
    sub.add_argument("--unit", default=None, help="unit of the values (mV, uV, V), for files that do not say")


def _demo(arguments: argparse.Namespace) -> None:
    metrics = demo(arguments.out, ecgs=arguments.ecgs, steps=arguments.steps, seed=arguments.seed)
    for evaluation in metrics["evaluations"]:
        print(f"{evaluation['name']:34} macro AUROC {_interval(evaluation['macro_auroc'])}")
    difference = metrics["lamae_minus_random"]["macro_auroc_difference"]
    print(f"{'difference of the heart tokens':34}             {_interval(difference)}")
    print(f"Open {arguments.out.resolve() / 'report.html'} in a browser.")


def _simulate(arguments: argparse.Namespace) -> None:
    store = simulate_store(arguments.out, arguments.ecgs, arguments.seed, sampling_rate_hz=arguments.sampling_rate_hz)
    print(f"{len(store)} ECGs of {store.index.patient_id.nunique()} patients in {arguments.out}.")


def _pretrain(arguments: argparse.Namespace) -> None:
    chosen = vars(arguments)
    model_config = LAMAEConfig(**{field.name: chosen[field.name] for field in fields(LAMAEConfig)})
    train_config = TrainConfig(**{field.name: chosen[field.name] for field in fields(TrainConfig)})
    store = Store.open(arguments.store)
    torch.manual_seed(train_config.seed)
    model = LAMAE(model_config)
    pretrain(model, store, store.rows(Split().train), arguments.out, train_config, device=arguments.device)
    print(f"The checkpoint is in {arguments.out / CHECKPOINT}; give it to `lamae evaluate` next.")


def _model(folder: Path) -> LAMAE:
    """The model in this folder. A path that is not there is not looked for on the Hugging Face hub."""
    if not folder.is_dir():
        raise ECGError(f"There is no checkpoint folder {folder}; check the path.")
    return LAMAE.from_pretrained(folder)


def _evaluate(arguments: argparse.Namespace) -> None:
    store, model = Store.open(arguments.store), _model(arguments.checkpoint)
    lamae, untrained = evaluate_beside_random(
        model, store, Split(), representations=(arguments.representation,), minimum=arguments.minimum,
        replicates=arguments.replicates, device=arguments.device,
    )  # fmt: skip
    lamae.probe.save(arguments.checkpoint)
    difference = compare(lamae, untrained)
    write_json(arguments.out, {"evaluations": [lamae.to_dict(), untrained.to_dict()], "lamae_minus_random": difference})
    table = lamae.table().drop(columns=["positives"]).rename(index=name_of)
    print(table.to_string(float_format="{:.3f}".format))
    for evaluation in (lamae, untrained):
        print(f"{evaluation.name:34} macro AUROC {evaluation.auroc.macro()}, macro AUPRC {evaluation.auprc.macro()}")
    print(f"{lamae.test_ecgs} ECGs of {lamae.test_patients} unseen patients; results in {arguments.out}.")


def _compare(arguments: argparse.Namespace) -> None:
    store = _comparison_store(arguments)
    plan = replace(PLANS[arguments.recipe](store), seeds=tuple(range(arguments.seeds)))
    if arguments.variants:
        names = [name.strip() for name in arguments.variants.split(";")]
        unknown = [name for name in names if name not in plan.variants]
        if unknown:
            raise ECGError(f"There is no variant {unknown[0]!r}; choose from {'; '.join(plan.variants)}.")
        plan = replace(plan, variants={name: plan.variants[name] for name in names})
    # A GPU is kept busy by one cell at a time; cores work side by side.
    workers = arguments.workers if arguments.device == "cpu" else 1
    results = compare_rivals(
        plan, store, arguments.out, command="lamae " + " ".join(sys.argv[1:]), workers=workers,
        device=arguments.device, stop_after=arguments.stop_after, replicates=arguments.replicates,
    )  # fmt: skip
    for task in plan.tasks:
        print(f"\n{task}, all labels, all leads:\n{readable(main_rows(results, task)).to_string()}")
    if results["missing_cells"]:
        print(f"\n{results['missing_cells']} cells are still missing; the same command goes on with them.")
    print(f"\nResults in {arguments.out / RESULTS_FILE}; open {(arguments.out / REPORT_FILE).resolve()} in a browser.")


def _small(arguments: argparse.Namespace) -> None:
    store = Store.open(arguments.store)
    metrics = train_small(arguments.out, store, rival=arguments.rival, device=arguments.device)
    for name in ("superclasses, per_lead", "codes, per_lead"):
        print(f"{name:24} macro AUROC {_interval(metrics[name])} on folds 9 and 10")
    print(f"Copy {arguments.out / 'shipped'} to where it is wanted.")


def _comparison_store(arguments: argparse.Namespace) -> Store:
    """The store that was given, or the one that this comparison made, or a new one."""
    folder = arguments.store or arguments.out / "store"
    if arguments.store or folder.is_dir():
        return Store.open(folder)
    if arguments.recipe == "simulated":
        return simulate_store(folder)
    if arguments.ptbxl is None:
        raise ECGError("Give the folder of PTB-XL by --ptbxl, or a store of it by --store.")
    return ptbxl_store(folder, arguments.ptbxl, zscored=arguments.zscored, metadata=arguments.metadata)


def _embed(arguments: argparse.Namespace) -> None:
    model = _model(arguments.checkpoint)
    if (arguments.source / "store.json").is_file():
        store = Store.open(arguments.source)
        embedding = embed_rows(model, store, np.arange(len(store)), device=arguments.device)
        table = store.index[["patient_id", "study_id"]].reset_index(drop=True)
    else:
        files = find_ecgs(arguments.source) if arguments.source.is_dir() else [arguments.source]
        model.to(arguments.device)
        # One by one: files may differ in length, and a batch may not.
        parts, read = [], []
        for file in tqdm(files, desc="embedding", unit="ECG"):
            try:
                parts.append(_embed_one(model, _read(file, arguments), arguments.device))
                read.append(file)
            except ECGError as error:  # one file that is no ECG must not cost all others
                if len(files) == 1:
                    raise
                tqdm.write(f"lamae: left out: {error}", file=sys.stderr)
        if not parts:
            raise ECGError(f"None of the {len(files)} files in {arguments.source} could be read as an ECG.")
        files = read
        embedding = Embedding(*(torch.cat(part) for part in zip(*parts, strict=True)))
        table = pd.DataFrame({"file": [str(file) for file in files]})
    table["heart"] = embedding.heart.numpy().tolist()
    table["lead_weights"] = embedding.lead_weights.mean(dim=1).numpy().tolist()
    with written_whole(arguments.out) as partial:
        table.to_parquet(partial)
    print(f"{len(table)} ECGs, {embedding.heart.shape[1]} numbers each and 12 lead weights, in {arguments.out}.")


@torch.inference_mode()
def _embed_one(model: LAMAE, recording: Recording, device: str) -> Embedding:
    batch = collate([recording], model.config.sampling_rate_hz, model.config.duration_s).to(device)
    return Embedding(*(part.cpu() for part in model.embed(batch)))


def _explain(arguments: argparse.Namespace) -> None:
    model = _model(arguments.checkpoint)
    probe = Probe.load(arguments.checkpoint)
    recording = _read(arguments.record, arguments)
    explanation = explain_ecg(model, recording, probe)
    print(explanation.weight_table().to_string(float_format="{:.3f}".format))
    print()
    print(explanation.attention_table().to_string(float_format="{:.2f}".format))
    print()
    for code, chance in explanation.chances.sort_values(ascending=False).head(5).items():
        print(f"{chance:6.1%}  {name_of(code)}")
    notes = " ".join(recording.notes)
    read_s = min(recording.duration_s, model.config.duration_s)
    text = (
        f"{len(recording.leads)} leads at {recording.sampling_rate_hz:g} Hz; the first {read_s:g} of"
        f" {recording.duration_s:g} s were read. {notes} The chances are those of the cohort that the probe learned"
        " from."
    )
    out = arguments.out or Path(f"explain_{arguments.record.stem}.html")
    sections = explanation_sections(explanation, "Lead weights and latent attention", text)
    introduction = f"Read from {arguments.record.name} by the checkpoint {arguments.checkpoint}."
    write_report(out, f"What LAMAE made of {arguments.record.stem}", introduction, sections)
    print(f"Open {out.resolve()} in a browser.")


def _read(file: Path, arguments: argparse.Namespace) -> Recording:
    leads = arguments.leads.split(",") if arguments.leads and file.suffix in (".npy", ".npz") else None
    return read_ecg(file, sampling_rate_hz=arguments.rate, unit=arguments.unit, leads=leads)


def _interval(estimate: dict) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
