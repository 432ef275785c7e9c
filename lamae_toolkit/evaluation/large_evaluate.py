"""Predicting a thousand ICD-10 codes for hundreds of thousands of ECGs: `evaluate` in bounded memory, on a device."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from lamae_toolkit.data.store import Store, unpacked
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Evaluation, Predictions, Split
from lamae_toolkit.evaluation.large_metrics import large_scores, patient_counts
from lamae_toolkit.evaluation.large_probe import fit_large_probe
from lamae_toolkit.evaluation.linear_probe import chosen_latents, standardized
from lamae_toolkit.icd10 import label_matrix
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.precision import autocast, check_precision
from lamae_toolkit.model.pretrained import check_rate

LARGE = 50_000
"""From how many ECGs on `lamae evaluate` computes like this, if not told otherwise."""


@torch.inference_mode()
def embed_features(
    model: LAMAE,
    store: Store,
    rows: np.ndarray,
    representation: str = "heart",
    *,
    batch_size: int = 256,
    precision: str = "float32",
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Float[np.ndarray, "b d"]:
    """What a probe reads of these ECGs, and nothing else of what the model knows: 4 bytes per number and ECG.

    The same as `features(embed_rows(model, store, rows), representation)`, which keeps the latents of all leads, 45
    kB per ECG with a model 384 wide. precision: "bfloat16" computes matrix products in 16 bits, which is faster
    on hardware that is made for it.
    """
    check_rate(model, store.sampling_rate_hz)
    check_precision(precision)
    if len(rows) == 0:
        raise ECGError("There is no ECG to embed; choose folds of the cohort that have some.")
    device, rows = torch.device(device), np.asarray(rows, dtype=np.int64)
    model.to(device).eval()
    starts = range(0, len(rows), batch_size)
    coming, x = store.packed(rows[:batch_size]), np.empty((len(rows), 0), dtype=np.float32)
    with tqdm(total=len(rows), desc="embedding", unit="ECG", disable=not progress) as bar:
        for start in starts:
            batch = unpacked(torch.from_numpy(coming).to(device))
            with autocast(device, precision):
                read = chosen_latents(model.embed(batch), representation)
            if start != starts[-1]:  # read while a GPU still computes, which the next line waits for
                coming = store.packed(rows[start + batch_size : start + 2 * batch_size])
            found = read.float().cpu().numpy()
            if start == 0:
                x = np.empty((len(rows), found.shape[1]), dtype=np.float32)
            x[start : start + len(found)] = found
            bar.update(len(found))
    return x


def evaluate_large(
    x: Float[np.ndarray, "b d"],
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
    """What `evaluate` does, with probe, scores and intervals computed by torch on a device: the same to 1e-3 in AUROC.

    x: from `embed_features`; index: the rows of the store's index, in the same order. On the device lie x and the
    labels (a byte each), those of the training and validation ECGs twice, the counts of the resamples (a byte for
    each test ECG), some 45 numbers per weight and, beside them, about `memory_bytes`.
    """
    split, device = split or Split(), torch.device(device)
    train, validation, test = split.places(index)
    if min(len(train), len(validation), len(test)) == 0:
        raise ECGError("A part of the split has no ECGs; use a larger cohort or give the part more folds.")
    labels = label_matrix(index.codes.tolist(), codes)
    _check_memory(x, labels, len(train), len(validation), n_bootstrap * len(test) + memory_bytes, device)
    probe = fit_large_probe(
        torch.from_numpy(x).to(device),
        torch.from_numpy(labels).to(device),
        codes,
        train,
        validation,
        representation=representation,
        memory_bytes=memory_bytes,
    )
    logits = np.empty((len(test), len(codes)), dtype=np.float32)
    for start in range(0, len(test), 4096):
        rows = test[start : start + 4096]
        z = standardized(x[rows], probe.mean, probe.scale, representation)
        logits[start : start + len(rows)] = z @ probe.weight.T + probe.bias
    patients = index.patient_id.to_numpy()[test]
    scores = large_scores(
        torch.from_numpy(labels[test]).to(device),
        torch.from_numpy(logits).to(device),
        patient_counts(patients, n_bootstrap, seed).to(device),
        memory_bytes=memory_bytes,
    )
    return Evaluation(
        name,
        probe,
        scores.auroc,
        scores.auprc,
        labels[test].mean(axis=0),
        len(test),
        len(np.unique(patients)),
        Predictions(probe.codes, index.index.to_numpy()[test], patients, labels[test], logits),
    )


def _check_memory(
    x: np.ndarray, labels: np.ndarray, train: int, validation: int, beside: int, device: torch.device
) -> None:
    """Refuse before an hour's work what a GPU cannot hold (ECGError)."""
    if device.type != "cuda":
        return
    torch.cuda.empty_cache()  # what PyTorch keeps from embedding is free as well
    codes, copied = labels.shape[1], (train + validation) / len(x)
    needed = (x.nbytes + labels.nbytes) * (1 + copied) + beside
    needed += 4 * codes * (validation + 45 * x.shape[1])  # log-odds, and what L-BFGS keeps of each weight
    free = torch.cuda.mem_get_info(device)[0]
    if needed > free:
        raise ECGError(
            f"The probe needs {needed / 2**30:.0f} GiB on {device}, which has {free / 2**30:.0f} GiB free; probe a"
            " smaller representation (heart, summary), or compute on the CPU."
        )
