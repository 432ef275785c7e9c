"""A small comparison: each cell once, no leakage, and a table that agrees with scikit-learn."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEAD_SUBSETS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Split
from lamae_toolkit.experiments.comparison.methods import handmade_scores, probe_scores
from lamae_toolkit.experiments.comparison.plans import ALL, PLANS, Cell, Plan, Variant, score_key
from lamae_toolkit.experiments.comparison.report import (
    PUBLISHED,
    compare_methods,
    joined,
    main_rows,
    published_results,
    readable,
)
from lamae_toolkit.experiments.comparison.results import Ranking
from lamae_toolkit.experiments.comparison.run import SCORES_FILE, run_cells
from lamae_toolkit.model.baselines import AlignmentMSE, IndependentMAE
from lamae_toolkit.training.finetune import SupervisedConfig
from lamae_toolkit.training.trainer import TrainConfig, pretrain
from small_models import SMALL

CLASSES = ("I48.91", "I44.7", "I51.7")
SPLITS = (
    Split(tuple(range(10)), (10, 11, 12), (13, 14, 15, 16, 17, 18, 19)),
    Split(tuple(range(10, 20)), (0, 1, 2), (3, 4, 5, 6, 7, 8, 9)),
)
TINY = replace(SMALL, encoder_depth=1, latent_depth=1)


def plan_of(*names: str, **changes) -> Plan:
    plan = Plan(
        "test",
        {name: ALL[name] for name in names},
        {"codes": CLASSES},
        SPLITS,
        TINY,
        TrainConfig(steps=3, batch_size=8, warmup_steps=1),
        seeds=(0, 1),
        fractions=(0.1, 1.0),
        subsets=("12 leads", "II"),
        fine_tuning=SupervisedConfig(epochs=1),
        network=SupervisedConfig(epochs=1),
    )
    return replace(plan, **changes)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of("LAMAE", "independent leads", "random encoder")


@pytest.fixture(scope="module")
def out(plan, cohort, tmp_path_factory):
    """A comparison that was interrupted once."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    run_cells(plan, cohort, folder, stop_after=4, progress=False)
    assert len(list(folder.rglob(SCORES_FILE))) == 4
    before = {path: path.stat().st_mtime_ns for path in folder.rglob(SCORES_FILE)}
    compare_methods(plan, cohort, folder, command="the test", n_bootstrap=50, progress=False)
    assert len(list(folder.rglob(SCORES_FILE))) == 12
    # A finished cell is never run twice.
    assert {path: path.stat().st_mtime_ns for path in before} == before
    return folder


@pytest.mark.slow
def test_cell_interrupted_in_pretraining_resumes_to_the_same_scores(plan, cohort, out, tmp_path):
    cell = Cell("LAMAE", 1, 1)
    torch.manual_seed(cell.seed)
    model = plan.variants["LAMAE"].model(plan.model)
    rows, train = cohort.rows(SPLITS[1].train), replace(plan.train, seed=cell.seed)
    pretrain(model, cohort, rows, cell.folder(tmp_path), train, stop_after=2, progress=False)
    run_cells(replace(plan, variants={"LAMAE": Variant()}, seeds=(1,)), cohort, tmp_path, progress=False)
    again, first = (np.load(cell.folder(place) / SCORES_FILE) for place in (tmp_path, out))
    key = score_key("codes", "per_lead", 1.0, "12 leads")
    np.testing.assert_array_equal(again[key], first[key])


