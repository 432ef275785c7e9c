"""The shipped weights: small, offline, with the scores of their card; and the recipe that trains them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import lamae_toolkit.experiments.shipped_weights as recipe
from lamae_toolkit.cli.main import main
from lamae_toolkit.data.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.linear_probe import Probe, features
from lamae_toolkit.evaluation.metrics import auroc
from lamae_toolkit.experiments.shipped_weights import SHIPPED_FILES, train_small
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import SHIPPED, WEIGHTS
from lamae_toolkit.training.trainer import TrainConfig
from small_models import SMALL as TINY

KINDS = {"lamae-mini-ptbxl": LAMAE, "lamae-mini-ptbxl-independent": IndependentMAE}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_load_offline_by_name_and_are_small(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    model = KINDS[name].from_pretrained(name)
    assert not model.training
    assert sorted(path.name for path in (WEIGHTS / name).iterdir()) == sorted(SHIPPED_FILES)
    assert (WEIGHTS / name / "model.safetensors").stat().st_size <= 8_000_000
    card = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
    assert "not for diagnosis" in card and "CC BY 4.0" in card and "10.1038/s41597-020-0495-6" in card
    metrics = json.loads((WEIGHTS / name / "metrics.json").read_text())
    assert "{:.3f}".format(metrics["superclasses, leads"]["value"]) in card


def test_weights_of_another_class_are_refused_with_its_name():
    with pytest.raises(ECGError, match="holds a model of the class IndependentMAE, not LAMAE"):
        LAMAE.from_pretrained("lamae-mini-ptbxl-independent")


@pytest.mark.slow
def test_shipped_weights_reproduce_the_scores_of_their_card_on_unseen_patients(ptbxl):
    model, probe = LAMAE.from_pretrained("lamae-mini-ptbxl"), Probe.load(WEIGHTS / "lamae-mini-ptbxl")
    rows = ptbxl.rows((9, 10))
    labels = labels_of(ptbxl.index.iloc[rows], "codes", probe.codes)
    logits = probe.logits(features(embed_rows(model, ptbxl, rows, progress=False), probe.representation))
    metrics = json.loads((WEIGHTS / "lamae-mini-ptbxl" / "metrics.json").read_text())
    found = np.nanmean(auroc(labels, logits, np.ones((1, len(rows)))).value)
    assert found == pytest.approx(metrics["codes, leads"]["value"], abs=2e-3)


def test_explain_uses_the_shipped_weights_by_default(real_data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = real_data / "ptb-xl" / "records500" / "00000" / "00001_hr.hea"
    assert main(["explain", str(record)]) == 0
    assert "aVR" in capsys.readouterr().out
    assert (tmp_path / "explain_00001_hr.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("model_name", ["LAMAE", "independent leads"])
def test_recipe_pretrains_on_folds_1_to_8_only_and_resumes(model_name, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "MINI", replace(TINY, encoder_depth=1, latent_depth=1))
    ptbxl = Store(cohort.folder, cohort.meta, np.arange(len(cohort)) % 10 + 1, cohort.signals)
    ptbxl.index["fold"] = ptbxl.folds
    half = np.random.default_rng(0).random((len(ptbxl), 5)) < 0.5
    ptbxl.index["superclasses"] = [[n for n, is_so in zip(SUPERCLASSES, row, strict=True) if is_so] for row in half]
    ptbxl.index["codes"] = [["I48.91"] if row[0] else [] for row in half]
    train = TrainConfig(steps=3, batch_size=8, warmup_steps=1)
    metrics = train_small(tmp_path, ptbxl, model_name=model_name, simulated_ecgs=30, train=train, progress=False)
    used = Store.open(tmp_path / "store")
    assert len(used) == len(ptbxl.rows(range(1, 9))) + 30
    unseen = set(ptbxl.index.study_id.iloc[ptbxl.rows((9, 10))])
    assert not unseen & set(used.index.study_id)
    assert metrics["test_ecgs"] == len(unseen) and 0 <= metrics["codes, heart"]["value"] <= 1
    kind = IndependentMAE if model_name != "LAMAE" else LAMAE
    shipped = kind.from_pretrained(tmp_path / "shipped")
    again = train_small(tmp_path, ptbxl, model_name=model_name, simulated_ecgs=30, train=train, progress=False)
    assert again == metrics
    assert sorted(path.name for path in (tmp_path / "shipped").iterdir()) == sorted(SHIPPED_FILES)
    probe = Probe.load(tmp_path / "shipped")
    assert probe.codes == ("I48.91",) and probe.representation == "leads" and 0 < probe.prevalence[0] < 1
    assert Probe.load(tmp_path / "shipped", "probe_superclasses.json").codes == SUPERCLASSES
    # Fitted again without training, the probes are the same.
    assert recipe.fit_shipped_probes(tmp_path / "shipped", ptbxl, progress=False) == metrics
    with torch.inference_mode():
        assert shipped.embed(ptbxl.batch(range(4))).heart.isfinite().all()
