"""The linear probe equals scikit-learn's logistic regression, in limited memory and with absent leads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from sklearn.linear_model import LogisticRegression

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_rows, random_encoder
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict, evaluate
from lamae_toolkit.evaluation.linear_probe import (
    REPRESENTATIONS,
    Probe,
    _check_memory,
    feature_sizes,
    features,
    fit_probe,
    lead_features,
    log_odds,
    predict,
    weights_by_lead,
)
from lamae_toolkit.evaluation.logistic_regression import Standardized, logistic_regressions, principal_axes
from small_models import ONE_BLOCK, learnable

TRAIN, VALIDATION = np.arange(400), np.arange(400, 600)
CODES = tuple("abcde")
CS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.3, 3.0, 30.0)
LITTLE_MEMORY = 20_000
"""Bytes, in which the 400 training ECGs come in pieces."""


@pytest.fixture(scope="module")
def latents() -> tuple[np.ndarray, np.ndarray]:
    """Correlated features with a large mean, as latents are, and codes from common to rare that follow from them."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 30)) * np.geomspace(3, 0.01, 6)[:, None]
    x = rng.normal(size=(900, 6)) @ mixing + 0.05 * rng.normal(size=(900, 30)) + 5
    odds = (x - 5) @ rng.normal(size=(30, 5)) / 4 + rng.logistic(size=(900, 5))
    return x.astype(np.float32), (odds > np.quantile(odds, [0.4, 0.6, 0.8, 0.9, 0.95], axis=0).diagonal()).astype("u1")


@pytest.mark.parametrize("memory_bytes", [2**30, LITTLE_MEMORY])
@pytest.mark.parametrize("Cs", [(0.001,), (0.3,), CS])
def test_probe_is_scikit_learns_logistic_regression(latents, Cs, memory_bytes):
    x, labels = latents
    probe = fit_probe(x, labels, CODES, TRAIN, VALIDATION, Cs=Cs, memory_bytes=memory_bytes)
    z = (x - x[TRAIN].mean(axis=0)) / (x[TRAIN].std(axis=0) + 1e-6)
    for column in range(len(CODES)):
        theirs = LogisticRegression(C=probe.C, max_iter=5000, tol=1e-8).fit(z[TRAIN], labels[TRAIN, column])
        assert np.abs(probe.logits(x)[:, column] - theirs.decision_function(z)).max() < 5e-3
    assert np.allclose(probe.predict_proba(x), 1 / (1 + np.exp(-probe.logits(x))))


def test_probe_is_scikit_learns_with_fewer_ecgs_than_features():
    rng = np.random.default_rng(0)
    x, rows = rng.normal(size=(120, 200)).astype(np.float32), np.arange(60)
    labels = (x[:, :2] + rng.normal(size=(120, 2)) > 0).astype(np.uint8)
    for memory_bytes in (2**30, LITTLE_MEMORY):
        probe = fit_probe(x, labels, ["a", "b"], rows, rows + 60, Cs=(0.03,), memory_bytes=memory_bytes)
        z = (x - x[rows].mean(axis=0)) / (x[rows].std(axis=0) + 1e-6)
        for column in range(2):
            theirs = LogisticRegression(C=0.03, max_iter=5000, tol=1e-8).fit(z[rows], labels[rows, column])
            assert np.abs(probe.logits(x)[:, column] - theirs.decision_function(z)).max() < 5e-3


def test_lead_of_a_single_ecg_has_the_mean_of_that_ecg():
    x = torch.tensor([[1.0, 0, 0], [2, 0, 0], [3, 7, 0], [4, 0, 0], [5, 0, 0]])
    learned = Standardized.of(x, torch.zeros(5, 1, dtype=torch.uint8), by_lead=True, memory_bytes=2**20)
    assert learned.mean.tolist() == [3, 7, 0]
    np.testing.assert_allclose(learned.scale, [np.sqrt(2) + 1e-6, 1e-6, 1e-6])


def test_principal_axes_of_ecgs_that_repeat_are_orthonormal():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 50))).repeat(5, 1)
    learned = Standardized.of(x, torch.zeros(20, 1, dtype=torch.uint8), by_lead=False, memory_bytes=2**20)
    norm, directions, _ = principal_axes(learned)
    assert len(norm) == 3, "four points lie in three dimensions around their mean"
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-9)


