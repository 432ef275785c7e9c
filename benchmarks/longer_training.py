"""Does LAMAE stay above its rivals when all are trained fourteen times longer than in the comparison?

    python benchmarks/longer_training.py --store runs/ptbxl/store --out runs/longer

Takes models that were trained by the recipe of the shipped weights (10,000 steps on the same ECGs; those of seed 0 are
the shipped ones, the others are trained first, 20 minutes of one core each) and an untrained LAMAE, and probes them in
the four rotations of the comparison, beside what learns from labels alone and the shipped LAMAE fine-tuned. Models were
pretrained on all folds 1 to 8 *without labels*, so here, unlike in the comparison, pretraining has seen the signals of
the test ECGs, of all models alike; probes, their penalties and all that learns from labels have not. What is computed
is kept in --out; the same command goes on. A seed or a row that is not asked for is left out of the table.
"""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamae_toolkit.baselines import RIVALS
from lamae_toolkit.compare import SCORES_FILE
from lamae_toolkit.evaluate import random_encoder
from lamae_toolkit.files import write_json, written_whole
from lamae_toolkit.model import LAMAE
from lamae_toolkit.plans import PLANS, Cell, Plan, Variant
from lamae_toolkit.ranking import Ranking
from lamae_toolkit.rivals import RESULTS_FILE, main_rows, readable
from lamae_toolkit.scores import handmade_scores, probe_scores, supervised_scores
from lamae_toolkit.small import RECIPE, SHIPPED, train_small
from lamae_toolkit.store import Store

SEEDS = {
    "LAMAE": 3,
    "independent leads": 1,
    "random encoder": 3,
    "hand-made features": 3,
    "convolutional network": 1,
    "LAMAE, fine-tuned": 1,
}
"""The rows of the table, and with how many seeds each: as many as there was time for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="the store that `lamae compare ptbxl` made")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and scores")
    parser.add_argument("--variants", default=";".join(SEEDS), help="the rows of the table, separated by semicolons")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="the seeds, of a row as many as it has")
    parser.add_argument("--no-table", action="store_true", help="only compute: for several commands side by side")
    chosen = parser.parse_args()
    store = Store.open(chosen.store)
    plan = PLANS["ptbxl"](store)
    variants = {name: plan.variants[name] for name in chosen.variants.split(";")}
    plan = replace(
        plan, name="longer", variants=variants, train=RECIPE, seeds=tuple(chosen.seeds), subsets=("12 leads",)
    )
    for cell in plan.cells():
        path = cell.folder(chosen.out) / SCORES_FILE
        if cell.seed < SEEDS[cell.variant] and not path.is_file():
            scores = scores_of(plan, store, chosen.out, cell)
            with written_whole(path) as partial, open(partial, "wb") as file:
                np.savez_compressed(file, **scores)
    if not chosen.no_table:
        command = f"python {shlex.join(['benchmarks/longer_training.py', *sys.argv[1:]])}"
        ranking = Ranking(plan, store, chosen.out)
        missing = [cell for cell in ranking.missing if cell.seed < SEEDS[cell.variant]]
        results = ranking.to_dict(command) | {"missing_cells": len(missing)}
        write_json(chosen.out / RESULTS_FILE, results)
        for task in plan.tasks:
            print(f"\n{task}, all labels:\n{readable(main_rows(results, task)).to_string()}")


def scores_of(plan: Plan, store: Store, out: Path, cell: Cell) -> dict[str, np.ndarray]:
    """The log-odds of the test ECGs of one rotation, from a model that was trained for long."""
    variant, split = plan.variants[cell.variant], plan.splits[cell.rotation]
    if variant.method == "hand-made":
        return handmade_scores(plan, store, out, split, cell.seed)
    if variant.method == "network":
        return supervised_scores(plan, store, None, split, cell.seed)
    model = trained_long(plan, store, out, variant, cell.seed)
    if variant.method == "fine-tune":
        # With all labels alone: the most that a model can do, and all that there is time for.
        return supervised_scores(replace(plan, fractions=(1.0,)), store, model, split, cell.seed)
    return probe_scores(plan, store, model, split, cell.seed)


def trained_long(plan: Plan, store: Store, out: Path, variant: Variant, seed: int) -> LAMAE:
    """The shipped weights, or weights of another seed or rival that were trained as they were."""
    if variant.rival == "random encoder":
        return random_encoder(plan.model, seed)
    if seed == 0 and variant.rival in SHIPPED:
        return RIVALS[variant.rival].from_pretrained(SHIPPED[variant.rival])
    folder = out / "pretrained" / f"{variant.rival}, seed {seed}"
    if not (folder / "shipped").is_dir():
        train_small(folder, store, rival=variant.rival, train=replace(RECIPE, seed=seed))
    return RIVALS[variant.rival].from_pretrained(folder / "shipped")


if __name__ == "__main__":
    main()
