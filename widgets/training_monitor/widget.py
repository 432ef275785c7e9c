"""The training monitor: the loss while a model learns, and one ECG that it draws better and better."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.pretrained import PretrainedModel
from lamae_toolkit.plots.training import Drawing, MonitoredECG, draw, drawing_figure, progress_figure
from lamae_toolkit.widgets.base.shell import Shell, ecg_title, live, redraw


class TrainingMonitor(Shell):
    """Watch a model while it is trained, and stop it when you have seen enough.

    store, row: an ECG that is not trained on. every: so many steps pass between two drawings of it. log: the rows of
    a run that goes on, as from `train.read_log`.

        monitor = TrainingMonitor(model, store, row)
        monitor.start(pretrain, model, store, rows, folder, config)
        monitor

    Training then goes on in the background, in a thread of its own, so that the notebook stays free, and the button
    reaches Python at once: the step under way is finished, the checkpoint written, and "Go on" resumes exactly there.
    `monitor.wait()` waits for it, as a notebook does that runs from its first cell to its last; the notebook's own stop
    button (an interrupt) stops both in the same clean way. Whoever wants no thread gives `watch=monitor.watch` to
    `pretrain`; the figures live then as well, but the button cannot be heard until the cell has ended.
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
            raise ECGError(f"The monitor cannot draw every {every} steps; give a number from 1 on.")
        if not 0 <= row < len(store):
            raise ECGError(f"The store has no row {row}, only 0 to {len(store) - 1}; watch one of these.")
        self.model, self.row, self.every, self.seed = model, row, every, seed
        self.watched = MonitoredECG.of(store, row, model, seed)
        self.logged, self.drawings, self.steps = list(log), [], None
        self._last: Drawing | None = None
        # Not the thread but an event says that training has ended: Python 3.11 takes a thread for ended when the wait
        # for it is interrupted.
        self._halt, self._ended, self._training, self._error = threading.Event(), threading.Event(), None, None
        self._ended.set()
        self._state = "Not started."
        self.button = widgets.Button(description="Stop", icon="stop", disabled=True)
        self.bar = widgets.IntProgress(description="Steps", layout={"width": "400px"})
        self.bar.style.bar_color = "#0072B2"
        self._curve, self._ecg = (live(figure, self.name) for figure in self.figures())
        self.button.on_click(lambda _: self.attempt(self._press))
        heading = widgets.HTML(f"<p>Watched: {ecg_title(store, row)}</p>")
        super().__init__([widgets.HBox([self.button, self.bar]), self._curve, heading, self._ecg])
        self.changed()

    def figures(self) -> list[go.Figure]:
        """The learning curve, and the watched ECG as it was last drawn."""
        return [progress_figure(self.logged, self.drawings, self.steps), drawing_figure(self.watched, self._last)]

    def code(self) -> str:
        """The curve from the log on disk, and the ECG drawn by the model as it is now; `folder` is that of the run."""
        return (
            "from lamae_toolkit.plots.training import MonitoredECG, draw, drawing_figure, progress_figure\n"
            "from lamae_toolkit.training.trainer import read_log\n"
            f"watched = MonitoredECG.of(store, {self.row}, model, seed={self.seed})\n"
            "curve = progress_figure(read_log(folder))\n"
            f"ecg = drawing_figure(watched, draw(model, watched, {self._last.step if self._last else 0}))"
        )

    def describe(self) -> str:
        """How far training is, and how well it draws."""
        text = self._state
        if self.logged:
            text += f" Step {self.logged[-1]['step']}: loss {self.logged[-1]['loss']:.3f}."
        if self.drawings:
            first, last = self.drawings[0], self.drawings[-1]
            text += f" The watched ECG is drawn with an error of {last.error:.3f} (step {last.step})"
            text += f", at step {first.step} it was {first.error:.3f}." if last is not first else "."
        return f"{text} An error of 1 is what guessing the mean of each lead gives."

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
        """Draw the watched ECG anew and renew both figures."""
        self._last = draw(self.model, self.watched, step)
        self.drawings = [old for old in self.drawings if old.step < step] + [self._last]
        curve, ecg = self.figures()
        redraw(self._curve, curve)
        with self._ecg.batch_update():  # of the ECG nothing changes but what the model drew and its title
            for old, new in zip(self._ecg.data, ecg.data, strict=True):
                if new.legendgroup == "overlay":
                    old.y = new.y
            self._ecg.layout.title.text = ecg.layout.title.text
        self.bar.value = step
        self.changed()

    def start(
        self, pretrain: Callable, model: PretrainedModel, store: Store, rows: Any, folder: Any, config: Any, **more
    ) -> None:
        """Train in the background: `pretrain` (or a function that is called like it) with what it takes."""
        if model is not self.model:
            raise ECGError("This monitor watches another model; make one with the model that is to be trained.")
        if self.running:
            raise ECGError("Training is under way already; stop it before you start anew.")
        self._training = lambda: pretrain(
            model, store, rows, folder, config, watch=self.watch, **{"progress": False} | more
        )
        self.steps = self.bar.max = config.steps
        self._go_on()

    @property
    def running(self) -> bool:
        """Whether training is under way."""
        return not self._ended.is_set()

    def stop(self) -> None:
        """Finish the step under way, write the checkpoint and pause; returns at once."""
        if self.running:
            self._say_state("Stopping after this step.", "Stopping", disabled=True)
            self._halt.set()  # only now, so that the thread has the last word

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
            self._go_on()

    def _go_on(self) -> None:
        self._halt.clear()
        self._error = None
        self._say_state("Training.", "Stop")
        self._ended.clear()
        threading.Thread(target=self._run, name="training", daemon=True).start()

    def _run(self) -> None:
        """In the thread: train, and say how it ended."""
        try:
            if not self.drawings:
                self._show(self.logged[-1]["step"] if self.logged else 0)
            self._training()
            done = self.logged[-1]["step"] if self.logged else 0
            if self._halt.is_set():
                self._say_state("Paused; the checkpoint is whole, and going on resumes exactly here.", "Go on")
            else:
                self._show(max(done, self._last.step))
                self._say_state("Done.", "Done", disabled=True)
        except Exception as error:  # it belongs to the cell that waits, and to the page that shows no cell
            self._error = error
            self._say_state("Training ended with an error; the last checkpoint is kept.", "Go on")
            self.say(str(error), alert=True)
        finally:
            self._ended.set()
        self.renew_picture()

    def _say_state(self, state: str, label: str, disabled: bool = False) -> None:
        self._state = state
        self.button.description, self.button.disabled = label, disabled
        self.button.icon = {"Stop": "stop", "Go on": "play", "Done": "check"}.get(label, "hourglass")
        self.changed()
