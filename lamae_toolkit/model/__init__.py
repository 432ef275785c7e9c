"""LAMAE and its baselines."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "range_mask": "model.masking",
        "LAMAE": "model.lamae",
        "LAMAEConfig": "model.config",
        "Embedding": "model.outputs",
        "IndependentMAE": "model.baselines",
        "AlignmentMAE": "model.baselines",
        "AverageJoint": "model.baselines",
        "record_attention": "model.hooks",
        "edit_attention": "model.hooks",
        "attention_names": "model.hooks",
        "named_lead_mask": "model.masking",
        "random_mask": "model.masking",
        "visible_patches": "model.masking",
        "whole_lead_mask": "model.masking",
    },
)
