"""AUROC and AUPRC with intervals over patients for hundreds of thousands of ECGs and a thousand codes, on a device."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.metrics import Scores, bootstrap_counts


class LargeScores(NamedTuple):
    """How well scores agree with labels: both metrics, per code, with their bootstrap resamples."""

    auroc: Scores
    auprc: Scores


def patient_counts(patient_ids: np.ndarray, n_bootstrap: int = 1000, seed: int = 0) -> UInt8[Tensor, "b r"]:
    """How often each ECG counts in each resample: the draws of `metrics.patient_bootstrap`, a byte each."""
    draws, patient = bootstrap_counts(patient_ids, n_bootstrap, seed)
    return torch.from_numpy(np.ascontiguousarray(draws.astype(np.uint8).T)[patient])


def large_scores(
    labels: UInt8[Tensor, "b c"],
    scores: Float[Tensor, "b c"],
    counts: UInt8[Tensor, "b r"],
    *,
    memory_bytes: int = 2**30,
) -> LargeScores:
    """What `metrics.auroc` and `metrics.auprc` give, all resamples of a code at once, on the device of the three.

    counts: from `patient_counts`. Ties count half. A code that no ECG has gives NaN, one that all have NaN in AUROC.
    Beside them, about `memory_bytes` are used at most, unless a single resample (60 bytes per ECG) takes more.
    """
    if not bool(scores.isfinite().all()):
        raise ECGError("Some scores are not numbers; look at the model that gave them.")
    together = max(memory_bytes // (60 * len(labels)), 1)
    tables = torch.empty(2, 1 + counts.shape[1], labels.shape[1], dtype=torch.float64)
    for code in range(labels.shape[1]):
        order = scores[:, code].argsort()
        ranked = _Ranked.of(labels[order, code] > 0, scores[order, code])
        tables[:, :1, code] = ranked.metrics(counts.new_ones(len(labels), 1))
        for start in range(0, counts.shape[1], together):
            # The tables have the point estimate in their first row, so resamples stand one row further down.
            rows = slice(start + 1, min(start + together, counts.shape[1]) + 1)
            tables[:, rows, code] = ranked.metrics(counts[order, start : start + together])
    return LargeScores(*(Scores(table[0], table[1:]) for table in tables.numpy()))


class _Ranked(NamedTuple):
    """The ECGs of one code from the lowest score to the highest.

    positive: (b,), which have the code. place: (k,), where those stand. begin, end: (k,), the first place that has the
    same score as each of those, and the first one after it with a higher score.
    """

    positive: Tensor
    place: Tensor
    begin: Tensor
    end: Tensor

    @classmethod
    def of(cls, positive: Tensor, score: Tensor) -> "_Ranked":
        _, group, size = torch.unique_consecutive(score, return_inverse=True, return_counts=True)
        place = positive.nonzero()[:, 0]
        end = size.cumsum(0)
        return cls(positive, place, (end - size)[group[place]], end[group[place]])

    def metrics(self, counts: Tensor) -> Float[Tensor, "2 r"]:
        """AUROC and AUPRC of each resample.

        AUROC: sum over positives of count * (negatives below + negatives at the same score / 2), as a share of all
        pairs. AUPRC: sum over positives of count * precision among ECGs that score as high, as a share of positives.
        """
        every, positives = _before(counts), _before(counts * self.positive[:, None])
        count = counts[self.place].double()
        all_positives, all_ecgs = positives[-1].double(), every[-1].double()
        negatives = (every - positives)[torch.stack([self.begin, self.end])].double().mean(0)
        auroc = (count * negatives).sum(0) / (all_positives * (all_ecgs - all_positives))
        called = (all_ecgs - every[self.begin]).clamp(min=1)  # none is called where none counts
        precision = (all_positives - positives[self.begin]) / called
        return torch.stack([auroc, (count * precision).sum(0) / all_positives]).cpu()


def _before(counts: Tensor) -> Tensor:
    """The sum of the counts before each place, and of all of them at the end: (b + 1, r)."""
    # Along the rows of the memory: down the columns of a table a GPU adds up with one thread for each column.
    along = counts.T.contiguous().cumsum(1, dtype=torch.int32)
    return torch.cat([along.new_zeros(len(along), 1), along], dim=1).T
