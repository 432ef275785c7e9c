"""Findings that several sets label, each in its own words: a reviewed table of what every published label means.

`labels.csv` has a row for each label: the set's system of labels, the label as published, what it means, the findings
that an ECG with it has (`positive`), those that it leaves open (`unsure`, * for all others), whether a normal ECG may
have it (`normal`: yes, neutral, unsure or no), and the reason. The authors of this toolkit made it from the sets' own
lists (PTB-XL's scp_statements.csv with its AHA codes; the SNOMED CT codes and abbreviations of the PhysioNet Challenges
2020 and 2021; the nine classes of CPSC2018; LUDB's ludb.csv). No clinician has reviewed it.
"""

import ast
import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Int8

from lamae_toolkit.errors import ECGError

FINDINGS = {
    "NORM": "normal ECG",
    "AFIB": "atrial fibrillation",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "1AVB": "first-degree AV block",
    "PAC": "atrial premature complex",
    "PVC": "ventricular premature complex",
    "STD": "ST depression",
    "STT": "ST or T change",
}
UNKNOWN = -1
"""The label of an ECG for which a finding is left open: it is neither positive nor negative."""
EVERY = "*"
TABLE = Path(__file__).with_name("labels.csv")
SYSTEMS = {"SCP": "SCP", "Dx": "SNOMED", "AHA": "AHA", "Chagas": "Chagas", "folder": "Georgia folder"}
"""The systems of labels by the mark that the pack of ECGs puts before them."""
SEPARATORS = {"AHA": ";", "Dx": ","}


@dataclass(frozen=True)
class Meaning:
    """What one label says about the findings; see the table's columns in this module's description."""

    meaning: str
    positive: frozenset[str]
    unsure: frozenset[str]
    normal: str
    reason: str


@cache
def reviewed_labels() -> dict[tuple[str, str], Meaning]:
    """The table, by system and label; ECGError if a row is damaged."""
    with open(TABLE, encoding="utf-8", newline="") as file:
        table = {
            (row["system"], row["label"]): Meaning(
                row["meaning"],
                frozenset(row["positive"].split()),
                frozenset(row["unsure"].split()),
                row["normal"],
                row["reason"],
            )
            for row in csv.DictReader(file)
        }
    for (system, label), row in table.items():
        if not (row.positive | row.unsure - {EVERY}) <= set(FINDINGS) - {"NORM"}:
            raise ECGError(f"{TABLE.name}: {system} {label!r} names a finding that is not in FINDINGS; correct it.")
        if row.normal not in ("yes", "neutral", "unsure", "no") or not (row.meaning and row.reason):
            raise ECGError(f"{TABLE.name}: {system} {label!r} lacks a meaning, a reason or `normal`; complete it.")
    return table


def split_labels(published: str, source: str) -> list[tuple[str, str]]:
    """The labels of one ECG as (system, label), from what a store of `research_stores` has in its column `labels`."""
    if source == "LUDB":
        return [("LUDB", line.strip()) for line in published.splitlines() if line.strip()]
    mark, _, rest = published.partition(":")
    if not rest:
        return []
    if mark not in SYSTEMS:
        raise ECGError(
            f"The labels {published!r} of {source} are of no known system; choose from {', '.join(SYSTEMS)}."
        )
    if mark == "SCP":
        return [("SCP", name) for name in ast.literal_eval(rest)]
    labels = rest.split(SEPARATORS.get(mark, "\n"))
    # CPSC2018 has partly codes of SNOMED CT, partly the names of its nine classes.
    return [("CPSC" if mark == "Dx" and not label.isdigit() else SYSTEMS[mark], label) for label in labels]


def finding_labels(published: Iterable[tuple[str, str]]) -> Int8[np.ndarray, "b f"]:
    """For each ECG and each of FINDINGS 1 if it is labeled, 0 if it is not, UNKNOWN if the labels leave it open.

    published: the labels as published and the set, of each ECG. Without any label nothing is known. ECGError for a
    label of another set than PTB-XL that is not in the table, so that none is passed over.
    """
    return np.array([_of_ecg(split_labels(*one)) for one in published], dtype=np.int8).reshape(-1, len(FINDINGS))


def _of_ecg(labels: list[tuple[str, str]]) -> list[int]:
    table = reviewed_labels()
    unreviewed = [(system, label) for system, label in labels if system != "SCP" and (system, label) not in table]
    if unreviewed:
        raise ECGError(
            f"The label {unreviewed[0][1]!r} ({unreviewed[0][0]}) is not in {TABLE.name}; review and add it."
        )
    # Of PTB-XL's statements the table has those that bear on a finding.
    rows = [table[label] for label in labels if label in table]
    if not labels:
        return [UNKNOWN] * len(FINDINGS)
    found = []
    for finding in FINDINGS:
        if finding == "NORM":
            found.append(_normal(labels, rows))
        elif any(finding in row.positive for row in rows):
            found.append(1)
        else:
            found.append(UNKNOWN if any({finding, EVERY} & row.unsure for row in rows) else 0)
    return found


def _normal(labels: list[tuple[str, str]], rows: list[Meaning]) -> int:
    """1 if an ECG is called normal, and nothing is said that a normal ECG does not have."""
    said = {row.normal for row in rows}
    if labels[0][0] == "SCP":  # PTB-XL has a statement of its own for it, next to others
        return int("yes" in said)
    if "no" in said:
        return 0
    return 1 if "yes" in said and "unsure" not in said else UNKNOWN
