"""How fast the recipes train on a GPU, as a share of what it can, where the time goes, and which choice pays.

    python benchmarks/gpu_training.py                              # one GPU; Markdown for RESULTS.md
    torchrun --nproc-per-node 8 benchmarks/gpu_training.py         # the recipes alone, on eight
    python benchmarks/gpu_training.py --device cpu [--quick]       # the same code on a CPU

First two ceilings: copying memory, and a large matrix product. Then each recipe of `lamae_toolkit.training.presets`,
compiled (`--ways plain compiled`: without torch.compile, too): throughput, share of the matrix ceiling (MFU: operations
that the model needs, counted, over seconds, over the ceiling), milliseconds of each part of a step (CUDA events),
memory, and the share of time in which the GPU does nothing (torch.profiler), with ECGs from the store and with one
batch that is there already: the difference is waiting for data.
Last, each choice on and off next to the plain float32 path, in turns, with how far its results are from it.

Batches that do not fit are computed in parts. ECGs are simulated, 20,000 on a GPU, unless --store names a cohort.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.store import Store
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.training.distributed import DistributedContext, distributed_training, world_size
from lamae_toolkit.training.presets import SIZES, Size
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import TrainConfig
from measuring import Section, head, in_turns, machine, median_and_range, row, spent
from training_ways import FAST, PLAIN, Training, Way, batches, cohort, ecgs_per_s, idle_share, parts_ms, ways

MIMIC_ECGS = 800_000
WAYS = {"plain": replace(FAST, compiled=False), "compiled": FAST}
PARTS = ("data", "mask", "forward", "backward", "optimizer")
QUICK = Size(
    LAMAEConfig(width=24, heads=2, pooling_heads=2, encoder_depth=1, decoder_width=16),
    TrainConfig(batch_size=8),
    RuntimeConfig(),
)


def ceilings(device: torch.device, quick: bool, seconds: float) -> float:
    """Print what the device can at best; returns the faster matrix product, in operations per second."""
    large = device.type == "cuda" and not quick
    source = torch.ones(2**28 if large else 2**22 if quick else 2**25, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / spent(lambda: target.copy_(source), seconds, device).clock_s
    print(f"copy of {source.nbytes / 2**20:.0f} MiB: {copied / 1e9:.1f} GB/s, read and written")
    edge, rates = 8192 if large else 128 if quick else 1024, []
    for kind in (torch.float32, torch.bfloat16):
        left, right = torch.randn(2, edge, edge, device=device).to(kind)
        torch.matmul(left, right)
        rates.append(2 * edge**3 / spent(lambda: left @ right, seconds, device).clock_s)  # noqa: B023
        print(f"{edge} x {edge} matrix product, {str(kind)[6:]}: {rates[-1] / 1e12:.3g} TFLOP/s")
    return max(rates)


def fitted(size: Size, batch: Batch, way: Way, processes: DistributedContext) -> Training:
    """A training of which a step fits into memory, in as few parts as that takes; one step is done."""
    while True:
        try:
            training = Training(size, way, processes)
            training.step(batch)
            return training
        except torch.OutOfMemoryError:
            if 2 * way.accumulation > len(batch) or processes.world_size > 1:
                raise
        training = None
        torch.cuda.empty_cache()
        way = replace(way, accumulation=2 * way.accumulation)


def recipe_rows(
    name: str,
    size: Size,
    way: Way,
    store: Store,
    ceiling: float,
    steps: int,
    rounds: int,
    processes: DistributedContext,
) -> tuple[str, str]:
    """Two rows of Markdown: how fast a recipe is, and where its time goes."""
    total = size.train.batch_size
    with batches(store, total, processes, "one batch") as same:
        batch = next(same)
        training = fitted(size, batch, way, processes)
        ecgs_per_s(training, same, total, 2)  # what is slow at first is over
        idle_alone, memory_gb = idle_share(training, same, steps), training.peak_gb(batch)
    with batches(store, total, processes, "auto") as fed:
        ecgs_per_s(training, fed, total, 2)
        rates = [ecgs_per_s(training, fed, total, steps) for _ in range(rounds)]
        parts, idle = parts_ms(training, fed, steps), idle_share(training, fed, steps)
    rate, gpus = statistics.median(rates), processes.world_size
    reached = rate * size.gflop_per_ecg * 1e9
    eight = f"{size.hours(8 * rate):.3g}" if gpus == 1 else "-"
    speed = (
        name,
        f"{size.parameters / 1e6:.1f}",
        f"{size.gflop_per_ecg:.3g}",
        f"{total} in {gpus} x {training.way.accumulation}",
        median_and_range(rates, 0 if rate > 100 else 1),
        f"{reached / 1e12:.3g}",
        f"{reached / gpus / ceiling:.1%}",
        f"{memory_gb:.2f}",
        f"{MIMIC_ECGS / rate:,.0f}",
        f"{size.hours(rate):,.3g}",
        eight,
    )
    where = (
        name,
        *(f"{parts.get(part, float('nan')):.1f}" for part in PARTS),
        f"{sum(parts.values()):.1f}",
        f"{idle:.1%}",
        f"{idle_alone:.1%}",
    )
    return row(*speed), row(*where)


def recipes(
    sizes: dict[str, tuple[Size, Way]],
    store: Store,
    ceiling: float,
    steps: int,
    rounds: int,
    section: Section,
    processes: DistributedContext,
) -> None:
    """Print the two tables of recipes, each row of the first as soon as it is there: a GPU's time may end before."""
    on = "this GPU" if processes.world_size == 1 else f"these {processes.world_size}"
    speed = (
        "recipe",
        "M parameters",
        "GFLOP/ECG",
        "batch",
        "ECGs/s",
        "TFLOP/s",
        "MFU",
        "peak GB",
        f"seconds for {MIMIC_ECGS:,} ECGs",
        f"hours for MIMIC-IV-ECG on {on}",
        "on eight, assumed",
    )
    where = ("recipe", *(f"{part} ms" for part in PARTS), "step ms", "idle", "idle with one batch")
    found = []
    print(f"\n{head(*speed)}", flush=True)
    for name, (size, way) in sizes.items():
        arguments = name, size, way, store, ceiling, steps, rounds, processes
        line, parts = section.rows(name, 2, recipe_rows, *arguments)
        print(line, flush=True)
        found.append(parts)
    print("\n" + "\n".join((head(*where), *found)))
    print(
        "\nHours: 100 epochs of 560,000 ECGs. On eight: as if eight GPUs were eight times as fast as one, gradients"
        " sent meanwhile; torchrun measures it. `lamae pretrain` compiles on a CUDA GPU.",
        flush=True,
    )


