"""AUROC of findings within each set, over all sets, and by group of patients, with intervals over patients."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int32, UInt8

from lamae_toolkit.evaluation.metrics import CodeScores, auroc, patient_bootstrap


def stratified_auroc(
    labels: UInt8[np.ndarray, "b c"],
    log_odds: Float[np.ndarray, "b c"],
    known: Bool[np.ndarray, "b c"],
    counts: Int32[np.ndarray, "r b"],
    strata: np.ndarray,
) -> CodeScores:
    """The probability that an ECG with the code scores higher than one of the same stratum without it.

    strata: the set, or the classifier, of each ECG: log-odds of two sets or two classifiers are never compared.
    known: where a label is positive or negative; other ECGs are left out. Each pair of a positive and a negative ECG
    counts once, so that AUROC = sum over strata of pairs * AUROC of the stratum / sum of pairs. NaN without a pair.
    """
    every = np.vstack([np.ones((1, len(labels)), dtype=np.int32), counts])
    concordant, pairs = np.zeros((2, len(every), labels.shape[1]))
    for stratum in np.unique(strata):
        for column in range(labels.shape[1]):
            rows = np.flatnonzero((strata == stratum) & known[:, column])
            positive = labels[rows, column] == 1
            if positive.all() or not positive.any():
                continue
            found = auroc(labels[rows, column : column + 1], log_odds[rows, column : column + 1], counts[:, rows])
            values = np.concatenate([found.value, found.resamples[:, 0]])
            n_pairs = every[:, rows[positive]].sum(axis=1) * every[:, rows[~positive]].sum(axis=1)
            concordant[:, column] += np.where(n_pairs > 0, n_pairs * values, 0.0)
            pairs[:, column] += n_pairs
    with np.errstate(invalid="ignore"):
        table = concordant / np.where(pairs > 0, pairs, np.nan)
    return CodeScores(table[0], table[1:])


def bootstrap_within(patients: np.ndarray, sets: np.ndarray, n_bootstrap: int, seed: int) -> Int32[np.ndarray, "r b"]:
    """How often each ECG counts in each resample. Patients are sampled within each set: sets keep their size."""
    counts = np.zeros((n_bootstrap, len(patients)), dtype=np.int32)
    for number, name in enumerate(np.unique(sets)):
        rows = np.flatnonzero(sets == name)
        counts[:, rows] = patient_bootstrap(patients[rows], n_bootstrap, seed + number)
    return counts


def by_record(index: pd.DataFrame, *arrays: np.ndarray) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """One row per record: the mean over its windows, since a label is of the record and not of one window."""
    first = ~index.duplicated(["source", "record"]).to_numpy()
    record = index.groupby(["source", "record"], sort=False).ngroup().to_numpy()
    windows = np.bincount(record)[:, None]
    means = []
    for values in arrays:
        sums = np.zeros((len(windows), values.shape[1]))
        np.add.at(sums, record, values)
        means.append(sums / windows)
    return index[first].reset_index(drop=True), means


def mean_over(scores: CodeScores, columns: Sequence[int]) -> CodeScores:
    """The scores of these codes alone."""
    return CodeScores(scores.value[list(columns)], scores.resamples[:, list(columns)])
