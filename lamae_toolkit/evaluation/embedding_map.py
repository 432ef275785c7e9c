"""ECGs in a model's latent space: a two-dimensional map, and the nearest ECGs."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from lamae_toolkit.errors import ECGError

MAP_METHODS = ("pca", "t-sne")
FEWEST, MOST_AXES, PERPLEXITY = 4, 50, 30.0
EXACT = "covariance_eigh"
"""A solver of PCA that is exact, without random numbers, and fastest for few features."""


def standardized(x: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b d"]:
    """Every feature with mean 0 and standard deviation 1 over the ECGs, so that none dominates by its scale."""
    x = x.astype(np.float64)
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)


def map_positions(x: Float[np.ndarray, "b d"], method: str = "pca", seed: int = 0) -> Float[np.ndarray, "b 2"]:
    """A position on a two-dimensional map for every ECG, close to similar ECGs.

    "pca": the two directions in which the standardized features vary most; distances keep their meaning, but much is
    not shown (`variance_shown`). "t-sne": neighbors stay together; distances between groups mean nothing (van der
    Maaten and Hinton, JMLR 2008); of the first 50 principal components, initialized by PCA.
    """
    if method not in MAP_METHODS:
        raise ECGError(f"There is no map by {method!r}; choose from {', '.join(MAP_METHODS)}.")
    if len(x) < FEWEST:
        raise ECGError(f"A map needs at least {FEWEST} ECGs, but there are {len(x)}; choose more rows of the store.")
    z = standardized(x)
    if method == "pca":
        return PCA(2, svd_solver=EXACT).fit_transform(z)
    z = PCA(min(MOST_AXES, *z.shape), svd_solver=EXACT).fit_transform(z)
    perplexity = min(PERPLEXITY, (len(z) - 1) / 3)
    with threadpool_limits(1, "openmp"):  # its threads synchronize at every step, which is slow on a busy computer
        return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(z).astype(np.float64)


def variance_shown(x: Float[np.ndarray, "b d"], positions: Float[np.ndarray, "b 2"]) -> float:
    """The share of the variance of the standardized features that a PCA map shows."""
    return float(positions.var(axis=0).sum() / standardized(x).var(axis=0).sum())


def nearest(x: Float[np.ndarray, "b d"], row: int, patient_ids: Int[np.ndarray, " b"], count: int = 8) -> pd.DataFrame:
    """The most similar ECGs, by the cosine of their standardized features; 1 is the same direction.

    row: the row of x whose neighbors are wanted. Columns: row, similarity, same_patient: a neighbor of the same patient
    shows that the model recognizes this heart, not that it recognizes the disease. ECGError if there are fewer than
    `count` others.
    """
    if not 0 <= row < len(x):
        raise ECGError(f"There is no ECG {row} among these {len(x)}.")
    if count > len(x) - 1:
        raise ECGError(f"{count} neighbors were asked for, but there are only {len(x) - 1} other ECGs; ask for fewer.")
    z = standardized(x)
    z /= np.linalg.norm(z, axis=1, keepdims=True) + 1e-12
    similarity = z @ z[row]
    similarity[row] = -np.inf
    rows = np.argsort(-similarity, kind="stable")[:count]
    same = patient_ids[rows] == patient_ids[row]
    return pd.DataFrame({"row": rows, "similarity": similarity[rows], "same_patient": same})
