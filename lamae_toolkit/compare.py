"""The comparison of pretraining methods: cells of rival, rotation and seed, each computed once, and their scores."""

import json
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from lamae_toolkit.baselines import RIVALS, RandomEncoder
from lamae_toolkit.config import LAMAEConfig
from lamae_toolkit.ecg import LEAD_SUBSETS, ECGError
from lamae_toolkit.evaluate import Split, embed_rows
from lamae_toolkit.files import written_whole
from lamae_toolkit.handmade import handmade_table
from lamae_toolkit.icd10 import label_matrix
from lamae_toolkit.model import LAMAE
from lamae_toolkit.probe import REPRESENTATIONS, features, fit_probe
from lamae_toolkit.store import Store
from lamae_toolkit.supervised import FineTuned, SupervisedConfig, XResNet1d, fit_supervised, supervised_logits
from lamae_toolkit.train import TrainConfig, pretrain

CELLS, PLAN_FILE, SCORES_FILE, FEATURES_FILE = "cells", "plan.json", "scores.npz", "handmade.parquet"


METHODS = ("probe", "fine-tune", "network", "hand-made")


@dataclass(frozen=True)
class Variant:
    """One row of the comparison.

    method: "probe", a frozen model and linear read-outs; "fine-tune", the same trained on labels; "network", a
    convolutional network trained on labels from scratch; "hand-made", measured features and boosted trees.
    rival: the model, from RIVALS. changes: the choices of its configuration that differ from the plan's.
    """

    rival: str = "LAMAE"
    changes: Mapping[str, object] = field(default_factory=dict)
    method: str = "probe"

    def __post_init__(self) -> None:
        if self.method not in METHODS or self.rival not in RIVALS:
            raise ECGError(f"There is no variant of {self.rival!r} by {self.method!r}.")

    def model(self, config: LAMAEConfig) -> LAMAE:
        """The untrained model."""
        return RIVALS[self.rival](replace(config, **self.changes))


