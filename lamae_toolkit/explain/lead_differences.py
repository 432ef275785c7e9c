"""How the model combines the leads of one ECG otherwise than of another, or ECGs with a code otherwise than normal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from tqdm.auto import tqdm

from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.metrics import patient_bootstrap
from lamae_toolkit.explain.attention import AttentionSummary, in_float32, roll_up
from lamae_toolkit.icd10 import label_matrix
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import check_rate

SHARES = {"lead_weights": "Lead weights", "rolled_up": "Rolled-up attention", "into_heart": "Shares in the heart token"}
"""What can be compared between groups of ECGs, in words."""


@dataclass(frozen=True, eq=False)
class LeadDifference:
    """By how much one set of shares of the leads is above another: (l,) or, for pairs of leads, (l, l).

    low, high: the 95 % interval of each number on its own, or None where two single ECGs are compared.
    comparison: what is compared, in words.
    """

    comparison: str
    leads: tuple[str, ...]
    value: Float[np.ndarray, "..."]
    low: Float[np.ndarray, "..."] | None = None
    high: Float[np.ndarray, "..."] | None = None

    def clear_of_zero(self) -> Bool[np.ndarray, "..."]:
        """Where the interval leaves out 0; nowhere if there is no interval."""
        if self.low is None or self.high is None:
            return np.zeros(self.value.shape, dtype=bool)
        return (self.low > 0) | (self.high < 0)

    def table(self) -> pd.DataFrame:
        """The differences with their intervals, a row per lead; of pairs of leads the differences alone, 12 x 12."""
        index = pd.Index(self.leads, name="lead")
        if self.value.ndim == 2:
            return pd.DataFrame(self.value, index=index, columns=pd.Index(self.leads, name="looked-at lead"))
        table = pd.DataFrame({"difference": self.value}, index=index)
        return table if self.low is None else table.assign(low=self.low, high=self.high)


def lead_weight_difference(
    one: AttentionSummary, other: AttentionSummary, comparison: str = "Lead weights"
) -> LeadDifference:
    """The lead weights of one ECG (mean over heads) minus those of another; ECGError if their leads differ."""
    return _between(one, other, one.lead_weights.mean(axis=0), other.lead_weights.mean(axis=0), comparison)


def lead_attention_difference(
    one: AttentionSummary, other: AttentionSummary, comparison: str = "Rolled-up attention"
) -> LeadDifference:
    """The rolled-up attention between the leads of one ECG minus that of another; ECGError if their leads differ."""
    return _between(one, other, one.rolled_up, other.rolled_up, comparison)


@dataclass(frozen=True, eq=False)
class LeadShares:
    """What the model made of the leads of many ECGs.

    complete: which of them had all the leads; the shares of the others are of other leads and cannot be compared.
    lead_weights: (b, l), mean over heads. rolled_up: (b, l, l), into_heart: (b, l), as in `explain.roll_up`.
    """

    leads: tuple[str, ...]
    complete: Bool[np.ndarray, " b"]
    lead_weights: Float[np.ndarray, "b l"]
    rolled_up: Float[np.ndarray, "b l k"]
    into_heart: Float[np.ndarray, "b l"]


@torch.inference_mode()
def lead_shares(
    model: LAMAE,
    store: Store,
    rows: np.ndarray,
    *,
    leads: Sequence[str] = LEADS,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> LeadShares:
    """Lead weights and rolled-up attention of these ECGs of a store, all at full length and with nothing hidden."""
    check_rate(model, store.sampling_rate_hz)
    if not len(rows):
        raise ECGError("No ECG was chosen; give the rows of at least one.")
    model.to(device)
    parts: list[tuple[np.ndarray, ...]] = []
    with tqdm(total=len(rows), desc="lead shares", unit="ECG", disable=not progress) as bar:
        for start in range(0, len(rows), batch_size):
            batch = store.batch(rows[start : start + batch_size], device).select(leads)
            with in_float32(model):
                weights = model.embed(batch).lead_weights.mean(dim=1)
            shares = (batch.lead_mask.all(dim=1), weights, *roll_up(model, batch))
            parts.append(tuple(share.cpu().numpy() for share in shares))
            bar.update(len(batch))
    return LeadShares(tuple(leads), *(np.concatenate(part) for part in zip(*parts, strict=True)))


def code_difference(
    shares: LeadShares,
    index: pd.DataFrame,
    code: str,
    of: str = "lead_weights",
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> LeadDifference:
    """What the model does otherwise with the leads of ECGs that have a code than with those that have none at all.

    difference = mean over ECGs with the code - mean over ECGs without any code, of complete ECGs alone. index: their
    rows of the store's index, in the order of the shares; ECGs that are not `labelled` are in neither group. of:
    "lead_weights", "rolled_up" or "into_heart". The 95 % interval is that of a bootstrap over patients, for each
    number on its own: of 144 pairs of leads about 7 are clear of 0 by chance. ECGError if a group has no ECG.
    """
    if of not in SHARES:
        raise ECGError(f"There are no shares {of!r}; choose from {', '.join(SHARES)}.")
    if len(index) != len(shares.complete):
        raise ECGError(f"The index has {len(index)} rows, but there are shares of {len(shares.complete)} ECGs.")
    labeled = index.labelled.to_numpy(dtype=bool) if "labelled" in index else np.ones(len(index), dtype=bool)
    usable = labeled & shares.complete
    with_code = usable & (label_matrix(index.codes.tolist(), (code,))[:, 0] == 1)
    normal = usable & np.array([len(codes) == 0 for codes in index.codes])
    for group, what in ((with_code, f"with {code}"), (normal, "without any code")):
        if not group.any():
            raise ECGError(f"There is no ECG {what} that has all of {', '.join(shares.leads)}; give more ECGs.")
    chosen = with_code | normal
    values, positive = getattr(shares, of)[chosen].astype(np.float64), with_code[chosen]
    draws = patient_bootstrap(index.patient_id.to_numpy()[chosen], n_bootstrap, seed)
    both = np.vstack([np.ones((1, len(values))), draws])
    difference = _mean(values, both * positive) - _mean(values, both * ~positive)
    low, high = np.nanpercentile(difference[1:], [2.5, 97.5], axis=0)
    comparison = f"{SHARES[of]}: {with_code.sum()} ECGs with {code} minus {normal.sum()} without any code"
    return LeadDifference(comparison, shares.leads, difference[0], low, high)


def _mean(values: Float[np.ndarray, "b *k"], weights: Float[np.ndarray, "r b"]) -> Float[np.ndarray, "r *k"]:
    """The weighted mean over ECGs for each resample; NaN where a resample drew none of them."""
    total = weights.sum(axis=1).reshape(-1, *[1] * (values.ndim - 1))
    return np.tensordot(weights, values, axes=1) / np.where(total > 0, total, np.nan)


def _between(one: AttentionSummary, other: AttentionSummary, first: np.ndarray, second: np.ndarray, comparison: str):
    if one.leads != other.leads:
        raise ECGError(
            f"One ECG has {', '.join(one.leads)}, the other {', '.join(other.leads)}, and shares of different leads"
            " cannot be compared: explain both with `recording.select` of the leads that they have in common."
        )
    return LeadDifference(comparison, one.leads, first - second)
