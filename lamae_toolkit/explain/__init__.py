"""What each lead contributes to a prediction."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "explain.architecture": "model_steps",
        "explain.attention": "lead_attention roll_up",
        "explain.counterfactuals": "electrodes_reversed leads_reconstructed leads_reversed scaled_leads"
        " usual_perturbations what_if without_leads",
        "explain.encoded": "attention_summary encode_ecg",
        "explain.guess": "guess_errors",
        "explain.lead_shapley": "attribute_leads",
        "explain.reconstruction": "as_read masked_errors mean_error reconstruct_masked shipped_pair",
        "explain.saliency": "attention_rollout gradient_attention gradient_input",
        "explain.shapley": "shapley_values",
        "explain.terms": "batch_lead_terms lead_terms store_lead_terms",
    },
)
