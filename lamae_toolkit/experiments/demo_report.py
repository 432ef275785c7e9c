"""The report of the demo: reconstructions, the loss, ICD-10 codes of unseen patients, and the leads of three ECGs."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.evaluation.evaluate import Evaluation, Split, macro_differences
from lamae_toolkit.experiments.demo import HTML_REPORT_FILE
from lamae_toolkit.explain.attention import AttentionSummary
from lamae_toolkit.explain.encoded import attention_summary
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import named_lead_mask, random_mask
from lamae_toolkit.plots.attention import lead_attention_figure
from lamae_toolkit.plots.ecg import lead_bar_figure, lead_weight_figure, reconstruction_figure
from lamae_toolkit.plots.evaluation import auroc_figure
from lamae_toolkit.plots.report import Section, write_report
from lamae_toolkit.plots.training import learning_curve_figure
from lamae_toolkit.training.trainer import read_log


def explanation_sections(explanation: AttentionSummary, heading: str, text: str) -> list[Section]:
    """The part of a report that shows one ECG: lead weights over the ECG, latent attention, probabilities of codes."""
    content = [
        lead_weight_figure(explanation, "Each trace in the color of its lead's weight"),
        lead_bar_figure(explanation),
        lead_attention_figure(explanation),
    ]
    if explanation.probabilities is not None:
        best = explanation.probabilities.sort_values(ascending=False).head(8)
        content.insert(1, best.rename(index=name_of).to_frame("probability"))
    return [Section(heading, text, content)]


def write_demo_report(out: Path, model: LAMAE, store: Store, split: Split, evaluations: list[Evaluation]) -> None:
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
            "What the model learned to do",
            f"The ECGs are cut into patches of {model.config.patch_samples / model.config.sampling_rate_hz:g} s."
            f" In each lead, {model.config.mask_ratio:.0%} of the patches are masked (gray), and the model"
            " reconstructs them (red) from the visible ones; below, two complete leads are masked. The amplitude of the"
            " reconstruction is scaled to that of the recorded lead. This patient was not in its training.",
            [_reconstruction(model, store, first, None), _reconstruction(model, store, first, ("V3", "aVF"))],
        ),
        Section(
            "How it learned",
            "The loss is the squared error on the masked patches; 1 is the error of predicting each lead's mean.",
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
            " more). Weights and attention show what the model combined, not why it predicted a code."
        )
        sections += explanation_sections(explanation, f"Lead weights: {what}", text)
    write_report(
        out / HTML_REPORT_FILE,
        "LAMAE on a simulated cohort",
        f"{len(store)} simulated 12-lead ECGs of {store.index.patient_id.nunique()} patients. All numbers below are of"
        " simulated patients: they show that the pipeline works, not how it would perform in a clinic.",
        sections,
    )


def _three_ecgs(store: Store, rows: np.ndarray) -> list[tuple[int, str]]:
    """Three test ECGs to look at: an inferior infarction, a left bundle-branch block and a normal one, if present."""
    chosen: list[tuple[int, str]] = []
    for code, what in (("I21.19", "inferior infarction"), ("I44.7", "left bundle-branch block"), (None, "normal ECG")):
        codes = store.index.codes.iloc[rows]
        fits = [len(present) == 0 if code is None else code in present for present in codes]
        if any(fits):
            chosen.append((int(rows[int(np.argmax(fits))]), what))
    return chosen


@torch.inference_mode()
def _reconstruction(model: LAMAE, store: Store, row: int, masked_leads: tuple[str, ...] | None):
    """One ECG and its reconstruction, with random patches masked, or these complete leads."""
    batch = store.batch([row])
    shape = (1, len(batch.leads), model.config.max_patches)
    if masked_leads is None:
        mask = random_mask(shape, model.config.mask_ratio, torch.Generator().manual_seed(0))
        title = f"{model.config.mask_ratio:.0%} of the patches of every lead masked"
    else:
        mask, title = named_lead_mask(shape, batch.leads, masked_leads), f"{' and '.join(masked_leads)} masked"
    reconstructed_mv = model.eval().reconstruct(batch, mask)[0].numpy()
    recording = store.recording(row)
    reconstruction = Recording(reconstructed_mv, store.sampling_rate_hz, batch.leads).select(recording.leads)
    rows = [batch.leads.index(name) for name in recording.leads]
    return reconstruction_figure(recording, reconstruction, mask[0, rows].numpy(), title)
