"""One training step: the gradients of a whole batch, in however many parts and processes it is computed."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.config import check_settings, setting
from lamae_toolkit.model.precision import PRECISIONS, autocast
from lamae_toolkit.model.pretrained import PretrainedModel
from lamae_toolkit.training.distributed import DistributedContext, apart
from lamae_toolkit.training.loader import DATA_LOCATIONS


@dataclass(frozen=True)
class Compute:
    """How steps are computed, as the hardware asks for it; what is learned is in TrainConfig.

    accumulation: parts in which a batch passes through the model one after the other, for a batch that does not fit
    into memory as a whole. precision: "bfloat16" computes matrix products in 16 bits (torch.autocast); parameters,
    optimizer and loss stay in 32. compile: whether the model is compiled by torch.compile first. data: whether the ECGs
    are "resident" on the device, "streamed" to it, or what fits ("auto", see `load_batches`); all give the same bits.
    """

    accumulation: int = setting(
        1, "gradient accumulation steps: parts of a batch that are computed in sequence, to save memory", at_least=1
    )
    precision: str = setting("float32", "precision of matrix products; parameters stay in float32", choices=PRECISIONS)
    compile: bool = setting(False, "compile the model by torch.compile first")
    data: str = setting(
        "auto",
        "where the ECGs are: resident on the device, streamed to it, or what fits (auto)",
        choices=DATA_LOCATIONS,
    )

    def __post_init__(self) -> None:
        check_settings(self, "computation")

    def check(self, model: PretrainedModel, batch_size: int, processes: int) -> None:
        """Refuse a batch that cannot be cut into equal parts, and a loss that does not follow from parts (ECGError)."""
        parts = self.accumulation * processes
        if batch_size % parts:
            raise ECGError(
                f"A batch of {batch_size} ECGs cannot be shared by {processes} processes in {self.accumulation} parts"
                f" each; choose a batch_size that is a multiple of {parts}."
            )
        if parts > 1 and model.ecgs_meet_in_loss:
            raise ECGError(
                f"{type(model).__name__} compares the ECGs of a batch with each other, so a batch cannot be cut into"
                " parts; train it in one process without accumulation."
            )

    def prepared(self, model: PretrainedModel, processes: DistributedContext) -> nn.Module:
        """The model as it is called in training, compiled and joined to those of the other processes if need be."""
        return processes.joined(torch.compile(model, dynamic=False) if self.compile else model)


def gradients(
    prepared: nn.Module,
    model: PretrainedModel,
    batch: Batch,
    generator: torch.Generator,
    compute: Compute,
    processes: DistributedContext,
) -> Float[Tensor, ""]:
    """Add the gradients of one step to the parameters; returns the loss. Both are those of the batch of all processes.

    batch: this process's share. Every process draws the masks of the whole batch and takes those of its share.
    loss = (sum of errors over all parts) / (hidden patches in all parts), which is not the mean of the parts' own
    losses: leads that were not recorded leave a part fewer patches to hide. prepared: from `Compute.prepared`.
    """
    share, parts = len(batch), compute.accumulation
    mask, keep = model.sample_mask(batch, generator, of=share * processes.count, first=share * processes.rank)
    hidden = (mask & batch.lead_mask[:, :, None]).sum().float()
    divisor = processes.mean(hidden) / parts
    total = torch.zeros_like(divisor)
    for part in range(parts):
        here = slice(part * share // parts, (part + 1) * share // parts)
        piece = replace(batch, signal_mv=batch.signal_mv[here], lead_mask=batch.lead_mask[here])
        # Gradients travel between processes once a step, with the last part.
        with nullcontext() if part == parts - 1 else apart(prepared):
            with autocast(batch.lead_mask.device, compute.precision):
                loss = prepared(piece, mask[here], keep=keep, divisor=divisor).loss / parts
            loss.backward()
        total += loss.detach()
    return processes.mean(total)
