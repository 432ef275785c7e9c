"""Pretraining: one loop that can be read, interrupted and resumed exactly."""

import json
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from tqdm.auto import tqdm

from lamae_toolkit.checkpoint import PretrainedModel, check_rate
from lamae_toolkit.ecg import ECGError
from lamae_toolkit.files import written_whole
from lamae_toolkit.processes import training_together
from lamae_toolkit.step import Compute, gradients
from lamae_toolkit.store import Store

CHECKPOINT, STATE_FILE, LOG_FILE = "checkpoint", "training.pt", "log.jsonl"


@dataclass(frozen=True)
class TrainConfig:
    """How a model is pretrained: AdamW, linear warm-up then cosine decay, gradients clipped at norm 1."""

    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    seed: int = 0
    log_every: int = 10
    save_every: int = 200

    def __post_init__(self) -> None:
        names = ("steps", "batch_size", "learning_rate", "clip_norm", "log_every", "save_every")
        check_above_zero(self, "training", names)


def check_above_zero(config: object, what: str, names: tuple[str, ...]) -> None:
    """Refuse a configuration of which one of these numbers is not above 0 (ECGError)."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ECGError(f"The {what}'s {name} is {getattr(config, name)}, but it must be above 0.")


def learning_rate(step: int, config: TrainConfig) -> float:
    """The rate at a step (the first is 0): up in a line for `warmup_steps`, then down a half cosine to 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress_after_warmup(step, config)))


def progress_after_warmup(step: int, config: TrainConfig) -> float:
    """The share of the steps after warm-up that is done, 0 to 1."""
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return min(max(done, 0.0), 1.0)


def shuffled_rows(rows: np.ndarray, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The rows of one step: every epoch is a new shuffle of all rows, known from the seed and the step alone.

    That is why a run can go on at any step. The last rows of an epoch that fill no batch are left out.
    """
    per_epoch = len(rows) // batch_size
    if per_epoch == 0:
        raise ECGError(f"{len(rows)} ECGs do not fill a batch of {batch_size}; choose a smaller batch_size.")
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[place * batch_size : (place + 1) * batch_size]


def optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only, as is usual: not on biases, norms and single tokens."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # Fused is faster on a GPU; on CPU it would round otherwise than in the runs that are published.
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=fused)


def pretrain(
    model: PretrainedModel,
    store: Store,
    rows: np.ndarray,
    folder: Path | str,
    config: TrainConfig,
    *,
    compute: Compute | None = None,
    stop_after: int | None = None,
    watch: Callable[[int, dict | None], bool] | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> PretrainedModel:
    """Pretrain a model on these rows of a store, keeping checkpoints and a log in `folder`.

    If the folder holds a run of the same configuration, it goes on where that run stopped, bit for bit
    as if it had not (on CPU); one of another configuration is refused (ECGError). compute: precision and parts of a
    step. `stop_after`: pause after that step. Ctrl-C or a kill loses at most `save_every` steps. `watch`: called after
    every step with the number of steps done and the row of the log, None where none is due; it may look at the model,
    and if it returns True, the run pauses there as with `stop_after`.

    Under torchrun, each of its processes computes its share of every batch, and the first one logs and saves: ECGs,
    masks and, up to rounding, losses are those of one process. A run may go on with another number of processes.

    Writes `folder/checkpoint` (config.json, model.safetensors, training.pt, model card) and
    `folder/log.jsonl`, a row every `log_every` steps. The training loss is over that one batch.
    """
    folder, compute = Path(folder), compute or Compute()
    check_rate(model, store.sampling_rate_hz)
    with training_together(device) as processes:
        compute.check(model, config.batch_size, processes.count)
        if watch is not None and processes.count > 1:
            raise ECGError("A run of several processes cannot be watched; leave `watch` out.")
        device = processes.device
        model.to(device).train()
        optim = optimiser(model, config)
        generator = torch.Generator(device=device)
        generator.manual_seed(config.seed)
        run = _Run(folder, model, optim, generator, config, compute.precision, _name_of(store, rows))
        first = run.resume(processes.first)
        if processes.mean(torch.tensor(float(first), device=device)) != first:
            raise ECGError(f"The processes find different checkpoints in {folder}; choose a folder that they share.")
        prepared = compute.prepared(model, processes)
        last = config.steps if stop_after is None else min(stop_after, config.steps)
        hide = not (progress and processes.first)
        bar = tqdm(total=config.steps, initial=first, desc="pretraining", unit="step", disable=hide)
        saved = first
        start = time.perf_counter()
        try:
            for step in range(first, last):
                for group in optim.param_groups:
                    group["lr"] = learning_rate(step, config)
                model.progress = progress_after_warmup(step, config)
                chosen = processes.share(shuffled_rows(rows, config.batch_size, config.seed, step))
                optim.zero_grad(set_to_none=True)
                loss = gradients(prepared, model, store.batch(chosen, device), generator, compute, processes)
                norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
                optim.step()
                done, row = step + 1, None
                if done % config.log_every == 0 or done == config.steps:
                    ecgs_per_s = (done - first) * config.batch_size / (time.perf_counter() - start)
                    row = {"step": done, "loss": loss.item(), "learning_rate": learning_rate(step, config),
                           "gradient_norm": norm.item(), "ecgs_per_s": round(ecgs_per_s, 1)}  # fmt: skip
                    _refuse_infinite(row["loss"], row["gradient_norm"], done, saved, folder)
                    if processes.first:
                        _log(folder, row)
                    bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
                pause = watch is not None and watch(done, row)
                if done % config.save_every == 0 or done == last or pause:
                    _refuse_infinite(loss.item(), norm.item(), done, saved, folder)
                    if processes.first:
                        run.save(done)
                    saved = done
                bar.update()
                if pause:
                    break
        except KeyboardInterrupt:
            # Whole steps only: what was under way when the key was pressed is done again after resuming.
            if processes.first:
                tqdm.write(f"Interrupted; the checkpoint of step {saved} is in {folder}, and the same command goes on"
                           " from it.")  # fmt: skip
            raise
        finally:
            bar.close()
    return model.eval()


def _refuse_infinite(loss: float, norm: float, step: int, saved: int, folder: Path) -> None:
    """Stop before parameters that are no numbers are saved over good ones."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise ECGError(
            f"The loss is not a number at step {step}: lower the learning rate; the checkpoint of step {saved} in"
            f" {folder} is kept."
        )


