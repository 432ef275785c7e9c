"""The weights that come with the toolkit: the recipe that trains `lamae-mini-ptbxl` and its independent-lead twin.

They were trained with the masks of recipe 1 (lamae_toolkit 0.1, see `training.run.RECIPE`); run now, the recipe has
other masks and gives other weights of the same kind.

Probes, scores, calibration and model card alone, for weights that are there already:

    python -m lamae_toolkit.experiments.shipped_weights --store runs/ptbxl/store
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import ModelCard

from lamae_toolkit import __version__
from lamae_toolkit.data.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.labels import frequent_codes, labels_of
from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.calibration import CALIBRATION_FILE, Calibration
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.evaluate import Split, score_probe
from lamae_toolkit.evaluation.linear_probe import PROBE_FILE, REPRESENTATIONS, features, fit_probe
from lamae_toolkit.evaluation.metrics import auroc, macro_difference, patient_bootstrap
from lamae_toolkit.experiments.demo import METRICS_FILE
from lamae_toolkit.experiments.transfer.subgroups import subgroup_scores, subgroup_table
from lamae_toolkit.files import atomic_write, write_json
from lamae_toolkit.model.baselines import COMPARED_MODELS
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import CONFIG_FILE, GOLDEN_FILE, WEIGHTS, WEIGHTS_FILE
from lamae_toolkit.parallel import machine
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain

SEEN = Split(train=(1, 2, 3, 4, 5, 6, 7), validation=(8,), test=(9, 10))
"""PTB-XL's folds: pretraining sees 1 to 8, the probe learns from 1 to 7 and is chosen on 8; 9 and 10 are unseen."""

THREADS = 2
"""Threads of the recipe on a CPU: with another number, the same seed gives other weights."""
RECIPE = TrainConfig(steps=10000, batch_size=16, warmup_steps=300, save_every=500)
"""How the shipped weights were trained."""

SHIPPED = {"LAMAE": "lamae-mini-ptbxl", "independent leads": "lamae-mini-ptbxl-independent"}
"""The models whose weights come with the toolkit, and the names by which they are loaded."""

PROBE_FILES = {"codes": PROBE_FILE, "superclasses": "probe_superclasses.json"}
"""The shipped probes by what they predict. Both read "leads", so that each lead has its term of the prediction."""

MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, GOLDEN_FILE)
SHIPPED_FILES = (*MODEL_FILES, *PROBE_FILES.values(), METRICS_FILE, CALIBRATION_FILE, "README.md")

SHIPPED_CARD = """---
license: cc-by-4.0
library_name: lamae_toolkit
tags: [ecg, masked-autoencoder, research]
---
# {name}: {model_name}, {parameters:,} parameters

A masked autoencoder for 12-lead ECGs of lamae_toolkit (LAMAE, after arXiv 2603.26475, whose sizes and recipe are not
public: this is a reconstruction from its abstract). **For research and teaching, not for diagnosis.**

    from {module} import {kind}
    model = {kind}.from_pretrained("{name}")

**Training data.** {ptbxl} ECGs of PTB-XL's folds 1 to 8 and {simulated} simulated ECGs. Their labels were not used in
pretraining. Folds 9 and 10 were used for nothing but the scores below.
**Recipe.** `lamae research shipped-weights`, {steps:,} steps of {batch} ECGs, seed {seed}; {machine}.
**Probes.** `probe.json` predicts {codes} ICD-10-CM codes, which a map of ours makes of PTB-XL's SCP statements: a
statement about one ECG, not a coded discharge diagnosis. `probe_superclasses.json` predicts the five diagnostic
superclasses. Both are logistic regressions on mean and standard deviation over time of each lead's latents, so that a
prediction is a sum over leads (`lt.lead_terms`). They learned from folds 1 to 7; C was chosen on fold 8.
**Scores** on the {test_ecgs} ECGs of {test_patients} patients of folds 9 and 10 that were available, macro AUROC with
95 % intervals over patients, by these probes: superclasses {superclasses}, ICD-10 codes {icd10}. With the summary of
the latents among the features, which is no sum over leads, {superclasses_more} and {icd10_more}: above by
{superclasses_difference} and {icd10_difference}, paired over the same patients. So few ECGs give wide intervals; the
comparison in the repository rests on all eight other folds.{subgroups}
**Limits.** Recordings of 1989 to 1996 with devices of one maker, 100 Hz, ECGs of 10 s, shapes in units of each lead's
standard deviation. Its probabilities are not calibrated for other patients. The softmax of the lead pooling is the
share of each lead in the heart token, on which these probes do not rest.

**Attribution.** PTB-XL, a large publicly available electrocardiography dataset (Wagner et al., Sci Data 7:154, 2020,
doi 10.1038/s41597-020-0495-6; PhysioNet), CC BY 4.0. The signals were band-passed from 0.5 to 40 Hz, resampled to 100
Hz, scaled, and used for training; no recording is contained in these weights.
"""

