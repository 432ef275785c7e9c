"""Monitored training ends in the same bits, can be stopped and resumes exactly; figures agree with the log."""

import _thread
import signal
import threading
import time

import numpy as np
import pytest
import torch

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.plots.training import MonitoredECG, progress_figure, snapshot_figure, take_snapshot
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain, read_log
from lamae_toolkit.widgets.training_monitor.widget import TrainingMonitor
from small_models import TEN, TO_TRAIN, run, same_bits, without_speed

ENDLESS = TrainConfig(steps=100_000, batch_size=8, log_every=1, save_every=1000)


def until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_watch_is_called_at_every_step_and_changes_nothing(cohort, tmp_path):
    seen, watched = [], None

    def look(step, row):
        torch.manual_seed(step)  # a watcher may use random numbers of its own
        seen.append((step, row))
        take_snapshot(model, watched, step)
        return False

    plain = run(cohort, tmp_path / "plain")
    model = random_encoder(TO_TRAIN)
    watched = MonitoredECG.of(cohort, 50, model)
    pretrain(model, cohort, np.arange(40), tmp_path / "watched", TEN, watch=look, progress=False)
    assert same_bits(plain, model)
    assert without_speed(tmp_path / "plain") == without_speed(tmp_path / "watched")
    assert [step for step, _ in seen] == list(range(1, 11))
    assert [row for _, row in seen] == read_log(tmp_path / "watched")


def test_watch_pauses_with_a_complete_checkpoint(cohort, tmp_path):
    whole = run(cohort, tmp_path / "whole")
    model = run(cohort, tmp_path / "parts", watch=lambda step, _: step == 3)
    assert not model.training
    assert torch.load(tmp_path / "parts" / CHECKPOINT / "training.pt", weights_only=True)["step"] == 3
    assert same_bits(LAMAE.from_pretrained(tmp_path / "parts" / CHECKPOINT), model)
    assert same_bits(run(cohort, tmp_path / "parts"), whole)
    assert without_speed(tmp_path / "whole") == without_speed(tmp_path / "parts")


def test_snapshot_has_the_error_of_the_masked_patches(cohort):
    row = next(row for row in range(len(cohort)) if len(cohort.recording(row).leads) < 12)
    model = random_encoder(TO_TRAIN).train()
    watched = MonitoredECG.of(cohort, row, model)
    snapshot = take_snapshot(model, watched, 4)
    assert model.training and snapshot.step == 4
    assert snapshot.error == pytest.approx(model.eval()(watched.batch, watched.mask).loss.item())
    assert snapshot.reconstruction.leads == cohort.recording(row).leads
    assert take_snapshot(model, watched).error == snapshot.error, "the same patches are masked every time"
    figure, blank = snapshot_figure(watched, snapshot), snapshot_figure(watched)
    assert len(figure.data) == len(blank.data) and "error" in figure.layout.title.text
    for one, other in zip(figure.data, blank.data, strict=True):
        assert (one.legendgroup == "overlay") == (one.legendgroup != "ECG")
        assert one.legendgroup == "ECG" or np.isnan(other.y).all()
    with pytest.raises(ECGError, match="sampled at 100 Hz, but the model reads 500 Hz"):
        MonitoredECG.of(cohort, row, random_encoder(LAMAEConfig(sampling_rate_hz=500.0)))


def test_progress_figure_shows_the_log():
    figure = progress_figure([{"step": 1, "loss": 1.5}, {"step": 2, "loss": 1.2}], [], steps=10)
    assert figure.data[0].y == (1.5, 1.2) and figure.layout.xaxis.range == (0, 10)
    assert progress_figure([]).layout.xaxis.range == (0, 1)


def test_monitored_run_is_stopped_and_resumes_to_equal_bits(cohort, tmp_path):
    plain = run(cohort, tmp_path / "plain")
    model = random_encoder(TO_TRAIN)
    monitor = TrainingMonitor(model, cohort, 50, every=4)
    assert monitor.button.disabled and "Not started" in monitor.words.value
    real = monitor.watch

    def pausing(step, row):
        return real(step, row) or (step == 5 and not monitor.stop() and real(step, None))

    monitor.watch = pausing
    monitor.start(pretrain, model, cohort, np.arange(40), tmp_path / "run", TEN)
    monitor.wait()
    assert "Paused" in monitor.words.value and monitor.button.description == "Resume"
    assert torch.load(tmp_path / "run" / CHECKPOINT / "training.pt", weights_only=True)["step"] == 5
    monitor.watch = real
    monitor.button.click()
    monitor.wait()
    assert same_bits(plain, model) and without_speed(tmp_path / "plain") == without_speed(tmp_path / "run")
    assert [snapshot.step for snapshot in monitor.snapshots] == [0, 4, 5, 8, 10]
    assert [row["step"] for row in monitor.logged] == list(range(1, 11))
    assert monitor._curve.figure.data[2].y[-1] == monitor.snapshots[-1].error and monitor.bar.value == 10
    assert monitor.button.description == "Done" and monitor.button.disabled
    scope = {"store": cohort, "model": model, "folder": tmp_path / "run"}
    exec(monitor.code(), scope)
    assert scope["curve"].data[0] == monitor.figures()[0].data[0] and scope["ecg"] == monitor.figures()[1]


@pytest.fixture
def interrupts():
    """An interrupt raises KeyboardInterrupt, also where the shell that started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_button_and_interrupt_stop_an_endless_run(cohort, tmp_path, interrupts):
    model = random_encoder(TO_TRAIN)
    monitor = TrainingMonitor(model, cohort, 50, every=50)
    monitor.start(pretrain, model, cohort, np.arange(40), tmp_path, ENDLESS)
    with pytest.raises(ECGError, match="already running"):
        monitor.start(pretrain, model, cohort, np.arange(40), tmp_path, ENDLESS)
    until(lambda: monitor.logged)
    monitor.button.click()
    monitor.wait()
    stopped = monitor.logged[-1]["step"]
    saved = torch.load(tmp_path / CHECKPOINT / "training.pt", weights_only=True)["step"]
    assert stopped == saved < 1000
    monitor.button.click()

    def interrupt():
        until(lambda: monitor.logged[-1]["step"] > stopped)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    monitor.wait()  # as the notebook's own stop button ends it
    assert not monitor.running and "Paused" in monitor.words.value
    assert torch.load(tmp_path / CHECKPOINT / "training.pt", weights_only=True)["step"] == monitor.logged[-1]["step"]


def test_background_error_is_reported_and_raised(cohort, tmp_path):
    model = random_encoder(TO_TRAIN)
    monitor = TrainingMonitor(model, cohort, 50)
    monitor.start(pretrain, model, cohort, np.arange(4), tmp_path, TEN)
    with pytest.raises(ECGError, match="do not fill a batch of 8"):
        monitor.wait()
    assert "do not fill a batch of 8" in monitor._message.value and "error" in monitor.words.value
    monitor.start(pretrain, model, cohort, np.arange(40), tmp_path, TEN)
    monitor.wait()
    assert "Done" in monitor.words.value, "it stays usable"
    with pytest.raises(ECGError, match="is of another model"):
        monitor.start(pretrain, random_encoder(TO_TRAIN), cohort, np.arange(40), tmp_path, TEN)
    with pytest.raises(ECGError, match="no row 120, only 0 to 119"):
        TrainingMonitor(model, cohort, 120)
    with pytest.raises(ECGError, match="every 0 steps"):
        TrainingMonitor(model, cohort, 0, every=0)
