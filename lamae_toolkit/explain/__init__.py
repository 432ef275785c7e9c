"""What each lead contributes to a prediction."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "lead_attention": "explain.attention",
        "roll_up": "explain.attention",
        "electrodes_reversed": "explain.counterfactuals",
        "leads_reconstructed": "explain.counterfactuals",
        "leads_reversed": "explain.counterfactuals",
        "scaled_leads": "explain.counterfactuals",
        "usual_perturbations": "explain.counterfactuals",
        "what_if": "explain.counterfactuals",
        "without_leads": "explain.counterfactuals",
        "attention_summary": "explain.encoded",
        "encode_ecg": "explain.encoded",
        "attribute_leads": "explain.lead_shapley",
        "masked_errors": "explain.reconstruction",
        "reconstruct_masked": "explain.reconstruction",
        "shipped_pair": "explain.reconstruction",
        "attention_rollout": "explain.saliency",
        "gradient_attention": "explain.saliency",
        "gradient_input": "explain.saliency",
        "shapley_values": "explain.shapley",
    },
)
