"""Do probes of PTB-XL work on ECGs of other hospitals and devices, without retraining?

Classifiers learn from folds 1 to 8 of PTB-XL; folds 9 and 10 are not used. They are scored on the records of the nine
sets and LUDB that are labeled with one of `FINDINGS`, next to their score on PTB-XL itself, where each ECG is scored by
a classifier that has not seen the patient (the pretraining of the shipped weights has seen nearly all of these
ECGs, without labels).
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.metrics import CodeScores, Estimate, macro_difference
from lamae_toolkit.experiments.kept_plan import kept_plan
from lamae_toolkit.experiments.shipped_weights import SHIPPED
from lamae_toolkit.experiments.transfer.cohorts import PTBXL_FOLDS, Cohort, other_sets_cohort, ptbxl_cohort
from lamae_toolkit.experiments.transfer.labels import FINDINGS, UNKNOWN
from lamae_toolkit.experiments.transfer.predict import LogOdds, predictions, rotation_of
from lamae_toolkit.experiments.transfer.scores import bootstrap_within, by_record, mean_over, stratified_auroc
from lamae_toolkit.files import write_json
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.parallel import machine

ALL_SETS, PTBXL = "all sets", "PTB-XL"
REPRESENTATIONS = ("heart", "summary", "per_lead")
"""Those that do not depend on the order and number of leads come first."""
REFERENCE = "LAMAE"
MINIMUM = 5
"""A single set is listed for a finding if at least as many of its records have it, and as many do not."""
TRANSFER_PLAN_FILE, RESULTS_FILE = "plan.json", "results.json"


class Tested(NamedTuple):
    """ECGs or records that are scored: their labels, sets, the strata within which they compare, and resamples."""

    index: pd.DataFrame
    labels: np.ndarray
    known: np.ndarray
    strata: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, index: pd.DataFrame, labels: np.ndarray, strata: np.ndarray, n_bootstrap: int, seed: int) -> "Tested":
        counts = bootstrap_within(index.patient_id.to_numpy(), index.source.to_numpy(), n_bootstrap, seed)
        return cls(index, (labels == 1).astype(np.uint8), labels != UNKNOWN, strata, counts)

    def auroc(self, log_odds: Float[np.ndarray, "b f"], rows: np.ndarray | None = None) -> CodeScores:
        """AUROC of each finding, on some rows only if given."""
        rows = np.arange(len(self.index)) if rows is None else rows
        return stratified_auroc(
            self.labels[rows], log_odds[rows], self.known[rows], self.counts[:, rows], self.strata[rows]
        )


def transfer(
    stores: Path | str,
    out: Path | str,
    checkpoint: Path | str = SHIPPED["LAMAE"],
    twin: Path | str = SHIPPED["independent leads"],
    *,
    command: str = "",
    millivolts_only: bool = False,
    n_bootstrap: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> dict:
    """Score probes of PTB-XL on other sets, and write `out/results.json`; returns the results.

    stores: the folder that `research_stores` wrote. checkpoint, twin: LAMAE and the same model with independent leads.
    A random encoder of the same size and hand-made features come with them. millivolts_only: leave PTB-XL's
    z-scored ECGs out. What is computed is kept in `out`, and the same call resumes. ECGError if `out` holds another
    study.
    """
    out = Path(out)
    model = LAMAE.from_pretrained(checkpoint)
    models = {
        REFERENCE: model,
        "independent leads": IndependentMAE.from_pretrained(twin),
        "random encoder": random_encoder(model.config, seed),
    }
    ptbxl, others = ptbxl_cohort(stores, millivolts_only=millivolts_only), other_sets_cohort(stores)
    ecgs = [store.meta["source"] + f", {len(rows)} ECGs" for store, rows in (*ptbxl.parts, *others.parts)]
    plan = {"checkpoint": str(checkpoint), "twin": str(twin), "seed": seed, "ecgs": ecgs}
    kept_plan(out / TRANSFER_PLAN_FILE, plan, "a study of transfer")
    write_json(out / TRANSFER_PLAN_FILE, plan)
    found = {
        (name, kind): log_odds
        for name, kind, log_odds in predictions(
            models, ptbxl, others, out, representations=REPRESENTATIONS, seed=seed, progress=progress
        )
    }
    results = {
        "command": command,
        "date": date.today().isoformat(),
        "machine": machine(),
        "seed": seed,
        "checkpoint": Path(checkpoint).name,
        "twin": Path(twin).name,
        "learned_from": {
            "folds": list(PTBXL_FOLDS),
            "ecgs": len(ptbxl.index),
            "patients": int(ptbxl.index.patient_id.nunique()),
            "in_millivolts": int(ptbxl.index.amplitude_known.sum()),
        },
        **transfer_scores(ptbxl, others, found, n_bootstrap, seed),
    }
    write_json(out / RESULTS_FILE, results)
    return results


def transfer_scores(
    ptbxl: Cohort, others: Cohort, found: dict[tuple[str, str], LogOdds], n_bootstrap: int = 1000, seed: int = 0
) -> dict:
    """The sets, and AUROC of each finding by set and method, and of their mean, as plain values for JSON."""
    of_ptbxl = Tested.of(ptbxl.index, ptbxl.labels, rotation_of(ptbxl.index), n_bootstrap, seed)
    index, (labels, *log_odds) = by_record(others.index, others.labels, *(two.others for two in found.values()))
    of_sets = Tested.of(index, labels, index.source.to_numpy(), n_bootstrap, seed)
    sources = index.source.value_counts()
    # A finding that no set has, or PTB-XL has not, cannot be scored.
    columns = [k for k in range(len(FINDINGS)) if of_sets.labels[:, k].any() and of_ptbxl.labels[:, k].any()]
    tested = {PTBXL: (of_ptbxl, None), ALL_SETS: (of_sets, None)}
    tested |= {name: (of_sets, np.flatnonzero(index.source == name)) for name in sources.index}
    findings, macro = [], []
    for name, (part, rows) in tested.items():
        scores = {
            method: part.auroc(two.ptbxl if name == PTBXL else mean, rows)
            for (method, two), mean in zip(found.items(), log_odds, strict=True)
        }
        macro += [{"set": name} | row for row in _macro_rows(scores, columns)] if rows is None else []
        for k in columns:
            known = part.known[:, k] if rows is None else part.known[rows, k]
            positive = part.labels[:, k] if rows is None else part.labels[rows, k]
            n_positive, n_negative = int(positive[known].sum()), int((1 - positive[known]).sum())
            if rows is None or min(n_positive, n_negative) >= MINIMUM:
                about = {"set": name, "finding": list(FINDINGS)[k], "positives": n_positive, "negatives": n_negative}
                findings += [about | row for row in _macro_rows(scores, [k])]
    sets = {
        str(name): {"records": int(n), "patients": int(index.patient_id[index.source == name].nunique())}
        for name, n in sources.items()
    }
    return {"sets": sets, "over_findings": macro, "findings": findings}


def _macro_rows(scores: dict[tuple[str, str], CodeScores], columns: list[int]) -> Iterator[dict]:
    """For each method the mean AUROC over these findings, and by how much LAMAE is above it."""
    chosen = {method: mean_over(one, columns) for method, one in scores.items()}
    for (name, kind), one in chosen.items():
        row = {"method": name, "representation": kind, **_rounded("auroc", one.macro())}
        ours = chosen.get((REFERENCE, "per_lead" if kind == "trained" else kind))
        if name != REFERENCE and ours is not None:
            row |= _rounded("difference", macro_difference(ours, one))
        yield row


def _rounded(name: str, found: Estimate) -> dict[str, float]:
    values = dict(zip((name, f"{name}_low", f"{name}_high"), asdict(found).values(), strict=True))
    return {key: round(value, 4) for key, value in values.items()}
