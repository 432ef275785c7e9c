"""The baselines: the same blocks as LAMAE, with independent or aligned leads."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.model.baselines import (
    COMPARED_MODELS,
    AlignmentInfoNCE,
    AlignmentMAE,
    AverageJoint,
    IndependentMAE,
    alignment_weight,
    cosine_alignment,
    info_nce_alignment,
    mse_alignment,
)
from lamae_toolkit.model.lamae import LAMAE
from small_models import SMALL, mask_for, permuted, some_ecgs

UNCONNECTED = [name for name, baseline in COMPARED_MODELS.items() if issubclass(baseline, IndependentMAE)]


def baseline(name: str) -> LAMAE:
    torch.manual_seed(0)
    model = COMPARED_MODELS[name](SMALL)
    model.progress = 0.7
    return model


def without(batch: Batch, lead: str) -> Batch:
    lead_mask = batch.lead_mask.clone()
    lead_mask[:, batch.leads.index(lead)] = False
    return Batch(batch.signal_mv, lead_mask, batch.leads)


@pytest.mark.parametrize("name", UNCONNECTED)
@torch.inference_mode()
def test_independent_and_aligned_leads_do_not_interact(name):
    model, batch = baseline(name).eval(), some_ecgs()
    mask, changed = mask_for(batch), batch.signal_mv.clone()
    changed[:, LEADS.index("V1")] = changed[:, LEADS.index("V1")].flip(-1)
    other = Batch(changed, batch.lead_mask, batch.leads)
    rest = [index for index, lead in enumerate(LEADS) if lead != "V1"]
    torch.testing.assert_close(model(other, mask).prediction[:, rest], model(batch, mask).prediction[:, rest])
    torch.testing.assert_close(model.embed(other).per_lead[:, rest], model.embed(batch).per_lead[:, rest])
    assert not torch.allclose(model.embed(other).heart, model.embed(batch).heart)


@pytest.mark.parametrize("name", ["LAMAE", "average joint"])
@torch.inference_mode()
def test_joint_models_reconstruct_a_lead_from_the_others(name):
    model, batch = baseline(name).eval(), some_ecgs()
    mask, changed = mask_for(batch), batch.signal_mv.clone()
    changed[:, LEADS.index("V1")] = changed[:, LEADS.index("V1")].flip(-1)
    drawn, other = model(batch, mask).prediction, model(Batch(changed, batch.lead_mask, batch.leads), mask).prediction
    assert (drawn[:, LEADS.index("V2")] - other[:, LEADS.index("V2")]).abs().max() > 1e-4


@torch.inference_mode()
def test_average_joint_model_has_equal_weights_and_no_latent_attention():
    model, batch = baseline("average joint").eval(), some_ecgs()
    embedding = model.embed(without(batch, "V6"))
    torch.testing.assert_close(embedding.lead_weights[:, :, :11], torch.full((3, 4, 11), 1 / 11))
    assert embedding.lead_weights[:, :, 11].abs().max() == 0
    changed = Batch(
        batch.signal_mv.flip(-1).where(torch.arange(12)[None, :, None] == 6, batch.signal_mv), batch.lead_mask
    )
    torch.testing.assert_close(model.embed(changed).per_lead[:, :6], model.embed(batch).per_lead[:, :6])


@pytest.mark.parametrize("name", COMPARED_MODELS)
def test_every_parameter_of_every_rival_learns(name):
    model = baseline(name)
    model(some_ecgs(), generator=torch.Generator().manual_seed(0)).loss.backward()
    still = [
        n for n, p in model.named_parameters() if p.grad is None or not p.grad.any() or not p.grad.isfinite().all()
    ]
    assert not still


@pytest.mark.parametrize("name", COMPARED_MODELS)
def test_baselines_have_lamaes_encoder_and_decoder(name):
    ours, theirs = baseline("LAMAE"), baseline(name)
    for part in ("patch_embed", "decoder", "decoder_pred"):
        assert _count(getattr(ours, part)) == _count(getattr(theirs, part))
    blocks = [_count(m.encoder) + _count(m.latent_attention) for m in (ours, theirs)]
    assert blocks[0] == blocks[1]


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", [name for name in COMPARED_MODELS if name != "LAMAE"])
@torch.inference_mode()
def test_baselines_take_leads_by_name_and_may_lack_some(name):
    model, batch = baseline(name).eval(), without(some_ecgs(), "aVF")
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2)).tolist()
    plain, shuffled = model.embed(batch), model.embed(permuted(batch, order))
    torch.testing.assert_close(shuffled.heart, plain.heart, atol=1e-5, rtol=0)
    fewer = model.embed(batch.select([lead for lead in LEADS if lead != "aVF"]))
    torch.testing.assert_close(fewer.heart, plain.heart, atol=1e-5, rtol=0)
    assert torch.isfinite(model(batch, generator=torch.Generator().manual_seed(1)).loss)


def unit_latents(records: int = 4, leads: int = 3, width: int = 5) -> torch.Tensor:
    return F.normalize(torch.randn(records, leads, width, generator=torch.Generator().manual_seed(4)), dim=-1)


def test_the_alignment_losses_are_those_of_the_paper_written_as_loops():
    f, there = unit_latents(), torch.ones(4, 3, dtype=torch.bool)
    n = 3
    pairs = [(i, j) for i in range(n) for j in range(n)]
    mse = torch.stack([((f[:, i] - f[:, j]) ** 2).mean(dim=-1) for i, j in pairs]).sum(dim=0) / n**2
    torch.testing.assert_close(mse_alignment(f, there), mse.mean())
    apart = [(i, j) for i, j in pairs if i != j]
    cosine = -torch.stack([F.cosine_similarity(f[:, i], f[:, j], dim=-1) for i, j in apart]).sum(dim=0) / (n**2 - n)
    torch.testing.assert_close(cosine_alignment(f, there), cosine.mean())
    contrast = [F.cross_entropy(f[:, i] @ f[:, j].T / 0.5, torch.arange(4)) for i, j in apart]
    torch.testing.assert_close(info_nce_alignment(f, there), torch.stack(contrast).mean())


@pytest.mark.parametrize("loss", [mse_alignment, cosine_alignment, info_nce_alignment])
def test_absent_leads_are_not_aligned(loss):
    f = unit_latents()
    there = torch.tensor([[True, True, False]]).expand(4, 3)
    torch.testing.assert_close(loss(f, there), loss(f[:, :2], there[:, :2]))


def test_alignment_weight_starts_after_warm_up_and_reaches_two():
    assert alignment_weight(0.0) == 0.0
    assert alignment_weight(0.5) == pytest.approx(1.0)
    assert 1.99 < alignment_weight(1.0) < 2.0
    values = [alignment_weight(step / 50) for step in range(51)]
    assert values == sorted(values)


@pytest.mark.parametrize("name", [name for name, kind in COMPARED_MODELS.items() if issubclass(kind, AlignmentMAE)])
def test_the_alignment_loss_is_added_to_the_reconstruction(name):
    model, batch = baseline(name).eval(), some_ecgs()
    with torch.inference_mode():
        mask = mask_for(batch)
        model.progress = 0.0
        reconstruction = model(batch, mask).loss
        model.progress = 0.5
        latents = model.connect(model.encode_leads(model.normalize(batch), batch, mask))
        unit = F.normalize(latents.lead_latents(), dim=-1)
        aligned = type(model).align(unit, batch.lead_mask)
        torch.testing.assert_close(model(batch, mask).loss, reconstruction + 1.0 * aligned)


def test_contrastive_loss_is_finite_for_a_lead_that_no_ecg_has():
    model, batch = AlignmentInfoNCE(SMALL), without(some_ecgs(), "III")
    model.progress = 1.0
    loss = model(batch, generator=torch.Generator().manual_seed(0)).loss
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_baseline_is_saved_and_loaded_with_its_class(tmp_path):
    model = AverageJoint(replace(SMALL, masked_leads=1)).eval()
    model.save_pretrained(tmp_path / "joint")
    loaded = AverageJoint.from_pretrained(tmp_path / "joint")
    with torch.inference_mode():
        torch.testing.assert_close(loaded.embed(some_ecgs()).heart, model.embed(some_ecgs()).heart)
