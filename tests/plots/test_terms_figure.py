"""The figure of lead terms shows the numbers that it is given, on an axis that is the same for all ECGs."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

import lamae_toolkit as lt
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.ecg_terms import LeadTerms
from lamae_toolkit.explain.lead_shapley import LeadAttribution
from lamae_toolkit.plots.terms import LIMIT, lead_terms_figure

CODE = "I45.10"


@pytest.fixture
def terms() -> LeadTerms:
    """I, II and V1, of which V1 has a term beyond the axis; the prediction loses what the terms are."""
    rng = np.random.default_rng(0)
    recording = lt.simulate_ecg(lt.sample_patient(0, rng), rng).recording.select(["I", "II", "V1"])
    values = np.array([[0.5], [-0.2], [3.4]])
    return LeadTerms(recording, (CODE,), values, np.array([-3.0]), logit([0.1]), values.sum() - 3.0 - values, None)


def below_of(figure) -> str:
    """The sentences below the figure."""
    return figure.layout.annotations[-1].text


def test_bars_marks_and_the_sum_of_the_limb_leads(terms):
    figure = lead_terms_figure(terms, CODE)
    bars, limb, loss = figure.data
    assert tuple(bars.y) == terms.leads and np.allclose(bars.x, [0.5, -0.2, LIMIT])
    assert np.allclose(bars.customdata, [0.5, -0.2, 3.4])
    assert bars.marker.color[0] == bars.marker.color[2] != bars.marker.color[1]
    assert limb.y == ("limb leads",) and np.allclose(limb.x, [0.3])
    rows = [re.sub("<.*?>", "", text).split() for text in figure.layout.yaxis.ticktext]
    assert rows == [["I", "+0.50"], ["II", "-0.20"], ["limb", "leads", "+0.30"], ["V1", "+3.40", "▸"]]
    assert loss.name == "loss without the lead" and np.allclose(loss.customdata, [0.5, -0.2, 3.4])


def test_the_axis_does_not_depend_on_the_ecg(terms):
    even = replace(terms, terms=terms.terms / 100)
    figures = [lead_terms_figure(one, CODE) for one in (terms, even)]
    assert figures[0].layout.xaxis.range == figures[1].layout.xaxis.range == (-1.15 * LIMIT, 1.15 * LIMIT)
    assert "Right bundle-branch block" in figures[0].layout.title.text
    assert terms.sentence(CODE) in figures[0].layout.title.text


def test_one_limb_lead_has_no_sum(terms):
    one = replace(terms, recording=terms.recording.select(["I"]), terms=terms.terms[:1], without=terms.without[:1])
    assert [trace.name for trace in lead_terms_figure(one, CODE).data] == ["term of the lead", "loss without the lead"]


def test_a_disagreement_is_written_below_the_figure(terms):
    below = below_of(lead_terms_figure(terms, CODE))
    assert "average training ECG" in below and "V1" not in below
    made_up = replace(terms, without=terms.without + np.array([[0.0], [0.0], [3.0]]))
    assert "V1: the loss without the lead differs from the term" in below_of(lead_terms_figure(made_up, CODE))


def test_shapley_values_are_marked_on_demand(terms):
    bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
    additive = LeadAttribution(terms.recording, (CODE,), bits @ terms.terms - 3.0)
    figure = lead_terms_figure(terms, CODE, additive)
    assert figure.data[-1].name == "Shapley value" and np.allclose(figure.data[-1].customdata, terms.terms[:, 0])
    assert "Shapley" not in below_of(figure)
    other = replace(additive, log_odds=bits @ np.array([[0.5], [-0.2], [1.0]]))
    assert "V1: the Shapley value differs from the term" in below_of(lead_terms_figure(terms, CODE, other))


def test_an_unknown_code_and_another_ecg_are_refused(terms):
    with pytest.raises(ECGError, match="does not predict 'I10'; choose from I45"):
        lead_terms_figure(terms, "I10")
    with pytest.raises(ECGError, match="of different leads; compute both from the same recording"):
        lead_terms_figure(terms, CODE, LeadAttribution(terms.recording.select(["I"]), (CODE,), np.zeros((2, 1))))
