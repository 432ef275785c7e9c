"""An audit of explanations from data to verdict: which method to trust for what, with numbers, figures and a report."""

from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from lamae_toolkit.evaluation.metrics import Estimate
from lamae_toolkit.experiments.audit.methods import (
    HEART_LEAD_KIND,
    HEART_PATCH_KIND,
    JUDGED_METHODS,
    LEAD_KIND,
    PATCH_KIND,
    RANDOM,
    SHAPLEY,
    SIGNAL,
)
from lamae_toolkit.experiments.audit.plan import AuditPlan, AuditRun, load_model
from lamae_toolkit.experiments.audit.plots import (
    curves_figure,
    localization_figure,
    overview_figure,
    randomization_figure,
)
from lamae_toolkit.experiments.audit.run import MASKED_SHARES, run_audit
from lamae_toolkit.experiments.audit.scores import AGREES, BEST, OTHER_ECG, RANDOM_ORDER, all_scores, by_code, curves
from lamae_toolkit.experiments.audit.summary import Summary
from lamae_toolkit.experiments.audit.verdict import (
    EVIDENCE,
    FEWEST_PATIENTS,
    LAST_STAGE,
    LOCATION,
    PHRASES,
    RULE,
    lead_term_claims,
    verdicts,
)
from lamae_toolkit.experiments.comparison.report import RESULTS_FILE
from lamae_toolkit.experiments.demo import HTML_REPORT_FILE
from lamae_toolkit.experiments.textbook import TERRITORIES
from lamae_toolkit.files import write_json
from lamae_toolkit.parallel import machine
from lamae_toolkit.plots.report import Section, write_report

CAVEATS = (
    "Deletion, insertion and the rank with Shapley are computed from the table of 4,096 subsets of leads from which"
    " Shapley, leave-one-lead-out and single-lead are computed, too: these three have an advantage. A model may well"
    " read another lead than a reader, since every lead records the complete heart, and the six limb leads are"
    " combinations of two. A probe on the heart token predicts less well than one on the leads; both are explained on"
    " the same ECGs. Intervals are over patients, for these models; parameter randomization is tested on the first"
    " model only."
)
SIMULATED_TRUTH = (
    "Localization is scored on the leads where a reader looks, for conditions that change the shape of QRS, ST or T,"
    " and on the times at which the simulator put them. Patches are redundant across leads and beats, so masking them"
    " at random costs little."
)
WEAK_TRUTH = (
    "Localization is scored on the territory of each statement, a weak truth: a lead outside it may show the finding as"
    " well. The territories were taken from textbooks by the authors of this toolkit; no clinician has reviewed them."
    " Where every lead was divided by its standard deviation, all leads have the same amplitude, and that baseline is"
    " guessing. Models were pretrained on the signals of folds 1 to 8, without labels; only the probes have not seen"
    " the patients."
)


def audit(
    plan: AuditPlan,
    out: Path | str,
    *,
    command: str = "",
    workers: int = 1,
    n_bootstrap: int = 1000,
    progress: bool = True,
) -> dict:
    """Audit all explanation methods, and write `out/results.json` and `out/report.html`.

    Command: `lamae research audit`. Cost: two minutes of one core for each model to pretrain, and for each model two to
    four seconds for each occluded ECG, a third of a second for another. An interrupted audit resumes. Returns the
    results.
    """
    audited = run_audit(plan, out, workers=workers, progress=progress)
    results = audit_results(audited, command, n_bootstrap)
    write_json(audited.out / RESULTS_FILE, results)
    audit_report(results, audited.out / HTML_REPORT_FILE)
    return results


