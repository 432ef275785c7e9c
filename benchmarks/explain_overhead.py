"""What it costs to record all attention while lamae-mini-ptbxl reads ECGs, against reading them unrecorded.

    python benchmarks/explain_overhead.py [--rounds 30]

Unrecorded and recorded runs of `embed` take turns in one process, on one thread. Times are processor time, which other
work on the machine disturbs little. Median and range over rounds, of the time and of its ratio to the unrecorded run of
the same round, for one ECG and for 16. Next to them `roll_up`, which records the same and rolls it up, and the largest
difference between the recorded and the unrecorded heart token.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.explain.attention import roll_up
from lamae_toolkit.model.hooks import record_attention
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import golden_signal


def taken_ms(function: Callable[[], object]) -> float:
    """Milliseconds of processor time of one call."""
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


@torch.inference_mode()
def measure(model: LAMAE, batch: Batch, rounds: int) -> None:
    """Print one row per way of reading this batch."""

    def recorded() -> torch.Tensor:
        with record_attention(model):
            return model.embed(batch).heart

    ways = {
        "unrecorded": lambda: model.embed(batch).heart,
        "recorded": recorded,
        "roll_up": lambda: roll_up(model, batch),
    }
    off = float((ways["unrecorded"]() - recorded()).abs().max())
    for function in ways.values():  # the first call of each is slower
        function()
    taken = {name: [] for name in ways}
    for _ in range(rounds):
        for name, function in ways.items():
            taken[name].append(taken_ms(function))
    print(f"\n{len(batch)} ECG(s); recorded and unrecorded heart token differ by at most {off:.1e}")
    for name, times in taken.items():
        ratios = [ours / plain for ours, plain in zip(times, taken["unrecorded"], strict=True)]
        print(
            f"  {name:14s} {statistics.median(times):7.1f} ms ({min(times):.1f} to {max(times):.1f}),"
            f" {statistics.median(ratios):.2f} times unrecorded ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Measure one ECG and sixteen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")
    model = LAMAE.from_pretrained("lamae-mini-ptbxl")
    one = golden_signal(model.config)
    for ecgs in (1, 16):
        batch = Batch(one.signal_mv.repeat(ecgs, 1, 1), one.lead_mask.repeat(ecgs, 1), one.leads)
        measure(model, batch, chosen.rounds)


if __name__ == "__main__":
    main()
