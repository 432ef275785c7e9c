"""The table of all subsets equals runs of the model on each; probes of ECGs with absent leads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import (
    REPRESENTATIONS,
    Probe,
    chosen_latents,
    feature_sizes,
    features,
    log_odds,
    predict,
    probe_features,
)
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.explain.lead_subsets import subset_log_odds, subset_tables
from lamae_toolkit.model.baselines import COMPARED_MODELS
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import WEIGHTS

TINY = LAMAEConfig(width=12, heads=3, pooling_heads=2, decoder_width=8, decoder_heads=2, encoder_depth=1, max_patches=6)
ORDER = ("V3", "I", "aVF", "II", "V6")


def some_ecgs(ecgs: int = 1, leads=ORDER, absent=("aVF",), samples: int = 160) -> Batch:
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(ecgs, len(leads), samples, generator=generator).cumsum(dim=2) * 0.1
    return Batch(signal, torch.tensor([[name not in absent for name in leads]]).expand(ecgs, -1), tuple(leads))


def some_probe(model: LAMAE, representation: str, codes: int = 2, seed: int = 0) -> Probe:
    """Any probe, of log-odds of some tens."""
    rng = np.random.default_rng(seed)
    of_lead, of_ecg = feature_sizes(model, representation)
    d = 12 * of_lead + of_ecg
    weight = rng.normal(size=(codes, d)) * 10 / np.sqrt(d)
    mean, scale = rng.normal(size=d), rng.uniform(0.3, 1.0, d)
    return Probe(
        tuple(f"I{10 + i}" for i in range(codes)), representation, mean, scale, weight, rng.normal(size=codes), 1
    )


def stirred(model: LAMAE, seed: int = 0) -> LAMAE:
    """The model with every bias, norm and weight away from where it starts, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@torch.inference_mode()
def one_by_one(model: LAMAE, probes: list[Probe], one: Batch, subsets) -> list[torch.Tensor]:
    """The same by a full run of the model for each subset."""
    lead_mask = [name for name, there in zip(one.leads, one.lead_mask[0].tolist(), strict=True) if there]
    rows = []
    for subset in subsets:
        some = one.select([name for bit, name in enumerate(lead_mask) if subset >> bit & 1])
        embedding = model.embed(some) if subset else None
        rows.append([log_odds(embedding, some, p)[0] if subset else torch.from_numpy(p.bias) for p in probes])
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def assert_subsets_are_as_one_by_one(model: LAMAE, batch: Batch) -> None:
    probes = [some_probe(model, representation) for representation in REPRESENTATIONS]
    tables = subset_tables(model, probes, batch)
    for row in range(len(batch)):
        one = batch.rows(slice(row, row + 1))
        subsets = range(2 ** int(batch.lead_mask[0].sum()))
        for table, expected in zip(tables, one_by_one(model, probes, one, subsets), strict=True):
            torch.testing.assert_close(table[row], expected, atol=1e-5, rtol=1e-5)
            assert expected.std(dim=0).min() > 0.05, "the subsets must differ for the comparison to say something"


@pytest.mark.parametrize("pooling", ["attention", "mean"])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("tokens", ["all", "cls", "induced"])
def test_every_subset_equals_a_run_of_the_model_on_it(tokens, depth, pooling):
    model = random_encoder(replace(TINY, tokens=tokens, latent_depth=depth, pooling=pooling, induced_latents=3))
    assert_subsets_are_as_one_by_one(stirred(model), some_ecgs())


@pytest.mark.parametrize("baseline", COMPARED_MODELS)
def test_every_subset_of_the_baselines(baseline):
    assert_subsets_are_as_one_by_one(stirred(COMPARED_MODELS[baseline](TINY)), some_ecgs(ecgs=2, absent=("I", "V6")))


@pytest.mark.parametrize(
    "choice",
    [
        {"normalization": "record"},
        {"lead_embedding": True, "amplitude_input": True},
        {"normalization": "record", "lead_embedding": True},
        {"normalization": "visible", "amplitude_input": True, "pooling": "named", "pooling_heads": 5},
    ],
)
def test_subsets_with_lead_embedding_and_amplitude_input(choice):
    assert_subsets_are_as_one_by_one(stirred(random_encoder(replace(TINY, **choice))), some_ecgs())


