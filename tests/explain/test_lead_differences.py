"""Differences between ECGs and groups of ECGs, checked by hand, and the pictures of attention."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lamae_toolkit.data.batch import collate
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import random_encoder
from lamae_toolkit.explain.attention import attention_summary, roll_up
from lamae_toolkit.explain.lead_differences import (
    LeadShares,
    code_difference,
    lead_attention_difference,
    lead_shares,
    lead_weight_difference,
)
from lamae_toolkit.explain.saliency import attention_rollout
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.plots.attention import METHODS, lead_difference_figure, roll_up_figure, saliency_figure

SMALL = LAMAEConfig(width=32, heads=4, pooling_heads=4, decoder_width=16, decoder_heads=4, encoder_depth=1)


@pytest.fixture(scope="module")
def model():
    return random_encoder(SMALL)


def made_up(first_lead: list[float], codes: list[list[str]], patients: list[int]) -> tuple[LeadShares, pd.DataFrame]:
    """Shares of two leads of which the first is given, and the index that goes with them."""
    first = np.array(first_lead)
    shares = np.stack([first, 1 - first], axis=1)
    rolled = np.stack([shares, shares[:, ::-1]], axis=1)
    complete = np.ones(len(first), dtype=bool)
    return LeadShares(("I", "II"), complete, shares, rolled, shares), pd.DataFrame(
        {"codes": codes, "patient_id": patients}
    )


def test_two_ecgs_differ_by_the_difference_of_their_shares(cohort, model):
    leads = ("I", "II", "V2", "V6")
    one, other = (attention_summary(model, cohort.recording(row).select(leads)) for row in (0, 1))
    weights, attention = lead_weight_difference(one, other), lead_attention_difference(one, other)
    assert np.allclose(weights.value, (one.weight_table().weight - other.weight_table().weight).to_numpy())
    assert np.allclose(attention.value, one.rolled_up - other.rolled_up)
    assert abs(weights.value.sum()) < 1e-6 and np.allclose(attention.value.sum(axis=1), 0, atol=1e-6)
    assert list(weights.table().columns) == ["difference"] and not weights.clear_of_zero().any()
    with pytest.raises(ECGError, match=r"the other I, II, V2, and shares of different leads cannot be compared"):
        lead_weight_difference(one, attention_summary(model, cohort.recording(1).select(("I", "II", "V2"))))


def test_the_shares_of_a_store_are_those_of_its_ecgs(cohort, model):
    rows = np.array([3, 0, 7])
    shares = lead_shares(model, cohort, rows, batch_size=2, progress=False)
    for place, row in enumerate(rows):
        batch = cohort.batch([int(row)])
        rolled = roll_up(model, batch)
        assert np.allclose(shares.rolled_up[place], rolled.between_leads[0], atol=1e-5)
        assert np.allclose(shares.into_heart[place], rolled.into_heart[0], atol=1e-5)
        assert shares.complete[place] == (len(cohort.recording(int(row)).leads) == 12)
    assert not shares.complete.all() and shares.complete.any(), "the cohort has an ECG that lacks a lead"
    with pytest.raises(ECGError, match="No ECG was chosen"):
        lead_shares(model, cohort, rows[:0], progress=False)
    model.train()
    few = lead_shares(model, cohort, rows, leads=("V1", "I"), progress=False)
    assert model.training, "left as it was"
    model.eval()
    assert few.lead_weights.shape == (3, 2) and few.complete.all()


def test_a_code_is_compared_with_no_code_at_all():
    codes = [["I44.7"], ["I44.7", "I10"], [], [], ["I10"]]
    shares, index = made_up([0.9, 0.7, 0.3, 0.1, 0.5], codes, [1, 2, 3, 4, 5])
    difference = code_difference(shares, index, "I44.7", n_bootstrap=200)
    assert np.allclose(difference.value, [0.6, -0.6]), "the ECG with another code is in neither group"
    assert difference.comparison == "Lead weights: 2 ECGs with I44.7 minus 2 without any code"
    assert (difference.low <= difference.value).all() and (difference.value <= difference.high).all()
    # The smallest and the largest that a draw of patients can give: 0.7 - 0.3 and 0.9 - 0.1.
    assert np.isclose(difference.low[0], 0.4) and np.isclose(difference.high[0], 0.8)
    assert difference.clear_of_zero().all() and list(difference.table().columns) == ["difference", "low", "high"]
    pairs = code_difference(shares, index, "I44.7", "rolled_up", n_bootstrap=50)
    assert np.allclose(pairs.value, [[0.6, -0.6], [-0.6, 0.6]]) and pairs.table().shape == (2, 2)
    assert np.allclose(code_difference(shares, index, "I44", n_bootstrap=50).value, difference.value), "its parent, too"


def test_incomplete_and_unlabelled_ecgs_are_in_neither_group():
    shares, index = made_up([0.9, 0.5, 0.3, 0.1], [["I44.7"], ["I44.7"], [], []], [1, 2, 3, 4])
    shares = replace(shares, complete=np.array([True, False, True, True]))
    index["labelled"] = [True, True, True, False]
    assert np.allclose(code_difference(shares, index, "I44.7", n_bootstrap=20).value, [0.6, -0.6])


def test_patients_not_ecgs_are_drawn():
    """Twenty ECGs of one patient say no more than one: the interval is as wide as that of two patients."""
    many, index = made_up([0.9] * 20 + [0.5, 0.1], [["I44.7"]] * 21 + [[]], [1] * 20 + [2, 3])
    interval = code_difference(many, index, "I44.7", n_bootstrap=400)
    assert np.isclose(interval.low[0], 0.4) and np.isclose(interval.high[0], 0.8)


def test_a_comparison_without_a_group_is_refused():
    shares, index = made_up([0.9, 0.1], [["I44.7"], []], [1, 2])
    for change, complaint in (
        ({"code": "I10"}, "no ECG with I10 that has all of I, II"),
        ({"of": "weights"}, "no shares 'weights'; choose from lead_weights"),
        ({"index": index.iloc[:1]}, "index has 1 rows, but there are shares of 2"),
        ({"index": index.assign(codes=[["I44.7"], ["I10"]])}, "no ECG without any code"),
    ):
        with pytest.raises(ECGError, match=complaint):
            code_difference(**{"shares": shares, "index": index, "code": "I44.7"} | change)


def test_saliency_is_drawn_behind_its_lead(cohort, model):
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


def test_a_saliency_figure_is_light():
    """12 leads of 10 s at 500 Hz as HTML, without plotly.js: less than 1 MB."""
    rng = np.random.default_rng(0)
    recording = Recording(rng.standard_normal((12, 5000)).astype(np.float32), 500.0, LEADS)
    for method in METHODS:
        figure = saliency_figure(recording, rng.standard_normal((12, 40)), method)
        assert len(figure.to_html(include_plotlyjs=False)) < 500_000


def test_roll_up_and_differences_are_drawn_as_they_are(cohort, model):
    explanation, other = (attention_summary(model, cohort.recording(row).select(LEADS[:3])) for row in (0, 1))
    heat, bars, dots = roll_up_figure(explanation).data
    off_diagonal = ~np.eye(3, dtype=bool)
    assert np.allclose(np.array(heat.z)[off_diagonal], explanation.rolled_up[off_diagonal])
    assert np.isnan(np.array(heat.z)[~off_diagonal]).all(), "a lead's own share is written, not colored"
    written = [a.text for a in roll_up_figure(explanation).layout.annotations]
    assert written[:3] == [f"{explanation.rolled_up[row, row]:.0%}" for row in range(3)]
    assert np.allclose(bars.y, explanation.into_heart) and np.allclose(dots.y, explanation.lead_weights.mean(axis=0))
    pairs = lead_attention_difference(explanation, other)
    heat = lead_difference_figure(pairs).data[0]
    assert np.allclose(heat.z, 100 * pairs.value) and heat.zmin == -heat.zmax, "white is 0"
    assert not any(text for row in heat.text for text in row), "no interval, so nothing is marked"
    shares, index = made_up([0.9, 0.7, 0.3, 0.1], [["I44.7"], ["I44.7"], [], []], [1, 2, 3, 4])
    difference = code_difference(shares, index, "I44.7", n_bootstrap=50)
    bar = lead_difference_figure(difference).data[0]
    assert np.allclose(bar.y, [60, -60]) and bar.marker.color[0] != bar.marker.color[1]
    assert np.allclose(np.array(bar.y) + bar.error_y.array, 100 * difference.high)
    assert np.allclose(np.array(bar.y) - bar.error_y.arrayminus, 100 * difference.low)
    assert list(bar.marker.opacity) == [1, 1]
    marked = lead_difference_figure(code_difference(shares, index, "I44.7", "rolled_up", n_bootstrap=50))
    assert list(marked.data[0].text[0]) == ["+60.0", "-60.0"]
