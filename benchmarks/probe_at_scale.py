"""How long a linear probe and its intervals take at the size of MIMIC-IV-ECG, and how much memory.

    python benchmarks/probe_at_scale.py --device cuda [--ecgs 800000] [--features 720] [--codes 1076]

The features are drawn: correlated, their spread falling over four powers of ten, as latents' does. Codes follow from
them and are on 0.1 % to 30 % of the ECGs. 70 % of the ECGs are learned from, 10 % choose the penalty, 20 % are scored.
"""

import argparse
import resource
import time

import numpy as np
import torch

from lamae_toolkit.evaluation.large_metrics import large_scores, patient_counts
from lamae_toolkit.evaluation.large_probe import fit_large_probe


def drawn(ecgs: int, features: int, codes: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (b, d) and labels (b, c), drawn piece by piece."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device)

    mixing = normal(features, features) * torch.logspace(0, -4, features, device=device)[:, None]
    direction = normal(features, codes)
    share = torch.logspace(-3, np.log10(0.3), codes, device=device)
    threshold = 2**0.5 * torch.special.ndtri(1 - share)  # the odds have a variance of about 1 + 1
    x, labels = [], []
    for start in range(0, ecgs, 20_000):
        latent = normal(min(20_000, ecgs - start), features)
        x.append(latent @ mixing)
        odds = latent @ direction / features**0.5 + normal(len(latent), codes)
        labels.append((odds > threshold).to(torch.uint8))
    return torch.cat(x), torch.cat(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ecgs", type=int, default=800_000)
    parser.add_argument("--features", type=int, default=720)
    parser.add_argument("--codes", type=int, default=1076)
    parser.add_argument("--n-bootstrap", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    x, labels = drawn(chosen.ecgs, chosen.features, chosen.codes, chosen.device)
    rows = np.arange(chosen.ecgs)
    train, validation, test = np.split(rows, [int(0.7 * chosen.ecgs), int(0.8 * chosen.ecgs)])
    names = [f"code {number}" for number in range(chosen.codes)]

    start = time.perf_counter()
    probe = fit_large_probe(x, labels, names, train, validation, Cs=(0.001, 0.01, 0.1))
    fitted = time.perf_counter()
    weight, bias = (torch.from_numpy(values).to(x) for values in (probe.weight / probe.scale, probe.bias))
    mean = torch.from_numpy(probe.mean).to(x)
    logits = torch.cat([(piece - mean) @ weight.T + bias for piece in x[test].split(2**14)])
    counts = patient_counts(test // 5, chosen.n_bootstrap).to(chosen.device)
    scores = large_scores(labels[test], logits, counts).auroc
    scored = time.perf_counter()
    if x.is_cuda:
        name, peak = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated()
    else:
        name, peak = f"CPU, {chosen.threads} threads", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{name}, torch {torch.__version__}: {chosen.ecgs} ECGs, {chosen.features} features, {chosen.codes} codes")
    print(f"probe {fitted - start:.1f} s, {chosen.n_bootstrap} resamples of AUROC and AUPRC {scored - fitted:.1f} s")
    print(f"peak {peak / 2**30:.2f} GiB; macro AUROC {scores.macro()}, C = {probe.C:g}")


if __name__ == "__main__":
    main()
