"""Occlusion by masking: what a model predicts for an ECG of which some patches are masked.

A masked autoencoder is trained on ECGs with masked patches, so such an ECG is in distribution, unlike one in which a
segment is set to zero.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.model.lamae import LAMAE


@torch.inference_mode()
def visible_log_odds(
    model: LAMAE, probe: Probe, batch: Batch, mask: Bool[Tensor, "b l n"], at_once: int = 16
) -> Float[Tensor, "b c"]:
    """The log-odds of each code from the visible patches only, `at_once` ECGs at a time."""
    parts = []
    with in_float32(model):
        for start in range(0, len(batch), at_once):
            some = slice(start, start + at_once)
            part = batch.rows(some)
            parts.append(log_odds(model.embed(part, mask[some]), part, probe))
    return torch.cat(parts)


def masked_time_steps(model: LAMAE, probe: Probe, batch: Batch) -> Float[Tensor, "b n c"]:
    """The fall of the log-odds of each code when one patch of time is masked in all leads.

    fall(n) = log-odds(complete ECG) - log-odds(without patch n).
    """
    b, l, n, _ = model.patches(batch).shape
    mask = repeat(torch.eye(n, dtype=torch.bool, device=batch.lead_mask.device), "k n -> (b k) l n", b=b, l=l)
    without = visible_log_odds(model, probe, _each(batch, n), mask)
    complete = visible_log_odds(model, probe, batch, torch.zeros_like(mask[:b]))
    return complete[:, None] - rearrange(without, "(b k) c -> b k c", b=b)


def mask_first(
    order: Int[Tensor, "b k"], shares: tuple[float, ...], leads: int, only: bool = False
) -> Bool[Tensor, "b s l n"]:
    """Masks of the first patches of an order, one for each share of all patches.

    order: the patches of all leads, lead by lead, the first one first. only: mask all others instead.
    """
    rank = order.argsort(dim=1)
    count = torch.tensor([round(share * order.shape[1]) for share in shares], device=order.device)
    first = rank[:, None] < count[:, None]
    return rearrange(~first if only else first, "b s (l n) -> b s l n", l=leads)


def masking_curves(
    model: LAMAE, probe: Probe, batch: Batch, order: Int[Tensor, "b k"], shares: tuple[float, ...]
) -> tuple[Float[Tensor, "b s c"], Float[Tensor, "b s c"]]:
    """The log-odds after these shares of the patches are masked in this order, and when only these are visible."""
    curves = []
    for only in (False, True):
        mask = rearrange(mask_first(order, shares, len(batch.leads), only), "b s l n -> (b s) l n")
        predicted = visible_log_odds(model, probe, _each(batch, len(shares)), mask)
        curves.append(rearrange(predicted, "(b s) c -> b s c", b=len(batch)))
    return curves[0], curves[1]


def _each(batch: Batch, times: int) -> Batch:
    """Every ECG repeated, its copies next to each other."""
    return batch.rows(torch.arange(len(batch), device=batch.lead_mask.device).repeat_interleave(times))
