"""Supervised training on labels, and a pretrained model as the network that is fine-tuned."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm.auto import tqdm

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import BY_LEAD, Probe, chosen_latents
from lamae_toolkit.evaluation.metrics import auroc
from lamae_toolkit.model.config import check_settings, setting
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.loader import Shuffle, load_batches, to_device


@dataclass(frozen=True)
class SupervisedConfig:
    """How a network is trained on labels: AdamW with a one-cycle schedule; the best epoch on validation is kept."""

    epochs: int = setting(15, "passes over all ECGs", at_least=1)
    batch_size: int = setting(32, "ECGs per step", at_least=1)
    learning_rate: float = setting(3e-3, "peak learning rate", above=0)
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self, "supervised training")


class FineTuned(nn.Module):
    """A pretrained model and a linear head that are trained together, starting from a fitted probe.

    Starting from the probe keeps the first steps from distorting the pretrained features (Kumar et al.,
    arXiv 2202.10054).
    """

    average: Tensor

    def __init__(self, model: LAMAE, probe: Probe) -> None:
        super().__init__()
        self.model, self.representation = copy.deepcopy(model), probe.representation
        self.head = nn.Linear(len(probe.mean), len(probe.codes))
        weight = probe.weight / probe.scale
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(probe.bias - weight @ probe.mean))
        self.register_buffer("average", torch.from_numpy(probe.mean).float(), persistent=False)

    def forward(self, batch: Batch) -> Float[Tensor, "b c"]:
        """The log-odds of each class. An absent lead counts as an average lead, as for the probe."""
        x = chosen_latents(self.model.embed(batch), self.representation)
        if self.representation in BY_LEAD:
            x = torch.where(x == 0, self.average, x)
        return self.head(x)


def layers(network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of a network, layer by layer from the input on; all in one layer if it was not pretrained.

    Patch and lead embeddings; each block of the lead encoder; each block of latent attention; pooling and head. The
    decoder, which gets no gradient from labels, is in the last layer.
    """
    if not isinstance(network, FineTuned):
        return [list(network.parameters())]
    model = network.model
    inputs = [part for part in (model.patch_embed, model.lead_name, model.amplitude_embed) if part is not None]
    stack = [[model.lead_cls, *nn.ModuleList(inputs).parameters()]]
    stack += [list(block.parameters()) for block in (*model.encoder, *model.latent_attention)]
    assigned = {id(parameter) for layer in stack for parameter in layer}
    return [*stack, [parameter for parameter in network.parameters() if id(parameter) not in assigned]]


def fit_supervised(
    network: nn.Module,
    store: Store,
    train: np.ndarray,
    validation: np.ndarray,
    labels: UInt8[np.ndarray, "b c"],
    config: SupervisedConfig,
    *,
    layer_decay: float = 1.0,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> nn.Module:
    """Train a network on the labeled rows of a store; returns it as it was after its best epoch.

    train, validation: rows of the store. labels: of all rows of the store. The best epoch is the one with the
    highest macro AUROC on the validation rows; a network that starts from a probe may be best before the first.
    layer_decay: the factor by which the learning rate falls from each layer of a pretrained model to the one before it
    (see `layers`), so that the first layers change least; 1 is one rate for all (Clark et al., arXiv 2003.10555).
    """
    if not 0.0 < layer_decay <= 1.0:
        raise ECGError(f"The layer_decay is {layer_decay:g}, but it must be above 0 and at most 1.")
    if layer_decay < 1 and not isinstance(network, FineTuned):
        raise ECGError("A layer_decay needs a pretrained model (FineTuned); leave layer_decay out.")
    device = torch.device(device)
    network.to(device)
    steps = config.epochs * (len(train) // config.batch_size)
    if steps == 0:
        raise ECGError(f"{len(train)} labeled ECGs do not fill a batch of {config.batch_size}; choose a smaller one.")
    stack = layers(network)
    rates = [config.learning_rate * layer_decay ** (len(stack) - 1 - layer) for layer in range(len(stack))]
    groups = [{"params": layer, "lr": rate} for layer, rate in zip(stack, rates, strict=True)]
    optim = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, rates, total_steps=steps)
    best, best_score = copy.deepcopy(network.state_dict()), -np.inf
    if isinstance(network, FineTuned):
        best_score = _score(network, store, validation, labels, device)
    shuffle, targets = Shuffle(train, config.batch_size, config.seed), to_device(labels, device)
    with load_batches(store, shuffle, range(steps), DistributedContext(0, 1, device), progress=progress) as batches:
        bar = tqdm(range(steps), desc="supervised", unit="step", disable=not progress)
        for step, (batch, rows) in zip(bar, batches, strict=True):
            network.train()
            loss = F.binary_cross_entropy_with_logits(network(batch), targets[rows].float())
            optim.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optim.step()
            schedule.step()
            if (step + 1) % shuffle.steps_per_epoch == 0:
                score = _score(network, store, validation, labels, device)
                if score > best_score:
                    best, best_score = copy.deepcopy(network.state_dict()), score
    network.load_state_dict(best)
    return network.eval()


@torch.inference_mode()
def supervised_logits(
    network: nn.Module, store: Store, rows: np.ndarray, *, batch_size: int = 32, device: torch.device | str = "cpu"
) -> Float[np.ndarray, "b c"]:
    """The log-odds that a network gives these rows of a store."""
    network.eval()
    parts = [network(store.batch(rows[at : at + batch_size], device)).cpu() for at in range(0, len(rows), batch_size)]
    return torch.cat(parts).numpy()


def _score(network: nn.Module, store: Store, rows: np.ndarray, labels: np.ndarray, device) -> float:
    logits = supervised_logits(network, store, rows, device=device)
    return float(np.nanmean(auroc(labels[rows], logits, np.ones((1, len(rows)))).value))
