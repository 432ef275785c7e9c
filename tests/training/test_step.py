"""A training step is the same in any number of parts, and does not wait for the GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.baselines import COMPARED_MODELS
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.random_numbers import random_keys
from lamae_toolkit.training.distributed import DistributedContext, distributed_training
from lamae_toolkit.training.step import RuntimeConfig, gradients
from lamae_toolkit.training.trainer import TrainConfig, pretrain, read_log
from small_models import SMALL, VARIANTS, some_ecgs

ALONE = DistributedContext(0, 1, torch.device("cpu"))
KEYS = random_keys(7, 0, torch.arange(8))
CONFIG = TrainConfig(steps=6, batch_size=8, warmup_steps=2, log_every=1, save_every=4)


def uneven_ecgs(records: int = 8) -> Batch:
    """ECGs of which the second half lack leads, so that the parts of a batch differ in how many patches they hide."""
    batch = some_ecgs(records)
    lead_mask = batch.lead_mask.clone()
    lead_mask[records // 2 :, :7] = False
    return Batch(batch.signal_mv, lead_mask)


def step(
    model: LAMAE, batch: Batch, runtime: RuntimeConfig, processes: DistributedContext = ALONE
) -> tuple[float, dict]:
    model.zero_grad()
    loss = gradients(model, model, batch, KEYS[: len(batch)], runtime, processes)
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def mask_of(model: LAMAE, batch: Batch, keys: torch.Tensor = KEYS) -> torch.Tensor:
    return model.sample_visible(batch, keys[: len(batch)]).mask(len(batch.leads), 40)


def baseline(name: str) -> LAMAE:
    torch.manual_seed(0)
    model = COMPARED_MODELS[name](replace(SMALL, masked_leads=1))
    model.progress = 0.8  # the alignment losses begin after warm-up
    return model


@pytest.mark.parametrize("name", ["LAMAE", "alignment, MSE", "alignment, cosine"])
def test_accumulated_parts_have_the_loss_and_gradients_of_the_batch(name):
    model, batch = baseline(name), uneven_ecgs()
    loss, gradient = step(model, batch, RuntimeConfig())
    assert loss == model(batch, visible=model.sample_visible(batch, KEYS)).loss.item()
    for parts in (2, 8):
        again, in_parts = step(model, batch, RuntimeConfig(gradient_accumulation_steps=parts))
        assert again == pytest.approx(loss, rel=1e-6)
        for key in gradient:
            torch.testing.assert_close(in_parts[key], gradient[key], atol=1e-6, rtol=1e-4, msg=key)


def test_mean_of_separate_part_losses_differs():
    model, batch = baseline("LAMAE"), uneven_ecgs()
    visible = model.sample_visible(batch, KEYS)
    halves = [model(half, visible=visible.rows(here)).loss.item() for here, half in halved(batch)]
    whole = model(batch, visible=visible).loss.item()
    assert abs(np.mean(halves) - whole) > 1e-3


def halved(batch: Batch) -> list[tuple[slice, Batch]]:
    half = len(batch) // 2
    slices = (slice(0, half), slice(half, None))
    return [(here, Batch(batch.signal_mv[here], batch.lead_mask[here], batch.leads)) for here in slices]


@pytest.mark.parametrize("name", VARIANTS)
def test_part_of_a_batch_has_the_masks_of_the_batch(name):
    model, batch = random_encoder(VARIANTS[name]), uneven_ecgs()
    whole = mask_of(model, batch)
    for here, half in halved(batch):
        assert torch.equal(mask_of(model, half, KEYS[here]), whole[here])


@pytest.mark.parametrize("name", [*VARIANTS, *COMPARED_MODELS])
def test_gathering_visible_patches_equals_masking_attention_to_the_others(name):
    """Training encodes the visible patches alone; embedding, reconstruction and export keep and mask all of them."""
    model = random_encoder(VARIANTS[name]) if name in VARIANTS else baseline(name)
    batch = uneven_ecgs()
    results = []
    for given in ({"visible": model.sample_visible(batch, KEYS)}, {"mask": mask_of(model, batch)}):
        model.zero_grad()
        loss, prediction, _ = model(batch, **given)
        loss.backward()
        results.append([loss, prediction, *(p.grad.clone() for p in model.parameters())])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [*VARIANTS, *COMPARED_MODELS])
def test_step_does_not_synchronize_with_the_device(name):
    # A tensor on the device "meta" has no values: whatever would wait for a GPU to learn one fails.
    with torch.device("meta"):
        model = LAMAE(VARIANTS[name]) if name in VARIANTS else COMPARED_MODELS[name](SMALL)
        batch = Batch(torch.empty(4, len(LEADS), 1000), torch.ones(4, len(LEADS), dtype=torch.bool))
    model.progress = 0.5
    visible = model.sample_visible(batch, torch.zeros(4, dtype=torch.long, device="meta"))
    model(batch, visible=visible, divisor=visible.mask(12, 40).sum().float()).loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(batch.lead_mask.all())


@pytest.mark.parametrize("name", ["LAMAE", "independent leads", "average joint"])
@pytest.mark.parametrize("masked_leads", [0, 1])
def test_bfloat16_is_close_and_parameters_stay_float32(name, masked_leads):
    torch.manual_seed(0)
    model, batch = COMPARED_MODELS[name](replace(SMALL, masked_leads=masked_leads)), some_ecgs(4)
    loss, gradient = step(model, batch, RuntimeConfig())
    near, rounded = step(model, batch, RuntimeConfig(precision="bfloat16"))
    assert near != loss and near == pytest.approx(loss, rel=1e-2)
    assert all(value.dtype == torch.float32 for value in rounded.values())
    flat, other = (torch.cat([g[k].flatten() for k in gradient]) for g in (gradient, rounded))
    assert torch.cosine_similarity(flat, other, dim=0) > 0.99


def test_the_model_is_compiled_on_a_gpu_unless_the_configuration_says_otherwise():
    model, gpu = baseline("LAMAE"), DistributedContext(0, 1, torch.device("cuda"))
    compiled = {
        (choice, processes.device.type): RuntimeConfig(compile=choice).wrap_model(model, processes) is not model
        for choice in ("auto", "yes", "no")
        for processes in (ALONE, gpu)
    }
    assert {case for case, is_compiled in compiled.items() if is_compiled} == {
        ("auto", "cuda"),
        ("yes", "cuda"),
        ("yes", "cpu"),
    }
    with pytest.raises(ECGError, match="compile is 'sometimes'; choose from auto, yes, no"):
        RuntimeConfig(compile="sometimes")


def test_accumulated_run_equals_an_undivided_one_and_another_precision_is_refused(cohort, tmp_path):
    config, rows = replace(SMALL, masked_leads=1, encoder_depth=1, latent_depth=1), np.arange(40)

    def run(folder, runtime, **options):
        model = random_encoder(config)
        pretrain(model, cohort, rows, tmp_path / folder, CONFIG, runtime=runtime, progress=False, **options)
        return [row["loss"] for row in read_log(tmp_path / folder)]

    whole = run("whole", None)
    assert run("parts", RuntimeConfig(gradient_accumulation_steps=4)) == pytest.approx(whole, rel=1e-5)
    run("half", RuntimeConfig(precision="bfloat16"), stop_after=2)
    with pytest.raises(ECGError, match="holds a run with precision = 'bfloat16', not 'float32'"):
        run("half", RuntimeConfig())
    assert run("half", RuntimeConfig(precision="bfloat16")) == pytest.approx(whole, rel=1e-2)


def test_batches_that_cannot_be_divided_are_refused(cohort, tmp_path, monkeypatch):
    with pytest.raises(
        ECGError, match=r"batch of 9 ECGs cannot be divided among 2 processes in 2 parts.*multiple of 4"
    ):
        RuntimeConfig(gradient_accumulation_steps=2).check(baseline("LAMAE"), 9, processes=2)
    with pytest.raises(ECGError, match="compares the ECGs of a batch with each other"):
        RuntimeConfig(gradient_accumulation_steps=2).check(baseline("alignment, InfoNCE"), 8, processes=1)
    RuntimeConfig().check(baseline("alignment, InfoNCE"), 9, processes=1)
    with pytest.raises(ECGError, match="gradient_accumulation_steps is 0"):
        RuntimeConfig(gradient_accumulation_steps=0)
    with pytest.raises(ECGError, match="choose from float32, bfloat16"):
        RuntimeConfig(precision="float16")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ECGError, match="start with torchrun"), distributed_training("cpu"):
        pass
