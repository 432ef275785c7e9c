"""Several plotly figures on a page that Python can change: plotly is sent once, then only the differences of a figure.

`plotly.graph_objects.FigureWidget` brings plotly along for every figure, 5 MB each, which a browser needs seconds to
read; a page that is opened or moved later shows it as it was first made.
"""

import json
from copy import deepcopy
from pathlib import Path

import anywidget
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

HERE = Path(__file__).parent
STYLE = """
.lamae-plots { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start; container-type: inline-size; }
.lamae-group { flex: 0 1 940px; min-width: 0; display: grid; grid-template-columns: 470px 470px; align-items: start; }
.lamae-group h3 { grid-column: 1 / -1; font-size: 1em; margin: 0.4em 0 0; }
.lamae-figure-ecg, .lamae-figure-terms, .lamae-figure-attribution { grid-column: 1 / -1; }
.lamae-figure-body { grid-row: span 2; }
.lamae-narrow { flex-basis: 470px; grid-template-columns: minmax(0, 470px); }
.lamae-narrow .lamae-figure-body { grid-row: auto; }
@container (max-width: 939px) {
  .lamae-group { grid-template-columns: minmax(0, 1fr); }
  .lamae-figure-body { grid-row: auto; }
}
.lamae-stale { opacity: 0.25; }
"""


class Plots(anywidget.AnyWidget):
    """Figures by group and name, drawn in the order of their first appearance; groups are next to each other.

    What is shown is collected by `show` and goes to the browser with `send_all`, in one message.
    """

    # plotly finds a CommonJS module here, independent of other loaders on the page. It runs when the first figure is
    # drawn, not when the widget is loaded: for that anywidget allows two seconds, which a slow laptop exceeds.
    _esm = (
        "function plotly() {\nconst module = { exports: {} }, exports = module.exports, define = undefined;\n"
        f"{get_plotlyjs()}\nreturn module.exports;\n}}\n{(HERE / 'plots.js').read_text('utf-8')}"
    )
    _css = STYLE

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[tuple[str, str], dict] = {}
        self._parts, self.number = [], 0
        self.on_msg(lambda *_: self._send_whole())  # a page has been opened

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
        self.send({"parts": self._parts, "number": self.number, "all": False})
        self._parts = []

    def _send_whole(self) -> None:
        self.send({"parts": list(self._shown.values()), "number": self.number, "all": True})


def plain(figure: go.Figure) -> dict:
    """The dictionary of a figure, as for JSON: faster to change, since plotly does not validate it each time."""
    return json.loads(figure.to_json())


def _differing(before: dict, now: dict) -> dict:
    """The keys of the new dictionary that differ from the old one; None for removed keys."""
    return {key: now.get(key) for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
