"""What every widget has around its figures: words for the view, the code that draws it again, and ways to keep it."""

import html
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets
import plotly.graph_objects as go
from IPython.display import display, update_display
from plotly.basedatatypes import BasePlotlyType

from lamae_toolkit.ecg import ECGError
from lamae_toolkit.files import written_whole
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.picture import picture
from lamae_toolkit.plots import ecg_figure
from lamae_toolkit.report import PRIVATE, Section, write_report
from lamae_toolkit.store import Store

STYLE = """<style>
.lamae-shell button:focus-visible, .lamae-shell select:focus-visible, .lamae-shell .noUi-handle:focus-visible
  { outline: 3px solid #0072B2; outline-offset: 1px; }
.lamae-shell p { line-height: 1.45; margin: 0.3em 0; max-width: 70em; }
.lamae-shell table { margin: 0.3em 0; } .lamae-shell td, .lamae-shell th { text-align: right; padding: 0 8px;
  line-height: 1.5; } .lamae-shell tbody th { text-align: left; }
/* The picture that stands above a widget in a saved notebook is not needed while the widget lives. */
.jp-OutputArea-child:has(+ .jp-OutputArea-child .lamae-displayed) { display: none; }
</style>"""


WIDTH_PX = 940
"""Of a figure: what a notebook shows on a laptop without scrolling sideways."""


class Shell(widgets.VBox):
    """A widget made of controls and figures, which can say in words what it shows.

    What derives from it gives `figures()`, the figures of the present view from the toolkit's public functions, the
    most important first; `code()`, the lines that make them; and `describe()`, what they show, in one or two
    sentences. In a notebook that is opened without a kernel, or on GitHub, a picture of the first figure stands there.
    """

    name, heading = "widget", "Widget"

    def __init__(self, parts: Sequence[widgets.Widget]) -> None:
        self.words, self._message = widgets.HTML(), widgets.HTML()
        self._shown_code = widgets.HTML()
        show_code = widgets.ToggleButton(description="Code of this view", icon="code", layout={"width": "170px"})
        kind = widgets.Dropdown(options=["HTML", "PNG", "SVG"], layout={"width": "80px"})
        save = widgets.Button(description="Save as", icon="download", layout={"width": "95px"})
        self._show_code, self._picture_id = show_code, None
        show_code.observe(lambda _: self._update_code(), names="value")
        save.on_click(lambda _: self.attempt(lambda: self._save_beside_the_notebook(kind.value.lower())))
        bar = widgets.HBox([show_code, save, kind])
        super().__init__([widgets.HTML(STYLE), *parts, self._message, self.words, bar, self._shown_code])
        self.add_class("lamae-shell").add_class(f"lamae-{self.name}")

    def figures(self) -> list[go.Figure]:
        """The figures of the present view, the most important first."""
        raise NotImplementedError

    def code(self) -> str:
        """The lines of Python that draw the present view again."""
        raise NotImplementedError

    def describe(self) -> str:
        """What the present view shows, for those who do not see it."""
        raise NotImplementedError

    def save(self, path: Path | str) -> Path:
        """Keep the present view: all figures as one .html file that works offline, or the first as .png or .svg."""
        path = Path(path)
        if path.suffix == ".html":
            section = Section(self.heading, self.describe(), self.figures())
            return write_report(path, self.heading, f"To draw this again: {self.code()}", [section])
        if path.suffix not in (".png", ".svg"):
            raise ECGError(f"{path.name} ends in none of .html, .png and .svg; give it one of these endings.")
        with written_whole(path) as partial:
            partial.write_bytes(picture(self.figures()[0], path.suffix[1:]))
        return path

    def say(self, message: str, alert: bool = False) -> None:
        """A sentence below the figures; an alert is read out at once by a screen reader."""
        role = "alert" if alert else "status"
        self._message.value = f"<p role='{role}'><b>{html.escape(message)}</b></p>" if message else ""

    def attempt(self, action) -> None:
        """Do what was asked for; what is wrong with it is said in one sentence, and the view stays as it was."""
        try:
            self.say("")
            action()
        except ECGError as error:
            self.say(str(error), alert=True)

    def changed(self) -> None:
        """To be called when the view is another: its words and code follow."""
        self.words.value = f"<p role='status' aria-live='polite'>{html.escape(self.describe())}</p>"
        self._update_code()

    def _update_code(self) -> None:
        self._shown_code.value = f"<pre>{html.escape(self.code())}</pre>" if self._show_code.value else ""

    def _save_beside_the_notebook(self, kind: str) -> None:
        number = 1
        while Path(f"{self.name}-{number}.{kind}").exists():
            number += 1
        self.say(f"Saved as {self.save(f'{self.name}-{number}.{kind}')}, beside the notebook.")

    def _ipython_display_(self) -> None:
        self.add_class("lamae-displayed")
        self._picture_id = display(self._still(), raw=True, display_id=True).display_id
        display({"text/plain": self.heading, **widgets.VBox._repr_mimebundle_(self)}, raw=True)

    def renew_picture(self) -> None:
        """Let the picture that is kept in the notebook show the present view."""
        if self._picture_id:
            update_display(self._still(), raw=True, display_id=self._picture_id)

    def _still(self) -> dict:
        return {"image/png": picture(self.figures()[0], "png"), "text/plain": self.describe()}


def live(figure: go.Figure, file_name: str, width: int = WIDTH_PX) -> go.FigureWidget:
    """A figure on the page that Python can change; its camera keeps it as SVG."""
    shown = go.FigureWidget(figure).update_layout(width=width)
    image = {"toImageButtonOptions": {"format": "svg", "filename": file_name}}
    shown._config = shown._config | image | PRIVATE
    shown._drawn = figure
    return shown


def redraw(shown: go.FigureWidget, figure: go.Figure) -> None:
    """Let a figure on the page become a new one with as many traces.

    Only what differs from the one before is sent, so that what the reader did to it, such as zooming, stays.
    """
    with shown.batch_update():
        pairs = zip(shown.data, shown._drawn.data, figure.data, strict=True)
        for part, before, now in (*pairs, (shown.layout, shown._drawn.layout, figure.layout)):
            before, now = before.to_plotly_json(), now.to_plotly_json()
            for key in sorted(before.keys() | now.keys()):
                if not BasePlotlyType._vals_equal(before.get(key), now.get(key)):
                    part[key] = now.get(key)
    shown._drawn = figure


def ecg_title(store: Store, row: int) -> str:
    """Which ECG this is and what is known of it: "row 12, patient 7, F, 63 years: I44.7 Left bundle-branch block"."""
    ecg = store.index.iloc[row]
    age = f"{ecg.age_years:.0f} years" if ecg.age_years == ecg.age_years else "age unknown"
    codes = ", ".join(name_of(code) for code in ecg.codes) or "no code"
    return f"row {row}, patient {ecg.patient_id}, {ecg.sex or 'sex unknown'}, {age}: {codes}"


def open_ecg(place: widgets.Box, store: Store, row: int, note: str = "") -> None:
    """Show this ECG of the store in a box, in place of the one before."""
    heading = html.escape(f"{ecg_title(store, row)}{'. ' if note else ''}{note}")
    words, figure = f"<p role='status'><b>{heading}</b></p>", ecg_figure(store.recording(row))
    if place.children and len(place.children[1].data) == len(figure.data):
        place.children[0].value = words
        redraw(place.children[1], figure)
    else:  # the figure before, of other leads, is not closed: its view on the page may still have something to say
        place.children = (widgets.HTML(words), live(figure, "ecg"))