@dataclass(frozen=True)
class Plan:
    """What is compared with what, on which patients, with which budget.

    tasks: the columns of the store's index that are predicted, each with its classes; "codes" are ICD-10 codes.
    splits: the rotations. Pretraining and probes learn from a split's training folds, penalties are chosen on
    its validation folds, and its test folds are only scored. fractions: shares of the training patients whose
    labels a probe gets. subsets: the lead sets (see LEAD_SUBSETS) on which probes are fitted and scored.
    """

    name: str
    variants: Mapping[str, Variant]
    tasks: Mapping[str, tuple[str, ...]]
    splits: tuple[Split, ...]
    model: LAMAEConfig
    train: TrainConfig
    seeds: tuple[int, ...] = (0, 1, 2)
    fractions: tuple[float, ...] = (0.01, 0.1, 1.0)
    subsets: tuple[str, ...] = tuple(LEAD_SUBSETS)
    fine_tuning: SupervisedConfig = field(default_factory=lambda: SupervisedConfig(epochs=4, learning_rate=3e-4))
    network: SupervisedConfig = field(default_factory=SupervisedConfig)

    def pretrained(self, variant: str) -> str:
        """The variant whose pretraining this one takes over: fine-tuning goes on from a probed model."""
        wanted = replace(self.variants[variant], method="probe")
        names = [name for name, other in self.variants.items() if other == wanted]
        if not names:
            raise ECGError(f"{variant!r} fine-tunes a model that the comparison {self.name!r} does not pretrain.")
        return names[0]

    def cells(self) -> Iterator["Cell"]:
        """All cells, in an order in which an interrupted comparison has treated all variants alike."""
        for seed in self.seeds:
            for rotation in range(len(self.splits)):
                for variant in self.variants:
                    yield Cell(variant, rotation, seed)

    def to_dict(self) -> dict:
        """The plan as plain values, for JSON."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Cell:
    """One pretraining and its probes: a variant, a rotation of the folds and a seed."""

    variant: str
    rotation: int
    seed: int

    def folder(self, out: Path) -> Path:
        """Where the cell keeps its checkpoint, log and scores."""
        slug = "".join(letter if letter.isalnum() else "_" for letter in self.variant.lower())
        return out / CELLS / slug / f"rotation{self.rotation}_seed{self.seed}"


def labels_of(index: pd.DataFrame, task: str, classes: tuple[str, ...]) -> UInt8[np.ndarray, "b c"]:
    """For each ECG of the index, a 1 where it has the class of that column."""
    if task not in index:
        raise ECGError(f"The store has no column {task!r} to predict.")
    if task == "codes":
        return label_matrix(index.codes.tolist(), classes)
    return np.array([[name in present for name in classes] for present in index[task]], dtype=np.uint8)


def run_cells(
    plan: Plan,
    store: Store,
    out: Path | str,
    *,
    workers: int = 1,
    device: str = "cpu",
    stop_after: int | None = None,
    progress: bool = True,
) -> None:
    """Compute all cells that are not there yet, several at a time; after an interruption the same call goes on.

    Each worker computes on one thread when there are several. stop_after: so many new cells at most.
    Raises ECGError if `out` holds another comparison.
    """
    out = Path(out)
    _keep_plan(plan, store, out)
    cells = [cell for cell in plan.cells() if not (cell.folder(out) / SCORES_FILE).is_file()]
    done = sum(1 for _ in plan.cells()) - len(cells)
    cells = cells[:stop_after]
    with tqdm(total=done + len(cells), initial=done, desc=plan.name, unit="cell", disable=not progress) as bar:
        if workers == 1:
            for cell in cells:
                run_cell(plan, store, out, cell, device=device, progress=progress)
                bar.update()
            return
        # Fresh processes: a forked one would inherit threads that are gone.
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread)
        last = [
            cell for cell in cells if plan.variants[cell.variant].method == "fine-tune"
        ]  # need what others pretrain
        try:
            for wave in ([cell for cell in cells if cell not in last], last):
                jobs = [pool.submit(_run_cell, plan, store.folder, out, cell, device) for cell in wave]
                for job in as_completed(jobs):
                    job.result()
                    bar.update()
        except BaseException:
            for process in (pool._processes or {}).values():
                process.terminate()  # their checkpoints are whole: the next run goes on from them
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


def _run_cell(plan: Plan, store: Path, out: Path, cell: Cell, device: str) -> None:
    run_cell(plan, Store.open(store), out, cell, device=device, progress=False)


def run_cell(
    plan: Plan, store: Store, out: Path, cell: Cell, *, device: str = "cpu", progress: bool = True
) -> dict[str, np.ndarray]:
    """Compute one cell: pretrain if need be, learn from the labels, and keep the scores of the test ECGs.

    The scores are log-odds, one array (test ECGs, classes) under each `score_key`; also kept, as "rows", are
    the rows of the test ECGs in the store.
    """
    split, folder, variant = plan.splits[cell.rotation], cell.folder(out), plan.variants[cell.variant]
    torch.manual_seed(cell.seed)
    if variant.method == "probe":
        model = _pretrained(plan, store, out, cell, device, progress)
        scores = probe_scores(plan, store, model, split, cell.seed, device=device, progress=progress)
    elif variant.method == "hand-made":
        scores = handmade_scores(plan, store, out, split, cell.seed, progress=progress)
    else:
        model = None
        if variant.method == "fine-tune":
            source = Cell(plan.pretrained(cell.variant), cell.rotation, cell.seed)
            model = _pretrained(plan, store, out, source, device, progress)
        scores = supervised_scores(plan, store, model, split, cell.seed, device=device, progress=progress)
    with written_whole(folder / SCORES_FILE) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **scores)
    return scores


def _pretrained(plan: Plan, store: Store, out: Path, cell: Cell, device: str, progress: bool) -> LAMAE:
    """The pretrained model of a cell; at once if its checkpoint is complete."""
    model = plan.variants[cell.variant].model(plan.model)
    if not isinstance(model, RandomEncoder):
        rows, train = store.rows(plan.splits[cell.rotation].train), replace(plan.train, seed=cell.seed)
        pretrain(model, store, rows, cell.folder(out), train, device=device, progress=progress)
    return model.eval()


def score_key(task: str, representation: str, fraction: float, subset: str) -> str:
    """The name of one array of scores."""
    return f"{task}|{representation}|{fraction:g}|{subset}"


@dataclass(frozen=True)
class _Parts:
    """The ECGs of a split: rows of the store, and which of them learn, choose and are scored."""

    rows: np.ndarray
    index: pd.DataFrame
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, store: Store, split: Split) -> "_Parts":
        rows = store.rows([*split.train, *split.validation, *split.test])
        index = store.index.iloc[rows]
        return cls(
            rows, index, *(np.flatnonzero(index.fold.isin(f)) for f in (split.train, split.validation, split.test))
        )

    def labelled(self, fraction: float, seed: int) -> np.ndarray:
        """The training ECGs of this share of the patients; a smaller share is part of a larger one."""
        patients = self.index.patient_id.to_numpy()[self.train]
        unique = np.unique(patients)
        drawn = np.random.default_rng(seed).permutation(unique)[: max(1, round(fraction * len(unique)))]
        return self.train[np.isin(patients, drawn)]


def _learnable(labels: np.ndarray) -> np.ndarray:
    """The columns of which there are both ECGs with the class and without it."""
    return np.flatnonzero((labels.min(axis=0) == 0) & (labels.max(axis=0) == 1))


def probe_scores(
    plan: Plan, store: Store, model: LAMAE, split: Split, seed: int, *, device: str = "cpu", progress: bool = True
) -> dict[str, np.ndarray]:
    """The log-odds of the test ECGs for every task, representation, label fraction and lead set of the plan.

    Label fractions are probed on the full lead set, lead sets with all labels. A class of which the labelled
    ECGs have none, or nothing else, cannot be learned: its score is 0 for all, an AUROC of 0.5.
    """
    parts = _Parts.of(store, split)
    scores: dict[str, np.ndarray] = {"rows": parts.rows[parts.test]}
    for subset in plan.subsets:
        leads = LEAD_SUBSETS[subset]
        embedding = embed_rows(model, store, parts.rows, device=device, progress=progress, leads=leads)
        for fraction in plan.fractions if subset == plan.subsets[0] else (1.0,):
            labelled = parts.labelled(fraction, seed)
            for task, classes in plan.tasks.items():
                labels = labels_of(parts.index, task, classes)
                can = _learnable(labels[labelled])
                for representation in REPRESENTATIONS:
                    x = features(embedding, representation)
                    logits = np.zeros((len(parts.test), len(classes)), dtype=np.float32)
                    if len(can):
                        names = [classes[column] for column in can]
                        probe = fit_probe(
                            x, labels[:, can], names, labelled, parts.validation, representation=representation
                        )
                        logits[:, can] = probe.logits(x[parts.test])
                    scores[score_key(task, representation, fraction, subset)] = logits
    return scores


def supervised_scores(
    plan: Plan,
    store: Store,
    model: LAMAE | None,
    split: Split,
    seed: int,
    *,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """The log-odds of the test ECGs from a network that learned all tasks together, for each label fraction.

    model: the pretrained model to fine-tune on all its lead latents, or None for a convolutional network.
    """
    parts = _Parts.of(store, split)
    scores: dict[str, np.ndarray] = {"rows": parts.rows[parts.test]}
    together = np.concatenate([labels_of(store.index, task, classes) for task, classes in plan.tasks.items()], axis=1)
    if model is not None:
        x = features(embed_rows(model, store, parts.rows, device=device, progress=progress), "per_lead")
    for fraction in plan.fractions:
        labelled = parts.labelled(fraction, seed)
        can = _learnable(together[parts.rows[labelled]])
        labels = together[:, can]
        config = replace(plan.network if model is None else plan.fine_tuning, seed=seed)
        config = replace(config, batch_size=min(config.batch_size, len(labelled)))
        if model is None:
            network: torch.nn.Module = XResNet1d(len(can))
        else:
            names = [str(column) for column in can]
            probe = fit_probe(x, labels[parts.rows], names, labelled, parts.validation, representation="per_lead")
            network = FineTuned(model, probe)
        learned = fit_supervised(
            network, store, parts.rows[labelled], parts.rows[parts.validation], labels, config,
            device=device, progress=progress,
        )  # fmt: skip
        logits = np.zeros((len(parts.test), together.shape[1]), dtype=np.float32)
        logits[:, can] = supervised_logits(learned, store, parts.rows[parts.test], device=device)
        scores |= _by_task(plan, logits, "trained", fraction)
    return scores


def handmade_scores(
    plan: Plan, store: Store, out: Path, split: Split, seed: int, *, progress: bool = True
) -> dict[str, np.ndarray]:
    """The log-odds of the test ECGs from gradient-boosted trees on hand-made features, for each label fraction."""
    parts = _Parts.of(store, split)
    every = np.concatenate([store.rows([*s.train, *s.validation, *s.test]) for s in plan.splits])
    table = _measured(store, np.unique(every), out, progress)
    x = table.loc[parts.rows].to_numpy()
    scores: dict[str, np.ndarray] = {"rows": parts.rows[parts.test]}
    labels = np.concatenate([labels_of(parts.index, task, classes) for task, classes in plan.tasks.items()], axis=1)
    for fraction in plan.fractions:
        labelled = parts.labelled(fraction, seed)
        logits = np.zeros((len(parts.test), labels.shape[1]), dtype=np.float32)
        for column in _learnable(labels[labelled]):
            trees = HistGradientBoostingClassifier(
                learning_rate=0.05, max_iter=150, max_leaf_nodes=8, min_samples_leaf=min(20, len(labelled) // 4 + 1),
                early_stopping=False, random_state=seed,
            )  # fmt: skip
            trees.fit(x[labelled], labels[labelled, column])
            logits[:, column] = trees.decision_function(x[parts.test])
        scores |= _by_task(plan, logits, "trained", fraction)
    return scores


def _measured(store: Store, rows: np.ndarray, out: Path, progress: bool) -> pd.DataFrame:
    """The hand-made features of all ECGs of the comparison, measured once."""
    path = out / FEATURES_FILE
    if not path.is_file():
        table = handmade_table(store, rows, progress=progress).set_index(pd.Index(rows, name="row"))
        with written_whole(path) as partial:
            table.to_parquet(partial)
    return pd.read_parquet(path)


def _by_task(plan: Plan, logits: np.ndarray, representation: str, fraction: float) -> dict[str, np.ndarray]:
    """The columns of all tasks, handed back to their tasks."""
    ends = np.cumsum([len(classes) for classes in plan.tasks.values()])[:-1]
    columns = np.split(logits, ends, axis=1)
    return {
        score_key(task, representation, fraction, plan.subsets[0]): part
        for task, part in zip(plan.tasks, columns, strict=True)
    }


def _keep_plan(plan: Plan, store: Store, out: Path) -> None:
    """Write the plan beside its cells; refuse a folder that holds another one."""
    now = plan.to_dict() | {"data": f"{store.meta['source']}, {len(store)} ECGs"}
    path = out / PLAN_FILE
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        for name in now:
            # More seeds and more variants may be added to a comparison; what is there stays as it is.
            if name not in ("seeds", "variants") and kept.get(name) != now[name]:
                raise ECGError(f"{out} holds a comparison with another {name}; choose another folder.")
        for name, variant in now["variants"].items():
            if kept["variants"].get(name, variant) != variant:
                raise ECGError(f"{out} holds a comparison in which {name!r} is another model; choose another folder.")
        now["variants"] = kept["variants"] | now["variants"]
        now["seeds"] = sorted({*kept["seeds"], *now["seeds"]})
    with written_whole(path) as partial:
        partial.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