def test_subsets_of_an_ecg_whose_amplitude_is_unknown():
    model = stirred(random_encoder(replace(TINY, amplitude_input=True, pooling="named", pooling_heads=12)))
    assert_subsets_are_as_one_by_one(model, replace(some_ecgs(), amplitude_known=torch.tensor([False])))


def test_the_features_of_a_probe_are_as_many_as_stated():
    for choice in ({}, {"amplitude_input": True, "pooling": "named", "pooling_heads": 5}):
        for kind in (LAMAE, COMPARED_MODELS["independent leads"]):
            model = kind(replace(TINY, **choice)).eval()
            for representation in REPRESENTATIONS:
                of_lead, of_ecg = feature_sizes(model, representation)
                with torch.inference_mode():
                    found = features(model.embed(some_ecgs(leads=LEADS, absent=())), representation)
                assert found.shape == (1, 12 * of_lead + of_ecg)


def test_one_lead_and_none():
    model, batch = stirred(random_encoder(TINY)), some_ecgs(leads=("V1",), absent=())
    probe = some_probe(LAMAE(TINY), "per_lead")
    table = subset_log_odds(model, probe, batch)
    assert table.shape == (1, 2, 2)
    np.testing.assert_array_equal(table[0, 0], probe.bias)
    torch.testing.assert_close(table[0], one_by_one(model, [probe], batch, range(2))[0], atol=1e-5, rtol=1e-5)
    with pytest.raises(ECGError, match="no usable lead"):
        subset_log_odds(model, probe, some_ecgs(leads=("V1",), absent=("V1",)))


