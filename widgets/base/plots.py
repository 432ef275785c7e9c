"""Plotly figures on a page that Python can change; plotly itself is sent once, for all of them.

`plotly.graph_objects.FigureWidget` brings plotly along for every figure, 5 MB each, which a browser needs seconds to
read; a page that is opened or moved later shows it as it was first made, and on a slow computer it stays empty. It has
a button that uploads the figure, too.
"""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import anywidget
import ipywidgets as widgets
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

HERE = Path(__file__).parent
STYLE = """
.lamae-plots { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start; min-width: 0; }
.lamae-group { flex: 1 1 0; min-width: 0; display: grid; align-items: start;
  grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
.lamae-group h3 { grid-column: 1 / -1; font-size: 1em; margin: 0.4em 0 0; }
.lamae-figure { min-width: 0; overflow: hidden; }
.lamae-figure-ecg, .lamae-figure-terms, .lamae-figure-attribution { grid-column: 1 / -1; }
.lamae-figure-body { grid-row: span 2; }
.lamae-plot .lamae-group, .lamae-narrow { grid-template-columns: minmax(0, 1fr); }
.lamae-narrow .lamae-figure-body { grid-row: auto; }
.lamae-plot { flex: 1 1 auto; }
.lamae-narrow { flex-basis: 470px; }
/* The explorer: ECG and prediction next to each other where there is room, one below the other where there is not. */
.lamae-lead-explorer { container-type: inline-size; }
.lamae-shell .lamae-stage { display: grid; gap: 10px; align-items: start; grid-template-columns: minmax(0, 1fr); }
@container (max-width: 719px) {
  .lamae-stage .lamae-group { grid-template-columns: minmax(0, 1fr); }
  .lamae-stage .lamae-figure-body { grid-row: auto; }
}
@container (min-width: 1080px) {
  .lamae-shell .lamae-stage.lamae-alone {
    grid-template: auto auto 1fr / minmax(0, 1.5fr) minmax(0, 1fr);
  }
  .lamae-alone :is(.lamae-plots, .lamae-group) { display: contents; }
  .lamae-alone .lamae-group h3 { display: none; }
  .lamae-alone .lamae-papers { grid-area: 1 / 1; }
  .lamae-alone :is(.lamae-figure-terms, .lamae-figure-attribution) { grid-area: 1 / 2 / span 2; }
  .lamae-alone .lamae-figure-body { grid-area: 2 / 1 / span 2; }
  .lamae-alone .lamae-figure-probabilities { grid-area: 3 / 2; }
  .lamae-alone .lamae-figure-ecg { grid-area: 1 / 1 / auto / -1; }
  .lamae-alone .lamae-figure-attention { grid-area: 2 / 2 / span 2; }
}
.lamae-stale { opacity: 0.25; }
"""


class _Library(widgets.Widget):
    """Plotly's JavaScript, which all figures of a kernel share.

    Not a part of their `_esm`: anywidget allows two seconds for reading that, which a slow laptop exceeds for 5 MB.
    """

    code = traitlets.Unicode().tag(sync=True)
    _only: "_Library | None" = None

    @classmethod
    def of_this_kernel(cls) -> "_Library":
        """The one library, made when the first figure needs it."""
        if cls._only is None or cls._only.comm is None:  # it was closed with all other widgets
            cls._only = cls(code=get_plotlyjs())
        return cls._only