def test_rotations_that_pretrain_on_the_same_folds_share_a_model_and_others_begin_with_it(cohort, tmp_path):
    names = ("independent leads", "random encoder")
    splits = tuple(replace(split, train=split.train[:4]) for split in (SPLITS[0], SPLITS[0], SPLITS[1]))
    halves = ((0, 1, 2), (0, 1, 2), (10, 11, 12))
    plan = plan_of(*names, splits=splits, pretraining_folds=halves, seeds=(0,), fractions=(1.0,), subsets=("II",))
    aligned = Variant("alignment, MSE", start="independent leads")
    plan = replace(plan, variants={"aligned": aligned} | dict(plan.variants))
    with pytest.raises(ECGError, match="pretrains on a store of its own"):
        run_cells(plan, cohort, tmp_path, progress=False)
    with pytest.raises(ECGError, match="'aligned' begins with the model of 'independent leads'; compare that as well"):
        alone = replace(plan, variants={"aligned": aligned})
        run_cells(alone, cohort, tmp_path / "alone", pretraining=cohort, progress=False)
    run_cells(plan, cohort, tmp_path, pretraining=cohort, workers=2, progress=False)
    assert len(list(tmp_path.glob("cells/*/rotation*/scores.npz"))) == 9
    of_plan = {
        name: {p.name for p in (tmp_path / "cells" / name).glob("folds*")} for name in ("aligned", "random_encoder")
    }
    assert of_plan == {"aligned": {"folds0_1_2_seed0", "folds10_11_12_seed0"}, "random_encoder": set()}
    begun = IndependentMAE.from_pretrained(tmp_path / "cells/independent_leads/folds0_1_2_seed0/checkpoint")
    torch.manual_seed(0)
    expected = aligned.model(plan.model)
    expected.load_state_dict(begun.state_dict())
    rows, train = cohort.rows(halves[0]), replace(plan.train, seed=0)
    pretrain(expected, cohort, rows, tmp_path / "again", train, progress=False)
    found = AlignmentMSE.from_pretrained(tmp_path / "cells/aligned/folds0_1_2_seed0/checkpoint").state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.state_dict().items())


def test_plan_at_full_length_pretrains_on_no_fold_that_it_tests(cohort, monkeypatch):
    monkeypatch.setattr("lamae_toolkit.experiments.comparison.plans.frequent_codes", lambda store: ("I48.91",))
    store = Store.open(cohort.folder)
    store.index = store.index.assign(superclasses="")
    plan = PLANS["full-length"](store)
    tested = [fold for split in plan.splits for fold in split.test]
    assert sorted(tested) == list(range(1, 9))
    for split, folds in zip(plan.splits, plan.pretraining_folds, strict=True):
        assert not {*split.test} & {*folds} and 0 in folds and not {9, 10} & {*folds, *split.folds}
    assert len(set(plan.pretraining_folds)) == 2
    assert all(variant.start in {"", *plan.variants} for variant in plan.variants.values())


@pytest.mark.slow
def test_table_equals_scikit_learn_on_the_scores(plan, cohort, out):
    results = json.loads((out / "results.json").read_text())
    assert results["plan"]["seeds"] == [0, 1] and results["missing_cells"] == 0 and results["command"] == "the test"
    row = next(
        r
        for r in results["macro"]
        if (r["variant"], r["representation"], r["fraction"], r["leads"]) == ("LAMAE", "heart", 1.0, "12 leads")
    )
    by_seed = []
    for seed in (0, 1):
        by_rotation = []
        for rotation in (0, 1):
            scores = np.load(Cell("LAMAE", rotation, seed).folder(out) / SCORES_FILE)
            labels = labels_of(cohort.index.iloc[scores["rows"]], "codes", CLASSES)
            logits = scores[score_key("codes", "heart", 1.0, "12 leads")]
            by_rotation.append(
                [roc_auc_score(labels[:, c], logits[:, c]) if labels[:, c].any() else np.nan for c in range(3)]
            )
        by_seed.append(np.nanmean(np.nanmean(by_rotation, axis=0)))
    np.testing.assert_allclose(row["by_seed"], by_seed, atol=1e-5)
    assert row["auroc"] == pytest.approx(np.mean(by_seed), abs=1e-3)
    assert row["low"] <= row["auroc"] <= row["high"]
    assert (out / "report.html").stat().st_size > 1e6


