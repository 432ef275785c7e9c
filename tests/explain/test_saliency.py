"""Saliency: hand-built cases, finite differences, and zero for absent leads."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS, Probe, chosen_latents, log_odds, predict
from lamae_toolkit.explain.attention import roll_up
from lamae_toolkit.explain.saliency import attention_rollout, gradient_attention, gradient_input
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.hooks import edit_attention
from lamae_toolkit.model.lamae import LAMAE

SMALL = LAMAEConfig(width=32, heads=4, pooling_heads=4, decoder_width=16, decoder_heads=4, encoder_depth=2)
CODE = "I44.7"


@pytest.fixture(scope="module")
def batch(cohort) -> Batch:
    """Two ECGs of 5 s, the second without leads III and V4."""
    whole = cohort.batch([1, 2])
    lead_mask = torch.ones_like(whole.lead_mask)
    lead_mask[1, [2, 9]] = False
    return Batch(whole.signal_mv[:, :, :500], lead_mask, whole.leads)


def random_probe(model: LAMAE, batch: Batch, representation: str, seed: int = 0) -> Probe:
    """A probe of two codes with weights by probability, scaled as a fitted one."""
    with torch.inference_mode():
        x = chosen_latents(model.embed(batch), representation).double().numpy()
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((2, x.shape[1])) / np.sqrt(x.shape[1])
    return Probe((CODE, "I48.91"), representation, x.mean(axis=0), np.full(x.shape[1], 0.1), weight, np.zeros(2), 1.0)


def all_three(model: LAMAE, probe: Probe, batch: Batch) -> dict[str, torch.Tensor]:
    return {
        "attention_rollout": attention_rollout(model, batch),
        "gradient_attention": gradient_attention(model, probe, batch, CODE),
        "gradient_input": gradient_input(model, probe, batch, CODE),
    }


CHOICES = [{}, {"tokens": "cls"}, {"tokens": "induced"}, {"latent_depth": 0}, {"latent_depth": 2, "pooling": "mean"}]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_absent_leads_get_zero_and_do_not_affect_the_rest(batch, choice, representation):
    model = random_encoder(replace(SMALL, **choice))
    probe = random_probe(model, batch, representation)
    there = [name for name, lead_mask in zip(batch.leads, batch.lead_mask[1], strict=True) if lead_mask]
    alone = Batch(batch.signal_mv[1:], batch.lead_mask[1:], batch.leads).select(there)
    without = all_three(model, probe, alone)
    for name, saliency in all_three(model, probe, batch).items():
        assert saliency.shape == (2, 12, 20) and saliency.isfinite().all() and saliency.dtype == torch.float32
        assert not saliency.requires_grad
        assert (saliency[1, [2, 9]] == 0).all(), name
        assert name == "gradient_input" or (saliency >= 0).all()
        assert saliency[1].abs().max() > 0
        torch.testing.assert_close(saliency[1, batch.lead_mask[1]], without[name][0], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_saliency_follows_the_leads_names(batch, representation):
    model = random_encoder(SMALL)
    probe = random_probe(model, batch, representation)
    order = [7, 3, 11, 0, 5, 1, 10, 2, 9, 4, 8, 6]
    shuffled = batch.select([LEADS[row] for row in order])
    ours, theirs = all_three(model, probe, batch), all_three(model, probe, shuffled)
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name][:, order], atol=1e-5, rtol=1e-3)


def test_saliency_is_on_the_only_pooled_lead_of_independent_leads(batch):
    model = random_encoder(replace(SMALL, tokens="cls", latent_depth=1))
    probe, row = random_probe(model, batch, "heart"), batch.leads.index("V2")

    def only_that_lead(weights):
        return torch.zeros_like(weights).index_fill(-1, torch.tensor(row), 1.0)

    def only_itself(attention):
        return torch.eye(attention.shape[-1]).expand_as(attention).clone()

    with edit_attention(model, {"pooling": only_that_lead, "latent_attention.0.attention": only_itself}):
        for name, saliency in all_three(model, probe, batch).items():
            others = [lead for lead in range(12) if lead != row]
            assert (saliency[:, others] == 0).all(), name
            assert (saliency[:, row].abs().amax(dim=1) > 0).all(), name


def test_saliency_is_on_the_only_lead_of_the_probe_of_independent_leads(batch):
    torch.manual_seed(0)
    model = IndependentMAE(SMALL).eval()
    probe, width, row = random_probe(model, batch, "per_lead"), SMALL.width, LEADS.index("aVL")
    reads = np.zeros(len(probe.mean), dtype=bool)
    for start in (0, 12 * width):
        reads[start + row * width : start + (row + 1) * width] = True
    probe = replace(probe, weight=np.where(reads, probe.weight, 0.0))
    for saliency in (gradient_attention(model, probe, batch, CODE), gradient_input(model, probe, batch, CODE)):
        others = [lead for lead in range(12) if lead != row]
        assert (saliency[:, others] == 0).all() and (saliency[:, row].abs().amax(dim=1) > 0).all()


def test_rollout_of_attention_to_one_patch_is_computed_by_hand(batch):
    """One encoder layer in which all look at patch 3, no latent attention: half of all goes there, half stays."""
    model = random_encoder(replace(SMALL, encoder_depth=1, latent_depth=0))

    def patch_three(attention):
        return torch.zeros_like(attention).index_fill(-1, torch.tensor(1 + 3), 1.0)

    with edit_attention(model, {"encoder.0.attention": patch_three}):
        saliency = attention_rollout(model, batch)
        weights = roll_up(model, batch).into_heart
    m, kept = 21, torch.full((20,), 0.5 / 21)
    kept[3] += 0.5
    expected = weights[:, :, None] * kept / (1 - 0.5 / m)
    torch.testing.assert_close(saliency, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("choice", CHOICES[:4], ids=str)
def test_the_rollout_adds_up(batch, choice):
    """The patches of an ECG sum to 1, and those of a lead nearly to its share in the heart (CLS tokens left out)."""
    model = random_encoder(replace(SMALL, **choice))
    saliency = attention_rollout(model, batch)
    torch.testing.assert_close(saliency.sum(dim=(1, 2)), torch.ones(2))
    torch.testing.assert_close(saliency.sum(dim=2), roll_up(model, batch).into_heart, atol=0.01, rtol=0)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_gradient_times_input_agrees_with_finite_differences(batch, representation):
    """In float64: scale one patch of the normalized signal, or all, up and down a little, and look at the log-odds."""
    model = random_encoder(replace(SMALL, amplitude_input=True))
    probe = random_probe(model, batch, representation)
    saliency = gradient_input(model, probe, batch, CODE)
    exact, wide = copy.deepcopy(model).double(), Batch(batch.signal_mv.double(), batch.lead_mask, batch.leads)

    def slope(which: torch.Tensor) -> torch.Tensor:
        """How the log-odds begin to change when these patches are scaled."""
        ends = []
        for scale in (1 + 1e-4, 1 - 1e-4):
            factor = torch.where(which, scale, 1.0).double()[..., None]
            hook = exact.patch_embed.register_forward_pre_hook(lambda module, inputs, factor=factor: inputs[0] * factor)
            with torch.inference_mode():
                ends.append(log_odds(exact.embed(wide), wide, probe)[:, 0])
            hook.remove()
        return ((ends[0] - ends[1]) / 2e-4).float()

    for place in saliency[0].abs().flatten().topk(5).indices.tolist():
        which = torch.zeros(12, 20, dtype=torch.bool)
        which[place // 20, place % 20] = True
        torch.testing.assert_close(saliency[:, place // 20, place % 20], slope(which), rtol=2e-3, atol=1e-6)
    everything = slope(torch.ones(12, 20, dtype=torch.bool))
    torch.testing.assert_close(saliency.sum(dim=(1, 2)), everything, rtol=2e-3, atol=1e-5)


def test_saliency_is_reproducible_and_leaves_no_hooks(batch):
    model = random_encoder(SMALL).train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # a frozen model has gradients, too
    probe = random_probe(model, batch, "summary")
    first = all_three(model, probe, batch)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        again = all_three(model, probe, batch)
    for name in first:
        torch.testing.assert_close(again[name], first[name], atol=0, rtol=0)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert not model.patch_embed._forward_pre_hooks and not model.norm._forward_hooks
    other = gradient_input(model, probe, batch, "I48.91")
    assert (other - first["gradient_input"]).abs().max() > 1e-4, "each code has its own"


def test_invalid_explanations_are_refused(batch):
    model = random_encoder(SMALL)
    probe = random_probe(model, batch, "heart")
    for function in (gradient_attention, gradient_input):
        with pytest.raises(ECGError, match=r"does not predict 'I10'; choose from I44.7, I48.91"):
            function(model, probe, batch, "I10")
        with pytest.raises(ECGError, match="use the probe that was fitted on this model"):
            function(random_encoder(replace(SMALL, width=64)), probe, batch, CODE)
        with pytest.raises(ECGError, match="float32"):
            function(copy.deepcopy(model).double(), probe, batch, CODE)
    assert not model.patch_embed._forward_pre_hooks


def test_log_odds_of_the_gradient_are_the_predicted_ones(batch):
    model = random_encoder(SMALL)
    probe = random_probe(model, batch, "per_lead")
    probabilities = log_odds(model.embed(batch), batch, probe).sigmoid().detach().numpy()
    np.testing.assert_allclose(probabilities, predict(model, probe, batch).to_numpy(), rtol=1e-6)
