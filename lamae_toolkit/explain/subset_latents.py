"""The latents that every subset of an ECG's leads would have, without a run of the model for each.

The lead encoder reads every lead on its own, so that a lead's tokens before latent attention are the same in every
subset. What a token gathers in the first layer of latent attention is then a mean over the subset's leads, weighed
by the softmax of one score per lead: the scores and what is gathered from each lead are computed once, and only the
token itself, its MLP and its norm remain to be computed for each of the 4,096 subsets.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.layers import Block
from lamae_toolkit.model.outputs import Latents, mean_and_std

SUBSETS_AT_ONCE = 128
"""Subsets in one block: a power of two, small enough for a processor's cache."""
TOKENS_AT_ONCE = 20_000
"""Tokens in one batch where the blocks of the model run unchanged."""


class SubsetLatents(NamedTuple):
    """The latents of some subsets of the leads, as far as a probe reads them.

    rows: the subsets' numbers. per_lead, per_lead_std: as in `Embedding`, 0 for a lead that is not in the subset.
    lead_mean: the mean over the subset's leads of their patch tokens, at each time step.
    """

    rows: Int[Tensor, " s"]
    per_lead: Float[Tensor, "s l d"]
    per_lead_std: Float[Tensor, "s l d"]
    lead_mean: Float[Tensor, "n s d"]


def blocks_of_subsets(members: Bool[Tensor, "s l"]) -> Iterator[tuple[Int[Tensor, " s"], Bool[Tensor, "s l"]]]:
    """All subsets in the order of their numbers, in blocks: their numbers, and which leads are in each."""
    for rows in torch.arange(len(members), device=members.device).split(SUBSETS_AT_ONCE):
        yield rows, members[rows]


