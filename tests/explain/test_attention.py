"""Attention summaries sum to 1 and follow the documented roll-up."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.explain.attention import lead_attention, roll_up
from lamae_toolkit.explain.encoded import attention_summary
from lamae_toolkit.model.baselines import AverageJoint, IndependentMAE
from lamae_toolkit.model.hooks import record_attention
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.plots.attention import lead_attention_figure
from lamae_toolkit.plots.ecg import ecg_figure, lead_bar_figure, reconstruction_figure
from lamae_toolkit.plots.training import learning_curve_figure
from small_models import SMALL, attention_summaries


def test_attention_between_leads_is_the_roll_up_that_is_documented():
    torch.manual_seed(0)
    attention = torch.rand(2, 3, 12 * 5, 12 * 5).softmax(dim=-1)
    rolled = lead_attention(attention, 12)
    by_hand = sum(attention[1, 2, 5 * 4 + token, 5 * 7 : 5 * 8].sum() for token in range(5)) / 5
    torch.testing.assert_close(rolled[1, 2, 4, 7], by_hand)
    torch.testing.assert_close(rolled.sum(-1), torch.ones(2, 3, 12))
    with pytest.raises(ECGError, match="cannot be divided among"):
        lead_attention(attention, 7)


@pytest.mark.parametrize("tokens", ["all", "cls", "induced"])
def test_an_explanation_adds_up(cohort, tokens):
    model = random_encoder(replace(SMALL, tokens=tokens))
    explanation = attention_summary(model, cohort.recording(0).select(("V3", "II", "aVL", "I")))
    assert explanation.leads == ("I", "II", "aVL", "V3"), "in the order of LEADS, whatever the file's order"
    assert explanation.lead_weights.shape == (4, 4) and explanation.lead_attention.shape == (2, 4, 4, 4)
    weights, attention = explanation.weight_table(), explanation.attention_table()
    assert np.allclose(weights.sum(), 1) and np.allclose(attention.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(explanation.rolled_up.sum(axis=1), 1, atol=1e-5) and np.isclose(explanation.into_heart.sum(), 1)
    assert np.allclose(weights.weight, weights.drop(columns="weight").mean(axis=1))
    assert explanation.probabilities is None


def by_hand(model: LAMAE, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The roll-up of one ECG, token by token, as the docstring says; written otherwise than the code."""
    with record_attention(model) as record:
        weights = model.embed(batch).lead_weights[0].mean(dim=0)
    mean = {name: calls[0][0].mean(dim=0) for name, calls in record.items()}
    leads, n = len(batch.leads), record["encoder.0.attention"][0].shape[-1]
    through = torch.eye(leads * n)
    for layer in range(model.config.latent_depth):
        name = f"latent_attention.{layer}"
        if model.config.tokens == "induced":
            took = mean[f"{name}.broadcast.attention"] @ mean[f"{name}.gather.attention"]
        elif model.config.tokens == "cls":
            took = torch.eye(leads * n)
            for row in range(leads):
                took[row * n] = 0.0
                for column in range(leads):
                    took[row * n, column * n] = mean[f"{name}.attention"][row, column]
        else:
            took = mean[f"{name}.attention"]
        through = (0.5 * took + 0.5 * torch.eye(leads * n)) @ through
    parts = [[through[i * n : (i + 1) * n, j * n : (j + 1) * n] for j in range(leads)] for i in range(leads)]
    between = torch.tensor([[part.sum(dim=1).mean() for part in row] for row in parts])
    return between, weights @ between


@pytest.mark.parametrize("choice", [{"tokens": "all"}, {"tokens": "cls"}, {"tokens": "induced"}, {"latent_depth": 0}])
@torch.inference_mode()
def test_the_roll_up_over_layers_is_the_one_that_is_documented(cohort, choice):
    model, batch = random_encoder(replace(SMALL, **choice)), cohort.batch([0, 1]).select(("V2", "I", "aVF"))
    batch = Batch(3 * batch.signal_mv[:, :, :500], batch.lead_mask, batch.leads)
    rolled = roll_up(model, batch)
    for row in range(2):
        between, heart = by_hand(
            model, Batch(batch.signal_mv[row : row + 1], batch.lead_mask[row : row + 1], batch.leads)
        )
        torch.testing.assert_close(rolled.between_leads[row], between, atol=1e-5, rtol=0)
        torch.testing.assert_close(rolled.into_heart[row], heart, atol=1e-5, rtol=0)


def test_without_latent_attention_roll_up_is_identity_and_the_table_is_refused(cohort):
    for model in (random_encoder(replace(SMALL, latent_depth=0)), AverageJoint(SMALL)):
        explanation = attention_summary(model, cohort.recording(0))
        assert np.allclose(explanation.rolled_up, np.eye(len(explanation.leads)))
        assert np.allclose(explanation.into_heart, explanation.lead_weights.mean(axis=0))
        with pytest.raises(ECGError, match="no latent attention"):
            explanation.attention_table()


