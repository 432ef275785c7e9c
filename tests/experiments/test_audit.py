"""The audit of explanations: its parts against brute force, and a small audit with results and report."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from lamae_toolkit.cli.main import main
from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.evaluate import Split
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds
from lamae_toolkit.experiments.audit.methods import (
    HEART_LEAD_KIND,
    JUDGED_METHODS,
    LEAD_ATTRIBUTION,
    LEAD_KIND,
    LEAD_TERMS,
    OF_HEART,
    PATCH_ATTRIBUTION,
    PATCH_KIND,
    SHAPLEY,
    SIGNAL,
    STAGES,
    SUBSET_ATTRIBUTION,
    randomized,
)
from lamae_toolkit.experiments.audit.occlusion import mask_first, masked_time_steps, masking_curves, visible_log_odds
from lamae_toolkit.experiments.audit.plan import AuditPlan, load_model, load_probe
from lamae_toolkit.experiments.audit.plots import (
    curves_figure,
    localization_figure,
    overview_figure,
    randomization_figure,
)
from lamae_toolkit.experiments.audit.prepare import STATEMENTS, prepare_audit
from lamae_toolkit.experiments.audit.report import audit, readable_scores
from lamae_toolkit.experiments.audit.scores import AGREES, BEST, OTHER_ECG, RANDOMIZED, another_patient
from lamae_toolkit.experiments.audit.summary import Summary
from lamae_toolkit.experiments.audit.verdict import EVIDENCE, LAST_STAGE, LOCATION, Verdict, lead_term_claims, verdicts
from lamae_toolkit.experiments.comparison.report import published_results
from lamae_toolkit.experiments.textbook import TERRITORIES
from lamae_toolkit.simulate.conditions import CONDITIONS
from lamae_toolkit.simulate.simulator import simulate_patients
from lamae_toolkit.training.trainer import TrainConfig
from small_models import ONE_BLOCK

TINY = replace(ONE_BLOCK, width=8, heads=2, pooling_heads=2, decoder_width=8, decoder_heads=2)


@pytest.fixture(scope="module")
def probe() -> Probe:
    return probe_on("leads", 2 * 12 * 8)


def probe_on(representation: str, width: int) -> Probe:
    weight = np.random.default_rng(0).normal(size=(2, width))
    return Probe(("A", "B"), representation, np.zeros(width), np.ones(width), weight, np.array([0.3, -1.0]), 1.0)


@torch.inference_mode()
def test_masked_complete_leads_equal_absent_leads(cohort):
    model, batch = random_encoder(TINY), cohort.batch([0, 1])
    mask = torch.zeros(2, 12, 40, dtype=torch.bool)
    for plain, visible in zip(model.embed(batch), model.embed(batch, mask), strict=True):
        torch.testing.assert_close(visible, plain)
    mask[:, 2:5] = True
    without = model.embed(batch.select([*LEADS[:2], *LEADS[5:]]))
    torch.testing.assert_close(model.embed(batch, mask).summary, without.summary, atol=1e-5, rtol=1e-4)
    with pytest.raises(ECGError, match="covers all patches"):
        model.embed(batch, torch.ones_like(mask))
    with pytest.raises(ECGError, match="The mask has shape"):
        model.embed(batch, mask[:, :, 1:])


@torch.inference_mode()
def test_summary_over_time_steps_under_a_mask(cohort):
    model, batch = random_encoder(TINY), cohort.batch([3])
    mask = torch.rand(1, 12, 40, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[:, :, 5] = True  # a time step that is masked in all leads
    tokens, valid, _, position, *_ = model.connect(model.encode_leads(model.normalize(batch), batch, mask))
    beat: dict[int, list] = {}
    for lead in range(12):
        for place in range(40):
            if bool(valid[0, lead, 1 + place]):
                beat.setdefault(int(position[0, lead, place]), []).append(tokens[0, lead, 1 + place])
    beat = {patch: torch.stack(of_leads).mean(dim=0) for patch, of_leads in beat.items()}
    assert 5 not in beat
    changes = torch.stack([(beat[n + 1] - beat[n]).abs() for n in beat if n + 1 in beat])
    spread = torch.stack(list(beat.values())).std(dim=0, unbiased=False)
    summary = model.embed(batch, mask).summary[0]
    torch.testing.assert_close(summary[24:32], spread, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(summary[32:40], changes.mean(dim=0), atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_masking_curves_follow_the_order_of_attribution(cohort, probe):
    model, batch = random_encoder(TINY), cohort.batch([0, 1])
    order = torch.stack([torch.randperm(480, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    mask = mask_first(order, (0.25, 0.5), 12)
    assert mask.sum(dim=(2, 3)).tolist() == [[120, 240], [120, 240]]
    assert mask[1, 0].flatten()[order[1, :120]].all()
    assert (mask_first(order, (0.25,), 12, only=True) == ~mask[:, :1]).all()
    masked, visible = masking_curves(model, probe, batch, order, (0.25, 0.5))
    for curves, masks in ((masked, mask), (visible, ~mask)):
        expected = log_odds(model.embed(batch, masks[:, 1]), batch, probe)
        torch.testing.assert_close(curves[:, 1], expected, atol=1e-4, rtol=1e-4)
    time_steps = masked_time_steps(model, probe, batch)
    without = torch.zeros(2, 12, 40, dtype=torch.bool)
    complete = visible_log_odds(model, probe, batch, without)
    without[:, :, 7] = True
    torch.testing.assert_close(
        time_steps[:, 7], complete - visible_log_odds(model, probe, batch, without), atol=1e-4, rtol=1e-3
    )


def test_attribution_from_subsets_of_leads():
    value = np.array([[1.0, 10.0, -5.0]])
    sets = (np.arange(8)[:, None] >> np.arange(3)) & 1
    for method in SUBSET_ATTRIBUTION.values():
        np.testing.assert_allclose(method(value @ sets.T + 7), value)
    both = (sets[:, 0] | sets[:, 1]).astype(float)[None]  # either of two leads is enough
    assert SUBSET_ATTRIBUTION["leave-one-lead-out"](both).tolist() == [[0, 0, 0]], "redundant leads"
    np.testing.assert_allclose(SUBSET_ATTRIBUTION["Shapley"](both), [[0.5, 0.5, 0]])


def test_every_method_attributes_to_every_lead_and_patch(cohort, probe):
    model, batch = random_encoder(TINY), cohort.batch([0, 1, 2])
    for of_what in (probe, probe_on("heart", 8)):
        for name, method in LEAD_ATTRIBUTION.items():
            attribution = method(model, of_what, batch, "A")
            assert attribution.shape == (3, 12) and attribution.std() > 0, name
        for name, method in PATCH_ATTRIBUTION.items():
            assert method(model, of_what, batch, "B").shape == (3, 12, 40), name
        terms = LEAD_ATTRIBUTION[LEAD_TERMS](model, of_what, batch, "B")
        predicted = log_odds(model.embed(batch), batch, of_what)[:, 1].detach()
        torch.testing.assert_close(terms.sum(dim=1) + of_what.bias[1], predicted, atol=1e-5, rtol=0)
    amplitude = PATCH_ATTRIBUTION[SIGNAL](model, probe, batch, "A")[1, 3, 6]
    lead = batch.signal_mv[1, 3]
    torch.testing.assert_close(amplitude, ((lead - lead.mean())[150:175] ** 2).sum())


def test_parameters_are_randomized_from_the_top_down(probe):
    model = random_encoder(TINY, seed=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = []
    for stage in STAGES:
        other, classifier = randomized(model, probe, stage, seed=9)
        changed.append({n for n, value in other.state_dict().items() if not torch.equal(value, before[n])})
        assert not np.allclose(classifier.weight, probe.weight)
        np.testing.assert_allclose(classifier.weight.std(axis=1), probe.weight.std(axis=1), rtol=0.4)
    assert changed[0] and all(name.startswith("pooling.") for name in changed[0])
    assert changed[0] < changed[1] < changed[2]
    assert {"patch_embed.weight", "lead_cls", "encoder.0.attention.out.weight"} <= changed[2] - changed[1]
    assert not any(name.startswith(("decoder", "draw", "mask", "to_decoder", "heart_to")) for name in changed[2])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ECGError, match="no stage 'heart'"):
        randomized(model, probe, "heart")


def test_another_patient_has_no_case_of_the_same_patient():
    patients = np.array([1, 1, 1, 2, 2, 3, 4, 4])
    other = another_patient(patients)
    assert (patients[other] != patients).all() and sorted(other) == list(range(8))


@pytest.fixture(scope="module")
def tiny_plan() -> AuditPlan:
    train = TrainConfig(steps=3, batch_size=8, warmup_steps=1)
    sizes = {"cohort_ecgs": 220, "ecgs": 2, "occluded_ecgs": 1, "randomized_ecgs": 1}
    return AuditPlan(seeds=(0, 1), least_auroc=0.3, model=TINY, train=train, **sizes)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tiny_plan):
    folder = tmp_path_factory.mktemp("audit") / "run"
    return folder, audit(tiny_plan, folder, command="lamae research audit", n_bootstrap=50, progress=False)


@pytest.mark.slow
def test_audit_results_and_report(tiny, tiny_plan):
    folder, results = tiny
    assert results["ecgs"] == 2 and results["predictions"] >= 2 and results["models"] == ["seed 0", "seed 1"]
    assert results["occluded_ecgs"] == 1 and "simulator" in results["caveats"] and not results["territories"]
    assert {(one["kind"], one["method"]) for one in results["verdicts"]} == {
        (kind, method) for kind, methods in JUDGED_METHODS.items() for method in methods
    }
    scores = pd.DataFrame(results["scores"]).set_index(["kind", "metric", "method"]).sort_index()
    assert scores.value[LEAD_KIND, "rank with Shapley", "Shapley"] == pytest.approx(1)
    assert scores.predictions[LEAD_KIND, "deletion", "Shapley"] < results["predictions"], "of the occluded ECG only"
    assert scores.predictions[LEAD_KIND, AGREES, LEAD_TERMS] == results["predictions"]
    assert not set(OF_HEART) & set(scores.loc[LEAD_KIND].index.get_level_values("method"))
    assert scores.value[LEAD_KIND, LAST_STAGE, SIGNAL] == pytest.approx(1), "no model is used"
    assert scores.value[LEAD_KIND, AGREES, SIGNAL] == pytest.approx(1)
    for metric, kind in product(("deletion", "insertion"), (LEAD_KIND, HEART_LEAD_KIND)):
        of_leads = scores.value[kind, metric]
        assert of_leads[BEST] == of_leads.max()
    assert (scores.low.dropna() <= scores.value[scores.low.notna()] + 1e-9).all()
    assert "Shapley" in readable_scores(results, LEAD_KIND).index
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(one["sentence"] in page.replace("&#x27;", "'") for one in results["verdicts"])
    frame, codes = pd.DataFrame(results["scores"]), pd.DataFrame(results["by_code"])
    overview = overview_figure(frame, PATCH_KIND)
    assert {name for trace in overview.data for name in trace.y} >= set(JUDGED_METHODS[PATCH_KIND])
    judged = sum(len(methods) + 1 for methods in JUDGED_METHODS.values())
    assert len(randomization_figure(frame).data) == judged
    drawn = curves_figure(results["curves"], results["shares"]).data
    assert len({trace.name for trace in drawn if trace.showlegend}) == sum(trace.showlegend for trace in drawn)
    assert list(drawn[0].y) == results["curves"]["leads removed"][drawn[0].name]
    assert localization_figure(codes, PATCH_KIND).data[0].z.shape[1] == len(JUDGED_METHODS[PATCH_KIND]) + 1


@pytest.mark.slow
def test_cases_are_of_test_patients_with_the_simulated_evidence(tiny, tiny_plan):
    audited = prepare_audit(tiny_plan, tiny[0], progress=False)
    learned = set(audited.store.index.patient_id[audited.store.index.fold.isin(Split().train + Split().validation)])
    simulated = list(simulate_patients(220, 0, sampling_rate_hz=100.0))
    for case in audited.cases:
        assert case.patient_id not in learned
        truth = simulated[case.row].truth
        assert case.code in truth.codes and case.code in audited.store.index.codes[case.row]
        shaped = CONDITIONS[case.code].evidence_wave in ("QRS", "ST", "T")
        assert case.leads == (truth.evidence_leads[case.code] if shaped else ())
        assert case.spans_s == truth.evidence_spans_s[case.code]
        kept = audited.store.recording(case.row).signal_mv
        assert np.abs(simulated[case.row].recording.signal_mv - kept).max() < 0.001
    assert load_model(tiny_plan, tiny[0], 1).config == TINY
    for representation, aurocs in audited.aurocs.items():
        probe = load_probe(tiny[0], 1, representation, 0)
        assert probe.representation == representation and set(aurocs) == set(probe.codes)


@pytest.mark.slow
def test_interrupted_audit_resumes(tiny, tiny_plan):
    folder, results = tiny
    parts = sorted((folder / "parts").rglob("*.npz"))
    kept = {part: part.stat().st_mtime_ns for part in parts}
    parts[0].unlink()
    again = audit(tiny_plan, folder, command="lamae research audit", n_bootstrap=50, progress=False)
    assert [part for part in parts if part.stat().st_mtime_ns != kept[part]] == [parts[0]]
    assert again == results
    with pytest.raises(ECGError, match="holds an audit with ecgs = 2, not 4"):
        audit(replace(tiny_plan, ecgs=4), folder, progress=False)


@pytest.mark.slow
def test_ptbxl_is_explained_by_probes_that_have_not_seen_the_patient(ptbxl, tmp_path):
    random_encoder(TINY).save_pretrained(tmp_path / "model")
    sizes = {"ecgs": 3, "occluded_ecgs": 1, "randomized_ecgs": 1, "least_auroc": 0.0}
    plan = AuditPlan(store=str(ptbxl.folder), checkpoints=(str(tmp_path / "model"),), **sizes)
    results = audit(plan, tmp_path / "run", n_bootstrap=20, progress=False)
    assert {row["kind"] for row in results["scores"]} == {LEAD_KIND, HEART_LEAD_KIND}, "no true times"
    assert results["plan"]["checkpoints"] == results["models"] == ["model"] and results["plan"]["store"] == "store"
    assert "no clinician" in results["caveats"] and set(results["territories"]) == set(results["explained_codes"])
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert all(TERRITORIES[code].why in page for code in results["explained_codes"])
    audited, index = prepare_audit(plan, tmp_path / "run", progress=False), ptbxl.index.reset_index(drop=True)
    probe_of_row = np.array(json.loads((tmp_path / "run" / "probes.json").read_text())["probe_of_row"])
    for case in audited.cases:
        assert case.code in index.statements[case.row] and case.leads == TERRITORIES[case.code].leads
        probe, learned = load_probe(tmp_path / "run", 0, "leads", case.probe), probe_of_row != case.probe
        assert case.code in STATEMENTS and case.patient_id not in set(index.patient_id[learned])
        positives = labels_of(index[learned & (probe_of_row != (case.probe + 1) % 5)], "statements", probe.codes)
        np.testing.assert_allclose(probe.prevalence, positives.mean(axis=0))


def summary_of(rows: dict, patients: int) -> Summary:
    """A summary of synthetic scores, one prediction for each patient, with a standard deviation of 0.05."""
    noise = np.random.default_rng(0).normal(0, 0.05, patients)
    scores = {key: np.array([value + noise]) for key, value in rows.items()}
    return Summary(np.arange(patients), scores, 200)


def test_verdicts_follow_the_rule():
    def judged(patients: int = 30, **given) -> Verdict:
        shapley = {"deletion": 1.0, "insertion": 1.0, "localization": 0.8, LAST_STAGE: 0.1, AGREES: 0.6, OTHER_ECG: 0.2}
        rows = {(kind, "localization", method): 0.7 for kind, methods in JUDGED_METHODS.items() for method in methods}
        rows |= {(kind, "localization", SIGNAL): 0.6 for kind in JUDGED_METHODS}
        rows |= {
            (LEAD_KIND, metric, "Shapley"): value for metric, value in (shapley | given).items() if value is not None
        }
        return next(
            one for one in verdicts(summary_of(rows, patients)) if (one.kind, one.method) == (LEAD_KIND, "Shapley")
        )

    assert judged().trusted_for == (EVIDENCE, LOCATION)
    assert judged().sentence == f"Shapley (leads): trust it as {EVIDENCE} and for {LOCATION}."
    assert judged(insertion=0.0).trusted_for == (LOCATION,)
    assert "it fails insertion." in judged(insertion=0.0).sentence
    low = judged(localization=0.6)
    assert low.trusted_for == (EVIDENCE,) and low.passes["localization"], "no better than the amplitude of the signal"
    assert low.sentence.endswith("it fails beyond amplitude.")
    assert judged(**{LAST_STAGE: 0.5}).trusted_for == ()
    assert judged(**{AGREES: 0.2}).passes["agreement"] is False
    few = judged(patients=9)
    assert (
        set(few.passes.values()) == {None}
        and few.sentence == f"Shapley (leads): untested as {EVIDENCE} and for {LOCATION}."
    )
    untested = judged(**{"deletion": None, AGREES: None})
    assert untested.passes["deletion"] is None and untested.passes["agreement"] is None
    assert untested.untested_for == (EVIDENCE,) and f"untested as {EVIDENCE}" in untested.sentence


def test_claims_on_lead_terms_hold_only_where_their_numbers_do():
    rows = {(LEAD_KIND, "rank with Shapley", LEAD_TERMS): 0.93, (LEAD_KIND, LAST_STAGE, LEAD_TERMS): 0.1}
    rows |= {(LEAD_KIND, metric, SHAPLEY): 2.0 for metric in ("deletion", "insertion")}
    rows |= {(LEAD_KIND, "deletion", LEAD_TERMS): 1.98, (LEAD_KIND, "insertion", LEAD_TERMS): 1.8}
    rows |= {(LEAD_KIND, "localization", LEAD_TERMS): 0.7, (LEAD_KIND, "localization", SIGNAL): 0.6}
    claims = lead_term_claims(summary_of(rows, 30))
    assert [claim["holds"] for claim in claims] == [True, True, False, True, True]
    assert claims[1]["value"] == pytest.approx(0.99, abs=0.002) and claims[1]["low"] <= 0.99 <= claims[1]["high"]
    assert not any(claim["holds"] for claim in lead_term_claims(summary_of({key: 0.6 for key in rows}, 30))[:1])


def test_invalid_audits_are_refused(tmp_path, capsys):
    for option in ("--ecgs", "--seeds", "--occluded-ecgs", "--workers", "--n-bootstrap"):
        with pytest.raises(SystemExit, match="2"):
            main(["research", "audit", "--out", str(tmp_path / "run"), option, "0"])
        assert f"argument {option}: 0 is not a whole number from 1 to" in capsys.readouterr().err
    for words, sentence in (
        (["--store", str(tmp_path / "none")], "none"),
        (["--checkpoint", str(tmp_path / "none")], "There is no checkpoint folder"),
    ):
        assert main(["research", "audit", "--out", str(tmp_path / "run"), *words]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(ECGError, match="A model was given twice"):
        AuditPlan(seeds=(1, 1))


@pytest.mark.parametrize("name", ["audit_ptbxl", "audit"])
def test_published_verdicts_follow_from_their_scores(name):
    results = published_results(name)
    scores = pd.DataFrame(results["scores"]).set_index(["kind", "metric", "method"]).sort_index()
    beyond = pd.DataFrame(results["differences"]).set_index(["kind", "metric", "method", "minus"]).sort_index()
    assert results["command"].startswith("lamae research audit") and results["models"]
    assert min(min(results["auroc_by_model"]["leads"][code]) for code in results["explained_codes"]) > 0.8
    assert set(results["explained_codes"]) <= set(STATEMENTS if name == "audit_ptbxl" else CONDITIONS)
    for one in results["verdicts"]:
        key, passes = (one["kind"], one["method"]), one["passes"]
        for metric in ("deletion", "insertion"):
            if passes[metric] is not None:
                assert passes[metric] == (scores.low[key[0], metric, key[1]] > 0)
        assert passes["localization"] == (scores.low[key[0], "localization", key[1]] > 0.5)
        above_amplitude = beyond.low[key[0], "localization", key[1], f"localization of {SIGNAL}"]
        assert passes["beyond amplitude"] == (above_amplitude > 0)
        assert passes["parameter randomization"] == (scores.high[key[0], LAST_STAGE, key[1]] < 0.5)
    assert scores.low[LEAD_KIND, "localization", "random"] < 0.5 < scores.high[LEAD_KIND, "localization", "random"]
    assert {f"{RANDOMIZED} {stage}" for stage in STAGES} <= set(scores.index.get_level_values("metric"))
    for claim in results["claims"]:
        assert claim["low"] <= claim["value"] <= claim["high"]
    evidence = {(one["kind"], one["method"]): EVIDENCE in one["trusted_for"] for one in results["verdicts"]}
    assert evidence[LEAD_KIND, LEAD_TERMS] and not evidence[HEART_LEAD_KIND, "pooling weights"]


def test_published_agreement_of_three_models():
    results = published_results("audit_seeds")
    beyond = pd.DataFrame(results["differences"]).set_index(["kind", "metric", "method", "minus"]).sort_index()
    assert len(results["models"]) == 3
    for one in results["verdicts"]:
        kind, method, passes = one["kind"], one["method"], one["passes"]
        if method in (SHAPLEY, "leave-one-lead-out", "single-lead"):
            assert passes["agreement"] is None, "known of one ECG only"
        else:
            assert passes["agreement"] == (beyond.low[kind, AGREES, method, f"{OTHER_ECG} of {method}"] > 0)
