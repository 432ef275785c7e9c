"""Pretraining and fine-tuning."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "TrainConfig": "training.trainer",
        "pretrain": "training.trainer",
        "read_log": "training.run",
        "SIZES": "training.presets",
    },
)
