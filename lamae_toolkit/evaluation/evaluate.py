"""ICD-10 codes from a frozen model: embed the ECGs, fit a linear probe, score it on other patients."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from scipy.special import expit
from tqdm.auto import tqdm

from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, features, fit_probe
from lamae_toolkit.evaluation.metrics import Scores, auprc, auroc, macro_difference, patient_bootstrap
from lamae_toolkit.icd10 import ancestors, label_matrix
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.model.pretrained import check_rate


@dataclass(frozen=True)
class Split:
    """Which patient-wise folds do what: learn, choose the penalty, and be scored on."""

    train: tuple[int, ...] = tuple(range(14))
    validation: tuple[int, ...] = (14, 15)
    test: tuple[int, ...] = (16, 17, 18, 19)

    def __post_init__(self) -> None:
        if len(set(self.folds)) < len(self.folds):
            raise ECGError("A fold is in two parts of the split, so patients would leak; give each fold one part.")

    @classmethod
    def of(cls, store: Store) -> "Split":
        """The split that the store's source recommends; else the usual one."""
        return cls(**{part: tuple(folds) for part, folds in store.meta.get("split", {}).items()})

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of all three parts."""
        return (*self.train, *self.validation, *self.test)

    def places(self, index: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where in an index the training, validation and test ECGs are.

        ECGs that are not `labelled`, where the index says so, are in none of them: no known code is not the same as no
        code. Of a stay with several ECGs (`ecg_in_stay`) only the first is chosen or scored by, but all are learned
        from, as in Strodthoff et al. (arXiv 2312.11050).
        """
        labeled = index.labelled.to_numpy(dtype=bool) if "labelled" in index else np.ones(len(index), dtype=bool)
        first = labeled & (index.ecg_in_stay.to_numpy() == 1) if "ecg_in_stay" in index else labeled
        train, validation, test = (
            np.flatnonzero(index.fold.isin(folds) & which)
            for folds, which in ((self.train, labeled), (self.validation, first), (self.test, first))
        )
        return train, validation, test


def random_encoder(config: LAMAEConfig, seed: int = 0) -> LAMAE:
    """An untrained model of the same shape: what the architecture alone is worth. Always show it beside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LAMAE(config).eval()


@torch.inference_mode()
def embed_rows(
    model: LAMAE,
    store: Store,
    rows: np.ndarray,
    *,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    progress: bool = True,
    leads: Sequence[str] = LEADS,
) -> Embedding:
    """Embed these ECGs of a store with a frozen model, all at full length and with nothing hidden."""
    check_rate(model, store.sampling_rate_hz)
    model.to(device).eval()
    parts = []
    with tqdm(total=len(rows), desc="embedding", unit="ECG", disable=not progress) as bar:
        for start in range(0, len(rows), batch_size):
            batch = store.batch(rows[start : start + batch_size], device)
            parts.append(Embedding(*(part.cpu() for part in model.embed(batch.select(leads)))))
            bar.update(len(batch))
    return Embedding(*(torch.cat(part) for part in zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of the test ECGs, ECG by ECG, beside the codes that they have.

    rows: where each ECG is in its store. logits: the log-odds of each code; chance = sigmoid(logit).
    """

    codes: tuple[str, ...]
    rows: Int[np.ndarray, " b"]
    patient_ids: Int[np.ndarray, " b"]
    labels: UInt8[np.ndarray, "b c"]
    logits: Float[np.ndarray, "b c"]

    def of_code(self, code: str) -> tuple[UInt8[np.ndarray, " b"], Float[np.ndarray, " b"]]:
        """The labels of one code, and the chances that the model gives it; ECGError if it predicts no such code."""
        if code not in self.codes:
            raise ECGError(f"This model does not predict {code}; choose from {', '.join(self.codes)}.")
        column = self.codes.index(code)
        return self.labels[:, column], expit(self.logits[:, column])


