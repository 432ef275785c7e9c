"""ICD-10 codes from a frozen model: embed the ECGs, fit a linear probe, score it on other patients."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from scipy.special import expit

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, features, fit_probe
from lamae_toolkit.evaluation.metrics import CodeScores, auroc_and_auprc, macro_difference, patient_bootstrap
from lamae_toolkit.icd10 import ancestors, column_of, label_matrix, name_of
from lamae_toolkit.model.outputs import Embedding


@dataclass(frozen=True)
class Split:
    """The folds of patients for training, validation (to choose C) and test.

    Each is a tuple of fold numbers. Raises ECGError if a fold is in two of them.

    Example:
        import lamae_toolkit as lt

        split = lt.Split(train=(0, 1, 2, 3, 4, 5, 6, 7), validation=(8,), test=(9,))
        print(split.folds)
    """

    train: tuple[int, ...] = tuple(range(14))
    validation: tuple[int, ...] = (14, 15)
    test: tuple[int, ...] = (16, 17, 18, 19)

    def __post_init__(self) -> None:
        if len(set(self.folds)) < len(self.folds):
            raise ECGError("A fold is in two parts of the split, so patients would leak; give each fold one part.")

    @classmethod
    def of(cls, store: Store) -> "Split":
        """The split that the store's source recommends; else the default."""
        return cls(**{part: tuple(folds) for part, folds in store.meta.get("split", {}).items()})

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of all three parts."""
        return (*self.train, *self.validation, *self.test)

    def indices(self, index: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The positions of the training, validation and test ECGs in an index.

        ECGs that are not `labelled`, if the index has this column, are in none of them: no known code is not the same
        as no code. Of a stay with several ECGs (`ecg_in_stay`) only the first is in validation and test, but all are in
        training, as in Strodthoff et al. (arXiv 2312.11050).
        """
        labeled = index.labelled.to_numpy(dtype=bool) if "labelled" in index else np.ones(len(index), dtype=bool)
        first = labeled & (index.ecg_in_stay.to_numpy() == 1) if "ecg_in_stay" in index else labeled
        train, validation, test = (
            np.flatnonzero(index.fold.isin(folds) & which)
            for folds, which in ((self.train, labeled), (self.validation, first), (self.test, first))
        )
        return train, validation, test


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicts for each test ECG, next to the codes that it has.

    rows: the row of each ECG in its store. logits: the log-odds of each code; probability = sigmoid(logit).
    """

    codes: tuple[str, ...]
    rows: Int[np.ndarray, " b"]
    patient_ids: Int[np.ndarray, " b"]
    labels: UInt8[np.ndarray, "b c"]
    logits: Float[np.ndarray, "b c"]

    def of_code(self, code: str) -> tuple[UInt8[np.ndarray, " b"], Float[np.ndarray, " b"]]:
        """The labels and the predicted probabilities of one code; ECGError if the model does not predict it."""
        column = column_of(self.codes, code)
        return self.labels[:, column], expit(self.logits[:, column])


@dataclass(frozen=True)
class Evaluation:
    """How well one frozen model predicts the codes of unseen patients."""

    name: str
    probe: Probe
    auroc: CodeScores
    auprc: CodeScores
    prevalence: Float[np.ndarray, " c"]
    test_ecgs: int
    test_patients: int
    predictions: Predictions

    def table(self) -> pd.DataFrame:
        """One row per code: positives among the test ECGs, prevalence, AUROC and AUPRC with their intervals."""
        positives = [round(share * self.test_ecgs) for share in self.prevalence]
        columns: dict[str, Any] = {"positives": positives, "prevalence": self.prevalence}
        for name, scores in (("auroc", self.auroc), ("auprc", self.auprc)):
            estimates = [scores.of_code(index) for index in range(len(self.probe.codes))]
            for suffix, field in (("", "value"), ("_low", "low"), ("_high", "high")):
                columns[name + suffix] = [getattr(one, field) for one in estimates]
        return pd.DataFrame(columns, index=pd.Index(self.probe.codes, name="code"))

    def summary(self) -> pd.DataFrame:
        """The table for readers: codes by name, the best first, each measure with its 95 % interval in one column."""
        table = self.table().sort_values("auroc", ascending=False)
        columns = {"ECGs with the code": table.positives, "share": [f"{share:.1%}" for share in table.prevalence]}
        for name in ("auroc", "auprc"):
            rows = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
            columns[f"{name.upper()} (95 %)"] = [f"{one:.3f} ({low:.3f} to {high:.3f})" for one, low, high in rows]
        return pd.DataFrame(columns).rename(index=name_of).rename_axis("code")

    def to_dict(self) -> dict:
        """All results as plain values, for JSON."""
        return {
            "name": self.name,
            "representation": self.probe.representation,
            "C": self.probe.C,
            "test_ecgs": self.test_ecgs,
            "test_patients": self.test_patients,
            "macro_auroc": asdict(self.auroc.macro()),
            "macro_auprc": asdict(self.auprc.macro()),
            "macro_prevalence": float(self.prevalence.mean()),
            "codes": self.table().to_dict(orient="index"),
        }


def codes_to_predict(store: Store, split: Split, minimum: int = 10) -> tuple[str, ...]:
    """The codes that at least `minimum` training ECGs and at least one ECG of each other part have.

    If the store has `classes` (codes with their ancestors), only these are candidates; else the codes of the index.
    """
    parts = [store.index.iloc[positions] for positions in split.indices(store.index)]
    classes = store.meta.get("classes")
    if classes is None:
        classes = sorted({ancestors(code)[-1] for part in parts for codes in part.codes for code in codes})
    counts = np.array([label_matrix(part.codes.tolist(), classes).sum(axis=0, dtype=np.int64) for part in parts])
    enough = (counts[0] >= minimum) & (counts[1:] > 0).all(axis=0)
    codes = [code for code, frequent in zip(classes, enough, strict=True) if frequent]
    if not codes:
        raise ECGError(f"No code of {store.folder} is on {minimum} training ECGs or more; use a larger cohort.")
    return tuple(sorted(codes))


def evaluate(
    embedding: Embedding | Float[np.ndarray, "b d"],
    index: pd.DataFrame,
    codes: Sequence[str],
    *,
    name: str = "LAMAE",
    split: Split | None = None,
    representation: str = "heart",
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: torch.device | str = "cpu",
    memory_bytes: int = 2**30,
) -> Evaluation:
    """Fit a probe on the training patients, choose C on the validation patients, and score it on the test patients.

    embedding: the ECGs as from `embed_rows`, or their features alone, (b, d), as from `embed_features`. index: their
    rows of the store's index, in the same order. codes: the ICD-10 codes to predict. name: of the model, for tables
    and figures. split: the folds of each part; the default split if None. representation: the features, "heart",
    "summary" or "per_lead". Intervals are 95 % percentiles over `n_bootstrap` bootstrap resamples of test patients, for
    which `seed` is the random seed. device, memory_bytes: where probe and scores are computed, and about how much
    memory they take next to the features; see `fit_probe`. Raises ECGError if a part of the split has no ECG, or if a
    code cannot be learned or scored.

    Example:
        import numpy as np
        import pandas as pd
        import lamae_toolkit as lt

        rng = np.random.default_rng(0)
        x = rng.normal(size=(400, 8)).astype(np.float32)
        codes = [["I48.91"] if has else [] for has in x[:, 0] + rng.normal(size=400) > 1]
        index = pd.DataFrame({"patient_id": np.arange(400), "fold": np.arange(400) % 20, "codes": codes})
        print(lt.evaluate(x, index, ["I48.91"], n_bootstrap=100).table())
    """
    x = features(embedding, representation) if isinstance(embedding, Embedding) else embedding
    labels = label_matrix(index.codes.tolist(), codes)
    train, validation, test = (split or Split()).indices(index)
    if min(len(train), len(validation), len(test)) == 0:
        raise ECGError("A part of the split has no ECGs; use a larger cohort or give the part more folds.")
    device = torch.device(device)
    # Apple's MPS has no 64-bit numbers, in which a probe is fitted.
    where: Any = {"device": "cpu" if device.type == "mps" else device, "memory_bytes": memory_bytes}
    probe = fit_probe(x, labels, codes, train, validation, representation=representation, **where)
    return score_probe(probe, x[test], index.iloc[test], name=name, n_bootstrap=n_bootstrap, seed=seed, **where)


def score_probe(
    probe: Probe,
    x: Float[np.ndarray, "b d"],
    index: pd.DataFrame,
    *,
    name: str = "LAMAE",
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: torch.device | str = "cpu",
    memory_bytes: int = 2**30,
) -> Evaluation:
    """Score a probe on ECGs that it was not fitted on: x are their features, index their rows of the store's index."""
    if len(index) == 0:
        raise ECGError("There is no ECG to score the probe on; choose folds that have ECGs.")
    patients = index.patient_id.to_numpy()
    counts = patient_bootstrap(patients, n_bootstrap, seed)
    labels, logits = label_matrix(index.codes.tolist(), probe.codes), probe.logits(x)
    return Evaluation(
        name,
        probe,
        *auroc_and_auprc(labels, logits, counts, device=device, memory_bytes=memory_bytes),
        labels.mean(axis=0),
        len(index),
        len(np.unique(patients)),
        Predictions(probe.codes, index.index.to_numpy(), patients, labels, logits),
    )


def macro_differences(ours: Evaluation, theirs: Evaluation) -> dict:
    """The differences in macro AUROC and AUPRC between two models, paired over the same test patients."""
    return {
        "macro_auroc_difference": asdict(macro_difference(ours.auroc, theirs.auroc)),
        "macro_auprc_difference": asdict(macro_difference(ours.auprc, theirs.auprc)),
    }
