"""A model as an ONNX file, which is compared with PyTorch before it is written."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lamae_toolkit.data.batch import collate
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.attention import in_float32
from lamae_toolkit.export.onnx_graph import INPUTS, ONNXGraph
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import golden_signal
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg

MIN_PATCHES = 3
"""Of a shorter ECG torch.export makes a graph of its own."""

OPSET = 18

TOLERANCE = {"log_odds": 1e-3, "lead_terms": 1e-3}
"""By how much an output may differ from that of PyTorch, 1e-4 if it is not named: in mV, as a share, in log-odds."""

CHECKED_ECGS = 4

NOT_FOR_DIAGNOSIS = "For research and teaching, not for diagnosis."


def export_onnx(model: LAMAE, path: Path | str, probe: Probe | None = None) -> pd.Series:
    """Write a model, and what its probe predicts, as one ONNX file that runs without Python, in a browser as well.

    model: LAMAE or its twin with independent leads, on the CPU in float32. path: the file, usually ending in .onnx.
    probe: a linear probe of this model, for the log-odds of each code and, with one on "leads" or "heart", the lead
    terms.

    The graph reads one ECG of twelve leads in the order of `LEADS`, absent ones with any finite values:

    - signal_mv (1, 12, t): float32, in mV at the model's rate, t a multiple of the samples of a patch, at least three
      patches and at most the model's longest ECG;
    - lead_mask (1, 12): True for a lead that the ECG has, at least one;
    - mask (1, 12, n): True for a masked patch. At least one patch of a lead must be visible.

    It returns reconstruction_mv (1, 12, t); heart, per_lead, per_lead_std and lead_weights as `LAMAE.embed`;
    lead_attention (1, layers, heads, 12, 12), if the leads of the model meet; and with a probe log_odds (1, codes) and
    lead_terms (1, 12, codes). The metadata of the file hold the configuration and the codes as JSON.

    Before the file is written, ONNX Runtime computes ECGs with random masks, absent leads and two lengths. Returns the
    greatest absolute difference from PyTorch of each output. ECGError if one is larger than 1e-4 (of log-odds and lead
    terms: 1e-3), then nothing is written; MissingExtraError if onnx, onnxscript or onnxruntime is not installed (the
    extra `export`). It takes about a minute.

    Example:
        import lamae_toolkit as lt
        import tempfile

        config = lt.LAMAEConfig(width=6, encoder_depth=1, latent_depth=0, decoder_width=8, max_patches=3)
        model = lt.LAMAE(config)
        with tempfile.TemporaryDirectory() as folder:
            print(lt.export_onnx(model, f"{folder}/model.onnx"))
    """
    content, differences = onnx_bytes(model, probe)
    with atomic_write(path) as partial:
        partial.write_bytes(content)
    return differences


def onnx_bytes(model: LAMAE, probe: Probe | None = None) -> tuple[bytes, pd.Series]:
    """The content of the file that `export_onnx` writes, and what it returns; errors as there."""
    _need_packages()
    device = next(model.parameters()).device
    if device.type != "cpu":
        raise ECGError(f"The model is on {device}, but it is exported from the CPU: use model.cpu().")
    with in_float32(model):
        graph = ONNXGraph(model, probe)
        content = _exported(graph)
        return content, compare(content, graph)


def _need_packages() -> None:
    """Import what is needed now, before a minute of work."""
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401


@torch.no_grad()
def _exported(graph: ONNXGraph) -> bytes:
    import onnx

    config = graph.model.config
    shapes: Any = None
    if config.max_patches > MIN_PATCHES:
        patches = patches_dim(config.max_patches)
        shapes = ({2: config.patch_samples * patches}, {}, {2: patches})
    # Not the greatest length, which torch.export might take for a constant.
    example = checked_inputs(graph.model, max(config.max_patches - 1, min(MIN_PATCHES, config.max_patches)))[0]
    proto = onnx_model(graph, example, shapes, INPUTS, graph.names)
    _name_patches(proto)
    about = {
        "about": f"LAMAE, exported by lamae_toolkit. {NOT_FOR_DIAGNOSIS}",
        "model": type(graph.model).__name__,
        "config": json.dumps(config.to_dict()),
        "leads": json.dumps(LEADS),
        "codes": json.dumps(graph.probe.codes if graph.probe else []),
    }
    onnx.helper.set_model_props(proto, about)
    return proto.SerializeToString()


def patches_dim(most: int) -> Any:
    """The number of patches as a size that an exported graph leaves open."""
    return torch.export.Dim("patches", min=MIN_PATCHES, max=most)


@torch.no_grad()
def onnx_model(
    graph: nn.Module, example: tuple[Tensor, ...], shapes: Any, inputs: Sequence[str], outputs: Sequence[str]
) -> Any:
    """A graph as torch's exporter writes it. shapes: the open sizes of each input, as `torch.export` takes them."""
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            graph, example, dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
        )
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            # The optimizer would leave out the 1e-8 in the root of `mean_and_std`, as if it were 0.
            optimize=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
        )
    assert exported is not None
    return exported.model_proto


