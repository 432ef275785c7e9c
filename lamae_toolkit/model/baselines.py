"""LAMAE's baselines: the same encoder, decoder, data, steps and budget, but leads are combined otherwise or not at all.

Independent leads: each lead is encoded and reconstructed on its own. Alignment: the same, but the latents of the leads
of one ECG are pulled together (MVMAE, arXiv 2511.22294). Average joint: the decoder gets the plain mean of the leads.
Random encoder: LAMAE without training. With equal sizes all have the same transformer blocks; only where LAMAE's last
ones attend across leads, those of the baselines attend within the lead.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.normalization import Normalization
from lamae_toolkit.model.outputs import Latents, keys_within_leads
from lamae_toolkit.model.pooling import EqualPooling


class IndependentMAE(LAMAE):
    """A masked autoencoder for single leads: no information crosses leads, neither in the encoder nor the decoder.

    LAMAE's twin with independent leads: the same blocks and methods, `embed` and `reconstruct` included. config: as for
    LAMAE, except that no complete lead is masked.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        twin = lt.IndependentMAE(lt.LAMAEConfig()).eval()
        rng = np.random.default_rng(1)
        batch = lt.collate([lt.simulate_ecg(lt.sample_patient(0, rng), rng, codes={}).recording])
        twin.embed(batch).heart.shape  # (1, 144)
    """

    def __init__(self, config: LAMAEConfig) -> None:
        # A completely masked lead would have nothing to be reconstructed from.
        ratio = config.mask_ratio or 0.75
        super().__init__(replace(config, masks="lead", masked_leads=0, mask_ratio=ratio, linear_path=False))
        del self.heart_to_decoder, self.time_step_to_decoder
        self.normalize = Normalization(self.config, leads_meet=False)
        self.pooling = EqualPooling(config.width, all_features=config.pooling == "named")

    def connect(self, latents: Latents) -> Latents:
        """The blocks that are LAMAE's latent attention, each lead on its own."""
        x, key_mask = rearrange(latents.tokens, "b l m d -> (b l) m d"), keys_within_leads(latents.valid_mask)
        for block in self.latent_attention:
            x = block(x, key_mask)
        return latents._replace(tokens=self.norm(rearrange(x, "(b l) m d -> b l m d", b=len(latents.tokens))))

    def pool_time_steps(self, latents: Latents, weights: Float[Tensor, "b 1 l"], n: int) -> None:
        """None: leads stay independent at every time step."""

    def decode(
        self, latents: Latents, heart: Tensor | None, time_steps: Tensor | None, batch: Batch
    ) -> Float[Tensor, "b l n p"]:
        """Reconstruct each lead from its own latents only."""
        return super().decode(latents, None, None, batch)


class AlignmentMAE(IndependentMAE):
    """Independent leads whose latents are pulled together: loss = reconstruction + beta * alignment.

    The latent of a lead is the mean of its tokens at unit length; beta rises from 0 to 2 (`alignment_weight`).
    Source: MVMAE, arXiv 2511.22294, whose three alignment losses are the subclasses.
    """

    align: Callable[[Tensor, Tensor], Tensor]
    beta: Tensor

    def __init__(self, config: LAMAEConfig) -> None:
        super().__init__(config)
        # A buffer, since a compiled model reads its value in every step, but recompiles for every new Python number.
        self.register_buffer("beta", torch.tensor(0.0), persistent=False)
        self._progress = 0.0

    @property
    def progress(self) -> float:
        """The fraction of pretraining after warm-up that is completed; beta depends on it."""
        return self._progress

    @progress.setter
    def progress(self, value: float) -> None:
        self._progress = value
        self.beta.fill_(alignment_weight(value))

    def auxiliary_loss(self, latents: Latents) -> Tensor:
        """beta times the alignment loss of the valid leads."""
        unit = F.normalize(latents.lead_latents(), dim=-1)
        return self.beta * type(self).align(unit, latents.lead_mask())


