"""Logistic regressions for many codes at once, on hundreds of thousands of ECGs, in bounded memory on a device."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamae_toolkit.errors import ECGError


class Standardized(NamedTuple):
    """Standardized features, in chunks: (features - mean) / scale, and 0 for the features of an absent lead.

    x: (b, d). labels: (b, c). mean, scale: (d,), float64, as all computation. by_lead: the features are of single
    leads, which may be absent.
    """

    x: Tensor
    labels: Tensor
    mean: Tensor
    scale: Tensor
    by_lead: bool
    memory_bytes: int

    @classmethod
    def of(cls, x: Tensor, labels: Tensor, by_lead: bool, memory_bytes: int) -> "Standardized":
        """With mean and standard deviation of each feature over these ECGs, a lead's over those that have the lead."""
        zero = torch.zeros_like(x[0], dtype=torch.float64)
        raw = cls(x, labels, zero, zero + 1, by_lead, memory_bytes)
        count = torch.stack([raw.valid_mask(z).sum(0) for z, _ in raw.pieces()]).sum(0).clamp(min=1)
        mean = sum(z.sum(0) for z, _ in raw.pieces()) / count
        square = sum(((z - mean).square() * raw.valid_mask(z)).sum(0) for z, _ in raw.pieces())
        return raw._replace(mean=mean, scale=(square / count).sqrt() + 1e-6)

    def valid_mask(self, x: Tensor) -> Tensor:
        """Where a feature is defined: those of an absent lead are exactly 0."""
        return x != 0 if self.by_lead else torch.ones_like(x, dtype=torch.bool)

    def pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (k, d) and labels (k, c), chunk by chunk, small enough for `memory_bytes`."""
        rows = max(self.memory_bytes // (40 * self.labels.shape[1] + 48 * self.x.shape[1]), 1)
        for x, labels in zip(self.x.split(rows), self.labels.split(rows), strict=True):
            yield (x - self.mean) / self.scale * self.valid_mask(x), labels


class PrincipalAxes(NamedTuple):
    """The directions (k, d) in which features vary most, and the norm (k,) of the features along each.

    z: (b, k), the features along the axes, if they fit into memory at once; else None.
    """

    norm: Tensor
    directions: Tensor
    z: Tensor | None


def principal_axes(learned: Standardized) -> PrincipalAxes:
    """The principal axes, by the eigenvectors of z^T z, or of z z^T if there are fewer ECGs than features."""
    first, _ = next(learned.pieces())
    fits = len(first) == len(learned.x)
    if not fits or len(first) >= first.shape[1]:
        square, vectors = torch.linalg.eigh(sum(z.T @ z for z, _ in learned.pieces()))
        return PrincipalAxes(square.clamp(min=0).sqrt(), vectors.T, first @ vectors if fits else None)
    square, vectors = torch.linalg.eigh(first @ first.T)
    varies = square > 1e-12 * square[-1]
    norm, vectors = square[varies].sqrt(), vectors[:, varies]
    return PrincipalAxes(norm, vectors.T @ first / norm[:, None], vectors * norm)


def logistic_regressions(
    learned: Standardized, axes: PrincipalAxes, C: float, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """One logistic regression per code, all at once: the same optimum as scikit-learn, many times faster.

    Minimizes, over weights W (c, d) and biases (c,), C * (sum of cross-entropies) + |W|^2 / 2 by L-BFGS, as
    scikit-learn's LogisticRegression(C=C) does for one code; starts from this weight and bias. The latents of a model
    are so correlated that this takes thousands of steps; along their principal axes, each divided by the curvature
    there, it takes dozens, and |W| is the same in any rotation.
    """
    b, c = len(learned.x), learned.labels.shape[1]
    share = learned.labels.double().mean(dim=0)
    curvature = (share * (1 - share)).clamp(min=1e-3)[:, None]
    step = (curvature * axes.norm**2 / b + 1 / (C * b)).rsqrt()
    bias_step = curvature[:, 0].rsqrt()

    def along_axes(flat: np.ndarray) -> tuple[Tensor, Tensor]:
        u, v = torch.from_numpy(flat).to(step.device).split([step.numel(), c])
        return u.view_as(step) * step, v * bias_step

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = along_axes(flat)
        if axes.z is None:
            weight, pieces = weight @ axes.directions, learned.pieces()
        else:
            pieces = iter([(axes.z, learned.labels)])
        total = weight.square().sum() / (2 * C * b)
        slope, bias_slope = weight / (C * b), torch.zeros_like(bias)
        for z, labels in pieces:
            # One row per code: along the rows of z, both products read memory in order.
            logits, target = torch.addmm(bias[:, None], weight, z.T), labels.T.to(z.dtype)
            total += (F.softplus(logits) - target * logits).sum() / b
            error = (logits.sigmoid() - target) / b
            slope += error @ z
            bias_slope += error.sum(1)
        slope = slope @ axes.directions.T if axes.z is None else slope
        gradient = torch.cat([(slope * step).flatten(), bias_slope * bias_step])
        return total.item(), gradient.cpu().numpy()

    from scipy.optimize import minimize  # imported here: whoever only predicts does not wait for it

    start = torch.cat([(weight @ axes.directions.T / step).flatten(), bias / bias_step]).cpu().numpy()
    # torch.optim would first import PyTorch's compiler, which takes longer than most fits.
    options = {"maxiter": 5000, "maxfun": 10000, "gtol": 1e-6, "ftol": 1e-13}
    fit = minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True, options=options)
    gradient = np.abs(fit.jac).max()
    if not gradient < 1e-4:
        raise ECGError(
            f"The probe did not converge ({fit.message}; gradient {gradient:.1g}); try a smaller C than {C:g}."
        )
    weight, bias = along_axes(fit.x)
    return weight @ axes.directions, bias
