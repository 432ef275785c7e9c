"""The options of each command. Slow imports are in the commands that need them."""

import argparse
import os
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from lamae_toolkit.cli.parser import MAX_SEED, Command, CommandParser, add_commands
from lamae_toolkit.errors import ECGError

DEFAULT_WEIGHTS = "lamae-mini-ptbxl"
"""The shipped weights that `explain`, `embed` and `app` use unless another checkpoint is given."""

DEFAULT_TWIN = "lamae-mini-ptbxl-independent"
"""The shipped weights with independent leads."""

WORKERS = os.cpu_count() or 1
MAX_PROCESSES = 10_000


def demo(sub: CommandParser) -> None:
    """Run the complete job on simulated ECGs (no download) and write an HTML report.

    lamae demo --out my_run
    """
    sub.option("--out", Path, "folder for the results", Path("lamae_demo"))
    sub.option("--ecgs", int, "number of simulated ECGs", 3000)
    sub.option("--steps", int, "training steps", 1000)
    add_seed(sub)


def explain(sub: CommandParser) -> None:
    """Print the predicted codes of one ECG and the leads that carry them, and write all of it as an HTML page.

    lamae explain record.hea --out record.html
    """
    sub.option("record", Path, "an ECG file: WFDB, CSV, EDF, DICOM, SCP-ECG, or XML of MUSE, Sierra or aECG ...")
    _add_checkpoint(sub)
    sub.option("--code", str, "code to explain; the one that stands out most if left out", None)
    sub.option("--out", Path, "file for the HTML page; explain_RECORD.html if left out", None)
    add_reading(sub)


def app(sub: CommandParser) -> None:
    """Serve the lead explorer for a folder of ECGs to browsers on this computer only.

    lamae app my_ecgs
    """
    safety = "It listens on 127.0.0.1 only and asks for the token of the address that it prints."
    sub.description = f"{sub.description or ''} {safety}"
    sub.option("folder", Path, "folder of ECG files; nothing outside of it is read")
    _add_checkpoint(sub)
    sub.option("--port", int, "port to listen on; 0 takes a free one", 8866, at_least=0)


def prepare(sub: CommandParser) -> None:
    """Turn ECGs into a store that models read: MIMIC-IV-ECG, PTB-XL, or your own files.

    lamae prepare folder my_ecgs --out my_store
    """
    from lamae_toolkit.cli.prepare import DESCRIPTION, SOURCES

    sub.description = DESCRIPTION
    add_commands(sub, SOURCES, "sources", "SOURCE")


def simulate(sub: CommandParser) -> None:
    """Simulate a cohort of patients with ICD-10-coded conditions, as a store.

    lamae simulate --out simulated --ecgs 500
    """
    sub.option("--out", Path, "folder of the new store")
    sub.option("--ecgs", int, "number of ECGs", 3000)
    add_seed(sub)
    sub.option("--sampling-rate-hz", float, "samples per second", 100.0)


def pretrain(sub: CommandParser) -> None:
    """Pretrain a model on the training patients of a store; the same command resumes.

    lamae pretrain --store simulated --out run --steps 500
    """
    from lamae_toolkit.model.config import LAMAEConfig
    from lamae_toolkit.training.presets import SIZES
    from lamae_toolkit.training.step import RuntimeConfig
    from lamae_toolkit.training.trainer import TrainConfig

    _add_store(sub)
    sub.option("--out", Path, "folder of the run: log.jsonl and checkpoint/")
    text = "size of the model and how it is trained; the options below change single settings of it"
    sub.option("--size", str, text, None, choices=tuple(SIZES))
    sub.option("--epochs", int, "passes over all ECGs, with --size; 100 if left out", None)
    text = "leave out the loss on the store's validation patients, which is logged next to that of training"
    sub.add_argument("--no-validation", action="store_true", help=text)
    _add_device(sub)
    for config, title in ((TrainConfig, "training"), (LAMAEConfig, "model"), (RuntimeConfig, "hardware")):
        group = sub.add_argument_group(title)
        for field in fields(config):
            _add_setting(group, field)


def _add_setting(group: argparse._ArgumentGroup, field: "Field[Any]") -> None:
    """One setting of a configuration; if not given, it comes from the size, or else from its default."""
    text = field.metadata["help"]
    if field.default is not MISSING and field.default is not None and field.type is not bool:
        text += f" (default: {field.default})"
    kind: dict[str, Any] = {"action": "store_true"} if field.type is bool else {"type": field.type}
    if field.metadata["choices"]:
        kind["choices"] = field.metadata["choices"]
    option, text = f"--{field.name.replace('_', '-')}", text.replace("%", "%%")
    group.add_argument(option, dest=field.name, default=argparse.SUPPRESS, help=text, **kind)


