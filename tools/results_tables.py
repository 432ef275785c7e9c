"""The tables of README and docs, from the published results that come with the toolkit:

python tools/results_tables.py            prints them all
"""

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "lamae_toolkit" / "experiments" / "results"
MAIN = ("per_lead", "trained")
"""A probe on all lead latents, or a model that learned from the labels."""
SHORT = {
    "convolutional network": "convolutional network, trained on the labels",
    "hand-made features": "hand-made ECG features, trained on the labels",
    "LAMAE": "**LAMAE**, frozen",
    "independent leads": "its twin with independent leads, frozen",
    "random encoder": "random encoder, frozen",
}
"""The rows of the README."""
AUDITED = {
    "Shapley": "Shapley values",
    "leave-one-lead-out": "leave-one-lead-out",
    "single-lead": "single-lead",
    "gradient x attention": "gradient times attention",
    "gradient x input": "gradient times input",
    "attention rollout": "attention rollout",
    "pooling weights": "pooling weights",
}
"""The methods of the audit by their names in its results."""


def published(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def superclasses(*names: str) -> dict[str, dict[str, dict]]:
    """Superclasses, all labels, all leads: for each method its row by what the probe reads, best first.

    names: of published results of one comparison; a method that several have is the first one's.
    """
    rows: dict[str, dict[str, dict]] = {}
    for name in names:
        results = published(name)
        known = set(rows)
        for row in results["macro"]:
            everything = row["fraction"] == 1 and row["leads"] == results["plan"]["subsets"][0]
            if row["task"] == "superclasses" and everything and row["variant"] not in known:
                kind = "main" if row["representation"] in MAIN else row["representation"]
                rows.setdefault(row["variant"], {})[kind] = row
    return dict(sorted(rows.items(), key=lambda item: -item[1]["main"]["auroc"]))


def comparison_table() -> str:
    heads = [f"{what} | LAMAE minus this" for what in ("macro AUROC", "of the summary", "of the heart token alone")]
    lines = [f"| | {' | '.join(heads)} |", "|---" * 7 + "|"]
    for method, kinds in superclasses("ptbxl", "ptbxl_trained", "ptbxl_finetuned").items():
        cells = [cell for kind in ("main", "summary", "heart") for cell in _scores(kinds.get(kind))]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def short_table() -> str:
    """The models that ship with the toolkit and what they are compared with, for the README."""
    lines = ["| | macro AUROC | LAMAE minus this |", "|---|---|---|"]
    for method, kinds in superclasses("longer").items():
        if method in SHORT:
            lines.append(f"| {SHORT[method]} | {' | '.join(_scores(kinds['main']))} |")
    return "\n".join(lines)


def audit_table() -> str:
    """How the attributions of leads do in the audit, and whether they are evidence for the prediction."""
    results = published("audit")
    scores = {(row["method"], row["metric"]): row for row in results["scores"] if row["kind"] == "leads"}
    trusted = {row["method"]: row["trusted_for"] for row in results["verdicts"] if row["kind"] == "leads"}
    columns = ("deletion", "insertion", "localization", "rank with Shapley")
    lines = [
        "| | deletion | insertion | localization | rank correlation with Shapley | evidence for the prediction? |",
        "|---" * 6 + "|",
    ]
    half = scores["Shapley", "deletion"]["value"] / 2
    for method, shown in AUDITED.items():
        cells = [_interval(scores[method, metric], ("value", "low", "high"), ".2f") for metric in columns]
        if method == "Shapley":
            cells[-1] = "1"
        passed = "evidence for the prediction" in trusted[method]
        weak = ", weakly" if scores[method, "deletion"]["value"] < half else ""
        lines.append(f"| {shown} | {' | '.join(cells)} | {f'yes{weak}' if passed else '**no**'} |")
    return "\n".join(lines)


def _scores(row: dict | None) -> tuple[str, str]:
    """AUROC, and LAMAE's distance where this is another method."""
    if row is None:
        return "", ""
    distance = ("difference", "difference_low", "difference_high")
    shown = _interval(row, distance, "+.3f") if row.get("difference") is not None else ""
    return _interval(row, ("auroc", "low", "high"), ".3f"), shown


def _interval(row: dict, keys: tuple[str, str, str], how: str) -> str:
    value, low, high = (format(row[key], how) for key in keys)
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    print("\n\n".join((short_table(), comparison_table(), audit_table())))
