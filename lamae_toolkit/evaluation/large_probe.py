"""The linear probe for hundreds of thousands of ECGs and a thousand codes: the same optimum, found on a device."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.large_metrics import large_scores
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.evaluation.metrics import mean_of_defined


def fit_large_probe(
    x: Float[Tensor, "b d"],
    labels: UInt8[Tensor, "b c"],
    codes: Sequence[str],
    train: np.ndarray,
    validation: np.ndarray,
    *,
    representation: str = "heart",
    Cs: Sequence[float] = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.3, 3.0, 30.0),
    memory_bytes: int = 2**30,
) -> Probe:
    """Fit one logistic regression per code on the training ECGs, as `probe.fit_probe` does, on the device of x.

    x, labels: both on one device, in 32 bits and in bytes. train, validation: row numbers of x. The inverse penalty C
    goes up from the smallest of `penalties` for as long as that raises the macro AUROC on the validation ECGs; each
    fit begins where the last one ended. Needs x and labels twice (the training rows are copied) and, beside them,
    `memory_bytes` and about 45 numbers per weight.
    """
    learned = _Standardized.of(x[train], labels[train], representation, memory_bytes)
    positives = learned.labels.sum(dim=0, dtype=torch.int64)
    for code, count in zip(codes, positives.tolist(), strict=True):
        if count in (0, len(train)):
            raise ECGError(f"No probe can learn {code}: {'every' if count else 'no'} training ECG has it.")
    seen = _Standardized(x[validation], labels[validation], learned.mean, learned.scale, representation, memory_bytes)
    no_resamples = torch.empty(len(validation), 0, dtype=torch.uint8, device=x.device)
    axes, best, best_score = _axes(learned), None, -np.inf
    weight, bias = x.new_zeros(len(codes), x.shape[1]), x.new_zeros(len(codes))
    for C in sorted(Cs):
        weight, bias = _regressions(learned, axes, C, weight, bias)
        logits = torch.cat([torch.addmm(bias, z, weight.T) for z, _ in seen.pieces()])
        scores = large_scores(seen.labels, logits, no_resamples, memory_bytes=memory_bytes)
        score = mean_of_defined(scores.auroc.value)
        if not score > best_score:
            break
        best, best_score = (weight, bias, C), score
    if best is None:
        raise ECGError("No code has both ECGs with it and without it among the validation patients; use more ECGs.")
    arrays = [value.double().cpu().numpy() for value in (learned.mean, learned.scale, *best[:2])]
    return Probe(tuple(codes), representation, *arrays, best[2])


class _Standardized(NamedTuple):
    """ECGs as a probe reads them, piece by piece: (features - mean) / scale, and 0 in the places of an absent lead."""

    x: Tensor
    labels: Tensor
    mean: Tensor
    scale: Tensor
    representation: str
    memory_bytes: int

    @classmethod
    def of(cls, x: Tensor, labels: Tensor, representation: str, memory_bytes: int) -> "_Standardized":
        """With the mean and the standard deviation of these ECGs, for each lead's places of those that have it."""
        raw = cls(x, labels, torch.zeros_like(x[0]), torch.ones_like(x[0]), representation, memory_bytes)
        count = sum(raw.known(z).sum(0, dtype=torch.float64) for z, _ in raw.pieces()).clamp(min=1)
        mean = sum(z.sum(0, dtype=torch.float64) for z, _ in raw.pieces()) / count
        square = ((z - mean).square() * raw.known(z) for z, _ in raw.pieces())
        scale = (sum(z.sum(0) for z in square) / count).sqrt() + 1e-6
        return raw._replace(mean=mean.to(x.dtype), scale=scale.to(x.dtype))

    def known(self, x: Tensor) -> Tensor:
        """Where there is a number. Absent is what is exactly 0 in "per_lead"."""
        return x != 0 if self.representation == "per_lead" else torch.ones_like(x, dtype=torch.bool)

    def pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (k, d) and labels (k, c) of some ECGs after the other, so many that what is made of them fits."""
        rows = max(self.memory_bytes // (20 * self.labels.shape[1] + 24 * self.x.shape[1]), 1)
        for x, labels in zip(self.x.split(rows), self.labels.split(rows), strict=True):
            yield (x - self.mean) / self.scale * self.known(x), labels


class _Axes(NamedTuple):
    """The directions (k, d) in which features vary most, and the norm of the features along each."""

    spread: Tensor
    directions: Tensor


def _axes(learned: _Standardized) -> _Axes:
    """The principal axes, by the eigenvectors of z^T z, summed in 64 bits."""
    products = sum((z.double().T @ z.double() for z, _ in learned.pieces()))
    square, vectors = torch.linalg.eigh(products)
    return _Axes(square.clamp(min=0).sqrt().to(learned.x.dtype), vectors.T.to(learned.x.dtype))


def _regressions(learned: _Standardized, axes: _Axes, C: float, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """All logistic regressions of one penalty by L-BFGS along the principal axes (see `probe.logistic_regressions`).

    Minimises penalty * (sum of cross-entropies) + |weight|^2 / 2, from this weight (c, d) and bias (c,) on.
    """
    b = len(learned.x)
    share = learned.labels.sum(dim=0, dtype=torch.float64) / b
    curvature = (share * (1 - share)).clamp(min=1e-3)[:, None]
    step = (curvature * axes.spread**2 / b + 1 / (C * b)).rsqrt().to(weight.dtype)
    bias_step = curvature[:, 0].rsqrt().to(weight.dtype)
    u = (weight @ axes.directions.T / step).requires_grad_()
    v = (bias / bias_step).requires_grad_()

    @torch.no_grad()
    def loss() -> Tensor:
        weight, bias = u * step @ axes.directions, v * bias_step
        total = weight.square().sum(dtype=torch.float64) / (2 * C * b)
        slope, bias_slope = weight / (C * b), torch.zeros_like(bias)
        for z, labels in learned.pieces():
            logits, target = torch.addmm(bias, z, weight.T), labels.to(z.dtype)
            total += (F.softplus(logits) - target * logits).sum(dtype=torch.float64) / b
            error = (logits.sigmoid() - target) / b
            slope += error.T @ z
            bias_slope += error.sum(0)
        u.grad, v.grad = slope @ axes.directions.T * step, bias_slope * bias_step
        return total

    torch.optim.LBFGS(
        [u, v],
        max_iter=500,
        max_eval=1000,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        history_size=20,
        line_search_fn="strong_wolfe",
    ).step(loss)
    loss()
    left = max(u.grad.abs().max().item(), v.grad.abs().max().item())
    if not left < 1e-3:
        raise ECGError(f"The probe did not converge (slope {left:.1g}); try a smaller penalty C than {C:g}.")
    return (u * step @ axes.directions).detach(), (v * bias_step).detach()
