"""AUROC with intervals over patients for hundreds of thousands of ECGs and a thousand codes, on a device."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lamae_toolkit.ecg import ECGError
from lamae_toolkit.metrics import Scores, patient_bootstrap


def patient_counts(patient_ids: np.ndarray, replicates: int = 1000, seed: int = 0) -> UInt8[Tensor, "b r"]:
    """How often each ECG counts in each replicate: the draws of `metrics.patient_bootstrap`, a byte each."""
    drawn = patient_bootstrap(patient_ids, replicates, seed)
    return torch.from_numpy(np.ascontiguousarray(drawn.T.astype(np.uint8)))


def large_auroc(
    labels: UInt8[Tensor, "b c"],
    scores: Float[Tensor, "b c"],
    counts: UInt8[Tensor, "b r"],
    *,
    memory_bytes: int = 2**30,
) -> Scores:
    """The chance that an ECG with the code gets a higher score than one without it, as `metrics.auroc` gives it.

    All three on one device, which computes all replicates of a code at once; counts: from `patient_counts`. Ties count
    half. A code that all or no ECGs have gives NaN. Beside them, about `memory_bytes` are used at most, unless a single
    replicate (40 bytes per ECG) takes more.
    """
    if not bool(scores.isfinite().all()):
        raise ECGError("Some scores are not numbers; look at the model that gave them.")
    together = max(memory_bytes // (40 * len(labels)), 1)
    table = torch.empty(1 + counts.shape[1], labels.shape[1], dtype=torch.float64)
    for code in range(labels.shape[1]):
        order = scores[:, code].argsort()
        score, positive = scores[order, code], labels[order, code] > 0
        table[:1, code] = _weighted_auroc(positive, score, counts.new_ones(len(labels), 1))
        for start in range(0, counts.shape[1], together):
            here = slice(start, start + together)
            # `table` has the point estimate in its first row, so replicates stand one row further down.
            rows = slice(start + 1, min(start + together, counts.shape[1]) + 1)
            table[rows, code] = _weighted_auroc(positive, score, counts[order, here])
    return Scores(table[0].numpy(), table[1:].numpy())


def _weighted_auroc(positive: Tensor, score: Tensor, counts: Tensor) -> Float[Tensor, " r"]:
    """The share of pairs, one ECG with the code and one without, that are in the right order; scores lowest first.

    sum over positives of count * (negatives below + negatives at the same score / 2) / (positives * negatives).
    """
    _, group, size = torch.unique_consecutive(score, return_inverse=True, return_counts=True)
    end = size.cumsum(0)
    place = positive.nonzero()[:, 0]
    end, begin = end[group[place]], (end - size)[group[place]]
    negatives = (counts * ~positive[:, None]).cumsum(0, dtype=torch.int32)
    negatives = torch.cat([torch.zeros_like(negatives[:1]), negatives])  # how many there are before each place
    count, wins = counts[place].double(), (negatives[begin].double() + negatives[end]) / 2
    return ((count * wins).sum(0) / (count.sum(0) * negatives[-1])).cpu()
