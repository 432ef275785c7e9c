"""What an audit needs before it explains: a cohort, models, probes, and the predictions to explain.

On simulated ECGs, models and probes learn from training patients of the cohort, and test patients are explained. On
PTB-XL, whose ECGs are few, the probes are fitted in turns over the folds, so that all ECGs can be explained by a probe
that has not seen the patient; models pretrain without labels on all folds but 9 and 10, as the shipped weights did.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict
from lamae_toolkit.evaluation.linear_probe import Probe, features, fit_probe
from lamae_toolkit.evaluation.metrics import auroc
from lamae_toolkit.experiments.audit.plan import REPRESENTATIONS, AuditPlan, AuditRun, Case, load_model, probe_file
from lamae_toolkit.experiments.cross_fit import cross_fitted
from lamae_toolkit.experiments.kept_plan import kept_plan
from lamae_toolkit.experiments.shipped_weights import SEEN
from lamae_toolkit.experiments.textbook import TERRITORIES, frequent_statements
from lamae_toolkit.files import write_json
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.parallel import worker_pool
from lamae_toolkit.simulate.conditions import CONDITIONS
from lamae_toolkit.simulate.simulator import simulate_patients
from lamae_toolkit.training.trainer import pretrain

AUDIT_PLAN_FILE, CASES_FILE, PROBES_FILE = "plan.json", "cases.json", "probes.json"
STATEMENTS = ("IMI", "ASMI", "AMI", "ALMI", "LMI", "CRBBB", "CLBBB", "LVH")
"""PTB-XL's statements to explain: infarctions, bundle branch blocks and hypertrophy, which have a territory."""
SHAPED = ("QRS", "ST", "T")
"""Waves whose changes show in some leads and not in others; a rhythm shows in every lead."""


def prepare_audit(plan: AuditPlan, out: Path, *, workers: int = 1, progress: bool = True) -> AuditRun:
    """Open or simulate the cohort, pretrain and probe the models and choose the cases, each if it is missing."""
    _keep_plan(plan, out)
    store = _cohort(plan, out, progress)
    if not plan.checkpoints:
        jobs = [(plan, out, seed, progress and workers == 1) for seed in plan.seeds]
        with tqdm(total=len(jobs), desc="models", unit="model", disable=not progress) as bar:
            in_parallel(_pretrain, jobs, workers, bar, out)
    probes = _probes(plan, store, out, progress)
    return AuditRun(plan, out, store, _cases(plan, store, out, probes, progress), probes["aurocs"])


def in_parallel(function: Callable, jobs: Sequence[tuple], workers: int, bar: tqdm, out: Path) -> None:
    """Call a function for each of the jobs, several at a time; what it wrote to `out` is kept after an interruption."""
    if workers == 1:
        for job in jobs:
            function(*job)
            bar.update()
        return
    with worker_pool(workers, f"what is finished is in {out}") as pool:
        for done in as_completed([pool.submit(function, *job) for job in jobs]):
            done.result()
            bar.update()


def _keep_plan(plan: AuditPlan, out: Path) -> None:
    """Write the plan into the folder; refuse a folder that holds another audit."""
    now, path = json.loads(json.dumps(asdict(plan))), out / AUDIT_PLAN_FILE
    kept_plan(path, now, "an audit")
    write_json(path, now)


def _cohort(plan: AuditPlan, out: Path, progress: bool) -> Store:
    if plan.store:
        return Store.open(plan.store)
    folder = out / "store"
    if not folder.exists():
        return simulate_store(folder, plan.cohort_ecgs, plan.cohort_seed, progress=progress)
    store = Store.open(folder)
    if store.meta["source"] != f"simulated, seed {plan.cohort_seed}" or len(store) != plan.cohort_ecgs:
        raise ECGError(
            f"{folder} holds {len(store)} ECGs, {store.meta['source']}, of another audit; choose another folder."
        )
    return store


def _pretrain(plan: AuditPlan, out: Path, seed: int, progress: bool) -> None:
    """Pretrain the model of a seed on the training patients, or resume it."""
    store = _cohort(plan, out, progress)
    folds = (*SEEN.train, *SEEN.validation) if plan.store else Split.of(store).train
    torch.manual_seed(seed)
    model, train = LAMAE(plan.model), replace(plan.train, seed=seed)
    folder = out / "models" / f"seed{seed}"
    pretrain(model, store, store.rows(folds), folder, train, progress=progress)