@pytest.mark.slow
def test_differences_are_paired_and_of_lamae_minus_the_variant(plan, cohort, out):
    macro, _ = Ranking(plan, cohort, out, n_bootstrap=50).tables()
    key = ["task", "representation", "fraction", "leads"]
    ours = macro[macro.variant == "LAMAE"].set_index(key).auroc
    for _, row in macro[macro.variant != "LAMAE"].iterrows():
        assert row.difference == pytest.approx(ours[tuple(row[name] for name in key)] - row.auroc)
    # A model beside itself differs by nothing in every resample.
    twin = plan_of("LAMAE", "random encoder", variants={"LAMAE": Variant(), "lamae": Variant()})
    table, _ = Ranking(twin, cohort, out, n_bootstrap=50).tables()
    itself = table[table.variant == "lamae"]
    assert len(itself) and (itself[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)


@pytest.mark.slow
def test_test_patients_are_in_neither_pretraining_nor_probe(plan, cohort, out):
    tested = []
    for rotation, split in enumerate(plan.splits):
        rows = np.load(Cell("LAMAE", rotation, 0).folder(out) / SCORES_FILE)["rows"]
        learned = cohort.rows([*split.train, *split.validation])
        assert not set(cohort.index.patient_id.iloc[rows]) & set(cohort.index.patient_id.iloc[learned])
        tested.append(rows)
    assert len(np.unique(np.concatenate(tested))) == len(np.concatenate(tested))


@pytest.mark.slow
def test_scores_do_not_depend_on_the_labels_of_the_test_ecgs(plan, cohort):
    split, model = plan.splits[0], Variant("random encoder").model(TINY).eval()
    other = Store(cohort.folder, cohort.meta, cohort.folds.copy(), cohort.signals)
    test = cohort.rows(split.test)
    codes = other.index.codes.tolist()
    for row in test:
        codes[row] = ["I48.91", "I44.7", "I51.7"]
    other.index["codes"] = codes
    for score in (probe_scores(plan, cohort, model, split, 0, progress=False),):
        changed = probe_scores(plan, other, model, split, 0, progress=False)
        for name in score:
            np.testing.assert_array_equal(score[name], changed[name])


@pytest.mark.slow
def test_class_without_labeled_positives_is_scored_as_guessing(cohort, tmp_path):
    plan = plan_of("random encoder", tasks={"codes": ("I48.91", "Q99.9")})
    scores = probe_scores(plan, cohort, Variant("random encoder").model(TINY).eval(), SPLITS[0], 0, progress=False)
    logits = scores[score_key("codes", "heart", 1.0, "12 leads")]
    assert logits[:, 0].std() > 0 and (logits[:, 1] == 0).all()
    trees = handmade_scores(plan, cohort, tmp_path, SPLITS[0], 0, progress=False)
    logits = trees[score_key("codes", "trained", 1.0, "12 leads")]
    assert logits[:, 0].std() > 0 and (logits[:, 1] == 0).all()


@pytest.mark.slow
def test_all_kinds_of_variants_run_side_by_side(cohort, tmp_path):
    plan = plan_of("LAMAE", "LAMAE, fine-tuned", "convolutional network", "hand-made features", seeds=(0,))
    results = compare_methods(plan, cohort, tmp_path, workers=2, n_bootstrap=20, progress=False)
    rows = main_rows(results, "codes")
    assert set(rows.variant) == set(plan.variants)
    assert set(rows.representation[rows.variant != "LAMAE"]) == {"trained"}
    assert rows.auroc.between(0.2, 1).all() and len(readable(rows)) == len(rows)


@pytest.mark.slow
def test_a_folder_with_another_comparison_is_refused(plan, cohort, out):
    with pytest.raises(ECGError, match="holds a comparison with steps = 3, not 4"):
        run_cells(replace(plan, train=replace(plan.train, steps=4)), cohort, out, progress=False)
    with pytest.raises(ECGError, match="'LAMAE' is another model"):
        changed = {"LAMAE": Variant("LAMAE", {"tokens": "cls"})}
        run_cells(replace(plan, variants=changed), cohort, out, progress=False)


def test_a_comparison_without_results_says_so(plan, cohort, tmp_path):
    with pytest.raises(ECGError, match="no variant with all its rotations"):
        Ranking(plan, cohort, tmp_path)
    alone = plan_of("independent leads, fine-tuned")
    with pytest.raises(ECGError, match="does not pretrain"):
        alone.pretrained("independent leads, fine-tuned")
    with pytest.raises(ECGError, match="no variant of"):
        Variant("LAMAE", method="guess")


def test_ptbxl_plan_rotates_over_folds_1_to_8_without_9_and_10(cohort):
    store = Store(cohort.folder, cohort.meta, np.arange(len(cohort)) % 10 + 1, cohort.signals)
    store.index["superclasses"] = [["NORM"]] * len(store)
    store.index["codes"] = [["I48.91"]] * len(store)
    store.index["fold"] = store.folds
    for name in ("ptbxl", "ablation"):
        plan = PLANS[name](store)
        used = {fold for split in plan.splits for fold in (*split.train, *split.validation, *split.test)}
        assert used <= set(range(1, 9))
    plan = PLANS["ptbxl"](store)
    assert sorted(fold for split in plan.splits for fold in split.test) == list(range(1, 9))
    assert set(plan.subsets) == set(LEAD_SUBSETS)
    with pytest.raises(ECGError, match="not PTB-XL"):
        PLANS["ptbxl"](cohort)


def test_ablation_of_a_cohort_in_mv_does_not_use_its_test_folds(cohort):
    store = Store(cohort.folder, cohort.meta, cohort.folds, cohort.signals)
    store.index["codes"] = [["I48.91"]] * len(store)
    plan = PLANS["ablation"](store)
    usual, (split,) = Split.of(store), plan.splits
    assert split.test == usual.validation and not set(usual.test) & set(split.folds)
    assert plan.tasks == {"codes": ("I48.91",)}


ONE_LONG_SEED = ("independent leads", "convolutional network", "LAMAE, fine-tuned")


@pytest.mark.parametrize(
    "name", [path.stem for path in sorted(PUBLISHED.glob("*.json")) if "macro" in json.loads(path.read_text())]
)
def test_published_results_state_their_source_and_are_complete(name):
    results = published_results(name)
    longer = "python -m lamae_toolkit.experiments.comparison.longer_training"
    command = longer if name == "longer" else f"lamae research compare {name.split('_')[0]}"
    assert results["command"].startswith(command) and "/tmp" not in results["command"]
    assert results["machine"] and results["date"] and results["missing_cells"] == 0
    assert set(results["plan"]["variants"]) == {row["variant"] for row in results["macro"]}
    for row in results["macro"]:
        seeds = 1 if name == "longer" and row["variant"] in ONE_LONG_SEED else 3
        assert row["low"] <= row["high"] and row["seeds"] == len(row["by_seed"]) == seeds
        assert row["auroc"] == pytest.approx(np.mean(row["by_seed"]), abs=2e-3)


def test_only_results_of_the_same_comparison_can_be_joined():
    one, more = published_results("ptbxl"), published_results("ptbxl_trained")
    together = joined(one, more)
    assert {"convolutional network", "independent leads"} < {row["variant"] for row in together["macro"]}
    assert [row for row in together["macro"] if row["variant"] == "LAMAE"] == [
        row for row in one["macro"] if row["variant"] == "LAMAE"
    ]
    with pytest.raises(ECGError, match="different comparisons"):
        joined(one, published_results("ablation"))


def test_unknown_results_are_refused_with_the_available_names():
    with pytest.raises(ECGError, match=r"choose from .*ptbxl"):
        published_results("mimic")
