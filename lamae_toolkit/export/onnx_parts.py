"""A model in parts, for the web page: what a click does not change is not computed again.

Each lead is encoded on its own, so that after a click only the leads whose mask changed are encoded. A lead that is
taken away changes no encoding: only latent attention and the prediction follow. The twin has one part, for any leads.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.export.onnx_file import (
    MIN_PATCHES,
    checked_inputs,
    difference_of,
    of_present_leads,
    onnx_model,
    onnx_session,
    patches_dim,
)
from lamae_toolkit.export.onnx_graph import ONNXGraph
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Latents


@dataclass(frozen=True, eq=False)
class _SomeLeads(Batch):
    """Leads whose names are a tensor, so that a graph takes any of them. index: (l,), of each lead in LEADS."""

    index: Tensor | None = None

    def __post_init__(self) -> None:
        """How many leads there are is known when the graph runs."""

    def lead_indices(self) -> Int64[Tensor, " l"]:
        assert self.index is not None
        return self.index


class LeadEncoder(nn.Module):
    """Some leads of an ECG, each encoded on its own."""

    inputs, outputs = ("signal_mv", "lead_mask", "mask", "lead"), ("tokens",)

    def __init__(self, model: LAMAE) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        signal_mv: Float[Tensor, "1 l t"],
        lead_mask: Bool[Tensor, "1 l"],
        mask: Bool[Tensor, "1 l n"],
        lead: Int64[Tensor, " l"],
    ) -> tuple[Tensor, ...]:
        """What is computed of these leads. lead: the index of each in LEADS."""
        return (self.computed(_SomeLeads(signal_mv, lead_mask, index=lead), mask),)

    def computed(self, batch: Batch, mask: Tensor) -> Tensor:
        """The tokens of each lead, (1, l, 1 + n, d)."""
        return self.model.encode_leads(self.model.normalize(batch, mask), batch, mask).tokens


class LeadReconstructor(LeadEncoder):
    """Some leads of an ECG, each reconstructed on its own: all of a model with independent leads."""

    outputs = ("reconstruction_mv",)

    def computed(self, batch: Batch, mask: Tensor) -> Tensor:
        """The reconstruction, (1, l, t)."""
        return self.model.reconstruct(batch, mask)


class Reconstructor(nn.Module):
    """All leads, from their encodings to the reconstruction."""

    inputs, outputs = ("tokens", "signal_mv", "lead_mask", "mask"), ("reconstruction_mv",)

    def __init__(self, model: LAMAE) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens: Float[Tensor, "1 12 m d"],
        signal_mv: Float[Tensor, "1 12 t"],
        lead_mask: Bool[Tensor, "1 12"],
        mask: Bool[Tensor, "1 12 n"],
    ) -> tuple[Tensor, ...]:
        """The reconstruction, (1, 12, t). tokens: of `LeadEncoder`."""
        batch = Batch(signal_mv, lead_mask)
        latents = self.model.connect(_latents(self.model, tokens, batch, mask))
        return (self.model.reconstruct_latents(latents, batch, mask),)


class Reader(nn.Module):
    """All leads, from their encodings without a mask to the prediction."""

    inputs = ("tokens", "signal_mv", "lead_mask")

    def __init__(self, model: LAMAE, probe: Probe) -> None:
        super().__init__()
        self.complete = ONNXGraph(model, probe)
        read = ("log_odds", "lead_terms", "lead_weights", "lead_attention")
        self.outputs = tuple(name for name in read if name in self.complete.names)

    def forward(
        self, tokens: Float[Tensor, "1 12 m d"], signal_mv: Float[Tensor, "1 12 t"], lead_mask: Bool[Tensor, "1 12"]
    ) -> tuple[Tensor, ...]:
        """What `outputs` names, as of `ONNXGraph`. lead_mask: True for a lead that is used."""
        batch = Batch(signal_mv, lead_mask)
        mask = torch.zeros_like(tokens[:, :, 1:, 0], dtype=torch.bool)
        found = self.complete.read(_latents(self.complete.model, tokens, batch, mask), batch)
        return tuple(found[name] for name in self.outputs)


def _latents(model: LAMAE, tokens: Tensor, batch: Batch, mask: Tensor) -> Latents:
    """What `LAMAE.encode` returns, from its tokens."""
    valid = ~mask & batch.lead_mask[:, :, None]
    valid_mask = torch.cat([valid.any(dim=-1, keepdim=True), valid], dim=2)
    b, l, n = mask.shape
    lead, position = torch.arange(l).expand(b, l), torch.arange(n).expand(b, l, n)
    name = batch.lead_indices().expand(b, l)
    amplitude = tokens.new_zeros(b, l, 0)
    if model.amplitude_embed is not None:
        amplitude = model.normalize(batch, mask).amplitudes(mask) * valid_mask[:, :, :1]
    return Latents(tokens, valid_mask, lead, position, name, amplitude)


def leads_alone(model: LAMAE) -> bool:
    """Whether the encoding of a lead depends on that lead alone; else all are encoded again."""
    kind = model.config.normalization
    return kind == "lead" or (kind == "visible" and isinstance(model, IndependentMAE))


def onnx_parts(model: LAMAE, probe: Probe | None) -> dict[str, bytes]:
    """The parts of a model as ONNX files: "encode", "reconstruct" and "read" (with a probe) of LAMAE, and the one part
    "reconstruct" of its twin with independent leads. They are not compared yet: see `compare_parts`."""
    parts = _parts(model, probe)
    return {name: _exported(part, model) for name, part in parts.items()}


def _parts(model: LAMAE, probe: Probe | None) -> dict[str, Any]:
    if isinstance(model, IndependentMAE):
        return {"reconstruct": LeadReconstructor(model).eval()}
    parts = {"encode": LeadEncoder(model).eval(), "reconstruct": Reconstructor(model).eval()}
    return parts if probe is None else parts | {"read": Reader(model, probe).eval()}


def _exported(part: Any, model: LAMAE) -> bytes:
    config = model.config
    n = max(config.max_patches - 1, min(MIN_PATCHES, config.max_patches))
    signal_mv, lead_mask, mask = checked_inputs(model, n)[0]
    tokens = torch.zeros(1, len(LEADS), 1 + n, config.width)
    some = slice(5 if leads_alone(model) else len(LEADS))
    lead = torch.arange(len(LEADS))[some]
    values = {"signal_mv": signal_mv, "lead_mask": lead_mask, "mask": mask, "tokens": tokens}
    if "lead" in part.inputs:
        values = {name: value[:, some] for name, value in values.items()} | {"lead": lead}
    open_sizes: dict[str, dict[int, Any]] = {name: {} for name in part.inputs}
    if config.max_patches > MIN_PATCHES:
        patches = patches_dim(config.max_patches)
        open_sizes |= {
            "signal_mv": {2: config.patch_samples * patches},
            "mask": {2: patches},
            "tokens": {2: patches + 1},
        }
    if "lead" in part.inputs and leads_alone(model):
        leads = torch.export.Dim("leads", min=2, max=len(LEADS))
        for name, axis in (("signal_mv", 1), ("lead_mask", 1), ("mask", 1), ("lead", 0)):
            open_sizes[name] = open_sizes[name] | {axis: leads}
    example, shapes = tuple(values[name] for name in part.inputs), tuple(open_sizes[name] for name in part.inputs)
    proto = onnx_model(part, example, shapes, part.inputs, part.outputs)
    for node in proto.graph.node:  # where in Python each step comes from takes more room than the steps
        node.ClearField("metadata_props")
    for value in (*proto.graph.value_info, *proto.graph.initializer):
        value.ClearField("metadata_props")
    return proto.SerializeToString()


@torch.inference_mode()
def compare_parts(contents: dict[str, bytes], model: LAMAE, probe: Probe | None) -> None:
    """ECGError if the parts, one after another in ONNX Runtime, give something else than the complete model in PyTorch.

    The ECGs are those of `compare`; where leads may be encoded apart, the first is encoded on its own.
    """
    sessions = {name: onnx_session(content) for name, content in contents.items()}
    parts, longest = _parts(model, probe), model.config.max_patches
    whole = ONNXGraph(model, probe)
    groups = [[0], list(range(1, 12))] if leads_alone(model) else [list(range(12))]

    def run(name: str, **values: Tensor) -> dict[str, Tensor]:
        part = parts[name]
        given = {key: np.ascontiguousarray(values[key].numpy()) for key in part.inputs}
        return {
            key: torch.from_numpy(value)
            for key, value in zip(part.outputs, sessions[name].run(list(part.outputs), given), strict=True)
        }

    def by_leads(name: str, **values: Tensor) -> dict[str, Tensor]:
        found = [
            run(name, lead=torch.tensor(own), **{key: value[:, own] for key, value in values.items()}) for own in groups
        ]
        return {key: torch.cat([one[key] for one in found], dim=1) for key in found[0]}

    def check(found: dict[str, Tensor], *, signal_mv: Tensor, lead_mask: Tensor, mask: Tensor) -> None:
        expected = dict(zip(whole.names, whole(signal_mv, lead_mask, mask), strict=True))
        for key, value in found.items():
            difference_of(key, *(of_present_leads(key, x, lead_mask) for x in (expected[key], value)))

    for patches in sorted({longest, max(longest // 2, min(MIN_PATCHES, longest))}):
        for signal_mv, lead_mask, mask in checked_inputs(model, patches):
            nothing, ecg = torch.zeros_like(mask), {"signal_mv": signal_mv, "lead_mask": lead_mask}
            if "encode" not in parts:
                check(by_leads("reconstruct", mask=mask, **ecg), mask=mask, **ecg)
                continue
            tokens = by_leads("encode", mask=mask, **ecg)["tokens"]
            check(run("reconstruct", tokens=tokens, mask=mask, **ecg), mask=mask, **ecg)
            if probe is not None:
                tokens = by_leads("encode", mask=nothing, **ecg)["tokens"]
                check(run("read", tokens=tokens, **ecg), mask=nothing, **ecg)
