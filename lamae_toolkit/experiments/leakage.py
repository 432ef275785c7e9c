"""Leakage without a split by patient, measured: part of the score is recognition of the person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from scipy.signal import find_peaks

from lamae_toolkit.data.store import Store
from lamae_toolkit.data.summary import in_parts
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.metrics import CodeScores, Estimate, auroc, estimate, patient_bootstrap
from lamae_toolkit.palette import BLUE, GRAY, VERMILION
from lamae_toolkit.plots._plotly import finish
from lamae_toolkit.plots.cohort import _short

COIN = "a coin toss per patient"
"""A label that only the identity of a patient predicts: any score above 0.5 is leakage."""
BEFORE_S, AFTER_S, BEAT_HZ = 0.25, 0.45, 50.0


def mean_beats(store: Store, rows: np.ndarray) -> Float[np.ndarray, "b d"]:
    """The mean beat of each ECG in all leads, 0.7 s around QRS at 50 samples a second, as one row of numbers.

    QRS complexes are where the slope, summed over leads, peaks; the mean is the median over beats, minus its own
    level. What an ECG lacks (a lead, or all beats) is filled with the mean of the other ECGs.
    """
    rate_hz = store.sampling_rate_hz
    before, after, step = round(BEFORE_S * rate_hz), round(AFTER_S * rate_hz), max(1, round(rate_hz / BEAT_HZ))
    beats = np.full((len(rows), len(LEADS), len(range(0, before + after, step))), np.nan)
    for start, signal_mv, lead_mask in in_parts(store, rows):
        for number, (ecg, valid) in enumerate(zip(signal_mv, lead_mask, strict=True), start):
            slope = np.linalg.norm(np.gradient(ecg, axis=1), axis=0)
            slope = np.convolve(slope, np.ones(max(1, round(0.08 * rate_hz))), "same")
            peaks, _ = find_peaks(slope, distance=round(0.3 * rate_hz), height=0.5 * np.quantile(slope, 0.98))
            cut = [ecg[valid, peak - before : peak + after] for peak in peaks if before <= peak < len(slope) - after]
            if cut:
                beat = np.median(cut, axis=0)
                beats[number, valid] = (beat - beat.mean(axis=1, keepdims=True))[:, ::step]
    flat = beats.reshape(len(rows), -1)
    valid = np.isfinite(flat)
    filling = np.where(valid, flat, 0.0).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    return np.where(valid, flat, filling)


@dataclass(frozen=True)
class Leak:
    """How a score changes if the ECGs of one patient are on both sides of a split.

    with_mate: with folds by ECG, the share of test ECGs of a patient who is in training, too. recognized: of these,
    the share whose nearest training ECG is of the same patient; by_chance: the same for a random training ECG.
    table: for each label the AUROC by_ecg and by_patient and the difference, with _low and _high, 95 % intervals.
    """

    with_mate: float
    recognized: Estimate
    by_chance: float
    table: pd.DataFrame


def leak_experiment(
    x: Float[np.ndarray, "b d"],
    patient_ids: np.ndarray,
    labels: pd.DataFrame,
    *,
    neighbors: int = 3,
    folds: int = 5,
    seeds: int = 5,
    n_bootstrap: int = 200,
) -> Leak:
    """Predict labels by the most similar training ECGs, once with folds by ECG and once with folds by patient.

    The probability of a label is its share among the `neighbors` nearest ECGs (Euclidean distance of x) of the other
    folds: each ECG is predicted once, by ECGs of other folds. Everything is repeated with `seeds` random divisions
    into folds and averaged; intervals are from a bootstrap over patients. labels: a column of 0 and 1 for each label;
    COIN is added, which is sampled for every patient with each seed, independently of the ECG. Where each
    patient has one ECG, both divisions are the same.
    """
    _, first, patient = np.unique(patient_ids, return_index=True, return_inverse=True)
    if len(x) > 10_000 or len(first) < 4 * folds:
        raise ECGError(
            f"The experiment takes 10,000 ECGs at most, of {4 * folds} patients at least, but here are {len(x)} of"
            f" {len(first)}; sample some with some_rows(index, 3000)."
        )
    constant = [name for name in labels if labels[name].nunique() < 2]
    if constant:
        raise ECGError(f"Every ECG has the same value of {constant[0]}, so it cannot be predicted; leave it out.")
    x = (x - x.mean(axis=0)).astype(np.float32)
    size = (x**2).sum(axis=1)
    distance = size[:, None] + size[None] - 2 * x @ x.T
    weights = patient_bootstrap(patient, n_bootstrap)
    by_ecg, by_patient, mates, hits, random_baseline = [], [], [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 10])
        truth = labels.assign(**{COIN: rng.integers(0, 2, len(first))[patient]}).to_numpy(dtype=np.uint8)
        fold = rng.permutation(np.arange(len(x)) % folds)
        near = _nearest(distance, fold, neighbors)
        by_ecg.append(auroc(truth, truth[near].mean(axis=1), weights))
        in_training = np.bincount(patient)[patient] - _in_fold(patient, fold, folds)
        mates.append(in_training > 0)
        hits.append(patient[near[:, 0]] == patient)
        random_baseline.append(in_training / (len(x) - np.bincount(fold)[fold]))
        near = _nearest(distance, fold[first][patient], neighbors)
        by_patient.append(auroc(truth, truth[near].mean(axis=1), weights))
    mate, hit, luck = (np.mean(values, axis=0) for values in (mates, hits, random_baseline))
    with np.errstate(invalid="ignore"):
        recognized = estimate(hit.sum() / mate.sum(), (weights @ hit) / (weights @ mate))
        by_chance = float(luck.sum() / mate.sum())
    table = _leak_table([*labels, COIN], _mean_scores(by_ecg), _mean_scores(by_patient))
    return Leak(float(mate.mean()), recognized, by_chance, table)


def _nearest(distance: np.ndarray, fold: np.ndarray, neighbors: int) -> np.ndarray:
    """For each ECG the nearest ones of the other folds, nearest first: (b, neighbors)."""
    apart = np.where(fold[:, None] == fold[None], np.inf, distance)
    near = np.argpartition(apart, neighbors, axis=1)[:, :neighbors]
    order = np.argsort(np.take_along_axis(apart, near, axis=1), axis=1)
    return np.take_along_axis(near, order, axis=1)


def _in_fold(patient: np.ndarray, fold: np.ndarray, folds: int) -> np.ndarray:
    """For each ECG, how many ECGs of its patient are in its fold."""
    both = patient * folds + fold
    return np.bincount(both)[both]


def _mean_scores(scores: Sequence[CodeScores]) -> CodeScores:
    return CodeScores(np.mean([s.value for s in scores], axis=0), np.mean([s.resamples for s in scores], axis=0))


def _leak_table(names: list[str], by_ecg: CodeScores, by_patient: CodeScores) -> pd.DataFrame:
    difference = CodeScores(by_ecg.value - by_patient.value, by_ecg.resamples - by_patient.resamples)
    table = pd.DataFrame(index=pd.Index(names, name="label"))
    for column, scores in {"by_ecg": by_ecg, "by_patient": by_patient, "difference": difference}.items():
        found = [scores.of_code(number) for number in range(len(names))]
        table[column] = [one.value for one in found]
        table[f"{column}_low"], table[f"{column}_high"] = [one.low for one in found], [one.high for one in found]
    return table


def leak_figure(leak: Leak, title: str = "AUROC with folds by ECG and by patient") -> go.Figure:
    """AUROC of each label for both divisions of the same ECGs, with 95 % intervals; 0.5 is guessing."""
    figure = go.Figure()
    positions = np.arange(len(leak.table))
    looks = {
        "by_ecg": ("by ECG (leaks)", VERMILION, "square", 0.12),
        "by_patient": ("by patient", BLUE, "circle", -0.12),
    }
    for column, (name, color, symbol, shift) in looks.items():
        value, low, high = (leak.table[f"{column}{end}"] for end in ("", "_low", "_high"))
        figure.add_scatter(
            x=value,
            y=positions + shift,
            mode="markers",
            name=name,
            marker={"color": color, "symbol": symbol, "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": high - value,
                "arrayminus": value - low,
                "thickness": 1.2,
            },
            customdata=np.stack([low, high], axis=1),
            hovertemplate=f"{name}: %{{x:.3f}} (%{{customdata[0]:.3f}} to %{{customdata[1]:.3f}})<extra></extra>",
        )
    figure.add_vline(x=0.5, line={"color": GRAY, "dash": "dot"}, annotation_text="guessing")
    figure.update_yaxes(tickvals=positions, ticktext=[_short(name) for name in leak.table.index], autorange="reversed")
    figure.update_xaxes(title_text="AUROC of the nearest ECGs, 95 % interval")
    return finish(figure, title, height=42 * len(positions) + 150)
