"""The docstrings of the sizes state the computed numbers."""

import re

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.presets import base, large, mini, small

STATED = r"([\d.]+) M parameters, ([\d.]+) GFLOP per ECG; memory ([\d.]+) GB and (\d+) MB per ECG"
EXPECTED = r"\(([\d.]+) GB by the\s+estimate\).*?at 100 TFLOP/s would take ([\d.]+) hours"


@pytest.mark.parametrize("recipe", [mini, small, base, large])
def test_docstrings_state_the_computed_sizes(recipe):
    size, stated = recipe(), re.search(STATED, recipe.__doc__).groups()
    at_rest = size.memory_bytes(0)
    counted = (
        f"{size.parameters / 1e6:.1f}",
        f"{size.gflop_per_ecg:.1f}",
        f"{at_rest / 1e9:.2f}",
        f"{(size.memory_bytes(1) - at_rest) / 1e6:.0f}",
    )
    assert stated == counted
    expected = re.search(EXPECTED, recipe.__doc__, re.DOTALL).groups()
    assert expected == (f"{size.memory_bytes(2) / 1e9:.2f}", f"{size.hours(100e12 / size.gflop_per_ecg / 1e9):.1f}")


def test_operations_counted_on_meta_tensors_equal_a_real_step():
    size = small()
    model = LAMAE(size.model)
    signal = torch.randn(2, 12, 1000, generator=torch.Generator().manual_seed(0))
    batch = Batch(signal, torch.ones(2, 12, dtype=torch.bool))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch, generator=torch.Generator().manual_seed(0)).loss.backward()
    assert counter.get_total_flops() / 2e9 == pytest.approx(size.gflop_per_ecg, rel=1e-6)
    assert sum(parameter.numel() for parameter in model.parameters()) == size.parameters


def test_hours_follow_from_a_measured_throughput():
    size = base(ecgs=10_240, epochs=50)
    assert size.train.steps == 500 and size.train.warmup_steps == 25
    assert size.hours(1024.0) == pytest.approx(500 / 3600)
    with pytest.raises(ECGError, match="throughput is 0 ECGs/s"):
        size.hours(0.0)
