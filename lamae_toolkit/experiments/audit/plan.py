"""The plan of an audit, its models and probes, and the predictions to explain.

The models are pretrained and probed on training patients of a simulated cohort, and explained on test patients.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict, evaluate
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.experiments.audit.methods import STAGES
from lamae_toolkit.experiments.comparison.plans import BUDGET
from lamae_toolkit.files import write_json
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.parallel import worker_pool
from lamae_toolkit.simulate.simulator import simulate_patients
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain

AUDIT_PLAN_FILE, CASES_FILE, PROBES_FILE = "plan.json", "cases.json", "probes.json"
LEARNED = "learned"
"""The stage of a model as it was trained."""
ECGS_PER_PART = 4


@dataclass(frozen=True)
class AuditPlan:
    """The models and ECGs of an audit.

    checkpoints: folders of pretrained models; none to pretrain one for each of `seeds`. cohort_seed: the seed of the
    simulated patients.
    ecgs: how many ECGs of test patients are explained; randomized_ecgs: how many of them also with randomized models.
    least_auroc: a code is explained if all models predict it better than that.
    """

    checkpoints: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    cohort_ecgs: int = 3000
    cohort_seed: int = 0
    ecgs: int = 120
    randomized_ecgs: int = 40
    representation: str = "summary"
    least_auroc: float = 0.8
    model: LAMAEConfig = MINI
    train: TrainConfig = field(default_factory=lambda: BUDGET)

    def __post_init__(self) -> None:
        for name in ("cohort_ecgs", "ecgs"):
            if getattr(self, name) < 1:
                raise ECGError(f"An audit of {getattr(self, name)} {name.replace('_', ' ')} shows nothing; give more.")
        if not self.names:
            raise ECGError("An audit needs a model: give one seed or more, or checkpoints.")
        if len(set(self.names)) < len(self.names):
            raise ECGError("A model was given twice; give each once.")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        return self.checkpoints or tuple(f"seed {seed}" for seed in self.seeds)


@dataclass(frozen=True)
class Case:
    """A prediction to explain: a row of the store, one of its true codes, leads and times of the simulated evidence."""

    row: int
    code: str
    patient_id: int
    leads: tuple[str, ...]
    spans_s: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class AuditRun:
    """An audit with its store, cases and probes."""

    plan: AuditPlan
    out: Path
    store: Store
    cases: tuple[Case, ...]
    probes: dict

    def parts(self) -> Iterator["Part"]:
        """All parts, trained models before randomized ones."""
        rows = list(dict.fromkeys(case.row for case in self.cases))
        for stage in (LEARNED, *STAGES):
            chosen = rows if stage == LEARNED else rows[: self.plan.randomized_ecgs]
            # All models in turn, so that an interrupted audit has the same ECGs of each.
            for start in range(0, len(chosen), ECGS_PER_PART):
                for number in range(len(self.plan.names)) if stage == LEARNED else (0,):
                    yield Part(number, stage, start // ECGS_PER_PART, tuple(chosen[start : start + ECGS_PER_PART]))


@dataclass(frozen=True)
class Part:
    """A few ECGs explained with one model, as trained or randomized."""

    model: int
    stage: str
    number: int
    rows: tuple[int, ...]

    def file(self, out: Path) -> Path:
        """The file in which the attributions are kept."""
        return out / "parts" / f"model{self.model}" / self.stage.replace(" ", "_") / f"{self.number:03d}.npz"


def prepare_audit(plan: AuditPlan, out: Path, *, workers: int = 1, progress: bool = True) -> AuditRun:
    """Simulate the cohort, pretrain and probe the models and choose the cases, each if it is missing."""
    _keep_plan(plan, out)
    store = _cohort(plan, out, progress)
    if not plan.checkpoints:
        jobs = [(plan, out, seed, progress and workers == 1) for seed in plan.seeds]
        with tqdm(total=len(jobs), desc="models", unit="model", disable=not progress) as bar:
            in_parallel(_pretrain, jobs, workers, bar, out)
    probes = _probes(plan, store, out, progress)
    return AuditRun(plan, out, store, _cases(plan, store, out, probes, progress), probes)


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
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept["train"] = asdict(TrainConfig()) | kept.get(
            "train", {}
        )  # settings that an earlier version did not have were off
        for name, value in now.items():
            if kept.get(name) != value:
                raise ECGError(
                    f"{out} holds an audit with {name} = {kept.get(name)}, not {value}; choose another folder, or the"
                    " same options to resume."
                )
    write_json(path, now)


def _cohort(plan: AuditPlan, out: Path, progress: bool) -> Store:
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
    store = Store.open(out / "store")
    torch.manual_seed(seed)
    model, train = LAMAE(plan.model), replace(plan.train, seed=seed)
    folder = out / "models" / f"seed{seed}"
    pretrain(model, store, store.rows(Split.of(store).train), folder, train, progress=progress)


def load_model(plan: AuditPlan, out: Path, number: int) -> LAMAE:
    """One of the audited models."""
    folder = plan.checkpoints[number] if plan.checkpoints else out / "models" / f"seed{plan.seeds[number]}" / CHECKPOINT
    return LAMAE.from_pretrained(folder).eval()


def _probes(plan: AuditPlan, store: Store, out: Path, progress: bool) -> dict:
    """Fit a probe on each model and keep it; returns each code's AUROC on test patients, one per model."""
    path = out / PROBES_FILE
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    split = Split.of(store)
    rows, codes = store.rows(split.folds), codes_to_predict(store, split)
    aurocs_by_code: dict[str, list[float]] = {code: [] for code in codes}
    models = [load_model(plan, out, number) for number in range(len(plan.names))]
    shapes = {(model.config.max_patches, model.config.patch_samples) for model in models}
    if len(shapes) > 1:
        raise ECGError("The checkpoints have different patches, so their attributions cannot be compared.")
    for number, model in enumerate(models):
        embedding = embed_rows(model, store, rows, progress=progress)
        evaluation = evaluate(
            embedding, store.index.iloc[rows], codes, split=split, representation=plan.representation, n_bootstrap=1
        )
        folder = out / "probes" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        evaluation.probe.save(folder)
        for code, auroc in zip(codes, evaluation.auroc.value, strict=True):
            aurocs_by_code[code].append(float(auroc))
    write_json(path, aurocs_by_code)
    return aurocs_by_code


