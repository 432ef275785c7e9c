"""The results of `transfer` as Markdown tables."""

from collections.abc import Iterable

from lamae_toolkit.experiments.transfer.labels import FINDINGS
from lamae_toolkit.experiments.transfer.run import ALL_SETS, PTBXL, REFERENCE

NAMES = {"heart": "heart token", "summary": "summary of the latents", "per_lead": "all lead latents", "trained": ""}
MAIN = ("per_lead", "trained")


def transfer_tables(results: dict) -> tuple[str, str, str]:
    """The mean over findings, single findings over all sets, and LAMAE in each set."""
    return macro_table(results), finding_table(results), set_table(results)


def macro_table(results: dict) -> str:
    """Macro AUROC over the findings by representation and method, on PTB-XL and on the other sets."""
    rows = {(row["set"], row["method"], row["representation"]): row for row in results["over_findings"]}
    lines = []
    for kind in NAMES:
        for method in dict.fromkeys(row["method"] for row in results["over_findings"]):
            if (ALL_SETS, method, kind) in rows:
                cells = [method, NAMES[kind]]
                for name in (PTBXL, ALL_SETS):
                    row = rows[name, method, kind]
                    cells += [_interval(row, "auroc"), _interval(row, "difference", "+.3f")]
                lines.append(cells)
    heads = ["", "the probe reads", "PTB-XL", f"{REFERENCE} minus this", "other sets", f"{REFERENCE} minus this"]
    return _table(heads, lines)


def finding_table(results: dict) -> str:
    """AUROC of each finding over all other sets, and of LAMAE on PTB-XL itself; probes on all lead latents."""
    rows = {
        (row["set"], row["finding"], row["method"]): row for row in results["findings"] if row["representation"] in MAIN
    }
    methods = dict.fromkeys(row["method"] for row in results["findings"])
    lines = []
    for finding in dict.fromkeys(row["finding"] for row in results["findings"]):
        first = rows[ALL_SETS, finding, REFERENCE]
        cells = [FINDINGS[finding], f"{first['positives']} of {first['positives'] + first['negatives']}"]
        cells += [_interval(rows[PTBXL, finding, REFERENCE], "auroc")]
        lines.append(cells + [_interval(rows[ALL_SETS, finding, method], "auroc") for method in methods])
    return _table(["finding", "records", f"{REFERENCE} on PTB-XL", *(f"{name}, other sets" for name in methods)], lines)


def set_table(results: dict) -> str:
    """AUROC of LAMAE, all lead latents, in each set with enough records, with the number of positive ones."""
    rows = {
        (row["set"], row["finding"]): row
        for row in results["findings"]
        if row["method"] == REFERENCE and row["representation"] == "per_lead"
    }
    names = [name for name in results["sets"] if any(name == own for own, _ in rows)]
    lines = []
    for finding in (one for one in FINDINGS if any((name, one) in rows for name in names)):
        cells = [rows.get((name, finding)) for name in names]
        lines.append(
            [
                FINDINGS[finding],
                *("" if row is None else f"{_interval(row, 'auroc')}, {row['positives']}" for row in cells),
            ]
        )
    return _table(["finding", *(f"{name} ({results['sets'][name]['records']} records)" for name in names)], lines)


def _interval(row: dict, name: str, how: str = ".3f") -> str:
    if name not in row:
        return ""
    return f"{row[name]:{how}} ({row[f'{name}_low']:{how}} to {row[f'{name}_high']:{how}})"


def _table(heads: Iterable[str], lines: Iterable[list[str]]) -> str:
    heads = list(heads)
    rows = [heads, *lines]
    rows.insert(1, ["---"] * len(heads))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
