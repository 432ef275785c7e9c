"""Learning from labels in one cell of a comparison: probes, networks and trees, and their scores on test ECGs."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEAD_SUBSETS
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.evaluate import Split
from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS, features, fit_probe
from lamae_toolkit.experiments.comparison.ecg_features import handmade_table
from lamae_toolkit.experiments.comparison.plans import Plan, score_key
from lamae_toolkit.experiments.comparison.xresnet import XResNet1d
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.finetune import FineTuned, fit_supervised, supervised_logits

FEATURES_FILE = "handmade.parquet"


@dataclass(frozen=True)
class _Parts:
    """The ECGs of a split: rows of the store, and indices of training, validation and test."""

    rows: np.ndarray
    index: pd.DataFrame
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, store: Store, split: Split) -> "_Parts":
        rows = store.rows(split.folds)
        index = store.index.iloc[rows]
        return cls(rows, index, *split.indices(index))

    def labeled(self, fraction: float, seed: int) -> np.ndarray:
        """The training ECGs of this share of the patients; a smaller share is part of a larger one."""
        patients = self.index.patient_id.to_numpy()[self.train]
        unique = np.unique(patients)
        sampled = np.random.default_rng(seed).permutation(unique)[: max(1, round(fraction * len(unique)))]
        return self.train[np.isin(patients, sampled)]


def _learnable(labels: np.ndarray) -> np.ndarray:
    """The columns with both positive and negative ECGs."""
    return np.flatnonzero((labels.min(axis=0) == 0) & (labels.max(axis=0) == 1))


def probe_scores(
    plan: Plan, store: Store, model: LAMAE, split: Split, seed: int, *, device: str = "cpu", progress: bool = True
) -> dict[str, np.ndarray]:
    """The log-odds of the test ECGs for every task, representation, label fraction and lead set of the plan.

    Label fractions are probed on the full lead set, lead sets with all labels. A class that none or all of
    the labeled ECGs have cannot be learned: its score is 0 for all, an AUROC of 0.5.
    """
    parts = _Parts.of(store, split)
    scores: dict[str, np.ndarray] = {"rows": parts.rows[parts.test]}
    labels_by_task = {task: labels_of(parts.index, task, classes) for task, classes in plan.tasks.items()}
    for subset in plan.subsets:
        leads = LEAD_SUBSETS[subset]
        embedding = embed_rows(model, store, parts.rows, device=device, progress=progress, leads=leads)
        for fraction in plan.fractions if subset == plan.subsets[0] else (1.0,):
            labeled = parts.labeled(fraction, seed)
            for task, classes in plan.tasks.items():
                labels = labels_by_task[task]
                can = _learnable(labels[labeled])
                for representation in REPRESENTATIONS:
                    x = features(embedding, representation)
                    logits = np.zeros((len(parts.test), len(classes)), dtype=np.float32)
                    if len(can):
                        names = [classes[column] for column in can]
                        probe = fit_probe(
                            x, labels[:, can], names, labeled, parts.validation, representation=representation
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
    together = _labels_of_all_tasks(plan, store.index)
    if model is not None:
        x = features(embed_rows(model, store, parts.rows, device=device, progress=progress), "per_lead")
    for fraction in plan.fractions:
        labeled = parts.labeled(fraction, seed)
        can = _learnable(together[parts.rows[labeled]])
        logits = np.zeros((len(parts.test), together.shape[1]), dtype=np.float32)
        if len(can):
            labels, config = together[:, can], plan.network if model is None else plan.fine_tuning
            config = replace(config, seed=seed, batch_size=min(config.batch_size, len(labeled)))
            if model is None:
                network: torch.nn.Module = XResNet1d(len(can))
            else:
                names = [str(column) for column in can]
                probe = fit_probe(x, labels[parts.rows], names, labeled, parts.validation, representation="per_lead")
                network = FineTuned(model, probe)
            learned = fit_supervised(
                network,
                store,
                parts.rows[labeled],
                parts.rows[parts.validation],
                labels,
                config,
                device=device,
                progress=progress,
            )
            logits[:, can] = supervised_logits(learned, store, parts.rows[parts.test], device=device)
        scores |= _by_task(plan, logits, fraction)
    return scores


def handmade_scores(
    plan: Plan, store: Store, out: Path, split: Split, seed: int, *, progress: bool = True
) -> dict[str, np.ndarray]:
    """The log-odds of the test ECGs from gradient-boosted trees on hand-made features, for each label fraction."""
    parts = _Parts.of(store, split)
    x = measured(plan, store, out, progress).loc[parts.rows].to_numpy()
    scores: dict[str, np.ndarray] = {"rows": parts.rows[parts.test]}
    labels = _labels_of_all_tasks(plan, parts.index)
    for fraction in plan.fractions:
        labeled = parts.labeled(fraction, seed)
        logits = np.zeros((len(parts.test), labels.shape[1]), dtype=np.float32)
        for column in _learnable(labels[labeled]):
            trees = HistGradientBoostingClassifier(
                learning_rate=0.05,
                max_iter=150,
                max_leaf_nodes=8,
                min_samples_leaf=min(20, len(labeled) // 4 + 1),
                early_stopping=False,
                random_state=seed,
            )
            trees.fit(x[labeled], labels[labeled, column])
            logits[:, column] = trees.decision_function(x[parts.test])
        scores |= _by_task(plan, logits, fraction)
    return scores


def measured(plan: Plan, store: Store, out: Path, progress: bool = True) -> pd.DataFrame:
    """The hand-made features of all ECGs of a comparison, one row each, measured once and kept in `out`."""
    path = out / FEATURES_FILE
    if not path.is_file():
        every = store.rows({fold for split in plan.splits for fold in split.folds})
        table = handmade_table(store, every.tolist(), progress=progress).set_index(pd.Index(every, name="row"))
        with atomic_write(path) as partial:
            table.to_parquet(partial)
    return pd.read_parquet(path)


def _labels_of_all_tasks(plan: Plan, index: pd.DataFrame) -> np.ndarray:
    """The classes of all tasks, concatenated."""
    return np.concatenate([labels_of(index, task, classes) for task, classes in plan.tasks.items()], axis=1)


def _by_task(plan: Plan, logits: np.ndarray, fraction: float) -> dict[str, np.ndarray]:
    """The columns of all tasks, split by task."""
    ends = np.cumsum([len(classes) for classes in plan.tasks.values()])[:-1]
    columns = np.split(logits, ends, axis=1)
    return {
        score_key(task, "trained", fraction, plan.subsets[0]): part
        for task, part in zip(plan.tasks, columns, strict=True)
    }
