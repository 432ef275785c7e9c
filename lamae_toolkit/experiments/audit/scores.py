"""The short half of an audit: scores with intervals from the attributions.

Every score is computed for each explained prediction, averaged over the models, and only then over predictions, with 95
% intervals from a bootstrap over patients. They hold for these models; the values of each model are listed as well
and show how seeds differ.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from einops import rearrange
from jaxtyping import Bool, Float, Int

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.evaluation.metrics import Estimate, over_patients, patient_bootstrap
from lamae_toolkit.experiments.audit.methods import LEAD_METHODS, PATCH_METHODS, RANDOM, STAGES, SUBSET_ATTRIBUTION
from lamae_toolkit.experiments.audit.metrics import (
    best_areas,
    deletion_area,
    deletion_curve,
    insertion_area,
    insertion_curve,
    localization_auroc,
    order_by_attribution,
    patches_in_spans,
    pointing_game,
    random_curve,
    rank_correlation,
)
from lamae_toolkit.experiments.audit.plan import LEARNED, AuditRun
from lamae_toolkit.simulate.conditions import CONDITIONS

LEAD_KIND, PATCH_KIND = "leads", "patches"
TIME_STEP = "leave-one-time-step-out"
"""The fall of the log-odds when one patch of time is masked in all leads; not tested by deletion and insertion."""
BEST, RANDOM_ORDER = "best possible", "random order"
RANDOMIZED, OTHER_ECG, AGREES = "randomized", "agreement with another patient's ECG", "agreement of seeds"
SHAPED = ("QRS", "ST", "T")
"""Waves whose changes show in some leads and not in others; a rhythm shows in every lead."""

Scores = dict[tuple[str, str, str], Float[np.ndarray, "m b"]]
"""From (kind, metric, method) to a value for each model and explained prediction; NaN where undefined."""


class Attributions:
    """The attributions of all methods for all cases by one model, as trained or randomized; its parts concatenated."""

    def __init__(self, audited: AuditRun, model: int, stage: str = LEARNED) -> None:
        files = [part.file(audited.out) for part in audited.parts() if (part.model, part.stage) == (model, stage)]
        read = [dict(np.load(file)) for file in files]
        self.arrays = {name: np.concatenate([one[name] for one in read]).astype(np.float64) for name in read[0]}
        self.values = self.arrays["values"]

    def leads(self) -> Iterator[tuple[str, Float[np.ndarray, "b l"]]]:
        """Each method's attribution to the leads."""
        for name in LEAD_METHODS:
            of_subsets = SUBSET_ATTRIBUTION.get(name)
            yield name, self.arrays[f"lead|{name}"] if of_subsets is None else of_subsets(self.values)

    def patches(self) -> Iterator[tuple[str, Float[np.ndarray, "b k"]]]:
        """Each method's map of lead and time, one row per case; "leave-one-time-step-out" is a map of time only."""
        for name in PATCH_METHODS:
            yield name, rearrange(self.arrays[f"patch|{name}"], "b l n -> b (l n)")
        yield TIME_STEP, self.arrays["time_steps"]

    def time_steps(self) -> Iterator[tuple[str, Float[np.ndarray, "b n"]]]:
        """Each method's attribution to the time steps, summed over the leads."""
        for name, attribution in self.patches():
            yield name, attribution if name == TIME_STEP else self.arrays[f"patch|{name}"].sum(axis=1)

    def maps(self, kind: str) -> dict[str, np.ndarray]:
        """Each method's map of the leads, or of lead and time."""
        return dict(self.leads() if kind == LEAD_KIND else self.patches())


def true_leads(audited: AuditRun) -> Bool[np.ndarray, "b l"]:
    """The leads that show each case's condition; none where a condition is not confined to some leads."""
    return np.array(
        [
            [lead in case.leads and CONDITIONS[case.code].evidence_wave in SHAPED for lead in LEADS]
            for case in audited.cases
        ]
    )


def true_time_steps(audited: AuditRun, patches: int, patch_s: float) -> Bool[np.ndarray, "b n"]:
    """The patches of time that show each case's condition."""
    return np.stack([patches_in_spans(case.spans_s, patches, patch_s) for case in audited.cases])


