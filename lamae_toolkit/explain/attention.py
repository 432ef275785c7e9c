"""What the model attended to: lead weights and latent attention, recorded while it runs, and rolled up to leads.

Weights and attention show what the model combined, not why a code was predicted: they are a first
look, to be checked against what changes when a lead is left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import einsum, rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.hooks import record_attention
from lamae_toolkit.model.lamae import LAMAE


@dataclass(frozen=True, eq=False)
class AttentionSummary:
    """What the model combined for one ECG.

    leads: the leads that the ECG has. lead_weights: (h, l), the share of each lead in the heart token, per
    head; rows sum to 1. lead_attention: (layers, h, l, l), how much the latents of the row's lead attended
    to those of the column's lead; rows sum to 1. probabilities: each code's probability, or None without a probe.
    rolled_up: (l, l), and into_heart: (l,): all layers together, as `roll_up` says; rows sum to 1.
    """

    recording: Recording
    lead_weights: Float[np.ndarray, "h l"]
    lead_attention: Float[np.ndarray, "layers h l l"]
    probabilities: pd.Series | None
    rolled_up: Float[np.ndarray, "l l"]
    into_heart: Float[np.ndarray, " l"]

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads, in the order of all the arrays."""
        return self.recording.leads

    def weight_table(self) -> pd.DataFrame:
        """One row per lead: its weight in each head, and `weight`, the mean over heads."""
        table = pd.DataFrame(
            self.lead_weights.T,
            index=pd.Index(self.leads, name="lead"),
            columns=[f"head {head}" for head in range(1, len(self.lead_weights) + 1)],
        )
        table.insert(0, "weight", table.mean(axis=1))
        return table

    def attention_table(self, layer: int | None = None, head: int | None = None) -> pd.DataFrame:
        """12 x 12: how much each lead (row) attended to each lead (column); rows sum to 1.

        layer, head: one of them, counted from 1; the mean over all of them where None.
        """
        chosen = self.lead_attention
        if not len(chosen):
            raise ECGError("This model has no latent attention (latent_depth 0): its leads meet in the pooling only.")
        for name, number, axis in (("layer", layer, 0), ("head", head, 1)):
            if number is not None:
                if not 1 <= number <= chosen.shape[axis]:
                    raise ECGError(f"There is no {name} {number}; choose one from 1 to {chosen.shape[axis]}.")
                chosen = chosen.take([number - 1], axis=axis)
        return pd.DataFrame(
            chosen.mean(axis=(0, 1)),
            index=pd.Index(self.leads, name="attending lead"),
            columns=pd.Index(self.leads, name="attended lead"),
        )


def lead_attention(attention: Float[Tensor, "b h i j"], leads: int) -> Float[Tensor, "b h l k"]:
    """Attention between tokens, rolled up to attention between leads.

    For a lead's row, the mean over its tokens (CLS and patches) of their attention, summed over all tokens of the
    other lead. Rows still sum to 1.
    """
    if attention.shape[-1] % leads:
        raise ECGError(f"Attention over {attention.shape[-1]} tokens cannot be divided among {leads} leads.")
    rows = reduce(attention, "b h (l m) j -> b h l j", "mean", l=leads)
    return reduce(rows, "b h l (k m) -> b h l k", "sum", k=leads)


def attention_by_layer(
    model: LAMAE, weights: Float[Tensor, "b pooling_heads l"], recorded: list[Tensor]
) -> Float[Tensor, "b layers h l k"]:
    """Latent attention between leads, layer by layer. recorded: its softmax. weights: lead weights of the same run."""
    if any(len(attention) != len(weights) for attention in recorded):
        raise ECGError(f"The leads of {type(model).__name__} never meet, so it has no attention between leads.")
    if model.config.tokens == "induced":
        recorded = through_latents(recorded)
    leads = weights.shape[-1]
    if not recorded:
        return weights.new_zeros(len(weights), 0, model.config.heads, leads, leads)
    return rearrange([lead_attention(one, leads) for one in recorded], "layer b h l k -> b layer h l k")


class RolledUp(NamedTuple):
    """Latent attention of all layers, tokens and heads together, lead by lead; see `roll_up`.

    between_leads: (b, l, k), how much of lead l, as it is pooled, came from lead k, as it was encoded on its own.
    into_heart: (b, k), how much of the heart token came from lead k by way of all leads.
    """

    between_leads: Float[Tensor, "b l k"]
    into_heart: Float[Tensor, "b k"]