def evaluate(sub: CommandParser) -> None:
    """Predict the ICD-10 codes of unseen patients from a frozen model, next to an untrained one.

    lamae evaluate --store simulated --checkpoint run/checkpoint
    """
    from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS
    from lamae_toolkit.model.precision import PRECISIONS

    _add_store(sub)
    text = "folder of the checkpoint, in which the probe is saved, or the name of shipped weights"
    sub.option("--checkpoint", _checkpoint, text, metavar="DIR")
    sub.option("--out", Path, "file for the results (JSON)", Path("metrics.json"))
    text = "the features that the probe reads: see REPRESENTATIONS in lamae_toolkit.evaluation.linear_probe; `lamae"
    text += " explain` shows lead terms of a probe on leads or heart"
    sub.option("--representation", str, text, "leads", choices=REPRESENTATIONS)
    add_min_records(sub, "training ECGs that a code must have to be predicted", 10)
    _add_bootstrap(sub)
    text = "precision of the matrix products that embed the ECGs"
    sub.option("--precision", str, text, "float32", choices=PRECISIONS)
    _add_device(sub)


def embed(sub: CommandParser) -> None:
    """Write the embedding of each ECG (heart token and pooling weights) as a table.

    lamae embed my_ecgs --out embeddings.parquet
    """
    _add_source(sub)
    _add_checkpoint(sub)
    sub.option("--out", Path, "file for the table: .parquet or .csv", Path("embeddings.parquet"))
    add_reading(sub)
    _add_device(sub)


def lead_terms(sub: CommandParser) -> None:
    """Write what each lead of each ECG adds to the log-odds of each code (lead terms) as a table.

    lamae lead-terms my_ecgs --out terms.csv
    """
    sub.description = f"{sub.description or ''} A row per ECG and code; its twelve terms and its bias sum to its"
    sub.description += " log-odds. An absent lead has the term 0."
    _add_source(sub)
    _add_checkpoint(sub)
    sub.option("--out", Path, "file for the table: .parquet or .csv", Path("lead_terms.parquet"))
    add_reading(sub)
    _add_device(sub)


def export(sub: CommandParser) -> None:
    """Write a model with its probe as one ONNX file, which runs without Python.

    lamae export --checkpoint run/checkpoint --onnx model.onnx
    """
    sub.description = f"{sub.description or ''} Before it is written, its outputs are compared with those of PyTorch."
    _add_checkpoint(sub)
    sub.option("--onnx", Path, "the file", dest="out", metavar="FILE")


def page(sub: CommandParser) -> None:
    """Build the web page around a model: one HTML file that works offline. It needs Node.js 20 and npm.

    lamae page --checkpoint run/checkpoint --out lamae.html
    """
    from lamae_toolkit.widgets.page.content import EXAMPLES

    _add_checkpoint(sub)
    text = "checkpoint of a model with independent leads, which the page compares with it"
    sub.option("--twin", _checkpoint, text, DEFAULT_TWIN, metavar="DIR")
    sub.option("--out", Path, "the file", Path("lamae.html"))
    text = "example ECGs: ptbxl, from the folder LAMAE_PTBXL or PhysioNet, or simulated, as also if neither has them"
    sub.option("--examples", str, text, EXAMPLES[0], choices=EXAMPLES)


def check(sub: CommandParser) -> None:
    """Check that a store or a checkpoint is as it was written: its files against their checksums, and that it opens.

    lamae check simulated
    """
    sub.option("folder", Path, "folder of a store or of a checkpoint")


def research(sub: CommandParser) -> None:
    """Repeat the studies of the toolkit: compare methods, audit explanations, train the shipped weights.

    lamae research compare simulated --out runs/simulated
    """
    add_commands(sub, RESEARCH, "studies", "STUDY")


