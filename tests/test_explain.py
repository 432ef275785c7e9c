"""Watching changes nothing, silence is an error, and what is shown adds up."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from lamae_toolkit.batch import Batch
from lamae_toolkit.config import LAMAEConfig
from lamae_toolkit.ecg import LEADS, ECGError, Recording
from lamae_toolkit.evaluate import random_encoder
from lamae_toolkit.explain import explain_batch, explain_ecg, lead_attention, watch_attention
from lamae_toolkit.layers import Attention
from lamae_toolkit.plots import (
    ecg_figure,
    lead_attention_figure,
    lead_bar_figure,
    lead_weight_figure,
    learning_curve_figure,
    reconstruction_figure,
)

SMALL = LAMAEConfig(
    width=32,
    heads=4,
    pooling_heads=4,
    decoder_width=16,
    decoder_heads=4,
    encoder_depth=2,
    latent_depth=2,
    decoder_depth=1,
)


@torch.inference_mode()
def test_watched_and_unwatched_attention_are_equal(cohort):
    model, batch = random_encoder(SMALL), cohort.batch([0, 1])
    plain = model.embed(batch)
    with watch_attention(model) as record:
        watched = model.embed(batch)
    torch.testing.assert_close(watched.heart, plain.heart, atol=1e-5, rtol=0)
    assert set(record) >= {"encoder.0.attention", "latent_attention.1.attention"}
    torch.testing.assert_close(model.embed(batch).heart, plain.heart, atol=0, rtol=0)
    for recorded in record.values():
        torch.testing.assert_close(recorded[0].sum(-1), torch.ones_like(recorded[0][..., 0]))


@torch.inference_mode()
def test_the_two_paths_agree_when_some_tokens_must_not_be_looked_at():
    torch.manual_seed(0)
    attention, x = Attention(32, 4), torch.randn(3, 7, 32)
    keys = torch.rand(3, 7) < 0.6
    keys[:, 0] = True
    fused, seen = attention(x, keys), []
    attention.tap = seen.append
    torch.testing.assert_close(attention(x, keys), fused, atol=1e-5, rtol=0)
    assert seen[0][:, :, :, :][~keys[:, None, None].expand_as(seen[0])].max() == 0


def test_silence_is_an_error(cohort):
    model = random_encoder(SMALL)
    with pytest.raises(ECGError, match="No attention was recorded: run the model"), watch_attention(model):
        pass
    with pytest.raises(ECGError, match="under the name 'nowhere'"), watch_attention(model, "nowhere"):
        model.embed(cohort.batch([0]))
    with pytest.raises(RuntimeError, match="the model's own"), watch_attention(model):
        raise RuntimeError("the model's own")
    assert all(module.tap is None for module in model.modules() if isinstance(module, Attention))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_model_is_refused():
    with (
        pytest.raises(ECGError, match="A compiled model cannot be watched"),
        watch_attention(torch.compile(random_encoder(SMALL))),
    ):
        pass


def test_attention_between_leads_is_the_roll_up_that_is_documented():
    torch.manual_seed(0)
    attention = torch.rand(2, 3, 12 * 5, 12 * 5).softmax(dim=-1)
    rolled = lead_attention(attention, 12)
    by_hand = sum(attention[1, 2, 5 * 4 + token, 5 * 7 : 5 * 8].sum() for token in range(5)) / 5
    torch.testing.assert_close(rolled[1, 2, 4, 7], by_hand)
    torch.testing.assert_close(rolled.sum(-1), torch.ones(2, 3, 12))
    with pytest.raises(ECGError, match="cannot be shared out"):
        lead_attention(attention, 7)


@pytest.mark.parametrize("tokens", ["all", "cls", "induced"])
def test_an_explanation_adds_up(cohort, tokens):
    model = random_encoder(replace(SMALL, tokens=tokens))
    explanation = explain_ecg(model, cohort.recording(0).select(("V3", "II", "aVL", "I")))
    assert explanation.leads == ("I", "II", "aVL", "V3"), "in the order of LEADS, whatever the file's order"
    assert explanation.lead_weights.shape == (4, 4) and explanation.lead_attention.shape == (2, 4, 4, 4)
    weights, attention = explanation.weight_table(), explanation.attention_table()
    assert np.allclose(weights.sum(), 1) and np.allclose(attention.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(weights.weight, weights.drop(columns="weight").mean(axis=1))
    assert explanation.chances is None


def test_lead_weights_follow_the_leads_names(cohort):
    model, batch = random_encoder(SMALL), cohort.batch([0])
    order = list(reversed(range(12)))
    shuffled = Batch(batch.signal_mv[:, order], batch.present[:, order], tuple(LEADS[i] for i in order))
    for plain, other in zip(explain_batch(model, batch), explain_batch(model, shuffled), strict=True):
        torch.testing.assert_close(other, plain.flip(-1) if plain.ndim == 3 else plain.flip(-1, -2), atol=1e-5, rtol=0)


def test_a_lead_that_carries_nothing_new_still_gets_its_share(cohort):
    """Twice the same lead under two names gets twice the same weight: weights are not evidence."""
    recording = cohort.recording(0).select(("V1", "V2"))
    twin = Recording(np.stack([recording.lead("V1")] * 2), 100.0, ("V1", "V2"))
    weights = explain_ecg(random_encoder(SMALL), twin).lead_weights
    assert np.allclose(weights[:, 0], weights[:, 1], atol=1e-6)


def test_figures_draw_what_they_are_given(cohort):
    recording = cohort.recording(0)
    explanation = explain_ecg(random_encoder(SMALL), recording)
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
    weighted = lead_weight_figure(explanation)
    best = explanation.leads[int(explanation.lead_weights.mean(0).argmax())]
    labels = [a.text for a in weighted.layout.annotations]
    assert any(f"{best}  {explanation.lead_weights.mean(0).max():.1%}" in text for text in labels)
    heat = lead_attention_figure(explanation).data[0]
    assert np.allclose(heat.z, explanation.attention_table())
    assert np.allclose(lead_bar_figure(explanation).data[0].y, explanation.weight_table().weight)
    curve = learning_curve_figure({"run": [{"step": 10, "loss": 0.9}, {"step": 20, "loss": 0.5}]})
    assert list(curve.data[0].y) == [0.9, 0.5]
    assert all(isinstance(picture, go.Figure) for picture in (figure, drawn, weighted, curve))
