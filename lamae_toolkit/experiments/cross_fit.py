"""Probes fitted in turns, so that every ECG of a cohort is scored by a probe that has seen none of its patients."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from tqdm.auto import tqdm

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, fit_probe


def cross_fitted(
    x: Float[np.ndarray, "b d"],
    labels: UInt8[np.ndarray, "b c"],
    codes: Sequence[str],
    index: pd.DataFrame,
    *,
    representation: str,
    parts: int = 5,
    progress: bool = True,
) -> Iterator[tuple[Probe, np.ndarray]]:
    """Probes and, for each, the rows of the ECGs that it is to score: each row comes once.

    index: with the columns fold and patient_id, of which no patient may be in two folds (ECGError). The folds are dealt
    out to `parts` parts; each part is scored by a probe that learned from the others but one, on which C was chosen.
    """
    fold = index.fold.to_numpy()
    if index.groupby("patient_id").fold.nunique().max() > 1:
        raise ECGError("A patient is in two folds of this store; pack it with folds by patient.")
    part = np.unique(fold, return_inverse=True)[1] * parts // len(np.unique(fold))
    for scored in tqdm(range(parts), desc="probes", disable=not progress):
        choose = (scored + 1) % parts
        rows = [np.flatnonzero(chosen) for chosen in ((part != scored) & (part != choose), part == choose)]
        yield fit_probe(x, labels, codes, *rows, representation=representation), np.flatnonzero(part == scored)
