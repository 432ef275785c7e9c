"""The long half of an audit: the attributions of every method for every prediction, kept in parts.

A part is one model and one ECG, so that an interrupted audit resumes. What an ECG that is not occluded lacks is NaN.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.experiments.audit.methods import (
    LEAD_ATTRIBUTION,
    PATCH_ATTRIBUTION,
    PATCH_METHODS,
    RANDOM,
    STAGES,
    randomized,
)
from lamae_toolkit.experiments.audit.metrics import order_by_attribution
from lamae_toolkit.experiments.audit.occlusion import masked_time_steps, masking_curves
from lamae_toolkit.experiments.audit.plan import (
    LEARNED,
    REPRESENTATIONS,
    AuditPlan,
    AuditRun,
    Case,
    Part,
    load_model,
    load_probe,
)
from lamae_toolkit.experiments.audit.prepare import in_parallel, prepare_audit
from lamae_toolkit.explain.lead_subsets import subset_tables
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.lamae import LAMAE

MASKED_SHARES = (0.1, 0.25, 0.5)
"""The shares of all patches that are masked, or alone visible, in the order of their attribution."""
RANDOM_ORDERS = 2
CURVES, FLOOR = ("masked", "visible"), "floor"


def run_audit(plan: AuditPlan, out: Path | str, *, workers: int = 1, progress: bool = True) -> AuditRun:
    """Compute all that is missing; after an interruption the same call resumes.

    workers: models pretrained, and parts explained, in parallel, each on one thread if there are several.
    """
    audited = prepare_audit(plan, Path(out), workers=workers, progress=progress)
    out, every = audited.out, list(audited.parts())
    todo = [part for part in every if not part.file(out).is_file()]
    jobs = [(plan, out, [case for case in audited.cases if case.row == part.row], part) for part in todo]
    with tqdm(
        total=len(every), initial=len(every) - len(todo), desc="explaining", unit="part", disable=not progress
    ) as bar:
        in_parallel(_explain, jobs, workers, bar, out)
    return audited


def _explain(plan: AuditPlan, out: Path, cases: list[Case], part: Part) -> None:
    """Compute every method's attributions for the cases of one ECG, and keep them."""
    model = load_model(plan, out, part.model)
    probes = {name: load_probe(out, part.model, name, cases[0].probe) for name in REPRESENTATIONS}
    if part.stage != LEARNED:
        learned = model
        for name, probe in probes.items():
            model, probes[name] = randomized(learned, probe, part.stage, seed=1000 + part.model)
    batch = Store.open(plan.store or out / "store").batch([part.row])
    tables = subset_tables(model, list(probes.values()), batch) if part.occluded else [None] * len(probes)
    arrays: dict[str, np.ndarray] = {}
    for (representation, probe), table in zip(probes.items(), tables, strict=True):
        codes = [probe.column(case.code) for case in cases]
        values = np.full((len(cases), 2 ** len(LEADS)), np.nan) if table is None else table[0].T.numpy()[codes]
        found = {"values": values} | _attributions(model, probe, batch, cases, part)
        if not plan.store:
            found |= _masking(model, probe, batch, found, codes, part)
        arrays |= {f"{representation}|{name}": values.astype(np.float32) for name, values in found.items()}
    with atomic_write(part.file(out)) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _attributions(model: LAMAE, probe: Probe, batch: Batch, cases: list[Case], part: Part) -> dict[str, np.ndarray]:
    """The attributions of the methods that run the model, and random ones."""
    found = {
        f"{unit}|{name}": np.concatenate([method(model, probe, batch, case.code).numpy() for case in cases])
        for unit, methods in (("lead", LEAD_ATTRIBUTION), ("patch", PATCH_ATTRIBUTION))
        for name, method in methods.items()
    }
    stage, patches = (LEARNED, *STAGES).index(part.stage), model.patches(batch).shape[2]
    random = [np.random.default_rng([part.row, index, part.model, stage, 30]) for index in range(len(cases))]
    found[f"lead|{RANDOM}"] = np.stack([one.random(len(LEADS)) for one in random])
    found[f"patch|{RANDOM}"] = np.stack([one.random((len(LEADS), patches)) for one in random])
    return found


def _masking(
    model: LAMAE, probe: Probe, batch: Batch, attributions: dict, codes: list[int], part: Part
) -> dict[str, Float[np.ndarray, "b s"]]:
    """How the log-odds fall without each time step; and log-odds when the patches with the highest attribution are
    masked, or alone visible; for the floor, random patches. NaN for an ECG that is not occluded.
    """
    cases, n = np.arange(len(codes)), model.patches(batch).shape[2]
    if not part.occluded:
        empty = np.full((len(codes), len(MASKED_SHARES)), np.nan)
        names = (f"{curve}|{name}" for curve in CURVES for name in (*PATCH_METHODS, FLOOR))
        return dict.fromkeys(names, empty) | {"time_steps": np.full((len(codes), n), np.nan)}
    found = {"time_steps": masked_time_steps(model, probe, batch)[0].T.numpy()[codes]}
    if part.stage != LEARNED:
        return found
    maps = [attributions[f"patch|{name}"].reshape(len(codes), -1) for name in PATCH_METHODS]
    random = np.random.default_rng([part.row, part.model, 40]).random((RANDOM_ORDERS, len(LEADS) * n))
    every = np.concatenate([*map(order_by_attribution, maps), random.argsort(axis=1)])
    orders, which = np.unique(every, axis=0, return_inverse=True)  # codes may share an order
    copies = batch.rows(torch.zeros(len(orders), dtype=torch.long))
    curves = masking_curves(model, probe, copies, torch.from_numpy(orders), MASKED_SHARES)
    for curve, log_odds in zip(CURVES, curves, strict=True):
        of_order = log_odds.numpy()[which.reshape(-1)]
        for number, name in enumerate(PATCH_METHODS):
            found[f"{curve}|{name}"] = of_order[number * len(cases) + cases, :, codes]
        found[f"{curve}|{FLOOR}"] = of_order[-RANDOM_ORDERS:, :, codes].mean(axis=0).T
    return found
