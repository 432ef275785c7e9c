"""A training run on disk: its log, and the checkpoint from which it resumes exactly."""

import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tqdm.auto import tqdm

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.pretrained import PretrainedModel

CHECKPOINT, STATE_FILE, LOG_FILE = "checkpoint", "training.pt", "log.jsonl"
RECIPE = 2
"""The version of what a seed means: since 2 (lamae_toolkit 0.2) masks and augmentation follow from a counter."""


@dataclass(eq=False)
class Run:
    """The state of a run, from which it resumes exactly where it stopped.

    writes: whether this is the one process that writes. config: the TrainConfig. data: from `ecgs_fingerprint`. saved:
    the number of steps of the checkpoint in the folder.
    """

    folder: Path
    writes: bool
    model: PretrainedModel
    optim: torch.optim.Optimizer
    config: Any
    precision: str
    data: str
    saved: int = 0

    @contextmanager
    def report_interruption(self) -> Iterator[None]:
        """Print where an interrupted run resumes: the unfinished step is computed again."""
        try:
            yield
        except KeyboardInterrupt:
            if self.writes:
                tqdm.write(
                    f"Interrupted; the checkpoint of step {self.saved} is in {self.folder}, and the same"
                    " command resumes from it."
                )
            raise

    def refuse_infinite(self, loss: float, norm: float, step: int) -> None:
        """Stop before NaN or infinite parameters overwrite a good checkpoint."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise ECGError(
                f"The loss is not a number at step {step}: lower the learning rate; the checkpoint of step"
                f" {self.saved} in {self.folder} is kept."
            )

    def log(self, row: dict) -> None:
        """Add a row to the log."""
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / LOG_FILE, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def save(self, step: int) -> None:
        """Write `folder/checkpoint`."""
        if self.writes:
            self._write(step)
        self.saved = step

    def _write(self, step: int) -> None:
        state = {
            "step": step,
            "recipe": RECIPE,
            "train_config": asdict(self.config),
            "precision": self.precision,
            "data": self.data,
            "optimizer": self.optim.state_dict(),
        }
        try:
            with atomic_write(self.folder / CHECKPOINT, replaces=STATE_FILE) as partial:
                self.model.save_pretrained(partial)
                torch.save(state, partial / STATE_FILE)
        except (RuntimeError, SafetensorError) as error:  # how torch and safetensors report a full disk
            raise ECGError(
                f"The checkpoint could not be written to {self.folder} ({error}); free some space."
            ) from error
        self.model.train()

    def resume(self) -> int:
        """Resume the run in the folder, if there is one; returns the number of steps that are done.

        Rows of the log after the checkpoint are removed.
        """
        checkpoint, log = self.folder / CHECKPOINT, self.folder / LOG_FILE
        if not checkpoint.exists():
            if self.writes:  # log rows without a checkpoint are from a run that ended before its first one
                log.unlink(missing_ok=True)
            return 0
        device = next(self.model.parameters()).device
        try:
            state = torch.load(checkpoint / STATE_FILE, weights_only=True, map_location=device)
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            raise ECGError(f"{checkpoint} cannot be resumed ({error}); choose another folder.") from error
        if state.get("recipe") != RECIPE:
            raise ECGError(
                f"{self.folder} holds a run of another version of lamae_toolkit, which samples other masks: finish it"
                " with that version, or choose another folder. Its model can be used as it is."
            )
        trained = type(self.model).from_pretrained(checkpoint)
        # A setting that an earlier version did not have was then as its default is now.
        kept = asdict(type(self.config)()) | state["train_config"]
        theirs = trained.config.to_dict() | kept | {"precision": state.get("precision", "float32")}
        ours = self.model.config.to_dict() | asdict(self.config) | {"precision": self.precision}
        if ours != theirs:
            name = next(name for name in ours | theirs if ours.get(name) != theirs.get(name))
            raise ECGError(
                f"{self.folder} holds a run with {name} = {theirs.get(name)!r}, not {ours.get(name)!r};"
                " choose another folder, or the same configuration to resume."
            )
        if state.get("data") != self.data:
            raise ECGError(
                f"{self.folder} holds a run on other ECGs ({state.get('data')}) than these ({self.data});"
                " choose another folder."
            )
        self.model.load_state_dict(trained.state_dict())
        self.optim.load_state_dict(state["optimizer"])
        if self.writes and log.exists():
            rows = [row for row in read_log(self.folder) if row["step"] <= state["step"]]
            with atomic_write(log) as partial:
                partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self.saved = state["step"]
        return self.saved


def read_log(folder: Path | str) -> list[dict]:
    """The log of a run: one row per logged step, with step, loss, learning_rate, gradient_norm, ecgs_per_s.

    Rows of steps after which the model was validated have the validation_loss as well.

    folder: the folder that `pretrain` wrote. Raises ECGError if it has no log.

    Example:
        import lamae_toolkit as lt

        store = lt.simulate_store("cohort", 40, workers=1, progress=False)
        model = lt.LAMAE(lt.LAMAEConfig(width=48, encoder_depth=1))
        rows = store.rows(lt.Split.of(store).train)
        lt.pretrain(model, store, rows, "run", lt.TrainConfig(steps=10, batch_size=8), progress=False)
        lt.read_log("run")[-1]["loss"]
    """
    path = Path(folder) / LOG_FILE
    if not path.is_file():
        raise ECGError(f"{folder} has no {LOG_FILE}; give the folder that a pretraining run wrote.")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ecgs_fingerprint(store: Store, rows: np.ndarray) -> str:
    """A fingerprint of the ECGs of a run, by which resuming refuses other ECGs."""
    return f"{store.meta['source']}, {len(store)} ECGs, rows {zlib.crc32(np.sort(rows).astype(np.int64).tobytes()):08x}"
