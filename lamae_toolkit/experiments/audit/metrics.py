"""Whether an explanation is right: scores for the attribution of a method to leads or patches.

An attribution is a number for each lead or patch of an ECG, higher for a larger claimed contribution to the prediction.
Is it faithful: does the prediction fall when leads or patches with a high attribution are removed (deletion,
insertion)? Does it localize: is it high where the simulated condition shows (pointing game, AUROC)? All functions take
arrays with one row per explained prediction, an ECG and a code.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata


def order_by_attribution(attribution: Float[np.ndarray, "b k"], seed: int = 0) -> Int[np.ndarray, "b k"]:
    """The leads or patches by falling attribution, ties in random order."""
    random_order = np.random.default_rng(seed).random(attribution.shape)
    return np.lexsort((random_order, -attribution), axis=1)


def deletion_curve(values: Float[np.ndarray, "b s"], order: Int[np.ndarray, "b l"]) -> Float[np.ndarray, "b k"]:
    """The log-odds after the first 0, 1, ... l leads of the order are removed; a faithful attribution makes them fall.

    values: the log-odds from every set of leads, s = 2^l, where bit i of a set's number says that lead i is in it.
    Source: Samek et al., arXiv 1509.06321; over sets of features, Petsiuk et al., arXiv 1806.07421.
    """
    removed = np.cumsum(1 << order, axis=1)
    left = values.shape[1] - 1 - np.concatenate([np.zeros_like(removed[:, :1]), removed], axis=1)
    return np.take_along_axis(values, left, axis=1)


def insertion_curve(values: Float[np.ndarray, "b s"], order: Int[np.ndarray, "b l"]) -> Float[np.ndarray, "b k"]:
    """The log-odds when only the first 0, 1, ... l leads of the order are visible; if faithful, they rise."""
    return deletion_curve(values[:, ::-1], order)


def random_curve(values: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b k"]:
    """The insertion curve of a random order, exactly: the mean log-odds over all sets of 0, 1, ... l leads.

    Read from its end, it is the deletion curve of a random order.
    """
    size = _sizes(values)
    return np.stack([values[:, size == k].mean(axis=1) for k in range(size.max() + 1)], axis=1)


def curve_area(curve: Float[np.ndarray, "b k"], floor: Float[np.ndarray, "b k"]) -> Float[np.ndarray, " b"]:
    """The mean difference of a curve and a floor, without the first and the last point.

    These two are the same for all orders: nothing removed, and everything.
    """
    return (curve - floor)[:, 1:-1].mean(axis=1)


def deletion_area(values: Float[np.ndarray, "b s"], order: Int[np.ndarray, "b l"]) -> Float[np.ndarray, " b"]:
    """How much lower log-odds are than after removal in random order; 0 is guessing, higher is better."""
    return -curve_area(deletion_curve(values, order), random_curve(values)[:, ::-1])


def insertion_area(values: Float[np.ndarray, "b s"], order: Int[np.ndarray, "b l"]) -> Float[np.ndarray, " b"]:
    """How much higher log-odds are than with leads added in random order; 0 is guessing, higher is better."""
    return curve_area(insertion_curve(values, order), random_curve(values))


def best_areas(values: Float[np.ndarray, "b s"]) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """The largest deletion area and the largest insertion area that any order of the leads reaches: the ceilings.

    best(S) = value(S) + max over i in S of best(S without i), over sets of growing size: all 12! orders in 4,096 steps.
    """
    floor = random_curve(values)[:, 1:-1].mean(axis=1)
    return _best_chain(-values) + floor, _best_chain(values) - floor


def _sizes(values: np.ndarray) -> np.ndarray:
    """How many leads each set has."""
    number = np.arange(values.shape[1])
    return ((number[:, None] >> np.arange(values.shape[1].bit_length() - 1)) & 1).sum(axis=1)


def _best_chain(values: np.ndarray) -> np.ndarray:
    """The largest mean value along a chain of growing sets, without the empty and the full one."""
    number, size = np.arange(values.shape[1]), _sizes(values)
    leads = int(size.max())
    best = np.where(size == 0, 0.0, -np.inf) + np.zeros((len(values), 1))
    for k in range(1, leads):
        sets = number[size == k]
        for lead in range(leads):
            with_lead = sets[(sets >> lead) & 1 == 1]
            best[:, with_lead] = np.maximum(best[:, with_lead], best[:, with_lead ^ (1 << lead)])
        best[:, sets] += values[:, sets]
    return best[:, number[size == leads - 1]].max(axis=1) / (leads - 1)


def rank_correlation(one: Float[np.ndarray, "b k"], other: Float[np.ndarray, "b k"]) -> Float[np.ndarray, " b"]:
    """Spearman's rank correlation of two attributions of each ECG: 1 for the same order, 0 if unrelated.

    NaN where one of them is constant.
    """
    a, b = (rankdata(attribution, axis=1) for attribution in (one, other))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norm, out=np.full(len(a), np.nan), where=norm > 0)


def pointing_game(attribution: Float[np.ndarray, "b k"], truth: Bool[np.ndarray, "b k"]) -> Float[np.ndarray, " b"]:
    """Whether the highest attribution is at a true position: 1 or 0, or the share of true ones among ties.

    NaN where all positions or none are true, or the attribution is NaN. Source: Zhang et al., arXiv 1608.00507.
    """
    top = attribution == attribution.max(axis=1, keepdims=True)
    known = _both(truth) & top.any(axis=1)
    return np.where(known, (top & truth).sum(axis=1) / np.maximum(top.sum(axis=1), 1), np.nan)


def localization_auroc(
    attribution: Float[np.ndarray, "b k"], truth: Bool[np.ndarray, "b k"]
) -> Float[np.ndarray, " b"]:
    """The probability that a true position has a higher attribution than another of the same ECG; 0.5 is guessing.

    NaN where all positions or none are true.
    """
    positives = truth.sum(axis=1)
    ranks = (rankdata(attribution, axis=1) * truth).sum(axis=1)
    pairs = positives * (truth.shape[1] - positives)
    above = ranks - positives * (positives + 1) / 2
    return np.divide(above, pairs, out=np.full(len(attribution), np.nan), where=pairs > 0)


def _both(truth: np.ndarray) -> np.ndarray:
    return np.asarray(truth.any(axis=1) & ~truth.all(axis=1))


def patches_in_spans(
    spans_s: Sequence[tuple[float, float]], patches: int, patch_s: float, share: float = 0.1
) -> Bool[np.ndarray, " n"]:
    """The patches that show a condition: more than this share is covered by its spans (start, end in s)."""
    start = np.arange(patches) * patch_s
    covered = np.zeros(patches)
    for begin, end in spans_s:
        covered += np.clip(np.minimum(end, start + patch_s) - np.maximum(begin, start), 0.0, None)
    return covered > share * patch_s