def compare(sub: CommandParser) -> None:
    """Pretrain LAMAE and its baselines with several seeds, probe them, and write a table with intervals.

    lamae research compare simulated --out runs/simulated --variant LAMAE --variant 'independent leads'
    """
    from lamae_toolkit.experiments.comparison.plans import PLANS

    text = "what to compare: see the recipes in lamae_toolkit.experiments.comparison.plans"
    sub.option("recipe", str, text, choices=tuple(PLANS))
    sub.option("--out", Path, "folder of the comparison; the same command resumes in it")
    sub.option("--store", Path, "a store to use; made in --out if left out", None)
    sub.option("--ptbxl", Path, "folder of PTB-XL as it was unpacked", None)
    sub.option("--zscored", Path, "an archive of more PTB-XL records, z-scored (.npz)", None)
    sub.option("--metadata", Path, "the table that describes the archive's records", None)
    sub.option("--stores", Path, "folder that `lamae research stores` wrote, for full-length", None)
    sub.option("--seeds", int, "number of random seeds", 3, at_most=1000)
    text = "only this row of the table; may be given several times"
    sub.option("--variant", str, text, None, action="append", metavar="NAME")
    sub.option("--workers", int, "cells computed in parallel", WORKERS, at_most=MAX_PROCESSES)
    sub.option("--stop-after", int, "new cells to compute at most", None, at_least=0, metavar="N")
    _add_bootstrap(sub)
    _add_device(sub)


def audit(sub: CommandParser) -> None:
    """Test which explanations to trust, on simulated ECGs whose evidence is known, or on PTB-XL: deletion, insertion,
    localization, agreement of seeds, and parameter randomization. The same command resumes.

    lamae research audit --out runs/audit --seeds 3
    """
    from lamae_toolkit.cli.research import OTHER_COHORT
    from lamae_toolkit.experiments.audit.plan import AuditPlan

    plan = AuditPlan()
    sub.option("--out", Path, "folder of the audit; the same command resumes in it")
    text = "a store of PTB-XL, whose infarctions, bundle branch blocks and hypertrophies are explained instead"
    sub.option("--store", Path, f"{text} of simulated ECGs", None)
    text = "checkpoints to audit instead of pretraining, or names of shipped weights; several of one kind for the"
    sub.option("--checkpoint", _checkpoint, f"{text} agreement of seeds", (), nargs="+", metavar="DIR")
    sub.option("--ecgs", int, "ECGs of unseen patients to explain", plan.ecgs)
    text = "how many of them are also predicted from every subset of their leads, seconds each"
    sub.option("--occluded-ecgs", int, text, plan.occluded_ecgs)
    sub.option("--seeds", int, "number of models to pretrain", len(plan.seeds), at_most=1000)
    text = f"seed of the simulated cohort; given checkpoints are audited on that of {OTHER_COHORT} + seed, which they"
    add_seed(sub, f"{text} have not seen")
    _add_bootstrap(sub)
    sub.option("--workers", int, "processes in parallel", WORKERS, at_most=MAX_PROCESSES)


def shipped_weights(sub: CommandParser) -> None:
    """Train the weights that come with the toolkit, on simulated ECGs and PTB-XL.

    lamae research shipped-weights --store runs/ptbxl/store --out runs/weights
    """
    sub.option("--out", Path, "folder of the run; the same command resumes in it")
    sub.option("--store", Path, "a store of PTB-XL, as `lamae research compare ptbxl` makes it")
    sub.option("--model-name", str, "the model or its twin", "LAMAE", choices=("LAMAE", "independent leads"))
    _add_device(sub)


def stores(sub: CommandParser) -> None:
    """Pack the real ECGs of the studies on amplitude and transfer: nine sets, LUDB, and PTB-XL in mV and z-scored.

    lamae research stores --data-folder DATA --out runs/stores
    """
    sub.option("--data-folder", Path, "folder with ptb-xl/, ludb/, nine_sets/ and PTB-XL's z-scored archive and table")
    sub.option("--out", Path, "folder of the stores; a store that is there already is replaced")
    text = "only this store: nine, ludb, ptbxl_mv or ptbxl_z; may be given several times"
    sub.option("--store", str, text, None, action="append", metavar="NAME")


def transfer(sub: CommandParser) -> None:
    """Score probes that learned from PTB-XL on nine other sets and LUDB, without retraining them.

    lamae research transfer --stores runs/stores --out runs/transfer
    """
    _add_stores(sub)
    sub.option("--out", Path, "folder for the results")
    _add_checkpoint(sub)
    text = "the same model with independent leads: a folder, or the name of weights that come with the toolkit"
    sub.option("--twin", _checkpoint, text, DEFAULT_TWIN, metavar="DIR")
    sub.add_argument("--millivolts-only", action="store_true", help="learn from PTB-XL's ECGs in mV alone")
    add_seed(sub)
    _add_bootstrap(sub)