def test_independent_leads_have_no_attention_between_them(cohort):
    model, leads = IndependentMAE(SMALL), cohort.recording(0).leads
    with pytest.raises(ECGError, match="IndependentMAE never meet"):
        attention_summaries(model, cohort.batch([0]))
    rolled = roll_up(model, cohort.batch([0]).select(leads)).between_leads[0]
    torch.testing.assert_close(rolled, torch.eye(len(leads)), atol=1e-5, rtol=0)


def test_an_absent_lead_has_no_share(cohort):
    batch = cohort.batch([0, 1])
    lead_mask = batch.lead_mask.clone()
    lead_mask[1, [2, 5]] = False
    batch = Batch(batch.signal_mv, lead_mask, batch.leads)
    model = random_encoder(SMALL)
    rolled = roll_up(model, batch)
    assert rolled.between_leads[1, :, [2, 5]].abs().max() == 0 and rolled.between_leads[1, [2, 5]].abs().max() == 0
    assert rolled.into_heart[1, [2, 5]].abs().max() == 0
    weights, attention = attention_summaries(model, batch)
    assert (weights[1, :, [2, 5]] == 0).all()
    assert (attention[1, :, :, [2, 5]] == 0).all() and (attention[1, :, :, :, [2, 5]] == 0).all()
    torch.testing.assert_close(attention[1, :, :, lead_mask[1]].sum(dim=-1), torch.ones(2, 4, 10))
    torch.testing.assert_close(rolled.into_heart.sum(dim=1), torch.ones(2))
    there = [lead for row, lead in enumerate(LEADS) if row not in (2, 5)]
    alone = roll_up(model, Batch(batch.signal_mv[1:], lead_mask[1:], batch.leads).select(there))
    torch.testing.assert_close(rolled.into_heart[1, lead_mask[1]], alone.into_heart[0], atol=1e-5, rtol=0)


def test_explanations_are_computed_in_float32_and_restore_the_model(cohort):
    model = random_encoder(SMALL).train()
    with torch.autocast("cpu", torch.bfloat16):
        attention_summaries(model, cohort.batch([0]))
        assert roll_up(model, cohort.batch([0])).into_heart.dtype == torch.float32
    assert model.training
    with pytest.raises(ECGError, match=r"torch.bfloat16, but .* use model.float\(\)"):
        roll_up(model.bfloat16(), cohort.batch([0]))


def test_lead_weights_follow_the_leads_names(cohort):
    model, batch = random_encoder(SMALL), cohort.batch([0])
    order = list(reversed(range(12)))
    shuffled = Batch(batch.signal_mv[:, order], batch.lead_mask[:, order], tuple(LEADS[i] for i in order))
    for plain, other in zip(attention_summaries(model, batch), attention_summaries(model, shuffled), strict=True):
        torch.testing.assert_close(other, plain.flip(-1) if plain.ndim == 3 else plain.flip(-1, -2), atol=1e-5, rtol=0)


def test_duplicate_leads_get_equal_weights(cohort):
    """Twice the same lead under two names gets twice the same weight: weights are not evidence."""
    recording = cohort.recording(0).select(("V1", "V2"))
    twin = Recording(np.stack([recording.lead("V1")] * 2), 100.0, ("V1", "V2"))
    weights = attention_summary(random_encoder(SMALL), twin).lead_weights
    assert np.allclose(weights[:, 0], weights[:, 1], atol=1e-6)


def test_figures_show_their_input(cohort):
    recording = cohort.recording(0)
    explanation = attention_summary(random_encoder(SMALL), recording)
    figure = ecg_figure(recording)
    assert len(figure.data) == len(recording.leads)
    assert {a.text.strip("</b>") for a in figure.layout.annotations} == set(recording.leads)
    mask = np.zeros((len(recording.leads), 40), dtype=bool)
    mask[0, 3:7] = True
    drawn = reconstruction_figure(recording, recording, mask)
    assert [(shape.x0, shape.x1) for shape in drawn.layout.shapes] == [(0.75, 1.75)]
    overlays = [trace for trace in drawn.data if trace.name == "reconstruction"]
    assert (np.flatnonzero(np.isfinite(overlays[0].y)) == np.arange(75, 175)).all(), "drawn where hidden only"
    assert not any(np.isfinite(trace.y).any() for trace in overlays[1:])
    heat = lead_attention_figure(explanation).data[0]
    assert np.allclose(heat.z, explanation.attention_table())
    assert np.allclose(lead_bar_figure(explanation).data[0].y, explanation.weight_table().weight)
    curve = learning_curve_figure({"run": [{"step": 10, "loss": 0.9}, {"step": 20, "loss": 0.5}]})
    assert list(curve.data[0].y) == [0.9, 0.5]
    assert all(isinstance(picture, go.Figure) for picture in (figure, drawn, curve))
