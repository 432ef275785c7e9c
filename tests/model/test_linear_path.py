"""The linear path: a regression on whichever leads are visible, and the amplitude of a masked lead."""

from dataclasses import replace

import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.linear_path import WeightFit, kind_of, regression
from lamae_toolkit.model.masking import named_lead_mask
from lamae_toolkit.model.random_numbers import random_keys
from lamae_toolkit.training.linear_path import complete_leads, fit_linear_path
from small_models import SMALL, some_ecgs


def related_ecgs(records: int = 20, seed: int = 0) -> Batch:
    """Leads that are mixtures of each other; the limb leads obey Einthoven's relations."""
    signal_mv = some_ecgs(records, seed=seed).signal_mv
    mixed = torch.eye(12) + 0.3 * torch.rand(12, 12, generator=torch.Generator().manual_seed(seed))
    signal_mv = torch.einsum("ij, bjt -> bit", mixed, signal_mv)
    one, two = signal_mv[:, 0], signal_mv[:, 1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return Batch(torch.cat([torch.stack(limb, dim=1), signal_mv[:, 6:]], dim=1), torch.ones(records, 12).bool())


@pytest.mark.parametrize("visible", [("I", "II", "V1"), LEADS[:6], ("aVR", "aVL", "V2"), ("II",), LEADS[1:], ()])
def test_regression_is_least_squares_for_any_visible_leads(visible):
    x = related_ecgs().signal_mv.permute(1, 0, 2).flatten(1).double()
    rows = [LEADS.index(name) for name in visible]
    missing = [row for row in range(12) if row not in rows]
    weight, variance = regression((x @ x.T / x.shape[1]).float(), torch.tensor([name in visible for name in LEADS]))
    expected = torch.zeros(len(missing), x.shape[1], dtype=torch.float64)
    if rows:  # the leads may follow from one another, but for rounding
        solution = torch.linalg.lstsq(x[rows].T, x[missing].T, rcond=1e-6, driver="gelsd").solution
        expected = solution.T @ x[rows]
    torch.testing.assert_close((weight.T.double() @ x)[missing], expected, atol=1e-4, rtol=0)
    left = (x[missing] - expected).square().mean(dim=1)
    torch.testing.assert_close(variance[missing].double(), left, atol=1e-4, rtol=0)


def with_linear_path(batch: Batch, **changes):
    """An untrained model whose linear path is fitted to these ECGs."""
    model = random_encoder(replace(SMALL, normalization="visible", linear_path=True, masked_leads=1, **changes))
    fit_linear_path(model, [batch], [batch])
    return model


@torch.inference_mode()
def test_an_untrained_model_reconstructs_what_einthoven_determines():
    batch = related_ecgs()
    model = with_linear_path(batch)
    mask = named_lead_mask((20, 12, 40), LEADS, ("III", "aVR", "aVF"))
    centered = batch.signal_mv - batch.signal_mv.mean(dim=2, keepdim=True)
    wrong = (model.reconstruct(replace(batch, signal_mv=centered), mask) - centered)[:, [2, 3, 5]]
    assert wrong.abs().max() < 2e-3, "III, aVR and aVF follow from I, II and aVL; the others are visible"


@torch.inference_mode()
def test_the_better_of_model_and_regression_is_chosen_where_each_is_better():
    batch = related_ecgs(60)
    model = with_linear_path(batch)
    path, row = model.linear_path, LEADS.index("V3")
    mask = named_lead_mask((60, 12, 40), LEADS, ("V3",))
    patches = model.normalize(batch, mask)
    true_mv, visible, names = patches.patches * patches.scale_mv, ~mask, torch.arange(12)
    linear = path(true_mv, visible, batch.in_mv(), names)
    generator = torch.Generator().manual_seed(0)
    noise = true_mv.std() * torch.randn(true_mv.shape, generator=generator)
    for model_mv, expected in ((true_mv + 0.01 * noise, 1.0), (noise, 0.0)):
        fit = WeightFit()
        fit.add(model_mv, linear, true_mv, visible, mask)
        path.weight.copy_(fit.weight())
        combined = path.combine(model_mv, linear, visible)
        errors = [(x - true_mv)[:, row].square().mean().item() for x in (combined, model_mv, linear.predicted_mv)]
        assert errors[0] <= 1.02 * min(errors[1:]) + 0.01 * max(errors)
        at = path.weight[2, linear.level[0, row, 0]]
        assert at[0] == pytest.approx(expected, abs=0.1)
        assert torch.equal(combined[visible], model_mv[visible]), "what is visible is the model's"


def test_kinds_of_masks():
    visible = torch.ones(3, 4, 5, dtype=torch.bool)
    visible[0, 0] = False  # a complete lead, all of the others
    visible[1, 0] = False
    visible[1, 2, 3] = False  # and a patch of another
    visible[2, 1, :2] = False
    assert kind_of(visible)[..., 0].tolist() == [[2, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_examples_have_from_one_to_all_but_one_complete_leads_masked():
    lead_mask = torch.ones(300, 12, dtype=torch.bool)
    lead_mask[:100, 3:] = False
    lead_mask[100:110, 1:] = False
    masked = complete_leads(random_keys(0, 0, torch.arange(300)), lead_mask)
    assert not (masked & ~lead_mask).any()
    numbers = masked.sum(dim=1)
    assert set(numbers[:100].tolist()) == {1, 2} and set(numbers[110:].tolist()) == set(range(1, 12))
    assert (numbers[100:110] == 0).all()


def test_a_fit_without_ecgs_or_without_a_linear_path_gets_one_sentence():
    with pytest.raises(ECGError, match="This model has no linear path to fit; make it with linear_path=True"):
        fit_linear_path(random_encoder(SMALL), [some_ecgs()], [some_ecgs()])
    with pytest.raises(ECGError, match="There is no ECG to fit the linear path to"):
        fit_linear_path(random_encoder(replace(SMALL, linear_path=True)), [], [])


@torch.inference_mode()
def test_the_amplitude_of_a_masked_lead_is_inferred_and_not_read():
    batch = related_ecgs()
    model = with_linear_path(batch)
    mask = named_lead_mask((20, 12, 40), LEADS, ("V3",))
    larger = batch.signal_mv.clone()
    larger[:, LEADS.index("V3")] *= 4
    plain, other = (model.reconstruct(replace(batch, signal_mv=x), mask) for x in (batch.signal_mv, larger))
    assert torch.equal(plain, other)
    quadruple = model.reconstruct(replace(batch, signal_mv=4 * batch.signal_mv), mask)
    torch.testing.assert_close(quadruple, 4 * plain, atol=2e-2, rtol=0)


def test_ecgs_without_amplitude_have_relations_of_their_own():
    batch = related_ecgs()
    unknown = replace(batch, signal_mv=50 * batch.signal_mv, amplitude_known=torch.zeros(20, dtype=torch.bool))
    model = random_encoder(replace(SMALL, normalization="visible", linear_path=True, masked_leads=1))
    fit_linear_path(model, [batch, unknown], [batch])
    of_units, in_mv = model.linear_path.covariance
    torch.testing.assert_close(of_units.diagonal(), torch.ones(12), atol=1e-3, rtol=0)
    variance = batch.signal_mv.var(dim=2, correction=0).mean(dim=0)
    torch.testing.assert_close(in_mv.diagonal(), variance, atol=0, rtol=1e-3)


@torch.inference_mode()
def test_probes_get_the_scale_and_the_highest_and_lowest_voltage_of_what_is_visible():
    model, batch = random_encoder(replace(SMALL, normalization="visible", amplitude_input=True)), some_ecgs()
    known = replace(batch, amplitude_known=torch.tensor([True, False, True]))
    mask = torch.zeros(3, 12, 40, dtype=torch.bool)
    mask[:, :, 20:] = True  # the second half
    mask[:, 5] = True  # a complete lead
    first_half = batch.signal_mv[:, :, :500]
    first_half = first_half - first_half.mean(dim=2, keepdim=True)
    scale_mv = (first_half.square().mean(dim=2) + 0.01**2).sqrt()
    expected = torch.stack([scale_mv.log10(), first_half.amax(dim=2), first_half.amin(dim=2)], dim=2)
    expected[1] = 0  # in no unit
    expected[:, 5] = 0
    torch.testing.assert_close(model.embed(known, mask).amplitude, expected, atol=1e-5, rtol=0)
