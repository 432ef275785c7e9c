"""Pretraining and fine-tuning."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__, {"training.trainer": "TrainConfig pretrain", "training.run": "read_log", "training.presets": "SIZES"}
)