SUBGROUP_CARD = """

**Scores by sex, age and device** of these weights, which are of version {version}: AUROC on the superclasses with 95 %
intervals over the group's patients, on {ecgs} ECGs of {patients} patients of folds 1 to 8. Each was scored by a probe
on the leads that had not seen the patient; pretraining has seen nearly all of these ECGs, without labels. The groups
differ in more than their name: the devices were used in different years and at different sites.

{table}
"""


def train_small(
    out: Path | str,
    ptbxl: Store,
    *,
    model_name: str = "LAMAE",
    simulated_ecgs: int = 3000,
    train: TrainConfig | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> dict:
    """Train `lamae-mini-ptbxl` (its twin: "independent leads") on simulated ECGs and PTB-XL's folds 1 to 8.

    Any of COMPARED_MODELS can be trained so, and with any seed, to be compared with those two; train: RECIPE if not
    given.

    Command: `lamae research shipped-weights`. Cost: about 25 minutes on one core. Expected: see the model card,
    `README.md` in the folder
    of the weights. Writes `out/store`, `out/checkpoint` and `out/shipped`, the folder that is copied into the
    package. An interrupted run resumes. Returns the scores on folds 9 and 10, which nothing else has seen.
    """
    out, train = Path(out), train or RECIPE
    cohort = Store.open(out / "store") if (out / "store").exists() else _cohort(out, ptbxl, simulated_ecgs, progress)
    torch.manual_seed(train.seed)
    model = COMPARED_MODELS[model_name](MINI)
    runtime = RuntimeConfig(threads=THREADS)
    pretrain(model, cohort, np.arange(len(cohort)), out, train, runtime=runtime, device=device, progress=progress)
    metrics = _probe(model, ptbxl, out / CHECKPOINT, device, progress)
    simulated = int((cohort.index.patient_id >= 1_000_000).sum())
    pretrained_on = {"ptbxl": len(cohort) - simulated, "simulated": simulated}
    metrics |= {"train": asdict(train), "model_name": model_name, "machine": machine(), "pretrained_on": pretrained_on}
    metrics |= {"version": __version__, "threads": THREADS}
    write_json(out / CHECKPOINT / METRICS_FILE, metrics)
    _ship(out, model, metrics)
    return metrics


def _cohort(out: Path, ptbxl: Store, simulated_ecgs: int, progress: bool) -> Store:
    """PTB-XL's folds 1 to 8 and simulated patients in one store; patients of folds 9 and 10 are left out."""
    simulated = simulate_store(out / "simulated", simulated_ecgs, seed=0, progress=progress)

    def entries() -> Iterator[Record]:
        for row in ptbxl.rows((*SEEN.train, *SEEN.validation)):
            yield _entry(ptbxl, int(row), 0)
        for row in range(len(simulated)):
            yield _entry(simulated, row, 1_000_000)

    return pack(entries(), out / "store", source=f"{ptbxl.meta['source']}, folds 1 to 8; {simulated.meta['source']}")


def _entry(store: Store, row: int, offset: int) -> Record:
    """One ECG on its way from one store to another, with numbers that do not meet those of the other cohort."""
    index = store.index.iloc[row]
    patient, study = int(index.patient_id) + offset, int(index.study_id) + offset
    return Record(store.recording(row), patient, study, float(index.age_years), index.sex, tuple(index.codes))


def _probe(model: LAMAE, ptbxl: Store, checkpoint: Path, device: torch.device | str, progress: bool) -> dict:
    """Fit the probes on folds 1 to 7, keep those on "leads", and score all on folds 9 and 10."""
    rows = ptbxl.rows(SEEN.folds)
    index = ptbxl.index.iloc[rows]
    learn, choose, test = SEEN.indices(index)
    if min(len(learn), len(choose), len(test)) == 0:
        raise ECGError(f"{ptbxl.folder} lacks some of PTB-XL's folds 1 to 10; pack all of it.")
    embedding = embed_rows(model, ptbxl, rows, device=device, progress=progress)
    tasks = {"superclasses": SUPERCLASSES, "codes": frequent_codes(ptbxl)}
    weights = patient_bootstrap(index.patient_id.to_numpy()[test])
    scores: dict = {"test_ecgs": len(test), "test_patients": int(index.patient_id.iloc[test].nunique())}
    for task, classes in tasks.items():
        labels = labels_of(index, task, classes)
        of_codes = {}
        for representation in REPRESENTATIONS:
            x = features(embedding, representation)
            probe = fit_probe(x, labels, classes, learn, choose, representation=representation)
            logits = probe.logits(x[test])
            of_codes[representation] = auroc(labels[test], logits, weights)
            scores[f"{task}, {representation}"] = asdict(of_codes[representation].macro())
            if representation == "leads":
                probe.save(checkpoint, PROBE_FILES[task])
                if task == "codes":
                    tested = index.iloc[test]
                    Calibration.of(score_probe(probe, x[test], tested, n_bootstrap=0)).save(checkpoint)
        difference = macro_difference(of_codes["per_lead"], of_codes["leads"])
        scores[f"{task}, per_lead minus leads"] = asdict(difference)
        if task == "codes":
            scores["codes"] = list(classes)
    return scores


def _card(model: LAMAE, metrics: dict) -> ModelCard:
    """The model card, filled from the metrics."""
    interval = {
        name: "{value:.3f} ({low:.3f} to {high:.3f})".format(**metrics[name])
        for name in metrics
        if name.startswith(("superclasses, ", "codes, "))
    }
    card = SHIPPED_CARD.format(
        name=SHIPPED.get(metrics["model_name"], metrics["model_name"]),
        model_name=metrics["model_name"],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        module=type(model).__module__,
        kind=type(model).__name__,
        ptbxl=metrics["pretrained_on"]["ptbxl"],
        simulated=metrics["pretrained_on"]["simulated"],
        steps=metrics["train"]["steps"],
        batch=metrics["train"]["batch_size"],
        seed=metrics["train"]["seed"],
        machine=metrics["machine"],
        codes=len(metrics["codes"]),
        superclasses=interval["superclasses, leads"],
        icd10=interval["codes, leads"],
        superclasses_more=interval["superclasses, per_lead"],
        icd10_more=interval["codes, per_lead"],
        superclasses_difference=interval["superclasses, per_lead minus leads"],
        icd10_difference=interval["codes, per_lead minus leads"],
        test_ecgs=metrics["test_ecgs"],
        test_patients=metrics["test_patients"],
        subgroups=_subgroup_card(metrics),
    )
    return ModelCard(card)


def _subgroup_card(metrics: dict) -> str:
    """The part of the card on groups of patients; empty until `score_subgroups` has scored them."""
    if "subgroups" not in metrics:
        return ""
    results = metrics["subgroups"]
    every = results["groups"][0]
    return SUBGROUP_CARD.format(
        version=metrics.get("version", "0.1"),
        ecgs=every["ecgs"],
        patients=every["patients"],
        table=subgroup_table(results),
    )


def _ship(out: Path, model: LAMAE, metrics: dict) -> None:
    """Copy what goes into the package, with a model card."""
    with atomic_write(out / "shipped", replaces=METRICS_FILE) as partial:
        partial.mkdir()
        for name in SHIPPED_FILES[:-1]:
            (partial / name).write_bytes((out / CHECKPOINT / name).read_bytes())
        _card(model, metrics).save(partial / "README.md")


def fit_shipped_probes(folder: Path | str, ptbxl: Store, *, progress: bool = True) -> dict:
    """Fit the probes of weights that `train_small` trained again, and write scores, calibration and model card.

    folder: as `train_small` shipped it; nothing of the model changes. Returns the scores on folds 9 and 10.
    """
    folder = Path(folder)
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    model = COMPARED_MODELS[metrics["model_name"]].from_pretrained(folder)
    metrics |= _probe(model, ptbxl, folder, "cpu", progress)
    write_json(folder / METRICS_FILE, metrics)
    _card(model, metrics).save(folder / "README.md")
    return metrics


def score_subgroups(
    folder: Path | str, stores: Path | str, *, n_bootstrap: int = 1000, seed: int = 0, progress: bool = True
) -> dict:
    """Score weights that `train_small` shipped by sex, age and device, and write the scores and the model card.

    folder: of the weights; nothing of the model or its probes changes. stores: the folder that `research_stores` wrote.
    """
    folder = Path(folder)
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    model = COMPARED_MODELS[metrics["model_name"]].from_pretrained(folder)
    metrics["subgroups"] = subgroup_scores(model, stores, n_bootstrap=n_bootstrap, seed=seed, progress=progress)
    write_json(folder / METRICS_FILE, metrics)
    _card(model, metrics).save(folder / "README.md")
    return metrics["subgroups"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="a store of PTB-XL's folds 1 to 10")
    for name in SHIPPED.values():
        metrics = fit_shipped_probes(WEIGHTS / name, Store.open(parser.parse_args().store))
        for key in (key for key in metrics if ", " in key):
            print(f"{name}, {key:40}", "{value:.3f} ({low:.3f} to {high:.3f})".format(**metrics[key]))


if __name__ == "__main__":
    main()
