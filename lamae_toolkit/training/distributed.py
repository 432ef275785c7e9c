"""Several processes that train one model together, as `torchrun` starts them; without it, a single process."""

import atexit
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lamae_toolkit.errors import ECGError


@dataclass(frozen=True)
class DistributedContext:
    """How many processes train the model, which of them this is (`rank`, from 0), and the device it computes on."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that logs, shows progress and saves."""
        return self.rank == 0

    def shard(self, rows: np.ndarray) -> np.ndarray:
        """The rows of a batch that this process computes: one of as many equal parts as there are processes."""
        return np.split(rows, self.world_size)[self.rank]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes (all-reduce)."""
        if self.world_size == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value / self.world_size

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """The model, whose gradients are averaged over all processes in every backward pass."""
        # gradient_as_bucket_view: gradients are reduced in place, without a second copy in memory.
        return model if self.world_size == 1 else DistributedDataParallel(model, gradient_as_bucket_view=True)


def no_sync(model: nn.Module) -> AbstractContextManager:
    """A context within which the gradients of a model from `wrap_ddp` are not averaged over the processes."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def world_size() -> int:
    """How many processes `torchrun` started for this command; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main_process() -> bool:
    """Whether this is the process that prints messages."""
    return int(os.environ.get("RANK", 0)) == 0


@contextmanager
def distributed_training(device: torch.device | str) -> Iterator[DistributedContext]:
    """Join the process group of `torchrun`, by gloo on CPU and nccl on GPUs, and wait for all processes at the end.

    The group is left at exit only, so that several models can be trained in sequence. Without torchrun there is no
    group. Each process uses the GPU of its local rank. If another process ends early, this one ends with an ECGError.
    """
    device, count = torch.device(device), world_size()
    if count == 1:
        yield DistributedContext(0, 1, device)
        return
    if "RANK" not in os.environ or "LOCAL_RANK" not in os.environ:
        raise ECGError("WORLD_SIZE asks for several processes, but RANK or LOCAL_RANK is not set; start with torchrun.")
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise ECGError(
                f"This machine has {torch.cuda.device_count()} GPUs, but torchrun started a process number"
                f" {local + 1} on it; start one process per GPU."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)

    def stop(*_) -> NoReturn:
        atexit.unregister(dist.destroy_process_group)  # the other processes may be gone
        raise ECGError(
            f"Process {rank} of {count} stops because another one ended or all were stopped; the same command resumes"
            " from the last checkpoint."
        )

    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield DistributedContext(rank, count, device)
        dist.barrier()
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):  # how gloo and nccl report a process that is gone
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it now, before the message below
            stop()
        raise
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, previous)
