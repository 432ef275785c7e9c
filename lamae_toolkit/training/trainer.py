"""Pretraining: one loop that can be read, interrupted and resumed exactly."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import writing_to
from lamae_toolkit.model.config import check_settings, setting
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import check_rate
from lamae_toolkit.model.random_numbers import random_keys
from lamae_toolkit.training.augment import Augmentation
from lamae_toolkit.training.distributed import distributed_training
from lamae_toolkit.training.linear_path import fit_linear_path
from lamae_toolkit.training.loader import Shuffle, load_batches
from lamae_toolkit.training.run import CHECKPOINT as CHECKPOINT
from lamae_toolkit.training.run import Run, ecgs_fingerprint
from lamae_toolkit.training.run import read_log as read_log
from lamae_toolkit.training.step import RuntimeConfig, cpu_threads, gradients
from lamae_toolkit.training.tensorboard import tensorboard_scalars
from lamae_toolkit.training.validation import ValidationLoss

MAX_STEPS = 10**9


@dataclass(frozen=True)
class TrainConfig:
    """How a model is pretrained: AdamW, linear warm-up then cosine decay, gradients clipped at norm 1.

    The last four change every ECG at random (see `augment`): a segment of `crop_patches` patches is taken and scaled by
    up to `scale_jitter`, each lead is left out with the probability `lead_dropout`, and noise of `noise_mv` is added;
    0 is off.

    Example:
        import lamae_toolkit as lt

        config = lt.TrainConfig(steps=200, batch_size=16, scale_jitter=0.1)
    """

    steps: int = setting(1000, "training steps", at_least=1, at_most=MAX_STEPS)
    batch_size: int = setting(32, "ECGs per step", at_least=1, at_most=10**6)
    learning_rate: float = setting(1e-3, "peak learning rate", above=0, at_most=10)
    warmup_steps: int = setting(50, "steps over which the learning rate rises", at_least=0, at_most=MAX_STEPS)
    weight_decay: float = setting(0.05, "weight decay of AdamW", at_least=0, at_most=10)
    clip_norm: float = setting(1.0, "largest gradient norm", above=0, at_most=10**6)
    seed: int = setting(0, "random seed", at_least=0, at_most=2**32 - 1)
    log_every: int = setting(10, "steps between rows of the log", at_least=1, at_most=MAX_STEPS)
    save_every: int = setting(200, "steps between checkpoints", at_least=1, at_most=MAX_STEPS)
    validate_every: int = setting(200, "steps between validation losses", at_least=1, at_most=MAX_STEPS)
    crop_patches: int = setting(0, "patches of the random crop of each ECG; 0 takes the complete ECG")
    scale_jitter: float = setting(0.0, "largest relative change of amplitude, random for each ECG")
    lead_dropout: float = setting(0.0, "probability with which each lead is left out")
    noise_mv: float = setting(0.0, "standard deviation of the noise that is added, in mV")

    def __post_init__(self) -> None:
        check_settings(self, "training")
        _ = self.augmentation

    @property
    def augmentation(self) -> Augmentation:
        """The random changes of the ECGs; ECGError if a value is out of range."""
        return Augmentation(self.crop_patches, self.scale_jitter, self.lead_dropout, self.noise_mv)


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate at a step (from 0): linear warm-up over `warmup_steps`, then cosine decay to 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress_after_warmup(step, config)))


def progress_after_warmup(step: int, config: TrainConfig) -> float:
    """The fraction of the steps after warm-up that is completed, 0 to 1."""
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return min(max(done, 0.0), 1.0)


def optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only, as usual: not on biases, norms and single tokens."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # Fused is faster on a GPU; on the CPU it would round differently from the published runs.
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=fused)


def _some_ecgs(store: Store, rows: np.ndarray, at_most: int = 10_000) -> Iterator[Batch]:
    """These ECGs, or `at_most` of them that are spread evenly over the store, in batches."""
    chosen = np.sort(rows)[:: -(-len(rows) // at_most)]
    for start in range(0, len(chosen), 256):
        yield store.batch(chosen[start : start + 256])


def pretrain(
    model: LAMAE,
    store: Store,
    rows: np.ndarray,
    folder: Path | str,
    config: TrainConfig,
    *,
    validation_rows: np.ndarray | None = None,
    runtime: RuntimeConfig | None = None,
    stop_after: int | None = None,
    watch: Callable[[int, dict | None], bool] | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> LAMAE:
    """Pretrain a model on these rows of a store, keeping checkpoints and a log in `folder`.

    The linear path of a model that has one is fitted after the last step, on up to 10,000 of the ECGs.

    If the folder holds a run of the same configuration, it resumes where that run stopped, bit for bit as if it had not
    stopped (on CPU, with the same number of threads); one of another configuration is refused (ECGError). runtime: how
    steps are computed, and where the ECGs are kept. `stop_after`: pause after that step. Ctrl-C or a kill loses at most
    `save_every` steps. While another process trains in the folder, an ECGError says which one. `watch`: called after
    every step with the number of steps done and the row of the log, None if none is written; it may read the model, and
    if it returns True, the run pauses as with `stop_after`.

    Under torchrun, each process computes its shard of every batch, and the first one logs and saves: ECGs, masks and,
    up to rounding, losses are those of one process. A run may resume with another number of processes, and on another
    kind of device.

    Writes `folder/checkpoint` (config.json, model.safetensors, training.pt, model card) and
    `folder/log.jsonl`, a row every `log_every` steps. The training loss is that of a single batch. Where TensorBoard is
    installed, `folder/tensorboard` gets the same scalars.

    validation_rows: ECGs that are not in training (ECGError if one is). Every `validate_every` steps and after the last
    one, the log gets the `validation_loss` over all of them, with the same masks each time. Training is the same, bit
    for bit, with and without.

    The same seed gives the same weights, bit for bit, on a CPU of the same kind with the same number of threads:
    sums are taken in another order with another number. `RuntimeConfig(threads=...)` fixes it, and the checkpoint
    records it; published results need it.

    device: where to compute, such as "cuda". progress: whether a progress bar is shown.

    Example:
        import lamae_toolkit as lt

        store = lt.simulate_store("cohort", 40, workers=1, progress=False)
        split = lt.Split.of(store)
        rows, validation_rows = store.rows(split.train), store.rows(split.validation)
        model = lt.LAMAE(lt.LAMAEConfig(width=48, encoder_depth=1))
        config = lt.TrainConfig(steps=2, batch_size=8)
        lt.pretrain(model, store, rows, "run", config, validation_rows=validation_rows, progress=False)
    """
    folder, runtime, augment = Path(folder), runtime or RuntimeConfig(), config.augmentation
    check_rate(model, store.sampling_rate_hz)
    augment.check(model.config, store.signals.shape[2])
    shuffle = Shuffle(rows, config.batch_size, config.seed)
    with distributed_training(device) as processes, cpu_threads(runtime.threads), ExitStack() as alone:
        runtime.check(model, config.batch_size, processes.world_size)
        validation_loss = (
            None
            if validation_rows is None
            else ValidationLoss(
                store,
                validation_rows,
                rows,
                batch_size=config.batch_size // (runtime.gradient_accumulation_steps * processes.world_size),
                seed=config.seed,
            )
        )
        if watch is not None and processes.world_size > 1:
            raise ECGError("A run of several processes takes no `watch`; leave it out.")
        device = processes.device
        model.to(device).train()
        optim = optimizer(model, config)
        data = ecgs_fingerprint(store, rows)
        run = Run(folder, processes.is_main, model, optim, config, runtime.precision, data, runtime.threads)
        alone.enter_context(writing_to(folder) if run.writes else nullcontext())
        run.recover()
        processes.mean(torch.zeros(1, device=device))  # the other processes read what is recovered
        first = run.resume()
        if processes.mean(torch.tensor(float(first), device=device)) != first:
            raise ECGError(f"The processes find different checkpoints in {folder}; choose a folder that they share.")
        wrapped_model = runtime.wrap_model(model, processes)
        last = config.steps if stop_after is None else min(stop_after, config.steps)
        steps, show = range(first, last), progress and processes.is_main
        with (
            run.report_interruption(),
            load_batches(store, shuffle, steps, processes, runtime.data_location, progress=show) as batches,
            tensorboard_scalars(folder, first + 1)
            if steps and processes.is_main
            else nullcontext(lambda row: None) as write_scalars,
            tqdm(total=config.steps, initial=first, desc="pretraining", unit="step", disable=not show) as bar,
        ):
            start = time.perf_counter()
            for step, (batch, ecgs) in zip(steps, batches, strict=True):
                for group in optim.param_groups:
                    group["lr"] = learning_rate(step, config)
                model.progress = progress_after_warmup(step, config)
                optim.zero_grad(set_to_none=True)
                keys = random_keys(config.seed, shuffle.epoch(step), ecgs)
                batch = augment(batch, keys, model.config.patch_samples)
                loss = gradients(wrapped_model, model, batch, keys, runtime, processes)
                norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
                optim.step()
                done, row = step + 1, None
                validate = validation_loss is not None and (done % config.validate_every == 0 or done == config.steps)
                if done % config.log_every == 0 or done == config.steps or validate:
                    row = {
                        "step": done,
                        "loss": loss.item(),
                        "learning_rate": learning_rate(step, config),
                        "gradient_norm": norm.item(),
                    }
                    # After `.item()`, which waits for a GPU to finish all steps that are counted.
                    seconds = time.perf_counter() - start  # 0 where the clock is coarse
                    row["ecgs_per_s"] = round((done - first) * config.batch_size / max(seconds, 1e-3), 1)
                    run.refuse_diverged(row["loss"], row["gradient_norm"], done)
                    if validation_loss is not None and validate:
                        began = time.perf_counter()
                        row["validation_loss"] = validation_loss(model, processes, runtime.precision)
                        start += time.perf_counter() - began  # ecgs_per_s is the speed of training
                    run.log(row)
                    write_scalars(row)
                    bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
                pause = watch is not None and watch(done, row)
                if done % config.save_every == 0 or done == last or pause:
                    run.refuse_diverged(loss.item(), norm.item(), done)
                    if done == config.steps and model.linear_path is not None:
                        examples = list(_some_ecgs(store, shuffle.rows, 1_000))
                        fit_linear_path(model, _some_ecgs(store, shuffle.rows), examples)
                    run.save(done)
                bar.update()
                if pause:
                    break
    return model.eval()
