"""How well predicted codes agree with the true ones, with intervals over patients."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int32, Real, UInt8
from torch import Tensor

from lamae_toolkit.errors import ECGError


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval: percentiles of a bootstrap over patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class CodeScores:
    """One metric for all codes: per code (c,) and its bootstrap resamples (r, c); NaN where undefined."""

    value: Float[np.ndarray, " c"]
    resamples: Float[np.ndarray, "r c"]

    def of_code(self, index: int) -> Estimate:
        """The metric of one code."""
        return estimate(self.value[index], self.resamples[:, index])

    def macro(self) -> Estimate:
        """The mean over codes. A resample without a patient who has a code leaves that code out of its mean."""
        return estimate(mean_of_defined(self.value), mean_of_defined(self.resamples))


def macro_difference(ours: CodeScores, theirs: CodeScores) -> Estimate:
    """The difference of the macro metric of two models, on the same patients and resamples."""
    return estimate(
        mean_of_defined(ours.value) - mean_of_defined(theirs.value),
        mean_of_defined(ours.resamples) - mean_of_defined(theirs.resamples),
    )


def patient_bootstrap(patient_ids: np.ndarray, n_bootstrap: int = 1000, seed: int = 0) -> Int32[np.ndarray, "r b"]:
    """How often each ECG counts in each resample: patients, not ECGs, are sampled with replacement."""
    _, patient = np.unique(patient_ids, return_inverse=True)
    patients = int(patient.max()) + 1
    share = np.full(patients, 1 / patients)
    counts = np.random.default_rng(seed).multinomial(patients, share, size=n_bootstrap)
    return counts.astype(np.int32)[:, patient]


def auroc(
    labels: UInt8[np.ndarray, "b c"], scores: Float[np.ndarray, "b c"], counts: Real[np.ndarray, "r b"]
) -> CodeScores:
    """The probability that an ECG with the code gets a higher score than one without it; 0.5 is guessing.

    counts: bootstrap resamples, as from `patient_bootstrap`. Ties count half. A code that all or no ECGs have gives
    NaN. ECGError if a score is not finite.
    """
    return auroc_and_auprc(labels, scores, counts)[0]


def auprc(
    labels: UInt8[np.ndarray, "b c"], scores: Float[np.ndarray, "b c"], counts: Real[np.ndarray, "r b"]
) -> CodeScores:
    """Average precision: precision at each threshold, weighted by the step in recall; guessing gives the prevalence.

    As `auroc`, but of a code that all ECGs have it is 1.
    """
    return auroc_and_auprc(labels, scores, counts)[1]


def auroc_and_auprc(
    labels: UInt8[np.ndarray, "b c"],
    scores: Float[np.ndarray, "b c"],
    counts: Real[np.ndarray, "r b"],
    *,
    device: torch.device | str = "cpu",
    memory_bytes: int = 2**30,
) -> tuple[CodeScores, CodeScores]:
    """`auroc` and `auprc` together, for up to hundreds of thousands of ECGs and a thousand codes, on a device.

    Next to the three tables, about `memory_bytes` are used at most, unless one resample (60 bytes per ECG) takes more.
    """
    if not np.isfinite(scores).all():
        raise ECGError("Some scores are not finite; check the model that gave them.")
    if counts.dtype.kind == "f" and (counts % 1 != 0).any():
        raise ECGError("A resample has a fractional count; give integers, as from patient_bootstrap.")
    label, score, count = (
        torch.from_numpy(np.ascontiguousarray(values)).to(device) for values in (labels, scores, counts.T)
    )
    together = max(memory_bytes // (60 * max(len(labels), 1)), 1)
    tables = torch.empty(2, 1 + len(counts), labels.shape[1], dtype=torch.float64)
    for code in range(labels.shape[1]):
        order = score[:, code].argsort()
        ranked = _RankedECGs.of(label[order, code] > 0, score[order, code])
        tables[:, :1, code] = ranked.metrics(count.new_ones(len(labels), 1))
        for start in range(0, len(counts), together):
            # The tables have the point estimate in their first row, so resamples are shifted by one row.
            rows = slice(start + 1, min(start + together, len(counts)) + 1)
            tables[:, rows, code] = ranked.metrics(count[order, start : start + together])
    roc, prc = tables.numpy()
    return CodeScores(roc[0], roc[1:]), CodeScores(prc[0], prc[1:])


class _RankedECGs(NamedTuple):
    """The ECGs of one code from the lowest score to the highest.

    positive: (b,), which have the code. position: (k,), where those are. begin, end: (k,), the first position with the
    same score as each of those, and the first one after it with a higher score.
    """

    positive: Tensor
    position: Tensor
    begin: Tensor
    end: Tensor

    @classmethod
    def of(cls, positive: Tensor, score: Tensor) -> "_RankedECGs":
        _, group, size = torch.unique_consecutive(score, return_inverse=True, return_counts=True)
        position = positive.nonzero()[:, 0]
        end = size.cumsum(0)
        return cls(positive, position, (end - size)[group[position]], end[group[position]])

    def metrics(self, counts: Tensor) -> Float[Tensor, "2 r"]:
        """AUROC and AUPRC of each resample.

        AUROC: sum over positives of count * (negatives below + negatives at the same score / 2), as a share of all
        pairs. AUPRC: sum over positives of count * precision among ECGs that score as high, as a share of positives.
        """
        every, positives = _sums_before(counts), _sums_before(counts * self.positive[:, None])
        count = counts[self.position].double()
        all_positives, all_ecgs = positives[-1].double(), every[-1].double()
        negatives = (every - positives)[torch.stack([self.begin, self.end])].double().mean(0)
        auroc = (count * negatives).sum(0) / (all_positives * (all_ecgs - all_positives))
        predicted_positive = (all_ecgs - every[self.begin]).clamp(min=1)  # 0 only where the numerator is 0, too
        precision = (all_positives - positives[self.begin]) / predicted_positive
        return torch.stack([auroc, (count * precision).sum(0) / all_positives]).cpu()


def _sums_before(counts: Tensor) -> Tensor:
    """The sum of the counts before each position, and of all of them at the end: (b + 1, r)."""
    # Along contiguous memory: a GPU sums columns with one thread per column only.
    along = counts.T.contiguous().cumsum(1, dtype=torch.int32)
    return torch.cat([along.new_zeros(len(along), 1), along], dim=1).T


def mean_of_defined(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean over an axis of the finite values; NaN where there is none."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0.0).sum(axis=axis) / defined.sum(axis=axis))


def estimate(value: float | np.ndarray, resamples: np.ndarray) -> Estimate:
    """A value with the 95 % percentiles of its resamples."""
    low, high = np.nanpercentile(resamples, [2.5, 97.5]) if np.isfinite(resamples).any() else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))


def over_patients(values: Float[np.ndarray, " b"], counts: Real[np.ndarray, "r b"]) -> Estimate:
    """The mean of the defined values, with its 95 % interval; counts: from `patient_bootstrap`.

    The same counts for the difference of two methods on the same ECGs give a paired interval. A resample
    without a defined value is left out; NaN if no value is defined.
    """
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        resamples = counts @ np.where(defined, values, 0.0) / (counts @ defined)
    return estimate(mean_of_defined(values), resamples)
