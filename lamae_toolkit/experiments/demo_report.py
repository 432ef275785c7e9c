"""The report of the demo: reconstructions, the loss, ICD-10 codes of unseen patients, and the leads of three ECGs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.evaluation.evaluate import Evaluation, Split, macro_differences
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.encoded import attention_summary, encode_ecg
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import named_lead_mask, random_mask
from lamae_toolkit.plots.ecg import ecg_figure, reconstruction_figure
from lamae_toolkit.plots.ecg_report import NUMBERS, heart_token_section
from lamae_toolkit.plots.evaluation import codes_figure
from lamae_toolkit.plots.report import Section, write_report
from lamae_toolkit.plots.terms import lead_terms_figure
from lamae_toolkit.plots.training import learning_curve_figure
from lamae_toolkit.simulate.conditions import CONDITIONS
from lamae_toolkit.training.trainer import read_log

INTRODUCTION = (
    "Simulated 12-lead ECGs of simulated patients: all numbers below show that the pipeline works, not how it would"
    " perform in a clinic."
)


class GrowingReport:
    """A report that is written again after each part of a run, and says what is still to come.

    grows: False writes it only when it is complete.
    """

    def __init__(self, path: Path, grows: bool = True) -> None:
        self.path, self.grows = path, grows
        self.sections: list[Section] = []

    def add(self, sections: Iterable[Section], following: str = "") -> None:
        """Add the sections of a part; following: what the next part will show, nothing if this is the last."""
        self.sections += sections
        if self.grows or not following:
            waits = f"\nNot finished yet. Next: {following}; reload this page in a minute." if following else ""
            write_report(self.path, "LAMAE on a simulated cohort", INTRODUCTION + waits, self.sections)


def training_sections(out: Path, model: LAMAE, store: Store, split: Split) -> list[Section]:
    """What the model reconstructs of an unseen patient's ECG, and how its loss fell."""
    first = int(store.rows(split.test)[0])
    return [
        Section(
            "What the model learned to do",
            f"The ECGs are cut into patches of {model.config.patch_samples / model.config.sampling_rate_hz:g} s."
            f" In each lead, {model.config.mask_ratio:.0%} of the patches are masked (gray), and the model"
            " reconstructs them (colored) from the visible ones; below, two complete leads are masked. The amplitude of"
            " the reconstruction is scaled to that of the recorded lead. This patient was not in its training.",
            [_reconstruction(model, store, first, None), _reconstruction(model, store, first, ("V3", "aVF"))],
        ),
        Section(
            "How it learned",
            f"On {len(store.rows(split.train))} of {len(store)} simulated ECGs of"
            f" {store.index.patient_id.nunique()} patients. The loss is the squared error on the masked patches; 1 is"
            " the error of predicting each lead's mean.",
            [learning_curve_figure({"LAMAE": read_log(out)})],
        ),
    ]


def scores_section(evaluations: Sequence[Evaluation]) -> Section:
    """How well the codes of unseen patients are predicted, by LAMAE and by the random encoder."""
    lamae, untrained = evaluations[:2]
    difference = macro_differences(lamae, untrained)["macro_auroc_difference"]
    macro = pd.DataFrame(
        {
            "macro AUROC (95 %)": [str(evaluation.auroc.macro()) for evaluation in evaluations] + ["0.5"],
            "macro AUPRC (95 %)": [str(evaluation.auprc.macro()) for evaluation in evaluations]
            + [f"{lamae.prevalence.mean():.3f}, the prevalence"],
        },
        index=[evaluation.name for evaluation in evaluations] + ["guessing"],
    )
    return Section(
        "ICD-10 codes of unseen patients",
        f"The model is frozen, and a logistic regression on it predicts each code. {lamae.test_ecgs} ECGs of"
        f" {lamae.test_patients} patients, none of whom was used for pretraining or fitting. Intervals are 95 %,"
        " from a bootstrap over patients. On its lead latents, LAMAE is above the random encoder by"
        f" {difference['value']:.3f} ({difference['low']:.3f} to {difference['high']:.3f}) in macro AUROC.",
        [macro, codes_figure(lamae, baseline=untrained), lamae.table().rename(index=name_of).rename_axis(None)],
    )


def leads_sections(model: LAMAE, store: Store, split: Split, probe: Probe) -> list[Section]:
    """What each lead adds to the prediction of three test ECGs, and what the heart token of one is made of."""
    test, sections = store.rows(split.test), []
    for row, what in _three_ecgs(store, test):
        codes = list(store.index.codes.iloc[row])
        encoded = encode_ecg(model, store.recording(row), probe)
        terms = encoded.lead_terms()
        code = next((code for code in codes if code in terms.codes), str(terms.ranked().index[0]))
        text = f"{_simulated(codes)} {name_of(code)}: {terms.sentence(code)}"
        ranked = terms.ranked().head(5).rename(index=name_of).rename_axis(None)
        content = [ecg_figure(encoded.recording), lead_terms_figure(terms, code), ranked]
        sections.append(Section(f"What each lead adds: {what}", f"{text}\n{NUMBERS}", content))
    return [*sections, heart_token_section(attention_summary(model, store.recording(int(test[0]))))]


def _simulated(codes: Sequence[str]) -> str:
    """What the simulator put into an ECG: each condition, and the leads in which its evidence lies."""
    if not len(codes):
        return "Simulated without a condition."
    text = []
    for code in codes:
        leads = CONDITIONS[code].evidence_leads
        where = "all leads" if len(leads) == len(LEADS) else ", ".join(leads)
        text.append(f"Simulated with {name_of(code)}, whose evidence lies in {where}.")
    return " ".join(text)


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
