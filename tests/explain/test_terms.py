"""Lead terms: they sum to the prediction, an absent or average lead has none, and other probes are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

import lamae_toolkit as lt
from lamae_toolkit.data.batch import Batch, collate
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS, Probe, feature_sizes, log_odds
from lamae_toolkit.explain.ecg_terms import LeadTerms, in_words, percent
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.explain.terms import ADDITIVE, batch_lead_terms, lead_terms, store_lead_terms
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from small_models import ONE_BLOCK

TINY = replace(ONE_BLOCK, width=16, heads=2, pooling_heads=2, decoder_heads=2)
CODES = ("I45.10", "I44.7", "I48.91")


def random_probe(model: LAMAE, representation: str, seed: int = 0) -> Probe:
    rng = np.random.default_rng(seed)
    of_lead, of_ecg = feature_sizes(model, representation)
    d = 12 * of_lead + of_ecg
    return Probe(
        CODES,
        representation,
        rng.normal(size=d) / 10,
        rng.uniform(0.5, 2, d),
        rng.normal(size=(3, d)) / 10,
        rng.normal(size=3),
        1.0,
        np.array([0.1, 0.05, 0.2]),
    )


def some_ecg(seed: int = 0) -> lt.Recording:
    rng = np.random.default_rng(seed)
    return lt.simulate_ecg(lt.sample_patient(seed, rng), rng).recording


def random_model(kind=LAMAE, **choices) -> LAMAE:
    torch.manual_seed(0)
    return kind(replace(TINY, **choices)).eval()


@pytest.mark.parametrize("representation", ADDITIVE)
@pytest.mark.parametrize(
    "kind, choices",
    [
        (LAMAE, {}),
        (LAMAE, {"tokens": "cls"}),
        (LAMAE, {"tokens": "induced"}),
        (LAMAE, {"normalization": "record", "amplitude_input": True}),
        (LAMAE, {"pooling": "mean"}),
        (LAMAE, {"pooling": "named", "pooling_heads": 5, "normalization": "visible", "amplitude_input": True}),
        (IndependentMAE, {}),
        (IndependentMAE, {"pooling": "named", "pooling_heads": 5, "amplitude_input": True}),
    ],
)
def test_terms_and_bias_sum_to_the_log_odds(representation, kind, choices):
    model = random_model(kind, **choices)
    probe = random_probe(model, representation)
    batch = collate([some_ecg(0), some_ecg(1).select(["V1", "I", "aVF"])], 100, 10)
    terms = batch_lead_terms(model, probe, batch)
    with torch.inference_mode():
        expected = log_odds(model.embed(batch), batch, probe)
    np.testing.assert_allclose(terms.sum(1) + torch.from_numpy(probe.bias), expected, atol=1e-6)
    assert (terms[~batch.lead_mask] == 0).all() and (terms[batch.lead_mask] != 0).all()


@pytest.mark.parametrize("representation", ADDITIVE)
def test_a_batch_of_leads_in_another_order_has_the_same_terms(representation):
    model, probe = random_model(), random_probe(random_model(), representation)
    batch = collate([some_ecg()], 100, 10)
    other = Batch(batch.signal_mv.flip(1), batch.lead_mask.flip(1), batch.leads[::-1])
    expected = batch_lead_terms(model, probe, batch)
    torch.testing.assert_close(batch_lead_terms(model, probe, other).flip(1), expected, atol=1e-5, rtol=0)


def test_a_lead_like_the_average_training_ecg_has_no_term():
    model, batch = random_model(), collate([some_ecg()], 100, 10)
    with torch.inference_mode():
        embedding = model.embed(batch)
    average = torch.cat([embedding.per_lead.flatten(1), embedding.per_lead_std.flatten(1)], dim=1)[0].double().numpy()
    terms = batch_lead_terms(model, replace(random_probe(random_model(), "leads"), mean=average), batch)
    assert terms.abs().max() < 1e-6


@pytest.mark.parametrize("representation", ADDITIVE)
def test_the_table_has_the_leads_of_the_ecg_and_the_bias(representation):
    model, probe, ecg = (
        random_model(),
        random_probe(random_model(), representation),
        some_ecg().select(["V1", "I", "aVF"]),
    )
    table = lead_terms(model, probe, ecg)
    assert list(table.columns) == ["I", "aVF", "V1", "bias"] and tuple(table.index) == CODES
    expected = lt.predict(model, probe, collate([ecg], 100, 10)).iloc[0]
    np.testing.assert_allclose(expit(table.sum(axis=1)), expected, atol=1e-6)


def test_heart_terms_are_pooling_weight_times_value():
    """With the same value in each lead, the terms are the prediction shared out by the pooling weights."""
    model, probe = random_model(), random_probe(random_model(), "heart")
    torch.nn.init.zeros_(model.pooling.value.weight)
    torch.nn.init.normal_(model.pooling.value.bias)
    batch = collate([some_ecg()], 100, 10)
    with torch.inference_mode():
        embedding = model.embed(batch)
        above_bias = log_odds(embedding, batch, probe)[0] - torch.from_numpy(probe.bias)
    terms = batch_lead_terms(model, probe, batch)[0]
    # Both heads have other weights, but each gives half of the constant and its own part of the value.
    assert terms.sum(0).numpy() == pytest.approx(above_bias.numpy(), abs=1e-6)
    one_head = random_model(pooling_heads=1)
    torch.nn.init.zeros_(one_head.pooling.value.weight)
    torch.nn.init.normal_(one_head.pooling.value.bias)
    with torch.inference_mode():
        embedding = one_head.embed(batch)
        above_bias = log_odds(embedding, batch, probe)[0] - torch.from_numpy(probe.bias)
    expected = embedding.lead_weights[0, 0, :, None].double() * above_bias
    torch.testing.assert_close(batch_lead_terms(one_head, probe, batch)[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("leads", [LEADS, ("V1", "I", "aVF"), ("II",)])
@pytest.mark.parametrize("representation", ADDITIVE)
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"normalization": "record", "amplitude_input": True},
        {"normalization": "visible", "amplitude_input": True, "pooling": "named", "pooling_heads": 5},
    ],
)
def test_an_encoded_ecg_gives_terms_and_leave_one_out_of_any_of_its_leads(representation, leads, choices):
    model, ecg = random_model(**choices), some_ecg()
    probe = random_probe(model, representation)
    terms = encode_ecg(model, ecg, probe).lead_terms(leads)
    kept = ecg.select([lead for lead in LEADS if lead in leads])
    table = lead_terms(model, probe, kept)
    np.testing.assert_allclose(terms.table(), table, atol=1e-6)
    np.testing.assert_allclose(expit(terms.log_odds), terms.ranked().probability.loc[list(CODES)], atol=1e-12)
    for lead in kept.leads:
        others = kept.select([other for other in kept.leads if other != lead]) if len(kept.leads) > 1 else None
        expected = expit(probe.bias[0])
        if others is not None:
            expected = lt.predict(model, probe, collate([others], 100, 10))[CODES[0]].iloc[0]
        assert terms.of_code(CODES[0]).probability_without[lead] == pytest.approx(expected, abs=1e-6)
    if representation == "leads":
        over_time = terms.over_time
        total = over_time.patch.sum(axis=1) + over_time.cls + over_time.variability + over_time.amplitude
        np.testing.assert_allclose(total, terms.terms, atol=1e-6)
        assert over_time.patch.shape == (len(leads), 40, 3) and over_time.patch_s == 0.25
    else:
        assert terms.over_time is None


def test_the_term_of_a_beat_moves_with_the_beat():
    """A change of one patch changes the part of the term that this patch adds more than that of any other."""
    model, probe = random_model(IndependentMAE), random_probe(random_model(), "leads")
    ecg = some_ecg()
    signal = ecg.signal_mv.copy()
    start = int(5.0 * ecg.sampling_rate_hz)
    signal[LEADS.index("V1"), start : start + int(0.25 * ecg.sampling_rate_hz)] += 1.0
    before, after = (
        encode_ecg(model, one, probe).lead_terms().over_time.patch for one in (ecg, replace(ecg, signal_mv=signal))
    )
    change = np.abs(after - before).sum(axis=2)
    assert np.unravel_index(change.argmax(), change.shape) == (LEADS.index("V1"), 20)
    assert change[: LEADS.index("V1")].max() == 0


def test_codes_are_ranked_by_log_odds_above_prevalence():
    terms = fixed_terms(np.array([[2.0, 0.0], [0.0, 1.0]]), bias=[-3.0, 0.5], prevalence=[0.01, 0.6])
    ranked = terms.ranked()
    assert list(ranked.index) == ["I45.10", "I48.91"]  # -1 is further above logit(0.01) than 1.5 above logit(0.6)
    assert ranked.above_prevalence.to_numpy() == pytest.approx([-1 - logit(0.01), 1.5 - logit(0.6)])


def fixed_terms(values: np.ndarray, bias, prevalence, lost: np.ndarray | None = None) -> LeadTerms:
    """Terms (lead, code) of the leads I and V1 for two codes; lost: what the log-odds lose without each lead."""
    bias = np.array(bias)
    without = bias + values.sum(axis=0) - (values if lost is None else lost)
    recording = some_ecg().select(["I", "V1"])
    return LeadTerms(recording, ("I45.10", "I48.91"), values, bias, logit(np.array(prevalence)), without, None)


def test_the_sentence_names_the_lead_and_what_happens_without_it():
    terms = fixed_terms(np.array([[0.0, 0.3], [2.4, -1.0]]), bias=[-3.9, 0.0], prevalence=[0.02, 0.5])
    assert terms.sentence("I45.10") == "Rests on V1. Without it: 18 % → 2.0 %."
    below = "Below its prevalence (33 % against 50 %). "
    assert terms.sentence("I48.91") == below + "Most against it: V1. Without it: 33 % → 57 %."
    kept = np.array([[0.0, 0.3], [0.1, -1.0]])
    terms = fixed_terms(np.array([[0.0, 0.3], [2.4, -1.0]]), bias=[-3.9, 0.0], prevalence=[0.02, 0.5], lost=kept)
    assert terms.sentence("I45.10") == "Rests on V1. Without it: 18 % → 17 %. So the other leads make up for it."
    even = fixed_terms(np.array([[0.05, 0.0], [-0.05, 0.0]]), bias=[-3.9, 0.0], prevalence=[0.02, 0.5])
    assert "no lead in particular" in even.sentence("I45.10") and "no lead in particular" in even.sentence("I48.91")
    assert terms.limb_term("I48.91") == pytest.approx(0.3)
    with pytest.raises(ECGError, match="does not predict 'I10'; choose from"):
        terms.of_code("I10")


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "< 0.1 %"), (0.021, "2.1 %"), (0.0996, "10 %"), (0.5, "50 %"), (0.9951, "99.5 %"), (0.99999, "> 99.9 %")],
)
def test_a_probability_is_never_0_or_100_percent(probability, text):
    assert percent(probability) == text


def test_the_short_answer_names_codes_and_leads():
    text = in_words(fixed_terms(np.array([[0.0, 0.3], [2.4, -1.0]]), bias=[-3.9, 0.0], prevalence=[0.02, 0.5]))
    first, second = text.splitlines()
    assert first.endswith("(prevalence 2.0 %): V1 +2.4, I +0.0") and first.lstrip().startswith("18 %")
    assert second.endswith("(prevalence 50 %): V1 -1.0, I +0.3")


def test_the_terms_of_a_store_are_those_of_its_ecgs(tmp_path):
    store = lt.simulate_store(tmp_path / "store", 5, seed=0, progress=False)
    model, probe = random_model(), random_probe(random_model(), "leads")
    table = store_lead_terms(model, probe, store, [3, 1], batch_size=1, progress=False)
    assert list(table.columns) == ["study_id", "patient_id", "code", *LEADS, "bias"] and len(table) == 6
    assert list(table.study_id[::3]) == list(store.index.study_id.iloc[[3, 1]])
    expected = lead_terms(model, probe, store.recording(1))
    np.testing.assert_allclose(table.iloc[3:][[*LEADS, "bias"]], expected, atol=1e-6)


@pytest.mark.parametrize("representation", sorted(set(REPRESENTATIONS) - set(ADDITIVE)))
def test_a_probe_that_is_no_sum_over_leads_is_refused(representation):
    model, probe = random_model(), random_probe(random_model(), representation)
    for refused in (lambda: lead_terms(model, probe, some_ecg()), encode_ecg(model, some_ecg(), probe).lead_terms):
        with pytest.raises(ECGError, match="is not a sum over leads, so leads have no terms; fit one with"):
            refused()


@pytest.mark.parametrize("representation", ADDITIVE)
def test_a_probe_of_another_model_is_refused(representation):
    with pytest.raises(ECGError, match="use the probe that was fitted on this model"):
        lead_terms(random_model(), random_probe(random_model(width=8, heads=2), representation), some_ecg())


def test_without_a_probe_or_a_lead_there_are_no_terms():
    with pytest.raises(ECGError, match="Without a probe"):
        encode_ecg(random_model(), some_ecg()).lead_terms()
    with pytest.raises(ECGError, match="turn at least one on"):
        encode_ecg(random_model(), some_ecg().select(["I"]), random_probe(random_model(), "leads")).lead_terms(["V1"])


def test_a_store_of_another_sampling_rate_is_refused(tmp_path):
    store = lt.simulate_store(tmp_path / "store", 2, seed=0, sampling_rate_hz=200.0, progress=False)
    with pytest.raises(ECGError, match="sampled at 200 Hz"):
        store_lead_terms(random_model(), random_probe(random_model(), "leads"), store, progress=False)
