"""The batch of every training step: gathered on the device, prefetched by a thread, or read on demand."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int16, Int64
from torch import Tensor
from tqdm.auto import tqdm

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.store import Store, unpacked
from lamae_toolkit.errors import ECGError
from lamae_toolkit.training.distributed import DistributedContext

DATA_LOCATIONS = ("auto", "resident", "streamed")
"""Where the ECGs are in training: on the device, streamed to it, or chosen by the free memory."""
READ_AHEAD = 3
"""Batches that are prefetched when streamed; more than two, since the time of reading varies."""
RowsBatch = tuple[Batch, Int64[Tensor, " b"]]
"""A batch, and the rows of its ECGs in the store."""
LOADED_AT_ONCE = 4096
"""ECGs per read when all are copied to the device: 100 MB at 100 Hz."""


class Shuffle:
    """Which ECGs each step uses: every epoch is a new permutation of all rows, determined by the seed and the epoch.

    So a run can resume at any step. The last rows of an epoch that do not fill a batch are left out.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int) -> None:
        self.rows, self.batch_size, self.seed = np.asarray(rows, dtype=np.int64), batch_size, seed
        self.steps_per_epoch = len(rows) // batch_size
        if self.steps_per_epoch == 0:
            raise ECGError(f"{len(rows)} ECGs do not fill a batch of {batch_size}; choose a smaller batch_size.")
        self._cached: tuple[int, np.ndarray] | None = None

    def positions(self, epoch: int) -> Int64[np.ndarray, "step b"]:
        """The positions in `rows` of the ECGs of each step of an epoch; the last epoch is cached."""
        cached = self._cached  # replaced in one assignment, since the prefetching thread calls this as well
        if cached is None or cached[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
            used = order[: self.steps_per_epoch * self.batch_size].astype(np.int64, copy=False)
            cached = self._cached = (epoch, used.reshape(self.steps_per_epoch, self.batch_size))
        return cached[1]

    def epoch(self, step: int) -> int:
        """The epoch that a step belongs to."""
        return step // self.steps_per_epoch

    def rows_of(self, step: int) -> Int64[np.ndarray, " b"]:
        """The rows of one step."""
        return self.rows[self.positions(self.epoch(step))[step % self.steps_per_epoch]]


@contextmanager
def load_batches(
    store: Store,
    shuffle: Shuffle,
    steps: range,
    processes: DistributedContext,
    data: str = "auto",
    *,
    progress: bool = True,
) -> Iterator[Iterator[RowsBatch]]:
    """The batches of these steps in sequence, and their rows in the store; of each the shard of this process, on its
    device.

    data: "resident": all ECGs are copied to the device first, as the int16 of the store, and batches are gathered
    there. "streamed": a thread prefetches batches. "auto": on a CUDA GPU resident if the ECGs take up
    to half of the free memory (the rest is for the model), else streamed; elsewhere each batch is read on demand,
    which costs next to nothing compared with the step. The batches are the same in all cases, bit for bit.
    """
    device = processes.device
    location = data_location(store, shuffle, device, data) if steps else "on demand"
    if location == "resident":
        batches = _resident(load(store, shuffle.rows, device, progress), shuffle, steps, processes)
    elif location == "streamed":
        if data == "auto" and progress:
            size = bytes_of(store, len(shuffle.rows))
            tqdm.write(f"{size / 1e9:.1f} GB of ECGs are more than half of what {device} has free: they are streamed.")
        batches = _streamed(store, shuffle, steps, processes)
    else:
        batches = _on_demand(store, shuffle, steps, processes)
    with closing(batches):  # ends the thread and frees the memory in any case
        known = store.amplitude_known
        yield batches if known is None else _marked(batches, torch.from_numpy(known).to(device))


def _marked(batches: Iterator[RowsBatch], amplitude_known: Bool[Tensor, " ecgs"]) -> Iterator[RowsBatch]:
    """The batches with the mark of the ECGs that are in mV."""
    for batch, rows in batches:
        yield replace(batch, amplitude_known=amplitude_known.index_select(0, rows)), rows


def data_location(store: Store, shuffle: Shuffle, device: torch.device, data: str = "auto") -> str:
    """What `data` means for these ECGs on this device: "resident", "streamed" or "on demand"."""
    if data != "auto":
        return data
    if device.type != "cuda":
        return "on demand"
    torch.cuda.empty_cache()  # memory that PyTorch caches from an earlier run is free as well
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return "resident" if 2 * bytes_of(store, len(shuffle.rows)) <= free_bytes else "streamed"


def bytes_of(store: Store, ecgs: int) -> int:
    """The memory of this number of ECGs as the store holds them."""
    return ecgs * store.signals[0].nbytes


def load(
    store: Store, rows: Int64[np.ndarray, " b"], device: torch.device, progress: bool = True
) -> Int16[Tensor, "b 12 t"]:
    """Copy these ECGs to the device as int16, in chunks; ECGError if they do not fit."""
    size = bytes_of(store, len(rows))
    try:
        stored = torch.empty((len(rows), *store.signals.shape[1:]), dtype=torch.int16, device=device)
    except RuntimeError as error:
        raise ECGError(
            f"{size / 1e9:.1f} GB of ECGs do not fit into the free memory of {device}; choose data_location ="
            " 'streamed', or train on fewer ECGs."
        ) from error
    with tqdm(total=size, desc=f"ECGs to {device}", unit="B", unit_scale=True, disable=not progress) as bar:
        for first in range(0, len(rows), LOADED_AT_ONCE):
            piece = store.packed(rows[first : first + LOADED_AT_ONCE])
            stored[first : first + len(piece)].copy_(torch.from_numpy(piece))
            bar.update(piece.nbytes)
    return stored


def _resident(
    stored: Int16[Tensor, "b 12 t"], shuffle: Shuffle, steps: range, processes: DistributedContext
) -> Generator[RowsBatch, None, None]:
    """Gather each batch on the device, which holds all ECGs."""
    rows, epoch, positions = to_device(shuffle.rows, stored.device), -1, torch.empty(0)
    for step in steps:
        if shuffle.epoch(step) != epoch:
            epoch = shuffle.epoch(step)
            positions = to_device(processes.shard(shuffle.positions(epoch).T).T, stored.device)
        chosen = positions[step % shuffle.steps_per_epoch]
        yield unpacked(stored.index_select(0, chosen)), rows.index_select(0, chosen)


def _on_demand(
    store: Store, shuffle: Shuffle, steps: range, processes: DistributedContext
) -> Generator[RowsBatch, None, None]:
    """Read each batch when it is asked for."""
    for step in steps:
        rows = processes.shard(shuffle.rows_of(step))
        yield store.batch(rows, processes.device), to_device(rows, processes.device)


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to the device, without waiting for a GPU."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # torch keeps pinned memory until it has been copied


def _streamed(
    store: Store, shuffle: Shuffle, steps: range, processes: DistributedContext
) -> Generator[RowsBatch, None, None]:
    """Prefetch batches in a thread.

    A thread, not the worker process of a DataLoader: reading releases the GIL, and a process that is spawned (on macOS
    and Windows) would receive a copy of all signals.
    """
    device, is_cuda = processes.device, processes.device.type == "cuda"

    def read(step: int) -> tuple[Int16[Tensor, "b 12 t"], Int64[Tensor, " b"]]:
        rows = processes.shard(shuffle.rows_of(step))
        packed, ecgs = torch.from_numpy(store.packed(rows)), torch.from_numpy(rows)
        return (packed.pin_memory(), ecgs.pin_memory()) if is_cuda else (packed, ecgs)

    def start_thread() -> None:
        if is_cuda:
            torch.cuda.set_device(device)  # set for each thread; otherwise every process would use GPU 0

    with ThreadPoolExecutor(1, "prefetch-ecgs", start_thread) as thread:
        try:
            pending = deque(thread.submit(read, step) for step in steps[:READ_AHEAD])
            for step in steps:
                packed, rows = pending.popleft().result()  # an error in the thread is raised here
                if step + READ_AHEAD in steps:
                    pending.append(thread.submit(read, step + READ_AHEAD))
                # Asynchronous: torch keeps pinned memory until it has been copied.
                yield unpacked(packed.to(device, non_blocking=True)), rows.to(device, non_blocking=True)
        finally:
            thread.shutdown(cancel_futures=True)
