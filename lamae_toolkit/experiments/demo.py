"""The demo: a complete run, from simulated ECGs to ICD-10 codes of unseen patients and a report."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_features, random_encoder
from lamae_toolkit.evaluation.evaluate import Evaluation, Split, codes_to_predict, evaluate, macro_differences
from lamae_toolkit.evaluation.linear_probe import REPRESENTATION_NAMES
from lamae_toolkit.files import write_json
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain, read_log

if TYPE_CHECKING:
    from lamae_toolkit.plots.report import Section

METRICS_FILE, HTML_REPORT_FILE = "metrics.json", "report.html"


def demo(
    out: Path | str,
    *,
    ecgs: int = 3000,
    steps: int = 1000,
    seed: int = 0,
    n_bootstrap: int = 1000,
    progress: bool = True,
    opening: Sequence["Section"] = (),
) -> dict:
    """The complete pipeline on simulated ECGs: simulate, pretrain, predict ICD-10 codes, inspect the leads, write a
    report.

    Command: `lamae demo`. Cost: five to eight minutes on two cores, for a model of the shipped size.
    Expected on the unseen patients with seed 0: macro AUROC about 0.96 for the lead latents (random encoder: 0.92),
    0.91 for the heart token (0.82), 0.95 for the summary (0.89).
    Writes `out/store`, `out/checkpoint`, `out/log.jsonl`, `out/metrics.json` and `out/report.html`; a run that was
    interrupted resumes from its last checkpoint. Returns the metrics.

    opening: the first sections of the report, which is written at once and grows with each part of the run. A report
    that is complete is replaced by the next complete one only.
    """
    # Imported here, so that a missing plotly fails before the training and not after it.
    from lamae_toolkit.experiments.demo_report import GrowingReport, leads_sections, scores_section, training_sections

    out = Path(out)
    found = _found_cohort(out / "store", ecgs, seed)
    report = GrowingReport(out / HTML_REPORT_FILE, grows=not (out / METRICS_FILE).exists())
    report.add(opening, "the simulation of a cohort and the pretraining of a model on it")
    store = found or simulate_store(out / "store", ecgs, seed, progress=progress)
    split = Split()
    torch.manual_seed(seed)
    model = LAMAE(MINI)
    train = TrainConfig(steps=steps, batch_size=16, learning_rate=2e-3, seed=seed, save_every=100)
    # Test and validation patients are not in pretraining either.
    pretrain(model, store, store.rows(split.train), out, train, progress=progress)
    report.add(training_sections(out, model, store, split), "the ICD-10 codes of unseen patients")
    evaluations = evaluate_beside_random(
        model,
        store,
        split,
        seed=seed,
        n_bootstrap=n_bootstrap,
        representations=("leads", "heart", "summary"),
        progress=progress,
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
    report.add([scores_section(evaluations), *leads_sections(model, store, split, evaluations[0].probe)])
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


def _found_cohort(folder: Path, ecgs: int, seed: int) -> Store | None:
    """The simulated cohort in `folder`: None if there is none yet, refused if it is another."""
    if not folder.exists():
        return None
    store = Store.open(folder)
    if store.meta["source"] != f"simulated, seed {seed}" or len(store) != ecgs:
        raise ECGError(
            f"{folder} holds {len(store)} ECGs ({store.meta['source']}), not {ecgs} simulated with seed {seed};"
            " choose another folder."
        )
    return store
