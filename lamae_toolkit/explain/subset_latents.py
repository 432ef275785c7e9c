"""The latents that every subset of an ECG's leads would have, without a run of the model for each.

The lead encoder reads every lead on its own, so that a lead's tokens before latent attention are the same in every
subset. What a token gathers in the first layer of latent attention is then a mean over the subset's leads, weighed
by the softmax of one score per lead: the scores and what is gathered from each lead are computed once, and the token
itself, its small network and its norm are what is left to compute for each of the 4,096 subsets.
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
"""Subsets that are worked on together: a power of two, small enough for a processor's cache."""
TOKENS_AT_ONCE = 20_000
"""Tokens that are worked on together where the blocks of the model run as they are."""


class SubsetLatents(NamedTuple):
    """The latents of some subsets of the leads, as far as a probe reads them.

    rows: the subsets' numbers. per_lead, spread: as in `Embedding`, 0 for a lead that is not in the subset.
    heartbeat: the mean over the subset's leads of their tokens at each moment.
    """

    rows: Int[Tensor, " s"]
    per_lead: Float[Tensor, "s l d"]
    spread: Float[Tensor, "s l d"]
    heartbeat: Float[Tensor, "n s d"]


def blocks_of_subsets(members: Bool[Tensor, "s l"]) -> Iterator[tuple[Int[Tensor, " s"], Bool[Tensor, "s l"]]]:
    """All subsets in the order of their numbers, some at a time: their numbers, and which leads are in them."""
    for rows in torch.arange(len(members), device=members.device).split(SUBSETS_AT_ONCE):
        yield rows, members[rows]


