"""ICD-10 codes from a frozen model: embed the ECGs, fit a linear probe, score it on other patients."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from scipy.optimize import minimize
from scipy.special import expit
from tqdm.auto import tqdm

from lamae_toolkit.batch import Batch
from lamae_toolkit.config import LAMAEConfig
from lamae_toolkit.ecg import LEADS, ECGError
from lamae_toolkit.files import written_whole
from lamae_toolkit.icd10 import label_matrix
from lamae_toolkit.metrics import Scores, auprc, auroc, macro_difference, patient_bootstrap
from lamae_toolkit.model import LAMAE, Embedding
from lamae_toolkit.store import Store

PROBE_FILE = "probe.json"
REPRESENTATIONS = ("heart", "per_lead")
"""What a probe reads: the pooled heart token, or the latents of the twelve leads side by side."""


@dataclass(frozen=True)
class Split:
    """Which patient-wise folds do what: learn, choose the penalty, and be scored on."""

    train: tuple[int, ...] = tuple(range(14))
    validation: tuple[int, ...] = (14, 15)
    test: tuple[int, ...] = (16, 17, 18, 19)

    def __post_init__(self) -> None:
        together = [*self.train, *self.validation, *self.test]
        if len(set(together)) < len(together):
            raise ECGError("A fold is in two parts of the split, so patients would leak; give each fold one part.")


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
    batch_size: int = 32,
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


def check_rate(model: LAMAE, sampling_rate_hz: float) -> None:
    """Refuse ECGs of another sampling rate than the model's (ECGError): it would read them too fast or too slow."""
    if sampling_rate_hz != model.config.sampling_rate_hz:
        raise ECGError(
            f"The ECGs are sampled at {sampling_rate_hz:g} Hz, but the model reads {model.config.sampling_rate_hz:g}"
            " Hz; pack them at that rate."
        )


def features(embedding: Embedding, representation: str = "heart") -> Float[np.ndarray, "b d"]:
    """The numbers that a probe reads, one row per ECG: "heart" or "per_lead" (see REPRESENTATIONS)."""
    if representation not in REPRESENTATIONS:
        raise ECGError(f"There is no representation {representation!r}; choose from {', '.join(REPRESENTATIONS)}.")
    chosen = embedding.heart if representation == "heart" else embedding.per_lead.flatten(1)
    return chosen.float().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear read-out of a frozen model: chance of code = sigmoid(weight . (features - mean) / scale + bias)."""

    codes: tuple[str, ...]
    representation: str
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]
    penalty: float
    """The inverse penalty C of the logistic regressions, chosen on validation patients."""

    def logits(self, x: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b c"]:
        """The log-odds of each code."""
        if x.shape[1] != len(self.mean):
            raise ECGError(
                f"The probe reads {len(self.mean)} numbers per ECG, but this model gives {x.shape[1]};"
                " use the probe that was fitted on this model."
            )
        return ((x - self.mean) / self.scale) @ self.weight.T + self.bias

    def chances(self, x: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b c"]:
        """The chance of each code, between 0 and 1."""
        return expit(self.logits(x))

    def save(self, folder: Path | str) -> None:
        """Write `probe.json` into a checkpoint's folder."""
        values = {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()
        }
        with written_whole(Path(folder) / PROBE_FILE) as partial:
            partial.write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> "Probe":
        """Read `probe.json` from a checkpoint's folder; ECGError if it is not there."""
        path = Path(folder) / PROBE_FILE
        if not path.is_file():
            raise ECGError(f"{folder} has no {PROBE_FILE}, so it predicts no codes; run `lamae evaluate` on it first.")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            arrays = {name: np.array(values.pop(name)) for name in ("mean", "scale", "weight", "bias")}
            return cls(codes=tuple(values.pop("codes")), **arrays, **values)
        except (ValueError, KeyError, TypeError) as error:
            raise ECGError(f"{path} is damaged; run `lamae evaluate` again.") from error


def fit_probe(
    x: Float[np.ndarray, "b d"],
    labels: UInt8[np.ndarray, "b c"],
    codes: Sequence[str],
    train: np.ndarray,
    validation: np.ndarray,
    *,
    representation: str = "heart",
    penalties: Sequence[float] = (0.003, 0.03, 0.3),
) -> Probe:
    """Fit one logistic regression per code on the training ECGs.

    The penalty, one for all codes, is the one with the best macro AUROC on the validation ECGs.
    train, validation: row numbers of x.
    """
    for code, column in zip(codes, labels[train].T, strict=True):
        if column.min() == column.max():
            raise ECGError(f"No probe can learn {code}: {'no' if column.max() == 0 else 'every'} training ECG has it.")
    mean, scale = x[train].mean(axis=0), x[train].std(axis=0) + 1e-6
    scaled = ((x[train] - mean) / scale).astype(np.float64)
    best, best_score = None, -np.inf
    for penalty in penalties:
        weight, bias = logistic_regressions(scaled, labels[train], penalty)
        probe = Probe(tuple(codes), representation, mean, scale, weight, bias, penalty)
        no_replicates = np.ones((1, len(validation)))
        score = np.nanmean(auroc(labels[validation], probe.logits(x[validation]), no_replicates).value)
        if score > best_score:
            best, best_score = probe, score
    if best is None:
        raise ECGError("No code has both ECGs with it and without it among the validation patients; use more ECGs.")
    return best