def _name_patches(proto: Any) -> None:
    """Give the number of patches a name, in place of the number of a symbol."""
    symbol = proto.graph.input[2].type.tensor_type.shape.dim[2].dim_param
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if symbol and symbol in size.dim_param:
                size.dim_param = size.dim_param.replace(symbol, "patches")


def compare(content: bytes, graph: ONNXGraph) -> pd.Series:
    """The greatest absolute difference of each output between ONNX Runtime and PyTorch; ECGError if one is too large.

    content: the ONNX file. The ECGs: a fixed signal and simulated ECGs, complete and short, with random masks, and all
    but the first with random absent leads.
    """
    session = onnx_session(content)
    longest = graph.model.config.max_patches
    differences = dict.fromkeys(graph.names, 0.0)
    for patches in sorted({longest, max(longest // 2, min(MIN_PATCHES, longest))}):
        for inputs in checked_inputs(graph.model, patches):
            with torch.inference_mode():
                expected = graph(*inputs)
            given = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
            for name, one, same in zip(graph.names, expected, session.run(graph.names, given), strict=True):
                one, same = (of_present_leads(name, x, inputs[1]) for x in (one, torch.from_numpy(same)))
                differences[name] = max(differences[name], difference_of(name, one, same))
    return pd.Series(differences, name="greatest difference from PyTorch")


def difference_of(name: str, expected: Tensor, found: Tensor) -> float:
    """The greatest absolute difference of an output from PyTorch's; ECGError if it is too large."""
    difference = float((expected.double() - found.double()).abs().max())
    # Written so that what is not a number counts as too large.
    if not difference <= TOLERANCE.get(name, 1e-4):
        raise ECGError(
            f"The exported model gives another {name} than PyTorch: they differ by {difference:.2g}, and at"
            f" most {TOLERANCE.get(name, 1e-4):g} is allowed; no file was written."
        )
    return difference


def onnx_session(content: bytes) -> Any:
    """ONNX Runtime with a model, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def of_present_leads(name: str, output: Tensor, lead_mask: Tensor) -> Tensor:
    """An output without the rows of absent leads, which mean nothing."""
    leads = lead_mask[0]
    if name in ("reconstruction_mv", "per_lead", "per_lead_std", "lead_terms"):
        return output[:, leads]
    return output[:, :, :, leads] if name == "lead_attention" else output


def checked_inputs(model: LAMAE, patches: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """ECGs of this many patches, the inputs of the graph: the first with all leads, the others without some."""
    config, generator = model.config, torch.Generator().manual_seed(0)
    samples = patches * config.patch_samples
    rng = np.random.default_rng(0)
    ecgs = [simulate_ecg(sample_patient(seed, rng), rng).recording for seed in range(CHECKED_ECGS - 1)]
    simulated = collate(ecgs, config.sampling_rate_hz, samples / config.sampling_rate_hz).signal_mv
    signals = torch.cat([golden_signal(config).signal_mv[:, :, :samples], _of_length(simulated, samples)])
    lead_mask = torch.rand(len(signals), len(LEADS), generator=generator) < 0.7
    lead_mask[:, 1] = True
    lead_mask[0] = True
    mask = torch.rand(len(signals), len(LEADS), patches, generator=generator) < config.mask_ratio
    mask[:, 1, 0] = False
    return [(signals[i, None], lead_mask[i, None], mask[i, None]) for i in range(len(signals))]


def _of_length(signals: Tensor, samples: int) -> Tensor:
    """The signals, repeated where a model reads more than a simulated ECG has."""
    return signals.repeat(1, 1, -(-samples // signals.shape[2]))[:, :, :samples]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from reporting packages that the model does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