def latents_of_leads_apart(connected: Latents, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """Where leads never hear of each other, a lead's tokens are the same in every subset; only means over leads differ.

    connected: one ECG after `model.connect`.
    """
    tokens = connected.tokens[0]
    yield from _latents_of_still_patches(tokens[:, 1:], tokens[None, :, 0].expand(len(members), -1, -1), members)


def latents_by_cls(model: LAMAE, encoded: Latents, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """Where only the leads' CLS tokens meet, they alone are computed for every subset; any number of layers.

    encoded: one ECG before `model.connect`.
    """
    tokens = encoded.tokens[0]
    cls = tokens.new_zeros(len(members), *tokens[:, 0].shape)
    if len(model.latent_attention) == 1:
        layer = OneLayer.of(_only_block(model), model.norm, tokens[:, :1])
        for lead in range(len(tokens)):
            has = members[:, lead].nonzero()[:, 0]
            cls[has, lead] = layer.tokens_of(lead, members[has])[0] * model.norm.weight + model.norm.bias
    else:
        for rows, chosen in subsets_by_size(members, 1):
            x = tokens[chosen, 0]
            for block in model.latent_attention:
                x = block(x)
            cls[rows[:, None], chosen] = model.norm(x)
    yield from _latents_of_still_patches(model.norm(tokens[:, 1:]), cls, members)


def _latents_of_still_patches(
    patches: Float[Tensor, "l n d"], cls: Float[Tensor, "s l d"], members: Bool[Tensor, "s l"]
) -> Iterator[SubsetLatents]:
    """patches: the same in every subset. cls: the CLS token of each lead in each subset."""
    count = patches.shape[1] + 1
    spread = mean_and_std(patches, torch.ones_like(patches[..., 0], dtype=torch.bool))[1]
    by_moment = rearrange(patches, "l n d -> n l d")
    for rows, there in blocks_of_subsets(members):
        inside = there[..., None]
        per_lead = (cls[rows] + patches.sum(dim=1)) * inside / count
        share = there / there.sum(dim=1, keepdim=True).clamp(min=1)
        yield SubsetLatents(rows, per_lead, spread * inside, share @ by_moment)


def latents_by_connecting(model: LAMAE, encoded: Latents, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """Any latent attention: the model's own `connect` for all subsets, those of one size together, without padding.

    encoded: one ECG before `model.connect`.
    """
    leads, tokens = encoded.tokens.shape[1:3]
    for rows, chosen in subsets_by_size(members, tokens):
        connected = model.connect(Latents(*(part[0, chosen] for part in encoded))).tokens
        patches = connected[:, :, 1:]
        spread = mean_and_std(patches, torch.ones_like(patches[..., 0], dtype=torch.bool))[1]
        per_lead, of_leads = connected.new_zeros(2, len(rows), leads, connected.shape[-1])
        per_lead[torch.arange(len(rows))[:, None], chosen] = connected.mean(dim=2)
        of_leads[torch.arange(len(rows))[:, None], chosen] = spread
        yield SubsetLatents(rows, per_lead, of_leads, reduce(patches, "s k n d -> n s d", "mean"))


def subsets_by_size(
    members: Bool[Tensor, "s l"], tokens_per_lead: int
) -> Iterator[tuple[Int[Tensor, " s"], Int[Tensor, "s k"]]]:
    """All subsets but the empty one, those of one size together: their numbers, and which leads are in each."""
    size = members.sum(dim=1)
    for count in range(1, members.shape[1] + 1):
        for rows in (size == count).nonzero()[:, 0].split(max(1, TOKENS_AT_ONCE // (count * tokens_per_lead))):
            yield rows, rearrange(members[rows].nonzero()[:, 1], "(s k) -> s k", k=count)


class OneLayer(NamedTuple):
    """One layer of latent attention for one ECG, with all that does not depend on the subset computed.

    Of a token m of lead l in a subset S, with share = softmax over the leads k in S of score[l, m], head by head:
    after attention x = share . gathered[l, m], then x + back . gelu(share . hidden[l, m] / deviation of x) + back_bias.
    The first norm's scale and the small network's first layer are in `hidden`, its last row their bias; the mean over
    the width is taken off everything that the norms would take it off.
    """

    score: Float[Tensor, "l m h k 1"]
    gathered: Float[Tensor, "l m hk d"]
    hidden: Float[Tensor, "l m hk1 f"]
    back: Float[Tensor, "f d"]
    back_bias: Float[Tensor, " d"]
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
        # The shares of the first head sum to 1: what a token is without attention goes with them.
        gathered[:, :, 0] += (tokens + attention.out.bias)[:, :, None]
        gathered = rearrange(_centered(gathered), "l m h k d -> l m (h k) d")
        first, second = (layer for layer in block.mlp if isinstance(layer, nn.Linear))
        into = gathered @ (first.weight * block.norm_mlp.weight).T
        bias = first.weight @ block.norm_mlp.bias + first.bias
        hidden = torch.cat([into, bias.expand(leads, tokens.shape[1], 1, -1)], dim=2)
        back = _centered(second.weight.T).contiguous()
        return cls(score[..., None], gathered, hidden, back, _centered(second.bias), block.norm_mlp.eps, norm)

    def tokens_of(self, lead: int, there: Bool[Tensor, "s k"]) -> Float[Tensor, "m s d"]:
        """The tokens of a lead in each of these subsets, all of which hold it: normed, but for the norm's scale."""
        shut = torch.where(there.T, 0.0, -math.inf)
        share = rearrange((self.score[lead] + shut).softmax(dim=2), "m h k s -> m (h k) s")
        x = share.mT @ self.gathered[lead]
        share = F.pad(share * _per_deviation(x, self.eps)[:, None], (0, 0, 0, 1), value=1.0)
        hidden = share.mT @ self.hidden[lead]
        x.flatten(0, 1).addmm_(torch.ops.aten.gelu_(hidden).flatten(0, 1), self.back)
        x += self.back_bias
        return x.mul_(_per_deviation(x, self.norm.eps)[..., None])


def _only_block(model: LAMAE) -> Block:
    """The one block of latent attention of a model that has one of the usual kind."""
    (block,) = model.latent_attention
    assert isinstance(block, Block)
    return block


def _centered(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


def _per_deviation(x: Float[Tensor, "m s d"], eps: float) -> Float[Tensor, "m s"]:
    """One over the standard deviation over the width of what has the mean 0."""
    return (torch.linalg.vector_norm(x, dim=-1).square_() / x.shape[-1]).add_(eps).rsqrt_()


def latents_in_one_layer(model: LAMAE, encoded: Latents, members: Bool[Tensor, "s l"]) -> Iterator[SubsetLatents]:
    """Where all tokens meet in one layer of latent attention: each token once for each subset that holds its lead.

    encoded: one ECG before `model.connect`.
    """
    tokens = encoded.tokens[0]
    leads, count, width = tokens.shape
    layer = OneLayer.of(_only_block(model), model.norm, tokens)
    scale, shift = model.norm.weight, model.norm.bias
    for rows, there in blocks_of_subsets(members):
        per_lead, variance = tokens.new_zeros(2, len(rows), leads, width)
        heartbeat = tokens.new_zeros(count - 1, len(rows), width)
        for lead in range(leads):
            has = there[:, lead].nonzero()[:, 0]
            if not len(has):
                continue
            x = layer.tokens_of(lead, there[has])
            patches = x[1:]
            heartbeat.index_add_(1, has, patches)
            mean = patches.mean(dim=0)
            per_lead[has, lead] = (mean * (count - 1) + x[0]) / count
            variance[has, lead] = (patches - mean).square_().mean(dim=0)
        inside, number = there[..., None], there.sum(dim=1)[:, None].clamp(min=1)
        yield SubsetLatents(
            rows,
            (per_lead * scale + shift) * inside,
            (variance * scale.square() + 1e-8).sqrt() * inside,
            heartbeat / number * scale + shift,
        )
