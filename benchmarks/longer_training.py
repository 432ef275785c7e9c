"""Does LAMAE stay above its rivals when it is trained fourteen times longer than in the comparison?

    python benchmarks/longer_training.py --store runs/ptbxl/store --out runs/longer

Takes the two shipped models, which are twins (10,000 steps on the same ECGs), and an untrained LAMAE, and probes them
in the four rotations of the comparison, beside what learns from labels alone and the shipped LAMAE fine-tuned. The
twins were pretrained on all folds 1 to 8 *without labels*, so here, unlike in the comparison, pretraining has seen the
signals of the test ECGs, of both models alike; probes, their penalties and all that learns from labels have not. One
seed: intervals are over patients alone. What is computed is kept in --out; the same command goes on.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamae_toolkit.baselines import IndependentMAE
from lamae_toolkit.evaluate import Split, random_encoder
from lamae_toolkit.files import written_whole
from lamae_toolkit.metrics import auroc, estimate, patient_bootstrap
from lamae_toolkit.model import LAMAE
from lamae_toolkit.plans import PLANS, Plan, labels_of, score_key
from lamae_toolkit.probe import REPRESENTATIONS
from lamae_toolkit.scores import handmade_scores, probe_scores, supervised_scores
from lamae_toolkit.store import Store

Scores = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="the store that `lamae compare ptbxl` made")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scores")
    chosen = parser.parse_args()
    store = Store.open(chosen.store)
    plan = replace(PLANS["ptbxl"](store), subsets=("12 leads",))
    with_few_labels, shipped = plan, LAMAE.from_pretrained("lamae-small")
    # Fine-tuning with all labels is the most that a model can do, and is all that there is time for.
    plan = replace(plan, fractions=(1.0,))
    ways: dict[str, Callable[[Split], Scores]] = {
        "LAMAE": lambda split: probe_scores(with_few_labels, store, shipped, split, 0),
        "independent leads": lambda split: probe_scores(
            with_few_labels, store, IndependentMAE.from_pretrained("lamae-small-independent"), split, 0
        ),
        "random encoder": lambda split: probe_scores(with_few_labels, store, random_encoder(plan.model), split, 0),
        "hand-made features": lambda split: handmade_scores(with_few_labels, store, chosen.out, split, 0),
        "convolutional network": lambda split: supervised_scores(with_few_labels, store, None, split, 0),
        "LAMAE, fine-tuned": lambda split: supervised_scores(plan, store, shipped, split, 0),
    }
    scores = {
        name: [
            _kept(chosen.out / f"{name}, rotation {number}.npz", way, split) for number, split in enumerate(plan.splits)
        ]
        for name, way in ways.items()
    }
    weights = patient_bootstrap(store.index.patient_id.to_numpy())
    for task in plan.tasks:
        for fraction in reversed(with_few_labels.fractions):
            print(f"\n{task}, {fraction:.0%} of the labels: macro AUROC, and LAMAE minus this, read in the same way")
            lamae: dict[str, np.ndarray] = {}
            for representation in (*reversed(REPRESENTATIONS), "trained"):
                key = score_key(task, representation, fraction, "12 leads")
                for name, rotations in scores.items():
                    if all(key in found for found in rotations):
                        macro = _macro(plan, store, weights, task, [(found["rows"], found[key]) for found in rotations])
                        # What learns from labels alone has no latents: beside it LAMAE is read at its best.
                        ours = lamae.setdefault("per_lead" if representation == "trained" else representation, macro)
                        above = "" if name == "LAMAE" else f"   {_interval(ours - macro)}"
                        print(f"  {name:22} {representation:10} {_interval(macro)}{above}")


def _kept(path: Path, way: Callable[[Split], Scores], split: Split) -> Scores:
    """The scores in this file; computed first if it is not there."""
    if not path.is_file():
        scores = way(split)
        with written_whole(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **scores)
    with np.load(path) as file:
        return dict(file)


def _macro(
    plan: Plan, store: Store, weights: np.ndarray, task: str, rotations: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """The macro AUROC, mean over the rotations, and its replicates behind it."""
    values = []
    for rows, logits in rotations:
        result = auroc(labels_of(store.index.iloc[rows], task, plan.tasks[task]), logits, weights[:, rows])
        values.append(np.vstack([result.value, result.replicates]))
    return np.nanmean(np.nanmean(values, axis=0), axis=1)


def _interval(values: np.ndarray) -> str:
    found = estimate(values[0], values[1:])
    return f"{found.value:6.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
