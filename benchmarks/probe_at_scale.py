"""How long a linear probe and its intervals take at the size of MIMIC-IV-ECG, and how much memory.

    python benchmarks/probe_at_scale.py --device cuda [--ecgs 800000] [--features 720] [--codes 1076]

The features are random: correlated, their singular values falling over four powers of ten, as those of latents do.
Codes follow from them and are on 0.1 % to 30 % of the ECGs. Training has 70 % of the ECGs, validation 10 %, test 20 %.
"""

import argparse
import resource
import time

import numpy as np
import torch

from lamae_toolkit.evaluation.linear_probe import fit_probe
from lamae_toolkit.evaluation.metrics import auroc_and_auprc, patient_bootstrap
from measuring import head, machine, row


def random_cohort(ecgs: int, features: int, codes: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (b, d) and labels (b, c), sampled piece by piece."""
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
        x.append((latent @ mixing).cpu())
        odds = latent @ direction / features**0.5 + normal(len(latent), codes)
        labels.append((odds > threshold).to(torch.uint8).cpu())
    return torch.cat(x).numpy(), torch.cat(labels).numpy()


def main() -> None:
    """Print what the probe and its intervals take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ecgs", type=int, default=800_000)
    parser.add_argument("--features", type=int, default=720)
    parser.add_argument("--codes", type=int, default=1076)
    parser.add_argument("--n-bootstrap", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    x, labels = random_cohort(chosen.ecgs, chosen.features, chosen.codes, chosen.device)
    rows = np.arange(chosen.ecgs)
    train, validation, test = np.split(rows, [int(0.7 * chosen.ecgs), int(0.8 * chosen.ecgs)])
    names = [f"code {number}" for number in range(chosen.codes)]

    print(f"{machine(chosen.device, chosen.threads)}: {chosen.ecgs} ECGs, {chosen.features} features\n")
    print(head("", "s"), flush=True)
    start = time.perf_counter()
    probe = fit_probe(x, labels, names, train, validation, Cs=(0.001, 0.01, 0.1), device=chosen.device)
    fitted = time.perf_counter()
    print(row(f"probe of {chosen.codes} codes", f"{fitted - start:.1f}"), flush=True)
    counts = patient_bootstrap(test // 5, chosen.n_bootstrap)
    scores, _ = auroc_and_auprc(labels[test], probe.logits(x[test]), counts, device=chosen.device)
    scored = time.perf_counter()
    print(row(f"{chosen.n_bootstrap} resamples of AUROC and AUPRC", f"{scored - fitted:.1f}"))
    if chosen.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"\nPeak {peak / 2**30:.2f} GiB; macro AUROC {scores.macro()}, C = {probe.C:g}.")


if __name__ == "__main__":
    main()
