"""Several processes that train one model together, as `torchrun` starts them; a process on its own is one of one."""

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
        """What this process computes of a batch, which is cut into as many equal pieces as there are processes."""
        return np.split(rows, self.world_size)[self.rank]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes, known to all of them."""
        if self.world_size == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value / self.world_size

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """The model, whose gradients are averaged over all processes in every backward pass."""
        # gradient_as_bucket_view: gradients are sent from where they are, without a second copy in memory.
        return model if self.world_size == 1 else DistributedDataParallel(model, gradient_as_bucket_view=True)


def no_sync(model: nn.Module) -> AbstractContextManager:
    """A context within which the gradients of a model from `wrap_ddp` are not averaged over the processes."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def world_size() -> int:
    """How many processes `torchrun` started for this command; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main_process() -> bool:
    """Whether this is the process that speaks to the user."""
    return int(os.environ.get("RANK", 0)) == 0


@contextmanager
def distributed_training(device: torch.device | str) -> Iterator[DistributedContext]:
    """Meet the other processes that `torchrun` started, by gloo on CPU and nccl on GPUs, and wait for all at the end.

    They part when they exit, so that several models can be trained one after the other. Without torchrun there is
    nobody to meet. On GPUs each process of a machine takes one of its own. If another process ends early, this one
    ends with an ECGError that says so.
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
        atexit.unregister(dist.destroy_process_group)  # there may be nobody left to part from
        raise ECGError(
            f"Process {rank} of {count} stops because another one ended or all were told to; the same command goes on"
            " from the last checkpoint."
        )

    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    usual = signal.signal(signal.SIGTERM, stop)
    try:
        yield DistributedContext(rank, count, device)
        dist.barrier()
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):  # what they make of a partner that is gone
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it now, but it is still to be said why
            stop()
        raise
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, usual)
