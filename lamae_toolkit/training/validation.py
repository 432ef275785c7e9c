"""The loss on ECGs that are not in training, with the same ECGs and masks each time."""

import numpy as np
import torch

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.precision import autocast
from lamae_toolkit.model.random_numbers import random_keys
from lamae_toolkit.training.distributed import DistributedContext

VALIDATION = -1
"""In place of the epoch, so that masks differ from those of training."""


class ValidationLoss:
    """The pretraining loss of a model on fixed validation ECGs, over all masked patches of all of them.

    The masks follow from the seed and the ECG and are the same at every call, so losses of different steps and of
    resumed runs can be compared. batch_size: ECGs in a forward pass; several processes divide the batches.
    """

    def __init__(self, store: Store, rows: np.ndarray, train_rows: np.ndarray, *, batch_size: int, seed: int) -> None:
        self.store, self.rows, self.batch_size, self.seed = store, np.asarray(rows), batch_size, seed
        if len(self.rows) == 0:
            raise ECGError("There are no validation ECGs; leave validation_rows out (in a terminal: --no-validation).")
        if common := len(np.intersect1d(self.rows, train_rows)):
            raise ECGError(f"{common} ECGs are in both training and validation; give each ECG to one of the two.")

    @torch.no_grad()
    def __call__(self, model: LAMAE, processes: DistributedContext, precision: str = "float32") -> float:
        """The loss, each process computing some of the batches; the model's training mode is restored."""
        was_training, device = model.training, processes.device
        error = masked_patches = torch.zeros((), device=device)
        model.eval()
        try:
            for first in range(
                processes.rank * self.batch_size, len(self.rows), processes.world_size * self.batch_size
            ):
                rows = self.rows[first : first + self.batch_size]
                keys = random_keys(self.seed, VALIDATION, torch.from_numpy(rows).to(device))
                batch = self.store.batch(rows, device)
                with autocast(device, precision):
                    loss, _, masked = model(batch, visible=model.sample_visible(batch, keys))
                error, masked_patches = error + loss.float() * masked.sum(), masked_patches + masked.sum()
        finally:
            model.train(was_training)
        return (processes.mean(error) / processes.mean(masked_patches)).item()
