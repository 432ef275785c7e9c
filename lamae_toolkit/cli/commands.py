"""What each command of `lamae` does with its parsed arguments: a few lines on top of the library.

Figures are imported in the commands that draw them, so that the others run without plotly.
"""

import argparse
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from lamae_toolkit.cli.options import DEFAULT_WEIGHTS, reading
from lamae_toolkit.data.datasets.folder import read_own
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Split, macro_differences
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.ecg_terms import code_in_words, in_words, ranked_codes
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.explain.terms import check_additive
from lamae_toolkit.files import read_text, write_json
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import CONFIG_FILE, WEIGHTS
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
    print(f"The report grows in {report}: open it in a browser in a few seconds, and reload it later.", flush=True)
    code, random, weights = "I44.7", np.random.default_rng(0), WEIGHTS / DEFAULT_WEIGHTS
    recording = simulate_ecg(Patient(0, 67.0, "F", (), 0), random, codes={code: 0.8}).recording
    terms = encode_ecg(LAMAE.from_pretrained(weights), recording, Probe.load(weights)).lead_terms()
    text = f"Simulated with this code, and read by the weights that come with the toolkit ({weights.name})."
    paper = ECGPaper(terms.recording, terms=terms, code=code).page()
    opening = terms_sections(terms, code, text, [paper], "A first ECG, by a model that is already trained")[:1]
    metrics = demo(arguments.out, ecgs=arguments.ecgs, steps=arguments.steps, seed=arguments.seed, opening=opening)
    for evaluation in metrics["evaluations"]:
        print(f"{evaluation['name']:34} macro AUROC {interval(evaluation['macro_auroc'])}")
    difference = metrics["lamae_minus_random"]["macro_auroc_difference"]
    print(f"{'difference on lead latents':34}             {interval(difference)}")
    print(f"{report} is complete: reload it in the browser.")


def app_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.widgets.app.server import serve

    serve(arguments.folder, arguments.checkpoint, arguments.port)


def simulate_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.data.datasets.simulated import simulate_store

    store = simulate_store(arguments.out, arguments.ecgs, arguments.seed, sampling_rate_hz=arguments.sampling_rate_hz)
    print(f"{len(store)} ECGs of {store.index.patient_id.nunique()} patients in {arguments.out}.")


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
        print(f"The checkpoint is in {arguments.out / CHECKPOINT}; give it to `lamae evaluate` next.")


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
    config = folder / CONFIG_FILE
    is_twin = config.is_file() and '"model": "IndependentMAE"' in read_text(config)
    return (IndependentMAE if is_twin else LAMAE).from_pretrained(folder)


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
        print("The probe is not saved: weights that come with the toolkit have their own.")
    else:
        lamae.probe.save(arguments.checkpoint)
    difference = macro_differences(lamae, untrained)
    write_json(arguments.out, {"evaluations": [lamae.to_dict(), untrained.to_dict()], "lamae_minus_random": difference})
    table = lamae.table().drop(columns=["positives"]).rename(index=name_of)
    print(table.to_string(float_format="{:.3f}".format))
    for evaluation in (lamae, untrained):
        print(f"{evaluation.name:34} macro AUROC {evaluation.auroc.macro()}, macro AUPRC {evaluation.auprc.macro()}")
    print(f"{lamae.test_ecgs} ECGs of {lamae.test_patients} unseen patients; results in {arguments.out}.")


def explain_command(arguments: argparse.Namespace) -> None:
    from lamae_toolkit.plots.ecg import ecg_figure
    from lamae_toolkit.plots.ecg_report import codes_section, heart_token_section, terms_sections
    from lamae_toolkit.plots.report import Section, write_report
    from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper

    model, probe = load_model(arguments.checkpoint), Probe.load(arguments.checkpoint)
    if arguments.code is not None:
        probe.column(arguments.code)  # refuses an unknown code before anything is computed
    recording = read_own(arguments.record, **reading(arguments), at_most_s=model.config.duration_s)
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
        print(*(code_in_words(str(code), row) for code, row in ranked.head(5).iterrows()), "", no_terms, sep="\n")
        sections = [Section("The ECG", f"{text}\n{no_terms}", [ecg_figure(encoded.recording)]), codes_section(ranked)]
    else:
        terms = encoded.lead_terms()
        code = arguments.code or str(terms.ranked().index[0])
        print(in_words(terms), "", f"{name_of(code)}: {terms.sentence(code)}", sep="\n")
        sections = terms_sections(terms, code, text, [ECGPaper(terms.recording, terms=terms, code=code).page()])
    if not isinstance(model, IndependentMAE):  # whose leads never meet
        sections.append(heart_token_section(encoded.attention_summary()))
    out = arguments.out or Path(f"explain_{arguments.record.stem}.html")
    introduction = f"{arguments.record.name}, read by the model {arguments.checkpoint.name}."
    write_report(out, f"LAMAE on {arguments.record.stem}", introduction, sections)
    print(f"Open {out.resolve()} in a browser.")


def interval(estimate: dict) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
