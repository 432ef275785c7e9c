"""How the cost of a training step grows with leads, patches, width and ECGs, of LAMAE and of the plain design.

    python benchmarks/scaling.py [--picture docs/scaling.png] [--rounds 5] [--ecgs 100000]

The sizes are those of `plain_design.py` (demo size), and one of them is changed at a time; for the width, both decoders
are half as wide as the encoder. A step is forward, backward, clipping and optimizer on a batch that is in memory, so
that filters and disk are not in it. Operations are counted; time is processor time of one thread, the median over
rounds in which the two designs take turns; memory is the most that tensors take in a step beyond what they took before
it. Exponents are slopes of logarithms: over the whole range, and over its last step. At the end, random batches from
stores of growing size.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, ScalarFormatter

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.lamae import LAMAE
from measuring import exponent, flop, in_turns, machine, median_and_range, peak_bytes, spent, tiled_store
from plain_design import PAIRS, PlainMAE, our_step, plain_step

AXES = {
    "leads": (1, 2, 3, 6, 12),
    "patches": (10, 20, 40, 80, 160),
    "width": (48, 96, 144, 192, 288),
    "ECGs in a batch": (1, 4, 16, 64),
}
BATCH = 8
DESIGNS = {"LAMAE": ("#0072B2", "o", "-"), "plain design": ("#D55E00", "s", "--")}  # Okabe and Ito: for all eyes
COSTS = {"giga": "GFLOP per ECG", "processor_ms": "CPU ms per ECG", "memory_mb": "MB per ECG"}


@dataclass(frozen=True)
class Cost:
    """What a step costs per ECG: 10^9 operations, milliseconds of a processor, megabytes."""

    giga: float
    processor_ms: float
    memory_mb: float


def steps_at(axis: str, size: int) -> tuple[dict[str, Callable], int]:
    """A step of each design where one size is changed, and how many ECGs it takes."""
    ours, plain = PAIRS["demo size"]
    leads = size if axis == "leads" else len(LEADS)
    batch = size if axis == "ECGs in a batch" else BATCH
    if axis == "patches":
        ours, plain = replace(ours, max_patches=size), replace(plain, patches=size)
    if axis == "width":
        heads, half = size // 48, size // 2
        ours = replace(ours, width=size, heads=heads, pooling_heads=heads, decoder_width=half)
        plain = replace(plain, width=size, heads=heads, decoder_width=half)
    signal = torch.randn(batch, leads, ours.max_patches * ours.patch_samples)
    ecgs = Batch(signal, torch.ones(batch, leads, dtype=torch.bool), LEADS[:leads])
    no_rows = partial(np.arange, 0)
    return {
        "LAMAE": our_step(LAMAE(ours), no_rows, lambda rows: ecgs),
        "plain design": plain_step(PlainMAE(replace(plain, leads=leads)), no_rows, lambda rows: signal),
    }, batch


def costs_along(axis: str, sizes: tuple[int, ...], rounds: int, seconds: float) -> dict[str, list[Cost]]:
    """What each design costs at each size."""
    costs: dict[str, list[Cost]] = {name: [] for name in DESIGNS}
    for size in sizes:
        jobs, batch = steps_at(axis, size)
        taken = in_turns(jobs, rounds, seconds)
        for name, job in jobs.items():
            processor_s = statistics.median(time.processor_s for time in taken[name])
            operations, held = flop(job), peak_bytes(job)
            costs[name].append(Cost(operations / batch / 1e9, 1000 * processor_s / batch, held / batch / 1e6))
    return costs


def print_costs(axis: str, sizes: tuple[int, ...], costs: dict[str, list[Cost]]) -> None:
    """One Markdown table: a row per size, and the exponents below."""
    head = [f"{name}: {what}" for what in COSTS.values() for name in DESIGNS]
    print(f"\n| {axis} | {' | '.join(head)} |\n|{'---|' * (len(head) + 1)}")
    columns = [[getattr(cost, kind) for cost in costs[name]] for kind in COSTS for name in DESIGNS]
    for row, size in enumerate(sizes):
        print(f"| {size} | {' | '.join(f'{column[row]:.3g}' for column in columns)} |")
    slopes = (f"{exponent(sizes, column):.2f}; {exponent(sizes[-2:], column[-2:]):.2f}" for column in columns)
    print(f"| exponent: all; last step | {' | '.join(slopes)} |")


def draw(costs: dict[str, dict[str, list[Cost]]], axes: dict[str, tuple[int, ...]]) -> Figure:
    """All costs against all sizes, on scales where a power is a straight line."""
    page = Figure(figsize=(9.5, 6.0), dpi=72, layout="constrained")
    grid = page.subplots(len(COSTS), len(axes), sharex="col", sharey="row")
    for column, (axis, sizes) in enumerate(axes.items()):
        for row, (kind, what) in enumerate(COSTS.items()):
            ax = grid[row][column]
            for name, (color, mark, line) in DESIGNS.items():
                values = [getattr(cost, kind) for cost in costs[axis][name]]
                ax.loglog(sizes, values, color=color, marker=mark, linestyle=line, markersize=4, label=name)
            ax.grid(True, color="#e5e9f0", linewidth=0.6)
            ax.set_xticks(sizes)
            ax.xaxis.set_major_formatter(ScalarFormatter())
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            for along in (ax.xaxis, ax.yaxis):
                along.set_minor_locator(NullLocator())
            ax.tick_params(labelsize=8)
            for side in ("top", "right"):
                ax.spines[side].set_visible(False)
            if column == 0:
                ax.set_ylabel(what, fontsize=9)
            if row == len(COSTS) - 1:
                ax.set_xlabel(axis, fontsize=9)
    page.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    return page


def print_stores(folder: Path, largest: int, rounds: int) -> None:
    """Random batches of 256 ECGs from stores of growing size; the files have just been written."""
    signals = np.array(simulate_store(folder / "few", 500, workers=1, progress=False).signals)
    print("\n| ECGs in the store | GB | ECGs/s on the clock | CPU ms per ECG |\n|---|---|---|---|")
    for ecgs in (largest // 100, largest // 10, largest):
        store, rng = tiled_store(folder / str(ecgs), signals, ecgs), np.random.default_rng(0)
        rows = partial(rng.integers, 0, ecgs, 256)
        times = [spent(lambda: store.batch(rows()), 1.0) for _ in range(rounds)]  # noqa: B023
        rate = median_and_range([256 / time.clock_s for time in times], 0)
        processor = median_and_range([1000 * time.processor_s / 256 for time in times], 4)
        print(f"| {ecgs:,} | {store.signals.nbytes / 1e9:.2f} | {rate} | {processor} |", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="a PNG file to draw to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per step and round")
    parser.add_argument("--ecgs", type=int, default=100_000, help="of the largest store, 24 kB each")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    print(f"{machine('cpu', 1)}, float32")
    costs = {}
    for axis, sizes in AXES.items():
        costs[axis] = costs_along(axis, sizes, chosen.rounds, chosen.seconds)
        print_costs(axis, sizes, costs[axis])
    if chosen.picture:
        with atomic_write(chosen.picture) as partial:
            draw(costs, AXES).savefig(partial, format="png")
    with tempfile.TemporaryDirectory() as folder:
        print_stores(Path(folder), chosen.ecgs, chosen.rounds)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
