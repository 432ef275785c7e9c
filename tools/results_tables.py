"""The tables of README and docs, from the published results that come with the toolkit:

python tools/results_tables.py            prints them all
"""

import json
from pathlib import Path

from lamae_toolkit.experiments.transfer.report import transfer_tables

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
ON_LEADS, ON_HEART = "leads", "leads, heart token"
AUDITED = {
    (ON_LEADS, "lead terms"): "lead terms",
    (ON_LEADS, "Shapley"): "Shapley values",
    (ON_LEADS, "leave-one-lead-out"): "leave-one-lead-out",
    (ON_LEADS, "single-lead"): "single-lead",
    (ON_LEADS, "gradient x attention"): "gradient times attention",
    (ON_LEADS, "gradient x input"): "gradient times input",
    (ON_HEART, "Shapley"): "heart token: Shapley values",
    (ON_HEART, "lead terms"): "heart token: pooling weight times value",
    (ON_HEART, "pooling weights"): "heart token: pooling weights",
    (ON_HEART, "attention rollout"): "heart token: attention rollout",
}
"""The methods of the audit: what the probe reads and their names in its results."""
AUDITS = {"audit_ptbxl": "PTB-XL", "audit": "simulated ECGs"}


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


def audit_table(name: str) -> str:
    """How the attributions of leads do in an audit, and whether they are evidence for the prediction."""
    results = published(name)
    scores = {(row["kind"], row["method"], row["metric"]): row for row in results["scores"]}
    trusted = {(row["kind"], row["method"]): row["trusted_for"] for row in results["verdicts"]}
    columns = ("deletion", "insertion", "localization", "rank with Shapley")
    lines = [
        "| | deletion | insertion | localization | rank correlation with Shapley | evidence for the prediction? |",
        "|---" * 6 + "|",
    ]
    for (kind, method), shown in AUDITED.items():
        cells = [_interval(scores[kind, method, metric], ("value", "low", "high"), ".2f") for metric in columns]
        if method == "Shapley":
            cells[-1] = "1"
        passed = "evidence for the prediction" in trusted[kind, method]
        half = scores[kind, "Shapley", "deletion"]["value"] / 2
        weak = ", weakly" if scores[kind, method, "deletion"]["value"] < half else ""
        lines.append(f"| {shown} | {' | '.join(cells)} | {f'yes{weak}' if passed else '**no**'} |")
    return "\n".join(lines)


def claims_table() -> str:
    """What lead terms must show to be the lead weights that a person sees, and what they do show."""
    found: dict[str, dict[str, str]] = {}
    for name in AUDITS:
        for claim in published(name)["claims"]:
            holds = "yes" if claim["holds"] else "**no**"
            measured = _interval(claim, ("value", "low", "high"), ".3f")
            found.setdefault(claim["claim"], {})[name] = f"{measured}: {holds}"
    lines = [f"| lead terms | {' | '.join(AUDITS.values())} |", "|---" * (1 + len(AUDITS)) + "|"]
    lines += [f"| {claim} | {' | '.join(cells.get(name, '') for name in AUDITS)} |" for claim, cells in found.items()]
    return "\n".join(lines)


def textbook_table() -> str:
    """Which leads carry a prediction, and whether they are those that a cardiologist looks at."""
    lines = [
        "| finding (ECGs) | AUROC | leading lead terms | leading pooling weights | a cardiologist looks at |"
        " greatest term there | greatest pooling weight there | chance |",
        "|---" * 8 + "|",
    ]
    for row in published("textbook")["statements"]:
        leading = _leading(row["mean_terms"], "+.2f", 4)
        pooled = _leading(row["mean_pooling_weights"], None, 3)
        cells = [f"{row['name']} ({row['ecgs']})", format(row["auroc"]["value"], ".3f"), leading, pooled]
        if row["leads"]:
            shares = [_percent(row[key]) for key in ("in_territory", "pooling_in_territory")]
            cells += [f"{', '.join(row['leads'])}: {row['why']}", *shares, f"{row['chance']:.0%}"]
        else:
            cells += [row["why"], "", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def territory_sentence() -> str:
    """All findings together, and those of ECGs that pretraining has not seen."""
    results = published("textbook")
    parts = [
        f"{_percent(one['in_territory'])} of {one['findings']} findings {whose}; by pooling weights"
        f" {_percent(one['pooling_in_territory'])}, by chance {one['chance']:.0%}"
        for one, whose in (
            (results["all"], "in all ECGs"),
            (results["unseen"], "in ECGs that pretraining had not seen"),
        )
    ]
    mirror = results["with_avr_as_lateral"]
    return (
        f"The lead with the greatest term lies in the territory in {parts[0]}; in {parts[1]}. If aVR, the mirror image"
        f" of the lateral leads, is counted among them, it is {_percent(mirror['in_territory'])} in all ECGs; by"
        f" pooling weights {_percent(mirror['pooling_in_territory'])}, by chance {mirror['chance']:.0%}."
    )


def additive_sentence() -> str:
    """What a probe pays for being a sum over leads."""
    scores = published("textbook")["macro_auroc"]
    keys = ("value", "low", "high")
    return "; ".join(
        f"{task}: {_interval(scores[f'{key}, leads'], keys, '.3f')} as a sum over leads,"
        f" {_interval(scores[f'{key}, per_lead'], keys, '.3f')} with the summary,"
        f" difference {_interval(scores[f'{key}, leads minus per_lead'], keys, '+.4f')}"
        for key, task in (("superclasses", "superclasses"), ("codes", "ICD-10 codes"))
    )


def _leading(by_lead: dict[str, float], how: str | None, count: int) -> str:
    """The first leads by value, with it if it is to be shown."""
    first = sorted(by_lead.items(), key=lambda item: -item[1])[:count]
    return ", ".join(lead if how is None else f"{lead} {value:{how}}" for lead, value in first)


def _percent(row: dict) -> str:
    return f"{row['value']:.0%} ({row['low']:.0%} to {row['high']:.0%})"


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
    tables = (short_table, comparison_table, claims_table, textbook_table, territory_sentence, additive_sentence)
    print(
        "\n\n".join(
            [*(table() for table in tables), *map(audit_table, AUDITS), *transfer_tables(published("transfer"))]
        )
    )
