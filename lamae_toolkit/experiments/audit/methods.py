"""All methods that attribute a prediction to leads or patches, and the parameter randomization that tests them.

`PATCH_ATTRIBUTION` and `LEAD_ATTRIBUTION` map a method's name to a function of model, probe, batch and code;
`SUBSET_ATTRIBUTION` to one of the log-odds from every subset of the leads. A higher attribution means a
larger contribution to the prediction. A method is tested where it acts: what ends in the heart token, with a probe on
the heart token.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.attention import in_float32, roll_up
from lamae_toolkit.explain.saliency import attention_rollout, gradient_attention, gradient_input
from lamae_toolkit.explain.shapley import shapley_values
from lamae_toolkit.explain.terms import batch_lead_terms
from lamae_toolkit.model.lamae import LAMAE

LEAD_TERMS, SHAPLEY = "lead terms", "Shapley"
SIGNAL, RANDOM = "signal amplitude", "random"
"""Two baselines that use no model: the amplitude of the ECG in each patch, and random numbers."""


def signal_amplitude(model: LAMAE, probe: Probe, batch: Batch, code: str) -> Float[Tensor, "b l n"]:
    """The amplitude of the ECG in each patch of each lead: the sum of (signal - the lead's mean)^2, in mV^2.

    No model is used. A method that localizes no better than this finds where the amplitude is high.
    """
    n, p = model.patches(batch).shape[2:]
    cut = batch.signal_mv[:, :, : n * p]
    return reduce((cut - cut.mean(dim=2, keepdim=True)) ** 2, "b l (n p) -> b l n", "sum", n=n)


def _lead_terms(model: LAMAE, probe: Probe, batch: Batch, code: str) -> Float[Tensor, "b l"]:
    return batch_lead_terms(model, probe, batch)[..., probe.column(code)]


def _rollout(model: LAMAE, probe: Probe, batch: Batch, code: str) -> Float[Tensor, "b l n"]:
    return attention_rollout(model, batch)


@torch.inference_mode()
def _pooling_weights(model: LAMAE, probe: Probe, batch: Batch, code: str) -> Float[Tensor, "b l"]:
    with in_float32(model):
        return model.embed(batch).lead_weights.mean(dim=1)


def _latent_attention(model: LAMAE, probe: Probe, batch: Batch, code: str) -> Float[Tensor, "b l"]:
    return roll_up(model, batch).into_heart


Method = Callable[[LAMAE, Probe, Batch, str], Tensor]

PATCH_ATTRIBUTION: Mapping[str, Method] = {
    "attention rollout": _rollout,
    "gradient x attention": gradient_attention,
    "gradient x input": gradient_input,
    SIGNAL: signal_amplitude,
}
"""Attribution to each patch of each lead, (b, l, n). The first ignores the code; `gradient x input` is signed."""

LEAD_ATTRIBUTION: Mapping[str, Method] = {
    LEAD_TERMS: _lead_terms,
    "pooling weights": _pooling_weights,
    "latent attention": _latent_attention,
}
"""Attribution to each lead, (b, l). For "latent attention" it is what reaches the heart token, all layers rolled up.
The attribution of a method of `PATCH_ATTRIBUTION` to a lead is the sum over its patches."""


def leave_one_lead_out(values: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b l"]:
    """The fall of the log-odds if only this lead is removed: v(all) - v(all without it)."""
    return values[:, -1:] - values[:, values.shape[1] - 1 - _bits(values)]


def single_lead(values: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b l"]:
    """The rise of the log-odds if only this lead is visible: v(it) - v(none)."""
    return values[:, _bits(values)] - values[:, :1]


def shapley(values: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b l"]:
    """The Shapley value of each lead: what it adds to the log-odds, averaged over all orders of the leads."""
    return shapley_values(values.T).T


def _bits(values: np.ndarray) -> np.ndarray:
    return 1 << np.arange(values.shape[1].bit_length() - 1)


SUBSET_ATTRIBUTION: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "leave-one-lead-out": leave_one_lead_out,
    "single-lead": single_lead,
    SHAPLEY: shapley,
}
"""Attribution to each lead from the log-odds of all subsets of the leads, (b, 2^l) to (b, l); signed, in log-odds."""

PATCH_METHODS = (*PATCH_ATTRIBUTION, RANDOM)
TIME_STEP = "leave-one-time-step-out"
"""The fall of the log-odds when one patch of time is masked in all leads; not tested by deletion and insertion."""

LEAD_KIND, PATCH_KIND = "leads", "patches"
HEART_LEAD_KIND, HEART_PATCH_KIND = "leads, heart token", "patches, heart token"
REPRESENTATION = {LEAD_KIND: "leads", PATCH_KIND: "leads", HEART_LEAD_KIND: "heart", HEART_PATCH_KIND: "heart"}
"""What is tested, and what the probe reads whose predictions are explained."""
OF_HEART = ("pooling weights", "latent attention", "attention rollout")
"""Methods that end in the heart token: a probe on "leads" does not read it, so there they explain nothing."""

_LEADS = (*LEAD_ATTRIBUTION, *(name for name in PATCH_ATTRIBUTION if name != SIGNAL), *SUBSET_ATTRIBUTION)
_PATCHES = (*(name for name in PATCH_ATTRIBUTION if name != SIGNAL), TIME_STEP)
JUDGED_METHODS = {
    LEAD_KIND: tuple(name for name in _LEADS if name not in OF_HEART),
    HEART_LEAD_KIND: _LEADS,
    PATCH_KIND: tuple(name for name in _PATCHES if name not in OF_HEART),
    HEART_PATCH_KIND: _PATCHES,
}
"""The methods that are judged; the signal's amplitude and random numbers are the baselines."""

STAGES = {
    "head": ("pooling.",),
    "head and latent attention": ("latent_attention.", "norm."),
    "head, latent attention and encoder": ("encoder.", "patch_embed.", "lead_"),
}
"""The parts of a model that are randomized, from the top down, each with those before it."""


def randomized(model: LAMAE, probe: Probe, stage: str, seed: int = 0) -> tuple[LAMAE, Probe]:
    """The model and its probe with new random weights from the top down to this stage; the rest is unchanged.

    An attribution that is the same for a randomized model does not show what the model learned. The probe's new weights
    are normal, of the same size for each code. Source: the cascading parameter randomization test of Adebayo et al.,
    arXiv 1810.03292.
    """
    if stage not in STAGES:
        raise ECGError(f"There is no stage {stage!r}; choose from {', '.join(STAGES)}.")
    names = list(STAGES)
    randomized = tuple(prefix for name in names[: names.index(stage) + 1] for prefix in STAGES[name])
    fresh, learned = random_encoder(model.config, seed), model.state_dict()
    fresh.load_state_dict(
        {name: value if name.startswith(randomized) else learned[name] for name, value in fresh.state_dict().items()}
    )
    sampled = np.random.default_rng([seed, 1]).normal(size=probe.weight.shape)
    return fresh, replace(probe, weight=sampled * probe.weight.std(axis=1, keepdims=True))
