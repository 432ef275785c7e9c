"""Augmentation: the documented changes for each ECG, reproducible for each ECG, or none."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from lamae_toolkit.checksums import CHECKSUM_FILE
from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.experiments.audit import prepare
from lamae_toolkit.experiments.audit.plan import AuditPlan
from lamae_toolkit.experiments.comparison import run as compare
from lamae_toolkit.experiments.comparison.plans import simulated
from lamae_toolkit.model.random_numbers import random_keys
from lamae_toolkit.training.augment import (
    Augmentation,
    random_amplitude,
    random_crop,
    random_lead_dropout,
    random_noise,
)
from lamae_toolkit.training.run import STATE_FILE
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain
from small_models import TEN, TO_TRAIN, run, same_bits, without_speed

EVERYTHING = Augmentation(crop_patches=20, scale_jitter=0.3, lead_dropout=0.4, noise_mv=0.05)


def keys(records: int = 400, seed: int = 0) -> torch.Tensor:
    return random_keys(seed, 0, torch.arange(records))


def numbered(records: int = 400, samples: int = 100) -> Batch:
    """ECGs whose values are the number of the lead and of the moment, of which some lack leads."""
    signal = 1000.0 * torch.arange(len(LEADS))[:, None] + torch.arange(samples)
    lead_mask = torch.rand((records, len(LEADS)), generator=torch.Generator().manual_seed(9)) > 0.3
    lead_mask[:, 0] = True
    return Batch(signal * lead_mask[:, :, None], lead_mask)


def test_crop_is_one_segment_of_all_leads_inside_the_ecg():
    batch = numbered()
    cropped = random_crop(batch, 90, keys())
    start = cropped.signal_mv[:, 0, 0]  # lead I is there in all, and its values are the moments
    expected = 1000.0 * torch.arange(len(LEADS))[:, None] + torch.arange(90) + start[:, None, None]
    assert torch.equal(cropped.signal_mv, expected * batch.lead_mask[:, :, None])
    assert torch.equal(cropped.lead_mask, batch.lead_mask)
    counts = torch.bincount(start.long(), minlength=11)
    assert len(counts) == 11 and counts.min() > 15, "every start from 0 to 10 is about as frequent"
    assert torch.equal(random_crop(batch, 100, keys()).signal_mv, batch.signal_mv)
    with pytest.raises(ECGError, match="101 samples cannot be cropped from ECGs of 100"):
        random_crop(batch, 101, keys())


def test_amplitude_is_one_factor_per_ecg():
    batch = numbered()
    changed = random_amplitude(batch, 0.2, keys())
    factor = changed.signal_mv[:, 0, 1]  # of the value 1
    torch.testing.assert_close(changed.signal_mv, batch.signal_mv * factor[:, None, None])
    assert 0.8 <= factor.min() < 0.81 and 1.19 < factor.max() <= 1.2
    assert factor.mean() == pytest.approx(1.0, abs=0.02) and factor.std() == pytest.approx(0.4 / 12**0.5, rel=0.1)


def test_leads_are_dropped_with_the_probability_and_one_always_stays():
    batch = numbered(2000)
    left = random_lead_dropout(batch, 0.25, keys(2000))
    assert not (left.lead_mask & ~batch.lead_mask).any(), "a lead that is absent stays absent"
    kept = left.lead_mask.sum() / batch.lead_mask.sum()
    assert kept == pytest.approx(0.75, abs=0.01)
    assert torch.equal(left.signal_mv, batch.signal_mv * left.lead_mask[:, :, None])
    rows = left.lead_mask.unique(dim=0)
    assert len(rows) > 500, "each ECG loses leads of its own"
    bare = random_lead_dropout(batch, 0.999, keys(2000)).lead_mask.sum(dim=1)
    assert bare.min() == 1 and bare.float().mean() < 1.05


def test_noise_is_normal_and_only_on_recorded_leads():
    batch = numbered()
    noise = random_noise(batch, 0.05, keys()).signal_mv.double() - batch.signal_mv
    assert not noise[~batch.lead_mask].any()
    there = noise[batch.lead_mask & (batch.signal_mv[:, :, 0] == 0)]  # lead I, where float32 does not round it away
    assert there.std().item() == pytest.approx(0.05, rel=0.02) and abs(there.mean().item()) < 0.001
    assert np.corrcoef(there[:, :-1].flatten(), there[:, 1:].flatten())[0, 1] == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("augment", [EVERYTHING, *(Augmentation(**{k: v}) for k, v in asdict(EVERYTHING).items())])
def test_same_keys_and_part_of_a_batch_give_the_same_augmentation(augment):
    batch = numbered(8, 1000)
    whole, again, other = (augment(batch, keys(8, seed), 25) for seed in (4, 4, 5))
    assert torch.equal(whole.signal_mv, again.signal_mv) and not torch.equal(whole.signal_mv, other.signal_mv)
    for here in (slice(0, 3), slice(3, 8)):
        part = Batch(batch.signal_mv[here], batch.lead_mask[here])
        changed = augment(part, keys(8, 4)[here], 25)
        assert torch.equal(changed.signal_mv, whole.signal_mv[here])
        assert torch.equal(changed.lead_mask, whole.lead_mask[here])


def test_by_default_nothing_is_changed():
    batch = numbered()
    assert Augmentation()(batch, keys(), 25) is batch
    assert TrainConfig().augmentation == Augmentation()


def test_augmentation_does_not_synchronize_with_the_device():
    with torch.device("meta"):
        batch = Batch(torch.empty(4, len(LEADS), 1000), torch.ones(4, len(LEADS), dtype=torch.bool))
    changed = EVERYTHING(batch, torch.empty(4, dtype=torch.long, device="meta"), 25)
    assert changed.signal_mv.shape == (4, len(LEADS), 500) and changed.signal_mv.is_meta


CHANGED = replace(TEN, crop_patches=20, scale_jitter=0.3, lead_dropout=0.4, noise_mv=0.05)


def test_augmented_run_resumes_exactly_and_differs_from_a_plain_one(cohort, tmp_path):
    whole = run(cohort, tmp_path / "whole", CHANGED)
    run(cohort, tmp_path / "parts", CHANGED, stop_after=5)
    assert same_bits(run(cohort, tmp_path / "parts", CHANGED), whole)
    assert without_speed(tmp_path / "whole") == without_speed(tmp_path / "parts")
    with pytest.raises(ECGError, match=r"holds a run with noise_mv = 0\.05, not 0\.0"):
        run(cohort, tmp_path / "parts", replace(CHANGED, noise_mv=0.0))


def test_run_of_a_version_without_augmentation_resumes(cohort, tmp_path):
    whole = run(cohort, tmp_path / "whole")
    run(cohort, tmp_path / "old", stop_after=5)
    file = tmp_path / "old" / CHECKPOINT / STATE_FILE
    (file.parent / CHECKSUM_FILE).unlink()
    state = torch.load(file, weights_only=True)
    for name in asdict(EVERYTHING):
        del state["train_config"][name]
    torch.save(state, file)
    with pytest.raises(ECGError, match=r"holds a run with crop_patches = 0, not 20"):
        run(cohort, tmp_path / "old", replace(TEN, crop_patches=20))
    assert same_bits(run(cohort, tmp_path / "old"), whole)


def test_comparisons_and_audits_of_a_version_without_augmentation_resume(cohort, tmp_path):
    comparison, audit = simulated(cohort), AuditPlan()
    (tmp_path / "audit").mkdir()
    for keep, file in [
        (lambda: compare._keep_plan(comparison, cohort, tmp_path), tmp_path / compare.COMPARISON_PLAN_FILE),
        (lambda: prepare._keep_plan(audit, tmp_path / "audit"), tmp_path / "audit" / prepare.AUDIT_PLAN_FILE),
    ]:
        keep()
        now = json.loads(file.read_text())
        old = {name: value for name, value in now["train"].items() if name not in asdict(EVERYTHING)}
        file.write_text(json.dumps(now | {"train": old}))
        keep()
        assert json.loads(file.read_text()) == now
        file.write_text(json.dumps(now | {"train": old | {"noise_mv": 0.1}}))
        with pytest.raises(ECGError, match="holds a"):
            keep()


def test_changes_that_make_no_sense_are_refused(cohort, tmp_path):
    for name, value, message in [
        ("crop_patches", 1, "crop_patches are 1, but they must be 2 or more"),
        ("scale_jitter", 1.0, "scale_jitter is 1, but it must be at least 0 and below 1"),
        ("lead_dropout", -0.1, "lead_dropout is -0.1"),
        ("noise_mv", float("nan"), "noise_mv is nan"),
    ]:
        with pytest.raises(ECGError, match=message):
            replace(TEN, **{name: value})
    with pytest.raises(ECGError, match="crop_patches are 41, but the model reads 40 patches of these ECGs"):
        run(cohort, tmp_path, replace(TEN, crop_patches=41))
    model = random_encoder(replace(TO_TRAIN, max_patches=20))
    with pytest.raises(ECGError, match="the model reads 20 patches"):
        pretrain(model, cohort, np.arange(40), tmp_path, replace(TEN, crop_patches=30), progress=False)
