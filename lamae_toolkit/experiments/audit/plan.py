"""The plan of an audit, its models and probes, and the predictions to explain.

On simulated ECGs, models and probes learn from training patients of the cohort, and test patients are explained. On
PTB-XL, whose ECGs are few, the probes are fitted in turns over the folds, so that all ECGs can be explained by a probe
that has not seen the patient; models pretrain without labels on all folds but 9 and 10, as the shipped weights did.
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
from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict
from lamae_toolkit.evaluation.linear_probe import Probe, features, fit_probe
from lamae_toolkit.evaluation.metrics import auroc
from lamae_toolkit.experiments.audit.methods import REPRESENTATION, STAGES
from lamae_toolkit.experiments.comparison.plans import BUDGET
from lamae_toolkit.experiments.cross_fit import cross_fitted
from lamae_toolkit.experiments.shipped_weights import SEEN
from lamae_toolkit.experiments.textbook import MINIMUM, TERRITORIES
from lamae_toolkit.files import write_json
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.parallel import worker_pool
from lamae_toolkit.simulate.conditions import CONDITIONS
from lamae_toolkit.simulate.simulator import simulate_patients
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain

AUDIT_PLAN_FILE, CASES_FILE, PROBES_FILE = "plan.json", "cases.json", "probes.json"
LEARNED = "learned"
"""The stage of a model as it was trained."""
REPRESENTATIONS = tuple(dict.fromkeys(REPRESENTATION.values()))
STATEMENTS = ("IMI", "ASMI", "AMI", "ALMI", "LMI", "CRBBB", "CLBBB", "LVH")
"""PTB-XL's statements to explain: infarctions, bundle branch blocks and hypertrophy, which have a territory."""
SHAPED = ("QRS", "ST", "T")
"""Waves whose changes show in some leads and not in others; a rhythm shows in every lead."""


@dataclass(frozen=True)
class AuditPlan:
    """The models and ECGs of an audit.

    store: a store of PTB-XL; "" for simulated ECGs. checkpoints: folders of pretrained models; none to pretrain one for
    each of `seeds`. cohort_seed: the seed of the simulated patients. ecgs: how many ECGs of patients that the probe has
    not seen are explained. occluded_ecgs: of how many of them every subset of leads is predicted from, which is most of
    the cost; randomized_ecgs: how many are also explained with randomized models. least_auroc: a code is explained if
    the probes on "leads" of all models predict it better than that.
    """

    store: str = ""
    checkpoints: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    cohort_ecgs: int = 3000
    cohort_seed: int = 0
    ecgs: int = 120
    occluded_ecgs: int = 120
    randomized_ecgs: int = 40
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
    """A prediction to explain: a row of the store, one of its true codes, and where the code is to be seen.

    code: an ICD-10 code, or a statement of PTB-XL. probe: the number of the probe, which has not seen the patient.
    leads: that show the code: where the simulator put it, or its territory; none where it shows in every lead. spans_s:
    the times of the simulated evidence.
    """

    row: int
    code: str
    patient_id: int
    probe: int
    leads: tuple[str, ...]
    spans_s: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class AuditRun:
    """An audit with its store and cases, and the AUROC of the probes: by representation and code, model by model."""

    plan: AuditPlan
    out: Path
    store: Store
    cases: tuple[Case, ...]
    aurocs: dict[str, dict[str, list[float]]]

    def parts(self) -> Iterator["Part"]:
        """All parts, trained models before randomized ones, ECG by ECG."""
        rows = list(dict.fromkeys(case.row for case in self.cases))
        for stage in (LEARNED, *STAGES):
            for number, row in enumerate(rows if stage == LEARNED else rows[: self.plan.randomized_ecgs]):
                occluded = number < self.plan.occluded_ecgs and stage in (LEARNED, tuple(STAGES)[-1])
                # All models in turn, so that an interrupted audit has the same ECGs of each.
                for model in range(len(self.plan.names)) if stage == LEARNED else (0,):
                    yield Part(model, stage, row, occluded)


@dataclass(frozen=True)
class Part:
    """One ECG explained with one model, as trained or randomized; occluded: also by predictions from less of it."""

    model: int
    stage: str
    row: int
    occluded: bool

    def file(self, out: Path) -> Path:
        """The file in which the attributions are kept."""
        return out / "parts" / f"model{self.model}" / self.stage.replace(" ", "_") / f"{self.row:05d}.npz"


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


def load_model(plan: AuditPlan, out: Path, number: int) -> LAMAE:
    """One of the audited models."""
    folder = plan.checkpoints[number] if plan.checkpoints else out / "models" / f"seed{plan.seeds[number]}" / CHECKPOINT
    return LAMAE.from_pretrained(folder).eval()


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
                probe.save(out / "probes" / str(number), _probe_file(representation, which))
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
    if "statements" not in store.index:
        raise ECGError(f"{store.folder} has no statements; give a store of PTB-XL.")
    positives = store.index.statements.explode().value_counts()
    codes = tuple(name for name in STATEMENTS if positives.get(name, 0) >= MINIMUM)
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


def _probe_file(representation: str, which: int) -> str:
    return f"{representation}{which}.json"


def load_probe(out: Path, model: int, representation: str, which: int) -> Probe:
    """One of the probes that were fitted on a model, from its file."""
    return Probe.load(out / "probes" / str(model), _probe_file(representation, which))


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
