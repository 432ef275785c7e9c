"""Masks of several kinds: groups of leads, and stretches of time in all leads."""

from dataclasses import replace

import pytest
import torch

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.masking import STRETCH, random_mask, sample_mixed, sample_visible
from lamae_toolkit.model.random_numbers import random_keys
from small_models import SMALL, some_ecgs

ECGS, PATCHES, VISIBLE = 400, 40, 10
LIMB = torch.arange(12) < 6


def sampled(kinds: list[str], lead_mask: torch.Tensor) -> torch.Tensor:
    """The masks of the recorded leads."""
    keys = random_keys(0, 0, torch.arange(len(lead_mask)))
    return sample_mixed(keys, lead_mask, LIMB, PATCHES, VISIBLE, kinds).mask(12, PATCHES) | ~lead_mask[:, :, None]


def test_patches_with_the_smallest_random_numbers_are_visible():
    """A seed means the same mask in every version: notebooks and pages of code name it."""
    mask = random_mask((2, 12, PATCHES), 0.75, torch.Generator().manual_seed(7))
    noise = torch.rand((2, 12, PATCHES), generator=torch.Generator().manual_seed(7))
    largest_visible = noise.sort(dim=-1).values[..., VISIBLE - 1 : VISIBLE]
    assert torch.equal(mask, noise > largest_visible)


def test_groups_of_leads_that_belong_together_are_masked():
    masked = sampled(["group"], torch.ones(ECGS, 12, dtype=torch.bool)).all(dim=2)
    kinds = {
        "limb": (masked == LIMB).all(dim=1),
        "chest": (masked == ~LIMB).all(dim=1),
        "all but one": masked.sum(dim=1) == 11,
    }
    shares = {name: kind.float().mean().item() for name, kind in kinds.items()}
    assert all(0.18 < share < 0.32 for share in shares.values()), shares
    rest = ~torch.stack(list(kinds.values())).any(dim=0)
    assert (masked[rest].sum(dim=1) == 6).all()


def test_stretches_of_time_are_masked_in_all_leads_at_once():
    mask = sampled(["time"], torch.ones(ECGS, 12, dtype=torch.bool))
    shown = ~mask.all(dim=2)
    assert (shown.sum(dim=1) == 11).all()
    for ecg in range(0, ECGS, 40):
        rows = mask[ecg][shown[ecg]]
        assert (rows == rows[0]).all()
        stretches = rows[0].reshape(-1, STRETCH)
        assert (stretches.all(dim=1) | ~stretches.any(dim=1)).all()


@pytest.mark.parametrize("kinds", [["lead"], ["group"], ["time"], ["lead", "group", "time"]])
def test_an_ecg_with_few_leads_keeps_one_visible(kinds):
    lead_mask = torch.ones(ECGS, 12, dtype=torch.bool)
    lead_mask[:100, 6:] = False
    lead_mask[100:200, 1:] = False
    lead_mask[200:300, :11] = False
    visible = (~sampled(kinds, lead_mask)).sum(dim=(1, 2))
    assert visible.min() == VISIBLE


def test_what_is_masked_is_not_read_and_the_loss_is_that_of_the_mask():
    config = replace(SMALL, masks="lead+group+time", masked_leads=1)
    model, batch, keys = random_encoder(config), some_ecgs(8), random_keys(1, 0, torch.arange(8))
    visible = model.sample_visible(batch, keys)
    mask = visible.mask(12, 40)
    with torch.inference_mode():
        gathered, masked = model(batch, visible=visible), model(batch, mask)
        torch.testing.assert_close(gathered.prediction, masked.prediction, atol=1e-5, rtol=0)
        torch.testing.assert_close(gathered.loss, masked.loss, atol=1e-5, rtol=0)
        hidden = mask.repeat_interleave(25, dim=2)
        changed = replace(batch, signal_mv=torch.where(hidden, batch.signal_mv.flip(2), batch.signal_mv))
        # Only normalization reads masked patches here, so that the two are compared with the same units.
        model.config = replace(config, normalization="visible")
        model.normalize.config = model.config
        plain, other = (model.reconstruct(x, mask) for x in (batch, changed))
        assert torch.equal(plain, other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"masks": "beat"}, "choose from lead, group, time"),
        ({"masks": "group", "masked_leads": 2}, "masked_leads of 1"),
    ],
)
def test_masks_that_do_not_exist_are_refused(values, message):
    with pytest.raises(ECGError, match=message):
        LAMAEConfig(**values)


def test_names_of_leads_tell_the_groups():
    model = random_encoder(replace(SMALL, masks="group", masked_leads=1))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist()
    batch = some_ecgs(64).select([LEADS[row] for row in order])
    masked = model.sample_visible(batch, random_keys(0, 0, torch.arange(64))).mask(12, 40).all(dim=2)
    limb = torch.tensor([row < 6 for row in order])
    assert any(bool((row == limb).all()) for row in masked) and any(bool((row == ~limb).all()) for row in masked)


@pytest.mark.parametrize("masked_leads", [0, 1, 5, 11])
def test_one_recorded_lead_stays_visible(masked_leads):
    """However few leads an ECG has; where it has enough of them, exactly so many are masked."""
    lead_mask = torch.arange(12)[None] < torch.arange(1, 13)[:, None]
    lead_mask = lead_mask[:, torch.randperm(12, generator=torch.Generator().manual_seed(0))].repeat(20, 1)
    visible = sample_visible(random_keys(1, 0, torch.arange(len(lead_mask))), lead_mask, PATCHES, VISIBLE, masked_leads)
    shown = ~visible.mask(12, PATCHES).all(dim=2)
    recorded = lead_mask.sum(dim=1)
    assert ((shown & lead_mask).sum(dim=1) == (recorded - masked_leads).clamp(min=1)).all()
