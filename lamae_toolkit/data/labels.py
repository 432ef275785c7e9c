"""The labels of a cohort as matrices."""

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import label_matrix


def labels_of(index: pd.DataFrame, task: str, classes: tuple[str, ...]) -> UInt8[np.ndarray, "b c"]:
    """For each ECG of the index, 1 if it has the class of that column, else 0."""
    if task not in index:
        raise ECGError(f"The store has no column {task!r} to predict.")
    if task == "codes":
        return label_matrix(index.codes.tolist(), classes)
    return np.array([[name in own for name in classes] for own in index[task]], dtype=np.uint8)


def frequent_codes(store: Store, minimum: int = 30) -> tuple[str, ...]:
    """The ICD-10 codes that at least `minimum` ECGs of PTB-XL's folds 1 to 8 have."""
    counts = store.index.codes[store.index.fold.isin(range(1, 9))].explode().value_counts()
    return tuple(sorted(code for code, positives in counts.items() if positives >= minimum))
