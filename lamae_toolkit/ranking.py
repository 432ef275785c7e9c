"""The table of a comparison: macro AUROC of every variant, and its distance to LAMAE, with intervals."""

import os
import platform
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from lamae_toolkit.compare import SCORES_FILE
from lamae_toolkit.ecg import ECGError
from lamae_toolkit.metrics import auroc, patient_bootstrap
from lamae_toolkit.plans import Cell, Plan, labels_of, score_key
from lamae_toolkit.store import Store


class Ranking:
    """The scores of all finished cells of a comparison, and what follows from them.

    An AUROC is computed in each rotation and seed on the test ECGs alone and averaged: log-odds of probes that
    learned from different patients are never mixed. A replicate of the bootstrap draws patients, the same ones for
    all variants, and seeds. Only seeds of which a variant has all rotations count; `missing` says what is not there.
    """

    def __init__(self, plan: Plan, store: Store, out: Path | str, replicates: int = 1000, seed: int = 0) -> None:
        self.plan, self.store, self.out = plan, store, Path(out)
        self.scores = {
            cell: dict(np.load(cell.folder(self.out) / SCORES_FILE))
            for cell in plan.cells()
            if (cell.folder(self.out) / SCORES_FILE).is_file()
        }
        self.missing = [cell for cell in plan.cells() if cell not in self.scores]
        complete = {
            name: {s for s in plan.seeds if all(Cell(name, r, s) in self.scores for r in range(len(plan.splits)))}
            for name in plan.variants
        }
        self.variants = [name for name in plan.variants if complete[name]]
        if not self.variants:
            raise ECGError(f"{out} has no variant with all its rotations yet; let `lamae compare` go on.")
        self.seeds = sorted(set.intersection(*(complete[name] for name in self.variants)))
        if not self.seeds:
            raise ECGError(f"No seed in {out} is complete for all variants; let `lamae compare` go on.")
        tested = np.unique(np.concatenate([scores["rows"] for scores in self.scores.values()]))
        self.column = {row: position for position, row in enumerate(tested)}
        self.patients = store.index.patient_id.to_numpy()[tested]
        self.weights = patient_bootstrap(self.patients, replicates, seed)
        random = np.random.default_rng([seed, 1])
        drawn = random.multinomial(len(self.seeds), np.full(len(self.seeds), 1 / len(self.seeds)), size=replicates)
        # The first row is the estimate itself: every seed counts once.
        self.seed_weights = np.vstack([np.ones(len(self.seeds)), drawn]) / len(self.seeds)

    def by_seed(self, variant: str, key: str) -> Float[np.ndarray, "s r c"]:
        """AUROC of each class, mean over rotations, for each seed; the first of r is the estimate, then replicates."""
        task = key.split("|")[0]
        seeds = []
        for seed in self.seeds:
            rotations = []
            for rotation in range(len(self.plan.splits)):
                scores = self.scores[Cell(variant, rotation, seed)]
                rows = scores["rows"]
                labels = labels_of(self.store.index.iloc[rows], task, self.plan.tasks[task])
                weights = self.weights[:, [self.column[row] for row in rows]]
                found = auroc(labels, scores[key], weights)
                rotations.append(np.vstack([found.value[None], found.replicates]))
            seeds.append(_mean(np.stack(rotations), axis=0))
        return np.stack(seeds)

    def tables(self, reference: str = "LAMAE") -> tuple[pd.DataFrame, pd.DataFrame]:
        """The table of macro AUROCs, and the table of single classes (all labels, all leads).

        The first has a row per variant, task, representation, label fraction and lead set: auroc, low, high (95 %),
        by_seed, and difference, difference_low, difference_high of the reference minus that variant, both with the
        same task, fraction and leads, and with the same representation ("trained" ones beside all lead latents).
        """
        rows, classes, macros = [], [], {}
        for variant in self.variants:
            for key in self._keys(variant):
                task, representation, fraction, subset = key.split("|")
                by_seed = self.by_seed(variant, key)
                by_class = np.einsum("rs,src->rc", self.seed_weights, by_seed)
                macros[variant, key] = _mean(by_class, axis=1)
                place = {"variant": variant, "task": task, "representation": representation,
                         "fraction": float(fraction), "leads": subset}  # fmt: skip
                rows.append(place | _interval(macros[variant, key]) | {"by_seed": _mean(by_seed[:, 0], 1).tolist()})
                if float(fraction) == max(self.plan.fractions) and subset == self.plan.subsets[0]:
                    positives = self._positives(task)
                    classes += [
                        place | {"class": name, "positives": positives[name]} | _interval(by_class[:, column])
                        for column, name in enumerate(self.plan.tasks[task])
                    ]
        for row in rows:
            beside = "per_lead" if row["representation"] == "trained" else row["representation"]
            ours = macros.get((reference, score_key(row["task"], beside, row["fraction"], row["leads"])))
            theirs = macros[
                row["variant"], score_key(row["task"], *(row[k] for k in ("representation", "fraction", "leads")))
            ]
            if ours is not None and row["variant"] != reference:
                row |= {f"difference{name}": value for name, value in
                        zip(("", "_low", "_high"), _interval(ours - theirs).values(), strict=True)}  # fmt: skip
        return pd.DataFrame(rows), pd.DataFrame(classes)

    def to_dict(self, command: str, reference: str = "LAMAE") -> dict:
        """All results as plain values for JSON, with what one needs to get them again."""
        table, classes = self.tables(reference)
        return {
            "command": command,
            "date": date.today().isoformat(),
            "machine": machine(),
            "data": self.store.meta["source"],
            "test_ecgs": len(self.column),
            "test_patients": len(np.unique(self.patients)),
            "plan": self.plan.to_dict(),
            "seeds": self.seeds,
            "missing_cells": len(self.missing),
            "macro": _records(table),
            "classes": _records(classes),
        }

    def _keys(self, variant: str) -> Iterable[str]:
        first = self.scores[Cell(variant, 0, self.seeds[0])]
        return [key for key in first if key != "rows"]

    def _positives(self, task: str) -> dict[str, int]:
        labels = labels_of(self.store.index.iloc[list(self.column)], task, self.plan.tasks[task])
        return dict(zip(self.plan.tasks[task], labels.sum(axis=0).tolist(), strict=True))


def machine() -> str:
    """What this was computed on, without its name."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores, no GPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {device}, {versions}"


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0.0).sum(axis=axis) / defined.sum(axis=axis)


def _interval(values: Float[np.ndarray, " r"]) -> dict[str, float]:
    """The first value, and the 95 % percentiles of the others."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return {"auroc": float(values[0]), "low": float(low), "high": float(high)}


def _records(table: pd.DataFrame) -> list[dict]:
    """Rows as plain values; what is not there is left out."""
    return [
        {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()
         if not (isinstance(value, float) and np.isnan(value))}
        for row in table.to_dict(orient="records")
    ]  # fmt: skip
