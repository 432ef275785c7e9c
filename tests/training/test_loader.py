"""Batches are the same for every data location, and the prefetching thread ends with the training loop."""

import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.errors import ECGError
from lamae_toolkit.training import loader
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.loader import Shuffle, data_location, load, load_batches
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import read_log
from small_models import run, same_bits, without_speed

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import cuda_checks

CPU = torch.device("cpu")
ALONE = DistributedContext(0, 1, CPU)
LOCATIONS = ("auto", "resident", "streamed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(scope="module")
def gappy(cohort, tmp_path_factory) -> Store:
    """ECGs of which many lack leads."""
    recordings = [cohort.recording(row) for row in range(45)]
    entries = [
        Record(recording.select(recording.leads[row % 12 :]), row, row, 50.0, "F", ())
        for row, recording in enumerate(recordings)
    ]
    return pack(entries, tmp_path_factory.mktemp("gappy") / "store", source="gappy")


def in_the_order_of_published_runs(rows: np.ndarray, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The rows of a step as they were computed when all rows were permuted at every step."""
    epoch, place = divmod(step, len(rows) // batch_size)
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[place * batch_size : (place + 1) * batch_size]


@pytest.mark.parametrize(("ecgs", "batch_size"), [(40, 8), (37, 5), (3000, 512), (9, 9)])
def test_steps_use_the_rows_of_published_runs(ecgs, batch_size):
    rows = np.random.default_rng(1).choice(10 * ecgs, ecgs, replace=False)
    shuffle = Shuffle(rows, batch_size, seed=3)
    steps = [*range(3 * shuffle.steps_per_epoch), 7 * shuffle.steps_per_epoch, 0]
    for step in steps:
        assert (shuffle.rows_of(step) == in_the_order_of_published_runs(rows, batch_size, 3, step)).all()


def test_every_epoch_shuffles_all_rows_once(monkeypatch):
    shuffle = Shuffle(np.arange(100, 132), 8, 0)
    drawn, draw = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or draw(seed))
    epochs = [np.concatenate([shuffle.rows_of(4 * epoch + step) for step in range(4)]) for epoch in (0, 1)]
    assert all(sorted(epoch) == list(range(100, 132)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    assert drawn == [[0, 0], [0, 1]]
    with pytest.raises(ECGError, match="32 ECGs do not fill a batch of 64"):
        Shuffle(np.arange(32), 64, 0)


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("processes", [ALONE, DistributedContext(1, 2, CPU)])
def test_batches_are_those_of_the_store(gappy, location, processes):
    rows = np.arange(5, 42)[::-1].copy()
    shuffle, steps = Shuffle(rows, 8, 2), range(2, 11)  # from within the first epoch into the third
    with load_batches(gappy, shuffle, steps, processes, location, progress=False) as batches:
        fed = list(batches)
    assert len(fed) == len(steps)
    for step, (batch, its_rows) in zip(steps, fed, strict=True):
        expected = processes.shard(in_the_order_of_published_runs(rows, 8, 2, step))
        plain = gappy.batch(expected)
        assert its_rows.tolist() == expected.tolist()
        assert len(plain) == 8 // processes.world_size and not plain.lead_mask.all()
        assert torch.equal(batch.lead_mask, plain.lead_mask) and torch.equal(batch.signal_mv, plain.signal_mv)


@pytest.mark.parametrize("location", ["resident", "streamed"])
def test_a_run_has_the_same_bits_for_every_data_location(cohort, tmp_path, location):
    plain = run(cohort, tmp_path / "plain")
    run(cohort, tmp_path / location, runtime=RuntimeConfig(data_location=location), stop_after=3)
    fed = run(cohort, tmp_path / location, runtime=RuntimeConfig(data_location=location))
    assert same_bits(plain, fed) and without_speed(tmp_path / "plain") == without_speed(tmp_path / location)


def test_automatic_data_location(cohort, monkeypatch):
    shuffle = Shuffle(np.arange(40), 8, 0)
    assert data_location(cohort, shuffle, CPU, "auto") == "on demand"
    assert data_location(cohort, shuffle, CPU, "resident") == "resident"
    gpu, size = torch.device("cuda"), 40 * 12 * 1000 * 2
    for free_bytes, how in ((2 * size, "resident"), (2 * size - 1, "streamed")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free_bytes: (free, 10 * size))
        assert data_location(cohort, shuffle, gpu, "auto") == how
    with pytest.raises(ECGError, match="data_location is 'disk'; choose from auto, resident, streamed"):
        RuntimeConfig(data_location="disk")


def test_a_message_reports_that_ecgs_which_do_not_fit_are_streamed(cohort, monkeypatch, capsys):
    shuffle = Shuffle(np.arange(40), 8, 0)
    monkeypatch.setattr(loader, "data_location", lambda *_: "streamed")
    for progress, told in ((True, "0.0 GB of ECGs are more than half of what cpu has free"), (False, "")):
        with load_batches(cohort, shuffle, range(3), ALONE, progress=progress):
            said = capsys.readouterr()
            assert told in said.out + said.err if told else said.out + said.err == ""


def test_ecgs_that_do_not_fit_are_refused(cohort):
    with pytest.raises(
        ECGError, match=r"240000\.0 GB of ECGs do not fit into the free memory of cpu; choose data_location ="
    ):
        load(cohort, np.broadcast_to(np.int64(0), 10**13 // 1000), CPU)


def test_ecgs_are_loaded_in_chunks_with_progress(cohort, monkeypatch, capsys):
    monkeypatch.setattr(loader, "LOADED_AT_ONCE", 16)
    read, packed = [], cohort.packed
    monkeypatch.setattr(cohort, "packed", lambda rows: read.append(len(rows)) or packed(rows))
    rows = np.arange(100, 63, -1)
    stored = load(cohort, rows, CPU, progress=True)
    assert read == [16, 16, 5] and (stored.numpy() == cohort.signals[rows]).all()
    assert "ECGs to cpu: 100%" in capsys.readouterr().err


def test_nothing_is_loaded_for_no_steps(cohort, monkeypatch):
    monkeypatch.setattr(loader, "load", None)
    with load_batches(cohort, Shuffle(np.arange(40), 8, 0), range(5, 5), ALONE, "resident") as batches:
        assert list(batches) == []


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch-ecgs")]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, None])
def test_the_reading_thread_ends_with_the_loop(cohort, stop):
    shuffle = Shuffle(np.arange(40), 8, 0)
    expected = nullcontext() if stop is None else pytest.raises(stop)
    with expected, load_batches(cohort, shuffle, range(100), ALONE, "streamed") as batches:
        for number, _ in enumerate(batches):
            assert len(reading_threads()) == 1
            if number == 5:
                if stop is None:
                    break
                raise stop
    assert reading_threads() == []


def test_error_in_the_prefetching_thread_is_raised_in_the_loop(cohort, monkeypatch):
    read, packed = [], cohort.packed

    def fails_at_the_fifth(rows):
        read.append(threading.current_thread())
        if len(read) == 5:
            raise OSError("the disk is gone")
        return packed(rows)

    monkeypatch.setattr(cohort, "packed", fails_at_the_fifth)
    taken = []
    with (
        pytest.raises(OSError, match="the disk is gone"),
        load_batches(cohort, Shuffle(np.arange(40), 8, 0), range(100), ALONE, "streamed") as batches,
    ):
        taken.extend(len(batch) for batch, _ in batches)
    assert len(read) < 9 and threading.current_thread() not in read
    assert reading_threads() == []


def test_an_interrupted_streamed_run_resumes_exactly(cohort, tmp_path, monkeypatch):
    whole, original = run(cohort, tmp_path / "whole"), loader.unpacked
    taken = []

    def interrupted_in_step_7(packed):
        taken.append(1)
        if len(taken) == 7:
            raise KeyboardInterrupt
        return original(packed)

    with monkeypatch.context() as patch:
        patch.setattr(loader, "unpacked", interrupted_in_step_7)
        with pytest.raises(KeyboardInterrupt):
            run(cohort, tmp_path / "killed", runtime=RuntimeConfig(data_location="streamed"))
    assert read_log(tmp_path / "killed")[-1]["step"] == 6 and reading_threads() == []
    assert same_bits(run(cohort, tmp_path / "killed", runtime=RuntimeConfig(data_location="streamed")), whole)


@needs_gpu
@pytest.mark.parametrize("name", cuda_checks.CHECKS)
def test_on_a_gpu(name, tmp_path):
    device = torch.device("cuda")
    cuda_checks.CHECKS[name](device, cuda_checks.incomplete_store(tmp_path), tmp_path / name)
