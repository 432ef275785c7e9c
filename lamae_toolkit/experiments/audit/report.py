"""An audit of explanations from data to verdict: which method to trust for what, with numbers, figures and a report."""

from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from lamae_toolkit.experiments.audit.methods import RANDOM, SIGNAL
from lamae_toolkit.experiments.audit.plan import AuditPlan, AuditRun, load_model
from lamae_toolkit.experiments.audit.plots import (
    curves_figure,
    localization_figure,
    overview_figure,
    randomization_figure,
)
from lamae_toolkit.experiments.audit.run import MASKED_SHARES, run_audit
from lamae_toolkit.experiments.audit.scores import (
    AGREES,
    BEST,
    LEAD_KIND,
    OTHER_ECG,
    PATCH_KIND,
    RANDOM_ORDER,
    Summary,
    all_scores,
    by_code,
    curves,
)
from lamae_toolkit.experiments.audit.verdict import (
    EVIDENCE,
    JUDGED_METHODS,
    LAST_STAGE,
    LOCATION,
    PHRASES,
    RULE,
    verdicts,
)
from lamae_toolkit.experiments.comparison.report import RESULTS_FILE
from lamae_toolkit.experiments.demo import HTML_REPORT_FILE
from lamae_toolkit.files import write_json
from lamae_toolkit.parallel import machine
from lamae_toolkit.plots.report import Section, write_report

CAVEATS = (
    "Deletion, insertion and the rank with Shapley are computed from the table of 4,096 subsets of leads from which"
    " Shapley, leave-one-lead-out and single-lead are computed, too: these three have an advantage. Localization is"
    " scored on the leads where a reader looks, for conditions that change the shape of QRS, ST or T; a model may well"
    " read another lead, since every lead records the complete heart, and the six limb leads are combinations of two."
    " Patches are redundant across leads and beats, so masking them at random costs little. When the"
    " probe reads the summary, the pooling is not on the way from the ECG to the prediction: neither are the pooling"
    " weights, nor the last step of the two rollouts, which ends in the heart token. Intervals are over patients, for"
    " these models; parameter randomization is tested on the first model only."
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

    Command: `lamae research audit`. Cost: about 26 minutes of one core, three pretrainings included. An interrupted
    audit resumes. Returns the results.
    """
    audited = run_audit(plan, out, workers=workers, progress=progress)
    results = audit_results(audited, command, n_bootstrap)
    write_json(audited.out / RESULTS_FILE, results)
    audit_report(results, audited.out / HTML_REPORT_FILE)
    return results


def audit_results(audited: AuditRun, command: str = "", n_bootstrap: int = 1000) -> dict:
    """All numbers of an audit as plain values, for JSON."""
    config = load_model(audited.plan, audited.out, 0).config
    scores = all_scores(audited, config.patch_samples / config.sampling_rate_hz)
    patients = np.array([case.patient_id for case in audited.cases])
    summary = Summary(patients, scores, n_bootstrap)
    explained = sorted({case.code for case in audited.cases})
    return {
        "command": command,
        "date": date.today().isoformat(),
        "machine": machine(),
        "plan": asdict(audited.plan),
        "models": list(audited.plan.names),
        "data": f"{audited.store.meta['source']}, {len(audited.store)} ECGs",
        "ecgs": len({case.row for case in audited.cases}),
        "patients": len(np.unique(patients)),
        "predictions": len(audited.cases),
        "auroc_by_model": {code: _rounded(aurocs) for code, aurocs in audited.probes.items()},
        "explained_codes": explained,
        "rule": RULE,
        "caveats": CAVEATS,
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
    """Every method against the signal's amplitude and, in deletion and insertion, leads against Shapley; agreement
    against the agreement of different patients' maps. Paired."""
    rows = []
    for kind, methods in JUDGED_METHODS.items():
        pairs = [
            ((metric, method), (metric, SIGNAL))
            for metric in ("deletion", "insertion", "localization")
            for method in methods
        ]
        pairs += [
            ((metric, method), (metric, "Shapley"))
            for metric in ("deletion", "insertion", "localization")
            for method in (*methods, SIGNAL)
            if method != "Shapley"
        ]
        pairs += [((AGREES, method), (OTHER_ECG, method)) for method in methods]
        for one, other in pairs:
            found = summary.difference(kind, one, other)
            if found is not None:
                rows.append(
                    {"kind": kind, "metric": one[0], "method": one[1], "minus": " of ".join(other)}
                    | {name: _rounded(value) for name, value in asdict(found).items()}
                )
    return rows


def readable_scores(results: dict, kind: str) -> pd.DataFrame:
    """One row per method with its scores and intervals as text, the controls below."""
    scores = pd.DataFrame(results["scores"])
    scores = scores[scores.kind == kind]
    second = "rank with Shapley" if kind == LEAD_KIND else "rank with leave-one-time-step-out"
    columns = ("deletion", "insertion", second, "localization", "pointing", LAST_STAGE, AGREES, OTHER_ECG)
    names = [*JUDGED_METHODS[kind], SIGNAL, RANDOM, RANDOM_ORDER, BEST]
    table = pd.DataFrame(
        "",
        index=pd.Index([name for name in names if name in set(scores.method)], name="method"),
        columns=[name for name in columns if name in set(scores.metric)],
    )
    for row in scores.itertuples():
        if row.metric in table.columns and row.value is not None and np.isfinite(row.value):
            table.loc[row.method, row.metric] = f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})"
    return table


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
    sections = [
        Section("Which explanation to trust", " ".join(one["sentence"] for one in results["verdicts"]), [passes]),
        Section("The rule", results["rule"]),
        Section(
            "Which leads",
            "95 % intervals over patients; dotted: guessing; dashed: the best that any order of leads"
            " reaches; hollow: agreement with another patient's ECG.",
            [overview_figure(scores, LEAD_KIND), readable_scores(results, LEAD_KIND)],
        ),
        Section(
            "Which time steps and patches",
            "Localization in time uses the sum of a map over the leads. Deletion masks the"
            " patches with the highest attribution and predicts from the rest, as in pretraining; insertion leaves only"
            " these visible.",
            [overview_figure(scores, PATCH_KIND), readable_scores(results, PATCH_KIND)],
        ),
        Section(
            "Deletion and insertion",
            "Mean log-odds over all explained predictions.",
            [curves_figure(results["curves"], results["shares"])],
        ),
        Section(
            "Localization code by code",
            "Number of predictions in brackets.",
            [localization_figure(codes, LEAD_KIND, "Leads"), localization_figure(codes, PATCH_KIND, "Time")],
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
        f" AUROC above {results['plan']['least_auroc']:g}) on {results['ecgs']} simulated ECGs of {results['patients']}"
        f" unseen patients, explained with {len(results['models'])} models: {', '.join(results['models'])}. The probe"
        f" reads the {results['plan']['representation']}. {results['data']}. {results['date']}, {results['machine']}."
    )
    return write_report(path, "Which explanations of LAMAE to trust", introduction, sections)
