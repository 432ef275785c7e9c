"""LAMAE and its baselines."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "model.masking": "range_mask named_lead_mask random_mask visible_patches",
        "model.lamae": "LAMAE",
        "model.config": "LAMAEConfig",
        "model.outputs": "Embedding",
        "model.baselines": "IndependentMAE AlignmentMAE AverageJoint",
        "model.hooks": "record_attention edit_attention attention_names",
    },
)
