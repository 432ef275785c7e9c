"""The comparisons that the toolkit offers, each as a function that returns a complete plan."""

from collections.abc import Callable
from dataclasses import replace

from lamae_toolkit.baselines import RIVALS
from lamae_toolkit.compare import Plan, Variant
from lamae_toolkit.config import LAMAEConfig
from lamae_toolkit.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.datasets.simulated import SILENT_CODES
from lamae_toolkit.ecg import ECGError
from lamae_toolkit.evaluate import Split, codes_to_predict
from lamae_toolkit.store import Store
from lamae_toolkit.train import TrainConfig

SMALL = LAMAEConfig(width=96, heads=2, pooling_heads=2, decoder_width=48, decoder_heads=2)
"""The size of the comparisons: every cell pretrains in about two minutes on one core."""

BUDGET = TrainConfig(steps=700, batch_size=16, warmup_steps=40, log_every=20, save_every=200)

PRETRAINED = {name: Variant(name) for name in RIVALS}
"""All models that share LAMAE's sizes, each probed."""

ALL = PRETRAINED | {
    "LAMAE, fine-tuned": Variant("LAMAE", method="fine-tune"),
    "independent leads, fine-tuned": Variant("independent leads", method="fine-tune"),
    "random encoder, fine-tuned": Variant("random encoder", method="fine-tune"),
    "convolutional network": Variant(method="network"),
    "hand-made features": Variant(method="hand-made"),
}

OPEN_CHOICES = {
    "default": {},
    "tokens: cls": {"tokens": "cls"},
    "tokens: induced": {"tokens": "induced"},
    "lead embedding": {"lead_embedding": True},
    "mask ratio 0.5": {"mask_ratio": 0.5},
    "mask ratio 0.9": {"mask_ratio": 0.9},
    "masking: random patches": {"hidden_leads": 0},
    "masking: whole leads": {"mask_ratio": 0.0, "hidden_leads": 6},
    "masking: 4 whole leads more": {"hidden_leads": 4},
    "pooling: mean": {"pooling": "mean"},
    "decoder hears: heart token only": {"heart": "token"},
    "no latent attention": {"encoder_depth": 3, "latent_depth": 0},
    "latent attention: 2 of 3 layers": {"encoder_depth": 1, "latent_depth": 2},
    "per-record normalisation": {"normalisation": "record"},
    "amplitude input": {"amplitude_input": True},
}
"""The open choices of LAMAE: what each row changes of the default. Depths share the same three layers."""


def ptbxl(store: Store) -> Plan:
    """LAMAE against its rivals on PTB-XL: superclasses and ICD-10 codes with at least 30 positives.

    Four rotations: each pair of the folds 1 to 8 is the test set once, the fold after it is for validation, and the
    other five are for pretraining and probes. Folds 9 and 10 are in none. Command: `lamae compare ptbxl`. Cost: about
    75 minutes on two cores for the pretrained models.
    """
    splits = tuple(_rotation(first) for first in (1, 3, 5, 7))
    folds = store.index.fold.isin(range(1, 9))
    counts = store.index.codes[folds].explode().value_counts()
    codes = tuple(sorted(code for code, positives in counts.items() if positives >= 30))
    if "superclasses" not in store.index or not codes:
        raise ECGError(f"{store.folder} is not PTB-XL, or holds too little of it; pack it with `lamae compare ptbxl`.")
    return Plan("ptbxl", ALL, {"superclasses": SUPERCLASSES, "codes": codes}, splits, SMALL, BUDGET)


def simulated(store: Store) -> Plan:
    """LAMAE against its rivals on simulated patients, with codes that are visible in the ECG and codes that are not."""
    split = Split()
    tasks = {"codes": codes_to_predict(store, split), "silent_codes": SILENT_CODES}
    return Plan("simulated", ALL, tasks, (split,), SMALL, BUDGET)


def ablation(store: Store) -> Plan:
    """The open choices of LAMAE, one at a time, scored on validation folds of PTB-XL that no test touches."""
    variants = {name: Variant("LAMAE", changes) for name, changes in OPEN_CHOICES.items()}
    return Plan(
        "ablation", variants, {"superclasses": SUPERCLASSES}, (_tuning(1),), SMALL, BUDGET,
        fractions=(1.0,), subsets=("12 leads",),
    )  # fmt: skip


PLANS: dict[str, Callable[[Store], Plan]] = {"ptbxl": ptbxl, "simulated": simulated, "ablation": ablation}


def _rotation(first: int) -> Split:
    """Test on folds `first` and the next one, validate on the one after, learn from the other five of 1 to 8."""
    test, validation = (first, first + 1), ((first + 1) % 8 + 1,)
    return Split(tuple(fold for fold in range(1, 9) if fold not in test + validation), validation, test)


def _tuning(first: int) -> Split:
    """The same rotation without its test folds: scored on its validation fold, penalties from a training fold."""
    split = _rotation(first)
    return replace(split, train=split.train[:-1], validation=split.train[-1:], test=split.validation)
