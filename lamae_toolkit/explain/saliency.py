"""Saliency: how much each patch of each lead counts, by attention, by attention times gradient, or by the gradient.

All three give (b, l, n): ECG, lead, patch of 0.25 s; a lead that an ECG lacks gets exactly 0. They answer different
questions, and none of them proves what a prediction depends on: that is tested by masking parts of the ECG.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from einops import reduce, repeat
from jaxtyping import Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.evaluation.linear_probe import Probe, log_odds
from lamae_toolkit.explain.attention import (
    descend,
    half_residual,
    in_float32,
    latent_attention,
    recorded_embedding,
    through_latents,
)
from lamae_toolkit.model.hooks import attention_names, edit_attention, record_attention
from lamae_toolkit.model.lamae import LAMAE


@torch.inference_mode()
def attention_rollout(model: LAMAE, batch: Batch) -> Float[Tensor, "b l n"]:
    """How much of each patch of each lead reaches the heart token, if attention alone carried it: a share, 0 to 1.

    saliency = (lead weight / m) . S_last . ... . S_first, S = (mean over heads of A + identity) / 2: from the lead
    weights evenly to the m tokens of each lead, whose mean is pooled, then down the latent attention and the lead
    encoder, as in `roll_up`. What ends in the learned CLS tokens is not part of the ECG; it is left out and the rest
    rescaled, so that the patches of an ECG sum to 1. Positive, and the same for every code, since no probe is used.
    Source: attention rollout, Abnar and Zuidema, arXiv 2005.00928.
    """
    with in_float32(model):
        weights, record = recorded_embedding(model, batch)
        m = record["encoder.0.attention"].shape[-1]
        pooled = repeat(weights.mean(dim=1) / m, "b l -> b 1 l m", m=m)
        layers = _layers({name: heads.mean(dim=1) for name, heads in record.items()}, model)
        share = descend(pooled, layers, half_residual)[:, 0, :, 1:]
    return share / share.sum(dim=(1, 2), keepdim=True)


def gradient_attention(model: LAMAE, probe: Probe, batch: Batch, code: str) -> Float[Tensor, "b l n"]:
    """Which patches attention carried to the tokens that are evidence for this code: positive, without a unit.

    saliency = start . R_last . ... . R_first, R = identity + mean over heads of (A . dA)+, dA the gradient of the
    probe's log-odds, (x)+ = max(x, 0): gradient times attention, Chefer et al., arXiv 2103.15679. The paper starts
    at the class token; here all tokens are pooled, so it starts at what each token z contributes to the log-odds where
    it is pooled, (z . dz)+. The same rule holds for probes on the heart token, the summary or all lead latents.
    Only evidence *for* the code is shown. What ends in the CLS tokens is left out. Values of different codes or
    ECGs cannot be compared, and they do not add up to the log-odds: the positive part is taken at each step.
    """
    with _traced(model, probe, batch, code) as run:
        tokens, *attention = _gradients(run, [run.tokens, *run.attention.values()])
        start = (run.tokens * tokens).sum(dim=-1).clamp(min=0)[:, None]
        carried = {
            name: (heads * gradient).clamp(min=0).mean(dim=1)
            for (name, heads), gradient in zip(run.attention.items(), attention, strict=True)
        }
        rows = descend(start, _layers(carried, model), lambda one: one + torch.eye(one.shape[-1], device=one.device))
    return rows[:, 0, :, 1:].detach()


def gradient_input(model: LAMAE, probe: Probe, batch: Batch, code: str) -> Float[Tensor, "b l n"]:
    """How the log-odds of this code would begin to change if a patch were scaled: signed, in log-odds.

    saliency = sum over the samples of a patch of x . d(log-odds)/dx, x the signal as the model reads it: each lead
    minus its mean, divided by its standard deviation. Above 0 the patch is evidence for the code, below 0 against it;
    a flat patch gets 0. It is a slope at this one ECG: all patches together are the slope when the complete ECG is
    scaled, not the log-odds. Mean, standard deviation, and the amplitude that some models take as a separate input are
    held fixed. Source: gradient times input, Shrikumar et al., arXiv 1605.01713.
    """
    with _traced(model, probe, batch, code) as run:
        (gradient,) = _gradients(run, [run.patches])
        return reduce(run.patches * gradient, "b l n p -> b l n", "sum").detach()


@dataclass(frozen=True, eq=False)
class _Run:
    """One forward pass with gradients: its patches, pooled tokens, attention and log-odds."""

    patches: Float[Tensor, "b l n p"]
    tokens: Float[Tensor, "b l m d"]
    attention: dict[str, Tensor]
    log_odds: Float[Tensor, " b"]


@contextmanager
def _traced(model: LAMAE, probe: Probe, batch: Batch, code: str) -> Iterator[_Run]:
    """Run model and probe on a batch, keeping patches, pooled tokens and attention for their gradients."""
    column = probe.column(code)
    captured: dict[str, Tensor] = {}

    def capture_patches(module, inputs) -> Tensor:
        captured["patches"] = inputs[0].clone().requires_grad_()
        return captured["patches"]

    def capture_tokens(module, inputs, output) -> None:
        captured["tokens"] = output

    # Works inside a caller's inference mode, too, whose tensors carry no gradient: hence the clones.
    with torch.inference_mode(False), torch.enable_grad(), in_float32(model):
        batch = replace(batch, signal_mv=batch.signal_mv.clone(), lead_mask=batch.lead_mask.clone())
        hooks = (
            model.patch_embed.register_forward_pre_hook(capture_patches),
            model.norm.register_forward_hook(capture_tokens),
        )
        try:
            # Attention that a caller's edit made constant gets a gradient, too.
            names = [name for name in attention_names(model) if not name.startswith("decoder")]
            with edit_attention(model, dict.fromkeys(names, _with_gradient)), record_attention(model) as record:
                all_codes = log_odds(model.embed(batch), batch, probe)
        finally:
            for hook in hooks:
                hook.remove()
        attention = {name: calls[0] for name, calls in record.items() if name != "pooling"}
        yield _Run(captured["patches"], captured["tokens"], attention, all_codes[:, column])


def _with_gradient(attention: Tensor) -> Tensor:
    return attention if attention.requires_grad else attention.requires_grad_()


def _gradients(run: _Run, of: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of the log-odds of each ECG: ECGs are independent, so the gradient of their sum contains each."""
    return torch.autograd.grad(run.log_odds.sum(), of)


def _layers(attention: dict[str, Tensor], model: LAMAE) -> list[Tensor]:
    """The layers from the patches to the pooling, in this order; induced latent attention as one step a layer."""
    latent = latent_attention(attention)
    encoder = [one for name, one in attention.items() if name.startswith("encoder")]
    return encoder + (through_latents(latent) if model.config.tokens == "induced" else latent)