def subgroups(sub: CommandParser) -> None:
    """Score weights by sex, age and device of PTB-XL's patients, and write the scores into their model card.

    lamae research subgroups --stores runs/stores --checkpoint runs/weights/shipped
    """
    _add_stores(sub)
    _add_checkpoint(sub)
    add_seed(sub)
    _add_bootstrap(sub)


def textbook(sub: CommandParser) -> None:
    """Compare the leads that predictions rest on with the textbook, statement by statement of PTB-XL.

    lamae research textbook --store runs/ptbxl/store --out textbook.json
    """
    sub.option("--store", Path, "a store of PTB-XL, as `lamae research compare ptbxl` makes it")
    sub.option("--out", Path, "JSON file for the table")
    _add_checkpoint(sub)
    _add_bootstrap(sub)


COMMANDS = {
    "demo": Command(demo, "commands.demo_command"),
    "explain": Command(explain, "commands.explain_command"),
    "app": Command(app, "commands.app_command"),
    "prepare": Command(prepare),
    "simulate": Command(simulate, "commands.simulate_command"),
    "pretrain": Command(pretrain, "commands.pretrain_command"),
    "evaluate": Command(evaluate, "commands.evaluate_command"),
    "embed": Command(embed, "tables.embed_command"),
    "lead-terms": Command(lead_terms, "tables.lead_terms_command"),
    "export": Command(export, "commands.export_command"),
    "page": Command(page, "commands.page_command"),
    "check": Command(check, "commands.check_command"),
    "research": Command(research),
}
RESEARCH = {
    "compare": Command(compare, "research.compare_command"),
    "audit": Command(audit, "research.audit_command"),
    "shipped-weights": Command(shipped_weights, "research.shipped_weights_command"),
    "stores": Command(stores, "research.stores_command"),
    "transfer": Command(transfer, "research.transfer_command"),
    "subgroups": Command(subgroups, "research.subgroups_command"),
    "textbook": Command(textbook, "research.textbook_command"),
}


def _add_source(sub: CommandParser) -> None:
    sub.option("source", Path, "a store, a folder of ECG files, or one ECG file")


def add_seed(sub: CommandParser, text: str = "random seed") -> None:
    sub.option("--seed", int, text, 0, at_least=0, at_most=MAX_SEED)


def _add_store(sub: CommandParser) -> None:
    sub.option("--store", Path, "folder of the store")


def _add_stores(sub: CommandParser) -> None:
    sub.option("--stores", Path, "the folder that `lamae research stores` made")


def _add_checkpoint(sub: CommandParser) -> None:
    text = "folder of the checkpoint, or the name of weights that come with the toolkit"
    sub.option("--checkpoint", _checkpoint, text, DEFAULT_WEIGHTS, metavar="DIR")


def _checkpoint(name: str) -> Path:
    from lamae_toolkit.model.pretrained import shipped_or_own

    try:
        return shipped_or_own(name)
    except ECGError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_bootstrap(sub: CommandParser) -> None:
    sub.option("--n-bootstrap", int, "bootstrap resamples for the intervals", 1000, at_most=1_000_000, metavar="N")


def add_min_records(sub: CommandParser, text: str, default: int) -> None:
    sub.option("--min-records-per-code", int, text, default, metavar="N")


def _add_device(sub: CommandParser) -> None:
    text = "where to compute: cpu, cuda, cuda:1, mps; auto is a CUDA GPU if there is one, else the CPU"
    sub.option("--device", _device, text, "auto")


def _device(name: str) -> str:
    """A device that is available; argparse prints why another is not."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} is not available; choose cpu or leave it out") from error
    return name


def add_reading(sub: CommandParser) -> None:
    """What files may not say of themselves: the options that `reading` hands on."""
    sub.option("--sampling-rate-hz", float, "samples per second, for files that do not give it", None)
    sub.option(
        "--leads", str, "names of the channels in their order, as in I,II,V1, for files that do not give them", None
    )
    sub.option("--unit", str, "unit of the values (mV, uV, V), for files that do not give it", None)


def reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_reading`, as the functions that read files take them."""
    leads = tuple(arguments.leads.split(",")) if arguments.leads else None
    return {"sampling_rate_hz": arguments.sampling_rate_hz, "unit": arguments.unit, "leads": leads}
