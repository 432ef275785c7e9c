"""What each subcommand of `lamae` does: a few lines over the library, given the words that were parsed."""

import argparse
import shlex
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from lamae_toolkit.data.batch import collate
from lamae_toolkit.data.datasets.folder import read_own
from lamae_toolkit.data.datasets.ptbxl import ptbxl_store
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.io.read import find_ecgs
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Split, compare, embed_rows
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.experiments.comparison.plans import PLANS
from lamae_toolkit.experiments.comparison.report import RESULTS_FILE, compare_methods, main_rows, readable
from lamae_toolkit.experiments.demo import REPORT_FILE, demo, evaluate_beside_random, explanation_sections
from lamae_toolkit.experiments.shipped_weights import train_small
from lamae_toolkit.explain.encoded import attention_summary
from lamae_toolkit.files import atomic_write, write_json
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.model.pretrained import WEIGHTS
from lamae_toolkit.plots.report import write_report
from lamae_toolkit.training.distributed import is_main_process
from lamae_toolkit.training.presets import SIZES, Size
from lamae_toolkit.training.step import Compute
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain


def demo_command(arguments: argparse.Namespace) -> None:
    metrics = demo(arguments.out, ecgs=arguments.ecgs, steps=arguments.steps, seed=arguments.seed)
    for evaluation in metrics["evaluations"]:
        print(f"{evaluation['name']:34} macro AUROC {_interval(evaluation['macro_auroc'])}")
    difference = metrics["lamae_minus_random"]["macro_auroc_difference"]
    print(f"{'difference of the heart tokens':34}             {_interval(difference)}")
    print(f"Open {arguments.out.resolve() / 'report.html'} in a browser.")


def simulate_command(arguments: argparse.Namespace) -> None:
    store = simulate_store(arguments.out, arguments.ecgs, arguments.seed, sampling_rate_hz=arguments.sampling_rate_hz)
    print(f"{len(store)} ECGs of {store.index.patient_id.nunique()} patients in {arguments.out}.")


def pretrain_command(arguments: argparse.Namespace) -> None:
    store = Store.open(arguments.store)
    rows = store.rows(Split.of(store).train)
    size = _size(arguments, len(rows))
    torch.manual_seed(size.train.seed)
    pretrain(LAMAE(size.model), store, rows, arguments.out, size.train, compute=size.compute, device=arguments.device)
    if is_main_process():
        print(f"The checkpoint is in {arguments.out / CHECKPOINT}; give it to `lamae evaluate` next.")


def _size(arguments: argparse.Namespace, ecgs: int) -> Size:
    """The model, its training and its computation: a recipe or the defaults, and what was given beside it."""
    given = vars(arguments)
    if arguments.size:
        epochs = {"epochs": arguments.epochs} if arguments.epochs else {}
        size = SIZES[arguments.size](ecgs, **epochs, **{k: given[k] for k in ("batch_size",) if k in given})
    elif arguments.epochs:
        raise ECGError("Epochs belong to a --size; give one, or give --steps instead.")
    else:
        size = Size(LAMAEConfig(), TrainConfig(), Compute())

    def changed(config):
        return replace(config, **{field.name: given[field.name] for field in fields(config) if field.name in given})

    return Size(changed(size.model), changed(size.train), changed(size.compute))


def _model(folder: Path) -> LAMAE:
    """The model in this folder. A path that is not there is not looked for on the Hugging Face hub."""
    if not folder.is_dir():
        raise ECGError(f"There is no checkpoint folder {folder}; check the path.")
    return LAMAE.from_pretrained(folder)


def evaluate_command(arguments: argparse.Namespace) -> None:
    store, model = Store.open(arguments.store), _model(arguments.checkpoint)
    lamae, untrained = evaluate_beside_random(
        model,
        store,
        Split.of(store),
        representations=(arguments.representation,),
        minimum=arguments.minimum,
        n_bootstrap=arguments.n_bootstrap,
        large=arguments.large,
        precision=arguments.precision,
        device=arguments.device,
    )
    if arguments.checkpoint.parent == WEIGHTS:
        print("The probe is not kept: weights that come with the toolkit have their own.")
    else:
        lamae.probe.save(arguments.checkpoint)
    difference = compare(lamae, untrained)
    write_json(arguments.out, {"evaluations": [lamae.to_dict(), untrained.to_dict()], "lamae_minus_random": difference})
    table = lamae.table().drop(columns=["positives"]).rename(index=name_of)
    print(table.to_string(float_format="{:.3f}".format))
    for evaluation in (lamae, untrained):
        print(f"{evaluation.name:34} macro AUROC {evaluation.auroc.macro()}, macro AUPRC {evaluation.auprc.macro()}")
    print(f"{lamae.test_ecgs} ECGs of {lamae.test_patients} unseen patients; results in {arguments.out}.")


def compare_command(arguments: argparse.Namespace) -> None:
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
    results = compare_methods(
        plan,
        store,
        arguments.out,
        command="lamae " + shlex.join(sys.argv[1:]),
        workers=workers,
        device=arguments.device,
        stop_after=arguments.stop_after,
        n_bootstrap=arguments.n_bootstrap,
    )
    for task in plan.tasks:
        print(f"\n{task}, all labels, all leads:\n{readable(main_rows(results, task)).to_string()}")
    if results["missing_cells"]:
        print(f"\n{results['missing_cells']} cells are still missing; the same command goes on with them.")
    print(f"\nResults in {arguments.out / RESULTS_FILE}; open {(arguments.out / REPORT_FILE).resolve()} in a browser.")


def small_command(arguments: argparse.Namespace) -> None:
    store = Store.open(arguments.store)
    metrics = train_small(arguments.out, store, model_name=arguments.model_name, device=arguments.device)
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


def embed_command(arguments: argparse.Namespace) -> None:
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
    with atomic_write(arguments.out) as partial:
        table.to_parquet(partial)
    print(f"{len(table)} ECGs, {embedding.heart.shape[1]} numbers each and 12 lead weights, in {arguments.out}.")


@torch.inference_mode()
def _embed_one(model: LAMAE, recording: Recording, device: str) -> Embedding:
    batch = collate([recording], model.config.sampling_rate_hz, model.config.duration_s).to(device)
    return Embedding(*(part.cpu() for part in model.embed(batch)))


def explain_command(arguments: argparse.Namespace) -> None:
    model = _model(arguments.checkpoint)
    probe = Probe.load(arguments.checkpoint)
    recording = _read(arguments.record, arguments)
    explanation = attention_summary(model, recording, probe)
    print(explanation.weight_table().to_string(float_format="{:.3f}".format))
    print()
    print(explanation.attention_table().to_string(float_format="{:.2f}".format))
    print()
    for code, chance in explanation.probabilities.sort_values(ascending=False).head(5).items():
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
    leads = tuple(arguments.leads.split(",")) if arguments.leads else None
    return read_own(file, arguments.sampling_rate_hz, arguments.unit, leads)


def _interval(estimate: dict) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
