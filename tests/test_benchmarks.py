"""The benchmarks of training: correct measurements, and a reference design that learns."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import gpu_training
import measuring
import plain_design
import scaling
import training_ways
from lamae_toolkit.data.batch import Batch
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.presets import MINI, Size, small

BENCHMARKS = Path(training_ways.__file__).parent


def plain_model(**changes) -> plain_design.PlainMAE:
    torch.manual_seed(0)
    return plain_design.PlainMAE(replace(plain_design.PlainConfig(48, 2, 2, 24, 2), **changes))


@pytest.mark.slow
def test_the_plain_design_learns(cohort):
    step = plain_design.plain_step(
        plain_model(), plain_design.in_order(cohort, 16), lambda rows: plain_design.filtered_at_access(cohort, rows)
    )
    losses = [float(step()) for _ in range(30)]
    # Before it learns it draws its small random numbers: about 1, what guessing the mean of each lead costs.
    assert losses[0] > 1.1 * np.mean(losses[-5:]), losses
    assert np.mean(losses[-5:]) < 1.03, losses


def test_a_loop_over_leads_changes_time_and_not_the_result():
    signal = torch.randn(2, 12, 1000, generator=torch.Generator().manual_seed(0))
    losses = []
    for loops in (True, False):
        model = plain_model(decoder_loops=loops)
        losses.append(model(signal, torch.Generator().manual_seed(1)))
    assert torch.allclose(*losses, rtol=1e-6)


def test_leads_of_the_plain_design_interact_only_where_documented():
    """What is drawn of lead I changes with lead V1 if the leads look at each other, and not otherwise."""
    signal = torch.randn(1, 12, 1000, generator=torch.Generator().manual_seed(0))
    for meet in (True, False):
        model, drawn = plain_model(leads_look_at_each_other=meet), []
        model.decoder_pred.register_forward_hook(lambda _, __, output, drawn=drawn: drawn.append(output))
        for change in (0.0, 1.0):
            other = signal.clone()
            other[:, 6] += change * torch.linspace(-1, 1, 1000)
            model(other, torch.Generator().manual_seed(1))
        assert torch.allclose(drawn[0], drawn[12], atol=1e-7) is not meet


def test_filtering_at_access_and_once_give_the_same_ecgs(cohort, tmp_path):
    once = plain_design.filtered_store(cohort, tmp_path / "once")
    rows = plain_design.in_order(cohort, 8)()
    at_access, packed = plain_design.filtered_at_access(cohort, rows), plain_design.packed(once, rows)
    assert packed.std(dim=2).mean() == pytest.approx(1.0, abs=1e-3)
    assert (at_access - packed).abs().max() < 0.02  # a store keeps steps of 0.001 mV


@pytest.mark.parametrize("pair", plain_design.PAIRS)
def test_both_designs_cost_the_same_operations(pair):
    ours, plain = plain_design.PAIRS[pair]
    assert ours in (LAMAEConfig(), MINI) and ours.width == plain.width
    signal = torch.randn(1, 12, 1000)
    model = LAMAE(ours)
    batch = Batch(signal, torch.ones(1, 12, dtype=torch.bool))
    operations = [
        measuring.flop(lambda: model(batch).loss.backward()),
        measuring.flop(lambda: plain_design.PlainMAE(plain)(signal).backward()),
    ]
    assert operations[1] == pytest.approx(operations[0], rel=0.01)


def test_peak_memory_is_the_most_held_at_one_time():
    def function() -> None:
        first = torch.zeros(1_000_000)
        second = first + 1
        del first, second
        torch.zeros(500_000)

    assert measuring.peak_bytes(function) == pytest.approx(8_000_000, rel=0.01)


def test_covered_time_counts_what_overlaps_once():
    assert measuring.covered([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4
    assert measuring.covered([]) == 0


def test_an_exponent_is_that_of_a_power():
    sizes = [1, 2, 3, 6, 12]
    assert measuring.exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_jobs_take_turns_and_a_first_call_is_not_timed():
    called = []
    taken = measuring.in_turns({name: lambda name=name: called.append(name) for name in "ab"}, 2, 0.0)
    assert called == list("ababab") and all(len(times) == 2 for times in taken.values())


def test_a_tiled_store_is_a_store(tmp_path):
    signals = np.arange(3 * 12 * 1000, dtype=np.int16).reshape(3, 12, 1000)
    store = measuring.tiled_store(tmp_path / "store", signals, 10)
    assert len(store) == 10 and store.sampling_rate_hz == 100.0 and (store.signals[7] == signals[1]).all()


@pytest.mark.slow
def test_estimated_memory_per_ecg_is_what_more_ecgs_take():
    size = small()
    model = LAMAE(size.model)

    def peak(ecgs: int) -> int:
        batch = Batch(torch.randn(ecgs, 12, 1000), torch.ones(ecgs, 12, dtype=torch.bool))
        with sdpa_kernel(SDPBackend.MATH):
            return measuring.peak_bytes(lambda: model(batch).loss.backward())

    assert peak(6) - peak(3) == pytest.approx(size.memory_bytes(6) - size.memory_bytes(3), rel=0.05)


@pytest.fixture(scope="module")
def toy() -> Size:
    return gpu_training.QUICK


ALONE = DistributedContext(0, 1, torch.device("cpu"))


def test_exact_variants_give_the_results_of_the_plain_path(cohort, toy):
    batch = cohort.batch(range(8))
    loss, gradient, change = training_ways.Training(toy, training_ways.PLAIN, ALONE).first_step(batch)
    for choice in ({"fused_optimiser": True}, {"fused_attention": True}, {"accumulation": 4}):
        way = replace(training_ways.PLAIN, **choice)
        found = training_ways.Training(toy, way, ALONE).first_step(batch, gradient)
        assert found[0] == pytest.approx(loss, rel=1e-5), choice
        assert (found[1] - gradient).norm() < 1e-5 * gradient.norm(), choice
        assert (found[2] - change).norm() < 1e-5 * change.norm(), choice


def test_bfloat16_is_near_the_plain_path_and_not_equal(cohort, toy):
    batch = cohort.batch(range(8))
    gradients = [
        training_ways.Training(toy, replace(training_ways.PLAIN, half=half), ALONE).first_step(batch)[1]
        for half in (False, True)
    ]
    assert 1e-4 < (gradients[1] - gradients[0]).norm() / gradients[0].norm() < 3e-2


def test_parts_of_a_step_add_up_to_it(cohort, toy):
    training = training_ways.Training(toy, training_ways.PLAIN, ALONE)
    with training_ways.batches(cohort, 8, ALONE, "auto") as fed:
        parts = training_ways.parts_ms(training, fed, 2)
    assert list(parts) == ["data", "mask", "forward", "backward", "optimizer"]
    assert all(ms > 0 for ms in parts.values())


def test_device_waiting_for_data_is_reported_as_idle(cohort, toy):
    training = training_ways.Training(toy, training_ways.PLAIN, ALONE)
    batch = cohort.batch(range(8))

    def slow():
        while True:
            time.sleep(0.2)
            yield batch

    training.step(batch)
    idle = [training_ways.idle_share(training, fed, 3) for fed in (iter([batch] * 3), slow())]
    assert 0 <= idle[0] < idle[1] and idle[1] < 1


@pytest.mark.slow
def test_the_benchmark_for_a_gpu_runs_on_a_cpu():
    command = [sys.executable, str(BENCHMARKS / "gpu_training.py"), "--device", "cpu", "--quick"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "failed" not in ran.stdout and ran.stdout.count("| toy, plain |") == 2, ran.stdout
    assert ran.stdout.count("needs a GPU") == 2 and "| fast - torch.compile |" in ran.stdout


def test_without_a_gpu_the_benchmark_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="1"):
        gpu_training.main([])
    assert "No GPU is at hand" in capsys.readouterr().err


def test_costs_of_all_sizes_are_drawn():
    axes = {"leads": (1, 12), "width": (48, 96)}
    costs = {
        axis: {name: [scaling.Cost(1.0 * size, 2.0 * size, 3.0 * size) for size in sizes] for name in scaling.DESIGNS}
        for axis, sizes in axes.items()
    }
    grid = scaling.draw(costs, axes).axes
    assert len(grid) == 6 and [text.get_text() for text in grid[4].get_xticklabels()] == ["1", "12"]
    assert grid[2].lines[0].get_ydata().tolist() == [2.0, 24.0]


@pytest.mark.parametrize("axis", scaling.AXES)
def test_both_designs_take_a_step_at_the_ends_of_a_scale(axis):
    jobs, ecgs = scaling.steps_at(axis, scaling.AXES[axis][0])
    assert ecgs == (1 if axis == "ECGs in a batch" else scaling.BATCH)
    assert all(torch.isfinite(job()) for job in jobs.values())
