"""Plans of comparisons: models, patients and budgets."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lamae_toolkit.data.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.data.datasets.simulated import SILENT_CODES
from lamae_toolkit.data.labels import frequent_codes
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEAD_SUBSETS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict
from lamae_toolkit.model.baselines import COMPARED_MODELS
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.finetune import SupervisedConfig
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.trainer import TrainConfig

CELLS = "cells"
VARIANT_METHODS = ("probe", "fine-tune", "network", "hand-made")


@dataclass(frozen=True)
class Variant:
    """One row of the comparison.

    method: "probe", a frozen model and linear probes; "fine-tune", the same trained on labels; "network", a
    convolutional network trained on labels from scratch; "hand-made", measured features and boosted trees.
    model_name: the model, from COMPARED_MODELS. changes: the choices of its configuration that differ from the plan's.
    start: the variant whose pretrained model this one begins with, if it does not begin with random weights.
    """

    model_name: str = "LAMAE"
    changes: Mapping[str, Any] = field(default_factory=dict)
    method: str = "probe"
    start: str = ""

    def __post_init__(self) -> None:
        if self.method not in VARIANT_METHODS or self.model_name not in COMPARED_MODELS:
            raise ECGError(f"There is no variant of {self.model_name!r} by {self.method!r}.")

    @property
    def begins(self) -> bool:
        """Whether it continues from no other variant's model."""
        return self.method != "fine-tune" and not self.start

    def model(self, config: LAMAEConfig) -> LAMAE:
        """The untrained model."""
        return COMPARED_MODELS[self.model_name](replace(config, **self.changes))


@dataclass(frozen=True)
class Plan:
    """A comparison: variants, tasks, patients and budget.

    tasks: the columns of the store's index that are predicted, each with its classes; "codes" are ICD-10 codes.
    splits: the rotations. Pretraining and probes learn from a split's training folds, C is chosen on its
    validation folds, and its test folds are only scored. fractions: shares of the training patients whose
    labels a probe gets. subsets: the lead sets (see LEAD_SUBSETS) on which probes are fitted and scored.
    pretraining_folds: where pretraining learns from a store of its own, which of its folds, for each rotation;
    rotations with the same folds share a pretrained model.
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
    pretraining_folds: tuple[tuple[int, ...], ...] = ()

    def pretraining_folder(self, out: Path, cell: "Cell") -> Path:
        """Where the pretrained model of a cell is kept."""
        if not self.pretraining_folds:
            return cell.folder(out)
        folds = "_".join(str(fold) for fold in self.pretraining_folds[cell.rotation])
        return cell.folder(out).parent / f"folds{folds}_seed{cell.seed}"

    def pretrained(self, variant: str) -> str:
        """The variant whose pretrained model this one uses: fine-tuning continues from a probed model."""
        wanted = replace(self.variants[variant], method="probe")
        names = [name for name, other in self.variants.items() if other == wanted]
        if not names:
            raise ECGError(f"{variant!r} fine-tunes a model that the comparison {self.name!r} does not pretrain.")
        return names[0]

    def cells(self) -> Iterator["Cell"]:
        """All cells, ordered so that an interrupted comparison has the same cells of all variants."""
        for seed in self.seeds:
            for rotation in range(len(self.splits)):
                for variant in self.variants:
                    yield Cell(variant, rotation, seed)

    def to_dict(self) -> dict:
        """The plan as plain values, for JSON."""
        plan = json.loads(json.dumps(asdict(self)))
        if not self.pretraining_folds:
            del plan["pretraining_folds"]
        for variant in plan["variants"].values():
            if not variant["start"]:
                del variant["start"]
        return plan


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


def score_key(task: str, representation: str, fraction: float, subset: str) -> str:
    """The name of one array of scores."""
    return f"{task}|{representation}|{fraction:g}|{subset}"


BUDGET = TrainConfig(steps=700, batch_size=16, warmup_steps=40, log_every=20, save_every=200)
"""With the size MINI every cell pretrains in about two minutes on one core."""

PRETRAINED = {name: Variant(name) for name in COMPARED_MODELS}
"""All models that share LAMAE's sizes, each probed."""

ALL = PRETRAINED | {
    "LAMAE, fine-tuned": Variant("LAMAE", method="fine-tune"),
    "independent leads, fine-tuned": Variant("independent leads", method="fine-tune"),
    "random encoder, fine-tuned": Variant("random encoder", method="fine-tune"),
    "convolutional network": Variant(method="network"),
    "hand-made features": Variant(method="hand-made"),
}

OPEN_CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "tokens: cls": {"tokens": "cls"},
    "tokens: induced": {"tokens": "induced"},
    "lead embedding": {"lead_embedding": True},
    "mask ratio 0.5": {"mask_ratio": 0.5},
    "mask ratio 0.9": {"mask_ratio": 0.9},
    "masking: random patches": {"masked_leads": 0},
    "masking: whole leads": {"mask_ratio": 0.0, "masked_leads": 6},
    "masking: 4 more whole leads": {"masked_leads": 4},
    "pooling: mean": {"pooling": "mean"},
    "decoder input: heart token only": {"heart": "token"},
    "no latent attention": {"encoder_depth": 3, "latent_depth": 0},
    "latent attention: 2 of 3 layers": {"encoder_depth": 1, "latent_depth": 2},
    "per-record normalization": {"normalization": "record"},
    "amplitude input": {"amplitude_input": True},
}
"""The open choices of LAMAE: the change of each row from the default. All have the same three layers in total."""