@dataclass(frozen=True)
class Evaluation:
    """How well one frozen model predicts the codes of unseen patients."""

    name: str
    probe: Probe
    auroc: Scores
    auprc: Scores
    prevalence: Float[np.ndarray, " c"]
    test_ecgs: int
    test_patients: int
    predictions: Predictions

    def table(self) -> pd.DataFrame:
        """One row per code: positives among the test ECGs, prevalence, AUROC and AUPRC with their intervals."""
        rows = []
        for index, code in enumerate(self.probe.codes):
            roc, prc = self.auroc.of_code(index), self.auprc.of_code(index)
            rows.append(
                {
                    "code": code,
                    "positives": round(self.prevalence[index] * self.test_ecgs),
                    "prevalence": self.prevalence[index],
                    "auroc": roc.value,
                    "auroc_low": roc.low,
                    "auroc_high": roc.high,
                    "auprc": prc.value,
                    "auprc_low": prc.low,
                    "auprc_high": prc.high,
                }
            )
        return pd.DataFrame(rows).set_index("code")

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
    """The codes of a cohort that at least `minimum` training ECGs have, and one ECG of each other part.

    Of a store that has `classes`, codes with their ancestors that are frequent enough, only these; else the codes as
    they stand in the index.
    """
    parts = [store.index.iloc[places] for places in split.places(store.index)]
    classes = store.meta.get("classes")
    if classes is None:
        classes = sorted({ancestors(code)[-1] for part in parts for codes in part.codes for code in codes})
    counts = np.array([_positives(part, classes) for part in parts])
    enough = (counts[0] >= minimum) & (counts[1:] > 0).all(axis=0)
    codes = [code for code, is_so in zip(classes, enough, strict=True) if is_so]
    if not codes:
        raise ECGError(f"No code of {store.folder} is on {minimum} training ECGs or more; use a larger cohort.")
    return tuple(sorted(codes))


def _positives(index: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    return label_matrix(index.codes.tolist(), classes).sum(axis=0, dtype=np.int64)


def evaluate(
    embedding: Embedding,
    index: pd.DataFrame,
    codes: Sequence[str],
    *,
    name: str = "LAMAE",
    split: Split | None = None,
    representation: str = "heart",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Fit a probe on the training patients, choose its penalty on the validation patients, score the test patients.

    embedding, index: the embedded ECGs and their rows of the store's index, in one order. Intervals are
    95 % percentiles over `n_bootstrap` bootstrap resamples of test patients.
    """
    split = split or Split()
    x, labels = features(embedding, representation), label_matrix(index.codes.tolist(), codes)
    train, validation, test = split.places(index)
    if min(len(train), len(validation), len(test)) == 0:
        raise ECGError("A part of the split has no ECGs; use a larger cohort or give the part more folds.")
    probe = fit_probe(x, labels, codes, train, validation, representation=representation)
    return score_probe(probe, x[test], index.iloc[test], name=name, n_bootstrap=n_bootstrap, seed=seed)


def score_probe(
    probe: Probe,
    x: Float[np.ndarray, "b d"],
    index: pd.DataFrame,
    *,
    name: str = "LAMAE",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Score a probe on ECGs that it was not fitted on: x is what it reads of each, index their rows of the store's."""
    if len(index) == 0:
        raise ECGError("There is no ECG to score the probe on; choose folds of the cohort that have some.")
    patients = index.patient_id.to_numpy()
    weights = patient_bootstrap(patients, n_bootstrap, seed)
    labels, logits = label_matrix(index.codes.tolist(), probe.codes), probe.logits(x)
    return Evaluation(
        name,
        probe,
        auroc(labels, logits, weights),
        auprc(labels, logits, weights),
        labels.mean(axis=0),
        len(index),
        len(np.unique(patients)),
        Predictions(probe.codes, index.index.to_numpy(), patients, labels, logits),
    )


def compare(ours: Evaluation, theirs: Evaluation) -> dict:
    """The macro AUROC and AUPRC of one model above another's, paired over the same test patients."""
    return {
        "macro_auroc_difference": asdict(macro_difference(ours.auroc, theirs.auroc)),
        "macro_auprc_difference": asdict(macro_difference(ours.auprc, theirs.auprc)),
    }