@torch.inference_mode()
def roll_up(model: LAMAE, batch: Batch) -> RolledUp:
    """Where the latents of each lead, and the heart token, come from, over all layers of latent attention together.

    between_leads = P . S_last . ... . S_first . P', S = (mean over heads of A + identity) / 2. In detail:

    - *Tokens.* Each lead has m tokens: its CLS token and one for each patch. A is the softmax between all l m tokens,
      one row per query token. It keeps this size until all layers are multiplied.
    - *Heads* are averaged, since each layer joins its heads by one linear map.
    - *Layers* are multiplied, the last on the left. Half of each is the identity, for the residual connection past
      the attention (attention rollout, Abnar and Zuidema, arXiv 2005.00928): a convention, not a measurement.
    - *Tokens to leads.* P takes the mean over the m tokens of the querying lead, as the model takes their mean for the
      lead latent; P' sums over the m tokens of the lead that is attended to.
    - *Into the heart token*: the lead weights (mean over the pooling's heads) times between_leads. Without residual,
      as the pooling has none.

    With tokens "cls" only CLS tokens attend; patch tokens stay as they are, so that a lead's mean over m tokens remains
    mostly its own. With "induced" A is the product of two steps: the attention of the tokens to the learned latents,
    times that of the learned latents to the tokens (heads averaged in each; the latents' own residual carries no lead).
    Without latent attention between_leads is the identity and into_heart the lead weights. Rows sum to 1; row and
    column of an absent lead are 0. Feed-forward layers, norms and the size of values are not part of it.
    """
    with in_float32(model):
        weights, record = recorded_embedding(model, batch)
        m = record["encoder.0.attention"].shape[-1]
        rolled = rolled_up_attention(model, weights, latent_attention(record), m)
        return RolledUp(rolled.between_leads * batch.lead_mask[:, :, None], rolled.into_heart)


def rolled_up_attention(model: LAMAE, weights: Float[Tensor, "b h l"], recorded: list[Tensor], m: int) -> RolledUp:
    """`roll_up` of a run whose attention was recorded, m tokens a lead, no lead absent."""
    own = repeat(torch.eye(weights.shape[-1], device=weights.device) / m, "l k -> b l k m", b=len(weights), m=m)
    layers = [heads.mean(dim=1) for heads in recorded]
    if model.config.tokens == "induced":
        layers = through_latents(layers)
    between = reduce(descend(own, layers, half_residual), "b l k m -> b l k", "sum")
    return RolledUp(between, einsum(weights.mean(dim=1), between, "b l, b l k -> b k"))


def latent_attention(record: Mapping[str, Tensor]) -> list[Tensor]:
    """The attention between leads among all that was recorded, first layer first."""
    return [attention for name, attention in record.items() if name.startswith("latent_attention")]


def recorded_embedding(model: LAMAE, batch: Batch) -> tuple[Float[Tensor, "b h l"], dict[str, Tensor]]:
    """The lead weights, and the softmax of each attention by its name, of one run of `embed`."""
    with record_attention(model) as record:
        weights = model.embed(batch).lead_weights
    return weights, {name: calls[0] for name, calls in record.items()}


@contextmanager
def in_float32(model: LAMAE) -> Iterator[None]:
    """Put the model into evaluation mode and float32, as explanations need it (ECGError if its weights are not)."""
    kind = next(model.parameters()).dtype
    if kind != torch.float32:
        raise ECGError(f"The model's weights are {kind}, but explanations are computed in float32: use model.float().")
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        model.train(was_training)


def through_latents(recorded: list[Tensor]) -> list[Tensor]:
    """Induced attention as one matrix a layer: tokens to learned latents, times learned latents to tokens."""
    return [broadcast @ gather for gather, broadcast in zip(recorded[::2], recorded[1::2], strict=True)]


def half_residual(attention: Float[Tensor, "b i j"]) -> Float[Tensor, "b i j"]:
    """Half of a token comes from what it attended to, half from the residual connection (arXiv 2005.00928)."""
    return (attention + torch.eye(attention.shape[-1], device=attention.device)) / 2


def descend(
    rows: Float[Tensor, "b r l m"], layers: Iterable[Tensor], step: Callable[[Tensor], Tensor]
) -> Float[Tensor, "b r l m"]:
    """Follow shares of the last layer's tokens down to those of the first: rows . step(A_last) . ... . step(A_first).

    layers: first to last, heads joined; each ((b l), m, m) within leads, (b, l m, l m) between all tokens, or
    (b, l, l) between CLS tokens; the shape decides.
    """
    b, _, l, m = rows.shape
    for attention in reversed(list(layers)):
        layer = step(attention)
        if layer.shape == (b * l, m, m):
            rows = einsum(rows, rearrange(layer, "(b l) i j -> b l i j", b=b), "b r l i, b l i j -> b r l j")
        elif layer.shape == (b, l * m, l * m):
            rows = rearrange(rearrange(rows, "b r l m -> b r (l m)") @ layer, "b r (l m) -> b r l m", l=l)
        else:
            rows = torch.cat([(rows[..., 0] @ layer)[..., None], rows[..., 1:]], dim=-1)
    return rows
