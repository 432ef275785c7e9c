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

from lamae_toolkit.ecg.annotations import Annotation, check_annotations, fingerprint
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import found_flags
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.ecg_terms import LeadTerms
from lamae_toolkit.files import atomic_write, picture_ending
from lamae_toolkit.plots import paper as paper_plots
from lamae_toolkit.plots.export import page_value, with_few_colors
from lamae_toolkit.plots.paper import check_paper, page_start_s, paper_figure
from lamae_toolkit.plots.paper_layout import GAINS_MM_PER_MV, LAYOUTS, PAGE_S, SPEEDS_MM_PER_S, describe, level_mv, page
from lamae_toolkit.widgets.base import still
from lamae_toolkit.widgets.ecg_paper.marks import measured_as_sent, sent_page, sent_signal
from lamae_toolkit.widgets.ecg_paper.terms import HEAD_MM, as_sent, check_terms, code_on_paper, shown_code

HERE = Path(__file__).parent
SCRIPTS = ("ecg_paper_paint", "ecg_paper_marks", "ecg_paper_terms", "ecg_paper_save", "ecg_paper")
STILL_DPI, SAVED_DPI = 80, 300
COLORS = ("ink", "paper", "fine", "bold", "overlay", "flag", "shade", "caliper", "faint", "mark", "label")
KEYWORDS = {
    "layout": ("lead_layout", "3x4"),
    "mm_per_s": ("mm_per_s", 25),
    "mm_per_mv": ("mm_per_mv", 10),
    "start_s": ("start_s", 0),
    "calipers": ("calipers", None),
    "view": ("view", None),
    "code": ("icd10_code", None),
    "over_time": ("over_time", False),
    "rate_bpm": ("rate_bpm", None),
    "measured": ("measured", False),
    "title": ("title", ""),
}
"""What `code()` writes: each keyword with its trait (ipywidgets has taken the name layout) and its usual value."""


GIVEN = ("overlay", "mask", "terms", "flags", "annotations")
OF_PAPER = ("recording", "lead_layout", "mm_per_s", "mm_per_mv", "mask", "calipers", "view")
OF_TERMS = ("recording", "terms", "icd10_code", "over_time", "overlay", "mask")


