"""The textbook table: probes that have not seen the patient, the share of findings in their territory, refusals."""

import json

import numpy as np
import pytest
import torch

from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe, features
from lamae_toolkit.experiments import textbook
from lamae_toolkit.experiments.cross_fit import cross_fitted
from lamae_toolkit.explain.terms import batch_lead_terms
from lamae_toolkit.model.lamae import LAMAE
from small_models import SMALL


def cohort_index(cohort):
    index = cohort.index.reset_index(drop=True).copy()
    index["fold"] = index.patient_id.rank(method="dense").astype(int) % 10 + 1
    return index


def test_each_ecg_is_scored_once_by_a_probe_that_has_not_seen_the_patient(cohort):
    index = cohort_index(cohort)
    rng = np.random.default_rng(0)
    labels = (rng.random((len(index), 1)) < 0.5).astype(np.uint8)
    # Each patient has a feature of its own, on which a probe that had seen the patient would predict without error.
    patients = index.patient_id.rank(method="dense").astype(int).to_numpy() - 1
    of_patient = rng.random(patients.max() + 1) < 0.5
    labels[:, 0] = of_patient[patients]
    x = np.eye(patients.max() + 1, dtype=np.float32)[patients]
    scored = []
    for probe, rows in cross_fitted(x, labels, ["I10"], index, representation="summary", progress=False):
        scored.extend(rows)
        assert np.ptp(probe.logits(x[rows])) < 1e-9  # what it has not seen, it cannot tell apart
    assert sorted(scored) == list(range(len(index)))


def test_a_patient_in_two_folds_is_refused(cohort):
    index = cohort_index(cohort)
    index.loc[0, "patient_id"] = index.patient_id[index.fold != index.fold[0]].iloc[0]
    with pytest.raises(ECGError, match="A patient is in two folds"):
        labels = np.zeros((len(index), 1), dtype=np.uint8)
        next(cross_fitted(np.zeros((len(index), 2)), labels, ["I10"], index, representation="heart"))


def test_terms_from_features_are_those_of_the_embedding(cohort):
    model, rng = LAMAE(SMALL).eval(), np.random.default_rng(0)
    batch, width = cohort.batch(range(3)), 24 * SMALL.width
    weight, scale = rng.normal(size=(1, width)), rng.uniform(1, 2, width)
    probe = Probe(("I10",), "leads", rng.normal(size=width), scale, weight, np.zeros(1), 1)
    with torch.inference_mode():
        x = features(model.embed(batch), "leads").astype(np.float64)
    terms = textbook._terms(probe, x, LEADS)
    np.testing.assert_allclose(terms, batch_lead_terms(model, probe, batch), atol=1e-5)
    np.testing.assert_allclose(terms.sum(axis=1) + probe.bias, probe.logits(x), atol=1e-9)


def test_shares_are_counted_over_the_ecgs_with_the_finding():
    positive, hit = np.array([True, True, False, True]), np.array([True, False, True, True])
    counts = np.array([[1, 1, 1, 1], [2, 0, 0, 0], [0, 0, 4, 0]], dtype=np.int32)
    share = textbook._share(hit, positive, counts)
    assert share.value == pytest.approx(2 / 3)
    assert share.low == pytest.approx(np.percentile([2 / 3, 1], 2.5))  # a resample without the finding does not count


def test_territories_name_leads_and_reasons():
    for territory in textbook.TERRITORIES.values():
        assert set(territory.leads) < set(LEADS) and len(territory.why) > 10


@pytest.mark.slow
def test_the_table_from_store_to_file(ptbxl, tmp_path, monkeypatch):
    monkeypatch.setattr(
        textbook, "TERRITORIES", {name: textbook.TERRITORIES[name] for name in ("LAFB", "LVH", "AFIB", "CRBBB")}
    )
    monkeypatch.setattr(textbook, "MINIMUM", 50)  # right bundle branch block is on 44 ECGs
    results = textbook.textbook_table(
        ptbxl, "lamae-mini-ptbxl", tmp_path / "textbook.json", command="lamae", n_bootstrap=20, progress=False
    )
    assert json.loads(json.dumps(results)) == json.loads((tmp_path / "textbook.json").read_text())
    rows = {row["statement"]: row for row in results["statements"]}
    assert "CRBBB" not in rows  # fewer ECGs than the minimum
    assert rows["LAFB"]["in_territory"]["value"] > rows["LAFB"]["chance"] > 0
    assert "in_territory" not in rows["AFIB"]
    assert set(rows["LVH"]["mean_terms"]) == set(LEADS)
    assert results["all"]["findings"] == rows["LAFB"]["ecgs"] + rows["LVH"]["ecgs"]


def test_a_store_without_statements_is_refused(cohort: Store, tmp_path):
    with pytest.raises(ECGError, match="has no statements; give a store of PTB-XL"):
        textbook.textbook_table(cohort, "lamae-mini-ptbxl", tmp_path / "t.json", command="")
    assert not list(tmp_path.iterdir())
