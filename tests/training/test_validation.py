"""The validation loss: fixed ECGs and masks, no effect on training, and its rows in the log and in TensorBoard."""

import sys
import warnings

import numpy as np
import pytest
import torch

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.random_numbers import random_keys
from lamae_toolkit.plots.training import learning_curve_figure, progress_figure
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.tensorboard import TENSORBOARD
from lamae_toolkit.training.trainer import TrainConfig, read_log
from lamae_toolkit.training.validation import ValidationLoss
from small_models import TO_TRAIN, run, same_bits, without_speed

ROWS, VALIDATION = np.arange(40), np.arange(40, 61)  # 21 ECGs: the last of the batches of 8 is not full
CONFIG = TrainConfig(steps=10, batch_size=8, warmup_steps=3, log_every=2, save_every=4, validate_every=3)
CPU = torch.device("cpu")
ONE_PROCESS = DistributedContext(0, 1, CPU)


def validation_loss(store, rows=VALIDATION, batch_size: int = 8, seed: int = 0) -> ValidationLoss:
    return ValidationLoss(store, rows, ROWS, batch_size=batch_size, seed=seed)


def test_training_has_the_same_bits_with_and_without_validation(cohort, tmp_path):
    without = run(cohort, tmp_path / "without", CONFIG)
    validated = run(cohort, tmp_path / "with", CONFIG, validation_rows=VALIDATION)
    assert same_bits(without, validated)
    log = without_speed(tmp_path / "with")
    assert [row["step"] for row in log] == [2, 3, 4, 6, 8, 9, 10]
    assert [row["step"] for row in log if "validation_loss" in row] == [3, 6, 9, 10]
    plain = [{k: v for k, v in row.items() if k != "validation_loss"} for row in log if row["step"] % 2 == 0]
    assert plain == without_speed(tmp_path / "without")
    last = validation_loss(cohort)(validated, ONE_PROCESS)
    assert log[-1]["validation_loss"] == last, "the logged loss is that of the model that is returned"


def test_a_resumed_run_has_the_same_validation_losses(cohort, tmp_path):
    run(cohort, tmp_path / "complete", CONFIG, validation_rows=VALIDATION)
    run(cohort, tmp_path / "parts", CONFIG, validation_rows=VALIDATION, stop_after=5)
    run(cohort, tmp_path / "parts", CONFIG, validation_rows=VALIDATION)
    assert without_speed(tmp_path / "parts") == without_speed(tmp_path / "complete")


def test_validation_loss_is_the_mean_over_all_masked_patches(cohort):
    model, batch = random_encoder(TO_TRAIN).train(), cohort.batch(VALIDATION)
    mask = model.sample_visible(batch, random_keys(7, -1, torch.from_numpy(VALIDATION))).mask(12, 40)
    with torch.no_grad():
        _, prediction, masked = model.eval()(batch, mask)
    model.train()
    expected = (prediction - model.patches(batch)).square().mean(dim=-1)[masked].mean().item()
    assert validation_loss(cohort, seed=7)(model, ONE_PROCESS) == pytest.approx(expected, rel=1e-5)
    assert validation_loss(cohort, seed=8)(model, ONE_PROCESS) != pytest.approx(expected, rel=1e-5), "other masks"
    assert model.training and all(parameter.grad is None for parameter in model.parameters())


def test_validation_loss_for_another_batch_size_and_in_bfloat16(cohort):
    model = random_encoder(TO_TRAIN)
    one = validation_loss(cohort)(model, ONE_PROCESS)
    assert validation_loss(cohort, batch_size=2)(model, ONE_PROCESS) == pytest.approx(one, rel=1e-6)
    half = validation_loss(cohort)(model, ONE_PROCESS, "bfloat16")
    assert half != one and half == pytest.approx(one, rel=1e-2)
    assert not model.training


def test_several_processes_share_the_parts(cohort, monkeypatch):
    model, sums = random_encoder(TO_TRAIN), []
    one = validation_loss(cohort)(model, ONE_PROCESS)
    monkeypatch.setattr(DistributedContext, "mean", lambda self, value: sums.append(value) or value)
    for rank in (0, 1):
        validation_loss(cohort, batch_size=4)(model, DistributedContext(rank, 2, CPU))
    assert sums[0] != sums[2]
    assert ((sums[0] + sums[2]) / (sums[1] + sums[3])).item() == pytest.approx(one, rel=1e-6)


def test_ecgs_that_are_trained_on_are_refused(cohort, tmp_path):
    with pytest.raises(ECGError, match="3 ECGs are in both training and validation"):
        run(cohort, tmp_path, CONFIG, validation_rows=np.arange(37, 50))
    with pytest.raises(ECGError, match="no validation ECGs; leave validation_rows out"):
        run(cohort, tmp_path, CONFIG, validation_rows=np.arange(0))


def test_the_figures_show_it_as_a_line_of_its_own():
    log = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.9, "validation_loss": 0.95}]
    for figure, name in (
        (learning_curve_figure({"LAMAE": log}), "LAMAE, validation"),
        (progress_figure(log), "validation loss"),
    ):
        (line,) = figure.select_traces({"name": name})
        assert list(line.x) == [2] and list(line.y) == [0.95]
    (without,) = learning_curve_figure({"LAMAE": log[:1]}).select_traces({"name": "LAMAE, validation"})
    assert len(without.x) == 0 and not without.showlegend


def test_tensorboard_gets_the_scalars_of_the_log(cohort, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(cohort, tmp_path, CONFIG, validation_rows=VALIDATION, stop_after=5)
    run(cohort, tmp_path, CONFIG, validation_rows=VALIDATION)
    events = accumulator.EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    names = {"loss", "validation_loss", "learning_rate", "gradient_norm", "ecgs_per_s"}
    assert set(events.Tags()["scalars"]) == names
    log = read_log(tmp_path)
    for name in names:
        expected = [(row["step"], pytest.approx(row[name])) for row in log if name in row]
        assert [(event.step, event.value) for event in events.Scalars(name)] == expected


def test_without_tensorboard_a_run_is_silent_and_complete(cohort, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(cohort, tmp_path, CONFIG, validation_rows=VALIDATION, runtime=RuntimeConfig())
    assert len(read_log(tmp_path)) == 7 and not (tmp_path / TENSORBOARD).exists()
