"""What each command of `lamae` does with its parsed arguments: a few lines on top of the library.

Figures are imported in the commands that draw them, so that the others run without plotly.
"""

import argparse
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from lamae_toolkit.checksums import CHECKSUM_FILE, check_files
from lamae_toolkit.cli.options import DEFAULT_WEIGHTS, reading
from lamae_toolkit.cli.terminal import say
from lamae_toolkit.data.datasets.folder import read_own
from lamae_toolkit.data.format import META
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Split, macro_differences
from lamae_toolkit.evaluation.linear_probe import PROBE_FILE, Probe
from lamae_toolkit.explain.ecg_terms import code_in_words, in_words, ranked_codes
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.explain.terms import check_additive
from lamae_toolkit.files import write_json
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import WEIGHTS, class_name
from lamae_toolkit.training.distributed import is_main_process
from lamae_toolkit.training.presets import SIZES, Size
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain


def demo_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.experiments.demo import HTML_REPORT_FILE, demo
    from lamae_toolkit.plots.ecg_report import terms_sections
    from lamae_toolkit.simulate.conditions import Patient
    from lamae_toolkit.simulate.simulator import simulate_ecg
    from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper

    report = (arguments.out / HTML_REPORT_FILE).resolve()
    say(f"The report grows in {report}: open it in a browser in a few seconds, and reload it later.", flush=True)
    code, random, weights = "I44.7", np.random.default_rng(0), WEIGHTS / DEFAULT_WEIGHTS
    recording = simulate_ecg(Patient(0, 67.0, "F", (), 0), random, codes={code: 0.8}).recording
    terms = encode_ecg(LAMAE.from_pretrained(weights), recording, Probe.load(weights)).lead_terms()
    text = f"Simulated with this code, and read by the weights that come with the toolkit ({weights.name})."
    paper = ECGPaper(terms.recording, terms=terms, code=code).page()
    opening = terms_sections(terms, code, text, [paper], "A first ECG, by a model that is already trained")[:1]
    metrics = demo(arguments.out, ecgs=arguments.ecgs, steps=arguments.steps, seed=arguments.seed, opening=opening)
    for evaluation in metrics["evaluations"]:
        say(f"{evaluation['name']:34} macro AUROC {interval(evaluation['macro_auroc'])}")
    difference = metrics["lamae_minus_random"]["macro_auroc_difference"]
    say(f"{'difference on lead latents':34}             {interval(difference)}")
    say(f"{report} is complete: reload it in the browser.")


def app_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.widgets.app.server import serve

    serve(arguments.folder, arguments.checkpoint, arguments.port)


def simulate_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.data.datasets.simulated import simulate_store

    store = simulate_store(arguments.out, arguments.ecgs, arguments.seed, sampling_rate_hz=arguments.sampling_rate_hz)
    say(f"{len(store)} ECGs of {store.index.patient_id.nunique()} patients in {arguments.out}.")


def pretrain_command(arguments: argparse.Namespace) -> None:
    store = Store.open(arguments.store)
    split = Split.of(store)
    rows = store.rows(split.train)
    size = _size(arguments, len(rows))
    torch.manual_seed(size.train.seed)
    pretrain(
        LAMAE(size.model),
        store,
        rows,
        arguments.out,
        size.train,
        validation_rows=None if arguments.no_validation else store.rows(split.validation),
        runtime=size.runtime,
        device=arguments.device,
    )
    if is_main_process():
        say(f"The checkpoint is in {arguments.out / CHECKPOINT}; give it to `lamae evaluate` next.")


def _size(arguments: argparse.Namespace, ecgs: int) -> Size:
    """The model, its training and its computation: a preset or the defaults, with the settings that were given."""
    given = vars(arguments)
    if arguments.size:
        epochs = {"epochs": arguments.epochs} if arguments.epochs else {}
        size = SIZES[arguments.size](ecgs, **epochs, **{k: given[k] for k in ("batch_size",) if k in given})
    elif arguments.epochs:
        raise ECGError("--epochs needs a --size; give one, or give --steps instead.")
    else:
        size = Size(LAMAEConfig(), TrainConfig(), RuntimeConfig())

    def changed(config):
        return replace(config, **{field.name: given[field.name] for field in fields(config) if field.name in given})

    return Size(changed(size.model), changed(size.train), changed(size.runtime))


def load_model(folder: Path) -> LAMAE:
    """The model in this folder, LAMAE or its twin; a missing folder is not searched on the Hugging Face hub."""
    if not folder.is_dir():
        raise ECGError(f"There is no checkpoint folder {folder}; check the path.")
    return (IndependentMAE if class_name(folder) == "IndependentMAE" else LAMAE).from_pretrained(folder)


