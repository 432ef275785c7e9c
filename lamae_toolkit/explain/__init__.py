"""What each lead contributes to a prediction."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "attention_summary": "explain.encoded",
        "electrodes_reversed": "explain.counterfactuals",
        "usual_perturbations": "explain.counterfactuals",
        "what_if": "explain.counterfactuals",
        "attribute_leads": "explain.lead_shapley",
        "lead_shapley": "explain.lead_shapley",
        "encode_ecg": "explain.encoded",
        "attention_rollout": "explain.saliency",
        "gradient_attention": "explain.saliency",
        "gradient_input": "explain.saliency",
        "shapley_values": "explain.shapley",
        "reconstruct_masked": "explain.reconstruction",
    },
)
