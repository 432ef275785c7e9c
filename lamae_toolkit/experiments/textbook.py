"""Do the leads that a prediction rests on lie where the textbook says? PTB-XL's statements with a known territory.

A probe on "leads" is fitted to the statements, in turns over the folds, so that no patient is scored by a probe that
has seen the patient. For each statement: which leads have the greatest term on average over the ECGs with it, and in
which share of them the lead with the greatest term lies in the territory. The same is asked of the pooling weights.

The territories are taken from textbooks of electrocardiography by the authors of this toolkit; no clinician has
reviewed them.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Int32

from lamae_toolkit.data.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.data.labels import frequent_codes, labels_of
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.linear_probe import Probe, features, weights_by_lead
from lamae_toolkit.evaluation.metrics import Estimate, auroc, estimate, macro_difference, patient_bootstrap
from lamae_toolkit.experiments.cross_fit import cross_fitted
from lamae_toolkit.experiments.shipped_weights import SEEN
from lamae_toolkit.files import write_json
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.parallel import machine

LATERAL = {"I", "V6"}
"""A territory with these leads is that of the lateral wall, whose mirror image is aVR = -(I + II) / 2."""
MINIMUM = 15
"""Statements that fewer ECGs have are left out."""


@dataclass(frozen=True)
class Territory:
    """The leads in which a cardiologist looks for a finding first, and why; no leads for a rhythm, which is in all."""

    name: str
    leads: tuple[str, ...]
    why: str


def _territory(name: str, leads: str, why: str) -> Territory:
    return Territory(name, tuple(leads.split()), why)


TERRITORIES = {
    "CRBBB": _territory(
        "complete right bundle branch block", "V1 V2", "the right ventricle is activated last, towards V1: rsR' there"
    ),
    "IRBBB": _territory("incomplete right bundle branch block", "V1 V2", "rSr' in V1 and V2, QRS below 120 ms"),
    "CLBBB": _territory(
        "complete left bundle branch block",
        "V1 V5 V6 I aVL",
        "broad notched R in the lateral leads without q, deep S in V1",
    ),
    "LAFB": _territory(
        "left anterior fascicular block", "I II III aVL aVF", "left axis: qR in I and aVL, rS in II, III and aVF"
    ),
    "LPFB": _territory(
        "left posterior fascicular block", "I II III aVL aVF", "right axis: rS in I and aVL, qR in II, III and aVF"
    ),
    "IMI": _territory("inferior infarction", "II III aVF", "Q waves in the leads that face the inferior wall"),
    "ASMI": _territory("anteroseptal infarction", "V1 V2 V3 V4", "QS or lost R from V1 to V4"),
    "AMI": _territory("anterior infarction", "V1 V2 V3 V4", "Q waves or poor R progression in the chest leads"),
    "ALMI": _territory("anterolateral infarction", "I aVL V3 V4 V5 V6", "Q waves in the anterior and lateral leads"),
    "ISCAL": _territory("ischemia, anterolateral", "I aVL V3 V4 V5 V6", "ST and T changes in the lateral leads"),
    "ISCAS": _territory("ischemia, anteroseptal", "V1 V2 V3 V4", "ST and T changes in the anterior chest leads"),
    "ISCIL": _territory("ischemia, inferolateral", "II III aVF I aVL V5 V6", "ST and T changes there"),
    "ISCIN": _territory("ischemia, inferior", "II III aVF", "ST and T changes in the inferior leads"),
    "LVH": _territory(
        "left ventricular hypertrophy",
        "V1 V2 V5 V6 I aVL",
        "high R in the lateral leads, deep S in V1 and V2, lateral strain",
    ),
    "VCLVH": _territory(
        "voltage criteria for hypertrophy", "V1 V2 V5 V6 I aVL", "Sokolow-Lyon: S in V1 and R in V5 or V6; R in aVL"
    ),
    "LAO/LAE": _territory("left atrial enlargement", "V1 II", "deep terminal P in V1, broad notched P in II"),
    "AFIB": _territory("atrial fibrillation", "", "irregular in every lead; fibrillatory waves best seen in V1 and II"),
    "1AVB": _territory("first-degree AV block", "", "long PR in every lead; P waves best seen in II and V1"),
}


def textbook_table(
    store: Store,
    checkpoint: str | Path,
    out: Path | str,
    *,
    command: str,
    n_bootstrap: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> dict:
    """Write the table as JSON, and return it. Intervals: 95 % percentiles over bootstrap resamples of patients.

    checkpoint: of a LAMAE that was pretrained on `SEEN`'s folds 1 to 8 at most; the rest is also counted apart.
    ECGError for a store without PTB-XL's statements.
    """
    names = frequent_statements(store, TERRITORIES)
    if not names:
        raise ECGError(f"No statement of {store.folder} with a known territory is on {MINIMUM} ECGs; use more ECGs.")
    model, index = LAMAE.from_pretrained(checkpoint), store.index.reset_index(drop=True)
    embedding = embed_rows(model, store, np.arange(len(store)), progress=progress)
    x, labels = features(embedding, "leads"), labels_of(index, "statements", names)
    terms, logits = np.zeros((len(index), len(LEADS), len(names))), np.zeros(labels.shape)
    for probe, rows in cross_fitted(x, labels, names, index, representation="leads", progress=progress):
        terms[rows], logits[rows] = _terms(probe, x[rows], LEADS), probe.logits(x[rows])
    counts = patient_bootstrap(index.patient_id.to_numpy(), n_bootstrap, seed)
    unseen = index.fold.isin(SEEN.test).to_numpy()
    pooling = embedding.lead_weights.mean(dim=1).double().numpy()
    scores = auroc(labels, logits, counts)
    greatest, heaviest = terms.argmax(axis=1), pooling.argmax(axis=1)
    territories = np.array([np.isin(LEADS, TERRITORIES[name].leads) for name in names])
    in_territory, by_pooling = _inside(territories, greatest), _inside(territories, heaviest[:, None])
    statements = []
    for column, name in enumerate(names):
        territory, positive = TERRITORIES[name], labels[:, column] == 1
        row = {
            "statement": name,
            **asdict(territory),
            "ecgs": int(positive.sum()),
            "patients": int(index.patient_id[positive].nunique()),
            "unseen_ecgs": int((positive & unseen).sum()),
            "auroc": asdict(scores.of_code(column)),
            "mean_terms": dict(zip(LEADS, terms[positive, :, column].mean(0).tolist(), strict=True)),
            "mean_pooling_weights": dict(zip(LEADS, pooling[positive].mean(0).tolist(), strict=True)),
        }
        if territory.leads:
            row["chance"] = territories[column].mean()
            row["in_territory"] = asdict(_share(in_territory[:, column], positive, counts))
            row["pooling_in_territory"] = asdict(_share(by_pooling[:, column], positive, counts))
        statements.append(row)
    mirrored = territories.copy()
    mirrored[[set(TERRITORIES[name].leads) >= LATERAL for name in names], LEADS.index("aVR")] = True
    local = (labels == 1) & np.array([bool(TERRITORIES[name].leads) for name in names])
    results = {
        "command": command,
        "machine": machine(),
        "seed": seed,
        "checkpoint": Path(checkpoint).name,
        "ecgs": len(index),
        "patients": int(index.patient_id.nunique()),
        "pretraining_saw": f"the ECGs of folds 1 to 8, without labels: {int((~unseen).sum())} of {len(index)}",
        "statements": statements,
        "all": _over_statements(territories, greatest, heaviest, local, counts),
        "unseen": _over_statements(territories, greatest, heaviest, local & unseen[:, None], counts),
        "with_avr_as_lateral": _over_statements(mirrored, greatest, heaviest, local, counts),
        "macro_auroc": _against_today(embedding, index, store, counts, progress),
    }
    write_json(Path(out), results)
    return results


def frequent_statements(store: Store, names: Iterable[str]) -> tuple[str, ...]:
    """Those of PTB-XL's statements that at least `MINIMUM` ECGs have; ECGError for a store without statements."""
    if "statements" not in store.index:
        raise ECGError(f"{store.folder} has no statements; give a store of PTB-XL.")
    positives = store.index.statements.explode().value_counts()
    return tuple(name for name in names if positives.get(name, 0) >= MINIMUM)