def _cases(plan: AuditPlan, store: Store, out: Path, probes: dict, progress: bool) -> tuple[Case, ...]:
    """Test ECGs with all twelve leads, chosen at random, and those of their true codes that all models predict.

    The store does not hold the evidence, so the same patients are simulated again.
    """
    path = out / CASES_FILE
    if not path.is_file():
        write_json(path, {"cases": [asdict(case) for case in _choose_cases(plan, store, probes, progress)]})
    return tuple(
        Case(**case | {"leads": tuple(case["leads"]), "spans_s": tuple(map(tuple, case["spans_s"]))})
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
    )


def _choose_cases(plan: AuditPlan, store: Store, probes: dict, progress: bool) -> list[Case]:
    predicted = {code for code, aurocs in probes.items() if min(aurocs) > plan.least_auroc}
    complete = store.batch(np.arange(len(store))).lead_mask.all(dim=1).numpy()
    rows = [
        row
        for row in store.rows(Split.of(store).test)
        if complete[row] and predicted & set(store.index.codes.iloc[row])
    ]
    if not rows:
        raise ECGError(
            f"No test ECG has a code that all models predict with an AUROC above {plan.least_auroc:g}; use better"
            " models or a larger cohort."
        )
    chosen = np.random.default_rng([plan.cohort_seed, 20]).permutation(rows)[: plan.ecgs].tolist()
    simulated = simulate_patients(len(store), plan.cohort_seed, sampling_rate_hz=store.sampling_rate_hz)
    bar = tqdm(simulated, total=len(store), desc="simulating again", unit="ECG", disable=not progress)
    truths = {row: ecg.truth for row, ecg in enumerate(bar) if row in set(chosen)}
    return [
        Case(row, code, int(store.index.patient_id.iloc[row]), truth.evidence_leads[code], truth.evidence_spans_s[code])
        for row, truth in ((row, truths[row]) for row in chosen)
        for code in truth.codes
        if code in predicted
    ]


def load_audit_run(audited: AuditRun, number: int) -> tuple[LAMAE, Probe]:
    """One of the models and its probe, from their files."""
    return load_model(audited.plan, audited.out, number), Probe.load(audited.out / "probes" / str(number))