def choice_row(
    name: str, size: Size, way: Way, batch: Batch, rounds: int, seconds: float, processes: DistributedContext
) -> tuple[str]:
    """A row of Markdown: how much faster one way is than the plain one, and how far its results are from it."""
    if way.graphs and batch.lead_mask.device.type != "cuda":
        return (row(name, "needs a GPU", "", "", "", "", ""),)
    plain, other = Training(size, PLAIN, processes), Training(size, way, processes)
    loss, gradient, change = plain.first_step(batch)
    loss_here, gradient_here, change_here = other.first_step(batch, gradient)
    far = (
        abs(loss_here - loss) / abs(loss),
        *(
            float((here - there).norm() / there.norm())
            for here, there in ((gradient_here, gradient), (change_here, change))
        ),
    )
    jobs: dict[str, Callable] = {"plain": lambda: plain.step(batch), "other": lambda: other.step(batch)}
    taken = in_turns(jobs, rounds, seconds, batch.lead_mask.device)
    clock, processor = (
        [getattr(a, kind) / getattr(b, kind) for a, b in zip(taken["plain"], taken["other"], strict=True)]
        for kind in ("clock_s", "processor_s")
    )
    rate = statistics.median(len(batch) / time.clock_s for time in taken["other"])
    cells = (name, f"{rate:,.3g}", median_and_range(clock), median_and_range(processor))
    return (row(*cells, *(f"{value:.0e}" for value in far)),)


