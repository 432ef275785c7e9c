"""The long half of an audit: the attributions of every method for every prediction, kept in parts.

A part is one model and a few ECGs, so that an interrupted audit resumes.
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
    AuditPlan,
    AuditRun,
    Case,
    Part,
    in_parallel,
    load_audit_run,
    prepare_audit,
)
from lamae_toolkit.explain.lead_subsets import subset_log_odds
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.lamae import LAMAE

MASKED_SHARES = (0.1, 0.25, 0.5)
"""The shares of all patches that are masked, or alone visible, in the order of their attribution."""
RANDOM_ORDERS = 2


def run_audit(plan: AuditPlan, out: Path | str, *, workers: int = 1, progress: bool = True) -> AuditRun:
    """Compute all that is missing; after an interruption the same call resumes.

    workers: models pretrained, and parts explained, in parallel, each on one thread if there are several.
    """
    audited = prepare_audit(plan, Path(out), workers=workers, progress=progress)
    out, every = audited.out, list(audited.parts())
    todo = [part for part in every if not part.file(out).is_file()]
    jobs = [(plan, out, audited.cases, audited.probes, part) for part in todo]
    with tqdm(
        total=len(every), initial=len(every) - len(todo), desc="explaining", unit="part", disable=not progress
    ) as bar:
        in_parallel(_job, jobs, workers, bar, out)
    return audited


def _job(plan: AuditPlan, out: Path, cases: tuple[Case, ...], probes: dict, part: Part) -> None:
    _explain(AuditRun(plan, out, Store.open(out / "store"), cases, probes), part)


def _explain(audited: AuditRun, part: Part) -> None:
    """Compute every method's attributions for the cases of a part, and keep them."""
    model, probe = load_audit_run(audited, part.model)
    if part.stage != LEARNED:
        model, probe = randomized(model, probe, part.stage, seed=1000 + part.model)
    batch = audited.store.batch(part.rows)
    cases = [case for case in audited.cases if case.row in part.rows]
    ecg = np.array([part.rows.index(case.row) for case in cases])
    code = np.array([probe.codes.index(case.code) for case in cases])
    attributions = {"values": subset_log_odds(model, probe, batch).numpy()[ecg, :, code]}
    attributions |= _attribution(model, probe, batch, cases, ecg)
    stage = (LEARNED, *STAGES).index(part.stage)
    generators = [np.random.default_rng([case.row, index, part.model, stage, 30]) for index, case in enumerate(cases)]
    attributions[f"lead|{RANDOM}"] = np.stack([random.random(len(LEADS)) for random in generators])
    attributions[f"patch|{RANDOM}"] = np.stack(
        [random.random(attributions[f"patch|{next(iter(PATCH_ATTRIBUTION))}"].shape[1:]) for random in generators]
    )
    attributions["time_steps"] = masked_time_steps(model, probe, batch).numpy()[ecg, :, code]
    if part.stage == LEARNED:
        attributions |= _masking(model, probe, batch, attributions, ecg, code, part)
    with atomic_write(part.file(audited.out)) as partial, open(partial, "wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{name: values.astype(np.float32) for name, values in attributions.items()}
        )


def _attribution(model: LAMAE, probe: Probe, batch: Batch, cases: list[Case], ecg: np.ndarray) -> dict[str, np.ndarray]:
    """The attributions of the methods that run the model; the ECGs of one code together."""
    attributions: dict[str, list] = {f"lead|{name}": [None] * len(cases) for name in LEAD_ATTRIBUTION}
    attributions |= {f"patch|{name}": [None] * len(cases) for name in PATCH_ATTRIBUTION}
    for code in dict.fromkeys(case.code for case in cases):
        indices = [index for index, case in enumerate(cases) if case.code == code]
        some = Batch(batch.signal_mv[ecg[indices]], batch.lead_mask[ecg[indices]], batch.leads)
        for kind, methods in (("lead", LEAD_ATTRIBUTION), ("patch", PATCH_ATTRIBUTION)):
            for name, method in methods.items():
                for index, attribution in zip(indices, method(model, probe, some, code).numpy(), strict=True):
                    attributions[f"{kind}|{name}"][index] = attribution
    return {name: np.stack(attribution) for name, attribution in attributions.items()}


def _masking(
    model: LAMAE, probe: Probe, batch: Batch, attributions: dict, ecg: np.ndarray, code: np.ndarray, part: Part
) -> dict[str, Float[np.ndarray, "b s"]]:
    """Log-odds when the patches with the highest attribution are masked, or alone visible; for the floor, random."""
    orders = {name: order_by_attribution(attributions[f"patch|{name}"].reshape(len(ecg), -1)) for name in PATCH_METHODS}
    curves: dict[str, np.ndarray] = {}
    for name, order in orders.items():
        curves |= _curves(model, probe, batch, order, ecg, code, name)
    random_orders = np.random.default_rng([*part.rows, part.model, 40]).random(
        (RANDOM_ORDERS, len(part.rows), order.shape[1])
    )
    random_order = [
        _curves(model, probe, batch, random_order.argsort(axis=1)[ecg], ecg, code, "floor")
        for random_order in random_orders
    ]
    return curves | {name: np.mean([one[name] for one in random_order], axis=0) for name in random_order[0]}


def _curves(
    model: LAMAE, probe: Probe, batch: Batch, order: np.ndarray, ecg: np.ndarray, code: np.ndarray, name: str
) -> dict[str, np.ndarray]:
    """The curves of these cases; an order that several codes of an ECG share is computed once."""
    _, first, which = np.unique(np.column_stack([ecg, order]), axis=0, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    some = Batch(batch.signal_mv[ecg[first]], batch.lead_mask[ecg[first]], batch.leads)
    masked, visible = masking_curves(model, probe, some, torch.from_numpy(order[first]), MASKED_SHARES)
    return {f"masked|{name}": masked.numpy()[which, :, code], f"visible|{name}": visible.numpy()[which, :, code]}
