"""Figures of attention and saliency show their input arrays."""

import numpy as np
import pytest

from lamae_toolkit.data.batch import collate
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.explain.encoded import attention_summary
from lamae_toolkit.explain.saliency import attention_rollout
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.plots.attention import SALIENCY_METHODS, roll_up_figure, saliency_figure

SMALL = LAMAEConfig(width=32, heads=4, pooling_heads=4, decoder_width=16, decoder_heads=4, encoder_depth=1)


@pytest.fixture(scope="module")
def model():
    return random_encoder(SMALL)


def test_saliency_is_plotted_behind_its_lead(cohort, model):
    recording = cohort.recording(0).select(("V2", "I", "aVF"))
    saliency = attention_rollout(model, collate([recording]).select(recording.leads))[0].numpy()
    figure = saliency_figure(recording, saliency, "attention_rollout")
    traces = {trace.hovertemplate.split(":")[0]: trace for trace in figure.data if trace.type == "scatter"}
    heats = {trace.hovertemplate.split(",")[0]: trace for trace in figure.data if trace.type == "heatmap"}
    assert set(traces) == set(heats) == {"V2", "I", "aVF"}
    for row, lead in enumerate(recording.leads):
        assert np.allclose(heats[lead].z[0], saliency[row] * saliency.size)
        assert heats[lead].xaxis == traces[lead].xaxis and heats[lead].yaxis == traces[lead].yaxis
        assert (heats[lead].x0, heats[lead].dx) == (0.125, 0.25), "the middle of the first patch, and the next"
        assert np.allclose(traces[lead].y, recording.lead(lead)) and traces[lead].dx == 0.01
    colors = figure.layout.coloraxis
    assert colors.cmin + colors.cmax == pytest.approx(2.0), "an even share is white"
    signed = saliency_figure(recording, saliency - saliency.mean(), "gradient_input", "I44.7")
    assert signed.layout.coloraxis.cmin == -signed.layout.coloraxis.cmax
    assert "Left bundle-branch block" in signed.layout.title.text
    assert saliency_figure(recording, saliency, "gradient_attention").layout.coloraxis.cmin == 0
    for arguments, complaint in (
        ((recording, saliency[:2], "gradient_input"), "has 2 leads, but the ECG has 3"),
        ((recording, saliency, "magic"), "no saliency 'magic'; choose from attention_rollout"),
    ):
        with pytest.raises(ECGError, match=complaint):
            saliency_figure(*arguments)


def test_saliency_figure_takes_less_than_half_a_megabyte():
    """12 leads of 10 s at 500 Hz as HTML, without plotly.js."""
    rng = np.random.default_rng(0)
    recording = Recording(rng.standard_normal((12, 5000)).astype(np.float32), 500.0, LEADS)
    for method in SALIENCY_METHODS:
        figure = saliency_figure(recording, rng.standard_normal((12, 40)), method)
        assert len(figure.to_html(include_plotlyjs=False)) < 500_000


def test_roll_up_figure_shows_the_summary(cohort, model):
    summary = attention_summary(model, cohort.recording(0).select(LEADS[:3]))
    heat, bars, dots = roll_up_figure(summary).data
    off_diagonal = ~np.eye(3, dtype=bool)
    assert np.allclose(np.array(heat.z)[off_diagonal], summary.rolled_up[off_diagonal])
    assert np.isnan(np.array(heat.z)[~off_diagonal]).all(), "a lead's own share is written, not colored"
    written = [a.text for a in roll_up_figure(summary).layout.annotations]
    assert written[:3] == [f"{summary.rolled_up[row, row]:.0%}" for row in range(3)]
    assert np.allclose(bars.y, summary.into_heart) and np.allclose(dots.y, summary.lead_weights.mean(axis=0))
