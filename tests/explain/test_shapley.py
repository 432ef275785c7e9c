"""Shapley values satisfy their axioms on known games, and lead attributions sum to the prediction."""

import doctest
from itertools import permutations

import numpy as np
import pytest
import torch

from lamae_toolkit.data.batch import collate
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds, predict
from lamae_toolkit.explain import shapley
from lamae_toolkit.explain.encoded import attention_summary
from lamae_toolkit.explain.lead_shapley import attribute_leads
from lamae_toolkit.explain.shapley import grouped, shapley_interactions, shapley_values, subset_members
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.plots.shapley import attribution_figure, group_attribution_figure, interaction_figure

SMALL = LAMAEConfig(width=16, heads=2, pooling_heads=2, decoder_width=8, decoder_heads=2, encoder_depth=1)


def by_orders(values: np.ndarray) -> np.ndarray:
    """The definition: what a player adds on arrival, averaged over all orders."""
    players = len(values).bit_length() - 1
    shares, orders = np.zeros((players, *values.shape[1:])), list(permutations(range(players)))
    for order in orders:
        arrived = 0
        for player in order:
            shares[player] += values[arrived | 1 << player] - values[arrived]
            arrived |= 1 << player
    return shares / len(orders)


def test_known_games():
    members = subset_members(3)
    # One has a left glove, two have a right one; a pair is worth 1. Two thirds and one sixth each.
    gloves = (members[:, 0] & (members[:, 1] | members[:, 2])).astype(float)
    np.testing.assert_allclose(shapley_values(gloves), [2 / 3, 1 / 6, 1 / 6])
    majority = (subset_members(5).sum(axis=1) >= 3).astype(float)
    np.testing.assert_allclose(shapley_values(majority), np.full(5, 1 / 5))
    # Votes of 4, 2, 1 with 5 to win: only the first is in every winning side, and each other can complete it.
    votes = (members @ [4, 2, 1] >= 5).astype(float)
    np.testing.assert_allclose(shapley_values(votes), [2 / 3, 1 / 6, 1 / 6])
    worth = np.array([3.0, -1.0, 0.5, 0.0])
    np.testing.assert_allclose(shapley_values(subset_members(4) @ worth + 7.0), worth, atol=1e-12)
    np.testing.assert_allclose(shapley_values(np.array([2.0, 5.0])), [3.0])


def test_shares_are_the_mean_over_all_orders_of_arrival_and_obey_the_axioms():
    rng = np.random.default_rng(0)
    values, others = rng.normal(size=(2, 32, 3))
    shares = shapley_values(values)
    np.testing.assert_allclose(shares, by_orders(values), atol=1e-12)
    np.testing.assert_allclose(shares.sum(axis=0), values[-1] - values[0], atol=1e-12)
    np.testing.assert_allclose(shapley_values(2 * values + others), 2 * shares + shapley_values(others), atol=1e-12)
    subsets = np.arange(32)
    without_two = values[subsets & ~(1 << 2)]
    np.testing.assert_allclose(shapley_values(without_two)[2], 0, atol=1e-12)
    swapped = subsets & ~0b10010 | (subsets >> 1 & 1) << 4 | (subsets >> 4 & 1) << 1
    alike = shapley_values(values + values[swapped])
    np.testing.assert_allclose(alike[1], alike[4], atol=1e-12)
    twelve = rng.normal(size=4096)
    np.testing.assert_allclose(shapley_values(twelve).sum(), twelve[-1] - twelve[0])


def test_interactions_are_what_a_pair_adds_beyond_each_alone():
    members = subset_members(4)
    additive = members @ np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(shapley_interactions(additive), 0, atol=1e-12)
    both, either = members[:, 0] & members[:, 1], members[:, 2] | members[:, 3]
    pairs = shapley_interactions(2.0 * both + 3.0 * either + additive)
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 2.0
    expected[2, 3] = expected[3, 2] = -3.0
    np.testing.assert_allclose(pairs, expected, atol=1e-12)
    # The definition: how much it changes what i gets, among the players without j, that j is there.
    values = np.random.default_rng(1).normal(size=(16, 2))
    last = values.reshape(2, 8, 2)
    np.testing.assert_allclose(
        shapley_interactions(values)[3, :3], shapley_values(last[1]) - shapley_values(last[0]), atol=1e-12
    )
    assert shapley_interactions(np.array([1.0, 4.0])).tolist() == [[0.0]]


def test_value_of_a_group_is_that_of_all_its_members():
    values = np.random.default_rng(2).normal(size=(32, 2))
    groups = [(3, 0), (1,), (2, 4)]
    table = grouped(values, groups)
    assert (table[0b101] == values[0b11101]).all() and (table[-1] == values[-1]).all()
    np.testing.assert_allclose(grouped(values, [(i,) for i in range(5)]), values)
    for wrong in ([(0, 1), (1, 2, 3, 4)], [(0, 1), (2, 3)], [(0, 1, 2, 3, 4), ()]):
        with pytest.raises(ECGError, match="each of the 5 players once"):
            grouped(values, wrong)
    assert doctest.testmod(shapley).failed == 0


def test_tables_that_are_no_game_are_refused():
    for rows in (1, 3, 6):
        with pytest.raises(ECGError, match=f"but this has {rows}"):
            shapley_values(np.zeros(rows))
    with pytest.raises(ECGError, match="takes 1 to 20 players, not 21"):
        subset_members(21)