def ptbxl(store: Store) -> Plan:
    """LAMAE against its baselines on PTB-XL: superclasses and ICD-10 codes with at least 30 positives.

    Four rotations: each pair of the folds 1 to 8 is the test set once, the fold after it is for validation, and the
    other five are for pretraining and probes. Folds 9 and 10 are in none. Command: `lamae research compare ptbxl`.
    Cost: about 75 minutes on two cores for the pretrained models.
    """
    splits, codes = tuple(_rotation(first) for first in (1, 3, 5, 7)), frequent_codes(store)
    if "superclasses" not in store.index or not codes:
        raise ECGError(
            f"{store.folder} is not PTB-XL, or holds too little of it; pack it with `lamae research compare ptbxl`."
        )
    return Plan("ptbxl", ALL, {"superclasses": SUPERCLASSES, "codes": codes}, splits, MINI, BUDGET)


def simulated(store: Store) -> Plan:
    """LAMAE against its baselines on simulated patients, with codes that show in the ECG and codes that do not."""
    split = Split()
    tasks = {"codes": codes_to_predict(store, split), "silent_codes": SILENT_CODES}
    return Plan("simulated", ALL, tasks, (split,), MINI, BUDGET)


def ablation(store: Store) -> Plan:
    """The open choices of LAMAE, one at a time, scored on validation folds, never on test folds.

    On PTB-XL the superclasses are predicted. On another cohort, such as a simulated one, its codes: normalization
    and amplitude can only show where the ECGs are in mV, and PTB-XL's z-scored records are not.
    """
    variants = {name: Variant("LAMAE", changes) for name, changes in OPEN_CHOICES.items()}
    if "superclasses" in store.index:
        tasks: dict[str, tuple[str, ...]] = {"superclasses": SUPERCLASSES}
        split = _tuning(_rotation(1), held_out=1)
    else:
        split = _tuning(Split.of(store), held_out=2)
        tasks = {"codes": codes_to_predict(store, split)}
    return Plan(
        "ablation", variants, tasks, (split,), MINI, replace(BUDGET, steps=500), fractions=(1.0,), subsets=("12 leads",)
    )


KNOWS_AMPLITUDE = replace(
    MINI, normalization="visible", amplitude_input=True, linear_path=True, pooling="named", pooling_heads=12
)
"""The size MINI with the choices of `experiments.alternatives`; the baselines take those that they have."""

AT_FULL_LENGTH = {
    "LAMAE": Variant("LAMAE"),
    "average joint": Variant("average joint"),
    "alignment, InfoNCE": Variant("alignment, InfoNCE"),
    "independent leads": Variant("independent leads"),
    "independent leads, mask ratio 0.5": Variant("independent leads", {"mask_ratio": 0.5}),
    "independent leads, mask ratio 0.25": Variant("independent leads", {"mask_ratio": 0.25}),
    "alignment, MSE, after independent leads": Variant("alignment, MSE", start="independent leads"),
    "alignment, cosine, after independent leads": Variant("alignment, cosine", start="independent leads"),
    "random encoder": Variant("random encoder"),
}
"""The random encoder needs no pretraining; what starts from independent leads, only that these are finished."""


def full_length(store: Store) -> Plan:
    """LAMAE against its baselines at full length, each pretrained on ECGs of which it is never tested on a patient.

    Two models of each kind and seed: one pretrained on PTB-XL's folds 1 to 4, one on folds 5 to 8, each with ECGs of
    other sets and simulated ones (fold 0). In each of the rotations of `ptbxl`, probes read the one that saw none of
    the test folds. Command: `lamae research compare full-length --stores runs/stores`.
    """
    plan = ptbxl(store)
    halves = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8))
    folds = tuple(next(half for half in halves if not {*half} & {*split.test}) for split in plan.splits)
    train = TrainConfig(steps=3000, batch_size=16, learning_rate=2e-3, warmup_steps=100, save_every=250)
    return replace(
        plan, name="full-length", variants=AT_FULL_LENGTH, model=KNOWS_AMPLITUDE, train=train, pretraining_folds=folds
    )


PLANS: dict[str, Callable[[Store], Plan]] = {
    "ptbxl": ptbxl,
    "simulated": simulated,
    "ablation": ablation,
    "full-length": full_length,
}


def _rotation(first: int) -> Split:
    """Test on folds `first` and the next one, validate on the one after, learn from the other five of 1 to 8."""
    test, validation = (first, first + 1), ((first + 1) % 8 + 1,)
    return Split(tuple(fold for fold in range(1, 9) if fold not in test + validation), validation, test)


def _tuning(split: Split, held_out: int) -> Split:
    """The same split without its test folds: scored on its validation folds; C from the last training folds."""
    return replace(split, train=split.train[:-held_out], validation=split.train[-held_out:], test=split.validation)