def all_scores(audited: AuditRun, patch_s: float) -> Scores:
    """All scores of all methods, for each model and case."""
    models = [Attributions(audited, number) for number in range(len(audited.plan.names))]
    leads = true_leads(audited)
    time_steps = true_time_steps(audited, models[0].arrays["time_steps"].shape[1], patch_s)
    found: dict[tuple[str, str, str], list] = {}
    for attributions in models:
        for key, values in (*_lead_scores(attributions, leads), *_patch_scores(attributions, time_steps)):
            found.setdefault(key, []).append(values)
    scores = {key: np.stack(values) for key, values in found.items()}
    for kind in (LEAD_KIND, PATCH_KIND):
        scores |= _agreement(models, kind, audited)
        scores |= _randomization(audited, models[0], kind)
    return scores


def _lead_scores(attributions: Attributions, truth: np.ndarray) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    reference = SUBSET_ATTRIBUTION["Shapley"](attributions.values)
    for name, attribution in attributions.leads():
        order = order_by_attribution(attribution)
        yield (LEAD_KIND, "deletion", name), deletion_area(attributions.values, order)
        yield (LEAD_KIND, "insertion", name), insertion_area(attributions.values, order)
        yield (LEAD_KIND, "rank with Shapley", name), rank_correlation(attribution, reference)
        yield (LEAD_KIND, "localization", name), localization_auroc(attribution, truth)
        yield (LEAD_KIND, "pointing", name), pointing_game(attribution, truth)
    for metric, best in zip(("deletion", "insertion"), best_areas(attributions.values), strict=True):
        yield (LEAD_KIND, metric, BEST), best
    yield (LEAD_KIND, "pointing", RANDOM_ORDER), pointing_game(np.zeros(truth.shape), truth)


def _patch_scores(attributions: Attributions, truth: np.ndarray) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    for name, attribution in attributions.time_steps():
        yield (
            (PATCH_KIND, "rank with leave-one-time-step-out", name),
            rank_correlation(attribution, attributions.arrays["time_steps"]),
        )
        yield (PATCH_KIND, "localization", name), localization_auroc(attribution, truth)
        yield (PATCH_KIND, "pointing", name), pointing_game(attribution, truth)
    for name in PATCH_METHODS:
        for metric, curve, sign in (("deletion", "masked", -1), ("insertion", "visible", 1)):
            above = attributions.arrays[f"{curve}|{name}"] - attributions.arrays[f"{curve}|floor"]
            yield (PATCH_KIND, metric, name), sign * above.mean(axis=1)
    yield (PATCH_KIND, "pointing", RANDOM_ORDER), pointing_game(np.zeros(truth.shape), truth)


def _agreement(models: list[Attributions], kind: str, audited: AuditRun) -> Scores:
    """How similar the maps of two models are, for the same ECG and code, and for another patient's ECG.

    The second is the baseline of a method whose maps are similar for all ECGs: only agreement above it is specific.
    """
    if len(models) < 2:
        return {}
    other = another_patient(np.array([case.patient_id for case in audited.cases]))
    maps = [attributions.maps(kind) for attributions in models]
    found: Scores = {}
    for name in maps[0]:
        pairs = [(one[name], two[name]) for one, two in combinations(maps, 2)]
        found[kind, AGREES, name] = np.stack([rank_correlation(one, two) for one, two in pairs])
        found[kind, OTHER_ECG, name] = np.stack([rank_correlation(one, two[other]) for one, two in pairs])
    return found


