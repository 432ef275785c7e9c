"""How long exact Shapley values of leads take, next to a full run of the model for each of the 4,096 subsets.

    python benchmarks/shapley_speed.py [--threads 2] [--rounds 3] [--sample 120] [--all]

One simulated ECG of twelve leads, one code. Two models of one size: the shipped `lamae-mini-ptbxl`, whose latent
attention is among all tokens, and an untrained one in which only the leads' CLS tokens meet. Full runs are
`model.embed` and the probe on `batch.select(leads)`, one after the other. A sample of them, spread over all sizes of
subsets, is timed, and the time of all 4,096 follows from the mean of each size; --all runs really all of them. In every
round both ways are timed, one after the other; the ratio is taken within a round. Before that, the sampled runs are
checked against the table of subsets. Last, one lead is toggled 50 times: the time of a prediction from the leads that
are left.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from math import comb

import numpy as np
import torch

from lamae_toolkit.data.batch import Batch, collate
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.explain.lead_subsets import subset_log_odds
from lamae_toolkit.explain.shapley import shapley_values
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import WEIGHTS
from lamae_toolkit.simulate.simulator import simulate_patients

SUBSETS = 2 ** len(LEADS)


def seconds(function: Callable[[], object]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def leads_of(subset: int) -> list[str]:
    """The leads of a subset's number."""
    return [name for bit, name in enumerate(LEADS) if subset >> bit & 1]


def spread_sample(count: int) -> list[int]:
    """About `count` subsets, equally many of each size as far as there are so many."""
    rng = np.random.default_rng(0)
    by_size = [[s for s in range(1, SUBSETS) if s.bit_count() == size] for size in range(1, len(LEADS) + 1)]
    each = max(1, count // len(by_size))
    return [int(s) for subsets in by_size for s in rng.choice(subsets, min(each, len(subsets)), replace=False)]


def full_runs(model: LAMAE, probe: Probe, batch: Batch, subsets: list[int]) -> float:
    """The seconds of a full run for every subset, from the mean of each size among these."""
    times: dict[int, list[float]] = {}
    with torch.inference_mode():
        for subset in subsets:
            leads = leads_of(subset)
            times.setdefault(len(leads), []).append(seconds(lambda leads=leads: full_run(model, probe, batch, leads)))
    return sum(comb(len(LEADS), size) * statistics.mean(of_size) for size, of_size in times.items())


def full_run(model: LAMAE, probe: Probe, batch: Batch, leads: list[str]) -> torch.Tensor:
    """The log-odds from some of the leads by the model itself."""
    some = batch.select(leads)
    return log_odds(model.embed(some), some, probe)[0]


def largest_difference(model: LAMAE, probe: Probe, batch: Batch, subsets: list[int]) -> float:
    """Between the table of subsets and full runs, in log-odds."""
    table = subset_log_odds(model, probe, batch)[0]
    with torch.inference_mode():
        return max(float((table[s] - full_run(model, probe, batch, leads_of(s))).abs().max()) for s in subsets)


def toggles(model: LAMAE, probe: Probe, recording: Recording, count: int = 50) -> list[float]:
    """The seconds of a new prediction each time that one lead is turned off or on."""
    encoded, leads, rng = encode_ecg(model, recording, probe), list(LEADS), np.random.default_rng(0)
    encoded.log_odds(leads)
    times = []
    for lead in rng.choice(LEADS[1:], count):
        leads = [name for name in LEADS if (name in leads) != (name == lead)]
        times.append(seconds(lambda leads=leads: encoded.log_odds(leads)))
    return times


def report(name: str, model: LAMAE, probe: Probe, recording: Recording, rounds: int, subsets: list[int]) -> None:
    """Measure one model and print a line for each thing measured."""
    batch = collate([recording])
    print(f"\n{name}")
    difference = largest_difference(model, probe, batch, subsets[:: max(1, len(subsets) // 120)])
    print(f"  largest difference from full runs: {difference:.1e} in log-odds")
    exact, full = [], []
    for _ in range(rounds):
        exact.append(seconds(lambda: shapley_values(subset_log_odds(model, probe, batch)[0].numpy())))
        full.append(full_runs(model, probe, batch, subsets))
    ratio = [slow / quick for slow, quick in zip(full, exact, strict=True)]
    for what, values, unit in (
        ("exact Shapley values, one ECG", exact, "s"),
        (
            f"{SUBSETS:,} full runs, {f'from {len(subsets)} of them' if len(subsets) < SUBSETS - 1 else 'all'}",
            full,
            "s",
        ),
        ("ratio", ratio, "times"),
    ):
        print(f"  {what:44} {statistics.median(values):9.3f} {unit}  ({min(values):.3f} to {max(values):.3f})")
    ms = [1000 * time_s for time_s in toggles(model, probe, recording)]
    print(f"  {'a lead toggled, new prediction, 50 times':44} {statistics.median(ms):9.2f} ms  (worst {max(ms):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=120, help="how many full runs are timed in each round")
    parser.add_argument("--all", action="store_true", help="time really all full runs")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(
        f"{platform.processor() or platform.machine()}, {chosen.threads} threads, float32, torch {torch.__version__},"
        f" median and range of {chosen.rounds} rounds"
    )
    shipped, probe = LAMAE.from_pretrained("lamae-mini-ptbxl").eval(), Probe.load(WEIGHTS / "lamae-mini-ptbxl")
    probe = one_code(probe, "I44.7")
    recording = next(simulate_patients(1, seed=0)).recording
    subsets = list(range(1, SUBSETS)) if chosen.all else spread_sample(chosen.sample)
    report('lamae-mini-ptbxl, tokens "all"', shipped, probe, recording, chosen.rounds, subsets)
    untrained = random_encoder(replace(shipped.config, tokens="cls"))
    report('untrained, the same size, tokens "cls"', untrained, probe, recording, chosen.rounds, subsets)


def one_code(probe: Probe, code: str) -> Probe:
    """The same probe for one of its codes."""
    row = [probe.codes.index(code)]
    return replace(probe, codes=(code,), weight=probe.weight[row], bias=probe.bias[row])


if __name__ == "__main__":
    main()
