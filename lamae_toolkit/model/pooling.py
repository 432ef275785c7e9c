"""Lead pooling: how much each lead of an ECG counts for the heart token, which is a weighted sum over the leads.

Three ways with one interface. Called with what is known of each lead (its latent, the standard deviation of its latents
over time, its amplitude), a pooling gives the heart token and the lead weights. `split` takes the heart token apart
again: a linear probe on it is a sum over leads.
"""

import math

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.model.layers import AttentionHook, hooked


class Pooling(nn.Module):
    """What the ways to pool leads have in common."""

    heads: int
    all_features: bool = False
    time_step_width: int
    """The length of what is pooled at a time step."""

    def width(self, amplitudes: int = 0) -> int:
        """The length of the heart token, from leads with this many amplitudes; the decoder reads it without any."""
        return self.time_step_width

    def forward(
        self,
        lead_latents: Float[Tensor, "b l d"],
        lead_std: Float[Tensor, "b l d"],
        amplitude: Float[Tensor, "b l a"],
        lead_mask: Bool[Tensor, "b l"],
        name: Int[Tensor, "b l"],
    ) -> tuple[Float[Tensor, "b w"], Float[Tensor, "b h l"]]:
        """The heart token, and the weight of each lead: 0 where `lead_mask` is False, and each head's sum to 1.

        name: the index of each lead in LEADS.
        """
        weights = self.weigh(lead_latents, lead_mask, name)
        return self.pool(self.describe(lead_latents, lead_std, amplitude), weights), weights

    def weigh(
        self, lead_latents: Float[Tensor, "b l d"], lead_mask: Bool[Tensor, "b l"], name: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b h l"]:
        """The lead weights."""
        raise NotImplementedError

    def describe(
        self, lead_latents: Float[Tensor, "b l d"], lead_std: Float[Tensor, "b l d"], amplitude: Float[Tensor, "b l a"]
    ) -> Float[Tensor, "b l f"]:
        """What is added up of each lead: the lead latents, or all that is known of it."""
        return torch.cat([lead_latents, lead_std, amplitude], dim=2) if self.all_features else lead_latents

    def pool(self, leads: Float[Tensor, "b l f"], weights: Float[Tensor, "b h l"]) -> Float[Tensor, "b w"]:
        """The heart token of leads that are described."""
        raise NotImplementedError

    def split(
        self,
        leads: Float[Tensor, "b l f"],
        weights: Float[Tensor, "b h l"],
        direction: Float[Tensor, "c w"],
        origin: Float[Tensor, " w"],
    ) -> Float[Tensor, "b l c"]:
        """What each lead adds to direction . (heart token - origin); the sum over leads is exactly that.

        leads: described. The weights of a head sum to 1 over the leads, so what does not depend on the lead is shared
        out by them. direction, origin, result: 64-bit, on the CPU.
        """
        raise NotImplementedError

    def pool_time_steps(
        self,
        tokens: Float[Tensor, "b l k d"],
        valid: Bool[Tensor, "b l k"],
        position: Int[Tensor, "b l k"],
        weights: Float[Tensor, "b h l"],
        n: int,
    ) -> Float[Tensor, "b n v"]:
        """A heart token for each of n time steps: the leads visible at that patch, added up by the same weights.

        position: the time step of each token. See `shares_at_time_steps`; where all leads are masked, it is 0.
        """
        raise NotImplementedError


class LeadPooling(Pooling):
    """Weigh the leads of an ECG: a learned query attends to all leads, and its softmax is the lead weights.

    weight = softmax over leads of (query . key) / sqrt(e), one set of weights per head. The order of the leads does not
    matter, and an absent lead has the weight 0. Without `adaptive`, all leads have equal weights.
    """

    def __init__(self, width: int, heads: int, adaptive: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.time_step_width = width
        self.query = nn.Parameter(torch.randn(heads, width // heads)) if adaptive else None
        self.key = nn.Linear(width, width, bias=False) if adaptive else None
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.hook: AttentionHook | None = None

    def weigh(
        self, lead_latents: Float[Tensor, "b l d"], lead_mask: Bool[Tensor, "b l"], name: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b h l"]:
        """The lead weights; names are not used."""
        if self.key is None:
            scores = lead_latents.new_zeros(len(lead_latents), self.heads, lead_latents.shape[1])
        else:
            key = rearrange(self.key(lead_latents), "b l (h e) -> b l h e", h=self.heads)
            scores = einsum(self.query, key, "h e, b l h e -> b h l") / math.sqrt(key.shape[-1])
        scores = scores.masked_fill(~lead_mask[:, None], -math.inf)
        return hooked(scores.softmax(dim=-1), self.hook)

    def pool(self, leads: Float[Tensor, "b l d"], weights: Float[Tensor, "b h l"]) -> Float[Tensor, "b d"]:
        """The heart token: the leads added up by their weights."""
        value = rearrange(self.value(leads), "b l (h e) -> b l h e", h=self.heads)
        return self.out(rearrange(einsum(weights, value, "b h l, b l h e -> b h e"), "b h e -> b (h e)"))

    def split(
        self,
        leads: Float[Tensor, "b l d"],
        weights: Float[Tensor, "b h l"],
        direction: Float[Tensor, "c d"],
        origin: Float[Tensor, " d"],
    ) -> Float[Tensor, "b l c"]:
        """What each lead adds to direction . (heart token - origin)."""
        value = rearrange(self.value(leads), "b l (h e) -> b h l e", h=self.heads)
        out = rearrange(self.out.weight, "d (h e) -> h e d", h=self.heads)
        value = (einsum(value, out, "b h l e, h e d -> b h l d") + self.out.bias / self.heads).cpu().double()
        return einsum(weights.cpu().double(), value - origin / self.heads, direction, "b h l, b h l d, c d -> b l c")

    def pool_time_steps(
        self,
        tokens: Float[Tensor, "b l k d"],
        valid: Bool[Tensor, "b l k"],
        position: Int[Tensor, "b l k"],
        weights: Float[Tensor, "b h l"],
        n: int,
    ) -> Float[Tensor, "b n d"]:
        """A heart token for each of n time steps."""
        share, any_visible = shares_at_time_steps(valid, position, weights, n)
        value = rearrange(self.value(tokens), "b l k (h e) -> b h (l k) e", h=self.heads)
        return self.out(rearrange(share @ value, "b h n e -> b n (h e)")) * any_visible[..., None]


class NamedPooling(Pooling):
    """Weigh the leads of an ECG by their names and by what they show, in several heads that each pool all there is.

    weight = softmax over leads of preference[head, lead] + (query . key) / sqrt(d), one set of weights per head. A head
    begins with a preference for one lead and learns which others tell it the same. The heart token has, head by head,
    the weighted sum of what each lead is described by, unchanged: twelve heads can keep all that the leads say. A name
    travels with its lead, so the order of the leads does not matter, and an absent lead has the weight 0.
    """

    all_features = True
    PREFERENCE = 3.0
    """Of each head for its lead at first: that lead gets two thirds of the weight, the others share the rest."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.time_step_width = heads * width
        self.query = nn.Parameter(torch.randn(heads, width) * 0.1)
        self.key = nn.Linear(width, width, bias=False)
        self.preference = nn.Parameter(self.PREFERENCE * torch.eye(len(LEADS))[torch.arange(heads) % len(LEADS)])
        self.hook: AttentionHook | None = None

    def width(self, amplitudes: int = 0) -> int:
        """The length of the heart token: for each head, all that is known of a lead."""
        return 2 * self.time_step_width + self.heads * amplitudes

    def weigh(
        self, lead_latents: Float[Tensor, "b l d"], lead_mask: Bool[Tensor, "b l"], name: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b h l"]:
        """The lead weights."""
        scores = einsum(self.query, self.key(lead_latents), "h d, b l d -> b h l") / math.sqrt(lead_latents.shape[-1])
        scores = scores + rearrange(self.preference.T[name], "b l h -> b h l")
        return hooked(scores.masked_fill(~lead_mask[:, None], -math.inf).softmax(dim=-1), self.hook)

    def pool(self, leads: Float[Tensor, "b l f"], weights: Float[Tensor, "b h l"]) -> Float[Tensor, "b hf"]:
        """The heart token: what the leads are described by, added up by the weights of each head."""
        return rearrange(einsum(weights, leads, "b h l, b l f -> b h f"), "b h f -> b (h f)")

    def split(
        self,
        leads: Float[Tensor, "b l f"],
        weights: Float[Tensor, "b h l"],
        direction: Float[Tensor, "c hf"],
        origin: Float[Tensor, " hf"],
    ) -> Float[Tensor, "b l c"]:
        """What each lead adds to direction . (heart token - origin)."""
        of_head = rearrange(direction, "c (h f) -> c h f", h=self.heads)
        away = leads.cpu().double()[:, None] - rearrange(origin, "(h f) -> h 1 f", h=self.heads)
        return einsum(weights.cpu().double(), away, of_head, "b h l, b h l f, c h f -> b l c")

    def pool_time_steps(
        self,
        tokens: Float[Tensor, "b l k d"],
        valid: Bool[Tensor, "b l k"],
        position: Int[Tensor, "b l k"],
        weights: Float[Tensor, "b h l"],
        n: int,
    ) -> Float[Tensor, "b n hd"]:
        """The patch tokens of each of n time steps, added up by the weights of each head."""
        share, _ = shares_at_time_steps(valid, position, weights, n)
        pooled = einsum(share, rearrange(tokens, "b l k d -> b (l k) d"), "b h n q, b q d -> b n h d")
        return rearrange(pooled, "b n h d -> b n (h d)")


class EqualPooling(Pooling):
    """The plain mean of the leads that were recorded, for models in which no lead knows of another.

    all_features: pool all that is known of each lead, as `NamedPooling` does, or the lead latents alone.
    """

    heads = 1

    def __init__(self, width: int, all_features: bool) -> None:
        super().__init__()
        self.all_features, self.time_step_width = all_features, width

    def width(self, amplitudes: int = 0) -> int:
        """The length of the mean."""
        return self.time_step_width * (1 + self.all_features) + amplitudes * self.all_features

    def weigh(
        self, lead_latents: Float[Tensor, "b l d"], lead_mask: Bool[Tensor, "b l"], name: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b 1 l"]:
        """Equal weights; names are not used."""
        return (lead_mask / lead_mask.sum(dim=1, keepdim=True))[:, None]

    def pool(self, leads: Float[Tensor, "b l f"], weights: Float[Tensor, "b 1 l"]) -> Float[Tensor, "b f"]:
        """The mean."""
        return (leads * weights[:, 0, :, None]).sum(dim=1)

    def split(
        self,
        leads: Float[Tensor, "b l f"],
        weights: Float[Tensor, "b 1 l"],
        direction: Float[Tensor, "c f"],
        origin: Float[Tensor, " f"],
    ) -> Float[Tensor, "b l c"]:
        """What each lead adds to direction . (heart token - origin)."""
        return (leads.cpu().double() - origin) @ direction.T * weights[:, 0, :, None].cpu().double()


def shares_at_time_steps(
    valid: Bool[Tensor, "b l k"], position: Int[Tensor, "b l k"], weights: Float[Tensor, "b h l"], n: int
) -> tuple[Float[Tensor, "b h n lk"], Bool[Tensor, "b n"]]:
    """The weight of each patch token at its time step, and whether any lead is visible there.

    Where a lead is masked, the others' weights are scaled up to sum to 1; where all are, they are 0.
    """
    at_step = (position[:, :, None] == torch.arange(n, device=position.device)[:, None]) & valid[:, :, None]
    share = einsum(weights, at_step.to(weights.dtype), "b h l, b l n k -> b h n l k").flatten(3)
    return share / share.sum(dim=3, keepdim=True).clamp(min=1e-6), at_step.any(dim=(1, 3))
