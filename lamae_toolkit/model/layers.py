"""The building blocks of the model: attention and transformer blocks.

Boolean masks follow torch's scaled_dot_product_attention: True where a token may be attended to (the opposite of the
`key_padding_mask` of nn.MultiheadAttention). `hook` is where attention can be read and edited (see
`lamae_toolkit.model.hooks`): a function of the softmax that returns its replacement, or None if it only reads.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

AttentionHook = Callable[[Tensor], Tensor | None]

# einops caches the tensor types that it has handled. torch.compile guards on that cache, so a type that is first used
# while a model is traced would have it traced twice.
for _warm_up in (torch.zeros(1), nn.Parameter(torch.zeros(1))):
    rearrange(_warm_up, "one -> one")


class Attention(nn.Module):
    """Multi-head attention: every token gathers from the others what it needs, softmax(q k^T / sqrt(e)) v per head.

    Source: Vaswani et al., arXiv 1706.03762. One class, two paths with equal results: fused, and explicit where `hook`
    is set, which then receives the softmax, (b, h, i, j), each row summing to 1.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # No bias: that of the keys would cancel in the softmax and get no gradient.
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.hook: AttentionHook | None = None

    def forward(
        self,
        x: Float[Tensor, "b i d"],
        key_mask: Bool[Tensor, "b j"] | None = None,
        context: Float[Tensor, "b j d"] | None = None,
    ) -> Float[Tensor, "b i d"]:
        """key_mask: True where a token may be attended to. context: the tokens to attend to, if not those of x."""
        if context is None:
            q, k, v = rearrange(self.qkv(x), "b m (three h e) -> three b h m e", three=3, h=self.heads)
        else:
            to_q, to_kv = self.qkv.weight.split([x.shape[-1], 2 * x.shape[-1]])
            q = rearrange(F.linear(x, to_q), "b m (h e) -> b h m e", h=self.heads)
            k, v = rearrange(F.linear(context, to_kv), "b m (two h e) -> two b h m e", two=2, h=self.heads)
        attn_mask = None if key_mask is None else key_mask[:, None, None, :]
        if self.hook is None:
            gathered = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        else:
            scores = einsum(q / math.sqrt(q.shape[-1]), k, "b h i e, b h j e -> b h i j")
            if attn_mask is not None:
                scores = scores.masked_fill(~attn_mask, -math.inf)
            attention = hooked(scores.softmax(dim=-1), self.hook)
            gathered = einsum(attention, v, "b h i j, b h j e -> b h i e")
        return self.out(rearrange(gathered, "b h m e -> b m (h e)"))


def hooked(attention: Tensor, hook: AttentionHook | None) -> Tensor:
    """The softmax as its hook returns it, or unchanged."""
    edited = None if hook is None else hook(attention)
    return attention if edited is None else edited


class Block(nn.Module):
    """A pre-norm transformer block: attention among the tokens, then an MLP for each token.

    x + attention(norm(x)), then x + mlp(norm(x)). Source: Xiong et al., arXiv 2002.04745.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self,
        x: Float[Tensor, "b i d"],
        key_mask: Bool[Tensor, "b j"] | None = None,
        context: Float[Tensor, "b j d"] | None = None,
    ) -> Float[Tensor, "b i d"]:
        """key_mask, context: as in `Attention`."""
        context = None if context is None else self.norm_attention(context)
        x = x + self.attention(self.norm_attention(x), key_mask, context)
        return x + self.mlp(self.norm_mlp(x))


class InducedBlock(nn.Module):
    """Induced set attention: a few learned latents attend to all tokens, and every token attends to these latents.

    The cost grows with the number of tokens, not with its square. Source: Lee et al., arXiv 1810.00825.
    """

    def __init__(self, width: int, heads: int, latents: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.gather, self.broadcast = Block(width, heads), Block(width, heads)

    def forward(self, x: Float[Tensor, "b m d"], key_mask: Bool[Tensor, "b m"] | None = None) -> Float[Tensor, "b m d"]:
        """key_mask: True where a token may be attended to."""
        gathered = self.gather(self.latents.expand(len(x), -1, -1), key_mask, x)
        return self.broadcast(x, None, gathered)


def sinusoidal_pos_embed(length: int, width: int) -> Float[Tensor, "n d"]:
    """A fixed positional embedding, which encodes the time of a token: sin and cos of t / 10000^(i/d).

    Source: Vaswani et al., arXiv 1706.03762.
    """
    rate = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
    angle = torch.arange(length)[:, None] * rate[None]
    return torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(length, -1)[:, :width]
