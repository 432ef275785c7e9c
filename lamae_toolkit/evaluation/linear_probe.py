"""The linear probe: a logistic regression for each ICD-10 code on the latents of a frozen model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from scipy.special import expit, logit
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.logistic_regression import Standardized, logistic_regressions, principal_axes
from lamae_toolkit.evaluation.metrics import auroc_and_auprc, mean_of_defined
from lamae_toolkit.evaluation.probe_file import REMEDY, probe_text, probe_values
from lamae_toolkit.files import atomic_write
from lamae_toolkit.icd10 import column_of
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.model.pretrained import shipped_or_own

PROBE_FILE = "probe.json"
REPRESENTATIONS = ("heart", "summary", "leads", "per_lead")
"""What the features of a probe are: the pooled heart token; the summary of the latents by mean and standard deviation
over leads and time; the latents of all leads next to each other, each with its standard deviation over time; or these
and the summary. The first two do not depend on how many leads there are or in which order."""
BY_LEAD = ("leads", "per_lead")
"""The representations that have features for each of the twelve leads, in the order of LEADS."""
REPRESENTATION_NAMES = {
    "per_lead": "all lead latents",
    "leads": "lead latents, no summary",
    "summary": "summary of the latents",
    "heart": "heart token",
    "trained": "trained on labels",
}
"""The representations in words, and the mark of a model that was trained on the labels instead."""


def features(embedding: Embedding, representation: str = "heart") -> Float[np.ndarray, "b d"]:
    """The features of each ECG for a probe, one row per ECG; representation: one of REPRESENTATIONS."""
    return chosen_latents(embedding, representation).float().cpu().numpy()


def chosen_latents(embedding: Embedding, representation: str) -> Float[Tensor, "b d"]:
    """`features` as a tensor, through which a gradient may flow; ECGError if there is no such representation."""
    if representation not in REPRESENTATIONS:
        raise ECGError(f"There is no representation {representation!r}; choose from {', '.join(REPRESENTATIONS)}.")
    if representation not in BY_LEAD:
        return getattr(embedding, representation)
    leads = [x.flatten(1) for x in lead_features(embedding)]
    return torch.cat(leads + [embedding.summary] * (representation == "per_lead"), dim=1)


def lead_features(
    embedding: Embedding,
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b l d"], Float[Tensor, "b l a"]]:
    """What a probe on "leads" reads of each lead: mean and standard deviation over time of its latents, amplitude."""
    return embedding.per_lead, embedding.per_lead_std, embedding.amplitude


def feature_sizes(model: LAMAE, representation: str) -> tuple[int, int]:
    """How many features a probe reads of each of the twelve leads, and of the ECG as one; 0 if it reads none."""
    d, amplitudes = model.config.width, model.config.amplitudes
    of_ecg = {"heart": model.pooling.width(amplitudes), "leads": 0}.get(representation, 5 * d)
    return (2 * d + amplitudes if representation in BY_LEAD else 0), of_ecg


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier on a frozen model: p(code) = sigmoid(weight . (features - mean) / scale + bias).

    codes: the ICD-10 codes, in the order of the rows of weight. representation: what the features are, one of
    REPRESENTATIONS. mean, scale: (d,), of the training ECGs, for each lead's features of those that have the lead.
    weight: (c, d). bias: (c,). C: inverse regularization strength as in scikit-learn, chosen on validation patients.
    prevalence: (c,), the share of the training ECGs that have each code; None in files of version 0.1. Raises ECGError
    when it is loaded from a folder without such a file or from a damaged file, or is given features of another model.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(0, rng), rng).recording
        model = lt.LAMAE.from_pretrained("lamae-mini-ptbxl")
        probe = lt.Probe.load("lamae-mini-ptbxl")
        probabilities = lt.predict(model, probe, lt.collate([ecg]))
    """

    codes: tuple[str, ...]
    representation: str
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]
    C: float
    prevalence: Float[np.ndarray, " c"] | None = None

    def column(self, code: str) -> int:
        """The index of a code among `codes`; ECGError if the probe does not predict it."""
        return column_of(self.codes, code)

    def usual_log_odds(self) -> Float[np.ndarray, " c"]:
        """The log-odds of each code's prevalence; without prevalence (version 0.1), those of the average ECG."""
        return self.bias if self.prevalence is None else logit(self.prevalence)

    def logits(self, x: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b c"]:
        """The log-odds of each code."""
        self.check_width(x.shape[1])
        pieces = (x[start : start + 4096] for start in range(0, max(len(x), 1), 4096))  # bounds the memory
        return np.concatenate([self._standardized(piece) @ self.weight.T + self.bias for piece in pieces])

    def _standardized(self, x: np.ndarray) -> np.ndarray:
        """The standardized features: (x - mean) / scale, and 0 for those of an absent lead.

        With features of single leads, one that is exactly 0 is of an absent lead (see `Embedding`): those of a valid
        lead never are.
        """
        z = (x - self.mean) / self.scale
        if self.representation in BY_LEAD:
            z[x == 0] = 0
        return z

    def check_width(self, width: int) -> None:
        """ECGError if the probe has another number of features per ECG: it was fitted on another model."""
        if width != len(self.mean):
            raise ECGError(
                f"The probe reads {len(self.mean)} features per ECG, but this model gives {width};"
                " use the probe that was fitted on this model."
            )

    def predict_proba(self, x: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b c"]:
        """The probability of each code, between 0 and 1."""
        return expit(self.logits(x))

    def save(self, folder: Path | str, file: str = PROBE_FILE) -> None:
        """Write the probe into a checkpoint's folder."""
        with atomic_write(Path(folder) / file) as partial:
            partial.write_text(probe_text(vars(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str, file: str = PROBE_FILE) -> "Probe":
        """Read a probe from a checkpoint's folder, or of shipped weights by name; ECGError if there is none.

        file: `probe.json` predicts ICD-10 codes; the shipped weights also have `probe_superclasses.json`, which
        predicts the five diagnostic superclasses of PTB-XL.
        """
        path = shipped_or_own(folder) / file
        if not path.is_file():
            raise ECGError(f"{folder} has no {file}, so it predicts no codes; run `lamae evaluate` on it first.")
        values = probe_values(path)
        if values["representation"] not in REPRESENTATIONS:
            raise ECGError(f"{path} is damaged: there is no representation {values['representation']!r}; {REMEDY}.")
        return cls(**values)


def fit_probe(
    x: Float[np.ndarray, "b d"],
    labels: UInt8[np.ndarray, "b c"],
    codes: Sequence[str],
    train: np.ndarray,
    validation: np.ndarray,
    *,
    representation: str = "heart",
    Cs: Sequence[float] = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.3, 3.0, 30.0),
    device: torch.device | str = "cpu",
    memory_bytes: int = 2**30,
) -> Probe:
    """Fit one logistic regression per ICD-10 code on the training ECGs. An absent lead counts as an average lead.

    x: (b, d), the features of each ECG, from `features`. labels: (b, c), 1 where an ECG has a code. train, validation:
    row numbers of x. representation: what the features are, one of REPRESENTATIONS. Cs: candidates for C, one C
    for all codes; they are tried from the smallest on, as long as the macro AUROC on the validation ECGs rises.
    device: where to compute; it holds x and the labels of both parts and, next to them, about
    `memory_bytes`; L-BFGS keeps about 25 numbers per weight in the main memory.

    Raises ECGError if a code is on no or on every training ECG, if no code can be scored on the validation ECGs, if
    the device cannot hold the data, or if the regressions do not converge.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        rng = np.random.default_rng(0)
        x = rng.normal(size=(200, 8)).astype(np.float32)
        labels = (x[:, :1] > 0).astype(np.uint8)
        probe = lt.fit_probe(x, labels, ["I48.91"], train=np.arange(150), validation=np.arange(150, 200))
        probabilities = probe.predict_proba(x)
    """
    device = torch.device(device)
    for code, column in zip(codes, labels[train].T, strict=True):
        if column.min() == column.max():
            raise ECGError(f"No probe can learn {code}: {'no' if column.max() == 0 else 'every'} training ECG has it.")
    _check_memory(x, labels, len(train), len(validation), memory_bytes, device)
    training, validating = (
        (torch.from_numpy(x[rows]).to(device), torch.from_numpy(labels[rows]).to(device))
        for rows in (train, validation)
    )
    learned = Standardized.of(*training, representation in BY_LEAD, memory_bytes)
    scored = learned._replace(x=validating[0], labels=validating[1])
    axes, best, best_score = principal_axes(learned), None, -np.inf
    weight, bias = learned.mean.new_zeros(len(codes), x.shape[1]), learned.mean.new_zeros(len(codes))
    no_resamples = np.empty((0, len(validation)), dtype=np.int32)
    for C in sorted(Cs):
        weight, bias = logistic_regressions(learned, axes, C, weight, bias)
        logits = torch.cat([torch.addmm(bias, z, weight.T) for z, _ in scored.pieces()]).cpu().numpy()
        scores, _ = auroc_and_auprc(labels[validation], logits, no_resamples, device=device, memory_bytes=memory_bytes)
        score = float(mean_of_defined(scores.value))
        if not score > best_score:
            break
        best, best_score = (weight, bias, C), score
    if best is None:
        raise ECGError("No code has both positive and negative ECGs among the validation patients; use more ECGs.")
    fitted: Any = [value.cpu().numpy() for value in (learned.mean, learned.scale, *best[:2])]
    prevalence = labels[train].mean(axis=0, dtype=np.float64)
    return Probe(tuple(codes), representation, fitted[0], fitted[1], fitted[2], fitted[3], best[2], prevalence)


def _check_memory(
    x: np.ndarray, labels: np.ndarray, train: int, validation: int, memory_bytes: int, device: torch.device
) -> None:
    """Refuse data that do not fit into the GPU before the work begins (ECGError)."""
    if device.type != "cuda":
        return
    torch.cuda.empty_cache()  # memory that PyTorch caches from embedding is free as well
    needed = (x.nbytes + labels.nbytes) * (train + validation) / len(x) + memory_bytes
    needed += 8 * labels.shape[1] * (validation + 10 * x.shape[1])  # log-odds, weights and their gradients
    free = torch.cuda.mem_get_info(device)[0]
    if needed > free:
        raise ECGError(
            f"The probe needs {needed / 2**30:.0f} GiB on {device}, which has {free / 2**30:.0f} GiB free; probe a"
            " smaller representation (heart, summary), or compute on the CPU."
        )


def probe_features(embedding: Embedding, batch: Batch, probe: Probe) -> Float[Tensor, "b d"]:
    """The features for a probe of ECGs that may lack leads: an absent lead counts as an average lead.

    The representations "heart" and "summary" are made of the leads that are available, whichever they are. "leads" and
    "per_lead" have features for each of the twelve leads, in the order of LEADS; those of an absent lead take the
    probe's mean, so that (features - mean) / scale = 0: an absent lead is no evidence for a code or against it. Zeros
    would be read as a lead unlike that of any patient. 64-bit, on the CPU; a gradient flows through to the embedding.
    """
    if probe.representation in BY_LEAD:
        rows = torch.tensor([LEADS.index(name) for name in batch.leads], device=embedding.per_lead.device)
        of_twelve = [
            x.new_zeros(len(x), len(LEADS), x.shape[2]).index_copy(1, rows, x) for x in lead_features(embedding)
        ]
        embedding = embedding._replace(**dict(zip(("per_lead", "per_lead_std", "amplitude"), of_twelve, strict=True)))
    x = chosen_latents(embedding, probe.representation).cpu().double()
    probe.check_width(x.shape[1])
    # Features that are exactly 0 are of an absent lead, see `Embedding`.
    return torch.where(x == 0, torch.from_numpy(probe.mean).double(), x) if probe.representation in BY_LEAD else x


def weights_by_lead(
    probe: Probe, leads: Sequence[str], sizes: Sequence[int]
) -> list[tuple[Float[Tensor, "l d c"], Float[Tensor, "l d"]]]:
    """What a probe multiplies each part of the `lead_features` of these leads by.

    sizes: the numbers of each part for a lead. For each part weight / scale and, in the units of the features, the mean
    that is subtracted first. 64-bit, on the CPU.
    """
    rows, parts, start = [LEADS.index(name) for name in leads], [], 0
    for size in sizes:
        some = slice(start, start + len(LEADS) * size)
        weight = torch.from_numpy((probe.weight[:, some] / probe.scale[some]).astype(np.float64))
        mean = torch.from_numpy(probe.mean[some].astype(np.float64))
        by_lead = rearrange(weight, "c (l d) -> l d c", l=len(LEADS), d=size)[rows]
        parts.append((by_lead, rearrange(mean, "(l d) -> l d", l=len(LEADS), d=size)[rows]))
        start = some.stop
    return parts


def log_odds(embedding: Embedding, batch: Batch, probe: Probe) -> Float[Tensor, "b c"]:
    """The log-odds of each code for ECGs that may lack leads, as a tensor: a gradient flows through to the embedding.

    `Probe.logits` of `probe_features`.
    """
    mean, scale, weight, bias = (
        torch.from_numpy(values.astype(np.float64)) for values in (probe.mean, probe.scale, probe.weight, probe.bias)
    )
    return (probe_features(embedding, batch, probe) - mean) / scale @ weight.T + bias


@torch.inference_mode()
def predict(model: LAMAE, probe: Probe, batch: Batch) -> pd.DataFrame:
    """The probability of each ICD-10 code for each ECG: one row per ECG, one column per code.

    model: the frozen model that the probe was fitted on; its mode (training or not) is restored. batch:
    ECGs in mV at the model's sampling rate (Hz), whose leads may come in any order and may be absent (see
    `probe_features`). Raises ECGError if the probe was fitted on another model.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(0, rng), rng).recording
        model = lt.LAMAE.from_pretrained("lamae-mini-ptbxl")
        probe = lt.Probe.load("lamae-mini-ptbxl")
        print(lt.predict(model, probe, lt.collate([ecg])))
    """
    was_training = model.training
    try:
        probabilities = log_odds(model.eval().embed(batch), batch, probe).sigmoid()
    finally:
        model.train(was_training)
    return pd.DataFrame(probabilities.numpy(), columns=list(probe.codes))
