"""Log-odds of findings from classifiers that learned from PTB-XL alone, for PTB-XL itself and for other sets."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from sklearn.ensemble import HistGradientBoostingClassifier

from lamae_toolkit.evaluation.embed import embed_features
from lamae_toolkit.evaluation.linear_probe import fit_probe
from lamae_toolkit.experiments.transfer.cohorts import Cohort, measured
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.lamae import LAMAE

CHOOSING_FOLD = 8
"""A probe learns from folds 1 to 7, and its C is chosen on fold 8, as the shipped probes' was."""
ROTATIONS = ((1, 2), (3, 4), (5, 6), (7, 8))
"""PTB-XL scored by classifiers that have not seen the patient: two test folds each, and the fold after them for C."""


class LogOdds(NamedTuple):
    """The log-odds of each finding: for PTB-XL's ECGs, each by a classifier that has not seen the patient, and for
    the ECGs of other sets by one that learned from PTB-XL."""

    ptbxl: Float[np.ndarray, "b f"]
    others: Float[np.ndarray, "k f"]


Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Predict]
"""Fits a classifier: features, labels, rows to learn from and rows to choose C on give what predicts log-odds."""


def predictions(
    models: dict[str, LAMAE],
    ptbxl: Cohort,
    others: Cohort,
    folder: Path,
    *,
    representations: Sequence[str],
    seed: int = 0,
    progress: bool = True,
) -> Iterator[tuple[str, str, LogOdds]]:
    """For each model and representation, and for hand-made features ("trained"), what `LogOdds` describes.

    models: frozen, by name. Hand-made features are measured in standard deviations if PTB-XL has z-scored ECGs, so that
    they learn from the same ECGs as the probes. folder: where all of this is kept, so that the same call resumes.
    """
    labels = (ptbxl.labels == 1).astype(np.uint8)  # what PTB-XL leaves open counts as absent, as in its own labels
    for name, model in models.items():
        missing = [kind for kind in representations if not _kept(folder, name, kind).is_file()]
        x, z = (embedded(model, cohort, missing, progress) if missing else {} for cohort in (ptbxl, others))
        for kind in representations:
            if kind in missing:
                _keep(_kept(folder, name, kind), log_odds(_probe(kind), x[kind], labels, z[kind], ptbxl.index))
            yield name, kind, LogOdds(**np.load(_kept(folder, name, kind)))
    name, kind = "hand-made features", "trained"
    if not _kept(folder, name, kind).is_file():
        in_sd = not ptbxl.index.amplitude_known.all()
        of_ptbxl, of_others = (measured(cohort, folder, in_standard_deviations=in_sd) for cohort in (ptbxl, others))
        _keep(_kept(folder, name, kind), log_odds(_trees(seed), of_ptbxl, labels, of_others, ptbxl.index))
    yield name, kind, LogOdds(**np.load(_kept(folder, name, kind)))


def _kept(folder: Path, name: str, kind: str) -> Path:
    return folder / f"{name}, {kind}.npz"


def _keep(path: Path, found: LogOdds) -> None:
    with atomic_write(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **found._asdict())


def log_odds(
    fit: Fit,
    x: Float[np.ndarray, "b d"],
    labels: UInt8[np.ndarray, "b f"],
    others: Float[np.ndarray, "k d"],
    index: pd.DataFrame,
) -> LogOdds:
    """What `LogOdds` describes, from the features of PTB-XL's ECGs (x) and of the others.

    A finding that none or all of the ECGs to learn from have gets 0.
    """

    def fitted(learn: np.ndarray, choose: np.ndarray, scored: np.ndarray) -> np.ndarray:
        columns = np.flatnonzero((labels[learn].min(axis=0) == 0) & (labels[learn].max(axis=0) == 1))
        found = np.zeros((len(scored), labels.shape[1]))
        found[:, columns] = fit(x, labels[:, columns], learn, choose)(scored)
        return found

    fold = index.fold.to_numpy()
    of_others = fitted(np.flatnonzero(fold != CHOOSING_FOLD), np.flatnonzero(fold == CHOOSING_FOLD), others)
    of_ptbxl = np.zeros((len(x), labels.shape[1]))
    for learn, choose, test in rotations(index):
        of_ptbxl[test] = fitted(learn, choose, x[test])
    return LogOdds(of_ptbxl, of_others)


def rotations(index: pd.DataFrame) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The rows to learn from, to choose C on and to test, for each of ROTATIONS."""
    fold = index.fold.to_numpy()
    for test in ROTATIONS:
        choose = test[1] % 8 + 1
        learn = ~np.isin(fold, (*test, choose))
        yield np.flatnonzero(learn), np.flatnonzero(fold == choose), np.flatnonzero(np.isin(fold, test))


def rotation_of(index: pd.DataFrame) -> np.ndarray:
    """The number of the rotation in which each ECG of PTB-XL is tested: log-odds compare only within one."""
    return np.array([next(k for k, folds in enumerate(ROTATIONS) if fold in folds) for fold in index.fold])


def embedded(model: LAMAE, cohort: Cohort, representations: Sequence[str], progress: bool) -> dict[str, np.ndarray]:
    """The features of all ECGs of a cohort, by representation."""
    with torch.inference_mode():
        parts = [embed_features(model, store, rows, representations, progress=progress) for store, rows in cohort.parts]
    return {name: np.concatenate([part[name] for part in parts]) for name in representations}


def _probe(representation: str) -> Fit:
    """Linear probes, as `evaluate` fits them."""

    def fit(x: np.ndarray, labels: np.ndarray, learn: np.ndarray, choose: np.ndarray) -> Predict:
        findings = [str(column) for column in range(labels.shape[1])]
        return fit_probe(x, labels, findings, learn, choose, representation=representation).logits

    return fit


def _trees(seed: int) -> Fit:
    """Gradient-boosted trees, one ensemble per finding, with the sizes of the comparison on PTB-XL."""

    def fit(x: np.ndarray, labels: np.ndarray, learn: np.ndarray, choose: np.ndarray) -> Predict:
        options = {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 8, "early_stopping": False}
        ensembles = [
            HistGradientBoostingClassifier(**options, random_state=seed).fit(x[learn], labels[learn, column])
            for column in range(labels.shape[1])
        ]
        return lambda z: np.stack([trees.decision_function(z) for trees in ensembles], axis=1)

    return fit
