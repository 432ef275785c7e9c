"""Missing leads, reconstructed from those that were recorded: by LAMAE, linear regression, and a dipole's field.

All methods read the same visible leads and are scored in mV against the masked lead. What they need to know
beforehand (a regression, the amplitude of a masked lead) is learned from other patients.
Arrays of ECGs are (b, l, t) in mV with lead names next to them. They must be band-passed alike (0.5 to 40 Hz here), so
that each lead's mean is 0: the offset of the masked lead is not needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Real

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import DOWER, LEADS, LIMB_LEADS, PRECORDIAL_LEADS, check_leads
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.metrics import Estimate, over_patients
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import named_lead_mask

MIN_SCALE_MV = 0.01
LEAD_MEASURES = ("rmse_mv", "relative_rmse", "correlation")

_I, _II = np.array([0.632, -0.235, -0.059]), DOWER[1]  # the simulator's matrix differs from Dower's in lead I

LEAD_VECTORS = np.stack([_I, _II, _II - _I, -(_I + _II) / 2, _I - _II / 2, _II - _I / 2, *DOWER[2:]])
"""The lead vectors of the twelve leads for a dipole (x left, y feet, z front) by Dower's published matrix, (12, 3).

Dower, Machado & Osborne, Clin Cardiol 3:87 (1980); its pseudo-inverse over I, II and V1 to V6 is the inverse Dower
matrix of Edenbrandt & Pahlm, J Electrocardiol 21:361 (1988). The simulator's matrix differs in lead I,
(0.720, -0.100, -0.059), and is rotated and scaled for each patient."""


@dataclass(frozen=True)
class Task:
    """What is to be reconstructed from what: the leads that were recorded, and those that are missing."""

    visible: tuple[str, ...]
    missing: tuple[str, ...]

    def __post_init__(self) -> None:
        check_leads(self.visible)
        check_leads(self.missing)
        both = [name for name in self.missing if name in self.visible]
        if both or not self.visible or not self.missing:
            raise ECGError(
                f"Lead {both[0]} is both visible and missing; name it once."
                if both
                else "Some leads must be visible and some missing; name at least one of each."
            )


SCENARIOS: dict[str, tuple[Task, ...]] = {
    "I, II, V2 to other chest leads": (Task((*LIMB_LEADS, "V2"), ("V1", "V3", "V4", "V5", "V6")),),
    "limb leads to chest leads": (Task(LIMB_LEADS, PRECORDIAL_LEADS),),
    "chest leads to limb leads": (Task(PRECORDIAL_LEADS, LIMB_LEADS),),
    "one lead at a time": tuple(Task(tuple(other for other in LEADS if other != lead), (lead,)) for lead in LEADS),
}
"""Common lead sets, and each lead on its own. I and II determine the other four limb leads (Einthoven)."""


# Three linear methods: a matrix (missing, visible), the same for every ECG and every sample.


def linear_regression(
    train_mv: Float[np.ndarray, "b l t"], leads: Sequence[str], task: Task
) -> Float[np.ndarray, "m v"]:
    """The usual baseline: each missing lead as the weighted sum of the visible leads that fits the training ECGs best.

    W = argmin sum over ECGs and samples of |missing - W visible|^2, sample by sample, without intercept (the means are
    0). Of visible leads that follow from one another the shortest solution is taken.
    """
    visible, missing = (_rows(train_mv, leads, names) for names in (task.visible, task.missing))
    gram = np.einsum("bvt,bwt->vw", visible, visible, optimize=True)
    cross = np.einsum("bvt,bmt->vm", visible, missing, optimize=True)
    # 1e-8 of the variance: above what rounding leaves of Einthoven's relations, below any lead's own share.
    return np.linalg.lstsq(gram, cross, rcond=1e-8)[0].T


def through_dipole(task: Task) -> Float[np.ndarray, "m v"]:
    """The classical method, without training: the heart's dipole from the visible leads, the missing leads from it.

    missing = D_missing D_visible^+ visible, with Dower's lead vectors D. Six limb leads measure two of the dipole's
    three directions; of the third, least squares takes the smallest that fits, so V1 to V3 must come out too small.
    """
    visible_part, missing_part = (
        LEAD_VECTORS[[LEADS.index(name) for name in names]] for names in (task.visible, task.missing)
    )
    return missing_part @ np.linalg.pinv(visible_part, rcond=1e-6)


def apply(
    matrix: Float[np.ndarray, "m v"], signal_mv: Float[np.ndarray, "b l t"], leads: Sequence[str], task: Task
) -> Float[np.ndarray, "b m t"]:
    """The missing leads in mV by a linear method."""
    return np.einsum("mv,bvt->bmt", matrix, _rows(signal_mv, leads, task.visible), optimize=True)


# LAMAE: the shape from the model, the amplitude from a regression.


@dataclass(frozen=True)
class Amplitudes:
    """The amplitude of a missing lead, inferred from those of the visible ones.

    log s_missing = weight . log s_visible + bias, with s a lead's standard deviation over the ECG (0.01 mV added in
    quadrature, as the model normalizes), fitted by least squares on training ECGs.
    """

    task: Task
    weight: Float[np.ndarray, "m v"]
    bias: Float[np.ndarray, " m"]

    @classmethod
    def fit(cls, train_mv: Float[np.ndarray, "b l t"], leads: Sequence[str], task: Task) -> "Amplitudes":
        """Learn it from ECGs of other patients that have all leads; ECGError if there are fewer than unknowns."""
        visible, missing = (np.log(_scale_mv(_rows(train_mv, leads, names))) for names in (task.visible, task.missing))
        if len(visible) <= visible.shape[1] + 1:
            raise ECGError(f"{len(visible)} training ECGs are too few to learn amplitudes from; give more.")
        design = np.concatenate([visible, np.ones((len(visible), 1))], axis=1)
        found = np.linalg.lstsq(design, missing, rcond=1e-8)[0]
        return cls(task, found[:-1].T, found[-1])

    def scale_mv(self, visible_mv: Float[np.ndarray, "b v t"]) -> Float[np.ndarray, "b m"]:
        """The standard deviation in mV that each missing lead is expected to have."""
        return np.exp(np.log(_scale_mv(visible_mv)) @ self.weight.T + self.bias)


@torch.inference_mode()
def reconstructed_by_model(
    model: LAMAE,
    amplitudes: Amplitudes,
    signal_mv: Float[np.ndarray, "b l t"],
    leads: Sequence[str],
    batch_size: int = 16,
) -> Float[np.ndarray, "b m t"]:
    """The missing leads in mV as the model reconstructs them from every patch of the visible ones.

    A model with normalization "visible" infers the amplitude of a masked lead itself. With "lead", `LAMAE.reconstruct`
    takes mean and scale of a masked lead from that lead; here nothing is taken from it, and it may be absent: shape (in
    units of the lead's standard deviation) by the model, scale by `amplitudes`, mean 0. Samples beyond the model's last
    complete patch are not reconstructed. ECGError for a model that normalizes all leads by one scale.
    """
    task, infers = amplitudes.task, model.config.normalization == "visible"
    if model.config.normalization not in ("lead", "visible"):
        raise ECGError(
            "This model reconstructs all leads in units of one scale; give one whose normalization is 'lead' or"
            " 'visible'."
        )
    visible_mv = _rows(signal_mv, leads, task.visible)
    names, device, parts = (*task.visible, *task.missing), next(model.parameters()).device, []
    with in_float32(model):
        for start in range(0, len(visible_mv), batch_size):
            # The true signal is withheld: the missing leads are zeros.
            visible_part = torch.from_numpy(visible_mv[start : start + batch_size].astype(np.float32))
            missing_part = visible_part.new_zeros(len(visible_part), len(task.missing), visible_part.shape[2])
            lead_mask = torch.ones(len(visible_part), len(names), dtype=torch.bool)
            batch = Batch(torch.cat([visible_part, missing_part], dim=1), lead_mask, names).to(device)
            b, l, n, _ = model.patches(batch).shape
            mask = named_lead_mask((b, l, n), names, task.missing).to(device)
            found = model.reconstruct(batch, mask) if infers else model(batch, mask).prediction.flatten(2)
            parts.append(found[:, len(task.visible) :].cpu().numpy())
    reconstructed = np.concatenate(parts).astype(np.float64)
    return reconstructed if infers else reconstructed * amplitudes.scale_mv(visible_mv)[:, :, None]


# Scores.


def lead_scores(
    reconstructed_mv: Float[np.ndarray, "b m t"], true_mv: Float[np.ndarray, "b m t"]
) -> dict[str, Float[np.ndarray, "b m"]]:
    """The error of each reconstructed lead, per ECG: each of `LEAD_MEASURES`.

    rmse_mv = sqrt(mean over samples of (reconstructed - true)^2); relative_rmse = rmse / standard deviation of the true
    lead (1 for a flat line); correlation = Pearson's, undefined (NaN) where a lead is flat.
    """
    error = np.sqrt(np.square(reconstructed_mv - true_mv).mean(axis=2))
    reconstructed, true = (signal - signal.mean(axis=2, keepdims=True) for signal in (reconstructed_mv, true_mv))
    std, true_std = (np.sqrt(np.square(signal).mean(axis=2)) for signal in (reconstructed, true))
    flat = (std < 1e-6) | (true_std < 1e-6)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(flat, np.nan, (reconstructed * true).mean(axis=2) / (std * true_std))
        relative = np.where(true_std < 1e-6, np.nan, error / true_std)
    return {"rmse_mv": error, "relative_rmse": relative, "correlation": correlation}


def score_table(
    scores: dict[str, dict[str, Float[np.ndarray, "b m"]]],
    missing: Sequence[str],
    weights: Real[np.ndarray, "r b"],
    baseline: str = "linear regression",
) -> pd.DataFrame:
    """One row per method and missing lead, and one for their mean ("all"): the measures with 95 % intervals.

    scores: from `lead_scores`, by method. Columns: each measure with _low and _high, and by how much the method's is
    above the baseline's on the same ECGs (difference_...): below 0, the method's error is the smaller one.
    """
    rows = []
    columns: dict[str, Any] = {"all": slice(None)} | {name: [at] for at, name in enumerate(missing)}
    for lead, column in columns.items():
        for method, measured in scores.items():
            row: dict[str, object] = {"lead": lead, "method": method}
            for measure in LEAD_MEASURES:
                ours = mean_of_leads(measured[measure][:, column])
                row |= named(measure, over_patients(ours, weights))
                if method != baseline:
                    theirs = mean_of_leads(scores[baseline][measure][:, column])
                    row |= named(f"difference_{measure}", over_patients(ours - theirs, weights))
            rows.append(row)
    return pd.DataFrame(rows)


def mean_of_leads(values: Float[np.ndarray, "b m"]) -> Float[np.ndarray, " b"]:
    """The mean over an ECG's leads; NaN if one of them is."""
    return values.mean(axis=1)


def named(name: str, found: Estimate) -> dict[str, float]:
    """An estimate as three columns."""
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _rows(signal_mv: np.ndarray, leads: Sequence[str], names: Sequence[str]) -> np.ndarray:
    absent = [name for name in names if name not in leads]
    if absent:
        raise ECGError(f"Lead {absent[0]} is not among {', '.join(leads)}; choose another set of leads.")
    if not len(signal_mv):
        raise ECGError("There is no ECG to learn or reconstruct from; give at least one that has all these leads.")
    return signal_mv[:, [list(leads).index(name) for name in names]].astype(np.float64)


def _scale_mv(signal_mv: np.ndarray) -> np.ndarray:
    return np.sqrt(signal_mv.var(axis=2) + MIN_SCALE_MV**2)
