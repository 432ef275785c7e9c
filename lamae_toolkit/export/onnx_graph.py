"""What an exported model computes of one ECG, as one graph: reconstruction, embedding, attention and prediction.

The steps are those of `LAMAE` and `lamae_toolkit.explain`, called as they are: there is one source of every formula.
"""

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds
from lamae_toolkit.explain.attention import attention_by_layer, latent_attention
from lamae_toolkit.explain.terms import ADDITIVE, terms_of
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.hooks import record_attention
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Latents

INPUTS = ("signal_mv", "lead_mask", "mask")
"""(1, 12, t) in mV; (1, 12), True for a lead that the ECG has; (1, 12, n), True for a masked patch."""


class ONNXGraph(nn.Module):
    """A model and its probe, as a function of one ECG of twelve leads in the order of LEADS.

    names: the outputs, in their order. reconstruction_mv (1, 12, t); heart (1, d), per_lead (1, 12, d), per_lead_std
    (1, 12, d) and lead_weights (1, h, 12) as in `Embedding`; lead_attention (1, layers, h, 12, 12) as in
    `AttentionSummary`, of a model whose leads meet in latent attention; with a probe log_odds (1, c) and, if it is a
    sum over leads, lead_terms (1, 12, c) as of `lead_terms`. Rows and columns of absent leads mean nothing.
    """

    def __init__(self, model: LAMAE, probe: Probe | None) -> None:
        super().__init__()
        self.model, self.probe = model, probe
        self.leads_meet = model.config.latent_depth > 0 and not isinstance(model, IndependentMAE)
        self.additive = probe is not None and probe.representation in ADDITIVE
        self.names = ["reconstruction_mv", "heart", "per_lead", "per_lead_std", "lead_weights"]
        self.names += ["lead_attention"] * self.leads_meet
        self.names += ["log_odds"] * (probe is not None) + ["lead_terms"] * self.additive
        self.eval()

    def forward(
        self, signal_mv: Float[Tensor, "1 12 t"], lead_mask: Bool[Tensor, "1 12"], mask: Bool[Tensor, "1 12 n"]
    ) -> tuple[Tensor, ...]:
        """The outputs, in the order of `names`."""
        model, batch = self.model, Batch(signal_mv, lead_mask)
        latents = model.encode(batch, mask)
        found = self.read(latents, batch)
        # model.reconstruct would encode the ECG a second time.
        found["reconstruction_mv"] = model.reconstruct_latents(found.pop("latents"), batch, mask)
        return tuple(found[name] for name in self.names)

    def read(self, encoded: Latents, batch: Batch) -> dict[str, Any]:
        """All but the reconstruction by its name, from leads that are encoded; and the connected latents."""
        model = self.model
        if self.leads_meet:
            with record_attention(model, "latent_attention") as record:
                latents = model.connect(encoded)
            recorded = latent_attention({name: calls[0] for name, calls in record.items()})
        else:
            latents, recorded = model.connect(encoded), []
        embedding = model.embed_latents(latents)
        found = {
            "latents": latents,
            "heart": embedding.heart,
            "per_lead": embedding.per_lead,
            "per_lead_std": embedding.per_lead_std,
            "lead_weights": embedding.lead_weights,
        }
        if self.leads_meet:
            found["lead_attention"] = attention_by_layer(model, embedding.lead_weights, recorded)
        if self.probe is not None:
            found["log_odds"] = log_odds(embedding, batch, self.probe)
            if self.additive:
                found["lead_terms"] = terms_of(model, self.probe, embedding, batch)
        return found