def read_log(folder: Path | str) -> list[dict]:
    """The log of a run: one row per logged step, with step, loss, learning_rate, gradient_norm, ecgs_per_s."""
    path = Path(folder) / LOG_FILE
    if not path.is_file():
        raise ECGError(f"{folder} has no {LOG_FILE}; give the folder that a pretraining run wrote.")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _log(folder: Path, row: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG_FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _name_of(store: Store, rows: np.ndarray) -> str:
    """By what a run knows again the ECGs that it learns from."""
    return f"{store.meta['source']}, {len(store)} ECGs, rows {zlib.crc32(np.sort(rows).astype(np.int64).tobytes()):08x}"


@dataclass(frozen=True, eq=False)
class _Run:
    """All that it takes to go on exactly from where a run stopped."""

    folder: Path
    model: PretrainedModel
    optim: torch.optim.Optimizer
    generator: torch.Generator
    config: TrainConfig
    precision: str
    data: str

    def save(self, step: int) -> None:
        """Write `folder/checkpoint`."""
        state = {
            "step": step,
            "train_config": asdict(self.config),
            "precision": self.precision,
            "data": self.data,
            "optimiser": self.optim.state_dict(),
            "generator": self.generator.get_state(),
        }
        try:
            with written_whole(self.folder / CHECKPOINT, replaces=STATE_FILE) as partial:
                self.model.save_pretrained(partial)
                torch.save(state, partial / STATE_FILE)
        except (RuntimeError, SafetensorError) as error:  # what torch and safetensors make of a full disk
            raise ECGError(f"The checkpoint could not be written to {self.folder} ({error}); make room.") from error
        self.model.train()

    def resume(self, tidy: bool) -> int:
        """Take up the run in the folder, if there is one; returns the number of steps that are done.

        tidy: whether to take from the log what came after the checkpoint.
        """
        checkpoint, log = self.folder / CHECKPOINT, self.folder / LOG_FILE
        if not checkpoint.exists():
            if tidy:  # log rows without a checkpoint are from a run that ended before its first one
                log.unlink(missing_ok=True)
            return 0
        device = next(self.model.parameters()).device
        try:
            state = torch.load(checkpoint / STATE_FILE, weights_only=True, map_location=device)
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            raise ECGError(f"{checkpoint} cannot be resumed ({error}); choose another folder.") from error
        trained = type(self.model).from_pretrained(checkpoint)
        theirs = trained.config.to_dict() | state["train_config"] | {"precision": state.get("precision", "float32")}
        ours = self.model.config.to_dict() | asdict(self.config) | {"precision": self.precision}
        if ours != theirs:
            name = next(name for name in ours | theirs if ours.get(name) != theirs.get(name))
            raise ECGError(
                f"{self.folder} holds a run with {name} = {theirs.get(name)!r}, not {ours.get(name)!r};"
                " choose another folder, or the same configuration to go on."
            )
        if state.get("data") != self.data:
            raise ECGError(
                f"{self.folder} holds a run on other ECGs ({state.get('data')}) than these ({self.data});"
                " choose another folder."
            )
        self.model.load_state_dict(trained.state_dict())
        self.optim.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        if tidy and log.exists():
            kept = [row for row in read_log(self.folder) if row["step"] <= state["step"]]
            with written_whole(log) as partial:
                partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        return state["step"]
