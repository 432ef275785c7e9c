"""One training step: the gradients of a complete batch, computed in any number of parts and processes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.config import check_settings, setting
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.patches import patch_count
from lamae_toolkit.model.precision import PRECISIONS, autocast
from lamae_toolkit.training.distributed import DistributedContext, no_sync
from lamae_toolkit.training.loader import DATA_LOCATIONS


@dataclass(frozen=True)
class RuntimeConfig:
    """How steps are computed, which depends on the hardware; what is learned is in TrainConfig.

    gradient_accumulation_steps: parts of a batch that pass through the model in sequence, for a batch that does not fit
    into memory at once. precision: "bfloat16" computes matrix products in 16 bits (torch.autocast);
    parameters, optimizer and loss stay in 32. compile: whether the model is compiled by torch.compile first, once:
    "yes", "no", or "auto", on a CUDA GPU only, where the minute that it takes is soon saved.
    data_location: whether the ECGs are "resident" on the device, "streamed" to it, or chosen by the free memory
    ("auto", see `load_batches`); results are the same, bit for bit. threads: how many threads compute on the CPU; 0
    leaves it to PyTorch, which takes one per core. The same seed gives the same weights only with the same number.
    """

    gradient_accumulation_steps: int = setting(
        1,
        "gradient accumulation steps: parts of a batch that are computed in sequence, to save memory",
        at_least=1,
        at_most=10**6,
    )
    precision: str = setting("float32", "precision of matrix products; parameters stay in float32", choices=PRECISIONS)
    compile: str = setting(
        "auto", "compile the model by torch.compile first; auto does on a CUDA GPU", choices=("auto", "yes", "no")
    )
    data_location: str = setting(
        "auto",
        "where the ECGs are: resident on the device, streamed to it, or chosen by the free memory (auto)",
        choices=DATA_LOCATIONS,
    )

    threads: int = setting(
        0,
        "threads that compute on the CPU, which fixes the result bit for bit; 0 leaves the number to PyTorch",
        at_least=0,
        at_most=1024,
    )

    def __post_init__(self) -> None:
        check_settings(self, "computation")

    def check(self, model: LAMAE, batch_size: int, processes: int) -> None:
        """Refuse a batch that cannot be split into equal parts, and a loss that needs the complete batch (ECGError)."""
        parts = self.gradient_accumulation_steps * processes
        if batch_size % parts:
            raise ECGError(
                f"A batch of {batch_size} ECGs cannot be divided among {processes} processes in"
                f" {self.gradient_accumulation_steps} parts each; choose a batch_size that is a multiple of {parts}."
            )
        if parts > 1 and model.ecgs_meet_in_loss:
            raise ECGError(
                f"{type(model).__name__} compares the ECGs of a batch with each other, so a batch cannot be split into"
                " parts; train it in one process without gradient accumulation."
            )

    def wrap_model(self, model: LAMAE, processes: DistributedContext) -> nn.Module:
        """The model as it is called in training: compiled or not, gradients averaged over the processes."""
        on_gpu = self.compile == "auto" and processes.device.type == "cuda"
        # dynamic=False: all batches of a run have one shape. The compiled model has the type of the model.
        compiled: Any = torch.compile(model, dynamic=False) if on_gpu or self.compile == "yes" else model
        return processes.wrap_ddp(compiled)


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Compute with this number of threads on the CPU, whatever the environment asks for; 0 changes nothing."""
    before = torch.get_num_threads()
    try:
        if threads:
            torch.set_num_threads(threads)
        yield
    finally:
        if threads:
            torch.set_num_threads(before)


def gradients(
    wrapped_model: nn.Module,
    model: LAMAE,
    batch: Batch,
    keys: Int64[Tensor, " b"],
    runtime: RuntimeConfig,
    processes: DistributedContext,
) -> Float[Tensor, ""]:
    """Add the gradients of one step to the parameters; returns the loss. Both are of the batch of all processes
    together.

    batch: this process's shard. keys: from `random_keys`, the numbers of its ECGs from which their masks follow.
    loss = (sum of errors over all parts) / (masked patches in all parts), which is not the mean of the parts' own
    losses: a part with leads that were not recorded has fewer patches to mask. wrapped_model: from
    `RuntimeConfig.wrap_model`.
    """
    size, parts = len(batch), runtime.gradient_accumulation_steps
    visible = model.sample_visible(batch, keys)
    mask = visible.mask(len(batch.leads), patch_count(batch, model.config))
    masked = (mask & batch.lead_mask[:, :, None]).sum().float()
    divisor = processes.mean(masked) / parts
    total = torch.zeros_like(divisor)
    for part in range(parts):
        part_rows = slice(part * size // parts, (part + 1) * size // parts)
        piece = batch.rows(part_rows)
        # Gradients are averaged over the processes once per step, with the last part.
        with nullcontext() if part == parts - 1 else no_sync(wrapped_model):
            with autocast(batch.lead_mask.device, runtime.precision):
                loss = wrapped_model(piece, visible=visible.rows(part_rows), divisor=divisor).loss / parts
            loss.backward()
        total += loss.detach()
    return processes.mean(total)