def test_regression_that_starts_at_the_optimum_stays_there(latents, monkeypatch):
    fits, minimize = [], scipy.optimize.minimize
    monkeypatch.setattr(
        scipy.optimize, "minimize", lambda *x, **options: fits.append(minimize(*x, **options)) or fits[-1]
    )
    x, labels = (torch.from_numpy(values[TRAIN]) for values in latents)
    learned = Standardized.of(x, labels, by_lead=False, memory_bytes=2**30)
    weight, bias = torch.zeros(5, 30, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    for _ in range(2):
        weight, bias = logistic_regressions(learned, principal_axes(learned), 0.01, weight, bias)
    assert fits[0].nfev > 5 and fits[1].nfev == 1


def test_penalty_is_chosen_on_validation_patients():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 60)).astype(np.float32)
    labels = (x[:, :1] + rng.normal(0, 2, (400, 1)) > 0).astype(np.uint8)
    probe = fit_probe(x, labels, ["I10"], np.arange(80), np.arange(80, 400), Cs=(1e-3, 1e3))
    assert probe.C == 1e-3, "80 ECGs, 60 features each: only a strong penalty generalises"


def test_saved_probe_loads_the_same(tmp_path):
    embedding, index = learnable()
    probe = evaluate(embedding, index, ("I48.91",), n_bootstrap=5).probe
    probe.save(tmp_path)
    loaded = Probe.load(tmp_path)
    assert np.allclose(loaded.logits(features(embedding)), probe.logits(features(embedding)))
    assert loaded.codes == ("I48.91",) and loaded.representation == "heart"
    with pytest.raises(ECGError, match="reads 8 features per ECG, but this model gives 4"):
        probe.logits(np.zeros((1, 4), dtype=np.float32))
    (tmp_path / "probe.json").write_text("{}")
    with pytest.raises(ECGError, match="damaged"):
        Probe.load(tmp_path)
    with pytest.raises(ECGError, match="run `lamae evaluate` on it first"):
        Probe.load(tmp_path / "elsewhere")


def test_code_on_no_or_every_training_ecg_is_refused(latents):
    x, labels = latents
    none, all_have = labels.copy(), labels.copy()
    none[:400, 1], all_have[:400, 2] = 0, 1
    with pytest.raises(ECGError, match="No probe can learn b: no training ECG has it"):
        fit_probe(x, none, CODES, TRAIN, VALIDATION)
    with pytest.raises(ECGError, match="No probe can learn c: every training ECG has it"):
        fit_probe(x, all_have, CODES, TRAIN, VALIDATION)
    labels = labels[:, :1].copy()
    labels[VALIDATION] = 0
    with pytest.raises(ECGError, match="No code has both positive and negative ECGs among the validation patients"):
        fit_probe(x, labels, ["a"], TRAIN, VALIDATION)


def test_probe_too_large_for_the_gpu_is_refused(monkeypatch):
    x, labels = np.zeros((1000, 480), dtype=np.float32), np.zeros((1000, 100), dtype=np.uint8)
    needed = (x.nbytes + labels.nbytes) * 0.8 + 8 * 100 * (100 + 10 * 480)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    for free_bytes in (needed + 1, needed - 1):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free_bytes: (free, 2 * free))
        gpu = torch.device("cuda")
        if free_bytes > needed:
            _check_memory(x, labels, 700, 100, 0, gpu)
        else:
            with pytest.raises(ECGError, match="The probe needs 0 GiB on cuda, which has 0 GiB free; probe a smaller"):
                _check_memory(x, labels, 700, 100, 0, gpu)
    _check_memory(x, labels, 700, 100, 10**15, torch.device("cpu"))


def test_prediction_gives_a_probability_for_each_code(cohort):
    model = random_encoder(ONE_BLOCK)
    embedding = embed_rows(model, cohort, np.arange(len(cohort)), progress=False)
    codes = codes_to_predict(cohort, Split(), minimum=3)
    probe = evaluate(embedding, cohort.index, codes, n_bootstrap=5).probe
    probabilities = predict(model, probe, cohort.batch([0, 1]))
    assert probabilities.shape == (2, len(codes)) and ((probabilities > 0) & (probabilities < 1)).all().all()


def test_prediction_leaves_the_model_in_its_mode(cohort):
    model = random_encoder(ONE_BLOCK).train()
    fitting, other = (
        Probe(("I10",), "heart", np.zeros(d), np.ones(d), np.ones((1, d)), np.zeros(1), 1.0) for d in (32, 8)
    )
    predict(model, fitting, cohort.batch([0]))
    assert model.training
    with pytest.raises(ECGError, match="use the probe that was fitted on this model"):
        predict(model, other, cohort.batch([0]))
    assert model.training