def _terms(probe: Probe, x: Float[np.ndarray, "b d"], leads: tuple[str, ...]) -> Float[np.ndarray, "b l c"]:
    """The lead terms of ECGs from their features, 0 for an absent lead; see `lamae_toolkit.explain.terms`."""
    width = x.shape[1] // (2 * len(leads))
    parts = zip(*weights_by_lead(probe, leads, (width, width)), strict=True)
    weight, mean = (np.stack([of_part.numpy() for of_part in both]) for both in parts)
    by_lead = x.reshape(len(x), *mean.shape)
    return np.einsum("btld,tldc->blc", np.where(by_lead == 0, 0, by_lead - mean), weight)


def _share(hit: Bool[np.ndarray, " b"], positive: Bool[np.ndarray, " b"], counts: Int32[np.ndarray, "r b"]) -> Estimate:
    """The share of the positive ECGs that are a hit."""
    of_all = counts[:, positive].sum(axis=1)
    resamples = counts[:, positive & hit].sum(axis=1) / np.maximum(of_all, 1)
    return estimate(hit[positive].mean(), resamples[of_all > 0])


def _inside(territories: Bool[np.ndarray, "c l"], lead: Int[np.ndarray, "b #c"]) -> Bool[np.ndarray, "b c"]:
    """Whether this lead of each ECG lies in the territory of each statement."""
    return territories[np.arange(len(territories)), lead]