def choices(
    size: Size, store: Store, backend: str, rounds: int, seconds: float, section: Section, processes: DistributedContext
) -> None:
    """Print the table of choices."""
    with batches(store, size.train.batch_size, processes, "one batch") as same:
        batch = next(same)
    columns = ("way", "ECGs/s", "times as fast as plain", "the same in processor time", "loss", "gradient", "update")
    print(f"\n{head(*columns)}")
    for name, way in ways().items():
        way = replace(way, backend=backend)
        arguments = name, size, way, batch, rounds, seconds, processes
        (line,) = section.rows(name, 1, choice_row, *arguments)
        print(line, flush=True)
    print(
        "\nLoss, gradient and update: difference from the plain float32 path in the first step, as a share of it; the"
        " update from the same gradients. Processor time says something on a CPU only."
    )


@contextmanager
def _only(processes: DistributedContext):
    """Print in one process only."""
    if processes.is_main:
        yield
    else:
        with redirect_stdout(StringIO()):
            yield


def main(arguments: list[str] | None = None) -> int:
    """Print all tables; returns how many rows failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--recipes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["compiled"], help="of the recipes, on a GPU")
    parser.add_argument("--no-choices", action="store_true", help="the ceilings and the recipes alone")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no row begins")
    parser.add_argument("--batch", type=int, help="ECGs a step; 1024 on a GPU, 8 on a CPU")
    parser.add_argument("--choices-recipe", choices=SIZES, help="base on a GPU, small on a CPU")
    parser.add_argument("--choices-batch", type=int, help="256 on a GPU, 8 on a CPU")
    parser.add_argument("--store", type=Path, help="a cohort at 100 Hz; simulated without it")
    parser.add_argument("--steps", type=int, help="steps per measurement; 20 on a GPU, 2 on a CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per choice and round")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--quick", action="store_true", help="a toy model: does the command work?")
    chosen = parser.parse_args(arguments)
    on_gpu = chosen.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        parser.exit(1, "No GPU is at hand; --device cpu runs the same code on the processor.\n")
    torch.set_num_threads(chosen.threads)
    batch, choices_batch = chosen.batch or (1024 if on_gpu else 8), chosen.choices_batch or (256 if on_gpu else 8)
    steps, rounds, seconds = chosen.steps or (20 if on_gpu else 2), chosen.rounds, chosen.seconds
    made = {name: SIZES[name](batch_size=batch) for name in chosen.recipes}
    one = SIZES[chosen.choices_recipe or ("base" if on_gpu else "small")](batch_size=choices_batch)
    if chosen.quick:
        made, one, steps, rounds, seconds, batch = {"toy": QUICK}, QUICK, 2, 1, 0.0, 8
    backend = "aot_eager" if chosen.quick and not on_gpu else "inductor"
    ecgs = max(20_000 if on_gpu and not chosen.quick else 64, 4 * batch)
    section = Section(chosen.budget, alone=world_size() == 1)  # else the others would wait for one that failed
    with distributed_training(chosen.device) as processes, _only(processes), tempfile.TemporaryDirectory() as folder:
        print(f"{machine(processes.device, chosen.threads)}, {processes.world_size} process(es)\n", flush=True)
        store = cohort(Path(folder), chosen.store, ecgs)
        ceiling = ceilings(processes.device, chosen.quick, min(seconds, 1.0))
        # On a CPU the recipes are computed in float32, and no compiler is waited for.
        used = {way: WAYS[way] for way in chosen.ways} if on_gpu else {"plain": replace(PLAIN, fused_attention=True)}
        named = {f"{name}, {way}": (size, used[way]) for way in used for name, size in made.items()}
        recipes(named, store, ceiling, steps, rounds, section, processes)
        if processes.world_size == 1 and not chosen.no_choices:
            choices(one, store, backend, rounds, seconds, section, processes)
    return section.failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