@pytest.mark.parametrize("config", [ONE_BLOCK, replace(ONE_BLOCK, normalization="visible", amplitude_input=True)])
def test_features_have_the_announced_numbers_and_weights_by_lead_sum_to_the_prediction(cohort, config):
    model, batch, rng = random_encoder(config), cohort.batch([0, 1, 2]), np.random.default_rng(0)
    with torch.inference_mode():
        embedding = model.embed(batch)
    for representation in REPRESENTATIONS:
        of_lead, of_ecg = feature_sizes(model, representation)
        assert features(embedding, representation).shape[1] == 12 * of_lead + of_ecg, representation
    mean, scale, weight = rng.normal(size=12 * of_lead), rng.uniform(1, 2, 12 * of_lead), rng.normal(size=12 * of_lead)
    probe = Probe(("I10",), "leads", mean, scale, weight[None], np.ones(1), 1.0)
    parts = lead_features(embedding)
    weights = weights_by_lead(probe, batch.leads, [part.shape[2] for part in parts])
    terms = [((part - m)[..., None] * w).sum(dim=(1, 2)) for part, (w, m) in zip(parts, weights, strict=True)]
    complete = batch.lead_mask.all(dim=1)  # an absent lead has no term, see `probe_features`
    assert complete.sum() >= 2
    torch.testing.assert_close(
        (sum(terms) + 1)[complete], log_odds(embedding, batch, probe)[complete], atol=1e-4, rtol=1e-4
    )


def test_absent_lead_is_an_average_lead_in_fit_and_prediction(cohort):
    """Every second ECG lacks V1: the probe's mean of V1 is that of the others, and logits are what is predicted."""
    model, rows = random_encoder(ONE_BLOCK), np.arange(40)
    complete_batch = cohort.batch(rows)
    lead_mask = complete_batch.lead_mask.clone()
    lead_mask[::2, LEADS.index("V1")] = False
    batch = replace(complete_batch, lead_mask=lead_mask)
    with torch.inference_mode():
        x = features(model.embed(batch), "per_lead")
    of_v1 = np.arange(LEADS.index("V1") * 32, LEADS.index("V2") * 32)
    assert (x[::2, of_v1] == 0).all() and (x[1::2, 12 * 32 + of_v1] != 0).all()
    labels = np.random.default_rng(0).integers(0, 2, (40, 1), dtype=np.uint8)
    probe = fit_probe(x, labels, ["I10"], rows[:30], rows[30:], representation="per_lead")
    for at in (of_v1, 12 * 32 + of_v1):
        of_others = x[1:30:2, at]
        np.testing.assert_allclose(probe.mean[at], of_others.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(probe.scale[at], of_others.std(axis=0) + 1e-6, rtol=1e-3)
    np.testing.assert_allclose(probe.predict_proba(x), predict(model, probe, batch), atol=1e-4)
    # Where all leads are valid, it is the plain mean.
    complete = (x != 0).all(axis=1)
    x, labels = x[complete], labels[complete]
    probe = fit_probe(x, labels, ["I10"], rows[:12], rows[12 : len(x)], representation="per_lead")
    np.testing.assert_allclose(probe.mean, x[:12].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(probe.scale, x[:12].std(axis=0) + 1e-6, rtol=1e-3)


def test_absent_lead_in_little_memory(latents):
    x, labels = latents[0].copy(), latents[1]
    x[::3, :10], x[:, 20] = 0, 0
    once, pieces = (
        fit_probe(x, labels, CODES, TRAIN, VALIDATION, representation="per_lead", Cs=(0.01,), memory_bytes=size)
        for size in (2**30, LITTLE_MEMORY)
    )
    np.testing.assert_allclose(once.logits(x), pieces.logits(x), atol=1e-3)
    assert np.abs(once.logits(x) - once.logits(latents[0]))[::3].max() > 0.05


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"bias": [float("nan")]}, "bias holds what is not a number"),
        ({"scale": [0.0] * 8}, "scale is 0 or below"),
        ({"weight": [[0.0] * 7]}, r"weight has the shape \(1, 7\) and not \(1, 8\)"),
        ({"prevalence": [0.1, 0.2]}, r"prevalence has the shape \(2,\) and not \(1,\)"),
    ],
)
def test_damaged_probe_file_is_refused(change, reason, tmp_path):
    embedding, index = learnable()
    evaluate(embedding, index, ("I48.91",), n_bootstrap=5).probe.save(tmp_path)
    file = tmp_path / "probe.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change | {"sha256": None}))
    with pytest.raises(ECGError, match=f"{reason}.*run `lamae evaluate` again"):
        Probe.load(tmp_path)


def test_a_probe_of_version_0_1_has_no_prevalence(tmp_path):
    embedding, index = learnable()
    probe = evaluate(embedding, index, ("I48.91",), n_bootstrap=5).probe
    probe.save(tmp_path)
    file = tmp_path / "probe.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in values.items() if name not in ("prevalence", "sha256")}))
    old = Probe.load(tmp_path)
    assert old.prevalence is None and (old.usual_log_odds() == old.bias).all()
    assert 1 / (1 + np.exp(-probe.usual_log_odds())) == pytest.approx(probe.prevalence)
    with pytest.raises(ECGError, match="does not predict 'I10'; choose from I48"):
        probe.column("I10")
