"""A training step in several variants, each choice on or off, and what is measured of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import measuring
from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Store
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.random_numbers import random_keys
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.loader import Shuffle, load_batches
from lamae_toolkit.training.presets import Size
from lamae_toolkit.training.step import RuntimeConfig, gradients
from lamae_toolkit.training.trainer import optimizer
from measuring import peak_bytes, tiled_store, trace, wait


@dataclass(frozen=True)
class Way:
    """How a step is computed; what is learned is the same, up to rounding. The default is the plain float32 path.

    graphs: torch.compile(mode="reduce-overhead"), which replays CUDA graphs; it needs `compiled`. backend: of
    torch.compile; "aot_eager" goes all the way but for the writing of kernels, which takes a minute on a CPU.
    """

    half: bool = False
    fused_optimiser: bool = False
    fused_attention: bool = False
    compiled: bool = False
    graphs: bool = False
    accumulation: int = 1
    backend: str = "inductor"


PLAIN = Way()
FAST = Way(half=True, fused_optimiser=True, fused_attention=True, compiled=True)
CHOICES = {
    "bf16 autocast": {"half": True},
    "fused AdamW": {"fused_optimiser": True},
    "fused attention": {"fused_attention": True},
    "torch.compile": {"compiled": True},
    "CUDA graphs": {"compiled": True, "graphs": True},
    "accumulation, 4 parts": {"accumulation": 4},
}


def ways() -> dict[str, Way]:
    """Each choice added to the plain path; all that are meant to be fast; these with each choice changed."""
    alone = {f"plain + {name}": replace(PLAIN, **change) for name, change in CHOICES.items()}
    without = {
        f"fast - {name}": replace(FAST, **dict.fromkeys(change, False)) for name, change in list(CHOICES.items())[:4]
    }
    more = {f"fast + {name}": replace(FAST, **change) for name, change in list(CHOICES.items())[4:]}
    return alone | {"fast (the first four)": FAST} | without | more


def _unheard(name: str) -> None:
    """A no-op profiler mark."""


class _Marked(nn.Module):
    """A model that tells when its forward pass begins and ends."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.mark = model, _unheard

    def forward(self, *arguments, **options):
        self.mark("forward")
        result = self.model(*arguments, **options)
        self.mark("backward")
        return result