def audit_results(audited: AuditRun, command: str = "", n_bootstrap: int = 1000) -> dict:
    """All numbers of an audit as plain values, for JSON."""
    plan, cases = audited.plan, audited.cases
    config = load_model(plan, audited.out, 0).config
    scores = all_scores(audited, config.patch_samples / config.sampling_rate_hz)
    patients = np.array([case.patient_id for case in cases])
    summary = Summary(patients, scores, n_bootstrap)
    rows, explained = list(dict.fromkeys(case.row for case in cases)), sorted({case.code for case in cases})
    # Folders of this computer are of no use to others.
    names = [Path(name).name for name in plan.names] if plan.checkpoints else list(plan.names)
    published = asdict(plan) | {"store": Path(plan.store).name, "checkpoints": names[: len(plan.checkpoints)]}
    return {
        "command": command,
        "date": date.today().isoformat(),
        "machine": machine(),
        "plan": published,
        "models": names,
        "data": f"{audited.store.meta['source']}, {len(audited.store)} ECGs",
        "ecgs": len(rows),
        "occluded_ecgs": min(plan.occluded_ecgs, len(rows)),
        "patients": len(np.unique(patients)),
        "predictions": len(cases),
        "auroc_by_model": {
            representation: {code: _rounded(aurocs) for code, aurocs in by_code.items()}
            for representation, by_code in audited.aurocs.items()
        },
        "explained_codes": explained,
        "territories": {code: asdict(TERRITORIES[code]) for code in explained if code in TERRITORIES},
        "rule": RULE,
        "caveats": f"{CAVEATS} {WEAK_TRUTH if plan.store else SIMULATED_TRUTH}",
        "claims": _rounded_rows(lead_term_claims(summary)),
        "verdicts": [
            {
                "kind": one.kind,
                "method": one.method,
                "passes": one.passes,
                "trusted_for": list(one.trusted_for),
                "untested_for": list(one.untested_for),
                "sentence": one.sentence,
            }
            for one in verdicts(summary)
        ],
        "scores": _rounded_rows(summary.table().to_dict("records")),
        "differences": _differences(summary),
        "by_code": _rounded_rows(by_code(audited, scores)),
        "shares": list(MASKED_SHARES),
        "curves": {
            what: {name: _rounded(curve) for name, curve in of_method.items()}
            for what, of_method in curves(audited).items()
        },
    }


def _rounded(value):
    """Numbers to four digits; NaN as None, which JSON can hold."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return (round(value, 4) if np.isfinite(value) else None) if isinstance(value, float) else value


def _rounded_rows(rows: list[dict]) -> list[dict]:
    return [{name: _rounded(value) for name, value in row.items()} for row in rows]


def _differences(summary: Summary) -> list[dict]:
    """Every method against the signal's amplitude and, of leads, against Shapley; agreement against the agreement of
    different patients' maps. Paired; also the share of the deletion and insertion of Shapley that a method reaches."""
    rows = []

    def add(kind: str, metric: str, method: str, minus: str, found: Estimate | None) -> None:
        if found is not None:
            numbers = {name: _rounded(value) for name, value in asdict(found).items()}
            rows.append({"kind": kind, "metric": metric, "method": method, "minus": minus} | numbers)

    for kind, methods in JUDGED_METHODS.items():
        for method in (*methods, SIGNAL):
            for metric in ("deletion", "insertion", "localization"):
                for other in {SIGNAL, SHAPLEY} - {method}:
                    found = summary.difference(kind, (metric, method), (metric, other))
                    add(kind, metric, method, f"{metric} of {other}", found)
            found = summary.difference(kind, (AGREES, method), (OTHER_ECG, method))
            add(kind, AGREES, method, f"{OTHER_ECG} of {method}", found)
            for metric in ("deletion", "insertion"):
                add(kind, f"{metric}, share of Shapley", method, "", summary.ratio(kind, metric, method, SHAPLEY))
    return rows


def kinds_of(results: dict) -> tuple[str, ...]:
    """What was tested: leads and patches, and what the probe reads."""
    return tuple(dict.fromkeys(row["kind"] for row in results["scores"]))


