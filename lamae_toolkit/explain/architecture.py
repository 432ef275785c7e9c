"""One masked ECG on its way through a model: what each step makes of it, in numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.attention import in_float32, latent_attention
from lamae_toolkit.explain.reconstruction import as_read
from lamae_toolkit.model.hooks import record_attention
from lamae_toolkit.model.lamae import LAMAE

CLS = -1
"""In the place of a patch: the CLS token of a lead."""


@dataclass(frozen=True, eq=False)
class ModelSteps:
    """What each step of a model made of one masked ECG.

    recording: the part that the model read. mask: (l, n), True where masked. tokens: (q, 2), the row of the lead and
    the patch of each token that latent attention reads, -1 for a CLS token. attention: (layers, h, q, q), how much of
    the column's token the row's token takes; rows sum to 1. Where the leads never meet it is 0 between them.
    lead_weights: (pooling_heads, l). reconstruction: all patches in mV. shapes: of what each step returns, for one ECG.
    """

    recording: Recording
    mask: Bool[np.ndarray, "l n"]
    tokens: Int[np.ndarray, "q 2"]
    attention: Float[np.ndarray, "layers h q q"]
    lead_weights: Float[np.ndarray, "pooling_heads l"]
    reconstruction: Recording
    shapes: dict[str, tuple[int, ...]]

    def between_leads(self) -> Float[np.ndarray, "l k"]:
        """How much the tokens of the row's lead take from those of the column's, mean over layers, heads, tokens."""
        of_lead = (self.tokens[:, 0] == np.arange(len(self.mask))[:, None]).astype(np.float32)
        number = np.maximum(of_lead.sum(axis=1, keepdims=True), 1)
        return (of_lead / number) @ self.attention.mean(axis=(0, 1)) @ of_lead.T

    def errors_mv(self) -> Float[np.ndarray, "l n"]:
        """The error of each masked patch in mV, the root of its mean square; NaN where visible."""
        difference = self.reconstruction.signal_mv - self.recording.signal_mv
        squares = rearrange(np.square(difference), "l (n p) -> l n p", n=self.mask.shape[1]).mean(axis=2)
        return np.where(self.mask, np.sqrt(squares), np.nan)


def root_mean_square(errors_mv: np.ndarray) -> float | None:
    """The error over all of these patches in mV; None if none was masked."""
    masked = errors_mv[~np.isnan(errors_mv)]
    return float(np.sqrt(np.square(masked).mean())) if masked.size else None


@torch.inference_mode()
def model_steps(model: LAMAE, recording: Recording, mask: Bool[np.ndarray, "l n"]) -> ModelSteps:
    """Follow one masked ECG through patches, lead encoder, latent attention, pooling and decoder.

    mask: True where masked, a row for each lead of the recording. ECGError if it masks everything, and for a model
    whose latent attention does not connect all tokens directly.
    """
    config = model.config
    if config.tokens != "all" or not config.latent_depth:
        raise ECGError("Steps are shown of models whose latent attention connects all tokens (tokens 'all').")
    read = as_read(recording, config)
    device = next(model.parameters()).device
    present = torch.ones(1, len(read.leads), dtype=torch.bool)
    batch = Batch(torch.from_numpy(read.signal_mv)[None], present, read.leads).to(device)
    masked = torch.from_numpy(mask)[None].to(device)
    with in_float32(model), record_attention(model, "latent_attention") as record:
        patches = model.normalize(batch, masked).patches
        encoded = model.encode(batch, masked)
        latents = model.connect(encoded)
        heart, weights = model.pool(latents)
        signal_mv = model.reconstruct_latents(latents, batch, masked)
    recorded = latent_attention({name: calls[0] for name, calls in record.items()})
    valid = latents.valid_mask[0].flatten()
    attention = torch.stack([_between_all(one, len(read.leads))[:, valid][:, :, valid] for one in recorded])
    l, m = latents.valid_mask.shape[1:]
    every = np.stack(np.meshgrid(np.arange(l), np.arange(m) + CLS, indexing="ij"), axis=-1).reshape(-1, 2)
    tensors = {"patches": patches, "encoder": encoded.tokens, "attention": latents.tokens, "pooling": heart}
    return ModelSteps(
        read,
        mask,
        every[valid.cpu().numpy()],
        attention.cpu().numpy(),
        weights[0].cpu().numpy(),
        Recording(signal_mv[0].cpu().numpy(), read.sampling_rate_hz, read.leads),
        {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()} | {"decoder": tuple(patches.shape[1:])},
    )


def _between_all(attention: torch.Tensor, leads: int) -> torch.Tensor:
    """The attention of one ECG between all its tokens, (h, q, q); where leads are separate, 0 between them."""
    if len(attention) == 1:
        return attention[0]
    blocks = [torch.block_diag(*attention[:, head]) for head in range(attention.shape[1])]
    return torch.stack(blocks)
