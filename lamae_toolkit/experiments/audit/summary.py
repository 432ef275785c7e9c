"""Scores of an audit as numbers with intervals over patients."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from lamae_toolkit.evaluation.metrics import Estimate, estimate, over_patients, patient_bootstrap
from lamae_toolkit.experiments.audit.scores import Scores


class Summary:
    """Scores as numbers with intervals; differences are paired over the same predictions and resamples of patients."""

    def __init__(self, patients: Int[np.ndarray, " b"], scores: Scores, n_bootstrap: int = 1000, seed: int = 0) -> None:
        self.scores, self.patients = scores, patients
        self.weights = patient_bootstrap(patients, n_bootstrap, seed)

    def of(self, kind: str, metric: str, method: str) -> Estimate | None:
        """A score of a method, or None if it was not tested."""
        values = self.scores.get((kind, metric, method))
        return None if values is None else over_patients(_over_models(values), self.weights)

    def tested_on(self, kind: str, metric: str, method: str) -> int:
        """On how many patients a score of a method is defined; 0 if it was not tested."""
        values = self.scores.get((kind, metric, method))
        return 0 if values is None else len(np.unique(self.patients[np.isfinite(values).any(axis=0)]))

    def difference(self, kind: str, one: tuple[str, str], other: tuple[str, str]) -> Estimate | None:
        """The paired difference of two (metric, method)."""
        if (kind, *one) not in self.scores or (kind, *other) not in self.scores:
            return None
        values = [_over_models(self.scores[kind, *which]) for which in (one, other)]
        return over_patients(values[0] - values[1], self.weights)

    def ratio(self, kind: str, metric: str, one: str, other: str) -> Estimate | None:
        """How much of the score of the other method one method reaches, on the same predictions and resamples."""
        keys = [(kind, metric, method) for method in (one, other)]
        if any(key not in self.scores for key in keys):
            return None
        values = [_over_models(self.scores[key]) for key in keys]
        of_both = np.where(np.isfinite(values[0] + values[1]), values, 0.0)
        if not of_both[1].any():
            return None
        sums, resamples = of_both.sum(axis=1), self.weights @ of_both.T
        with np.errstate(invalid="ignore"):  # a resample without an occluded ECG
            return estimate(sums[0] / sums[1], resamples[:, 0] / resamples[:, 1])

    def table(self) -> pd.DataFrame:
        """All scores: kind, metric, method, value, low, high, the values model by model, and how many predictions."""
        rows = []
        for (kind, metric, method), values in self.scores.items():
            found = over_patients(_over_models(values), self.weights)
            by_model = [float(np.nanmean(one)) if np.isfinite(one).any() else float("nan") for one in values]
            rows.append(
                {
                    "kind": kind,
                    "metric": metric,
                    "method": method,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "by_model": by_model,
                    "predictions": int(np.isfinite(values).any(axis=0).sum()),
                    "patients": self.tested_on(kind, metric, method),
                }
            )
        return pd.DataFrame(rows)


def _over_models(values: Float[np.ndarray, "m b"]) -> Float[np.ndarray, " b"]:
    """The mean over the models of the finite values; NaN where there is none."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    return np.divide(np.where(defined, values, 0).sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)
