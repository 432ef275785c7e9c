"""A comparison from data to table: run its cells, rank the variants, write the results and a report."""

import json
from pathlib import Path

import pandas as pd

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import REPRESENTATION_NAMES
from lamae_toolkit.experiments.comparison.plans import Plan
from lamae_toolkit.experiments.comparison.plots import along_figure, difference_figure, ranking_figure
from lamae_toolkit.experiments.comparison.results import Ranking
from lamae_toolkit.experiments.comparison.run import run_cells
from lamae_toolkit.experiments.demo import HTML_REPORT_FILE
from lamae_toolkit.files import write_json
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.plots.report import Section, write_report

RESULTS_FILE = "results.json"
PUBLISHED = Path(__file__).parents[1] / "results"
"""The published results that come with the toolkit, one JSON file per comparison, with command, machine and date."""


def published_results(name: str = "ptbxl") -> dict:
    """The published results of a comparison, as `lamae research compare` wrote them, with machine and date."""
    path = PUBLISHED / f"{name}.json"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in PUBLISHED.glob("*.json")))
        raise ECGError(f"There are no published results of {name!r}; choose from {names}.")
    return json.loads(path.read_text(encoding="utf-8"))


def joined(results: dict, *more: dict) -> dict:
    """The results of several runs of one comparison in one table; a variant in several runs is taken from the first."""
    for other in more:
        if results["plan"]["splits"] != other["plan"]["splits"] or results["plan"]["tasks"] != other["plan"]["tasks"]:
            raise ECGError("These results are of different comparisons: their patients or classes are not the same.")
        variants = results["plan"]["variants"]
        new = {name: variant for name, variant in other["plan"]["variants"].items() if name not in variants}
        rows = {
            part: results[part] + [row for row in other[part] if row["variant"] in new] for part in ("macro", "classes")
        }
        results = results | rows | {"plan": results["plan"] | {"variants": variants | new}}
    return results


MAIN = ("per_lead", "trained")
"""The representations in tables with one value per variant: a probe on all lead latents, or training on labels."""

TASK_NAMES = {
    "superclasses": "PTB-XL's diagnostic superclasses",
    "codes": "ICD-10 codes",
    "silent_codes": "ICD-10 codes that no wave of the ECG shows",
}


def compare_methods(
    plan: Plan,
    store: Store,
    out: Path | str,
    *,
    command: str = "",
    workers: int = 1,
    device: str = "cpu",
    stop_after: int | None = None,
    n_bootstrap: int = 1000,
    pretraining: Store | None = None,
    progress: bool = True,
) -> dict:
    """Compute the missing cells of a comparison, and write `out/results.json` and `out/report.html`.

    Returns the results. The first variant of the plan is the reference of the others. command: how this was
    called, to be kept with the results. See `run_cells` for the rest.
    """
    out = Path(out)
    run_cells(
        plan,
        store,
        out,
        workers=workers,
        device=device,
        stop_after=stop_after,
        pretraining=pretraining,
        progress=progress,
    )
    results = Ranking(plan, store, out, n_bootstrap).to_dict(command, next(iter(plan.variants)))
    write_json(out / RESULTS_FILE, results)
    comparison_report(results, out / HTML_REPORT_FILE)
    return results


def main_rows(results: dict, task: str) -> pd.DataFrame:
    """The rows of one task with all labels and all leads: the main results of a comparison."""
    macro = pd.DataFrame(results["macro"])
    if "difference" not in macro:
        macro[["difference", "difference_low", "difference_high"]] = float("nan")
    first = results["plan"]["subsets"][0]
    return macro[(macro.task == task) & (macro.fraction == macro.fraction.max()) & (macro.leads == first)]


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table as text: AUROC and LAMAE's distance with their intervals, and the seeds one by one."""
    return pd.DataFrame(
        {
            "variant": rows.variant,
            "probe reads": rows.representation.map(REPRESENTATION_NAMES),
            "macro AUROC (95 %)": [f"{r.auroc:.3f} ({r.low:.3f} to {r.high:.3f})" for r in rows.itertuples()],
            "LAMAE minus this (95 %)": [
                f"{r.difference:+.3f} ({r.difference_low:+.3f} to {r.difference_high:+.3f})"
                if pd.notna(r.difference)
                else ""
                for r in rows.itertuples()
            ],
            "each seed": [", ".join(f"{value:.3f}" for value in r.by_seed) for r in rows.itertuples()],
        }
    ).set_index("variant")


def markdown_table(results: dict, task: str) -> str:
    """The main rows of a task as a Markdown table for a document, best first, one row per variant."""
    rows = main_rows(results, task).sort_values("auroc", ascending=False)
    first = next(iter(results["plan"]["variants"]))
    columns = ("macro AUROC", "of the summary", "of the heart token alone")
    lines = ["|".join(["", "", *(f" {what} | {first} minus this " for what in columns), ""]), "|---" * 7 + "|"]
    for variant in rows.variant[rows.representation.isin(MAIN)]:
        cells = []
        for shown in (MAIN, ("summary",), ("heart",)):
            own = readable(rows[(rows.variant == variant) & rows.representation.isin(shown)])
            cells += [*own.iloc[0, 1:3]] if len(own) else ["", ""]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def comparison_report(results: dict, path: Path | str) -> Path:
    """Write the report of a comparison; returns its path."""
    macro, classes = pd.DataFrame(results["macro"]), pd.DataFrame(results["classes"])
    first, most = results["plan"]["subsets"][0], macro.fraction.max()
    sections = []
    for task in results["plan"]["tasks"]:
        rows = main_rows(results, task)
        content = [ranking_figure(rows), readable(rows.sort_values("auroc", ascending=False))]
        if rows.difference.notna().any():
            content.insert(1, difference_figure(rows))
        sections.append(
            Section(
                TASK_NAMES.get(task, task),
                "All labels, all leads. Intervals are 95 %, from a bootstrap over patients and seeds; differences are"
                " paired over the same patients.",
                content,
            )
        )
        some = macro[(macro.task == task) & macro.representation.isin(MAIN)]
        if some.fraction.nunique() > 1:
            figure = along_figure(some[some.leads == first], "fraction")
            sections.append(Section("Fewer labels", f"{TASK_NAMES.get(task, task)}: the encoders stay.", [figure]))
        if some.leads.nunique() > 1:
            figure = along_figure(some[(some.fraction == most) & (some.representation == "per_lead")], "leads")
            text = f"{TASK_NAMES.get(task, task)}: the probes are fitted again on each lead set."
            sections.append(Section("Fewer leads", text, [figure]))
        per_class = classes[(classes.task == task) & classes.representation.isin(MAIN)].copy()
        per_class["class"] = per_class["class"].map(name_of) + " (" + per_class.positives.astype(str) + ")"
        table = per_class.pivot_table(index="class", columns="variant", values="auroc")
        sections.append(Section("Class by class", "AUROC, with the number of positives in brackets.", [table]))
    introduction = (
        f"{results['data']}. {results['test_ecgs']} test ECGs of {results['test_patients']} patients, each tested once"
        " per seed by models that have not seen the patient."
        f" {results['date']}, {results['machine']}."
    )
    return write_report(path, f"LAMAE and its baselines: {results['plan']['name']}", introduction, sections)
