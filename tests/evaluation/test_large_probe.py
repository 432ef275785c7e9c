"""The probe on a device finds what the probe on small data finds, in pieces as in one, and so do its intervals."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.large_metrics import large_scores, patient_counts
from lamae_toolkit.evaluation.large_probe import fit_large_probe
from lamae_toolkit.evaluation.linear_probe import fit_probe
from lamae_toolkit.evaluation.metrics import auprc, auroc, patient_bootstrap

TRAIN, VALIDATION, TEST = np.arange(400), np.arange(400, 600), np.arange(600, 900)
CODES = tuple("abcde")


@pytest.fixture(scope="module")
def latents() -> tuple[np.ndarray, np.ndarray]:
    """Correlated features with a large mean, as latents are, and codes from common to rare that follow from them."""
    draw = np.random.default_rng(0)
    mixing = draw.normal(size=(6, 30)) * np.geomspace(3, 0.01, 6)[:, None]
    x = draw.normal(size=(900, 6)) @ mixing + 0.05 * draw.normal(size=(900, 30)) + 5
    odds = (x - 5) @ draw.normal(size=(30, 5)) / 4 + draw.logistic(size=(900, 5))
    return x.astype(np.float32), (odds > np.quantile(odds, [0.4, 0.6, 0.8, 0.9, 0.95], axis=0).diagonal()).astype("u1")


def as_tensors(latents) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.from_numpy(values) for values in latents)


@pytest.mark.parametrize("Cs", [(0.001,), (0.3,), (0.0003, 0.001, 0.003, 0.01, 0.03, 0.3, 3.0, 30.0)])
def test_it_is_the_probe_and_scikit_learns(latents, Cs):
    x, labels = latents
    large = fit_large_probe(*as_tensors(latents), CODES, TRAIN, VALIDATION, Cs=Cs)
    usual = fit_probe(x, labels, CODES, TRAIN, VALIDATION, Cs=Cs)
    assert large.C == usual.C
    np.testing.assert_allclose(large.logits(x), usual.logits(x), atol=0.02)
    z = (x - large.mean) / large.scale
    for column in range(len(CODES)):
        sklearn = LogisticRegression(C=large.C, max_iter=5000, tol=1e-8).fit(z[TRAIN], labels[TRAIN, column])
        theirs = roc_auc_score(labels[TEST, column], sklearn.decision_function(z[TEST]))
        ours = roc_auc_score(labels[TEST, column], large.logits(x[TEST])[:, column])
        assert ours == pytest.approx(theirs, abs=1e-3)
    assert theirs > 0.7


def test_an_absent_lead_is_an_average_one_to_both(latents):
    x, labels = latents[0].copy(), latents[1]
    x[::3, :10], x[:, 20] = 0, 0
    options = {"representation": "per_lead", "Cs": (0.01,)}
    large = fit_large_probe(torch.from_numpy(x), torch.from_numpy(labels), CODES, TRAIN, VALIDATION, **options)
    usual = fit_probe(x, labels, CODES, TRAIN, VALIDATION, **options)
    np.testing.assert_allclose(large.logits(x), usual.logits(x), atol=0.02)
    assert np.abs(large.logits(x) - large.logits(latents[0]))[::3].max() > 0.05


def test_in_little_memory_it_is_the_same(latents):
    once, pieces = (
        fit_large_probe(*as_tensors(latents), CODES, TRAIN, VALIDATION, memory_bytes=size) for size in (2**30, 20_000)
    )
    np.testing.assert_allclose(once.logits(latents[0]), pieces.logits(latents[0]), atol=0.02)


def test_what_cannot_be_learned_is_refused(latents):
    x, labels = as_tensors(latents)
    none, all_have = labels.clone(), labels.clone()
    none[:400, 1], all_have[:400, 2] = 0, 1
    with pytest.raises(ECGError, match="No probe can learn b: no training ECG has it"):
        fit_large_probe(x, none, CODES, TRAIN, VALIDATION)
    with pytest.raises(ECGError, match="No probe can learn c: every training ECG has it"):
        fit_large_probe(x, all_have, CODES, TRAIN, VALIDATION)


@pytest.mark.parametrize("memory_bytes", [2**30, 1, 60 * 300 * 7])
def test_auroc_auprc_and_their_replicates_are_those_of_the_small_ones(memory_bytes):
    draw = np.random.default_rng(1)
    patients = draw.integers(0, 90, size=300)
    scores = np.round(draw.normal(size=(300, 6)), 1).astype(np.float32)  # with many ties
    labels = (scores + draw.normal(size=(300, 6)) > [0, 0.5, 1, 2, 9, -9]).astype(np.uint8)  # the last two: none, all
    labels[0, 3], scores[:, 0] = 1, 0.0
    weights = patient_bootstrap(patients, 50, seed=3)
    tensors = torch.from_numpy(labels), torch.from_numpy(scores), patient_counts(patients, 50, seed=3)
    large = large_scores(*tensors, memory_bytes=memory_bytes)
    for small, same in zip((auroc, auprc), large, strict=True):
        np.testing.assert_allclose(same.value, small(labels, scores, weights).value, atol=1e-12)
        np.testing.assert_allclose(same.resamples, small(labels, scores, weights).resamples, atol=1e-12)
    assert np.isnan(large.auroc.value[4:]).all() and large.auroc.value[0] == 0.5
    assert np.isnan(large.auprc.value[4]) and large.auprc.value[5] == 1
    with pytest.raises(ECGError, match="are not numbers"):
        large_scores(tensors[0], tensors[1] * torch.nan, tensors[2])
