"""The model is one graph: it compiles without a graph break, once, and it exports (to ONNX: see test_onnx.py).

In a process of its own: the type checks that the tests put under every function cannot be compiled. In one process for
both, since importing the compiler takes as long as an export.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDERS = [Path(__file__).parents[0], Path(__file__).parents[2] / "tests", Path(__file__).parents[2]]

BEGIN = """
from dataclasses import replace
import torch
from lamae_toolkit.data.batch import Batch
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.baselines import COMPARED_MODELS
from lamae_toolkit.model.masking import VisiblePatches
from small_models import SMALL, VARIANTS, mask_for, some_ecgs

def uneven_ecgs(records):
    batch = some_ecgs(records)
    lead_mask = batch.lead_mask.clone()
    lead_mask[records // 2:, :7] = False
    return Batch(batch.signal_mv, lead_mask)

def models():
    # One of each kind of code path; the variants are those of the other tests, several options in one model.
    choices = {"cls": ("names", "linear path", "named pooling", "complete leads"), "induced": ("record",)}
    for name, others in choices.items():
        options = {}
        for other in others:
            options |= {key: value for key, value in vars(VARIANTS[other]).items() if value != getattr(SMALL, key)}
        yield name, random_encoder(replace(VARIANTS[name], encoder_depth=1, latent_depth=1, **options))
    for name in ("LAMAE", "alignment, InfoNCE", "average joint"):
        torch.manual_seed(0)
        yield name, COMPARED_MODELS[name](replace(SMALL, masked_leads=1, encoder_depth=1, latent_depth=1)).eval()

class Embed(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, signal_mv, lead_mask):
        return tuple(self.model.embed(Batch(signal_mv, lead_mask)))

class Reconstruct(Embed):
    def forward(self, signal_mv, lead_mask, mask):
        return self.model.reconstruct(Batch(signal_mv, lead_mask), mask)

class Loss(Embed):
    def forward(self, signal_mv, lead_mask, leads, patches):
        return self.model(Batch(signal_mv, lead_mask), visible=VisiblePatches(leads, patches)).loss

batch, other = uneven_ecgs(4), some_ecgs(4, seed=7)
mask = mask_for(batch)
# ECGs of its own, since torch.compile takes an argument that is also this global for the global in later calls.
recorded = uneven_ecgs(4)

def visible_of(model):
    return model.sample_visible(recorded, torch.arange(4))
"""

COMPILED = """
from torch._dynamo.testing import CompileCounterWithBackend

for name, model in models():
    model.progress = 0.7
    torch._dynamo.reset()
    for call in (
        lambda model, batch: model.embed(batch),
        lambda model, batch: model(batch, visible=visible_of(model), divisor=torch.tensor(900.0)),
    ):
        counter = CompileCounterWithBackend("eager")
        compiled = torch.compile(call, fullgraph=True, backend=counter, dynamic=False)
        for ecgs in (batch, other):
            for one, same in zip(compiled(model, ecgs), call(model, ecgs), strict=True):
                torch.testing.assert_close(one, same, atol=1e-6, rtol=1e-5, msg=name)
        assert counter.frame_count == 1, f"{name} is compiled {counter.frame_count} times"

# A loss that follows a schedule, and a training step of a module, are compiled once as well.
torch._dynamo.reset()
torch._dynamo.config.error_on_recompile = True
model = COMPARED_MODELS["alignment, cosine"](SMALL)
compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=False)
for progress in (0.2, 0.5, 0.9):
    model.progress = progress
    losses = [kind(batch, visible=visible_of(model)).loss for kind in (compiled, model)]
    losses[0].backward()
    assert losses[0].item() == losses[1].item()
"""

EXPORTED = """
for name, model in models():
    for wrapped, inputs in (
        (Embed(model), (batch.signal_mv, batch.lead_mask)),
        (Reconstruct(model), (batch.signal_mv, batch.lead_mask, mask)),
        (Loss(model), (batch.signal_mv, batch.lead_mask, *visible_of(model)[:2])),
    ):
        with torch.no_grad():
            exported = torch.export.export(wrapped, inputs).module()
            inputs = (other.signal_mv, other.lead_mask, *inputs[2:])
            torch.testing.assert_close(exported(*inputs), wrapped(*inputs), atol=1e-5, rtol=1e-4, msg=name)
"""

RUN = """
import sys, traceback

for name, part in {parts!r}.items():
    try:
        exec(part, globals().copy())
        print("all equal:", name)
    except Exception:
        traceback.print_exc()
"""


@pytest.fixture(scope="module")
def outcome() -> subprocess.CompletedProcess:
    """What a process prints about the two programs, the one that changes settings of the compiler as the last."""
    parts = {"export": EXPORTED, "compile": COMPILED}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, FOLDERS))}
    program = [sys.executable, "-c", BEGIN + RUN.format(parts=parts)]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=880)


@pytest.mark.slow
def test_embed_and_forward_compile_as_one_graph_and_once(outcome):
    assert "all equal: compile\n" in outcome.stdout, outcome.stderr


@pytest.mark.slow
def test_embed_reconstruct_and_loss_are_exported(outcome):
    assert "all equal: export\n" in outcome.stdout, outcome.stderr
