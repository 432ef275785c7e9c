"""Recipes: each function is a complete run, from data to result."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import (
    Evaluation,
    Split,
    codes_to_predict,
    embed_features,
    evaluate,
    macro_differences,
    random_encoder,
)
from lamae_toolkit.explain.attention import AttentionSummary
from lamae_toolkit.explain.encoded import attention_summary
from lamae_toolkit.files import write_json
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import named_lead_mask, random_mask
from lamae_toolkit.plots.comparison import REPRESENTATION_NAMES
from lamae_toolkit.plots.ecg import lead_attention_figure, lead_bar_figure, lead_weight_figure, reconstruction_figure
from lamae_toolkit.plots.evaluation import auroc_figure
from lamae_toolkit.plots.report import Section, write_report
from lamae_toolkit.plots.training import learning_curve_figure
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain, read_log

METRICS_FILE, REPORT_FILE = "metrics.json", "report.html"


def demo(
    out: Path | str,
    *,
    ecgs: int = 3000,
    steps: int = 700,
    seed: int = 0,
    n_bootstrap: int = 1000,
    progress: bool = True,
) -> dict:
    """The main job on simulated ECGs: simulate, pretrain, predict ICD-10 codes, look at the leads, write a report.

    Command: `lamae demo`. Cost: about 4.5 minutes on two cores. Expected on the unseen patients with seed 0: macro
    AUROC about 0.91 for the heart token (random encoder: 0.82), 0.96 for the summary (random encoder: 0.90).
    Writes `out/store`, `out/checkpoint`, `out/log.jsonl`, `out/metrics.json` and `out/report.html`; a run that was
    interrupted goes on from its last checkpoint. Returns the metrics.
    """
    out = Path(out)
    store = _cohort(out / "store", ecgs, seed, progress)
    split = Split()
    torch.manual_seed(seed)
    model = LAMAE(LAMAEConfig())
    train = TrainConfig(steps=steps, seed=seed, save_every=100)
    # Test and validation patients are not seen in pretraining either.
    pretrain(model, store, store.rows(split.train), out, train, progress=progress)
    evaluations = evaluate_beside_random(
        model, store, split, seed=seed, n_bootstrap=n_bootstrap, representations=("heart", "summary"), progress=progress
    )
    evaluations[0].probe.save(out / CHECKPOINT)
    metrics = {
        "cohort": store.meta,
        "train": asdict(train),
        "final_loss": read_log(out)[-1]["loss"],
        "evaluations": [evaluation.to_dict() for evaluation in evaluations],
        "lamae_minus_random": macro_differences(evaluations[0], evaluations[1]),
    }
    write_json(out / METRICS_FILE, metrics)
    _demo_report(out, model, store, split, evaluations)
    return metrics


def evaluate_beside_random(
    model: LAMAE,
    store: Store,
    split: Split,
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
    representations: tuple[str, ...] = ("heart",),
    minimum: int = 10,
    precision: str = "float32",
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> list[Evaluation]:
    """Probe a model and an untrained one of the same shape, on the same codes and the same patients.

    precision: of the matrix products that embed the ECGs. Returns, for each representation in sequence, the model's
    evaluation and the random encoder's.
    """
    rows = store.rows(split.folds)
    index, codes = store.index.iloc[rows], codes_to_predict(store, split, minimum)
    models = {"LAMAE": model, "random encoder": random_encoder(model.config, seed)}
    evaluations = {}
    for name, encoder in models.items():
        x = embed_features(encoder, store, rows, representations, precision=precision, device=device, progress=progress)
        for representation in representations:
            evaluations[name, representation] = evaluate(
                x.pop(representation),
                index,
                codes,
                name=f"{name}, {REPRESENTATION_NAMES[representation]}",
                split=split,
                representation=representation,
                n_bootstrap=n_bootstrap,
                seed=seed,
                device=device,
            )
    return [evaluations[name, representation] for representation in representations for name in models]


def explanation_sections(explanation: AttentionSummary, heading: str, text: str) -> list[Section]:
    """The part of a report that shows one ECG: lead weights over the ECG, latent attention, chances of codes."""
    content = [
        lead_weight_figure(explanation, "Each trace in the color of its lead's weight"),
        lead_bar_figure(explanation),
        lead_attention_figure(explanation),
    ]
    if explanation.probabilities is not None:
        best = explanation.probabilities.sort_values(ascending=False).head(8)
        content.insert(1, best.rename(index=name_of).to_frame("chance"))
    return [Section(heading, text, content)]


def _cohort(folder: Path, ecgs: int, seed: int, progress: bool) -> Store:
    """The simulated cohort in `folder`: taken up if it is the same, refused if it is another."""
    if not folder.exists():
        return simulate_store(folder, ecgs, seed, progress=progress)
    store = Store.open(folder)
    if store.meta["source"] != f"simulated, seed {seed}" or len(store) != ecgs:
        raise ECGError(
            f"{folder} holds {len(store)} ECGs ({store.meta['source']}), not {ecgs} simulated with seed {seed};"
            " choose another folder."
        )
    return store


def _demo_report(out: Path, model: LAMAE, store: Store, split: Split, evaluations: list[Evaluation]) -> None:
    lamae, untrained = evaluations[:2]
    difference = macro_differences(lamae, untrained)["macro_auroc_difference"]
    test = store.rows(split.test)
    chosen, first = _three_ecgs(store, test), int(test[0])
    macro = pd.DataFrame(
        {
            "macro AUROC (95 %)": [str(evaluation.auroc.macro()) for evaluation in evaluations] + ["0.5"],
            "macro AUPRC (95 %)": [str(evaluation.auprc.macro()) for evaluation in evaluations]
            + [f"{lamae.prevalence.mean():.3f}, the prevalence"],
        },
        index=[evaluation.name for evaluation in evaluations] + ["guessing"],
    )
    sections = [
        Section(
            "What the model was asked to do",
            f"The ECGs are cut into patches of {model.config.patch_samples / model.config.sampling_rate_hz:g} s."
            f" In each lead, {model.config.mask_ratio:.0%} of the patches are hidden (gray), and the model draws them"
            " (red) from what it sees; below, two leads are hidden altogether. It draws shapes: the height of a hidden"
            " lead is scaled to that of the recorded one. This patient was not in its training.",
            [_reconstruction(model, store, first, None), _reconstruction(model, store, first, ("V3", "aVF"))],
        ),
        Section(
            "How it learned",
            "The loss is the squared error on the hidden patches, where 1 is what guessing each lead's mean gives.",
            [learning_curve_figure({"LAMAE": read_log(out)})],
        ),
        Section(
            "ICD-10 codes of unseen patients",
            f"The model is frozen, and a logistic regression on it predicts each code. {lamae.test_ecgs} ECGs of"
            f" {lamae.test_patients} patients, none of whom was used for pretraining or fitting. Intervals are 95 %,"
            " from a bootstrap over patients. LAMAE's heart token is above the random encoder's by"
            f" {difference['value']:.3f} ({difference['low']:.3f} to {difference['high']:.3f}) in macro AUROC.",
            [macro, auroc_figure([lamae, untrained]), lamae.table().rename(index=name_of).rename_axis(None)],
        ),
    ]
    for row, what in chosen:
        truth = ", ".join(name_of(code) for code in store.index.codes.iloc[row]) or "no code (normal)"
        explanation = attention_summary(model, store.recording(row), lamae.probe)
        text = (
            f"Programmed: {truth}. Each trace is colored by its lead's weight in the heart token (bright is"
            " more). Weights and attention show what the model combined, not yet proof of why it predicted a code."
        )
        sections += explanation_sections(explanation, f"Lead weights: {what}", text)
    write_report(
        out / REPORT_FILE,
        "LAMAE on a simulated cohort",
        f"{len(store)} simulated 12-lead ECGs of {store.index.patient_id.nunique()} patients. All numbers below are of"
        " simulated patients: they show that the pipeline works, not how it would do in a clinic.",
        sections,
    )


def _three_ecgs(store: Store, rows: np.ndarray) -> list[tuple[int, str]]:
    """Three test ECGs to look at: an inferior infarction, a left bundle-branch block and a normal one, if there are."""
    chosen: list[tuple[int, str]] = []
    for code, what in (("I21.19", "inferior infarction"), ("I44.7", "left bundle-branch block"), (None, "normal ECG")):
        codes = store.index.codes.iloc[rows]
        fits = [len(lead_mask) == 0 if code is None else code in lead_mask for lead_mask in codes]
        if any(fits):
            chosen.append((int(rows[int(np.argmax(fits))]), what))
    return chosen


@torch.inference_mode()
def _reconstruction(model: LAMAE, store: Store, row: int, masked_leads: tuple[str, ...] | None):
    """One ECG and its reconstruction, with random patches hidden, or these whole leads."""
    batch = store.batch([row])
    shape = (1, len(batch.leads), model.config.max_patches)
    if masked_leads is None:
        mask = random_mask(shape, model.config.mask_ratio, torch.Generator().manual_seed(0))
        title = f"{model.config.mask_ratio:.0%} of the patches of every lead hidden"
    else:
        mask, title = named_lead_mask(shape, batch.leads, masked_leads), f"{' and '.join(masked_leads)} hidden"
    drawn = model.eval().reconstruct(batch, mask)[0].numpy()
    recording = store.recording(row)
    reconstruction = Recording(drawn, store.sampling_rate_hz, batch.leads).select(recording.leads)
    there = [batch.leads.index(name) for name in recording.leads]
    return reconstruction_figure(recording, reconstruction, mask[0, there].numpy(), title)
