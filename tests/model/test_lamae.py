"""The model: leads by name, absent equals masked, every parameter learns, and outputs stay the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import VisiblePatches, named_lead_mask, random_mask, sample_visible, visible_patches
from lamae_toolkit.model.normalization import Normalization
from lamae_toolkit.model.outputs import Latents
from lamae_toolkit.model.pooling import NamedPooling
from lamae_toolkit.model.pretrained import golden_outputs, golden_signal
from lamae_toolkit.model.random_numbers import random_keys
from small_models import SMALL, VARIANTS, mask_for, permuted, some_ecgs


@pytest.fixture(params=VARIANTS, ids=VARIANTS)
def model(request) -> LAMAE:
    return random_encoder(VARIANTS[request.param])


@torch.inference_mode()
def test_permuting_leads_with_their_names_changes_nothing(model):
    batch, order = some_ecgs(), torch.randperm(12, generator=torch.Generator().manual_seed(3)).tolist()
    mask = mask_for(batch)
    plain, shuffled = model.embed(batch), model.embed(permuted(batch, order))
    torch.testing.assert_close(shuffled.heart, plain.heart, atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled.lead_weights, plain.lead_weights[:, :, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled.per_lead, plain.per_lead[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled.summary, plain.summary, atol=1e-5, rtol=0)
    plain, shuffled = model(batch, mask), model(permuted(batch, order), mask[:, order])
    torch.testing.assert_close(shuffled.loss, plain.loss, atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled.prediction, plain.prediction[:, order], atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("kind", [LAMAE, IndependentMAE])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_heart_token_is_as_long_as_announced(name, kind):
    model = kind(VARIANTS[name]).eval()
    assert model.embed(some_ecgs()).heart.shape[1] == model.pooling.width(model.config.amplitudes)


@torch.inference_mode()
def test_decoder_depends_on_lead_names():
    model, batch = random_encoder(SMALL), some_ecgs()
    mask, swapped = mask_for(batch), [1, 0, *range(2, 12)]
    misnamed = Batch(batch.signal_mv[:, swapped], batch.lead_mask, batch.leads)
    difference = model(misnamed, mask[:, swapped]).prediction - model(batch, mask).prediction[:, swapped]
    assert difference.abs().max() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "record"])
def test_an_absent_lead_equals_a_masked_one(name):
    model, batch = random_encoder(VARIANTS[name]), some_ecgs()
    absent = ("V2", "aVL", "II")
    kept = [lead for lead in LEADS if lead not in absent]
    rows = [LEADS.index(lead) for lead in kept]
    mask = mask_for(batch)
    masked = model(batch, mask | named_lead_mask(mask.shape, LEADS, absent))
    left_out = model(batch.select(kept), mask[:, rows])
    torch.testing.assert_close(masked.prediction[:, rows], left_out.prediction, atol=1e-5, rtol=0)
    # Not present in the batch, whatever its row holds, is the same as not in the batch.
    lead_mask = batch.lead_mask.clone()
    lead_mask[:, [LEADS.index(lead) for lead in absent]] = False
    unusable = Batch(torch.where(lead_mask[:, :, None], batch.signal_mv, 7.0), lead_mask)
    plain, marked = model.embed(batch.select(kept)), model.embed(unusable)
    torch.testing.assert_close(marked.heart, plain.heart, atol=1e-5, rtol=0)
    torch.testing.assert_close(marked.lead_weights[:, :, rows], plain.lead_weights, atol=1e-5, rtol=0)
    torch.testing.assert_close(model(unusable, mask).loss, left_out.loss, atol=1e-5, rtol=0)
    assert marked.lead_weights[:, :, ~lead_mask[0]].abs().max() == 0


@torch.inference_mode()
def test_any_subset_of_leads_and_any_length_is_read(model):
    for leads in (("II",), ("V6", "I"), LEADS[:6], LEADS):
        embedding = model.embed(some_ecgs().select(leads))
        assert embedding.lead_weights.shape == (3, model.config.pooling_heads, len(leads))
        torch.testing.assert_close(embedding.lead_weights.sum(-1), torch.ones(3, model.config.pooling_heads))
        assert embedding.heart.shape == (3, model.pooling.width(embedding.amplitude.shape[2]))
        assert embedding.heart.isfinite().all()
    assert model.embed(some_ecgs(samples=237)).heart.isfinite().all()
    loss, prediction, _ = model(some_ecgs(samples=237))
    assert loss.isfinite() and prediction.shape == (3, 12, 9, 25)


def test_no_information_crosses_leads_before_the_latent_attention(model):
    batch = some_ecgs()
    normalized = model.normalize(batch)
    patches = normalized.patches.requires_grad_()
    tokens = model.encode_leads(normalized, batch, torch.zeros(3, 12, 40, dtype=torch.bool)).tokens
    (gradient,) = torch.autograd.grad(tokens[:, 4].square().sum(), patches)
    reached = gradient.abs().amax(dim=(0, 2, 3)) > 0
    assert reached.tolist() == [lead == 4 for lead in range(12)]


def test_every_parameter_gets_a_gradient(model):
    model.train()
    batch = replace(some_ecgs(), amplitude_known=torch.tensor([True, False, True]))
    model(batch, generator=torch.Generator().manual_seed(0)).loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12]
    # A lead that is hidden altogether is drawn from the others: with no other masking, its own latents say nothing.
    assert silent == ([] if model.config.mask_ratio else ["to_decoder.weight", "to_decoder.bias"])


@pytest.mark.parametrize("name", ["all, time steps", "all, token", "cls"])
def test_model_overfits_four_ecgs(name, cohort):
    """Few leads, patches and blocks, so that it takes a few seconds."""
    torch.manual_seed(0)
    model = LAMAE(replace(VARIANTS[name], encoder_depth=1, latent_depth=1, decoder_width=32))
    batch = cohort.batch([0, 1, 2, 3]).select(("I", "II", "V1", "V2", "V5", "V6"))
    batch = Batch(batch.signal_mv[:, :, :250], batch.lead_mask, batch.leads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-2)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 10, total_iters=10)
    mask, steps, loss = random_mask((4, 6, 10), 0.75, torch.Generator().manual_seed(1)), 0, torch.tensor(1.0)
    while loss > 0.2 and steps < 300:
        loss = model(batch, mask).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        warm_up.step()
        steps += 1
    assert loss < 0.2, "1 is guessing the mean"


def test_error_of_a_lead_with_an_artifact_counts_in_units_of_the_complete_lead():
    batch = some_ecgs()
    batch.signal_mv[0, 0, :25] *= 100
    mask = torch.zeros(3, 12, 40, dtype=torch.bool)
    mask[:, :, 0] = True
    patches = Normalization(replace(SMALL, normalization="visible"))(batch, mask)
    complete_mv = (batch.signal_mv.var(dim=2, correction=0) + 0.01**2).sqrt()
    expected = (patches.scale_mv[..., 0, 0] / complete_mv).clamp(max=1).square()
    torch.testing.assert_close(patches.weight[..., 0], expected)
    assert expected[0, 0] < 0.01


@torch.inference_mode()
def test_latent_attention_reads_a_lead_whose_first_patch_is_masked():
    model, batch = random_encoder(VARIANTS["cls"]), some_ecgs()
    mask = torch.zeros(3, 12, 40, dtype=torch.bool)
    mask[:, :6, 0] = True
    latents = model.encode(batch, mask)
    changed = latents.tokens.clone()
    changed[:, 0] *= -1
    plain, other = (model.connect(x).tokens[:, 6:, 0] for x in (latents, latents._replace(tokens=changed)))
    assert (plain - other).abs().max() > 1e-3


def test_each_head_of_named_pooling_begins_with_two_thirds_of_the_weight_on_its_lead():
    pooling = NamedPooling(width=16, heads=12)
    weights = pooling.weigh(torch.zeros(2, 12, 16), torch.ones(2, 12, dtype=torch.bool), torch.arange(12).expand(2, 12))
    assert weights.diagonal(dim1=1, dim2=2).tolist() == [[pytest.approx(2 / 3, abs=0.03)] * 12] * 2
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 12))


@torch.inference_mode()
def test_loss_is_the_mean_squared_error_on_masked_patches_only(model):
    batch = some_ecgs()
    mask = mask_for(batch)
    loss, prediction, hidden = model(batch, mask)
    assert torch.equal(hidden, mask)
    normalized = model.normalize(batch, mask)
    expected = ((prediction - normalized.patches).square().mean(dim=-1) * normalized.weight)[mask].mean()
    torch.testing.assert_close(loss, expected)


@torch.inference_mode()
def test_masked_patches_do_not_reach_the_prediction(model):
    batch = some_ecgs()
    mask = mask_for(batch)
    patches = model.normalize(batch, mask)
    changed = patches._replace(patches=torch.where(mask[..., None], patches.patches + 5.0, patches.patches))
    leads = torch.arange(len(batch.leads)).expand(len(batch), -1)
    visible = VisiblePatches(leads, (~mask).nonzero()[:, 2].reshape(*leads.shape, -1))
    assert torch.equal(visible.mask(*mask.shape[1:]), mask)
    for chosen in (visible, None):
        plain, other = (model.connect(model.encode_leads(x, batch, mask, chosen)) for x in (patches, changed))
        assert torch.equal(plain.tokens[plain.valid_mask], other.tokens[other.valid_mask])
        assert not torch.equal(model.encode_leads(changed, batch, ~mask).tokens, plain.tokens)


@torch.inference_mode()
def test_the_reconstruction_is_in_millivolts(model):
    batch = some_ecgs()
    mask = mask_for(batch)
    drawn = model.reconstruct(batch, mask)
    scale, mean = drawn.std(dim=2), batch.signal_mv.mean(dim=2)
    assert drawn.shape == batch.signal_mv.shape and scale.isfinite().all()
    shifted = Batch(batch.signal_mv + 1.0, batch.lead_mask)
    torch.testing.assert_close(model.reconstruct(shifted, mask), drawn + 1.0, atol=1e-4, rtol=0)
    assert (mean.abs() < 1).all()


def test_golden_outputs_of_a_fixed_model():
    """The same seed, signal and code give these numbers on every machine; made by this file's `write_golden`."""
    golden = json.loads(GOLDEN.read_text())
    now = golden_of_a_seeded_model()
    assert now.keys() == golden.keys()
    for name in golden:
        torch.testing.assert_close(torch.tensor(now[name]), torch.tensor(golden[name]), atol=1e-4, rtol=1e-3)