@pytest.fixture(scope="module")
def model():
    return random_encoder(SMALL)


@pytest.fixture(scope="module")
def probe() -> Probe:
    rng, features = np.random.default_rng(0), (2 * 12 + 5) * 16
    mean, scale = rng.normal(size=features), rng.uniform(0.3, 1, features)
    return Probe(("I10", "I48.91"), "per_lead", mean, scale, rng.normal(size=(2, features)) / 10, rng.normal(size=2), 1)


def test_lead_attributions_add_up_to_the_prediction(cohort, model, probe):
    recording = cohort.recording(1).select(("V2", "II", "aVR", "V5", "I"))
    attribution = attribute_leads(model, probe, recording)
    assert attribution.leads == ("I", "II", "aVR", "V2", "V5"), "in the order of LEADS, whatever the file's order"
    assert attribution.values.shape == (5, 2) and attribution.interactions.shape == (5, 5, 2)
    np.testing.assert_allclose(attribution.empty, probe.bias)
    np.testing.assert_allclose(attribution.empty + attribution.values.sum(axis=0), attribution.full)
    probabilities = attention_summary(model, recording, probe).probabilities
    np.testing.assert_allclose(1 / (1 + np.exp(-attribution.full)), probabilities[list(probe.codes)], atol=1e-6)
    table = attribution.table("I48.91")
    np.testing.assert_allclose(table.attribution, attribution.values[:, 1])
    np.testing.assert_allclose(table["leave_one_out"]["aVR"], attribution.full[1] - attribution.log_odds[0b11011, 1])
    np.testing.assert_allclose(table.single_lead["V2"], attribution.log_odds[0b01000, 1] - attribution.empty[1])
    groups = attribution.group_table("I48.91")
    assert groups.index.tolist() == ["limb", "V2", "V5"]
    np.testing.assert_allclose(groups.attribution.sum(), attribution.full[1] - attribution.empty[1])
    np.testing.assert_allclose(groups["sum"]["limb"], table.attribution[["I", "II", "aVR"]].sum())
    for wrong, complaint in (
        ({"limb": LEADS[:6], "chest": ("V2", "v5")}, "Lead V5 is in none of the groups"),
        ({"limb": LEADS[:6], "all": LEADS}, "Lead I is twice or more in the groups"),
    ):
        with pytest.raises(ECGError, match=complaint):
            attribution.group_table("I48.91", wrong)
    with pytest.raises(ECGError, match=r"does not predict 'J45'; choose from I10, I48\.91"):
        attribution.table("J45")


def test_fewer_leads_are_an_attribution_of_an_ecg_that_has_no_others(cohort, model, probe):
    recording = cohort.recording(1).select(("I", "II", "aVR", "V2"))
    some = attribute_leads(model, probe, recording).select(("V2", "II"))
    alone = attribute_leads(model, probe, recording.select(("II", "V2")))
    assert some.leads == alone.leads == ("II", "V2")
    np.testing.assert_allclose(some.log_odds, alone.log_odds, atol=1e-5)


def test_attribution_is_the_average_over_all_orders_of_the_leads(cohort, model, probe):
    recording = cohort.recording(1).select(("II", "aVF", "V2"))
    batch = collate([recording], model.config.sampling_rate_hz, model.config.duration_s)
    by_hand = np.zeros((8, 2))
    for subset in range(8):
        some = batch.select([name for bit, name in enumerate(recording.leads) if subset >> bit & 1])
        with torch.inference_mode():
            by_hand[subset] = log_odds(model.embed(some), some, probe)[0] if subset else probe.bias
    attribution = attribute_leads(model, probe, recording).values
    np.testing.assert_allclose(attribution, by_orders(by_hand), atol=1e-5)
    odds = predict(model, probe, batch).map(lambda probability: np.log(probability / (1 - probability)))
    np.testing.assert_allclose(probe.bias + attribution.sum(axis=0), odds.iloc[0], atol=1e-4)


def test_attribution_figures_show_their_values(cohort, model, probe):
    recording = cohort.recording(1)
    attribution, explanation = attribute_leads(model, probe, recording), attention_summary(model, recording, probe)
    bars, ends = attribution_figure(attribution, "I10").data
    np.testing.assert_allclose(bars.x, attribution.values[:, 0])
    np.testing.assert_allclose(bars.base + np.cumsum(bars.x)[-1], attribution.full[0])
    assert bars.base == attribution.empty[0] and bars.measure is None, "each bar begins where the one before ends"
    np.testing.assert_allclose(ends.x, [attribution.empty[0], attribution.full[0]])
    assert f"{explanation.probabilities['I10']:.1%}" in ends.text[1]
    heat = interaction_figure(attribution, "I10").data[0]
    off_diagonal = ~np.eye(len(attribution.leads), dtype=bool)
    np.testing.assert_allclose(heat.z[off_diagonal], attribution.interactions[..., 0][off_diagonal])
    assert np.isnan(np.diag(heat.z)).all()
    single, group, marks = group_attribution_figure(attribution, "I10", {"limb": LEADS[:6], "chest": LEADS[6:]}).data
    np.testing.assert_allclose(single.y, attribution.values[:, 0])
    np.testing.assert_allclose(sum(group.y), attribution.full[0] - attribution.empty[0])
    np.testing.assert_allclose(sum(marks.y), attribution.full[0] - attribution.empty[0])
