"""The short half of an audit: scores with intervals from the attributions.

Every score is computed for each explained prediction, averaged over the models, and only then over predictions, with 95
% intervals from a bootstrap over patients. They hold for these models; the values of each model are listed as well
and show how seeds differ.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.experiments.audit.methods import (
    JUDGED_METHODS,
    LEAD_KIND,
    PATCH_ATTRIBUTION,
    PATCH_METHODS,
    RANDOM,
    REPRESENTATION,
    SHAPLEY,
    SIGNAL,
    STAGES,
    SUBSET_ATTRIBUTION,
    TIME_STEP,
)
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
from lamae_toolkit.experiments.audit.run import CURVES, FLOOR

BEST, RANDOM_ORDER = "best possible", "random order"
RANDOMIZED, OTHER_ECG, AGREES = "randomized", "agreement with another patient's ECG", "agreement of seeds"

Scores = dict[tuple[str, str, str], Float[np.ndarray, "m b"]]
"""From (kind, metric, method) to a value for each model and explained prediction; NaN where undefined."""


class Attributions:
    """The attributions of all methods for all cases by one model, as trained or randomized; its parts concatenated.

    kind: one of `REPRESENTATION`, of leads or of patches.
    """

    def __init__(self, audited: AuditRun, kind: str, model: int, stage: str = LEARNED) -> None:
        files = [part.file(audited.out) for part in audited.parts() if (part.model, part.stage) == (model, stage)]
        prefix, read = f"{REPRESENTATION[kind]}|", [np.load(file) for file in files]
        self.arrays = {
            name.removeprefix(prefix): np.concatenate([one[name] for one in read]).astype(np.float64)
            for name in read[0].files
            if name.startswith(prefix)
        }
        self.values = self.arrays["values"]
        self.methods = (*JUDGED_METHODS[kind], SIGNAL, RANDOM)
        self.of_leads = kind.startswith(LEAD_KIND)

    def leads(self) -> dict[str, Float[np.ndarray, "b l"]]:
        """Each method's attribution to the leads."""
        return {name: self._of_lead(name) for name in self.methods}

    def _of_lead(self, name: str) -> Float[np.ndarray, "b l"]:
        if name in SUBSET_ATTRIBUTION:
            return SUBSET_ATTRIBUTION[name](self.values)
        return self.arrays[f"patch|{name}"].sum(axis=2) if name in PATCH_ATTRIBUTION else self.arrays[f"lead|{name}"]

    def patches(self) -> dict[str, Float[np.ndarray, "b k"]]:
        """Each method's map of lead and time, one row per case; "leave-one-time-step-out" is a map of time only."""
        return {
            name: self.arrays["time_steps"]
            if name == TIME_STEP
            else self.arrays[f"patch|{name}"].reshape(len(self.values), -1)
            for name in self.methods
        }

    def time_steps(self) -> dict[str, Float[np.ndarray, "b n"]]:
        """Each method's attribution to the time steps, summed over the leads."""
        return {
            name: self.arrays["time_steps"] if name == TIME_STEP else self.arrays[f"patch|{name}"].sum(axis=1)
            for name in self.methods
        }

    def maps(self) -> dict[str, np.ndarray]:
        """Each method's map of the leads, or of lead and time."""
        return self.leads() if self.of_leads else self.patches()


def kinds_of(audited: AuditRun) -> tuple[str, ...]:
    """What is tested: on PTB-XL leads only, since it is not known when a statement shows."""
    return tuple(kind for kind in REPRESENTATION if kind.startswith(LEAD_KIND) or not audited.plan.store)


def true_leads(audited: AuditRun) -> Bool[np.ndarray, "b l"]:
    """The leads that show each case's condition; none where a condition is not confined to some leads."""
    return np.array([np.isin(LEADS, case.leads) for case in audited.cases])


def true_time_steps(audited: AuditRun, patches: int, patch_s: float) -> Bool[np.ndarray, "b n"]:
    """The patches of time that show each case's condition."""
    return np.stack([patches_in_spans(case.spans_s, patches, patch_s) for case in audited.cases])


def all_scores(audited: AuditRun, patch_s: float) -> Scores:
    """All scores of all methods, for each model and case."""
    scores: Scores = {}
    for kind in kinds_of(audited):
        models = [Attributions(audited, kind, number) for number in range(len(audited.plan.names))]
        found: dict[tuple[str, str], list] = {}
        for attributions in models:
            if attributions.of_leads:
                of_model = _lead_scores(attributions, true_leads(audited))
            else:
                patches = attributions.arrays["time_steps"].shape[1]
                of_model = _patch_scores(attributions, true_time_steps(audited, patches, patch_s))
            for key, values in of_model:
                found.setdefault(key, []).append(values)
        found |= _agreement(models, audited)
        found |= _randomization(models[0], kind, audited)
        scores |= {(kind, *key): np.stack(values) for key, values in found.items()}
    return scores