GOLDEN = Path(__file__).parent / "golden_model.json"


def golden_of_a_seeded_model() -> dict:
    model = random_encoder(LAMAEConfig(), seed=0)
    batch = golden_signal(model.config)
    with torch.inference_mode():
        prediction = model(batch, named_lead_mask((1, 12, 40), LEADS, ("V3",))).prediction
    return golden_outputs(model) | {"prediction_V3": prediction[0, 8, :3].flatten().tolist()}


def write_golden() -> None:
    """After a wanted change: `PYTHONPATH=tests:tests/model python -c "import test_lamae as t; t.write_golden()"`."""
    GOLDEN.write_text(json.dumps(golden_of_a_seeded_model()) + "\n")


def test_bad_input_gets_one_sentence(model):
    batch = some_ecgs()
    with pytest.raises(ECGError, match="the model needs at least 50"):
        model.embed(some_ecgs(samples=40))
    with pytest.raises(ECGError, match="covers all patches"):
        model(batch, torch.ones(3, 12, 40, dtype=torch.bool))
    with pytest.raises(ECGError, match="The mask has shape"):
        model(batch, torch.zeros(3, 12, 39, dtype=torch.bool))
    with pytest.raises(ECGError, match="no usable lead"):
        model.embed(Batch(batch.signal_mv, torch.zeros(3, 12, dtype=torch.bool)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mask_ratio": 0.0, "masked_leads": 0}, "masks nothing"),
        ({"latent_depth": -1}, "must be at least 0"),
        ({"pooling": "max"}, "choose from attention, named, mean"),
        ({"width": 32}, "cannot be divided among 3 heads"),
        ({"tokens": "some"}, "choose from all, cls"),
        ({"mask_ratio": 1.0}, "must be from 0 to below 1"),
        ({"depth": 3}, "unknown key 'depth'"),
        ({"width": "96"}, "must be of type int"),
        ({"encoder_depth": 0}, "at least 1"),
    ],
)
def test_a_configuration_checks_itself(values, message):
    with pytest.raises(ECGError, match=message):
        LAMAEConfig.from_dict(values)