class Parts:
    """Milliseconds of each part of a step: CUDA events on a GPU, which is not waited for meanwhile, else the clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[tuple[str, float | torch.cuda.Event]] = []

    def mark(self, name: str) -> None:
        """From now on, until the next mark, time is that of this part."""
        if self.device.type == "cuda":
            now = torch.cuda.Event(enable_timing=True)
            now.record()
        else:
            now = time.perf_counter()
        self.marks.append((name, now))

    def ms(self, steps: int) -> dict[str, float]:
        """Milliseconds of each part per step; the last mark only ends the part before it."""
        wait(self.device)
        taken: dict[str, float] = {}
        for (name, start), (_, end) in zip(self.marks, self.marks[1:], strict=False):
            ms = start.elapsed_time(end) if self.device.type == "cuda" else 1000 * (end - start)
            taken[name] = taken.get(name, 0.0) + ms / steps
        return taken


class Training:
    """A model in training, computed in one way; the same weights and masks in all ways."""

    def __init__(self, size: Size, way: Way, processes: DistributedContext) -> None:
        torch._dynamo.reset()  # what was compiled for another way is not taken again
        torch.manual_seed(0)
        self.size, self.way, self.processes, self.device = size, way, processes, processes.device
        self.model = LAMAE(size.model).to(self.device).train()
        self.optim = optimizer(self.model, size.train)
        for group in self.optim.param_groups:
            group["fused"] = way.fused_optimiser or None  # False would turn off PyTorch's own choice, too
        self.steps = 0
        self.runtime = RuntimeConfig(way.accumulation, "bfloat16" if way.half else "float32")
        mode = "reduce-overhead" if way.graphs else None
        model = self.model
        if way.compiled:
            model = torch.compile(model, dynamic=False, mode=mode, backend=way.backend)
        self.marked = _Marked(model)
        self.prepared = processes.wrap_ddp(self.marked)

    def _attention(self) -> AbstractContextManager:
        return nullcontext() if self.way.fused_attention else sdpa_kernel(SDPBackend.MATH)

    def gradients(self, batch: Batch, mark: Callable[[str], None] = _unheard) -> Tensor:
        """Gradients of this process's share, on their own; returns the loss."""
        self.optim.zero_grad(set_to_none=True)
        if self.way.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        self.marked.mark = mark
        mark("mask")
        with self._attention():
            keys = random_keys(0, self.steps, torch.arange(len(batch), device=self.device))
            self.steps += 1
            return gradients(self.prepared, self.model, batch, keys, self.runtime, self.processes)

    def update(self) -> None:
        """Clipping and AdamW."""
        nn.utils.clip_grad_norm_(self.model.parameters(), self.size.train.clip_norm)
        self.optim.step()

    def step(self, batch: Batch, mark: Callable[[str], None] = _unheard) -> Tensor:
        """One whole step; nothing in it waits for a GPU."""
        loss = self.gradients(batch, mark)
        mark("optimizer")
        self.update()
        return loss

    def first_step(self, batch: Batch, given: Tensor | None = None) -> tuple[float, Tensor, Tensor]:
        """Loss, gradients and change of all parameters in the first step, the last from `given` gradients if any."""
        loss = float(self.gradients(batch))
        parameters = list(self.model.parameters())
        found = torch.cat([parameter.grad.flatten() for parameter in parameters])
        if given is not None:
            pieces = given.split([parameter.numel() for parameter in parameters])
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter.grad.copy_(piece.view_as(parameter))
        before = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self.update()
        return loss, found, torch.cat([parameter.detach().flatten() for parameter in parameters]) - before

    def peak_gb(self, batch: Batch) -> float:
        """The most memory that a step takes, with the model and AdamW's two moments, in 10^9 bytes; after a step."""
        self.optim.zero_grad(set_to_none=True)  # gradients are counted with the step that makes them
        return (peak_bytes(lambda: self.step(batch), self.device) + 12 * self.size.parameters) / 1e9


@contextmanager
def batches(store: Store, batch_size: int, processes: DistributedContext, data: str) -> Iterator[Iterator[Batch]]:
    """Batches of shuffled ECGs without end, as training gets them (`training.loader`), or "one batch" repeated."""
    shuffle, steps = Shuffle(np.arange(len(store)), batch_size, seed=0), range(1_000_000)
    if data != "one batch":
        with load_batches(store, shuffle, steps, processes, data, progress=False) as fed:
            yield (batch for batch, _ in fed)
        return
    batch = store.batch(processes.shard(shuffle.rows_of(0)), processes.device)
    yield (batch for _ in steps)


def ecgs_per_s(training: Training, fed: Iterator[Batch], batch_size: int, steps: int) -> float:
    """Throughput over so many steps of all processes; the GPU is waited for at the end only."""
    wait(training.device)
    start = time.perf_counter()
    for _ in range(steps):
        training.step(next(fed))
    wait(training.device)
    return steps * batch_size / (time.perf_counter() - start)


def parts_ms(training: Training, fed: Iterator[Batch], steps: int) -> dict[str, float]:
    """Milliseconds per step: data, mask, forward, backward, optimizer."""
    parts = Parts(training.device)
    for _ in range(steps):
        parts.mark("data")
        training.step(next(fed), parts.mark)
    parts.mark("end")
    return parts.ms(steps)


def idle_share(training: Training, fed: Iterator[Batch], steps: int) -> float:
    """The share of the time in which the device does nothing: no kernel, copy or fill; on a CPU, no torch operation."""

    def some_steps() -> None:
        for _ in range(steps):
            training.step(next(fed))

    kinds = ("kernel", "gpu_memcpy", "gpu_memset") if training.device.type == "cuda" else ("cpu_op",)
    return measuring.idle_share(trace(some_steps, training.device), kinds)


def cohort(folder: Path, store: Path | None, ecgs: int) -> Store:
    """The store to train on: a given one, or simulated ECGs over and over."""
    if store is not None:
        return Store.open(store)
    few = simulate_store(folder / "few", min(ecgs, 1000), workers=1, progress=False)
    return tiled_store(folder / "store", np.array(few.signals), ecgs)