class Plots(anywidget.AnyWidget):
    """Figures by group and name, drawn in the order of their first appearance; groups are next to each other.

    What is shown is collected by `show` and goes to the browser with `send_all`, in one message: at first all, later
    what differs.
    """

    _esm = (HERE / "plots.js").read_text("utf-8")
    _css = STYLE
    _library = traitlets.Instance(_Library).tag(sync=True, **widgets.widget_serialization)
    _state = traitlets.Dict().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(_library=_Library.of_this_kernel())
        self._shown: dict[tuple[str, str], dict] = {}
        self._parts, self.number = [], 0
        self.on_msg(lambda _, message, __: self._receive(message))

    def _receive(self, message: dict) -> None:
        if message["event"] == "here":  # a page has been opened
            self._send_whole()

    def show(
        self,
        group: str,
        name: str,
        figure: dict | None,
        *,
        words: str,
        heading: str = "",
        narrow: bool = False,
        stale: bool = False,
    ) -> None:
        """Show a figure, as from `plain`; None keeps the previous one.

        words: what it shows, for those who do not see it. heading, narrow: of its group, in one column or two.
        stale: it is shown pale, since a newer one is on its way.
        """
        before = self._shown.get((group, name))
        if figure is None and before is None:
            return
        about = {"group": group, "name": name, "heading": heading, "narrow": narrow, "words": words, "stale": stale}
        drawn = before if figure is None else deepcopy(figure)  # its owner may change it again
        now = about | {key: drawn[key] for key in ("data", "layout")}
        self._shown[group, name] = now
        if before is None or len(before["data"]) != len(now["data"]):
            self._parts.append(now)
        elif figure is None:
            self._parts.append(about)
        else:
            traces = [_differing(*pair) for pair in zip(before["data"], now["data"], strict=True)]
            self._parts.append(about | {"data": traces, "layout": _differing(before["layout"], now["layout"])})

    def take_away(self, group: str) -> None:
        """Remove a group with all its figures from the page."""
        self._shown = {place: figure for place, figure in self._shown.items() if place[0] != group}
        self._parts.append({"group": group, "gone": True})

    def send_all(self) -> None:
        """Send the collected changes to all open pages."""
        self.number += 1
        if self._state:
            self.send({"parts": self._parts, "number": self.number, "all": False})
        else:  # as a part of the widget's state, which a page has even while Python is busy with another cell
            self._state = {"parts": list(self._shown.values()), "number": self.number}
        self._parts = []

    def _send_whole(self) -> None:
        self.send({"parts": list(self._shown.values()), "number": self.number, "all": True})


class Plot(Plots):
    """One figure on the page, as wide as there is room, that Python can replace and that answers to the mouse.

    figure: with a title, which is its description for screen readers. name: of the file in which the reader saves it.
    on_click: called with the numbers of the trace and of the point that were clicked. on_select: called with the
    numbers of the points of the first trace inside a lasso or box that was drawn; with none when the selection ends.
    """

    def __init__(
        self,
        figure: go.Figure,
        name: str,
        *,
        on_click: Callable[[int, int], None] | None = None,
        on_select: Callable[[list[int]], None] | None = None,
    ) -> None:
        super().__init__()
        self.add_class("lamae-plot")
        self._name, self._on_click, self._on_select = name, on_click, on_select
        self.redraw(figure)

    def redraw(self, figure: go.Figure, *, unselect: bool = False) -> None:
        """Show this figure instead; the reader's zoom stays. unselect: outlines that the reader drew go."""
        self.figure, self.number = figure, self.number + 1
        words = re.sub(r"<[^>]*>", " ", figure.layout.title.text or self._name)
        about = {"group": "only", "name": self._name, "heading": "", "narrow": False, "words": words, "stale": False}
        self._state = {"parts": [about | {"unselect": unselect} | plain(figure)], "number": self.number}

    def _receive(self, message: dict) -> None:
        if message["event"] == "click" and self._on_click is not None:
            self._on_click(message["trace"], message["point"])
        elif message["event"] == "select" and self._on_select is not None:
            self._on_select(message["points"])


def plain(figure: go.Figure) -> dict:
    """The dictionary of a figure, as for JSON: faster to change, since plotly does not validate it each time."""
    return json.loads(figure.to_json())


def _differing(before: dict, now: dict) -> dict:
    """The keys of the new dictionary that differ from the old one; None for removed keys."""
    return {key: now.get(key) for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
