"""Scores of a model by sex, age and device of PTB-XL's patients, for its model card.

Superclasses from a probe on the leads, as the shipped one. Each ECG of folds 1 to 8 is scored by a probe that has not
seen the patient, in four rotations; folds 9 and 10 are not used. Pretraining of the shipped weights has seen nearly all
of these ECGs, without labels.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from lamae_toolkit.data.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.evaluation.linear_probe import fit_probe
from lamae_toolkit.evaluation.metrics import patient_bootstrap
from lamae_toolkit.experiments.transfer.cohorts import ptbxl_cohort
from lamae_toolkit.experiments.transfer.predict import ROTATIONS, embedded, rotation_of, rotations
from lamae_toolkit.experiments.transfer.scores import stratified_auroc
from lamae_toolkit.model.lamae import LAMAE

AGE_GROUPS = {
    "under 50 years": (0, 50),
    "50 to 64 years": (50, 65),
    "65 to 79 years": (65, 80),
    "80 years and more": (80, 200),
}
DEVICES = ("CS100", "CS-12", "AT-6", "AT-60")
"""Families of PTB-XL's electrocardiographs: the name up to its version."""
MINIMUM = 50
"""Groups of fewer ECGs are left out."""


def subgroup_scores(
    model: LAMAE, stores: Path | str, *, n_bootstrap: int = 1000, seed: int = 0, progress: bool = True
) -> dict:
    """Macro AUROC on the superclasses in each group, with 95 % intervals over its patients, as plain values.

    stores: the folder that `research_stores` wrote.
    """
    cohort = ptbxl_cohort(stores)
    index = cohort.index
    x = embedded(model, cohort, ("leads",), progress)["leads"]
    labels = labels_of(index, "superclasses", SUPERCLASSES)
    log_odds = np.zeros(labels.shape)
    for learn, choose, test in rotations(index):
        probe = fit_probe(x, labels, SUPERCLASSES, learn, choose, representation="leads")
        log_odds[test] = probe.logits(x[test])
    counts = patient_bootstrap(cohort.patients, n_bootstrap, seed)
    known, strata = np.ones(labels.shape, dtype=bool), rotation_of(index)
    found = []
    for group, rows in groups(index).items():
        scores = stratified_auroc(labels[rows], log_odds[rows], known[rows], counts[:, rows], strata[rows])
        found.append(
            {
                "group": group,
                "ecgs": len(rows),
                "patients": int(index.patient_id.iloc[rows].nunique()),
                "macro_auroc": asdict(scores.macro()),
                "superclasses": {name: asdict(scores.of_code(k)) for k, name in enumerate(SUPERCLASSES)},
            }
        )
    return {"rotations": [list(folds) for folds in ROTATIONS], "seed": seed, "groups": found}


def groups(index: pd.DataFrame) -> dict[str, np.ndarray]:
    """The rows of each group of at least MINIMUM ECGs; ECGs whose sex, age or device is not stated are in none."""
    family = index.device.str.split().str[0]
    masks = {"all": np.ones(len(index), dtype=bool), "women": index.sex == "F", "men": index.sex == "M"}
    masks |= {name: index.age_years.between(low, high, inclusive="left") for name, (low, high) in AGE_GROUPS.items()}
    masks |= {f"device {name}": family == name for name in DEVICES}
    rows = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    return {name: own for name, own in rows.items() if len(own) >= MINIMUM}


def subgroup_table(results: dict) -> str:
    """The scores as a Markdown table, one row per group."""
    lines = [
        "| group | ECGs | patients | macro AUROC | " + " | ".join(SUPERCLASSES) + " |",
        "|---" * (4 + len(SUPERCLASSES)) + "|",
    ]
    for row in results["groups"]:
        cells = [row["group"], str(row["ecgs"]), str(row["patients"])]
        cells += [
            "{value:.3f} ({low:.3f} to {high:.3f})".format(**one)
            for one in (row["macro_auroc"], *row["superclasses"].values())
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
