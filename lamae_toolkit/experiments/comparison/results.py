"""The table of a comparison: macro AUROC of every variant, and its distance to LAMAE, with intervals."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.metrics import auroc, estimate, mean_of_defined, patient_bootstrap
from lamae_toolkit.experiments.comparison.plans import Cell, Plan, score_key
from lamae_toolkit.experiments.comparison.run import SCORES_FILE
from lamae_toolkit.parallel import machine


class Ranking:
    """The scores of all finished cells of a comparison, and what follows from them.

    An AUROC is computed in each rotation and seed on the test ECGs alone and averaged: log-odds of probes that
    learned from different patients are never mixed. A resample of the bootstrap samples patients, the same ones for
    all variants, and seeds. A seed of a variant counts when all its rotations are finished: `seeds` says which do, and
    `missing` what is not finished yet. A difference is taken over the seeds that both variants have.
    """

    def __init__(self, plan: Plan, store: Store, out: Path | str, n_bootstrap: int = 1000, seed: int = 0) -> None:
        self.plan, self.store, self.out = plan, store, Path(out)
        self.scores = {
            cell: dict(np.load(cell.folder(self.out) / SCORES_FILE))
            for cell in plan.cells()
            if (cell.folder(self.out) / SCORES_FILE).is_file()
        }
        self.missing = [cell for cell in plan.cells() if cell not in self.scores]
        complete = {
            name: [s for s in plan.seeds if all(Cell(name, r, s) in self.scores for r in range(len(plan.splits)))]
            for name in plan.variants
        }
        self.seeds = {name: seeds for name, seeds in complete.items() if seeds}
        if not self.seeds:
            raise ECGError(
                f"{out} has no variant with all its rotations yet; run the same `lamae research compare` again."
            )
        tested = np.unique(np.concatenate([scores["rows"] for scores in self.scores.values()]))
        self.labels = {task: labels_of(store.index, task, classes) for task, classes in plan.tasks.items()}
        self.column = {row: position for position, row in enumerate(tested)}
        self.patients = store.index.patient_id.to_numpy()[tested]
        self.weights = patient_bootstrap(self.patients, n_bootstrap, seed)
        self.sampled = np.random.default_rng([seed, 1]).random((n_bootstrap, len(plan.seeds)))

    def over_seeds(self, by_seed: Float[np.ndarray, "s r c"]) -> Float[np.ndarray, "r c"]:
        """The mean over seeds: all of them once in the first row, as many sampled with replacement in each resample."""
        count = len(by_seed)
        choice = (self.sampled[:, :count] * count).astype(int)
        times = np.stack([(choice == seed).sum(axis=1) for seed in range(count)], axis=1)
        return np.einsum("rs,src->rc", np.vstack([np.ones(count), times]) / count, by_seed)

    def by_seed(self, variant: str, key: str) -> Float[np.ndarray, "s r c"]:
        """AUROC of each class, mean over rotations, for each seed; the first of r is the estimate, then resamples."""
        task = key.split("|")[0]
        seeds = []
        for seed in self.seeds[variant]:
            rotations = []
            for rotation in range(len(self.plan.splits)):
                scores = self.scores[Cell(variant, rotation, seed)]
                rows = scores["rows"]
                weights = self.weights[:, [self.column[row] for row in rows]]
                found = auroc(self.labels[task][rows], scores[key], weights)
                rotations.append(np.vstack([found.value[None], found.resamples]))
            seeds.append(mean_of_defined(np.stack(rotations), axis=0))
        return np.stack(seeds)

    def tables(self, reference: str = "LAMAE") -> tuple[pd.DataFrame, pd.DataFrame]:
        """The table of macro AUROCs, and the table of single classes (all labels, all leads).

        The first has a row per variant, task, representation, label fraction and lead set: auroc, low, high (95 %),
        by_seed, and difference, difference_low, difference_high of the reference minus that variant, both with the
        same task, fraction and leads, and with the same representation ("trained" ones next to all lead latents).
        """
        rows, classes, found = [], [], {}
        for variant, seeds in self.seeds.items():
            for key in self._keys(variant):
                task, representation, fraction, subset = key.split("|")
                by_seed = found[variant, key] = self.by_seed(variant, key)
                by_class = self.over_seeds(by_seed)
                key_columns: dict[str, Any] = {
                    "variant": variant,
                    "task": task,
                    "representation": representation,
                    "fraction": float(fraction),
                    "leads": subset,
                }
                macro = {"by_seed": mean_of_defined(by_seed[:, 0], axis=1).tolist(), "seeds": len(seeds)}
                rows.append(key_columns | _interval(mean_of_defined(by_class, axis=1)) | macro)
                if float(fraction) == max(self.plan.fractions) and subset == self.plan.subsets[0]:
                    positives = self._positives(task)
                    classes += [
                        key_columns | {"class": name, "positives": positives[name]} | _interval(by_class[:, column])
                        for column, name in enumerate(self.plan.tasks[task])
                    ]
        for row in rows:
            key = score_key(row["task"], row["representation"], row["fraction"], row["leads"])
            compared = "per_lead" if row["representation"] == "trained" else row["representation"]
            ours = found.get((reference, score_key(row["task"], compared, row["fraction"], row["leads"])))
            if ours is not None and row["variant"] != reference:
                row |= self._difference(reference, ours, row["variant"], found[row["variant"], key])
        return pd.DataFrame(rows), pd.DataFrame(classes)

    def _difference(self, reference: str, ours: np.ndarray, variant: str, theirs: np.ndarray) -> dict[str, float]:
        """By how much the reference is above the variant, over the seeds that both have."""
        both = [seed for seed in self.seeds[reference] if seed in self.seeds[variant]]
        if not both:
            return {}
        ours = ours[[self.seeds[reference].index(seed) for seed in both]]
        theirs = theirs[[self.seeds[variant].index(seed) for seed in both]]
        interval = _interval(
            mean_of_defined(self.over_seeds(ours), axis=1) - mean_of_defined(self.over_seeds(theirs), axis=1)
        )
        return dict(zip(("difference", "difference_low", "difference_high"), interval.values(), strict=True))

    def to_dict(self, command: str, reference: str = "LAMAE") -> dict:
        """All results as plain values for JSON, with what is needed to reproduce them."""
        table, classes = self.tables(reference)
        return {
            "command": command,
            "date": date.today().isoformat(),
            "machine": machine(),
            "data": self.store.meta["source"],
            "test_ecgs": len(self.column),
            "test_patients": len(np.unique(self.patients)),
            "plan": self.plan.to_dict(),
            "missing_cells": len(self.missing),
            "macro": _records(table),
            "classes": _records(classes),
        }

    def _keys(self, variant: str) -> Iterable[str]:
        first = self.scores[Cell(variant, 0, self.seeds[variant][0])]
        return [key for key in first if key != "rows"]

    def _positives(self, task: str) -> dict[str, int]:
        positives = self.labels[task][list(self.column)].sum(axis=0)
        return dict(zip(self.plan.tasks[task], positives.tolist(), strict=True))


def _interval(values: Float[np.ndarray, " r"]) -> dict[str, float]:
    """The first value, and the 95 % percentiles of the others."""
    found = estimate(values[0], values[1:])
    return {"auroc": found.value, "low": found.low, "high": found.high}


def _records(table: pd.DataFrame) -> list[dict]:
    """Rows as plain values; what is undefined is left out."""
    return [
        {
            name: round(value, 5) if isinstance(value, float) else value
            for name, value in row.items()
            if not (isinstance(value, float) and np.isnan(value))
        }
        for row in table.to_dict(orient="records")
    ]
