"""The frame of every widget: a description of the view, the code that reproduces it, and buttons to save it."""

import html
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets
import plotly.graph_objects as go

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError, printable
from lamae_toolkit.files import atomic_write, picture_ending
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import ACCENT
from lamae_toolkit.plots.export import picture
from lamae_toolkit.plots.report import Section, write_report
from lamae_toolkit.widgets.base import still
from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper

STYLE = (
    f"<style>{still.STYLE}"
    """
.lamae-shell button:focus-visible, .lamae-shell select:focus-visible, .lamae-shell .noUi-handle:focus-visible
  { outline: 3px solid ACCENT; outline-offset: 1px; }
.lamae-shell p { line-height: 1.45; margin: 0.3em 0; max-width: 90em; }
.lamae-shell table { margin: 0.3em 0; } .lamae-shell td, .lamae-shell th { text-align: right; padding: 0 8px;
  line-height: 1.5; } .lamae-shell tbody th { text-align: left; }
.lamae-stopped { display: none; } .jupyter-widgets-disconnected > .lamae-stopped { display: block; }
</style>"""
).replace("ACCENT", ACCENT)


class Shell(widgets.VBox):
    """A widget made of controls and figures, with a description of what it shows.

    What derives from it gives `figures()`, the figures of the present view from the toolkit's public functions, the
    most important first; `code()`, the lines that make them; and `describe()`, what they show, in one or two
    sentences. In a notebook that is opened without a kernel, or on GitHub, a picture of the first figure stands there.
    """

    name, heading = "widget", "Widget"
    again = "run the cell again"
    """What the user has to do when Python has stopped."""

    def __init__(self, parts: Sequence[widgets.Widget], below: Sequence[widgets.Widget] = ()) -> None:
        """below: parts below the message, which is displayed next to its controls."""
        self.words, self._message = widgets.HTML(), widgets.HTML()
        self._shown_code = widgets.HTML()
        show_code = widgets.ToggleButton(description="Code of this view", icon="code", layout={"width": "170px"})
        kind = widgets.Dropdown(options=["HTML", "PNG", "SVG"], layout={"width": "80px"})
        save = widgets.Button(description="Save as", icon="download", layout={"width": "95px"})
        self._show_code, self._still = show_code, None
        show_code.observe(lambda _: self._update_code(), names="value")
        save.on_click(lambda _: self.attempt(lambda: self._save_beside_the_notebook(kind.value.lower())))
        bar = widgets.HBox([show_code, save, kind])
        stopped = (
            f"<p role='alert'><b>Python has stopped. The page keeps its last state; to continue, {self.again}.</b></p>"
        )
        begin = [widgets.HTML(STYLE), widgets.HTML(stopped).add_class("lamae-stopped")]
        super().__init__([*begin, *parts, self._message, *below, self.words, bar, self._shown_code])
        self.add_class("lamae-shell").add_class(f"lamae-{self.name}")

    def figures(self) -> list[go.Figure]:
        """The figures of the present view, the most important first."""
        raise NotImplementedError

    def code(self) -> str:
        """The lines of Python that reproduce the present view."""
        raise NotImplementedError

    def describe(self) -> str:
        """A description of the present view, for screen readers."""
        raise NotImplementedError

    def save(self, path: Path | str) -> Path:
        """Save the present view: all figures as one .html file that works offline, or the first as .png or .svg."""
        path, ending = Path(path), picture_ending(path)
        if ending == ".html":
            sections = [Section("What it shows", "", self.figures()), Section("To draw this again", self.code())]
            return write_report(path, self.heading, self.describe(), sections)
        with atomic_write(path) as partial:
            partial.write_bytes(picture(self.figures()[0], ending[1:]))
        return path

    def say(self, message: str, alert: bool = False) -> None:
        """A sentence below the figures; an alert is read out at once by a screen reader."""
        role = "alert" if alert else "status"
        self._message.value = f"<p role='{role}'><b>{html.escape(message)}</b></p>" if message else ""

    def attempt(self, action) -> None:
        """Run an action; an ECGError is shown as a message, and the view stays unchanged."""
        try:
            self.say("")
            action()
        except ECGError as error:
            self.say(str(error), alert=True)

    def changed(self) -> None:
        """Called when the view has changed: updates description and code."""
        self.words.value = f"<p role='status' aria-live='polite'>{html.escape(self.describe())}</p>"
        self._update_code()

    def _update_code(self) -> None:
        self._shown_code.value = f"<pre>{html.escape(self.code())}</pre>" if self._show_code.value else ""

    def _save_beside_the_notebook(self, kind: str) -> None:
        number = 1
        while Path(f"{self.name}-{number}.{kind}").exists():
            number += 1
        self.say(f"Saved as {self.save(f'{self.name}-{number}.{kind}')}, next to the notebook.")

    def _ipython_display_(self) -> None:
        self._still = still.display_with_still(self, self.heading, self._first_figure, self.describe())

    def _first_figure(self) -> bytes:
        return picture(self.figures()[0])

    def renew_picture(self) -> None:
        """Update the still picture in the notebook to the present view."""
        if self._still is not None:
            self._still.update(still.still(self._first_figure, self.describe()), raw=True)


def control_row(*controls: widgets.Widget) -> widgets.HBox:
    """Controls next to each other, on a second line where there is no room."""
    return widgets.HBox(controls, layout={"flex_flow": "row wrap"})


def ecg_title(store: Store, row: int) -> str:
    """Row, patient, sex, age and codes: "row 12, patient 7, F, 63 years: I44.7 Left bundle-branch block"."""
    ecg = store.index.iloc[row]
    age = f"{ecg.age_years:.0f} years" if ecg.age_years == ecg.age_years else "age unknown"
    codes = ", ".join(name_of(code) for code in ecg.codes) or "no code"
    return printable(f"row {row}, patient {ecg.patient_id}, {ecg.sex or 'sex unknown'}, {age}: {codes}")


def open_ecg(place: widgets.Box, store: Store, row: int, note: str = "") -> None:
    """Show this ECG of the store in a box, replacing the previous one."""
    words = html.escape(f"{ecg_title(store, row)}{'. ' if note else ''}{note}")
    if not place.children:
        place.children = (widgets.HTML(), ECGPaper(store.recording(row), title=f"row {row}"))
    place.children[0].value = f"<p role='status'><b>{words}</b></p>"
    place.children[1].show(store.recording(row), title=f"row {row}")