def latents_of_independent_leads(connected: Latents, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """For independent leads: a lead's tokens are the same in every subset, and only means over leads differ.

    connected: one ECG after `model.connect`.
    """
    tokens = connected.tokens[0]
    yield from _latents_of_fixed_patches(tokens[:, 1:], tokens[None, :, 0].expand(len(members), -1, -1), members)


def latents_by_cls(model: LAMAE, encoded: Latents, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """For latent attention between CLS tokens: only these are computed for every subset; any number of layers.

    encoded: one ECG before `model.connect`.
    """
    tokens = encoded.tokens[0]
    cls = tokens.new_zeros(len(members), *tokens[:, 0].shape)
    for rows, chosen in subsets_by_size(members, 1):
        x = tokens[chosen, 0]
        for block in model.latent_attention:
            x = block(x)
        cls[rows[:, None], chosen] = model.norm(x)
    yield from _latents_of_fixed_patches(model.norm(tokens[:, 1:]), cls, members)


def _latents_of_fixed_patches(
    patches: Float[Tensor, "l n d"], cls: Float[Tensor, "s l d"], members: Bool[Tensor, "s l"]
) -> Iterator[SubsetLatents]:
    """patches: the same in every subset. cls: the CLS token of each lead in each subset."""
    count = patches.shape[1] + 1
    std = mean_and_std(patches, torch.ones_like(patches[..., 0], dtype=torch.bool))[1]
    by_time_step = rearrange(patches, "l n d -> n l d")
    for rows, lead_mask in blocks_of_subsets(members):
        inside = lead_mask[..., None]
        per_lead = (cls[rows] + patches.sum(dim=1)) * inside / count
        share = lead_mask / lead_mask.sum(dim=1, keepdim=True).clamp(min=1)
        yield SubsetLatents(rows, per_lead, std * inside, share @ by_time_step)


def latents_by_connecting(model: LAMAE, encoded: Latents, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """For any latent attention: the model's own `connect`, on all subsets of equal size together, without padding.

    encoded: one ECG before `model.connect`.
    """
    leads, tokens = encoded.tokens.shape[1:3]
    for rows, chosen in subsets_by_size(members, tokens):
        connected = model.connect(Latents(*(part[0, chosen] for part in encoded))).tokens
        patches = connected[:, :, 1:]
        std = mean_and_std(patches, torch.ones_like(patches[..., 0], dtype=torch.bool))[1]
        per_lead, per_lead_std = connected.new_zeros(2, len(rows), leads, connected.shape[-1])
        per_lead[torch.arange(len(rows))[:, None], chosen] = connected.mean(dim=2)
        per_lead_std[torch.arange(len(rows))[:, None], chosen] = std
        yield SubsetLatents(rows, per_lead, per_lead_std, reduce(patches, "s k n d -> n s d", "mean"))


def subsets_by_size(
    members: Bool[Tensor, "s l"], tokens_per_lead: int
) -> Iterator[tuple[Int[Tensor, " s"], Int[Tensor, "s k"]]]:
    """All subsets but the empty one, those of equal size together: their numbers, and which leads are in each."""
    size = members.sum(dim=1)
    for count in range(1, members.shape[1] + 1):
        for rows in (size == count).nonzero()[:, 0].split(max(1, TOKENS_AT_ONCE // (count * tokens_per_lead))):
            yield rows, rearrange(members[rows].nonzero()[:, 1], "(s k) -> s k", k=count)


class OneLayer(NamedTuple):
    """One layer of latent attention for one ECG, with all that does not depend on the subset computed beforehand.

    Of a token m of lead l in a subset S, with share = softmax over the leads k in S of score[l, m], head by head:
    after attention x = share . gathered[l, m], then x + fc2 . gelu(share . hidden[l, m] / std of x) + fc2_bias.
    The norm's scale and the MLP's first layer are part of `hidden`, whose last row is their bias; the mean over the
    width is already subtracted wherever a norm would subtract it.
    """

    score: Float[Tensor, "l m h k 1"]
    gathered: Float[Tensor, "l m hk d"]
    hidden: Float[Tensor, "l m hk1 f"]
    fc2: Float[Tensor, "f d"]
    fc2_bias: Float[Tensor, " d"]
    eps: float
    norm: nn.LayerNorm

    @classmethod
    def of(cls, block: Block, norm: nn.LayerNorm, tokens: Float[Tensor, "l m d"]) -> "OneLayer":
        """block, norm: the model's latent attention and the norm after it. tokens: one ECG after the lead encoder."""
        attention, leads = block.attention, len(tokens)
        mixed = attention.qkv(block.norm_attention(tokens))
        q, k, v = rearrange(mixed, "l m (three h e) -> three h l m e", three=3, h=attention.heads)
        scores = einsum(q, k, "h l m e, h k j e -> l m h k j") / math.sqrt(q.shape[-1])
        score = scores.logsumexp(dim=-1)
        value = einsum(scores.softmax(dim=-1), v, "l m h k j, h k j e -> l m h k e")
        out = rearrange(attention.out.weight, "d (h e) -> h e d", h=attention.heads)
        gathered = einsum(value, out, "l m h k e, h e d -> l m h k d")
        # The shares of the first head sum to 1: adding the residual to its values adds it once to the token.
        gathered[:, :, 0] += (tokens + attention.out.bias)[:, :, None]
        gathered = rearrange(_centered(gathered), "l m h k d -> l m (h k) d")
        fc1, fc2 = (layer for layer in block.mlp if isinstance(layer, nn.Linear))
        hidden = gathered @ (fc1.weight * block.norm_mlp.weight).T
        bias = fc1.weight @ block.norm_mlp.bias + fc1.bias
        hidden = torch.cat([hidden, bias.expand(leads, tokens.shape[1], 1, -1)], dim=2)
        fc2_weight, fc2_bias = _centered(fc2.weight.T).contiguous(), _centered(fc2.bias)
        return cls(score[..., None], gathered, hidden, fc2_weight, fc2_bias, block.norm_mlp.eps, norm)

    def tokens_of(self, lead: int, lead_mask: Bool[Tensor, "s k"]) -> Float[Tensor, "m s d"]:
        """The tokens of a lead in each of these subsets, which all contain it: normalized, without the affine part."""
        attn_bias = torch.where(lead_mask.T, 0.0, -math.inf)
        share = rearrange((self.score[lead] + attn_bias).softmax(dim=2), "m h k s -> m (h k) s")
        x = share.mT @ self.gathered[lead]
        share = F.pad(share * _inverse_std(x, self.eps)[:, None], (0, 0, 0, 1), value=1.0)
        hidden = share.mT @ self.hidden[lead]
        x.flatten(0, 1).addmm_(torch.ops.aten.gelu_(hidden).flatten(0, 1), self.fc2)
        x += self.fc2_bias
        return x.mul_(_inverse_std(x, self.norm.eps)[..., None])


def _centered(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


def _inverse_std(x: Float[Tensor, "m s d"], eps: float) -> Float[Tensor, "m s"]:
    """One over the standard deviation over the width, of values whose mean is 0."""
    return (torch.linalg.vector_norm(x, dim=-1).square_() / x.shape[-1]).add_(eps).rsqrt_()


def latents_in_one_layer(model: LAMAE, encoded: Latents, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """For one layer of latent attention over all tokens: each token once for each subset that contains its lead.

    encoded: one ECG before `model.connect`.
    """
    tokens = encoded.tokens[0]
    leads, count, width = tokens.shape
    (block,) = model.latent_attention
    assert isinstance(block, Block)
    layer = OneLayer.of(block, model.norm, tokens)
    scale, shift = model.norm.weight, model.norm.bias
    for rows, lead_mask in blocks_of_subsets(members):
        per_lead, variance = tokens.new_zeros(2, len(rows), leads, width)
        lead_mean = tokens.new_zeros(count - 1, len(rows), width)
        for lead in range(leads):
            with_lead = lead_mask[:, lead].nonzero()[:, 0]
            if not len(with_lead):
                continue
            x = layer.tokens_of(lead, lead_mask[with_lead])
            patches = x[1:]
            lead_mean.index_add_(1, with_lead, patches)
            mean = patches.mean(dim=0)
            per_lead[with_lead, lead] = (mean * (count - 1) + x[0]) / count
            variance[with_lead, lead] = (patches - mean).square_().mean(dim=0)
        inside, number = lead_mask[..., None], lead_mask.sum(dim=1)[:, None].clamp(min=1)
        yield SubsetLatents(
            rows,
            (per_lead * scale + shift) * inside,
            (variance * scale.square() + 1e-8).sqrt() * inside,
            lead_mean / number * scale + shift,
        )
