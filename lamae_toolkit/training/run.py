"""A training run on disk: its log, and the checkpoint from which it resumes exactly."""

import json
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tqdm.auto import tqdm

from lamae_toolkit.checksums import write_checksums
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError, printable
from lamae_toolkit.files import atomic_write, recover, write_errors
from lamae_toolkit.model.pretrained import PretrainedModel
from lamae_toolkit.training.state import STATE_FILE, load_optimizer, read_state

CHECKPOINT, LOG_FILE = "checkpoint", "log.jsonl"
RECIPE = 2
"""The version of what a seed means: since 2 (lamae_toolkit 0.2) masks and augmentation follow from a counter."""

EXPLODED = 1e4
"""A loss that ends a run: it is in units of the variance of the signal, so predicting the mean costs about 1."""


@dataclass(eq=False)
class Run:
    """The state of a run, from which it resumes exactly where it stopped.

    writes: whether this is the one process that writes. config: the TrainConfig. data: from `ecgs_fingerprint`.
    threads: of the RuntimeConfig. saved: the number of steps of the checkpoint in the folder.
    """

    folder: Path
    writes: bool
    model: PretrainedModel
    optim: torch.optim.Optimizer
    config: Any
    precision: str
    data: str
    threads: int = 0
    saved: int = 0

    @contextmanager
    def report_interruption(self) -> Iterator[None]:
        """Print where an interrupted run resumes: the unfinished step is computed again."""
        try:
            yield
        except KeyboardInterrupt:
            if self.writes:
                kept = f"Interrupted; the checkpoint of step {self.saved} is in {self.folder}"
                tqdm.write(printable(f"{kept}, and the same command resumes from it."))
            raise

    def refuse_diverged(self, loss: float, norm: float, step: int) -> None:
        """Stop before NaN, infinite or exploded parameters overwrite a good checkpoint."""
        if math.isfinite(loss) and math.isfinite(norm) and loss < EXPLODED:
            return
        what = f"The loss is {loss:.3g}" if math.isfinite(loss) and loss >= EXPLODED else "The loss is not a number"
        kept = f"the checkpoint of step {self.saved} in {self.folder} is kept"
        raise ECGError(
            f"{what} at step {step}, where it should be about 1 or less: lower the learning rate;"
            f" {kept if self.saved else 'no checkpoint was written yet'}."
        )

    def log(self, row: dict) -> None:
        """Add a row to the log; ECGError if it cannot be written, as on a full disk."""
        if self.writes:
            path = self.folder / LOG_FILE
            with write_errors(path, self._kept()), open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _kept(self) -> str:
        """What an error does not lose, in words."""
        if not self.saved:
            return "there is no checkpoint yet, and the same command begins again"
        return f"the checkpoint of step {self.saved} is kept, and the same command resumes from it"

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
            "threads": self.threads,
            "data": self.data,
            "optimizer": self.optim.state_dict(),
        }
        try:
            with atomic_write(self.folder / CHECKPOINT, replaces=STATE_FILE) as partial:
                self.model.save_pretrained(partial)
                torch.save(state, partial / STATE_FILE)
                write_checksums(partial, [STATE_FILE])
        except (RuntimeError, SafetensorError) as error:  # how torch and safetensors report a full disk
            reason = str(error).partition("\n")[0][:200]
            raise ECGError(
                f"The checkpoint could not be written to {self.folder} ({reason}); {self._kept()}: free some space."
            ) from error
        self.model.train()

    def resume(self) -> int:
        """Resume the run in the folder, if there is one; returns the number of steps that are done.

        Rows of the log after the checkpoint are removed. `recover` is called before, if a process was killed here.
        """
        checkpoint, log = self.folder / CHECKPOINT, self.folder / LOG_FILE
        if not checkpoint.exists():
            if self.writes and log.exists():
                warnings.warn(
                    printable(
                        f"{self.folder} has a log but no checkpoint: its run ended before step"
                        f" {self.config.save_every}, where the first one is saved, and begins again."
                    ),
                    stacklevel=2,
                )
                with write_errors(log):
                    log.unlink()
            return 0
        device = next(self.model.parameters()).device
        state = read_state(checkpoint, device)
        if state.get("recipe") != RECIPE:
            raise ECGError(
                f"{self.folder} holds a run of another version of lamae_toolkit, which samples other masks: finish it"
                " with that version, or choose another folder. Its model can be used as it is."
            )
        trained = type(self.model).from_pretrained(checkpoint)
        # A setting that an earlier version did not have was then as its default is now.
        kept = asdict(type(self.config)()) | state["train_config"]
        theirs = trained.config.to_dict() | kept | {"precision": state.get("precision", "float32")}
        theirs["threads"] = state.get("threads", self.threads)  # earlier versions did not record it
        ours = self.model.config.to_dict() | asdict(self.config)
        ours |= {"precision": self.precision, "threads": self.threads}
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
        load_optimizer(self.optim, state, self.config.steps, checkpoint)
        self.model.load_state_dict(trained.state_dict())
        if self.writes and log.exists():
            rows = [row for row in read_log(self.folder) if row["step"] <= state["step"]]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            if log.read_bytes() != text.encode():
                with atomic_write(log) as partial:
                    partial.write_text(text, encoding="utf-8")
        self.saved = state["step"]
        return self.saved

    def recover(self) -> None:
        """Make the folder, and put in order what a killed process left in it."""
        if self.writes:
            with write_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            for name in (CHECKPOINT, LOG_FILE):
                recover(self.folder / name)


def read_log(folder: Path | str) -> list[dict]:
    """The log of a run: one row per logged step, with step, loss, learning_rate, gradient_norm, ecgs_per_s.

    Rows of steps after which the model was validated have the validation_loss as well.

    folder: the folder that `pretrain` wrote. Raises ECGError if it has no log, or if the log is damaged. A last row
    that is not complete, as a full disk or a kill leaves it, is left out with a warning.

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
    rows, lines = [], path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or "step" not in row:
                raise ValueError("no row of a log")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                warnings.warn(printable(f"The last row of {path} is not complete and is left out."), stacklevel=2)
                break
            raise ECGError(
                f"Row {number} of {path} is damaged; remove this row, or choose another folder for a new run."
            ) from error
        rows.append(row)
    return rows


def ecgs_fingerprint(store: Store, rows: np.ndarray) -> str:
    """A fingerprint of the ECGs of a run, by which resuming refuses other ECGs."""
    return f"{store.meta['source']}, {len(store)} ECGs, rows {zlib.crc32(np.sort(rows).astype(np.int64).tobytes()):08x}"