def readable_scores(results: dict, kind: str) -> pd.DataFrame:
    """One row per method with its scores and intervals as text, the controls below; blank where patients are few."""
    scores = pd.DataFrame(results["scores"])
    scores = scores[scores.kind == kind]
    ranks = ("rank with Shapley", "rank with leave-one-time-step-out")
    columns = ("deletion", "insertion", *ranks, "localization", "pointing", LAST_STAGE, AGREES, OTHER_ECG)
    names = [*JUDGED_METHODS[kind], SIGNAL, RANDOM, RANDOM_ORDER, BEST]
    table = pd.DataFrame(
        "",
        index=pd.Index([name for name in names if name in set(scores.method)], name="method"),
        columns=[name for name in columns if name in set(scores.metric)],
    )
    for row in scores.itertuples():
        if row.metric in table.columns and row.patients >= FEWEST_PATIENTS:
            table.loc[row.method, row.metric] = f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})"
    return table


LEADS_IN_WORDS = (
    "95 % intervals over patients; dotted: guessing; dashed: the best that any order of leads reaches; hollow:"
    " agreement with another patient's ECG."
)
PATCHES_IN_WORDS = (
    "Localization in time uses the sum of a map over the leads. Deletion masks the patches with the highest attribution"
    " and predicts from the rest, as in pretraining; insertion leaves only these visible."
)
SECTIONS = {
    LEAD_KIND: ("Which leads", LEADS_IN_WORDS),
    HEART_LEAD_KIND: ("Which leads, if the probe reads the heart token", f"Here pooling weights act. {LEADS_IN_WORDS}"),
    PATCH_KIND: ("Which time steps and patches", PATCHES_IN_WORDS),
    HEART_PATCH_KIND: ("Which time steps and patches, if the probe reads the heart token", PATCHES_IN_WORDS),
}


def _trust(verdict: dict, use: str) -> str:
    return "yes" if use in verdict["trusted_for"] else "untested" if use in verdict["untested_for"] else "no"


def audit_report(results: dict, path: Path | str) -> Path:
    """Write the report of an audit; returns its path."""
    scores, codes = pd.DataFrame(results["scores"]), pd.DataFrame(results["by_code"])
    tests = list(results["verdicts"][0]["passes"])
    outcome = {True: "passes", False: "fails", None: "not tested"}
    passes = pd.DataFrame(
        [
            {test: outcome[one["passes"][test]] for test in tests}
            | {f"trusted {PHRASES[use]}": _trust(one, use) for use in (EVIDENCE, LOCATION)}
            for one in results["verdicts"]
        ],
        index=[f"{one['method']} ({one['kind']})" for one in results["verdicts"]],
    )
    columns = ["claim", "value", "low", "high", "holds"]  # none is tested on too few patients
    claims = pd.DataFrame(results["claims"], columns=columns).set_index("claim")
    truth = [pd.DataFrame(results["territories"].values()).set_index("name")] if results["territories"] else []
    sections = [
        Section("Which explanation to trust", " ".join(one["sentence"] for one in results["verdicts"]), [passes]),
        Section("The rule", results["rule"]),
        Section("What lead terms must show", "", [claims]),
        *(
            Section(*SECTIONS[kind], [overview_figure(scores, kind), readable_scores(results, kind)])
            for kind in kinds_of(results)
        ),
        Section(
            "Deletion and insertion",
            "Mean log-odds over all explained predictions.",
            [curves_figure(results["curves"], results["shares"])],
        ),
        Section(
            "Localization code by code",
            "Number of predictions in brackets.",
            [*(localization_figure(codes, kind, kind) for kind in kinds_of(results)), *truth],
        ),
        Section(
            "Parameter randomization test",
            "The model is randomized from the top down; a map that stays the same does not show what was learned.",
            [randomization_figure(scores)],
        ),
        Section("Limits of these numbers", results["caveats"]),
    ]
    introduction = (
        f"{results['predictions']} predictions (an ECG and one of its true codes that every model predicts with an"
        f" AUROC above {results['plan']['least_auroc']:g}) on {results['ecgs']} ECGs of {results['patients']} patients"
        f" whom the probe has not seen, explained with {len(results['models'])} models: {', '.join(results['models'])}."
        f" {results['occluded_ecgs']} of the ECGs were predicted from every subset of their leads. {results['data']}."
        f" {results['date']}, {results['machine']}."
    )
    return write_report(path, "Which explanations of LAMAE to trust", introduction, sections)