@settings(max_examples=60, deadline=None)
@given(
    records=st.integers(1, 4),
    leads=st.integers(1, 12),
    patches=st.integers(2, 50),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
def test_random_masks_partition_the_patches_of_every_lead(records, leads, patches, ratio, seed):
    mask = random_mask((records, leads, patches), ratio, torch.Generator().manual_seed(seed))
    assert ((~mask).sum(-1) == visible_patches(patches, ratio)).all()
    assert 0 < visible_patches(patches, ratio) < patches
    again = random_mask((records, leads, patches), ratio, torch.Generator().manual_seed(seed))
    assert torch.equal(mask, again)


def test_random_masks_hide_every_patch_equally_often():
    mask = random_mask((2000, 12, 40), 0.75, torch.Generator().manual_seed(0))
    share = mask.float().mean(dim=0)
    assert (share - 0.75).abs().max() < 0.05


def test_masks_of_training_have_the_same_visible_leads_and_patches_for_every_ecg():
    keys, lead_mask = random_keys(0, 0, torch.arange(2000)), torch.ones(2000, 12).bool()
    mask = sample_visible(keys, lead_mask, 40, visible=10, masked_leads=4).mask(12, 40)
    complete = mask.all(-1)
    assert (complete.sum(-1) == 4).all() and (complete.float().mean(0) - 4 / 12).abs().max() < 0.05
    assert (mask[~complete].sum(-1) == 30).all()
    assert (mask[:, 5][~complete[:, 5]].float().mean(0) - 0.75).abs().max() < 0.05, "every patch equally often"
    assert not torch.equal(mask[0], mask[1])
    for recorded, masked in ((12, 4), (8, 4), (5, 4), (3, 2), (1, 0)):
        lead_mask[:, recorded:] = False
        complete = sample_visible(keys, lead_mask, 40, visible=10, masked_leads=4).mask(12, 40).all(-1)
        assert (complete[:, :recorded].sum(-1) == masked).all(), "only recorded leads, and one stays visible"
    every = sample_visible(keys, lead_mask, 40, visible=40, masked_leads=0)
    assert not every.mask(12, 40).any() and (every.leads == torch.arange(12)).all()


def test_random_mask_is_made_on_its_device():
    assert random_mask((1, 12, 40), 0.75, device="meta").device.type == "meta"


def test_named_leads_are_among_those_of_the_batch():
    with pytest.raises(ECGError, match="not among"):
        named_lead_mask((1, 2, 40), ("I", "II"), ("V1",))


@pytest.mark.parametrize("leads", [("II",), ("I", "V2")])
def test_ecgs_with_few_leads_can_be_learned_from(leads):
    """However many leads are to be hidden, one that was recorded stays visible."""
    lead_mask = torch.tensor([[name in leads for name in LEADS]]).expand(8, -1)
    signal_mv = torch.randn(8, 12, 1000, generator=torch.Generator().manual_seed(0)) * lead_mask[:, :, None]
    loss, _, mask = random_encoder(replace(SMALL, masked_leads=3)).train()(Batch(signal_mv, lead_mask))
    assert torch.isfinite(loss)
    assert (~mask[lead_mask].reshape(8, len(leads), -1)).any(dim=2).any(dim=1).all()


def test_summary_is_mean_and_std_over_leads_and_change_over_time():
    """Against the definition in NumPy, with an absent lead and masked patches."""
    rng = np.random.default_rng(0)
    b, l, n, d = 2, 4, 6, 3
    visible = rng.random((b, l, n)) < 0.6
    visible[0, 2] = False
    visible[:, 0, :2] = True
    visible[1, :, 4] = False  # no lead has this time step
    values, cls = rng.normal(size=(b, l, n, d)), rng.normal(size=(b, l, 1, d))
    present = visible.any(axis=2)
    latents = Latents(
        torch.from_numpy(np.concatenate([cls, values], axis=2)).float(),
        torch.from_numpy(np.concatenate([present[..., None], visible], axis=2)),
        torch.arange(l).expand(b, l),
        torch.arange(n).expand(b, l, n),
        torch.arange(l).expand(b, l),
        torch.zeros(b, l, 0),
    )
    lead_latents, summary = latents.lead_latents().double().numpy(), latents.summary().double().numpy()
    for record in range(b):
        leads = np.flatnonzero(present[record])
        of_leads = lead_latents[record, leads]
        over_time = [values[record, lead, visible[record, lead]].std(axis=0) for lead in leads]
        times = np.flatnonzero(visible[record].any(axis=0))
        course = {t: values[record, visible[record, :, t], t].mean(axis=0) for t in times}
        change = [np.abs(course[t + 1] - course[t]) for t in times if t + 1 in course]
        expected = [
            of_leads.mean(axis=0),
            of_leads.std(axis=0),
            np.mean(over_time, axis=0),
            np.std(list(course.values()), axis=0),
            np.mean(change, axis=0),
        ]
        np.testing.assert_allclose(summary[record], np.concatenate(expected), atol=2e-4)
