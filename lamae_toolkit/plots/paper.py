"""The ECG as on paper, to true scale, as a plotly Figure."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from numbers import Real

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool

from lamae_toolkit.ecg.quality import WHOLE_ECG, found_flags
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.palette import BLUE
from lamae_toolkit.plots._plotly import keep_private, runs
from lamae_toolkit.plots.paper_layout import (
    EDGE_MM,
    GAINS_MM_PER_MV,
    SPEEDS_MM_PER_S,
    Calipers,
    Page,
    Strip,
    describe,
    level_mv,
    page,
)

INK, PAPER, FINE, BOLD = "#1b1b1b", "#fffdfc", "#f9e0e0", "#ecb4b4"
# They differ in lightness too, from each other and from the pink grid.
OVERLAY, FLAG, SHADE, CALIPER, FAINT = BLUE, "#a63a00", "rgba(70,70,80,0.17)", "#6a3d9a", "#696969"
MM_PER_INCH = 25.4
MARK, LABEL = "#0b6e4f", "#8a1c5c"
"""Of beats and waves that were measured, and of labels; both dark enough to be read on the grid."""
TRACE_MM, TEXT_MM = 0.35, 3.2
IN_MM = {"xref": "x", "yref": "y"}
BAND = IN_MM | {"type": "rect", "layer": "below", "fillcolor": SHADE, "line_width": 0}
NOTE = IN_MM | {"showarrow": False, "yanchor": "middle", "borderpad": 0, "bgcolor": "rgba(255,253,252,0.7)"}


def paper_figure(
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
    dpi: float | int = 96,
) -> go.Figure:
    """An ECG as on paper: 1 mm = 0.04 s = 0.1 mV at the usual 25 mm/s and 10 mm/mV, to true scale at `dpi`.

    layout: "3x4" (with a rhythm strip), "6x2", "12x1" or "cabrera". mm_per_s: 25 or 50. mm_per_mv: 5, 10 or 20.
    overlay: a second ECG drawn over it, such as a reconstruction. mask: patches to shade, True where masked, over
    the overlay's length (or the ECG's), one row per lead of the recording; the overlay is then drawn there only.
    flags: what to write next to a lead's name; what `found_flags` finds if None, {} for nothing. start_s: where the
    page of 10 s begins. calipers: a measurement, as `Calipers`. rate_bpm: a heart rate for the footer. title: above
    the page. view: the part of the page that is shown, as left, top, width and height in mm. The axes are in
    millimeters; each lead's median lies on its row's baseline.
    Raises ECGError for anything else.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording
        figure = lt.paper_figure(ecg, layout="6x2", mm_per_s=50)
    """
    check_paper(recording, layout, mm_per_s, mm_per_mv, mask, calipers, view)
    flags = found_flags(recording) if flags is None else flags
    sheet = page(recording, layout)
    start_s = page_start_s(recording, start_s)
    width_mm, height_mm = sheet.size_mm(mm_per_s, mm_per_mv)
    draw = _Drawing(sheet, mm_per_s, mm_per_mv, start_s, dpi / MM_PER_INCH)
    for strip in sheet.strips:
        draw.name(strip, flags)
        if not strip.recorded:
            continue
        patches = None if mask is None else mask[recording.leads.index(strip.lead)]
        patch_s = 0.0 if patches is None else (overlay or recording).duration_s / len(patches)
        if patches is not None:
            draw.shade(strip, patches, patch_s)
        draw.trace(strip, recording, level_mv(recording, strip.lead), INK, strip.lead)
        if overlay is not None and strip.lead in overlay.leads:
            draw.trace(strip, overlay, level_mv(recording, strip.lead), OVERLAY, "overlay", patches, patch_s)
        if calipers is not None:
            draw.calipers(strip, Calipers(*calipers), level_mv(recording, strip.lead))
    draw.calibration()
    footer = [f"{mm_per_s} mm/s", f"{mm_per_mv} mm/mV", f"{recording.sampling_rate_hz:g} Hz"]
    shown_s = min(recording.duration_s, start_s + 10.0) - start_s
    footer.append(f"{start_s:.1f} to {start_s + shown_s:.1f} s of {recording.duration_s:.1f} s")
    if rate_bpm:
        footer.append(f"{rate_bpm:.0f}/min")
    draw.text(EDGE_MM, height_mm - 2.5, "    ".join(footer), FAINT)
    if overlay is not None or mask is not None:
        legend = ["overlay"] * (overlay is not None) + ["shaded: masked"] * (mask is not None)
        draw.text(width_mm - EDGE_MM, height_mm - 2.5, "    ".join(legend), OVERLAY, anchor="right")
    if title:
        draw.text(EDGE_MM, 3.5, f"<b>{escape(title)}</b>", INK)
    if flags.get(WHOLE_ECG):
        draw.text(width_mm - EDGE_MM, 3.5, escape(", ".join(flags[WHOLE_ECG])), FLAG, anchor="right")
    figure = draw.figure(view or (0.0, 0.0, width_mm, height_mm))
    return figure.update_layout(meta=describe(recording, flags, rate_bpm, overlay, mask))


def page_start_s(recording: Recording, start_s: float) -> float:
    """The start of the page that shows this time, moved to lie inside the ECG; ECGError if it is not a number."""
    if math.isnan(start_s):
        raise ECGError("The start of the page is not a number; give seconds from the beginning of the ECG.")
    return float(min(max(start_s, 0.0), max(recording.duration_s - 10.0, 0.0)))


def check_paper(recording, layout, mm_per_s, mm_per_mv, mask=None, calipers=None, view=None) -> None:
    """Refuse (ECGError) what cannot be drawn on paper."""
    page(recording, layout)
    if mm_per_s not in SPEEDS_MM_PER_S:
        raise ECGError(f"Paper does not run at {mm_per_s} mm/s; choose {' or '.join(map(str, SPEEDS_MM_PER_S))}.")
    if mm_per_mv not in GAINS_MM_PER_MV:
        raise ECGError(f"There is no gain of {mm_per_mv} mm/mV; choose {', '.join(map(str, GAINS_MM_PER_MV))}.")
    if mask is not None and (mask.ndim != 2 or len(mask) != len(recording.leads) or not mask.shape[1]):
        raise ECGError(
            f"The mask has the shape {mask.shape}; give one row of patches for each of the"
            f" {len(recording.leads)} leads."
        )
    measured = calipers if isinstance(calipers, (list, tuple)) and calipers else (None,)
    if calipers is not None and not (measured[0] in recording.leads and _are_numbers(measured[1:], 4)):
        raise ECGError("Calipers are a recorded lead and four numbers: two times in s, then two voltages in mV.")
    if view is not None and not (_are_numbers(view, 4) and min(view[2:]) > 0):
        raise ECGError("A view is left, top, width and height in mm, of which the last two are above zero.")


def _are_numbers(values: object, number: int) -> bool:
    """Whether this is a sequence of that many finite numbers."""
    if not isinstance(values, (list, tuple)) or len(values) != number:
        return False
    return all(isinstance(value, Real) and math.isfinite(value) for value in values)


class _Drawing:
    """The parts of a figure in millimetres, gathered before plotly checks them all at once."""

    def __init__(self, sheet: Page, mm_per_s: float, mm_per_mv: float, start_s: float, px_per_mm: float) -> None:
        self.sheet, self.start_s, self.px = sheet, start_s, px_per_mm
        self.mm_per_s, self.mm_per_mv = mm_per_s, mm_per_mv
        self.left, self.pitch = sheet.left_mm(mm_per_s), sheet.pitch_mm(mm_per_mv)
        self.traces: list[go.Scatter] = []
        self.shapes: list[dict] = []
        self.texts: list[dict] = []

    def x(self, strip: Strip, time_s):
        """Distance in mm of a time of the ECG in this strip from the left edge."""
        return self.left + (strip.at_s + time_s - self.start_s - strip.from_s) * self.mm_per_s

    def y(self, strip: Strip, above_mv):
        """Distance in mm of a voltage above the lead's level from the upper edge."""
        return self.sheet.row_mm(strip.row, self.mm_per_mv) - strip.sign * above_mv * self.mm_per_mv

    def line(self, x, y, color, width_mm=TRACE_MM, **more) -> None:
        line = {"color": color, "width": width_mm * self.px}
        self.traces.append(go.Scatter(x=x, y=y, mode="lines", line=line, showlegend=False, **more))

    def trace(self, strip, recording, level, color, name, patches=None, patch_s=0.0) -> None:
        """The part of a lead that the strip shows, NaN for an overlay where nothing is masked."""
        rate_hz, signal_mv = recording.sampling_rate_hz, recording.lead(strip.lead)
        first = max(0, int(np.ceil((self.start_s + strip.from_s) * rate_hz - 1e-6)))
        last = int(np.floor((self.start_s + strip.to_s) * rate_hz + 1e-6)) + 1
        time_s = np.arange(first, min(last, len(signal_mv))) / rate_hz
        above = signal_mv[first:last] - level
        if patches is not None:
            within = np.minimum((time_s / patch_s).astype(int), len(patches) - 1)
            above = np.where(patches[within], above, np.nan)
        self.line(
            self.x(strip, time_s).astype(np.float32),
            self.y(strip, above).astype(np.float32),
            color,
            name=name,
            customdata=np.stack([time_s, signal_mv[first:last]], axis=1).astype(np.float32),
            hovertemplate=f"{strip.lead}: %{{customdata[0]:.3f}} s, %{{customdata[1]:.2f}} mV<extra></extra>",
        )

    def shade(self, strip: Strip, patches: np.ndarray, patch_s: float) -> None:
        """Grey bands over the masked patches; neighboring ones make one band."""
        middle = self.y(strip, 0.0)
        for start, end in patch_s * runs(patches):
            start, end = max(start, self.start_s + strip.from_s), min(end, self.start_s + strip.to_s)
            if start < end:
                across = {"x0": self.x(strip, start), "x1": self.x(strip, end)}
                self.shapes.append(BAND | across | {"y0": middle - self.pitch / 2, "y1": middle + self.pitch / 2})

    def name(self, strip: Strip, flags: Mapping[str, Sequence[str]]) -> None:
        """The lead's name with its flags, and the mark between two columns."""
        x, y = self.x(strip, self.start_s + strip.from_s), self.y(strip, 0.0)
        text = f"<b>{strip.name.replace('-', '−')}</b>"
        if flags.get(strip.lead):
            text += f" <span style='color:{FLAG}'>⚑ {escape(', '.join(flags[strip.lead]))}</span>"
        self.text(x + 1.0, y - 0.32 * self.pitch, text, INK)
        if strip.at_s:
            for above in (-1, 1):
                self.line([x, x], [y + 4 * above, y + 7 * above], INK, hoverinfo="skip")
        if not strip.recorded:
            end = x + (strip.to_s - strip.from_s) * self.mm_per_s
            self.line([x, end], [y, y], FAINT, hoverinfo="skip")
            self.traces[-1].line.dash = "dot"
            self.text(x + 1.0, y - 2.0, "not recorded", FAINT)

    def calibration(self) -> None:
        """The pulse of 1 mV and 0.2 s at the beginning of every row."""
        start, end = EDGE_MM + 2.5, self.left - 2.5
        x = np.array([EDGE_MM, start, start, end, end, self.left])
        for row in range(self.sheet.rows):
            y = self.sheet.row_mm(row, self.mm_per_mv) - self.mm_per_mv * np.array([0, 0, 1, 1, 0, 0])
            self.line(x, y, INK, name="1 mV, 0.2 s", hoverinfo="name")

    def calipers(self, strip: Strip, points: Calipers, level: float) -> None:
        """Two vertical lines and the measurement between them, if the strip shows both."""
        start_s, end_s = self.start_s + strip.from_s, self.start_s + strip.to_s
        if (
            strip.lead != points.lead
            or not start_s <= min(points.start_s, points.end_s) <= max(points.start_s, points.end_s) <= end_s
        ):
            return
        middle = self.y(strip, 0.0)
        x0, x1 = self.x(strip, points.start_s), self.x(strip, points.end_s)
        y0, y1 = self.y(strip, points.start_mv - level), self.y(strip, points.end_mv - level)
        for x, y in ((x0, y0), (x1, y1)):
            self.line([x, x], [middle - self.pitch / 2, middle + self.pitch / 2], CALIPER, hoverinfo="skip")
            self.line([x0, x1], [y, y], CALIPER, hoverinfo="skip")
        self.text(max(x0, x1) + 1, middle - 0.42 * self.pitch, reading(points), CALIPER)

    def text(self, x: float, y: float, text: str, color: str, anchor: str = "left") -> None:
        font = {"size": TEXT_MM * self.px, "color": color}
        self.texts.append(NOTE | {"x": x, "y": y, "text": text, "xanchor": anchor, "font": font})

    def figure(self, view: Sequence[float]) -> go.Figure:
        """The complete figure, on a grid of 1 mm and 5 mm, to true scale."""
        left, top, width, height = view
        lines = {"tick0": 0, "showgrid": True}
        fine = lines | {"dtick": 1, "gridcolor": FINE, "gridwidth": 0.15 * self.px}
        bold = lines | {"dtick": 5, "gridcolor": BOLD, "gridwidth": 0.2 * self.px}
        grid = bold | {"minor": fine, "showticklabels": False, "ticks": "", "zeroline": False}
        keep_private()
        return go.Figure(
            self.traces,
            go.Layout(
                width=round(width * self.px),
                height=round(height * self.px),
                margin={"l": 0, "r": 0, "t": 0, "b": 0},
                xaxis={**grid, "range": [left, left + width]},
                yaxis={**grid, "range": [top + height, top], "scaleanchor": "x", "scaleratio": 1},
                plot_bgcolor=PAPER,
                paper_bgcolor=PAPER,
                shapes=self.shapes,
                annotations=self.texts,
                dragmode="pan",
                font={"family": "Arial, Helvetica, sans-serif"},
            ),
        )


def reading(points: Calipers) -> str:
    """The measurement of the calipers as text: time, rate and voltage."""
    rate = f"{points.bpm:.0f}/min" if points.bpm else "no time between the ends"
    return f"{points.ms:.0f} ms    {rate}    {points.mv:+.2f} mV"
