"""ECG paper to pan, zoom and measure on: a shell over `paper_figure` whose pictures are painted in the browser."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import anywidget
import numpy as np
import plotly.graph_objects as go
import traitlets
from jaxtyping import Bool

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import found_flags
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.files import atomic_write, picture_ending
from lamae_toolkit.plots import paper as paper_plots
from lamae_toolkit.plots.export import picture
from lamae_toolkit.plots.paper import check_paper, page_start_s, paper_figure, paper_svg
from lamae_toolkit.plots.paper_layout import GAINS_MM_PER_MV, LAYOUTS, PAGE_S, SPEEDS_MM_PER_S, describe, level_mv, page
from lamae_toolkit.widgets.base import still

HERE = Path(__file__).parent
SCRIPTS = ("ecg_paper_paint", "ecg_paper_save", "ecg_paper")
STILL_DPI, SAVED_DPI = 80, 300
COLORS = ("ink", "paper", "fine", "bold", "overlay", "flag", "shade", "caliper", "faint")
KEYWORDS = {
    "layout": ("lead_layout", "3x4"),
    "mm_per_s": ("mm_per_s", 25),
    "mm_per_mv": ("mm_per_mv", 10),
    "start_s": ("start_s", 0),
    "calipers": ("calipers", None),
    "view": ("view", None),
    "rate_bpm": ("rate_bpm", None),
    "title": ("title", ""),
}
"""What `code()` writes: each keyword with its trait (ipywidgets has taken the name layout) and its usual value."""


class ECGPaper(anywidget.AnyWidget):
    """An ECG as on paper, with zoom, pan and calipers, by mouse or keyboard ("?" lists the keys).

    Arguments and errors as of `paper_figure`. They are attributes too, which may be set and read at any time:
    recording, lead_layout (ipywidgets has taken the name layout), mm_per_s, mm_per_mv, overlay, mask, flags, start_s,
    calipers, view, rate_bpm and title; `show` changes the ECG and all that belongs to it at once. Panning and zooming
    need no kernel; the view is sent to Python when it stops changing.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording
        print(lt.ECGPaper(ecg, layout="6x2", mm_per_s=50).code())
    """

    _esm = "\n".join((HERE / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    _css = (HERE / "ecg_paper.css").read_text("utf-8") + still.STYLE

    recording = traitlets.Instance(Recording)
    overlay = traitlets.Instance(Recording, allow_none=True)
    mask = traitlets.Instance(np.ndarray, allow_none=True)
    flags = traitlets.Any(None)
    lead_layout = traitlets.Unicode("3x4").tag(sync=True)
    mm_per_s = traitlets.Int(25).tag(sync=True)
    mm_per_mv = traitlets.Int(10).tag(sync=True)
    start_s = traitlets.Float(0.0).tag(sync=True)
    calipers = traitlets.Any(None).tag(sync=True)
    view = traitlets.Any(None).tag(sync=True)
    rate_bpm = traitlets.Float(None, allow_none=True).tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)

    _ecg = traitlets.Dict().tag(sync=True)
    _overlay = traitlets.Dict(None, allow_none=True).tag(sync=True)
    _mask = traitlets.Dict(None, allow_none=True).tag(sync=True)
    _pages = traitlets.Dict().tag(sync=True)
    _text = traitlets.Unicode().tag(sync=True)
    _note = traitlets.Unicode().tag(sync=True)
    _given = traitlets.List().tag(sync=True)
    _keywords = traitlets.Dict(KEYWORDS).tag(sync=True)
    _speeds = traitlets.List(SPEEDS_MM_PER_S).tag(sync=True)
    _gains = traitlets.List(GAINS_MM_PER_MV).tag(sync=True)
    _colors = traitlets.Dict({name: getattr(paper_plots, name.upper()) for name in COLORS}).tag(sync=True)
    _template = traitlets.Unicode((HERE / "ecg_paper.html").read_text("utf-8")).tag(sync=True)
    _kept = traitlets.List().tag(sync=True)

    def __init__(
        self,
        recording: Recording,
        *,
        layout: str = "3x4",
        mm_per_s: int = 25,
        mm_per_mv: int = 10,
        overlay: Recording | None = None,
        mask: Bool[np.ndarray, "l n"] | None = None,
        flags: Mapping[str, Sequence[str]] | None = None,
        start_s: float | int = 0.0,
        calipers: Sequence | None = None,
        view: Sequence[float | int] | None = None,
        rate_bpm: float | int | None = None,
        title: str = "",
    ) -> None:
        check_paper(recording, layout, mm_per_s, mm_per_mv, mask, calipers, view)
        super().__init__(
            recording=recording,
            overlay=overlay,
            mask=mask,
            flags=flags,
            lead_layout=layout,
            mm_per_s=mm_per_s,
            mm_per_mv=mm_per_mv,
            start_s=page_start_s(recording, start_s),
            calipers=calipers,
            view=view,
            rate_bpm=rate_bpm,
            title=title,
        )
        self.on_msg(lambda *_: self.send("here"))  # tells the browser that Python is running
        self._kept = [
            name
            for name in self.keys
            if not name.startswith(("_model", "_view", "_dom", "_anywidget"))
            and name not in ("layout", "tooltip", "tabbable")
        ]

    def show(
        self,
        recording: Recording,
        *,
        overlay: Recording | None = None,
        mask: Bool[np.ndarray, "l n"] | None = None,
        flags: Mapping[str, Sequence[str]] | None = None,
        rate_bpm: float | int | None = None,
        title: str = "",
    ) -> None:
        """Show another ECG in the present layout, speed and gain; calipers are removed."""
        check_paper(recording, self.lead_layout, self.mm_per_s, self.mm_per_mv, mask)
        with self.hold_sync():  # one message to the browser
            self.calipers = self.view = self.overlay = self.mask = self.flags = None
            self.recording, self.rate_bpm, self.title = recording, rate_bpm, title
            self.overlay, self.mask, self.flags = overlay, mask, flags

    def figure(self, dpi: float | int = 96) -> go.Figure:
        """The present view as a plotly Figure that needs no kernel."""
        arguments = {keyword: getattr(self, trait) for keyword, (trait, _) in KEYWORDS.items()}
        more = {"overlay": self.overlay, "mask": self.mask, "flags": self.flags, "dpi": dpi}
        return paper_figure(self.recording, **arguments, **more)

    def code(self) -> str:
        """The line of Python that makes this view of `recording` (with `overlay`, `mask` and `flags` where given)."""
        words = ["recording", *(f"{name}={name}" for name in self._given)]
        for keyword, (trait, usual) in KEYWORDS.items():
            value = getattr(self, trait)
            if value != usual:
                words.append(f"{keyword}={json.dumps(_short(value), ensure_ascii=False)}")
        return f"lt.ECGPaper({', '.join(words)})"

    def save(self, path: Path | str) -> Path:
        """Write the present view as .svg (in millimetres), as .png (300 dots an inch), or as .html: a page that works
        without Python. ECGError for other endings.
        """
        path, ending = Path(path), picture_ending(path)
        contents = {
            ".svg": lambda: paper_svg(self.figure()).encode(),
            ".png": lambda: picture(self.figure(SAVED_DPI)),
            ".html": lambda: self._page().encode(),
        }
        with atomic_write(path) as partial:
            partial.write_bytes(contents[ending]())
        return path

    def _page(self) -> str:
        """The standalone page; saveHtml in ecg_paper.js makes the same."""
        state = json.dumps(self.get_state(self._kept), default=_as_base64).replace("<", "\\u003c")
        parts = {"CSS": str(self._css), "ESM": str(self._esm), "STATE": state}
        return re.sub(r"/\*(CSS|ESM|STATE)\*/", lambda found: parts[found[1]], self._template)

    def _ipython_display_(self) -> None:
        still.display_with_still(self, "ECG on paper", self.figure(STILL_DPI), self._text)

    @traitlets.observe("recording", "flags")
    def _draw_recording(self, _) -> None:
        recording = self.recording
        flags = found_flags(recording) if self.flags is None else {key: tuple(of) for key, of in self.flags.items()}
        table = [("Lead", "Recorded", "Lowest, mV", "Highest, mV", "Flags")]
        for lead in LEADS:
            recorded = lead in recording.leads
            ends = [f"{end(recording.lead(lead)):.2f}" for end in (np.min, np.max)] if recorded else ["", ""]
            table.append((lead, "yes" if recorded else "no", *ends, ", ".join(flags.get(lead, ()))))
        with self.hold_sync(), self.hold_trait_notifications():
            self._ecg = {
                **_sent(recording),
                "levels": [level_mv(recording, lead) for lead in recording.leads],
                "flags": flags,
                "table": table,
            }
            self._pages = {layout: _sent_page(recording, layout) for layout in LAYOUTS}
            self._note = _note(recording)
        self.start_s = page_start_s(recording, self.start_s)

    @traitlets.observe("recording", "overlay", "mask", "flags", "rate_bpm")
    def _draw_more(self, _) -> None:
        with self.hold_sync():
            self._overlay = None if self.overlay is None else _sent(self.overlay)
            self._mask = None
            if self.mask is not None:
                patch_s = (self.overlay or self.recording).duration_s / self.mask.shape[1]
                data = self.mask.astype(np.uint8).tobytes()
                self._mask = {"patches": self.mask.shape[1], "patch_s": patch_s, "data": data}
            self._text = describe(self.recording, self.flags, self.rate_bpm, self.overlay, self.mask)
            self._given = [name for name in ("overlay", "mask", "flags") if getattr(self, name) is not None]

    @traitlets.validate("recording", "mask", "lead_layout", "mm_per_s", "mm_per_mv", "calipers", "view")
    def _checked(self, proposal: dict) -> object:
        """The same checks for traits that are set later as for arguments."""
        names = ("recording", "lead_layout", "mm_per_s", "mm_per_mv", "mask", "calipers", "view")
        now = {name: getattr(self, name) for name in names} | {proposal["trait"].name: proposal["value"]}
        check_paper(*now.values())
        return proposal["value"]

    @traitlets.validate("start_s")
    def _inside(self, proposal: dict) -> float:
        return page_start_s(self.recording, proposal["value"])


def _sent(recording: Recording) -> dict:
    """An ECG as the browser gets it: each sample in two bytes, in steps of a 32767th of the largest voltage."""
    scale_mv = max(float(np.abs(recording.signal_mv).max()), 1e-6) / 32767
    values = np.round(recording.signal_mv / scale_mv).astype("<i2")
    return {
        "leads": recording.leads,
        "rate_hz": recording.sampling_rate_hz,
        "samples": values.shape[1],
        "duration_s": recording.duration_s,
        "scale_mv": scale_mv,
        "data": values.tobytes(),
    }


def _sent_page(recording: Recording, layout: str) -> dict:
    """A page with its strips as plain values."""
    sheet = page(recording, layout)
    strips = [{**asdict(strip), "lead": strip.lead, "sign": strip.sign} for strip in sheet.strips]
    return {**asdict(sheet), "strips": strips}


def _note(recording: Recording) -> str:
    """Notes on missing leads, and on more than one page."""
    absent = [lead for lead in LEADS if lead not in recording.leads]
    parts = [f"Not recorded: {', '.join(absent)}."] if absent else []
    if recording.duration_s < PAGE_S:
        parts.append(f"The ECG has {recording.duration_s:.1f} s: columns that it does not reach repeat its end.")
    if recording.duration_s > PAGE_S:
        parts.append(f"The ECG has {recording.duration_s:.1f} s: Page Up and Page Down turn its pages of 10 s.")
    return " ".join(parts)


def _as_base64(value: bytes) -> dict:
    return {"base64": base64.b64encode(value).decode()}


def _short(value: object) -> object:
    """Integers without a decimal point, as JavaScript writes them."""
    if isinstance(value, (list, tuple)):
        return [_short(one) for one in value]
    return int(value) if isinstance(value, float) and value == int(value) else value
