"""The linear path: a regression on whichever leads are visible, and the amplitude of a masked lead."""

from dataclasses import replace

import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.linear_path import regression
from lamae_toolkit.model.masking import named_lead_mask
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


@torch.inference_mode()
def test_an_untrained_model_reconstructs_what_einthoven_determines():
    model, batch = random_encoder(replace(SMALL, normalization="visible", linear_path=True)), related_ecgs()
    model.normalize.linear_path.fit([batch])
    mask = named_lead_mask((20, 12, 40), LEADS, ("III", "aVR", "aVF"))
    centered = batch.signal_mv - batch.signal_mv.mean(dim=2, keepdim=True)
    wrong = (model.reconstruct(replace(batch, signal_mv=centered), mask) - centered).abs().amax(dim=(0, 2))
    assert wrong.max() < 1e-3, "III, aVR and aVF follow from I, II and aVL; the others are visible"


@torch.inference_mode()
def test_the_amplitude_of_a_masked_lead_is_inferred_and_not_read():
    model, batch = random_encoder(replace(SMALL, normalization="visible", linear_path=True)), related_ecgs()
    model.normalize.linear_path.fit([batch])
    mask = named_lead_mask((20, 12, 40), LEADS, ("V3",))
    larger = batch.signal_mv.clone()
    larger[:, LEADS.index("V3")] *= 4
    plain, other = (model.reconstruct(replace(batch, signal_mv=x), mask) for x in (batch.signal_mv, larger))
    assert torch.equal(plain, other)
    scale = model.normalize(batch, mask).scale_mv[:, LEADS.index("V3"), 0, 0]
    true = batch.signal_mv[:, LEADS.index("V3")].std(dim=1)
    # Within a factor of two for nearly all; the ECGs' own V3 differs from what the others tell.
    assert ((scale / true).log2().abs() < 1).float().mean() > 0.9
    # An ECG of four times the amplitude has leads of four times the amplitude.
    quadruple = model.normalize(replace(batch, signal_mv=4 * batch.signal_mv), mask).scale_mv[
        :, LEADS.index("V3"), 0, 0
    ]
    torch.testing.assert_close(quadruple, 4 * scale, atol=0, rtol=0.02)


def test_ecgs_without_amplitude_have_relations_of_their_own():
    batch = related_ecgs()
    std = batch.signal_mv.std(dim=2, keepdim=True)
    unknown = replace(batch, signal_mv=batch.signal_mv / std, amplitude_known=torch.zeros(20, dtype=torch.bool))
    model = random_encoder(replace(SMALL, normalization="visible", linear_path=True))
    model.normalize.linear_path.fit([batch, unknown])
    of_units, in_mv = model.normalize.linear_path.covariance
    torch.testing.assert_close(of_units.diagonal(), torch.ones(12), atol=1e-3, rtol=0)
    torch.testing.assert_close(in_mv.diagonal(), batch.signal_mv.var(dim=2).mean(dim=0), atol=0, rtol=0.01)