@pytest.mark.parametrize("tokens", ["all", "cls"])
def test_subsets_that_a_token_would_hardly_look_at(tokens):
    """Scores in the hundreds: next to the best lead the others' softmax is 0 in float32, but alone they share 1."""
    model = stirred(random_encoder(replace(TINY, tokens=tokens)))
    with torch.no_grad():
        model.latent_attention[0].attention.qkv.weight[: 2 * 12] *= 12
    batch = some_ecgs()
    probe = some_probe(LAMAE(TINY), "per_lead")
    table = subset_log_odds(model, probe, batch)[0]
    expected = one_by_one(model, [probe], batch, range(16))[0]
    # Errors of the scores themselves, 1e-5 in a hundred, are in both.
    torch.testing.assert_close(table, expected, atol=3e-4, rtol=3e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lamae-mini-ptbxl", "lamae-mini-ptbxl-independent"])
def test_the_shipped_weights_with_all_twelve_leads(cohort, name):
    kind = LAMAE if name == "lamae-mini-ptbxl" else COMPARED_MODELS["independent leads"]
    model, probe = kind.from_pretrained(name).eval(), Probe.load(WEIGHTS / name)
    batch = cohort.batch([1])
    assert batch.lead_mask.all()
    table = subset_log_odds(model, probe, batch)[0]
    assert table.shape == (4096, len(probe.codes))
    subsets = [1, 2048, 4095, *np.random.default_rng(0).integers(1, 4096, 20).tolist()]
    torch.testing.assert_close(table[subsets], one_by_one(model, [probe], batch, subsets)[0], atol=1e-5, rtol=0)


def test_probe_in_float32_and_float64():
    """A fresh probe has mean and scale in float32, one that was loaded in float64."""
    model, batch = stirred(random_encoder(TINY)), some_ecgs()
    for representation in REPRESENTATIONS:
        probe = some_probe(LAMAE(TINY), representation)
        fresh = replace(probe, mean=probe.mean.astype(np.float32), scale=probe.scale.astype(np.float32))
        table = subset_log_odds(model, fresh, batch)
        torch.testing.assert_close(table, subset_log_odds(model, probe, batch), atol=1e-5, rtol=1e-5)


def test_bits_follow_the_order_of_the_batch():
    model, probe, batch = stirred(random_encoder(TINY)), some_probe(LAMAE(TINY), "per_lead"), some_ecgs(absent=())
    table = subset_log_odds(model, probe, batch)[0]
    turned = subset_log_odds(model, probe, batch.select(ORDER[::-1]))[0]
    reversed_bits = [int(f"{subset:05b}"[::-1], 2) for subset in range(32)]
    torch.testing.assert_close(turned[reversed_bits], table, atol=1e-5, rtol=1e-5)


def test_unanswerable_batches_and_probes_are_refused():
    model, batch = random_encoder(TINY).train(), some_ecgs(ecgs=2)
    with pytest.raises(ECGError, match="different leads"):
        mixed = Batch(batch.signal_mv, torch.tensor([[True] * 5, [True] * 4 + [False]]), batch.leads)
        subset_log_odds(model, some_probe(LAMAE(TINY), "heart"), mixed)
    for representation in REPRESENTATIONS:
        with pytest.raises(ECGError, match="use the probe that was fitted on this model"):
            subset_log_odds(model, some_probe(LAMAE(replace(TINY, width=24)), representation), batch)
    subset_log_odds(model, some_probe(LAMAE(TINY), "heart"), batch)
    assert model.training, "left as it was"


@pytest.mark.parametrize("choice", [{}, {"tokens": "cls", "latent_depth": 2}, {"normalization": "record"}])
def test_an_encoded_ecg_predicts_from_any_of_its_leads(cohort, choice):
    model, probe = stirred(random_encoder(replace(TINY, **choice))), some_probe(LAMAE(TINY), "per_lead")
    recording = cohort.recording(1).select(("V1", "II", "aVL"))
    encoded = encode_ecg(model, recording, probe)
    assert encoded.leads == ("II", "aVL", "V1")
    table = subset_log_odds(model, probe, encoded.batch)[0]
    for leads, row in (((), 0), (("V1",), 4), (("V1", "II"), 5), (("V1", "aVL", "II"), 7)):
        torch.testing.assert_close(encoded.log_odds(leads), table[row], atol=1e-5, rtol=1e-5)
    with pytest.raises(ECGError, match="Lead V2 is not in this batch"):
        encoded.log_odds(("V1", "V2"))


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_absent_lead_equals_a_lead_that_is_not_in_the_batch(representation):
    model, probe = stirred(random_encoder(TINY)), some_probe(LAMAE(TINY), representation)
    batch = some_ecgs(ecgs=3, absent=("I", "V6"))
    kept = predict(model, probe, batch.select(("aVF", "II", "V3")))
    np.testing.assert_allclose(predict(model, probe, batch), kept, atol=1e-6)
    garbage = Batch(torch.where(batch.lead_mask[..., None], batch.signal_mv, 9.0), batch.lead_mask, batch.leads)
    np.testing.assert_allclose(predict(model, probe, garbage), kept, atol=1e-6)


def test_absent_lead_has_standardized_features_of_zero():
    model, probe, batch = stirred(random_encoder(TINY)), some_probe(LAMAE(TINY), "per_lead"), some_ecgs()
    embedding = model.embed(batch)
    standard = (probe_features(embedding, batch, probe)[0].detach().numpy() - probe.mean) / probe.scale
    by_lead = standard[: 2 * 12 * 12].reshape(2, 12, 12)
    there = np.isin(LEADS, [name for name in ORDER if name != "aVF"])
    assert (by_lead[:, ~there] == 0).all() and (by_lead[:, there] != 0).all()
    log_odds(embedding, batch, probe).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.encoder.parameters())


@torch.inference_mode()
def test_probe_features_of_all_leads_in_any_order():
    model, batch = stirred(random_encoder(TINY)), some_ecgs(ecgs=2, leads=LEADS, absent=())
    for representation in REPRESENTATIONS:
        probe = some_probe(LAMAE(TINY), representation)
        embedding = model.embed(batch)
        assert torch.equal(probe_features(embedding, batch, probe), chosen_latents(embedding, representation).double())
        expected = probe.predict_proba(features(embedding, representation))
        np.testing.assert_allclose(predict(model, probe, batch), expected, rtol=1e-12)
        turned = batch.select([*LEADS[6:], *LEADS[5::-1]])
        np.testing.assert_allclose(predict(model, probe, turned), expected, atol=1e-5)