def another_patient(patients: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
    """For each case the index of a case of another patient, half the cases away."""
    indices = np.arange(len(patients))
    for step in range(len(patients)):
        shifted = (indices + len(patients) // 2 + step) % len(patients)
        if (patients[shifted] != patients).all():
            return shifted
    return indices


def _randomization(audited: AuditRun, learned: Attributions, kind: str) -> Scores:
    """How similar the maps of the first model are before and after randomization, stage by stage."""
    found: Scores = {}
    before = learned.maps(kind)
    if not audited.plan.randomized_ecgs:
        return found
    for stage in STAGES:
        for name, after in Attributions(audited, 0, stage).maps(kind).items():
            similarity = np.full((1, len(audited.cases)), np.nan)
            similarity[0, : len(after)] = rank_correlation(before[name][: len(after)], after)
            found[kind, f"{RANDOMIZED} {stage}", name] = similarity
    return found


class Summary:
    """Scores as numbers with intervals; differences are paired over the same predictions and resamples of patients."""

    def __init__(self, patients: Int[np.ndarray, " b"], scores: Scores, n_bootstrap: int = 1000, seed: int = 0) -> None:
        self.scores, self.patients = scores, patients
        self.weights = patient_bootstrap(patients, n_bootstrap, seed)

    def of(self, kind: str, metric: str, method: str) -> Estimate | None:
        """A score of a method, or None if it was not tested."""
        values = self.scores.get((kind, metric, method))
        return None if values is None else over_patients(_over_models(values), self.weights)

    def tested_on(self, kind: str, metric: str, method: str) -> int:
        """On how many patients a score of a method is defined; 0 if it was not tested."""
        values = self.scores.get((kind, metric, method))
        return 0 if values is None else len(np.unique(self.patients[np.isfinite(values).any(axis=0)]))

    def difference(self, kind: str, one: tuple[str, str], other: tuple[str, str]) -> Estimate | None:
        """The paired difference of two (metric, method)."""
        if (kind, *one) not in self.scores or (kind, *other) not in self.scores:
            return None
        values = [_over_models(self.scores[kind, *which]) for which in (one, other)]
        return over_patients(values[0] - values[1], self.weights)

    def table(self) -> pd.DataFrame:
        """All scores: kind, metric, method, value, low, high, the values model by model, and how many predictions."""
        rows = []
        for (kind, metric, method), values in self.scores.items():
            found = over_patients(_over_models(values), self.weights)
            by_model = [float(np.nanmean(one)) if np.isfinite(one).any() else float("nan") for one in values]
            rows.append(
                {
                    "kind": kind,
                    "metric": metric,
                    "method": method,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "by_model": by_model,
                    "predictions": int(np.isfinite(values).any(axis=0).sum()),
                }
            )
        return pd.DataFrame(rows)


def _over_models(values: Float[np.ndarray, "m b"]) -> Float[np.ndarray, " b"]:
    """The mean over the models of the finite values; NaN where there is none."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    return np.divide(np.where(defined, values, 0).sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)


def curves(audited: AuditRun) -> dict[str, dict[str, list[float]]]:
    """Mean log-odds over all predictions and models as leads are removed or added, and as patches are masked."""
    found: dict[str, dict[str, list]] = {}
    models = [Attributions(audited, number) for number in range(len(audited.plan.names))]
    for attributions in models:
        for name, attribution in attributions.leads():
            order = order_by_attribution(attribution)
            found.setdefault("leads removed", {}).setdefault(name, []).append(
                deletion_curve(attributions.values, order)
            )
            found.setdefault("leads added", {}).setdefault(name, []).append(insertion_curve(attributions.values, order))
        random_order = random_curve(attributions.values)
        found["leads removed"].setdefault(RANDOM_ORDER, []).append(random_order[:, ::-1])
        found["leads added"].setdefault(RANDOM_ORDER, []).append(random_order)
        for what, curve in (("patches masked", "masked"), ("patches visible", "visible")):
            for name in (*PATCH_METHODS, "floor"):
                found.setdefault(what, {}).setdefault(RANDOM_ORDER if name == "floor" else name, []).append(
                    attributions.arrays[f"{curve}|{name}"]
                )
    return {
        what: {name: np.concatenate(values).mean(axis=0).tolist() for name, values in of_method.items()}
        for what, of_method in found.items()
    }


def by_code(audited: AuditRun, scores: Scores) -> list[dict]:
    """Deletion and localization code by code: means over its predictions and models."""
    codes = np.array([case.code for case in audited.cases])
    rows = []
    for (kind, metric, method), values in scores.items():
        if metric in ("deletion", "localization") and method not in (RANDOM, BEST):
            for code in np.unique(codes):
                of_code = values[:, codes == code]
                if np.isfinite(of_code).any():
                    value = float(np.nanmean(of_code))
                    rows.append(
                        {
                            "kind": kind,
                            "metric": metric,
                            "method": method,
                            "code": str(code),
                            "value": value,
                            "predictions": int((codes == code).sum()),
                        }
                    )
    return rows
