"""Does LAMAE stay above its baselines when all are trained fourteen times longer than in the comparison?

    python -m lamae_toolkit.experiments.comparison.longer_training --store runs/ptbxl/store --out runs/longer

Takes models that were trained by the recipe of the shipped weights (10,000 steps on the same ECGs; those of seed 0 are
the shipped ones, the others are trained first, 20 minutes of one core each) and an untrained LAMAE, and probes them in
the four rotations of the comparison, next to what learns from labels alone and the shipped LAMAE fine-tuned. Models
were pretrained on all folds 1 to 8 *without labels*, so here, unlike in the comparison, pretraining has seen the
signals of the test ECGs, of all models alike; probes, their penalties and all that learns from labels have not. What is
computed is kept in --out; the same command resumes. A seed or a row that is not asked for is left out of the table.
"""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from lamae_toolkit.data.store import Store
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.experiments.comparison.plans import PLANS, Cell, Plan
from lamae_toolkit.experiments.comparison.report import RESULTS_FILE, main_rows, readable
from lamae_toolkit.experiments.comparison.results import Ranking
from lamae_toolkit.experiments.comparison.run import SCORES_FILE, run_cell
from lamae_toolkit.experiments.shipped_weights import RECIPE, SHIPPED, train_small
from lamae_toolkit.files import write_json
from lamae_toolkit.model.baselines import COMPARED_MODELS
from lamae_toolkit.model.lamae import LAMAE

SEEDS = {
    "LAMAE": 3,
    "independent leads": 1,
    "random encoder": 3,
    "hand-made features": 3,
    "convolutional network": 1,
    "LAMAE, fine-tuned": 1,
}
"""The rows of the table with their numbers of seeds, limited by computing time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="the store that `lamae research compare ptbxl` made")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and scores")
    parser.add_argument("--variants", default=";".join(SEEDS), help="the rows of the table, separated by semicolons")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="the seeds, of a row as many as it has")
    parser.add_argument("--no-table", action="store_true", help="only compute: for several commands in parallel")
    chosen = parser.parse_args()
    store = Store.open(chosen.store)
    full_plan = replace(PLANS["ptbxl"](store), name="longer", train=RECIPE, subsets=("12 leads",))
    variants = {name: full_plan.variants[name] for name in chosen.variants.split(";")}
    plan = replace(full_plan, variants=variants, seeds=tuple(chosen.seeds))
    cells = [cell for cell in plan.cells() if cell.seed < SEEDS[cell.variant]]
    for cell in cells:
        if not (cell.folder(chosen.out) / SCORES_FILE).is_file():
            # Fine-tuning with all labels only, to limit computing time.
            fine_tuned = plan.variants[cell.variant].method == "fine-tune"
            run_cell(
                replace(full_plan, fractions=(1.0,)) if fine_tuned else full_plan,
                store,
                chosen.out,
                cell,
                pretrained=lambda source: trained_long(full_plan, store, chosen.out, source),
            )
    if not chosen.no_table:
        command = f"python {shlex.join(['-m', 'lamae_toolkit.experiments.comparison.longer_training', *sys.argv[1:]])}"
        ranking = Ranking(plan, store, chosen.out)
        results = ranking.to_dict(command) | {"missing_cells": len(set(cells) & set(ranking.missing))}
        write_json(chosen.out / RESULTS_FILE, results)
        for task in plan.tasks:
            print(f"\n{task}, all labels:\n{readable(main_rows(results, task)).to_string()}")


def trained_long(plan: Plan, store: Store, out: Path, cell: Cell) -> LAMAE:
    """The shipped weights, or weights of another seed or baseline that were trained as they were."""
    model_name, seed = plan.variants[cell.variant].model_name, cell.seed
    if model_name == "random encoder":
        return random_encoder(plan.model, seed)
    if seed == 0 and model_name in SHIPPED:
        return COMPARED_MODELS[model_name].from_pretrained(SHIPPED[model_name])
    folder = out / "pretrained" / f"{model_name}, seed {seed}"
    if not (folder / "shipped").is_dir():
        train_small(folder, store, model_name=model_name, train=replace(RECIPE, seed=seed))
    return COMPARED_MODELS[model_name].from_pretrained(folder / "shipped")


if __name__ == "__main__":
    main()
