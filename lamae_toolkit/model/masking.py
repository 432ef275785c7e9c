"""Masks: which patches are withheld from the model. True means masked; the random generator is an argument."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.random_numbers import Purpose, uniform

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
    visible = noise.topk(visible_patches(shape[-1], ratio), largest=False).indices
    return torch.ones(shape, dtype=torch.bool, device=device).scatter(-1, visible, False)


def visible_patches(patches: int, ratio: float) -> int:
    """How many of a lead's patches stay visible at this mask ratio; at least one, and at least one masked."""
    if not 0.0 < ratio < 1.0:
        raise ECGError(f"The mask ratio is {ratio:g}, but it is a fraction of the patches between 0 and 1.")
    return min(max(patches - round(patches * ratio), 1), patches - 1)


class VisiblePatches(NamedTuple):
    """Which patches are visible in training: the same number of leads of every ECG, and of patches of every lead.

    leads: (b, v), the rows of the leads that are not completely masked. patches: (b, v, k), the indices of their
    visible patches. So both can be gathered, and only what is visible is encoded. shown: (b, v), False for a lead that
    is completely masked although it is among `leads`, since other ECGs show more leads; None if all are shown.
    """

    leads: Int64[Tensor, "b v"]
    patches: Int64[Tensor, "b v k"]
    shown: Bool[Tensor, "b v"] | None = None

    def of(self, x: Shaped[Tensor, "b l n *rest"]) -> Shaped[Tensor, "b v k *rest"]:
        """The visible ones of values that every patch has."""
        record = torch.arange(len(x), device=x.device)[:, None, None]
        return x[record, self.leads[..., None], self.patches]

    def of_leads(self, x: Shaped[Tensor, "b l d"]) -> Shaped[Tensor, "b v d"]:
        """The visible ones of values that every lead has."""
        return x.gather(1, self.leads[..., None].expand(-1, -1, x.shape[2]))

    def mask(self, leads: int, patches: int) -> Mask:
        """The same as a mask: True where masked."""
        index = (self.leads[..., None] * patches + self.patches).flatten(1)
        mask = torch.ones(len(index), leads * patches, dtype=torch.bool, device=index.device)
        if self.shown is None:
            return mask.scatter(1, index, False).unflatten(1, (leads, patches))
        masked = ~self.shown[..., None].expand_as(self.patches).flatten(1)
        return mask.scatter(1, index, masked).unflatten(1, (leads, patches))

    def rows(self, rows: slice) -> "VisiblePatches":
        """Those of some of the ECGs."""
        shown = None if self.shown is None else self.shown[rows]
        return VisiblePatches(self.leads[rows], self.patches[rows], shown)


def sample_visible(
    keys: Int64[Tensor, " b"], lead_mask: Bool[Tensor, "b l"], patches: int, visible: int, masked_leads: int
) -> VisiblePatches:
    """Visible patches at random, those of an ECG from its key.

    visible: how many patches of each lead. masked_leads: how many leads are completely masked, so that the model must
    infer them from the others; only recorded leads are, and one of them always stays visible.
    """
    leads = lead_mask.shape[1]
    noise = uniform(keys, Purpose.MASKED_LEADS, (leads,))
    order = noise.masked_fill(~lead_mask, 2.0).argsort(dim=1)  # leads that were not recorded come last
    first = (lead_mask.sum(dim=1, keepdim=True) - 1).clamp(max=masked_leads)  # those before are masked
    visible_leads = order.gather(1, first + torch.arange(leads - masked_leads, device=keys.device)).sort(dim=1).values
    noise = uniform(keys, Purpose.MASKED_PATCHES, (leads - masked_leads, patches))
    return VisiblePatches(visible_leads, noise.topk(visible, largest=False).indices)


STRETCH = 5
"""Patches of a stretch of time that is masked or visible as one in all leads: 1.25 s at 0.25 s per patch, a beat."""


def sample_mixed(
    keys: Int64[Tensor, " b"],
    lead_mask: Bool[Tensor, "b l"],
    limb: Bool[Tensor, " l"],
    patches: int,
    visible: int,
    kinds: Sequence[str],
) -> VisiblePatches:
    """Visible patches at random, each ECG by one of several kinds of masks that leave less to copy.

    kinds: of equal probability. "lead": random patches and one complete lead, as `sample_visible` does. "group": random
    patches and, with equal probability, all limb leads, all chest leads, half of the leads, or all leads but one.
    "time": stretches of time, in all leads at once, and one complete lead. limb: which leads are limb leads. visible:
    how many patches of each lead that is shown.
    """
    b, leads = lead_mask.shape
    chosen = uniform(keys, Purpose.MASK_KIND, (2,))
    kind = (chosen[:, 0] * len(kinds)).long()
    noise = uniform(keys, Purpose.MASKED_LEADS, (leads,)).masked_fill(~lead_mask, 2.0)
    rank = noise.argsort(dim=1).argsort(dim=1)  # leads that were not recorded come last
    recorded = lead_mask.sum(dim=1, keepdim=True)
    shown = lead_mask & (rank > 0)
    if "group" in kinds:
        groups = torch.stack([~limb.expand(b, -1), limb.expand(b, -1), rank >= recorded // 2, rank == 0], dim=1)
        group = groups[torch.arange(b, device=keys.device), (chosen[:, 1] * groups.shape[1]).long()] & lead_mask
        shown = torch.where((kind == kinds.index("group"))[:, None], group, shown)
    # One recorded lead is always shown: an ECG without chest leads cannot have its limb leads masked.
    shown = torch.where(shown.any(dim=1, keepdim=True), shown, lead_mask & (rank == recorded - 1))
    order = (~shown).byte().argsort(dim=1, stable=True)[:, : max(leads - 1, 1)]
    noise = uniform(keys, Purpose.MASKED_PATCHES, (order.shape[1], patches))
    if "time" in kinds:
        stretches = uniform(keys, Purpose.MASKED_STRETCHES, (1, -(-patches // STRETCH)))
        of_time = stretches.repeat_interleave(STRETCH, dim=2)[:, :, :patches].expand_as(noise)
        noise = torch.where((kind == kinds.index("time"))[:, None, None], of_time, noise)
    return VisiblePatches(order, noise.topk(visible, largest=False).indices, shown.gather(1, order))


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
