"""The linear probe: a logistic regression for each ICD-10 code on the latents of a frozen model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from scipy.linalg import LinAlgError, svd
from scipy.optimize import minimize
from scipy.special import expit

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.metrics import auroc
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.model.pretrained import shipped_or_own

PROBE_FILE = "probe.json"
REPRESENTATIONS = ("heart", "summary", "per_lead")
"""What a probe reads: the pooled heart token; the summary of the latents by mean and spread over leads and time; or
the latents of all leads side by side, each with its spread over time, and the summary. The first two do not depend on
how many leads there are or in which order."""


def features(embedding: Embedding, representation: str = "heart") -> Float[np.ndarray, "b d"]:
    """The numbers that a probe reads, one row per ECG: one of REPRESENTATIONS."""
    return chosen_latents(embedding, representation).float().cpu().numpy()


def chosen_latents(embedding: Embedding, representation: str) -> Float[torch.Tensor, "b d"]:
    """The same as a tensor, through which a gradient may flow; ECGError if there is no such representation."""
    if representation not in REPRESENTATIONS:
        raise ECGError(f"There is no representation {representation!r}; choose from {', '.join(REPRESENTATIONS)}.")
    if representation != "per_lead":
        return getattr(embedding, representation)
    return torch.cat([embedding.per_lead.flatten(1), embedding.per_lead_std.flatten(1), embedding.summary], dim=1)


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear read-out of a frozen model: chance of code = sigmoid(weight . (features - mean) / scale + bias).

    mean, scale: of the training ECGs, for each lead's places of those that have the lead.
    """

    codes: tuple[str, ...]
    representation: str
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]
    C: float
    """The inverse penalty C of the logistic regressions, chosen on validation patients."""

    def logits(self, x: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b c"]:
        """The log-odds of each code."""
        self.check_width(x.shape[1])
        return standardized(x, self.mean, self.scale, self.representation) @ self.weight.T + self.bias

    def check_width(self, width: int) -> None:
        """ECGError if the probe cannot read so many numbers per ECG: it was fitted on another model."""
        if width != len(self.mean):
            raise ECGError(
                f"The probe reads {len(self.mean)} numbers per ECG, but this model gives {width};"
                " use the probe that was fitted on this model."
            )

    def predict_proba(self, x: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b c"]:
        """The probability of each code, between 0 and 1."""
        return expit(self.logits(x))

    def save(self, folder: Path | str) -> None:
        """Write `probe.json` into a checkpoint's folder."""
        values = {
            name: _rounded(value) if isinstance(value, np.ndarray) else value for name, value in vars(self).items()
        }
        with atomic_write(Path(folder) / PROBE_FILE) as partial:
            partial.write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> "Probe":
        """Read `probe.json` from a checkpoint's folder, or of shipped weights by name; ECGError if it is not there."""
        path = shipped_or_own(folder) / PROBE_FILE
        if not path.is_file():
            raise ECGError(f"{folder} has no {PROBE_FILE}, so it predicts no codes; run `lamae evaluate` on it first.")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if "penalty" in values:  # as version 0.1 called it
                values["C"] = values.pop("penalty")
            arrays = {name: np.array(values.pop(name)) for name in ("mean", "scale", "weight", "bias")}
            return cls(codes=tuple(values.pop("codes")), **arrays, **values)
        except (ValueError, KeyError, TypeError) as error:
            raise ECGError(f"{path} is damaged; run `lamae evaluate` again.") from error


def standardized(
    x: Float[np.ndarray, "b d"], mean: Float[np.ndarray, " d"], scale: Float[np.ndarray, " d"], representation: str
) -> Float[np.ndarray, "b d"]:
    """What a probe multiplies by its weights: (features - mean) / scale, and 0 in the places of an absent lead.

    Absent is what is exactly 0 in "per_lead" (see `Embedding`): the spread of a lead that is there never is.
    """
    z = (x - mean) / scale
    if representation == "per_lead":
        z[x == 0] = 0
    return z


def _mean_and_scale(x: np.ndarray, representation: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each place, of the ECGs that have its lead; of a lead that none has, 0."""
    known: np.ndarray | bool = True
    if representation == "per_lead":
        known = (x != 0) | ~(x != 0).any(axis=0)
    return np.mean(x, axis=0, where=known), np.std(x, axis=0, where=known) + 1e-6


def _rounded(values: np.ndarray) -> list:
    """The numbers to ten digits, more than the latents have that they are multiplied with."""
    values = values.astype(np.float64)
    scale = 10.0 ** (9 - np.floor(np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values))))
    return (np.round(values * scale) / scale).tolist()


def fit_probe(
    x: Float[np.ndarray, "b d"],
    labels: UInt8[np.ndarray, "b c"],
    codes: Sequence[str],
    train: np.ndarray,
    validation: np.ndarray,
    *,
    representation: str = "heart",
    Cs: Sequence[float] = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.3, 3.0, 30.0),
) -> Probe:
    """Fit one logistic regression per code on the training ECGs. An absent lead counts as an average lead.

    The penalty is one for all codes: the inverse penalty C goes up from the smallest of `penalties` for as long
    as that raises the macro AUROC on the validation ECGs. train, validation: row numbers of x.
    """
    for code, column in zip(codes, labels[train].T, strict=True):
        if column.min() == column.max():
            raise ECGError(f"No probe can learn {code}: {'no' if column.max() == 0 else 'every'} training ECG has it.")
    mean, scale = _mean_and_scale(x[train], representation)
    axes = principal_axes(standardized(x[train], mean, scale, representation))
    best, best_score = None, -np.inf
    for C in sorted(Cs):
        weight, bias = logistic_regressions(axes, labels[train], C)
        probe = Probe(tuple(codes), representation, mean, scale, weight, bias, C)
        no_resamples = np.ones((1, len(validation)))
        score = np.nanmean(auroc(labels[validation], probe.logits(x[validation]), no_resamples).value)
        if not score > best_score:
            break
        best, best_score = probe, score
    if best is None:
        raise ECGError("No code has both ECGs with it and without it among the validation patients; use more ECGs.")
    return best


class PrincipalAxes(NamedTuple):
    """Features turned to where they vary most: z = x @ directions.T, whose columns have the norms `spread`."""

    z: Float[np.ndarray, "b k"]
    spread: Float[np.ndarray, " k"]
    directions: Float[np.ndarray, "k d"]


def principal_axes(x: Float[np.ndarray, "b d"]) -> PrincipalAxes:
    """The principal axes of x, by its singular values."""
    try:
        left, spread, directions = svd(x.astype(np.float64), full_matrices=False)
    except LinAlgError:  # the fast algorithm fails for a matrix in thousands; the slow one does not
        left, spread, directions = svd(x.astype(np.float64), full_matrices=False, lapack_driver="gesvd")
    return PrincipalAxes(left * spread, spread, directions)


def logistic_regressions(
    axes: PrincipalAxes, labels: UInt8[np.ndarray, "b c"], C: float
) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    """One logistic regression per code, all at once: scikit-learn's optimum, many times sooner.

    Minimises, over weights W and biases, penalty * (sum of cross-entropies) + |W|^2 / 2 by L-BFGS, as
    scikit-learn's LogisticRegression(C=penalty) does for one code. The latents of a model are so
    correlated that this takes thousands of steps; along their principal axes, each divided by the
    curvature there, it takes dozens, and |W| is the same in any rotation.
    """
    z, spread, directions = axes
    b, c, d, target = len(z), labels.shape[1], len(spread), labels.astype(np.float64)
    share = target.mean(axis=0)
    spread_of_labels = np.maximum(share * (1 - share), 1e-3)[:, None]
    step = 1 / np.sqrt(spread_of_labels * spread**2 / b + 1 / (C * b))
    bias_step = 1 / np.sqrt(spread_of_labels[:, 0])

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: c * d].reshape(c, d) * step, flat[c * d :] * bias_step
        logits = z @ weight.T + bias
        loss = (np.logaddexp(0.0, logits) - target * logits).sum() / b + (weight**2).sum() / (2 * C * b)
        error = (expit(logits) - target) / b
        gradient = (error.T @ z + weight / (C * b)) * step
        return loss, np.concatenate([gradient.ravel(), error.sum(axis=0) * bias_step])

    fit = minimize(
        loss_and_gradient,
        np.zeros(c * (d + 1)),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": 5000, "maxfun": 10000, "gtol": 1e-6, "ftol": 1e-13},
    )
    if not fit.success:
        raise ECGError(f"The probe did not converge ({fit.message}); try a smaller penalty C than {C:g}.")
    return fit.x[: c * d].reshape(c, d) * step @ directions, fit.x[c * d :] * bias_step


def probe_features(embedding: Embedding, batch: Batch, probe: Probe) -> Float[torch.Tensor, "b d"]:
    """The numbers that a probe reads of ECGs that may lack leads: an absent lead counts as an average lead.

    The representations "heart" and "summary" are made of the leads that are there, whichever they are. "per_lead" has
    a place for each of the twelve leads, in the order of LEADS; the places of an absent lead take the probe's mean,
    so that (features - mean) / scale = 0: what is not known speaks neither for a code nor against it. Zeros there
    would be read as a lead that no patient has. 64-bit, on the CPU; a gradient flows through to the embedding.
    """
    if probe.representation != "per_lead":
        x = chosen_latents(embedding, probe.representation).cpu().double()
        probe.check_width(x.shape[1])
        return x
    width = embedding.per_lead.shape[-1]
    probe.check_width(2 * len(LEADS) * width + embedding.summary.shape[1])
    both = torch.stack([embedding.per_lead, embedding.per_lead_std], dim=1).cpu().double()
    places = torch.from_numpy(probe.mean[: 2 * len(LEADS) * width].astype(np.float64))
    average = rearrange(places, "(two l d) -> l 1 two d", two=2, l=len(LEADS)).expand(-1, len(both), -1, -1)
    rows = {name: row for row, name in enumerate(batch.leads)}
    lead_mask = batch.lead_mask.cpu()
    known = [
        torch.where(lead_mask[:, rows[name], None, None], both[:, :, rows[name]], mean) if name in rows else mean
        for name, mean in zip(LEADS, average, strict=True)
    ]
    leads = rearrange(torch.stack(known, dim=2), "b two l d -> b (two l d)")
    return torch.cat([leads, embedding.summary.cpu().double()], dim=1)


def log_odds(embedding: Embedding, batch: Batch, probe: Probe) -> Float[torch.Tensor, "b c"]:
    """The log-odds of each code for ECGs that may lack leads, as a tensor: a gradient flows through to the embedding.

    `Probe.logits` of `probe_features`.
    """
    mean, scale, weight, bias = (
        torch.from_numpy(values.astype(np.float64)) for values in (probe.mean, probe.scale, probe.weight, probe.bias)
    )
    return (probe_features(embedding, batch, probe) - mean) / scale @ weight.T + bias


@torch.inference_mode()
def predict(model: LAMAE, probe: Probe, batch: Batch) -> pd.DataFrame:
    """The chance of each code for each ECG of a batch: one row per ECG, one column per code.

    Leads may come in any order and may be absent (see `probe_features`).
    """
    was_training = model.training
    try:
        probabilities = log_odds(model.eval().embed(batch), batch, probe).sigmoid()
    finally:
        model.train(was_training)
    return pd.DataFrame(probabilities.numpy(), columns=list(probe.codes))
