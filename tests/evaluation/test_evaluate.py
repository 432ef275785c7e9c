"""Codes, probes and evaluations: nothing leaks, and a probe finds what is there."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import LinAlgError
from sklearn.linear_model import LogisticRegression

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation import linear_probe as probe_module
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict, compare, embed_rows, evaluate, random_encoder
from lamae_toolkit.evaluation.large_evaluate import _check_memory, embed_features
from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS, Probe, features, fit_probe, predict
from lamae_toolkit.experiments.demo import evaluate_beside_random
from lamae_toolkit.icd10 import NAMES, ancestors, label_matrix, name_of
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.outputs import Embedding

SMALL = LAMAEConfig(
    width=32,
    heads=4,
    pooling_heads=4,
    decoder_width=16,
    decoder_heads=4,
    encoder_depth=1,
    latent_depth=1,
    decoder_depth=1,
)


def test_ancestors_are_those_of_the_recipe():
    assert ancestors("I48.91") == ("I48", "I48.9", "I48.91")
    assert ancestors("i4891") == ("I48", "I48.9", "I48.91")
    assert ancestors("I10") == ("I10",)
    assert ancestors("S72.001A") == ("S72", "S72.0", "S72.00"), "cut to five characters"
    assert ancestors("T36X1XA") == ("T36", "T36.X", "T36.X1")
    assert ancestors("I21X") == ("I21",), "a trailing X only fills a place"
    for wrong in ("", "I4", "4?1"):
        with pytest.raises(ECGError, match="not an ICD-10 code"):
            ancestors(wrong)
    assert all(ancestors(code)[-1] == code for code in NAMES)
    assert name_of("I44.7").startswith("I44.7 Left bundle") and name_of("Q99") == "Q99"


def test_labels_count_a_code_for_its_ancestors():
    labels = label_matrix([["I48.91"], [], ["I44.7", "I48.92"]], ["I48", "I48.91", "I44.7", "I44"])
    assert labels.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1]]


def test_a_split_with_a_fold_on_two_sides_is_refused():
    with pytest.raises(ECGError, match="patients would leak"):
        Split(train=(0, 1), validation=(1,), test=(2,))


def test_no_patient_is_on_two_sides(cohort):
    split = Split()
    sides = [
        set(cohort.index.patient_id.iloc[cohort.rows(folds)]) for folds in (split.train, split.validation, split.test)
    ]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert sum(map(len, sides)) == cohort.index.patient_id.nunique()


def learnable(ecgs: int = 900, width: int = 8, seed: int = 0):
    """Embeddings of which code A is a linear function plus noise, and code B is pure chance."""
    rng = np.random.default_rng(seed)
    heart = rng.normal(size=(ecgs, width)).astype(np.float32)
    has_a, has_b = heart[:, 0] + rng.normal(0, 0.5, ecgs) > 0.8, rng.random(ecgs) < 0.3
    codes = [[code for code, has in (("I48.91", a), ("I44.7", b)) if has] for a, b in zip(has_a, has_b, strict=True)]
    index = pd.DataFrame({"patient_id": np.arange(ecgs), "fold": np.arange(ecgs) % 20, "codes": codes})
    leads, weights = torch.zeros(ecgs, 12, width), torch.zeros(ecgs, 1, 12)
    embedding = Embedding(torch.from_numpy(heart), leads, weights, leads, torch.zeros(ecgs, 5 * width))
    return embedding, index


def test_a_probe_finds_what_is_there_and_nothing_else():
    embedding, index = learnable()
    result = evaluate(embedding, index, ("I44.7", "I48.91"), n_bootstrap=200)
    table = result.table()
    assert table.auroc["I48.91"] > 0.9
    assert table.auroc_low["I44.7"] < 0.5 < table.auroc_high["I44.7"]
    assert table.prevalence["I44.7"] == pytest.approx(table.positives["I44.7"] / result.test_ecgs)
    assert result.test_ecgs == 180 and result.test_patients == 180
    assert table.auprc["I48.91"] > table.prevalence["I48.91"] + 0.3


def test_test_labels_do_not_reach_the_probe():
    embedding, index = learnable()
    shuffled = index.copy()
    test = shuffled.fold.isin(Split().test)
    shuffled.loc[test, "codes"] = shuffled.codes[test].sample(frac=1, random_state=0).to_numpy()
    one, other = (evaluate(embedding, labels, ("I48.91",), n_bootstrap=5).probe for labels in (index, shuffled))
    assert np.array_equal(one.weight, other.weight) and one.C == other.C


def test_the_probe_is_scikit_learns_logistic_regression():
    embedding, index = learnable()
    x, labels = features(embedding), label_matrix(index.codes.tolist(), ["I48.91", "I44.7"])
    train, validation = np.arange(600), np.arange(600, 900)
    probe = fit_probe(x, labels, ["I48.91", "I44.7"], train, validation, Cs=(0.03,))
    scaled = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
    for column, code in enumerate(probe.codes):
        assert code in NAMES
        theirs = LogisticRegression(C=0.03, max_iter=5000, tol=1e-8).fit(scaled[train], labels[train, column])
        assert np.abs(probe.logits(x)[:, column] - theirs.decision_function(scaled)).max() < 5e-3
    assert np.allclose(probe.predict_proba(x), 1 / (1 + np.exp(-probe.logits(x))))


def test_the_penalty_is_chosen_on_validation_patients():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 60)).astype(np.float32)
    labels = (x[:, :1] + rng.normal(0, 2, (400, 1)) > 0).astype(np.uint8)
    probe = fit_probe(x, labels, ["I10"], np.arange(80), np.arange(80, 400), Cs=(1e-3, 1e3))
    assert probe.C == 1e-3, "80 ECGs, 60 numbers each: only a strong penalty generalises"


def test_a_probe_survives_saving(tmp_path):
    embedding, index = learnable()
    probe = evaluate(embedding, index, ("I48.91",), n_bootstrap=5).probe
    probe.save(tmp_path)
    loaded = Probe.load(tmp_path)
    assert np.allclose(loaded.logits(features(embedding)), probe.logits(features(embedding)))
    assert loaded.codes == ("I48.91",) and loaded.representation == "heart"
    with pytest.raises(ECGError, match="reads 8 numbers per ECG, but this model gives 4"):
        probe.logits(np.zeros((1, 4), dtype=np.float32))
    (tmp_path / "probe.json").write_text("{}")
    with pytest.raises(ECGError, match="damaged"):
        Probe.load(tmp_path)
    with pytest.raises(ECGError, match="run `lamae evaluate` on it first"):
        Probe.load(tmp_path / "elsewhere")


def test_codes_that_cannot_be_learned_or_scored_are_said():
    embedding, index = learnable()
    with pytest.raises(ECGError, match="No probe can learn Q99: no training ECG has it"):
        evaluate(embedding, index, ("Q99",), n_bootstrap=5)
    with pytest.raises(ECGError, match="A part of the split has no ECGs"):
        evaluate(embedding, index[index.fold < 14], ("I48.91",), n_bootstrap=5)


def test_only_codes_with_enough_ecgs_are_predicted(cohort):
    split = Split()
    codes = codes_to_predict(cohort, split, minimum=5)
    train = cohort.index.iloc[cohort.rows(split.train)]
    assert codes and all(sum(code in lead_mask for lead_mask in train.codes) >= 5 for code in codes)
    with pytest.raises(ECGError, match="use a larger cohort"):
        codes_to_predict(cohort, split, minimum=1000)


def test_embeddings_do_not_depend_on_the_batch(cohort):
    model, rows = random_encoder(SMALL), np.array([5, 3, 8, 1, 0])
    together = embed_rows(model, cohort, rows, batch_size=5, progress=False)
    apart = embed_rows(model, cohort, rows, batch_size=2, progress=False)
    torch.testing.assert_close(together.heart, apart.heart, atol=1e-5, rtol=0)
    assert features(together, "per_lead").shape == (5, (2 * 12 + 5) * 32)
    with pytest.raises(ECGError, match="choose from heart, summary, per_lead"):
        features(together, "mean")
    limb = embed_rows(model, cohort, rows, progress=False, leads=LEADS[:6])
    assert limb.lead_weights.shape[-1] == 6


def test_ecgs_of_another_rate_are_refused(cohort):
    with pytest.raises(ECGError, match="sampled at 100 Hz, but the model reads 250 Hz"):
        embed_rows(random_encoder(replace(SMALL, sampling_rate_hz=250.0)), cohort, np.array([0]), progress=False)


def test_a_model_is_evaluated_beside_a_random_one_on_the_same_patients(cohort):
    ours, untrained = evaluate_beside_random(
        random_encoder(SMALL, seed=1), cohort, Split(), minimum=3, n_bootstrap=20, progress=False
    )
    assert ours.probe.codes == untrained.probe.codes and ours.test_patients == untrained.test_patients
    assert set(compare(ours, untrained)) == {"macro_auroc_difference", "macro_auprc_difference"}
    values = ours.to_dict()
    assert 0 <= values["macro_auroc"]["low"] <= values["macro_auroc"]["value"] <= values["macro_auroc"]["high"] <= 1


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_an_evaluation_in_bounded_memory_is_the_usual_one(cohort, representation):
    model, options = random_encoder(SMALL, seed=1), {"minimum": 3, "n_bootstrap": 30, "progress": False}
    usual, large = (
        evaluate_beside_random(model, cohort, Split(), representations=(representation,), large=large, **options)
        for large in (False, True)
    )
    for ours, theirs in zip(usual, large, strict=True):
        assert ours.name == theirs.name and ours.probe.codes == theirs.probe.codes
        assert np.array_equal(ours.predictions.rows, theirs.predictions.rows)
        for metric in ("auroc", "auprc"):
            assert np.nanmax(np.abs(getattr(ours, metric).value - getattr(theirs, metric).value)) < 1e-3
            macro, same = getattr(ours, metric).macro(), getattr(theirs, metric).macro()
            assert np.allclose([macro.value, macro.low, macro.high], [same.value, same.low, same.high], atol=1e-3)


@pytest.mark.slow  # a CPU that has no 16-bit products takes its time
def test_what_a_probe_reads_in_16_bits_is_that_in_32_up_to_rounding(cohort):
    model, rows = random_encoder(SMALL, seed=1), np.arange(len(cohort))[::-1]
    embedding = embed_rows(model, cohort, rows, progress=False)
    for representation in REPRESENTATIONS:
        whole = features(embedding, representation)
        for precision, tolerance in (("float32", 1e-5), ("bfloat16", 0.02)):
            x = embed_features(
                model, cohort, rows, representation, batch_size=7, precision=precision, progress=False
            )  # the last batch is not full
            assert x.dtype == np.float32 and x.shape == whole.shape
            assert np.abs(x - whole).max() < tolerance * np.abs(whole).max()
        assert np.abs(x - whole).max() > 1e-4, "nothing was rounded"


def test_embedding_in_another_precision_is_refused_where_there_is_none(cohort):
    model = random_encoder(SMALL)
    with pytest.raises(ECGError, match="precision is 'float16'; choose from float32, bfloat16"):
        embed_features(model, cohort, np.arange(4), precision="float16", progress=False)
    with pytest.raises(ECGError, match="A precision of bfloat16 is for large cohorts alone; choose float32, or"):
        evaluate_beside_random(model, cohort, Split(), precision="bfloat16", minimum=3, progress=False)
    with pytest.raises(ECGError, match="There is no ECG to embed"):
        embed_features(model, cohort, np.arange(0), progress=False)


def test_a_probe_that_a_gpu_cannot_hold_is_refused_before_the_work(monkeypatch):
    x, labels = np.zeros((1000, 480), dtype=np.float32), np.zeros((1000, 100), dtype=np.uint8)
    most = (x.nbytes + labels.nbytes) * 1.8 + 4 * 100 * (100 + 45 * 480)
    for free_bytes in (most + 1, most - 1):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free_bytes: (free, 2 * free))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        gpu = torch.device("cuda")
        if free_bytes > most:
            _check_memory(x, labels, 700, 100, 0, gpu)
        else:
            with pytest.raises(ECGError, match="The probe needs 0 GiB on cuda, which has 0 GiB free; probe a smaller"):
                _check_memory(x, labels, 700, 100, 0, gpu)
    _check_memory(x, labels, 700, 100, 10**15, torch.device("cpu"))


def test_a_random_encoder_is_the_same_every_time_and_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, other = random_encoder(SMALL, 5), random_encoder(SMALL, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_prediction_gives_a_chance_for_each_code(cohort):
    model = random_encoder(SMALL)
    embedding = embed_rows(model, cohort, np.arange(len(cohort)), progress=False)
    codes = codes_to_predict(cohort, Split(), minimum=3)
    probe = evaluate(embedding, cohort.index, codes, n_bootstrap=5).probe
    probabilities = predict(model, probe, cohort.batch([0, 1]))
    assert probabilities.shape == (2, len(codes)) and ((probabilities > 0) & (probabilities < 1)).all().all()


def test_a_prediction_leaves_the_model_as_it_was(cohort):
    model = random_encoder(SMALL).train()
    fitting, other = (
        Probe(("I10",), "heart", np.zeros(d), np.ones(d), np.ones((1, d)), np.zeros(1), 1.0) for d in (32, 8)
    )
    predict(model, fitting, cohort.batch([0]))
    assert model.training
    with pytest.raises(ECGError, match="use the probe that was fitted on this model"):
        predict(model, other, cohort.batch([0]))
    assert model.training


def test_an_absent_lead_is_an_average_lead_to_the_fit_as_to_the_prediction(cohort):
    """Every second ECG lacks V1: the probe's mean of V1 is that of the others, and logits are what is predicted."""
    model, rows = random_encoder(SMALL), np.arange(40)
    whole = cohort.batch(rows)
    lead_mask = whole.lead_mask.clone()
    lead_mask[::2, LEADS.index("V1")] = False
    batch = replace(whole, lead_mask=lead_mask)
    with torch.inference_mode():
        x = features(model.embed(batch), "per_lead")
    places = np.arange(LEADS.index("V1") * 32, LEADS.index("V2") * 32)
    assert (x[::2, places] == 0).all() and (x[1::2, 12 * 32 + places] != 0).all()
    labels = np.random.default_rng(0).integers(0, 2, (40, 1), dtype=np.uint8)
    probe = fit_probe(x, labels, ["I10"], rows[:30], rows[30:], representation="per_lead")
    for at in (places, 12 * 32 + places):
        of_others = x[1:30:2, at]
        np.testing.assert_allclose(probe.mean[at], of_others.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(probe.scale[at], of_others.std(axis=0) + 1e-6, rtol=1e-3)
    np.testing.assert_allclose(probe.predict_proba(x), predict(model, probe, batch), atol=1e-4)
    # Where all leads are there, nothing is otherwise than with the plain mean.
    complete = (x != 0).all(axis=1)
    x, labels = x[complete], labels[complete]
    probe = fit_probe(x, labels, ["I10"], rows[:12], rows[12 : len(x)], representation="per_lead")
    np.testing.assert_array_equal(probe.mean, x[:12].mean(axis=0))
    np.testing.assert_array_equal(probe.scale, x[:12].std(axis=0) + 1e-6)


def test_principal_axes_where_the_fast_algorithm_fails(monkeypatch):
    x = np.random.default_rng(0).normal(size=(30, 12)) @ np.random.default_rng(1).normal(size=(12, 12))
    usual = probe_module.principal_axes(x)
    working = probe_module.svd

    def failing(matrix, full_matrices, lapack_driver="gesdd"):
        if lapack_driver == "gesdd":
            raise LinAlgError("SVD did not converge")
        return working(matrix, full_matrices=full_matrices, lapack_driver=lapack_driver)

    monkeypatch.setattr(probe_module, "svd", failing)
    slow = probe_module.principal_axes(x)
    np.testing.assert_allclose(slow.spread, usual.spread)
    np.testing.assert_allclose(slow.z @ slow.directions, x, atol=1e-10)
