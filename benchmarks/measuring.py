"""Tools of the training benchmarks: a step, operations, interleaved timing, memory, traces, a store."""

import json
import platform
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.format import INDEX, META, SIGNALS, patient_fold, store_meta
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS
from lamae_toolkit.files import write_json
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.random_numbers import random_keys
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.step import RuntimeConfig, gradients
from lamae_toolkit.training.trainer import TrainConfig, optimizer


@dataclass(frozen=True)
class Spent:
    """What one call took: seconds on the clock, and seconds of all cores that this process had meanwhile.

    Where other work shares the cores, the second is disturbed less.
    """

    clock_s: float
    processor_s: float


def flop(function: Callable[[], object]) -> int:
    """Operations of one call: its matrix products, attention by its explicit path, a multiply-add as two."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def wait(device: torch.device | str) -> None:
    """Wait until a GPU has done all that it was given; a CPU has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def spent(function: Callable[[], object], seconds: float, device: torch.device | str = "cpu") -> Spent:
    """What a call takes, on average over as many calls as fill these seconds; a GPU is waited for at the end only."""
    calls = 0
    wait(device)
    processor, start = time.process_time(), time.perf_counter()
    while calls == 0 or time.perf_counter() - start < seconds:
        function()
        calls += 1
        if calls % 8 == 0:  # a GPU must not be given work for minutes
            wait(device)
    wait(device)
    return Spent((time.perf_counter() - start) / calls, (time.process_time() - processor) / calls)


def in_turns(
    jobs: dict[str, Callable[[], object]], rounds: int, seconds: float, device: torch.device | str = "cpu"
) -> dict[str, list[Spent]]:
    """What a call of each job takes, in each round: A B C, A B C, ..., after one call of each that does not count."""
    for job in jobs.values():
        job()
    taken: dict[str, list[Spent]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            taken[name].append(spent(job, seconds, device))
    return taken


def median_and_range(values: Sequence[float], digits: int = 2) -> str:
    """The median, and from where to where the values lie."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


class Section:
    """The rows of a benchmark: none begins after so many seconds, and one that fails does not end the others.

    alone: whether this process may go on by itself after an error. failed: how many rows have failed.
    """

    def __init__(self, seconds: float = float("inf"), alone: bool = True) -> None:
        self.seconds, self.alone, self.failed, self.start = seconds, alone, 0, time.perf_counter()

    def left_s(self) -> float:
        """The seconds that are left."""
        return self.seconds - (time.perf_counter() - self.start)

    def rows(self, name: str, count: int, function: Callable[..., tuple[str, ...]], *arguments) -> tuple[str, ...]:
        """The `count` rows that a function returns, or as many that say why there are none."""
        if self.left_s() <= 0:
            return (row(name, f"skipped: {self.seconds:g} s are over"),) * count
        try:
            return function(*arguments)
        except Exception as error:
            if not self.alone:
                raise
            self.failed += 1
            traceback.print_exc()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            message = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
            return (row(name, f"failed: {type(error).__name__}: {message}"),) * count


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def head(*cells: str) -> str:
    """The first two lines of a Markdown table."""
    return f"{row(*cells)}\n{'|---' * len(cells)}|"


def trace(function: Callable[[], object], device: torch.device | str = "cpu", memory: bool = False) -> list[dict]:
    """The events of one call in the order of time, as PyTorch's profiler writes them; times in microseconds."""
    activities = [ProfilerActivity.CPU]
    if torch.device(device).type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, profile_memory=memory) as profiler:
        function()
        wait(device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    return sorted((event for event in events if "ts" in event), key=lambda event: event["ts"])


def peak_bytes(function: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The most that tensors take during a call, beyond what they took before it."""
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        wait(device)
        return torch.cuda.max_memory_allocated(device) - before
    held = peak = 0
    for event in trace(function, memory=True):
        if event["name"] == "[memory]":
            held += event["args"]["Bytes"]
            peak = max(peak, held)
    return peak


def covered(intervals: Sequence[tuple[float, float]]) -> float:
    """How much of the time at least one of these intervals (start, end) covers."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(end - max(start, until), 0.0)
        until = max(until, end)
    return total


def idle_share(events: Sequence[dict], kinds: Sequence[str] = ("kernel",)) -> float:
    """The share of a trace, from its first event of these kinds to its last, in which there is none of them.

    NaN if there is none at all: the profiler may not look at the GPU.
    """
    # A kernel of nccl may only wait for another GPU.
    found = [e for e in events if e.get("cat") in kinds and "dur" in e and not e.get("name", "").startswith("nccl")]
    intervals = [(event["ts"], event["ts"] + event["dur"]) for event in found]
    if not intervals:
        return float("nan")
    return 1 - covered(intervals) / (max(end for _, end in intervals) - min(start for start, _ in intervals))


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """x in cost ~ size^x: the slope of a line through the logarithms (least squares)."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def training_step(model: LAMAE, processes: DistributedContext, runtime: RuntimeConfig) -> Callable[[Batch], Tensor]:
    """A function that trains a model for one step, as `lt.pretrain` does; it returns the loss."""
    optim, epochs = optimizer(model, TrainConfig()), count()

    def step(batch: Batch) -> Tensor:
        optim.zero_grad(set_to_none=True)
        keys = random_keys(0, next(epochs), torch.arange(len(batch), device=processes.device))
        loss = gradients(model, model, batch, keys, runtime, processes)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        return loss

    return step


def tiled_store(folder: Path, signals: np.ndarray, ecgs: int) -> Store:
    """A store of so many ECGs that are these (b, l, t; int16) over and over, written 10,000 at a time."""
    folder.mkdir(parents=True)
    piece = signals[np.arange(min(ecgs, 10_000)) % len(signals)]
    with open(folder / SIGNALS, "wb") as file:
        for start in range(0, ecgs, len(piece)):
            file.write(piece[: ecgs - start].tobytes())
    patients = np.arange(ecgs)
    columns = {
        "patient_id": patients,
        "study_id": patients,
        "age_years": 60.0,
        "sex": "F",
        "codes": [[] for _ in patients],
        "fold": [patient_fold(int(patient)) for patient in patients],
    }
    pd.DataFrame(columns | dict.fromkeys(FLAG_COLUMNS, "")).to_parquet(folder / INDEX)
    samples = signals.shape[2]
    write_json(folder / META, store_meta("the same ECGs over and over", ecgs, samples / 10, 10.0))
    assert signals.shape[1] == len(LEADS)
    return Store.open(folder)


def machine(device: torch.device | str, threads: int) -> str:
    """The device, as a table names it."""
    if torch.device(device).type == "cuda":
        name = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    else:
        name = f"{platform.processor() or platform.machine()}, {threads} thread(s)"
    return f"{name}, torch {torch.__version__}"