def _over_statements(
    territories: Bool[np.ndarray, "c l"],
    greatest: Int[np.ndarray, "b c"],
    heaviest: Int[np.ndarray, " b"],
    positive: Bool[np.ndarray, "b c"],
    counts: Int32[np.ndarray, "r b"],
) -> dict:
    """The shares over all statements together: an ECG with two of them counts twice."""

    def share(of_ecg: Bool[np.ndarray, "b c"]) -> dict:
        of_all = counts @ positive.sum(axis=1)
        resamples = counts @ (positive & of_ecg).sum(axis=1) / np.maximum(of_all, 1)
        return asdict(estimate((positive & of_ecg).sum() / positive.sum(), resamples))

    return {
        "findings": int(positive.sum()),
        "in_territory": share(_inside(territories, greatest)),
        "pooling_in_territory": share(_inside(territories, heaviest[:, None])),
        "chance": float((positive * territories.mean(axis=1)).sum() / positive.sum()),
    }


def _against_today(
    embedding: Embedding, index: pd.DataFrame, store: Store, counts: Int32[np.ndarray, "r b"], progress: bool
) -> dict:
    """What a probe pays for being a sum over leads: macro AUROC of "leads" and "per_lead", paired over patients."""
    found = {}
    for task, classes in {"superclasses": SUPERCLASSES, "codes": frequent_codes(store)}.items():
        labels, scores = labels_of(index, task, classes), {}
        for representation in ("leads", "per_lead"):
            x, logits = features(embedding, representation), np.zeros(labels.shape)
            for probe, rows in cross_fitted(
                x, labels, classes, index, representation=representation, progress=progress
            ):
                logits[rows] = probe.logits(x[rows])
            scores[representation] = auroc(labels, logits, counts)
            found[f"{task}, {representation}"] = asdict(scores[representation].macro())
        found[f"{task}, leads minus per_lead"] = asdict(macro_difference(scores["leads"], scores["per_lead"]))
    return found