def logistic_regressions(
    x: Float[np.ndarray, "b d"], labels: UInt8[np.ndarray, "b c"], penalty: float
) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    """One logistic regression per code, all at once: scikit-learn's optimum, many times sooner.

    Minimises, over weights W and biases, penalty * (sum of cross-entropies) + |W|^2 / 2 by L-BFGS, as
    scikit-learn's LogisticRegression(C=penalty) does for one code. The latents of a model are so
    correlated that this takes thousands of steps; along their principal axes, each divided by the
    curvature there, it takes dozens, and |W| is the same in any rotation.
    """
    b, c, target = len(x), labels.shape[1], labels.astype(np.float64)
    left, spread, axes = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    z, d = left * spread, len(spread)
    share = target.mean(axis=0)
    spread_of_labels = np.maximum(share * (1 - share), 1e-3)[:, None]
    step = 1 / np.sqrt(spread_of_labels * spread**2 / b + 1 / (penalty * b))
    bias_step = 1 / np.sqrt(spread_of_labels[:, 0])

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: c * d].reshape(c, d) * step, flat[c * d :] * bias_step
        logits = z @ weight.T + bias
        loss = (np.logaddexp(0.0, logits) - target * logits).sum() / b + (weight**2).sum() / (2 * penalty * b)
        error = (expit(logits) - target) / b
        gradient = (error.T @ z + weight / (penalty * b)) * step
        return loss, np.concatenate([gradient.ravel(), error.sum(axis=0) * bias_step])

    fit = minimize(loss_and_gradient, np.zeros(c * (d + 1)), method="L-BFGS-B", jac=True,
                   options={"maxiter": 5000, "maxfun": 10000, "gtol": 1e-6, "ftol": 1e-13})  # fmt: skip
    if not fit.success:
        raise ECGError(f"The probe did not converge ({fit.message}); try a smaller penalty C than {penalty:g}.")
    return fit.x[: c * d].reshape(c, d) * step @ axes, fit.x[c * d :] * bias_step


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
                    "auroc": roc.value, "auroc_low": roc.low, "auroc_high": roc.high,
                    "auprc": prc.value, "auprc_low": prc.low, "auprc_high": prc.high,
                }
            )  # fmt: skip
        return pd.DataFrame(rows).set_index("code")

    def to_dict(self) -> dict:
        """All results as plain values, for JSON."""
        return {
            "name": self.name,
            "representation": self.probe.representation,
            "penalty": self.probe.penalty,
            "test_ecgs": self.test_ecgs,
            "test_patients": self.test_patients,
            "macro_auroc": asdict(self.auroc.macro()),
            "macro_auprc": asdict(self.auprc.macro()),
            "macro_prevalence": float(self.prevalence.mean()),
            "codes": self.table().to_dict(orient="index"),
        }


def codes_to_predict(store: Store, split: Split, minimum: int = 10) -> tuple[str, ...]:
    """The codes of a cohort that at least `minimum` training ECGs have, and one ECG of each other part."""
    parts = [store.index.iloc[store.rows(folds)] for folds in (split.train, split.validation, split.test)]
    counts = [part.codes.explode().value_counts() for part in parts]
    codes = [code for code, n in counts[0].items() if n >= minimum and all(code in other for other in counts[1:])]
    if not codes:
        raise ECGError(f"No code of {store.folder} is on {minimum} training ECGs or more; use a larger cohort.")
    return tuple(sorted(codes))


def evaluate(
    embedding: Embedding,
    index: pd.DataFrame,
    codes: Sequence[str],
    *,
    name: str = "LAMAE",
    split: Split | None = None,
    representation: str = "heart",
    replicates: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Fit a probe on the training patients, choose its penalty on the validation patients, score the test patients.

    embedding, index: the embedded ECGs and their rows of the store's index, in one order. Intervals are
    95 % percentiles over `replicates` bootstrap draws of test patients.
    """
    split = split or Split()
    x, labels = features(embedding, representation), label_matrix(index.codes.tolist(), codes)
    train, validation, test = (
        np.flatnonzero(index.fold.isin(folds)) for folds in (split.train, split.validation, split.test)
    )
    if min(len(train), len(validation), len(test)) == 0:
        raise ECGError("A part of the split has no ECGs; use a larger cohort or give the part more folds.")
    probe = fit_probe(x, labels, codes, train, validation, representation=representation)
    patients = index.patient_id.to_numpy()[test]
    weights = patient_bootstrap(patients, replicates, seed)
    logits = probe.logits(x[test])
    return Evaluation(
        name,
        probe,
        auroc(labels[test], logits, weights),
        auprc(labels[test], logits, weights),
        labels[test].mean(axis=0),
        len(test),
        len(np.unique(patients)),
    )


def compare(ours: Evaluation, theirs: Evaluation) -> dict:
    """The macro AUROC and AUPRC of one model above another's, paired over the same test patients."""
    return {
        "macro_auroc_difference": asdict(macro_difference(ours.auroc, theirs.auroc)),
        "macro_auprc_difference": asdict(macro_difference(ours.auprc, theirs.auprc)),
    }


@torch.inference_mode()
def predict(model: LAMAE, probe: Probe, batch: Batch) -> pd.DataFrame:
    """The chance of each code for each ECG of a batch: one row per ECG, one column per code."""
    x = features(model.eval().embed(batch), probe.representation)
    return pd.DataFrame(probe.chances(x), columns=list(probe.codes))
