"""Masks: which patches are withheld from the model. True means masked; the random generator is an argument."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lamae_toolkit.errors import ECGError

Mask = Bool[torch.Tensor, "b l n"]


def random_mask(
    shape: tuple[int, int, int],
    ratio: float,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Mask:
    """Mask a fraction of the patches of every lead at random, each lead by itself.

    shape: (b, l, n), records, leads and patches. ratio: the fraction that is masked, from 0 to below 1; every lead
    keeps the same number of patches, `visible_patches`, so that all leads can be encoded together. generator: the
    source of random numbers, torch's own if not given. device: where the mask is made.

    Returns a boolean mask (b, l, n), True where a patch is masked. Source: He et al., arXiv 2111.06377.

    Example:
        import lamae_toolkit as lt

        mask = lt.random_mask((1, 12, 40), ratio=0.75)
        mask.sum(dim=-1)  # 30 of 40 patches of each lead
    """
    noise = torch.rand(shape, generator=generator, device=device)
    return mask_largest(noise, visible_patches(shape[-1], ratio))


def mask_largest(noise: Float[Tensor, "b l n"], visible: int) -> Mask:
    """Mask all patches of every lead but those with the smallest random numbers."""
    rank = noise.argsort(dim=-1).argsort(dim=-1)
    return rank >= visible


def visible_patches(patches: int, ratio: float) -> int:
    """How many of a lead's patches stay visible at this mask ratio; at least one, and at least one masked."""
    if not 0.0 < ratio < 1.0:
        raise ECGError(f"The mask ratio is {ratio:g}, but it is a fraction of the patches between 0 and 1.")
    return min(max(patches - round(patches * ratio), 1), patches - 1)


def whole_lead_mask(
    noise: Float[Tensor, "b l"], masked_leads: int, patches: int, lead_mask: Bool[Tensor, "b l"]
) -> Mask:
    """Mask some leads completely, those with the smallest random numbers: the model must infer them from the others.

    lead_mask: True for recorded leads: only these are masked, and one of them always stays visible.
    """
    limit = (lead_mask.sum(dim=1, keepdim=True) - 1).clamp(max=masked_leads)
    rank = noise.masked_fill(~lead_mask, 2.0).argsort(dim=-1).argsort(dim=-1)  # leads that were not recorded come last
    return (rank < limit)[:, :, None].expand(-1, -1, patches)


def named_lead_mask(shape: tuple[int, int, int], leads: tuple[str, ...], masked: tuple[str, ...]) -> Mask:
    """Mask exactly the leads named in `masked`, completely.

    shape: (b, l, n), records, leads and patches. leads: the names of the rows of the batch. masked: the names of the
    leads to mask. Returns a boolean mask (b, l, n), True where a patch is masked. Raises ECGError for a name that is
    not among `leads`.

    Example:
        import lamae_toolkit as lt

        mask = lt.named_lead_mask((1, 12, 40), lt.LEADS, ("V1", "V2"))
        mask[0, lt.LEADS.index("V1")].all()  # True: lead V1 is masked
    """
    unknown = [name for name in masked if name not in leads]
    if unknown:
        raise ECGError(f"Lead {unknown[0]} cannot be masked: it is not among {', '.join(leads)}.")
    row = torch.tensor([name in masked for name in leads])
    return row[None, :, None].expand(shape)


def range_mask(
    shape: tuple[int, int, int], leads: tuple[str, ...], masked: Mapping[str, Sequence[tuple[int, int]]]
) -> Mask:
    """Mask ranges of patches of the leads named in `masked`, as (first, end) counted from 0, end excluded."""
    mask = torch.zeros(shape, dtype=torch.bool)
    for name, ranges in masked.items():
        if name not in leads:
            raise ECGError(f"Lead {name} cannot be masked: it is not among {', '.join(leads)}.")
        for first, end in ranges:
            if not 0 <= first < end <= shape[2]:
                raise ECGError(f"Patches {first} to {end} of lead {name} are not among the patches 0 to {shape[2]}.")
            mask[:, leads.index(name), first:end] = True
    return mask


def masked_ranges(mask: Bool[np.ndarray, "l n"], leads: tuple[str, ...]) -> dict[str, list[tuple[int, int]]]:
    """The masked patches of each lead as (first, end) ranges, from which `range_mask` makes the same mask."""
    steps = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))), axis=1)
    edges = {name: np.flatnonzero(row).reshape(-1, 2).tolist() for name, row in zip(leads, steps, strict=True)}
    return {name: [(first, end) for first, end in pairs] for name, pairs in edges.items() if pairs}