def export_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.export.onnx_file import export_onnx
    from lamae_toolkit.export.onnx_graph import INPUTS

    folder = arguments.checkpoint
    model, probe = load_model(folder), Probe.load(folder) if (folder / PROBE_FILE).is_file() else None
    differences = export_onnx(model, arguments.out, probe)
    say(differences.to_string(float_format="{:.1e}".format), "", sep="\n")
    say(f"{arguments.out} gives the same as PyTorch, to these greatest differences; its inputs: {', '.join(INPUTS)}.")


def page_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.widgets.page.build import build_page

    build_page(arguments.out, arguments.checkpoint, arguments.twin, arguments.examples)
    say(f"{arguments.out} has {arguments.out.stat().st_size / 1e6:.1f} MB: open it in a browser by a double click.")


def check_command(arguments: argparse.Namespace) -> None:
    folder = arguments.folder
    if (folder / META).is_file():
        Store.open(folder)
    else:
        load_model(folder)
        if (folder / PROBE_FILE).is_file():
            Probe.load(folder)
    compared = check_files(folder)
    if not compared:
        raise ECGError(
            f"{folder} opens, but it has no {CHECKSUM_FILE}: an earlier version wrote it, without checksums."
        )
    say(f"{folder} opens, and these files are as they were written: {', '.join(compared)}.")


def evaluate_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.experiments.demo import evaluate_beside_random

    store, model = Store.open(arguments.store), load_model(arguments.checkpoint)
    lamae, untrained = evaluate_beside_random(
        model,
        store,
        Split.of(store),
        representations=(arguments.representation,),
        minimum=arguments.min_records_per_code,
        n_bootstrap=arguments.n_bootstrap,
        precision=arguments.precision,
        device=arguments.device,
    )
    if arguments.checkpoint.parent == WEIGHTS:
        say("The probe is not saved: weights that come with the toolkit have their own.")
    else:
        lamae.probe.save(arguments.checkpoint)
    difference = macro_differences(lamae, untrained)
    write_json(arguments.out, {"evaluations": [lamae.to_dict(), untrained.to_dict()], "lamae_minus_random": difference})
    table = lamae.table().drop(columns=["positives"]).rename(index=name_of)
    say(table.to_string(float_format="{:.3f}".format))
    for evaluation in (lamae, untrained):
        say(f"{evaluation.name:34} macro AUROC {evaluation.auroc.macro()}, macro AUPRC {evaluation.auprc.macro()}")
    say(f"{lamae.test_ecgs} ECGs of {lamae.test_patients} unseen patients; results in {arguments.out}.")


def explain_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.plots.ecg import ecg_figure
    from lamae_toolkit.plots.ecg_report import codes_section, heart_token_section, terms_sections
    from lamae_toolkit.plots.report import Section, write_report
    from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper

    model, probe = load_model(arguments.checkpoint), Probe.load(arguments.checkpoint)
    if arguments.code is not None:
        probe.column(arguments.code)  # refuses an unknown code before anything is computed
    recording = read_own(arguments.record, model.config.duration_s, **reading(arguments))
    encoded = encode_ecg(model, recording, probe)
    text = " ".join(
        (
            f"{len(recording.leads)} leads at {recording.sampling_rate_hz:g} Hz; the first"
            f" {encoded.recording.duration_s:g} s were read.",
            *recording.notes,
        )
    )
    try:
        check_additive(probe)
    except ECGError as no_terms:
        ranked = ranked_codes(probe.codes, encoded.log_odds(encoded.leads).numpy(), probe.usual_log_odds())
        say(*(code_in_words(str(code), row) for code, row in ranked.head(5).iterrows()), "", no_terms, sep="\n")
        sections = [Section("The ECG", f"{text}\n{no_terms}", [ecg_figure(encoded.recording)]), codes_section(ranked)]
    else:
        terms = encoded.lead_terms()
        code = arguments.code or str(terms.ranked().index[0])
        say(in_words(terms), "", f"{name_of(code)}: {terms.sentence(code)}", sep="\n")
        sections = terms_sections(terms, code, text, [ECGPaper(terms.recording, terms=terms, code=code).page()])
    if not isinstance(model, IndependentMAE):  # whose leads never meet
        sections.append(heart_token_section(encoded.attention_summary()))
    out = arguments.out or Path(f"explain_{arguments.record.stem}.html")
    introduction = f"{arguments.record.name}, read by the model {arguments.checkpoint.name}."
    write_report(out, f"LAMAE on {arguments.record.stem}", introduction, sections)
    say(f"Open {out.resolve()} in a browser.")


def interval(estimate: dict) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