def alignment_weight(progress: float, largest: float = 2.0) -> float:
    """beta: 0 until warm-up ends (progress 0), then a rising sigmoid, largest * sigmoid(12 * (progress - 1/2))."""
    return 0.0 if progress <= 0 else largest / (1 + math.exp(-12 * (progress - 0.5)))


def mse_alignment(unit: Float[Tensor, "b l d"], lead_mask: Bool[Tensor, "b l"]) -> Float[Tensor, ""]:
    """sum over ordered pairs of leads of mean_d (f_i - f_j)^2, divided by n^2; mean over ECGs."""
    pairs = (lead_mask[:, :, None] & lead_mask[:, None]).to(unit.dtype)
    # For unit vectors |f_i - f_j|^2 = 2 - 2 cos.
    distance = (2 - 2 * unit @ unit.mT) / unit.shape[-1]
    return ((distance * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2))).mean()


def cosine_alignment(unit: Float[Tensor, "b l d"], lead_mask: Bool[Tensor, "b l"]) -> Float[Tensor, ""]:
    """minus the mean cosine of all pairs of different leads of an ECG; mean over ECGs."""
    pairs = (lead_mask[:, :, None] & lead_mask[:, None]).to(unit.dtype) * (
        1 - torch.eye(unit.shape[1], device=unit.device)
    )
    return -((unit @ unit.mT * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)).mean()


def info_nce_alignment(
    unit: Float[Tensor, "b l d"], lead_mask: Bool[Tensor, "b l"], temperature: float = 0.5
) -> Float[Tensor, ""]:
    """Contrastive: for each ordered pair of leads, identify the other lead of the same ECG among all ECGs of the batch.

    cross-entropy over the batch of f_i . f_j / temperature, mean over pairs and ECGs.
    """
    logits = torch.einsum("aid, bjd -> ijab", unit, unit) / temperature
    logits = logits.masked_fill(
        ~lead_mask.T[None, :, None, :], -1e9
    )  # not -inf, which gives NaN for a lead that no ECG has
    log_probability = logits.log_softmax(dim=-1).diagonal(dim1=-2, dim2=-1)
    pairs = (
        lead_mask.T[:, None]
        & lead_mask.T[None]
        & ~torch.eye(unit.shape[1], dtype=torch.bool, device=unit.device)[..., None]
    )
    return -torch.where(pairs, log_probability, 0.0).sum() / pairs.sum().clamp(min=1)


class AlignmentMSE(AlignmentMAE):
    """Alignment by the squared distance of the lead latents."""

    align = staticmethod(mse_alignment)


class AlignmentCosine(AlignmentMAE):
    """Alignment by the cosine of the lead latents."""

    align = staticmethod(cosine_alignment)


class AlignmentInfoNCE(AlignmentMAE):
    """Alignment by a contrastive loss over the ECGs of the batch."""

    align = staticmethod(info_nce_alignment)
    ecgs_meet_in_loss = True


class AverageJoint(LAMAE):
    """Leads are encoded on their own, and their plain mean enters the decoder: joint, without attention or weights."""

    def __init__(self, config: LAMAEConfig) -> None:
        depth = config.encoder_depth + config.latent_depth
        super().__init__(replace(config, encoder_depth=depth, latent_depth=0, pooling="mean"))


class RandomEncoder(LAMAE):
    """LAMAE with random initial weights, without training: the floor to report next to every trained model."""


COMPARED_MODELS: dict[str, type[LAMAE]] = {
    "LAMAE": LAMAE,
    "independent leads": IndependentMAE,
    "alignment, MSE": AlignmentMSE,
    "alignment, cosine": AlignmentCosine,
    "alignment, InfoNCE": AlignmentInfoNCE,
    "average joint": AverageJoint,
    "random encoder": RandomEncoder,
}
"""The models of the comparison that have LAMAE's sizes, by name."""
