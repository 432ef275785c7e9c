"""What a model would predict from every subset of an ECG's leads: encode the leads once, then connect each subset.

No lead hears of another before latent attention, so that twelve leads are encoded once, not 4,096 times. Only latent
attention, pooling and the probe run for each subset.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lamae_toolkit.batch import Batch
from lamae_toolkit.ecg import ECGError
from lamae_toolkit.latents import Embedding, Latents, mean_and_spread
from lamae_toolkit.model import LAMAE
from lamae_toolkit.probe import Probe, log_odds
from lamae_toolkit.shapley import subset_members

CHUNK_TOKENS = 20_000
"""How many tokens of different subsets are connected at a time; bounds the memory."""


@torch.inference_mode()
def subset_log_odds(model: LAMAE, probe: Probe, batch: Batch) -> Float[Tensor, "b s c"]:
    """The log-odds of each code that the model would give if an ECG had only some of its leads, for every subset.

    s = 2^leads: bit i of the subset's number says whether the i-th present lead of the batch is in it. The empty
    subset is the probe at its mean features, that is its bias: nothing known. The same as `model.embed` and the probe
    on `batch.select(leads)`, one by one. All ECGs of the batch must have the same leads.
    """
    model.eval()
    batch = batch.select(present_leads(batch))
    members = torch.from_numpy(subset_members(len(batch.leads)).copy()).to(batch.signal_mv.device)
    tables = []
    for row in range(len(batch)):
        one = Batch(batch.signal_mv[row : row + 1], batch.present[row : row + 1], batch.leads)
        table = torch.empty(len(members), len(probe.codes), dtype=torch.float64)
        table[0] = torch.from_numpy(probe.bias)
        for rows, embedding in _embeddings(model, one, members):
            with_absent = Batch(batch.signal_mv.new_zeros(len(rows), len(batch.leads), 0), members[rows], batch.leads)
            table[rows] = log_odds(embedding, with_absent, probe)
        tables.append(table)
    return torch.stack(tables)


def present_leads(batch: Batch) -> tuple[str, ...]:
    """The leads that the ECGs of a batch have; ECGError if they have none, or not all the same ones."""
    if not bool((batch.present == batch.present[:1]).all()):
        raise ECGError("The ECGs of this batch have different leads; put ECGs with the same leads into a batch.")
    leads = tuple(name for name, there in zip(batch.leads, batch.present[0].tolist(), strict=True) if there)
    if not leads:
        raise ECGError("An ECG of this batch has no usable lead at all; leave it out.")
    return leads


def _embeddings(model: LAMAE, one: Batch, members: Tensor) -> Iterator[tuple[Tensor, Embedding]]:
    latents = encode(model, one)
    _, leads, tokens, _ = latents.tokens.shape
    size = members.sum(dim=1)
    for count in range(1, leads + 1):
        for rows in (size == count).nonzero()[:, 0].split(max(1, CHUNK_TOKENS // (count * tokens))):
            chosen = rearrange(members[rows].nonzero()[:, 1], "(s k) -> s k", k=count)
            part = Latents(latents.tokens[0, chosen], None, latents.position[0, chosen])
            embedding = embed_latents(model, part)
            yield rows, _with_absent(embedding, chosen, leads)


def _with_absent(embedding: Embedding, chosen: Tensor, leads: int) -> Embedding:
    spread_out = []
    for x in (embedding.per_lead, embedding.per_lead_spread):
        whole = x.new_zeros(len(x), leads, x.shape[-1])
        whole[torch.arange(len(x))[:, None], chosen] = x
        spread_out.append(whole)
    return embedding._replace(per_lead=spread_out[0], per_lead_spread=spread_out[1])


def encode(model: LAMAE, batch: Batch) -> Latents:
    """The leads, each on its own."""
    patches = model.patches(batch)
    return model.encode_leads(patches, batch, mask=None, keep=patches.shape[2])


def embed_latents(model: LAMAE, latents: Latents) -> Embedding:
    """The second half of `model.embed`: from encoded leads to an embedding."""
    latents = model.connect(latents)
    heart, weights, _ = model.pool(latents, latents.position.shape[2], moments=False)
    spread = mean_and_spread(*latents.moments())[1] * latents.leads_seen()[..., None]
    return Embedding(heart, model.lead_latents(latents), weights, spread, model.summary(latents, spread))
