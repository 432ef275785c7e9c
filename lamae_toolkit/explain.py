"""What the model looked at: lead weights and latent attention, read off while it runs.

Weights and attention show what the model combined, not why a code was predicted: they are a first
look, to be checked against what changes when a lead is taken away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from lamae_toolkit.batch import Batch, collate
from lamae_toolkit.ecg import ECGError, Recording
from lamae_toolkit.layers import Attention
from lamae_toolkit.model import LAMAE
from lamae_toolkit.probe import Probe, predict
from lamae_toolkit.signal import crop


@contextmanager
def watch_attention(model: nn.Module, prefix: str = "") -> Iterator[dict[str, list[Tensor]]]:
    """Record the softmax of every attention whose name starts with `prefix`, while the model runs.

    Yields a dictionary from the attention's name ("latent_attention.0.attention") to its recordings,
    (b, h, m, m) each, one per call; after the block, of those that ran. ECGError if none did, and on a
    compiled model, whose attention cannot be watched.
    """
    if hasattr(model, "_orig_mod"):
        raise ECGError("A compiled model cannot be watched: explain the model that was given to torch.compile.")
    watched = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Attention) and name.startswith(prefix)
    }
    record: dict[str, list[Tensor]] = {name: [] for name in watched}
    try:
        for name, module in watched.items():
            module.tap = record[name].append
        yield record
    finally:
        for module in watched.values():
            module.tap = None
    for name in [name for name, calls in record.items() if not calls]:
        del record[name]
    if not record:
        raise ECGError(
            f"No attention was recorded{f' under the name {prefix!r}' if prefix else ''}:"
            " run the model inside the `with` block, and check the name."
        )


@dataclass(frozen=True, eq=False)
class Explanation:
    """What the model made of one ECG.

    leads: the leads that it had. lead_weights: (h, l), the share of each lead in the heart token, per
    head; rows sum to 1. lead_attention: (layers, h, l, l), how much the latents of the row's lead took
    from those of the column's lead; rows sum to 1. chances: each code's chance, or None without a probe.
    """

    recording: Recording
    lead_weights: Float[np.ndarray, "h l"]
    lead_attention: Float[np.ndarray, "layers h l l"]
    chances: pd.Series | None

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads, in the order of all the arrays."""
        return self.recording.leads

    def weight_table(self) -> pd.DataFrame:
        """One row per lead: its weight in each head, and the mean over heads, which is *the* lead weight."""
        table = pd.DataFrame(
            self.lead_weights.T,
            index=pd.Index(self.leads, name="lead"),
            columns=[f"head {head}" for head in range(1, len(self.lead_weights) + 1)],
        )
        table.insert(0, "weight", table.mean(axis=1))
        return table

    def attention_table(self, layer: int | None = None, head: int | None = None) -> pd.DataFrame:
        """12 x 12: how much each lead (row) took from each lead (column); rows sum to 1.

        layer, head: one of them, counted from 1; the mean over all of them where None.
        """
        chosen = self.lead_attention
        for name, number, axis in (("layer", layer, 0), ("head", head, 1)):
            if number is not None:
                if not 1 <= number <= chosen.shape[axis]:
                    raise ECGError(f"There is no {name} {number}; choose one from 1 to {chosen.shape[axis]}.")
                chosen = chosen.take([number - 1], axis=axis)
        return pd.DataFrame(
            chosen.mean(axis=(0, 1)),
            index=pd.Index(self.leads, name="looking lead"),
            columns=pd.Index(self.leads, name="looked-at lead"),
        )


def lead_attention(attention: Float[Tensor, "b h i j"], leads: int) -> Float[Tensor, "b h l k"]:
    """Attention between tokens, rolled up to attention between leads.

    For a lead's row, the mean over its tokens (CLS and patches) of what each of them took, summed over
    all tokens of the other lead. Rows sum to 1 as before.
    """
    if attention.shape[-1] % leads:
        raise ECGError(f"Attention over {attention.shape[-1]} tokens cannot be shared out to {leads} leads.")
    rows = reduce(attention, "b h (l m) j -> b h l j", "mean", l=leads)
    return reduce(rows, "b h l (k m) -> b h l k", "sum", k=leads)


@torch.inference_mode()
def explain_batch(model: LAMAE, batch: Batch) -> tuple[Float[Tensor, "b h l"], Float[Tensor, "b layers h l k"]]:
    """Lead weights and 12 x 12 latent attention of several ECGs at once (an absent lead has the weight 0)."""
    was_training = model.training
    model.eval()
    with watch_attention(model, "latent_attention") as record:
        weights = model.embed(batch).lead_weights
    model.train(was_training)
    recorded = [calls[0] for calls in record.values()]
    if model.config.tokens == "induced":
        # Two steps a layer: what the learned latents gathered from the tokens, and what the tokens took from them.
        recorded = [spread @ gather for gather, spread in zip(recorded[::2], recorded[1::2], strict=True)]
    layers = [lead_attention(attention, len(batch.leads)) for attention in recorded]
    return weights, rearrange(layers, "layer b h l k -> b layer h l k")


def explain_ecg(model: LAMAE, recording: Recording, probe: Probe | None = None) -> Explanation:
    """Lead weights, 12 x 12 latent attention and, with a probe, the chance of each code, for one ECG.

    The ECG is resampled to the model's rate; the first `config.duration_s` seconds are read.
    """
    device = next(model.parameters()).device
    batch = collate([recording], model.config.sampling_rate_hz, model.config.duration_s).to(device)
    chances = None if probe is None else predict(model, probe, batch).iloc[0]
    # Only the leads that are there: an absent lead has no weight and no attention to show.
    leads = tuple(name for name in batch.leads if name in recording.leads)
    weights, attention = explain_batch(model, batch.select(leads))
    read = crop(recording.select(leads), 0.0, min(model.config.duration_s, recording.duration_s))
    return Explanation(read, weights[0].cpu().numpy(), attention[0].cpu().numpy(), chances)