def _lead_scores(attributions: Attributions, truth: np.ndarray) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    reference = SUBSET_ATTRIBUTION[SHAPLEY](attributions.values)
    for name, attribution in attributions.leads().items():
        order = order_by_attribution(attribution)
        yield ("deletion", name), deletion_area(attributions.values, order)
        yield ("insertion", name), insertion_area(attributions.values, order)
        yield ("rank with Shapley", name), rank_correlation(attribution, reference)
        yield ("localization", name), localization_auroc(attribution, truth)
        yield ("pointing", name), pointing_game(attribution, truth)
    for metric, best in zip(("deletion", "insertion"), best_areas(attributions.values), strict=True):
        yield (metric, BEST), best
    yield ("pointing", RANDOM_ORDER), pointing_game(np.zeros(truth.shape), truth)


def _patch_scores(attributions: Attributions, truth: np.ndarray) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    for name, attribution in attributions.time_steps().items():
        yield (
            ("rank with leave-one-time-step-out", name),
            rank_correlation(attribution, attributions.arrays["time_steps"]),
        )
        yield ("localization", name), localization_auroc(attribution, truth)
        yield ("pointing", name), pointing_game(attribution, truth)
        if name != TIME_STEP:
            for metric, curve, sign in (("deletion", CURVES[0], -1), ("insertion", CURVES[1], 1)):
                above = attributions.arrays[f"{curve}|{name}"] - attributions.arrays[f"{curve}|{FLOOR}"]
                yield (metric, name), sign * above.mean(axis=1)
    yield ("pointing", RANDOM_ORDER), pointing_game(np.zeros(truth.shape), truth)


def _agreement(models: list[Attributions], audited: AuditRun) -> dict[tuple[str, str], list]:
    """How similar the maps of two models are, for the same ECG and code, and for another patient's ECG.

    The second is the baseline of a method whose maps are similar for all ECGs: only agreement above it is specific.
    """
    if len(models) < 2:
        return {}
    other = another_patient(np.array([case.patient_id for case in audited.cases]))
    maps = [attributions.maps() for attributions in models]
    found: dict[tuple[str, str], list] = {}
    for name in maps[0]:
        pairs = [(one[name], two[name]) for one, two in combinations(maps, 2)]
        found[AGREES, name] = [rank_correlation(one, two) for one, two in pairs]
        found[OTHER_ECG, name] = [rank_correlation(one, two[other]) for one, two in pairs]
    return found


def another_patient(patients: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
    """For each case the index of a case of another patient, half the cases away."""
    indices = np.arange(len(patients))
    for step in range(len(patients)):
        shifted = (indices + len(patients) // 2 + step) % len(patients)
        if (patients[shifted] != patients).all():
            return shifted
    return indices


def _randomization(learned: Attributions, kind: str, audited: AuditRun) -> dict[tuple[str, str], list]:
    """How similar the maps of the first model are before and after randomization, stage by stage."""
    found: dict[tuple[str, str], list] = {}
    before = learned.maps()
    if not audited.plan.randomized_ecgs:
        return found
    for stage in STAGES:
        for name, after in Attributions(audited, kind, 0, stage).maps().items():
            similarity = np.full(len(audited.cases), np.nan)
            similarity[: len(after)] = rank_correlation(before[name][: len(after)], after)
            found[f"{RANDOMIZED} {stage}", name] = [similarity]
    return found


def curves(audited: AuditRun) -> dict[str, dict[str, list[float]]]:
    """Mean log-odds over all predictions and models as leads are removed or added, and as patches are masked."""
    found: dict[str, dict[str, list]] = {}
    for kind in kinds_of(audited):
        for number in range(len(audited.plan.names)):
            attributions = Attributions(audited, kind, number)
            for what, name, curve in _curves(attributions):
                found.setdefault(f"{kind} {what}", {}).setdefault(name, []).append(curve)
    return {
        what: {name: np.nanmean(np.concatenate(values), axis=0).tolist() for name, values in of_method.items()}
        for what, of_method in found.items()
    }


def _curves(attributions: Attributions) -> Iterator[tuple[str, str, Float[np.ndarray, "b k"]]]:
    """What is done, the method in whose order it is done, and the log-odds of each prediction."""
    values, arrays = attributions.values, attributions.arrays
    if not attributions.of_leads:
        for what, curve in zip(("masked", "visible"), CURVES, strict=True):
            for name in (*(name for name in attributions.methods if name in PATCH_METHODS), FLOOR):
                yield what, RANDOM_ORDER if name == FLOOR else name, arrays[f"{curve}|{name}"]
        return
    for name, attribution in attributions.leads().items():
        order = order_by_attribution(attribution)
        yield "removed", name, deletion_curve(values, order)
        yield "added", name, insertion_curve(values, order)
    random_order = random_curve(values)
    yield "removed", RANDOM_ORDER, random_order[:, ::-1]
    yield "added", RANDOM_ORDER, random_order


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