class ECGPaper(anywidget.AnyWidget):
    """An ECG as on paper, with zoom, pan and calipers, by mouse or keyboard ("?" lists the keys).

    Arguments and errors as of `paper_figure`: recording; overlay, mask; layout, mm_per_s, mm_per_mv; start_s, in
    seconds; flags, rate_bpm and title. To see on which leads a prediction rests, give `terms`, the lead terms of
    this ECG: they tint the field behind each lead (vermilion for the code, blue against it, deeper up to 2 log-odds),
    with number and bar next to its name and a sentence above; not together with overlay or mask. code: whose terms; if
    None, those of the code that lies furthest above its prevalence. over_time: tint each patch by what it adds.
    measured: show beats, the median beat, rate, PR, QRS, QT, QTc and axis, as `lt.ecg.measure` finds them. annotations:
    labels, as from `lt.ecg.read_annotations`; on the page they are written with the button "Label".
    ECGError for terms of another ECG, for a code that the probe does not predict, and for terms that are not split
    over time. All arguments are attributes too, which may be set and read at any time, layout as lead_layout and code
    as icd10_code (ipywidgets and `code()` have taken the names); `show` changes the ECG and all that belongs to it at
    once. Panning and zooming need no kernel; the view is sent to Python when it stops changing.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording
        print(lt.ECGPaper(ecg, layout="6x2", mm_per_s=50).code())
        model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
        terms = lt.explain.encode_ecg(model, ecg, probe).lead_terms()
        paper = lt.ECGPaper(ecg, terms=terms)
    """

    _esm = "\n".join((HERE / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    _css = (HERE / "ecg_paper.css").read_text("utf-8") + still.STYLE

    recording = traitlets.Instance(Recording)
    overlay = traitlets.Instance(Recording, allow_none=True)
    mask = traitlets.Instance(np.ndarray, allow_none=True)
    terms = traitlets.Instance(LeadTerms, allow_none=True)
    flags = traitlets.Any(None)
    lead_layout = traitlets.Unicode("3x4").tag(sync=True)
    mm_per_s = traitlets.Int(25).tag(sync=True)
    mm_per_mv = traitlets.Int(10).tag(sync=True)
    start_s = traitlets.Float(0.0).tag(sync=True)
    calipers = traitlets.Any(None).tag(sync=True)
    view = traitlets.Any(None).tag(sync=True)
    rate_bpm = traitlets.Float(None, allow_none=True).tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    icd10_code = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    over_time = traitlets.Bool(False).tag(sync=True)
    measured = traitlets.Bool(False).tag(sync=True)
    annotations = traitlets.Tuple()

    _ecg = traitlets.Dict().tag(sync=True)
    _overlay = traitlets.Dict(None, allow_none=True).tag(sync=True)
    _mask = traitlets.Dict(None, allow_none=True).tag(sync=True)
    _terms = traitlets.Dict(None, allow_none=True).tag(sync=True)
    _pages = traitlets.Dict().tag(sync=True)
    _measured = traitlets.Dict(None, allow_none=True).tag(sync=True)
    _annotations = traitlets.List().tag(sync=True)
    _fingerprint = traitlets.Unicode().tag(sync=True)
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
        terms: LeadTerms | None = None,
        code: str | None = None,
        over_time: bool = False,
        flags: Mapping[str, Sequence[str]] | None = None,
        start_s: float | int = 0.0,
        calipers: Sequence | None = None,
        view: Sequence[float | int] | None = None,
        rate_bpm: float | int | None = None,
        title: str = "",
        measured: bool = False,
        annotations: Sequence[Annotation] = (),
    ) -> None:
        check_paper(recording, layout, mm_per_s, mm_per_mv, mask, calipers, view)
        check_terms(recording, terms, code, over_time, overlay, mask)
        super().__init__(
            recording=recording,
            overlay=overlay,
            mask=mask,
            terms=terms,
            icd10_code=code,
            over_time=over_time,
            flags=flags,
            lead_layout=layout,
            mm_per_s=mm_per_s,
            mm_per_mv=mm_per_mv,
            start_s=page_start_s(recording, start_s),
            calipers=calipers,
            view=view,
            rate_bpm=rate_bpm,
            title=title,
            annotations=check_annotations(annotations, recording),
            _measured=None,
        )
        self._refused = ""
        self.measured = measured
        if self._refused:
            raise ECGError(self._refused)
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
        terms: LeadTerms | None = None,
        code: str | None = None,
        flags: Mapping[str, Sequence[str]] | None = None,
        rate_bpm: float | int | None = None,
        title: str = "",
    ) -> None:
        """Show another ECG in the present layout, speed and gain; calipers, marks and labels are removed."""
        check_paper(recording, self.lead_layout, self.mm_per_s, self.mm_per_mv, mask)
        over_time = self.over_time and terms is not None and terms.over_time is not None
        check_terms(recording, terms, code, over_time, overlay, mask)
        with self.hold_sync():  # one message to the browser
            self.icd10_code, self.over_time = None, False
            self.calipers = self.view = self.overlay = self.mask = self.terms = self.flags = None
            self.measured, self.annotations = False, ()
            self.recording, self.rate_bpm, self.title = recording, rate_bpm, title
            self.overlay, self.mask, self.terms, self.flags = overlay, mask, terms, flags
            self.icd10_code, self.over_time = code, over_time

    def figure(self, dpi: float | int = 96) -> go.Figure:
        """The present view as a plotly Figure that needs no kernel; ECGError with what it would lack: lead terms, marks
        of what was measured, and labels.
        """
        lacking = {
            "lead terms": self.terms,
            "marks of beats": self.measured or None,
            "labels": self.annotations or None,
        }
        for what, given in lacking.items():
            if given is not None:
                raise ECGError(f"A plotly figure shows no {what}; save the paper as .png, .svg or .html.")
        arguments = {keyword: getattr(self, trait) for keyword, (trait, _) in KEYWORDS.items()}
        del arguments["code"], arguments["over_time"], arguments["measured"]
        more = {"overlay": self.overlay, "mask": self.mask, "flags": self.flags, "dpi": dpi}
        return paper_figure(self.recording, **arguments, **more)

    def code(self) -> str:
        """The line of Python that makes this view of `recording` (with overlay, mask, terms and flags if given)."""
        words = ["recording", *(f"{name}={name}" for name in self._given)]
        for keyword, (trait, usual) in KEYWORDS.items():
            value = getattr(self, trait)
            if value != usual:
                written = str(value) if isinstance(value, bool) else json.dumps(_short(value), ensure_ascii=False)
                words.append(f"{keyword}={written}")
        return f"lt.ECGPaper({', '.join(words)})"

    def save(self, path: Path | str) -> Path:
        """Write the present view as .svg (in millimetres), as .png (300 dots an inch), or as .html: a page that works
        without Python. ECGError for other endings.
        """
        path, ending = Path(path), picture_ending(path)
        contents = {
            ".svg": lambda: self.picture("svg", SAVED_DPI),
            ".png": lambda: self.picture("png", SAVED_DPI),
            ".html": lambda: self.page().encode(),
        }
        with atomic_write(path) as partial:
            partial.write_bytes(contents[ending]())
        return path

    def describe(self) -> str:
        """What is on the paper in words, for screen readers and for where there is no picture."""
        words = [self._text]
        if self.terms is not None:
            words.append(code_on_paper(self.terms, shown_code(self.terms, self.icd10_code)).words)
        if self._measured is not None:
            words.append(self._measured["words"])
        words += [f"Label at {one.time_s:.2f} s in {one.lead}: {one.text}." for one in self.annotations]
        return " ".join(words)

    def picture(self, kind: str, dpi: float | int = SAVED_DPI) -> bytes:
        """The present view as "svg" or "png", by the script of the page itself, in a Chrome; ECGError without one."""
        of_page = f'document.querySelector(".ecg-paper")?.picture?.("{kind}", {dpi})'
        content = page_value(self.page(), of_page)
        return content.encode() if kind == "svg" else base64.b64decode(content.partition(",")[2])

    def page(self) -> str:
        """The standalone page as HTML; saveHtml in ecg_paper.js makes the same."""
        state = json.dumps(self.get_state(self._kept), default=_as_base64).replace("<", "\\u003c")
        parts = {"CSS": str(self._css), "ESM": str(self._esm), "STATE": state}
        return re.sub(r"/\*(CSS|ESM|STATE)\*/", lambda found: parts[found[1]], self._template)

    def _ipython_display_(self) -> None:
        still.display_with_still(self, "ECG on paper", self._still, self.describe())

    def _still(self) -> bytes:
        return with_few_colors(self.picture("png", STILL_DPI))

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
                **sent_signal(recording),
                "levels": [level_mv(recording, lead) for lead in recording.leads],
                "flags": flags,
                "table": table,
            }
        self.start_s = page_start_s(recording, self.start_s)

    @traitlets.observe("recording")
    def _identify(self, _) -> None:
        self._fingerprint = fingerprint(self.recording)

    @traitlets.observe("measured")
    def _measure(self, _) -> None:
        """Measure, once it is asked for; without NeuroKit2 the page says how to install it."""
        try:
            self._measured = measured_as_sent(self.recording) if self.measured else None
        except ImportError as error:
            self.measured, self._refused = False, str(error)
            self.send({"refused": str(error)})

    @traitlets.observe("annotations")
    def _send_annotations(self, _) -> None:
        self._annotations = [asdict(one) for one in self.annotations]

    @traitlets.observe("_annotations")
    def _take_annotations(self, _) -> None:
        """Labels that were written on the page."""
        self.annotations = check_annotations([Annotation(**one) for one in self._annotations], self.recording)

    @traitlets.observe("recording", "terms")
    def _draw_terms(self, _) -> None:
        with self.hold_sync():
            head_mm = 0.0 if self.terms is None else HEAD_MM
            self._terms = None if self.terms is None else as_sent(self.terms)
            self._pages = {layout: sent_page(page(self.recording, layout, head_mm)) for layout in LAYOUTS}
            self._note = _note(self.recording, self.terms)

    @traitlets.observe("recording", "overlay", "mask", "terms", "flags", "rate_bpm", "annotations")
    def _draw_more(self, _) -> None:
        with self.hold_sync():
            self._overlay = None if self.overlay is None else sent_signal(self.overlay)
            self._mask = None
            if self.mask is not None:
                patch_s = (self.overlay or self.recording).duration_s / self.mask.shape[1]
                data = self.mask.astype(np.uint8).tobytes()
                self._mask = {"patches": self.mask.shape[1], "patch_s": patch_s, "data": data}
            self._text = describe(self.recording, self.flags, self.rate_bpm, self.overlay, self.mask)
            given = {name: getattr(self, name) for name in GIVEN} | {"annotations": self.annotations or None}
            self._given = [name for name, value in given.items() if value is not None]

    @traitlets.validate(*sorted({*OF_PAPER, *OF_TERMS}))
    def _checked(self, proposal: dict) -> object:
        """The same checks for traits that are set later as for arguments."""
        now = {name: getattr(self, name) for name in self.trait_names()} | {proposal["trait"].name: proposal["value"]}
        for check, names in ((check_paper, OF_PAPER), (check_terms, OF_TERMS)):
            check(*(now[name] for name in names))
        return proposal["value"]

    @traitlets.validate("start_s")
    def _inside(self, proposal: dict) -> float:
        return page_start_s(self.recording, proposal["value"])


def _note(recording: Recording, terms: LeadTerms | None) -> str:
    """Notes on missing leads, and on more than one page."""
    absent = [lead for lead in LEADS if lead not in recording.leads]
    parts = [f"Not recorded: {', '.join(absent)}."] if absent else []
    if recording.duration_s < PAGE_S:
        parts.append(f"The ECG has {recording.duration_s:.1f} s: columns that it does not reach repeat its end.")
    if recording.duration_s > PAGE_S:
        parts.append(f"The ECG has {recording.duration_s:.1f} s: Page Up and Page Down turn its pages of 10 s.")
    if terms is not None and terms.recording.duration_s < recording.duration_s:
        parts.append(f"The lead terms are of its first {terms.recording.duration_s:.1f} s.")
    return " ".join(parts)


def _as_base64(value: bytes) -> dict:
    return {"base64": base64.b64encode(value).decode()}


def _short(value: object) -> object:
    """Integers without a decimal point, as JavaScript writes them."""
    if isinstance(value, (list, tuple)):
        return [_short(one) for one in value]
    return int(value) if isinstance(value, float) and value == int(value) else value
