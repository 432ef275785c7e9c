"""How long training waits for its ECGs: resident on the device, streamed to it, or read when they are due.

    python benchmarks/feed_speed.py [--size demo] [--batch 16] [--ecgs 5000] [--cold]
    python benchmarks/feed_speed.py --device cuda --size small base large --batch 256 --ecgs 100000

In one run, in turns: steps that get the same batch again and again, the floor; a batch read by `Store.batch` when it is
due; and the two ways of `lamae_toolkit.training.loader`. `waits` is the share of a step in which the loop waits for its
batch. A GPU works while the loop waits, so there `idle` is what counts: the share of the time in which no kernel runs,
from PyTorch's profiler, next to that of the same batch again. The feed alone is what it gives to a model that takes no
time. Before that, what it costs to know which ECGs are next among the 560,000 that one would train on. Medians and
ranges.

--cold: before every pass the store is taken out of the memory in which the system keeps files (Linux), so that the
disk is read. --trace FOLDER: a trace of each way, to be looked at in Perfetto or chrome://tracing.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.format import SIGNALS
from lamae_toolkit.data.store import Store
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.loader import Shuffle, load_batches
from lamae_toolkit.training.presets import SIZES
from lamae_toolkit.training.step import RuntimeConfig
from measuring import Section, head, idle_share, machine, median_and_range, row, tiled_store, trace, training_step, wait

AGAIN, DUE = "the same again", "read when due"
WAYS = (AGAIN, DUE, "resident", "streamed")
ROWS = 560_000
"""ECGs in the training folds of MIMIC-IV-ECG, about."""
NOT_TIMED = 3
"""First steps of a pass, in which a thread starts and memory is taken."""


@dataclass(frozen=True)
class Pass:
    """What a step took in one pass, and for how much of it the loop waited for its batch."""

    step_s: float
    waited_s: float


def timed(batches: Iterator[Batch], step: Callable[[Batch], object], steps: int, device: torch.device) -> Pass:
    """Take so many steps."""
    for _ in range(NOT_TIMED):
        step(next(batches))
    wait(device)
    waited, start = 0.0, time.perf_counter()
    for _ in range(steps):
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        step(batch)
    wait(device)
    return Pass((time.perf_counter() - start) / steps, waited / steps)


@contextmanager
def fed(way: str, store: Store, shuffle: Shuffle, steps: int, here: DistributedContext) -> Iterator[Iterator[Batch]]:
    """The batches of so many timed steps and of those before them."""
    all_steps = range(steps + NOT_TIMED)
    if way == AGAIN:
        yield repeat(store.batch(shuffle.rows_of(0), here.device))
    elif way == DUE:
        yield (store.batch(shuffle.rows_of(step), here.device) for step in all_steps)
    else:
        with load_batches(store, shuffle, all_steps, here, way, progress=False) as batches:
            yield (batch for batch, _ in batches)


def trained(config: LAMAEConfig, here: DistributedContext) -> Callable[[Batch], object]:
    """A function that trains a new model for one step; in half precision on a GPU."""
    torch.manual_seed(0)
    model = LAMAE(config).to(here.device).train()
    return training_step(model, here, RuntimeConfig(precision="bfloat16" if here.device.type == "cuda" else "float32"))


def opened(folder: Path, cold: bool) -> Store:
    """The store; if it is to be cold, the system is told first to keep nothing of it, which it does of closed files."""
    if cold:
        with open(folder / SIGNALS, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return Store.open(folder)


def print_shuffling(batch: int) -> None:
    """What it costs per step to know which ECGs are next, in time of the processor."""
    rows, steps = np.arange(ROWS), 10
    start = time.process_time()
    for step in range(steps):  # as it was until each epoch was shuffled once
        np.random.default_rng([0, 0]).permutation(rows)[step * batch : (step + 1) * batch]
    every_step_s = (time.process_time() - start) / steps
    shuffle = Shuffle(rows, batch, 0)
    start = time.process_time()
    for step in range(shuffle.steps_per_epoch):
        shuffle.rows_of(step)
    once_s = (time.process_time() - start) / shuffle.steps_per_epoch
    print(
        f"which of {ROWS} ECGs are next, ms per step: {1e3 * every_step_s:.2f} if all are shuffled at every step,"
        f" {1e3 * once_s:.4f} if once an epoch"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure the sizes that are asked for; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", nargs="+", choices=("demo", *SIZES), default=["demo"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--ecgs", type=int, default=5000, help="ECGs in the store, which is drawn for the purpose")
    parser.add_argument("--steps", type=int, default=8, help="timed steps in a pass")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--trace", type=Path, default=None)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no size begins")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    here = DistributedContext(0, 1, torch.device(chosen.device))
    section = Section(chosen.budget)
    print(
        f"{machine(here.device, chosen.threads)}, batches of {chosen.batch} of {chosen.ecgs} ECGs,"
        f" {chosen.steps} steps, {chosen.rounds} rounds{', from the disk' if chosen.cold else ''}",
        flush=True,
    )
    print_shuffling(chosen.batch)
    with tempfile.TemporaryDirectory() as folder:
        drawn = np.random.default_rng(0).normal(0, 300, (200, 12, 1000)).astype(np.int16)
        tiled_store(Path(folder) / "store", drawn, chosen.ecgs)
        for size in chosen.size:
            print(*section.rows(size, 1, report, size, Path(folder) / "store", here, chosen), sep="\n", flush=True)
    return section.failed


def report(size: str, folder: Path, here: DistributedContext, chosen: argparse.Namespace) -> tuple[str, ...]:
    """The table of one size, measured in all ways, in turns."""
    step = trained(LAMAEConfig() if size == "demo" else SIZES[size](batch_size=chosen.batch).model, here)
    shuffle, device = Shuffle(np.arange(chosen.ecgs), chosen.batch, 0), here.device
    steps = {"training": (step, chosen.steps), "alone": (lambda batch: None, 10 * chosen.steps)}
    passes: dict[tuple[str, str], list[Pass]] = {(way, job): [] for way in WAYS for job in steps}
    for _ in range(chosen.rounds):
        for way, job in passes:
            action, count = steps[job]
            with fed(way, opened(folder, chosen.cold), shuffle, count, here) as batches:
                passes[way, job].append(timed(batches, action, count, device))
    idle = {}
    if device.type == "cuda" or chosen.trace is not None:
        for way in WAYS:
            with fed(way, opened(folder, chosen.cold), shuffle, 2 * chosen.steps, here) as batches:
                timed(batches, step, chosen.steps, device)
                events = trace(lambda batches=batches: [step(next(batches)) for _ in range(chosen.steps)], device)
            if device.type == "cuda":
                idle[way] = idle_share(events)
            if chosen.trace is not None:
                chosen.trace.mkdir(parents=True, exist_ok=True)
                file = chosen.trace / f"{size} {way}.json".replace(" ", "_")
                file.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")
    lines = ["", head(size, "ms per step", "waits, %", "ECGs/s of the feed alone", "idle, %")]
    for way in WAYS:
        taken, alone = passes[way, "training"], passes[way, "alone"]
        step_ms = median_and_range([1e3 * one.step_s for one in taken], 1)
        waits = median_and_range([100 * one.waited_s / one.step_s for one in taken])
        rate = "" if way == AGAIN else median_and_range([chosen.batch / one.step_s for one in alone], 0)
        lines.append(row(way, step_ms, waits, rate, f"{100 * idle[way]:.1f}" if way in idle else ""))
    return tuple(lines)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
