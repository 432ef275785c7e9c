"""How long it takes to embed MIMIC-IV-ECG with a frozen model.

    python benchmarks/embedding_at_scale.py                        # on a GPU
    python benchmarks/embedding_at_scale.py --device cpu --size mini --ecgs 2000 --batch 16

ECGs come from a store of 20,000 simulated ones, read over and over, and their features for a probe go to the main
memory, as in `lamae evaluate`. All 800,000 are embedded if a first pass shows that this fits into the budget; if not,
the time of the ECGs that do is extrapolated, and the table says so.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from lamae_toolkit.data.store import Store
from lamae_toolkit.evaluation.embed import embed_features, random_encoder
from lamae_toolkit.training.presets import SIZES
from measuring import Section, flop, head, machine, row
from training_ways import cohort

MIMIC_ECGS = 800_000
REPRESENTATION = "summary"


def embedded(size: str, store: Store, seconds: float, chosen: argparse.Namespace) -> tuple[str]:
    """The row of one size."""
    model = random_encoder(SIZES[size]().model)
    one = store.batch([0])
    with torch.inference_mode():
        gflop = flop(lambda: model.embed(one)) / 1e9

    def taken_s(ecgs: int) -> float:
        rows = np.arange(ecgs) % len(store)
        start = time.perf_counter()
        embed_features(
            model,
            store,
            rows,
            (REPRESENTATION,),
            precision="float32" if chosen.device == "cpu" else "bfloat16",
            device=chosen.device,
            batch_size=chosen.batch,
            progress=False,
        )
        return time.perf_counter() - start

    taken_s(2 * chosen.batch)  # what is slow at first is over
    few = min(max(chosen.ecgs // 40, 2 * chosen.batch), chosen.ecgs)
    few_s = taken_s(few)
    ecgs = max(min(chosen.ecgs, int(few * 0.7 * (seconds / few_s - 1))), few)
    rate = ecgs / (few_s if ecgs == few else taken_s(ecgs))
    what = "all of them embedded" if ecgs == MIMIC_ECGS else f"extrapolated from {ecgs:,}"
    cells = (
        f"{gflop:.3g}",
        f"{rate:,.0f}",
        f"{60 * rate:,.0f}",
        f"{rate * gflop / 1e3:.3g}",
        f"{MIMIC_ECGS / rate:,.0f}",
    )
    return (row(size, *cells, what),)


def main(arguments: list[str] | None = None) -> int:
    """Print a row per size; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["small", "base"])
    parser.add_argument("--ecgs", type=int, default=MIMIC_ECGS)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for all sizes together")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    section = Section(chosen.budget)
    print(f"{machine(chosen.device, chosen.threads)}, batches of {chosen.batch}\n")
    with tempfile.TemporaryDirectory() as folder:
        store = cohort(Path(folder), None, min(chosen.ecgs, 20_000))
        columns = "GFLOP/ECG", "ECGs/s", "ECGs a minute", "TFLOP/s", f"seconds for {MIMIC_ECGS:,} ECGs", ""
        print(head("size", *columns), flush=True)
        for number, size in enumerate(chosen.size):
            share_s = section.left_s() / (len(chosen.size) - number)
            print(*section.rows(size, 1, embedded, size, store, share_s, chosen), flush=True)
    return section.failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
