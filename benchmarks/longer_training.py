"""Does LAMAE stay above independent leads when both are trained fourteen times longer than in the comparison?

    python benchmarks/longer_training.py --store runs/ptbxl/store

Takes the two shipped models, which are twins (10,000 steps on the same ECGs), and an untrained LAMAE, and probes them
in the four rotations of the comparison. The twins were pretrained on all folds 1 to 8 *without labels*, so here, unlike
in the comparison, pretraining has seen the signals of the test ECGs, of both models alike; probes and their penalties
have not. One seed of pretraining: intervals are over patients alone.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamae_toolkit.baselines import IndependentMAE
from lamae_toolkit.evaluate import random_encoder
from lamae_toolkit.metrics import Estimate, auroc, estimate, patient_bootstrap
from lamae_toolkit.model import LAMAE
from lamae_toolkit.plans import PLANS, labels_of, score_key
from lamae_toolkit.probe import REPRESENTATIONS
from lamae_toolkit.scores import probe_scores
from lamae_toolkit.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="the store that `lamae compare ptbxl` made")
    store = Store.open(parser.parse_args().store)
    plan = replace(PLANS["ptbxl"](store), fractions=(0.01, 0.1, 1.0), subsets=("12 leads",))
    models = {
        "LAMAE": LAMAE.from_pretrained("lamae-small"),
        "independent leads": IndependentMAE.from_pretrained("lamae-small-independent"),
        "random encoder": random_encoder(plan.model),
    }
    weights = patient_bootstrap(store.index.patient_id.to_numpy())
    scores = {
        name: [probe_scores(plan, store, model, split, 0, progress=False) for split in plan.splits]
        for name, model in models.items()
    }
    for task, classes in plan.tasks.items():
        for representation in reversed(REPRESENTATIONS):
            for fraction in plan.fractions:
                key, macro = score_key(task, representation, fraction, "12 leads"), {}
                for name in models:
                    rotations = []
                    for found in scores[name]:
                        labels = labels_of(store.index.iloc[found["rows"]], task, classes)
                        result = auroc(labels, found[key], weights[:, found["rows"]])
                        rotations.append(np.vstack([result.value, result.replicates]))
                    macro[name] = np.nanmean(np.nanmean(rotations, axis=0), axis=1)
                print(f"{task}, {representation}, {fraction:.0%} of the labels")
                for name, values in macro.items():
                    print(f"  {name:18} {_interval(values)}   LAMAE minus this {_interval(macro['LAMAE'] - values)}")


def _interval(values: np.ndarray) -> Estimate:
    return estimate(values[0], values[1:])


if __name__ == "__main__":
    main()
