"""The training monitor: the loss while a model trains, and one ECG that it reconstructs during training."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.pretrained import PretrainedModel
from lamae_toolkit.palette import ACCENT
from lamae_toolkit.plots.training import MonitoredECG, Snapshot, progress_figure, snapshot_figure, take_snapshot
from lamae_toolkit.widgets.base.plots import Plot
from lamae_toolkit.widgets.base.shell import Shell, ecg_title


class TrainingMonitor(Shell):
    """Watch a model while it trains, and stop it when you have seen enough.

    model: the model that is trained. store, row: an ECG that is not trained on. every: training steps between two
    reconstructions of it. log: the rows of a run that is resumed, as from `lt.read_log`. seed: of the mask. ECGError if
    the store has no such row.

    `start` trains in the background, so that the notebook stays free. The button finishes the current step, writes the
    checkpoint and pauses; "Resume" continues exactly there. `wait` waits for the end, for a notebook that runs from its
    first cell to its last; an interrupt of the notebook stops both cleanly. Without a thread, give
    `watch=monitor.watch` to `lt.pretrain`: the figures are live, but the button acts only after the cell has ended.

    Example:
        import tempfile

        import lamae_toolkit as lt

        with tempfile.TemporaryDirectory() as folder:
            store = lt.simulate_store(f"{folder}/store", 12, progress=False)
            model = lt.LAMAE(lt.LAMAEConfig(width=24, heads=2, pooling_heads=2, encoder_depth=1))
            monitor = lt.TrainingMonitor(model, store, row=11)
            # monitor.start(lt.pretrain, model, store, range(11), "run", lt.TrainConfig(steps=200))
            print(monitor.describe())
    """

    name, heading = "training-monitor", "Training monitor"

    def __init__(
        self,
        model: PretrainedModel,
        store: Store,
        row: int,
        *,
        every: int = 20,
        log: Sequence[dict] = (),
        seed: int = 0,
    ) -> None:
        if every < 1:
            raise ECGError(f"The monitor cannot reconstruct every {every} steps; give 1 or more.")
        if not 0 <= row < len(store):
            raise ECGError(f"The store has no row {row}, only 0 to {len(store) - 1}; choose one of these.")
        self.model, self.row, self.every, self.seed = model, row, every, seed
        self.monitored = MonitoredECG.of(store, row, model, seed)
        self.logged, self.snapshots, self.steps = list(log), [], None
        self._last: Snapshot | None = None
        # An event, not the thread, marks the end of training: Python 3.11 considers a thread finished when the wait for
        # it is interrupted.
        self._halt, self._ended, self._training, self._error = threading.Event(), threading.Event(), None, None
        self._ended.set()
        self._state = "Not started."
        self.button = widgets.Button(description="Stop", icon="stop", disabled=True)
        self.bar = widgets.IntProgress(description="Steps", layout={"width": "400px"})
        self.bar.style.bar_color = ACCENT
        self._curve, self._ecg = (Plot(figure, self.name) for figure in self.figures())
        self.button.on_click(lambda _: self.attempt(self._press))
        heading = widgets.HTML(f"<p>Monitored: {ecg_title(store, row)}</p>")
        super().__init__([widgets.HBox([self.button, self.bar]), self._curve, heading, self._ecg])
        self.changed()

    def figures(self) -> list[go.Figure]:
        """The learning curve, and the last reconstruction of the monitored ECG."""
        return [progress_figure(self.logged, self.snapshots, self.steps), snapshot_figure(self.monitored, self._last)]

    def code(self) -> str:
        """Lines for the curve from the log of the run in `folder`, and for the ECG as `model` reconstructs it now."""
        return (
            "import lamae_toolkit as lt\n"
            f"monitored = lt.plots.MonitoredECG.of(store, {self.row}, model, seed={self.seed})\n"
            "curve = lt.plots.progress_figure(lt.read_log(folder))\n"
            f"snapshot = lt.plots.take_snapshot(model, monitored, {self._last.step if self._last else 0})\n"
            "ecg = lt.plots.snapshot_figure(monitored, snapshot)"
        )

    def describe(self) -> str:
        """The progress of training, and the error of the reconstruction."""
        text = self._state
        if self.logged:
            text += f" Step {self.logged[-1]['step']}: loss {self.logged[-1]['loss']:.3f}."
        if self.snapshots:
            first, last = self.snapshots[0], self.snapshots[-1]
            text += f" The monitored ECG is reconstructed with an error of {last.error:.3f} (step {last.step})"
            text += f", at step {first.step} it was {first.error:.3f}." if last is not first else "."
        return f"{text} An error of 1 is that of predicting the mean of each lead."

    def watch(self, step: int, row: dict | None) -> bool:
        """What `pretrain` calls after every step; True once the stop button was pressed."""
        if row is not None:
            self.logged = [old for old in self.logged if old["step"] < row["step"]] + [row]
        if not self.running:
            self._state = "Training in a cell, which the notebook's own stop button interrupts."
        if step % self.every == 0 or self._halt.is_set():
            self._show(step)
        return self._halt.is_set()

    def _show(self, step: int) -> None:
        """Reconstruct the monitored ECG again and update both figures."""
        self._last = take_snapshot(self.model, self.monitored, step)
        self.snapshots = [old for old in self.snapshots if old.step < step] + [self._last]
        curve, ecg = self.figures()
        self._curve.redraw(curve)
        self._ecg.redraw(ecg)
        self.bar.value = step
        self.changed()

    def start(
        self, pretrain: Callable, model: PretrainedModel, store: Store, rows: Any, folder: Any, config: Any, **more
    ) -> None:
        """Train in the background: `pretrain` (or a function with the same signature) with its arguments."""
        if model is not self.model:
            raise ECGError("This monitor is of another model; make one with the model that you train.")
        if self.running:
            raise ECGError("Training is already running; stop it before you start another run.")
        self._training = lambda: pretrain(
            model, store, rows, folder, config, watch=self.watch, **{"progress": False} | more
        )
        self.steps = self.bar.max = config.steps
        self._resume()

    @property
    def running(self) -> bool:
        """Whether training is running."""
        return not self._ended.is_set()

    def stop(self) -> None:
        """Finish the present step, write the checkpoint and pause; returns at once."""
        if self.running:
            self._say_state("Stopping after this step.", "Stopping", disabled=True)
            self._halt.set()  # last, so that the message of the thread comes after

    def wait(self) -> None:
        """Wait until training has ended or paused; an error in it is raised here. An interrupt stops it cleanly."""
        try:
            while self.running:
                self._ended.wait(0.2)
        except KeyboardInterrupt:
            self.stop()
            self._ended.wait()
        self.renew_picture()
        if self._error is not None:
            raise self._error

    def _press(self) -> None:
        if self.running:
            self.stop()
        else:
            self._resume()

    def _resume(self) -> None:
        self._halt.clear()
        self._error = None
        self._say_state("Training.", "Stop")
        self._ended.clear()
        threading.Thread(target=self._run, name="training", daemon=True).start()

    def _run(self) -> None:
        """In the thread: train, and report how it ended."""
        try:
            if not self.snapshots:
                self._show(self.logged[-1]["step"] if self.logged else 0)
            self._training()
            done = self.logged[-1]["step"] if self.logged else 0
            if self._halt.is_set():
                self._say_state(
                    "Paused; the checkpoint is complete, and training resumes exactly at this step.", "Resume"
                )
            else:
                self._show(max(done, self._last.step))
                self._say_state("Done.", "Done", disabled=True)
        except Exception as error:  # raised again by `wait`, and shown on the page
            self._error = error
            self._say_state("Training ended with an error; the last checkpoint is kept.", "Resume")
            self.say(str(error), alert=True)
        finally:
            self._ended.set()
        self.renew_picture()

    def _say_state(self, state: str, label: str, disabled: bool = False) -> None:
        self._state = state
        self.button.description, self.button.disabled = label, disabled
        self.button.icon = {"Stop": "stop", "Resume": "play", "Done": "check"}.get(label, "hourglass")
        self.changed()
