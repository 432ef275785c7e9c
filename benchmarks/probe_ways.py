"""What the probe saves: axes of the smaller Gram matrix, and each C begun where the one before it ended.

    OMP_NUM_THREADS=1 python benchmarks/probe_ways.py [--ecgs 1120] [--features 4176] [--codes 23] [--rounds 5]

The cohort is that of probe_at_scale.py, as large as PTB-XL's part in the studies, with the latents of all leads as
features. Processor time, in turns; the optima of both ways are equal, or it says so and fails.
"""

import argparse
import sys

import torch

from lamae_toolkit.evaluation.logistic_regression import (
    PrincipalAxes,
    Standardized,
    logistic_regressions,
    principal_axes,
)
from measuring import head, in_turns, machine, median_and_range, row
from probe_at_scale import random_cohort

CS = (0.0003, 0.001, 0.003, 0.01, 0.03)


def axes_of_features(learned: Standardized) -> PrincipalAxes:
    """The axes from the matrix of features times features, however few ECGs there are."""
    z = torch.cat([z for z, _ in learned.pieces()])
    square, vectors = torch.linalg.eigh(z.T @ z)
    return PrincipalAxes(square.clamp(min=0).sqrt(), vectors.T, z @ vectors)


def fits(learned: Standardized, axes: PrincipalAxes, warm: bool) -> list[torch.Tensor]:
    """The weights for each C, from the smallest on."""
    zero = learned.mean.new_zeros(learned.labels.shape[1], learned.x.shape[1])
    weight, bias, found = zero, zero[:, 0], []
    for C in CS:
        weight, bias = logistic_regressions(learned, axes, C, weight if warm else zero, bias if warm else zero[:, 0])
        found.append(weight)
    return found


def main() -> int:
    """Print both ratios; 1 if an optimum differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ecgs", type=int, default=1120)
    parser.add_argument("--features", type=int, default=4176)
    parser.add_argument("--codes", type=int, default=23)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    x, labels = random_cohort(chosen.ecgs, chosen.features, chosen.codes, "cpu")
    kept = (labels.sum(axis=0) > 0) & (labels.sum(axis=0) < len(labels))
    learned = Standardized.of(torch.from_numpy(x), torch.from_numpy(labels[:, kept]), False, 2**30)
    axes = principal_axes(learned)
    ways = {
        "axes, by ECGs x ECGs": lambda: principal_axes(learned),
        "axes, by features x features": lambda: axes_of_features(learned),
        f"{len(CS)} values of C, each from the one before": lambda: fits(learned, axes, warm=True),
        f"{len(CS)} values of C, each from zero": lambda: fits(learned, axes, warm=False),
    }
    print(f"{machine('cpu', 1)}: {chosen.ecgs} ECGs, {chosen.features} features, {kept.sum()} codes\n")
    taken = in_turns(ways, chosen.rounds, seconds=0.0)
    seconds = {name: [one.processor_s for one in spent] for name, spent in taken.items()}
    print(head("", "s", "ratio to the line above"))
    before: list[float] = []
    for number, (name, spent) in enumerate(seconds.items()):
        ratio = [now / then for now, then in zip(spent, before, strict=True)] if number % 2 else []
        print(row(name, median_and_range(spent), median_and_range(ratio) if ratio else ""))
        before = spent
    pairs = zip(fits(learned, axes, warm=True), fits(learned, axes_of_features(learned), warm=False), strict=True)
    furthest = max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)
    print(f"\nThe optima differ by at most {furthest:.1g} of the greatest weight.")
    return int(furthest > 1e-2)


if __name__ == "__main__":
    sys.exit(main())
