"""Sizes of LAMAE for hundreds of thousands of ECGs: recipes, and what each costs in operations, memory and hours."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.utils.flop_counter import FlopCounterMode

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import TrainConfig


@dataclass(frozen=True)
class Size:
    """A model, its training and its runtime configuration, and their cost; the arguments of `pretrain`."""

    model: LAMAEConfig
    train: TrainConfig
    runtime: RuntimeConfig

    @cached_property
    def parameters(self) -> int:
        """The number of parameters of the model."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in LAMAE(self.model).parameters())

    @cached_property
    def gflop_per_ecg(self) -> float:
        """Operations of one training step per ECG of twelve leads, in 10^9: all matrix products, a multiply-add as two.

        Counted by PyTorch on meta tensors, without computing anything.
        """
        return self._step_without_values[0] / 1e9

    def memory_bytes(self, ecgs: int) -> int:
        """An estimate of the memory of a step with this number of ECGs at once, in float32, with explicit attention.

        16 bytes per parameter (itself, its gradient, two moments of AdamW), and what the forward pass keeps for the
        backward pass. Fused attention and bfloat16 keep less; the data and the memory of the device itself are
        extra. Measure to know.
        """
        return 16 * self.parameters + ecgs * self._step_without_values[1]

    def hours(self, ecgs_per_s: float) -> float:
        """The duration of all steps at a measured throughput: steps * batch_size / throughput."""
        if not ecgs_per_s > 0:
            raise ECGError(f"The throughput is {ecgs_per_s:g} ECGs/s, but it must be above 0; measure it first.")
        return self.train.steps * self.train.batch_size / ecgs_per_s / 3600

    @cached_property
    def _step_without_values(self) -> tuple[int, int]:
        """Operations of one step for one ECG, and the bytes that its forward pass keeps."""
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
            return tensor

        with torch.device("meta"):
            model = LAMAE(self.model)
            samples = self.model.max_patches * self.model.patch_samples
            batch = Batch(torch.empty(1, len(LEADS), samples), torch.ones(1, len(LEADS), dtype=torch.bool))
            visible = model.sample_visible(batch, torch.empty(1, dtype=torch.long))
            count_saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
            with count_saved, FlopCounterMode(display=False) as counter:
                model(batch, visible=visible).loss.backward()
        for parameter in model.parameters():  # these are in memory anyway
            kept.pop(parameter.untyped_storage()._cdata, None)
        return counter.get_total_flops(), sum(storage.nbytes() for storage in kept.values())


MINI = LAMAEConfig(width=96, heads=2, pooling_heads=2, decoder_width=48, decoder_heads=2)
"""The size of the shipped weights and of the comparisons: two blocks read each lead and one connects the leads."""

_LARGER = replace(MINI, encoder_depth=8, latent_depth=4)
SMALL = replace(_LARGER, width=192, heads=3, pooling_heads=3, decoder_width=96, decoder_heads=3, decoder_depth=2)
BASE = replace(_LARGER, width=384, heads=6, pooling_heads=6, decoder_width=192, decoder_heads=6, decoder_depth=4)
LARGE = replace(_LARGER, width=768, heads=12, pooling_heads=12, decoder_width=384, decoder_heads=12, decoder_depth=4)
"""The sizes from SMALL on: eight blocks read each lead and four connect the leads."""


def mini(ecgs: int = 560_000, epochs: int = 100, batch_size: int = 1024) -> Size:
    """For a laptop: 0.4 M parameters, 0.4 GFLOP per ECG; memory 0.01 GB and 5 MB per ECG computed at once.

    The size of the shipped weights, which were trained by a shorter recipe (`lamae research shipped-weights`). Used
    like `small`. The memory of a step of 2 ECGs is not measured (0.02 GB by the estimate).
    All epochs at 100 TFLOP/s would take 0.1 hours.
    """
    return _size(MINI, ecgs, epochs, batch_size)


def small(ecgs: int = 560_000, epochs: int = 100, batch_size: int = 1024) -> Size:
    """For one small GPU: 5.7 M parameters, 4.8 GFLOP per ECG; memory 0.09 GB and 27 MB per ECG computed at once.

    ecgs: the number of ECGs in pretraining; the training folds of MIMIC-IV-ECG hold about 560,000. Command:
    `lamae pretrain --size small --store STORE --out RUN`; in a notebook:

        size = small(len(rows))
        pretrain(LAMAE(size.model), store, rows, out, size.train, runtime=size.runtime, device="cuda")

    `Size.hours` gives the hours at a measured throughput; `replace(size.runtime, gradient_accumulation_steps=4)`
    computes a quarter of a batch at once. No such model has been trained yet: sizes follow vision transformers,
    learning rate and epochs He et al. (arXiv 2111.06377); nothing is tuned. There is no expected score yet.

    Measured on a CPU: a step of 2 ECGs takes 0.12 GB at most (0.15 GB by the estimate). Throughput on a GPU is not
    measured; `python benchmarks/gpu_training.py` does it. All epochs at 100 TFLOP/s would take 0.7 hours.
    """
    return _size(SMALL, ecgs, epochs, batch_size)


def base(ecgs: int = 560_000, epochs: int = 100, batch_size: int = 1024) -> Size:
    """For one GPU: 23.7 M parameters, 21.5 GFLOP per ECG; memory 0.38 GB and 68 MB per ECG computed at once.

    Used like `small`, and untried as well. Measured on a CPU: a step of 2 ECGs takes 0.42 GB at most (0.51 GB by the
    estimate). Throughput on a GPU is not measured. All epochs at 100 TFLOP/s would take 3.3 hours.
    """
    return _size(BASE, ecgs, epochs, batch_size)


def large(ecgs: int = 560_000, epochs: int = 100, batch_size: int = 1024) -> Size:
    """For several GPUs: 94.5 M parameters, 85.0 GFLOP per ECG; memory 1.51 GB and 135 MB per ECG computed at once.

    Used like `small`, and untried as well. Measured on a CPU: a step of 2 ECGs takes 1.54 GB at most (1.78 GB by the
    estimate). Throughput on a GPU is not measured. All epochs at 100 TFLOP/s would take 13.2 hours.
    """
    return _size(LARGE, ecgs, epochs, batch_size)


def _size(model: LAMAEConfig, ecgs: int, epochs: int, batch_size: int) -> Size:
    """The learning rate is proportional to the batch size; matrix products in bfloat16."""
    if ecgs < batch_size:
        raise ECGError(f"{ecgs} ECGs do not fill a batch of {batch_size}; choose a smaller batch_size.")
    steps, rate = epochs * (ecgs // batch_size), 1.5e-4 * batch_size / 256
    train = TrainConfig(steps=steps, batch_size=batch_size, learning_rate=rate, warmup_steps=steps // 20)
    return Size(model, train, RuntimeConfig(precision="bfloat16"))


SIZES = {"mini": mini, "small": small, "base": base, "large": large}
"""The recipes by name: `lamae pretrain --size base`."""