def _probes(plan: AuditPlan, store: Store, out: Path, progress: bool) -> dict:
    """Fit the probes of each model and keep them.

    Returns each code's AUROC on patients that the probes have not seen, by representation, one per model, and for each
    row of the store the number of the probe that explains it; -1 for ECGs that probes have learned from.
    """
    path = out / PROBES_FILE
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    index, codes = store.index.reset_index(drop=True), _codes(plan, store)
    labels = labels_of(index, "statements" if plan.store else "codes", codes)
    aurocs: dict = {representation: {code: [] for code in codes} for representation in REPRESENTATIONS}
    probe_of_row = np.full(len(store), -1)
    models = [load_model(plan, out, number) for number in range(len(plan.names))]
    shapes = {(model.config.max_patches, model.config.patch_samples) for model in models}
    if len(shapes) > 1:
        raise ECGError("The checkpoints have different patches, so their attributions cannot be compared.")
    for number, model in enumerate(models):
        embedding = embed_rows(model, store, np.arange(len(store)), progress=progress)
        for representation in REPRESENTATIONS:
            x, logits = features(embedding, representation), np.zeros(labels.shape)
            for which, (probe, rows) in enumerate(_fitted(plan, store, x, labels, codes, representation)):
                probe.save(out / "probes" / str(number), probe_file(representation, which))
                probe_of_row[rows], logits[rows] = which, probe.logits(x[rows])
            scored = probe_of_row >= 0
            found = auroc(labels[scored], logits[scored], np.empty((0, scored.sum()), dtype=int)).value
            for code, value in zip(codes, found, strict=True):
                aurocs[representation][code].append(float(value))
    probes = {"aurocs": aurocs, "probe_of_row": probe_of_row.tolist()}
    write_json(path, probes)
    return probes


def _codes(plan: AuditPlan, store: Store) -> tuple[str, ...]:
    """What the probes predict: the frequent ICD-10 codes of a simulated cohort, or PTB-XL's statements."""
    if not plan.store:
        return codes_to_predict(store, Split.of(store))
    codes = frequent_statements(store, STATEMENTS)
    if not codes:
        raise ECGError(f"{store.folder} has too few ECGs of {', '.join(STATEMENTS)}; give a larger store.")
    return codes


def _fitted(
    plan: AuditPlan, store: Store, x: np.ndarray, labels: np.ndarray, codes: tuple[str, ...], representation: str
) -> Iterator[tuple[Probe, np.ndarray]]:
    """Probes, each with the rows of patients that it has not seen."""
    if plan.store:
        yield from cross_fitted(x, labels, codes, store.index, representation=representation, progress=False)
    else:
        train, validation, test = Split.of(store).indices(store.index)
        yield fit_probe(x, labels, codes, train, validation, representation=representation), test


def _cases(plan: AuditPlan, store: Store, out: Path, probes: dict, progress: bool) -> tuple[Case, ...]:
    """ECGs with all twelve leads, chosen at random, and those of their true codes that all models predict."""
    path = out / CASES_FILE
    if not path.is_file():
        write_json(path, {"cases": [asdict(case) for case in _choose_cases(plan, store, probes, progress)]})
    return tuple(
        Case(**case | {"leads": tuple(case["leads"]), "spans_s": tuple(map(tuple, case["spans_s"]))})
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
    )


def _choose_cases(plan: AuditPlan, store: Store, probes: dict, progress: bool) -> Iterator[Case]:
    predicted = {code for code, aurocs in probes["aurocs"]["leads"].items() if min(aurocs) > plan.least_auroc}
    complete = store.batch(np.arange(len(store))).lead_mask.all(dim=1).numpy()
    of_row = store.index["statements" if plan.store else "codes"].tolist()
    rows = [row for row, which in enumerate(probes["probe_of_row"]) if which >= 0 and complete[row]]
    rows = [row for row in rows if predicted & set(of_row[row])]
    if not rows:
        raise ECGError(
            f"No test ECG has a code that all models predict with an AUROC above {plan.least_auroc:g}; use better"
            " models or a larger cohort."
        )
    chosen = np.random.default_rng([plan.cohort_seed, 20]).permutation(rows)[: plan.ecgs].tolist()
    truths = {} if plan.store else _simulated_truths(plan, store, set(chosen), progress)
    for row in chosen:
        patient = int(store.index.patient_id.iloc[row])
        for code in sorted(predicted & set(of_row[row])):
            if plan.store:
                leads, spans_s = TERRITORIES[code].leads, ()
            else:
                shaped = CONDITIONS[code].evidence_wave in SHAPED
                leads = truths[row].evidence_leads[code] if shaped else ()
                spans_s = truths[row].evidence_spans_s[code]
            yield Case(row, code, patient, probes["probe_of_row"][row], leads, spans_s)


def _simulated_truths(plan: AuditPlan, store: Store, rows: set[int], progress: bool) -> dict:
    """The evidence of these rows; the store does not hold it, so the same patients are simulated again."""
    simulated = simulate_patients(len(store), plan.cohort_seed, sampling_rate_hz=store.sampling_rate_hz)
    bar = tqdm(simulated, total=len(store), desc="simulating again", unit="ECG", disable=not progress)
    return {row: ecg.truth for row, ecg in enumerate(bar) if row in rows}
