"""Codes, probes and evaluations: no leakage, and a probe finds a signal."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_features, embed_rows, random_encoder
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict, evaluate, macro_differences
from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS, features
from lamae_toolkit.experiments.demo import evaluate_beside_random
from lamae_toolkit.icd10 import NAMES, ancestors, label_matrix, name_of
from small_models import ONE_BLOCK, learnable


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


def test_probe_finds_a_signal_and_no_false_one():
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


def test_codes_that_cannot_be_learned_or_scored_are_refused():
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
    model, rows = random_encoder(ONE_BLOCK), np.array([5, 3, 8, 1, 0])
    together = embed_rows(model, cohort, rows, batch_size=5, progress=False)
    apart = embed_rows(model, cohort, rows, batch_size=2, progress=False)
    torch.testing.assert_close(together.heart, apart.heart, atol=1e-5, rtol=0)
    assert features(together, "per_lead").shape == (5, (2 * 12 + 5) * 32)
    with pytest.raises(ECGError, match="choose from heart, summary, leads, per_lead"):
        features(together, "mean")
    limb = embed_rows(model, cohort, rows, progress=False, leads=LEADS[:6])
    assert limb.lead_weights.shape[-1] == 6


def test_ecgs_of_another_rate_are_refused(cohort):
    with pytest.raises(ECGError, match="sampled at 100 Hz, but the model reads 250 Hz"):
        embed_rows(random_encoder(replace(ONE_BLOCK, sampling_rate_hz=250.0)), cohort, np.array([0]), progress=False)


def test_model_and_random_encoder_are_evaluated_on_the_same_patients(cohort):
    ours, untrained = evaluate_beside_random(
        random_encoder(ONE_BLOCK, seed=1), cohort, Split(), minimum=3, n_bootstrap=20, progress=False
    )
    assert ours.probe.codes == untrained.probe.codes and ours.test_patients == untrained.test_patients
    assert set(macro_differences(ours, untrained)) == {"macro_auroc_difference", "macro_auprc_difference"}
    values = ours.to_dict()
    assert 0 <= values["macro_auroc"]["low"] <= values["macro_auroc"]["value"] <= values["macro_auroc"]["high"] <= 1


def test_features_equal_the_embedding_for_any_batch_size(cohort):
    model, rows = random_encoder(ONE_BLOCK, seed=1), np.arange(len(cohort))[::-1]
    embedding = embed_rows(model, cohort, rows, progress=False)
    x = embed_features(model, cohort, rows, REPRESENTATIONS, batch_size=7, progress=False)  # the last is not full
    assert tuple(x) == REPRESENTATIONS
    for representation in REPRESENTATIONS:
        expected = features(embedding, representation)
        assert x[representation].dtype == np.float32 and x[representation].shape == expected.shape
        assert np.abs(x[representation] - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.slow  # a CPU without 16-bit products takes its time
def test_features_in_bfloat16_are_those_in_float32_up_to_rounding(cohort):
    model, rows = random_encoder(ONE_BLOCK, seed=1), np.arange(len(cohort))
    exact, rounded = (
        embed_features(model, cohort, rows, REPRESENTATIONS, precision=precision, progress=False)
        for precision in ("float32", "bfloat16")
    )
    for representation, expected in exact.items():
        difference = np.abs(rounded[representation] - expected).max()
        assert 1e-4 < difference < 0.02 * np.abs(expected).max()


def test_embedding_refuses_an_unknown_precision_and_no_ecg(cohort):
    model = random_encoder(ONE_BLOCK)
    for embed in (embed_rows, embed_features):
        with pytest.raises(ECGError, match="precision is 'float16'; choose from float32, bfloat16"):
            embed(model, cohort, np.arange(4), precision="float16", progress=False)
        with pytest.raises(ECGError, match="There is no ECG to embed"):
            embed(model, cohort, np.arange(0), progress=False)


def test_random_encoder_is_reproducible_and_keeps_the_global_random_state():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, other = random_encoder(ONE_BLOCK, 5), random_encoder(ONE_BLOCK, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
