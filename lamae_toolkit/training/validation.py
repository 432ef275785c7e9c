"""The loss on ECGs that are not in training, with the same ECGs and masks each time."""

import numpy as np
import torch

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.precision import autocast
from lamae_toolkit.training.distributed import DistributedContext


class ValidationLoss:
    """The pretraining loss of a model on fixed validation ECGs, over all masked patches of all of them.

    The masks of each batch come from a separate generator, seeded at every call with the seed and the number of the
    batch. So losses of different steps and of resumed runs can be compared, the generator of the training is not used,
    and several processes can divide the batches. batch_size: ECGs whose masks are sampled together. parts: the number
    of parts of such a batch in the forward pass.
    """

    def __init__(
        self, store: Store, rows: np.ndarray, train_rows: np.ndarray, *, batch_size: int, parts: int, seed: int
    ) -> None:
        self.store, self.rows, self.batch_size, self.seed = store, np.asarray(rows), batch_size, seed
        self.part = batch_size // parts
        if len(self.rows) == 0:
            raise ECGError("There are no validation ECGs; leave validation_rows out (in a terminal: --no-validation).")
        if common := len(np.intersect1d(self.rows, train_rows)):
            raise ECGError(f"{common} ECGs are in both training and validation; give each ECG to one of the two.")

    @torch.no_grad()
    def __call__(self, model: LAMAE, processes: DistributedContext, precision: str = "float32") -> float:
        """The loss, each process computing some of the parts; the model's training mode is restored."""
        was_training, generator = model.training, torch.Generator(device=processes.device)
        error = masked_patches = torch.zeros((), device=processes.device)
        model.eval()
        try:
            for first in range(processes.rank * self.part, len(self.rows), processes.world_size * self.part):
                number, offset = divmod(first, self.batch_size)
                batch_rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
                batch = self.store.batch(batch_rows[offset : offset + self.part], processes.device)
                generator.manual_seed(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))
                mask, keep = model.sample_mask(batch, generator, of=len(batch_rows), first=offset)
                with autocast(processes.device, precision):
                    loss, _, masked = model(batch, mask, keep=keep)
                error, masked_patches = error + loss.float() * masked.sum(), masked_patches + masked.sum()
        finally:
            model.train(was_training)
        return (processes.mean(error) / processes.mean(masked_patches)).item()
