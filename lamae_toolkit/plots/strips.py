"""The ECG as strips colored by pooling weights, and the probabilities of codes, as in the lead explorer."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.special import logit

from lamae_toolkit.ecg.preprocess import resample
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.ecg_terms import ranked_codes
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import BLACK, BLUE, GRAY, PAPER_BOLD, PAPER_LINE, VERMILION
from lamae_toolkit.plots._plotly import finish, shortened
from lamae_toolkit.plots.lead_geometry import SHADES
from lamae_toolkit.plots.paper_layout import level_mv, page

PLOT_RATE_HZ = 250.0
OFF = "#bbbbbb"
SCALE = "<span style='color:#666666'>one line each 0.2 s and 0.5 mV</span>"
SHARE_LIMIT = 1 / 3
"""The share at which color and width end, the same for every ECG, so that even shares look even."""
SHOWN_CODES, NAME_LETTERS = 8, 27


def weighted_strips_figure(recording: Recording, weights: pd.Series, title: str = "") -> go.Figure:
    """An ECG in the order of paper, 3 x 4 and a rhythm strip, each lead colored by its weight: lighter is more.

    weights: by lead. A lead without a weight, which the model did not get, is gray. The grid is 0.2 s and 0.5 mV.
    """
    figure = strips_figure(recording, title)
    return color_strips(figure, weights)


def strips_figure(recording: Recording, title: str = "") -> go.Figure:
    """The same without weights, for `color_strips`."""
    if recording.sampling_rate_hz > PLOT_RATE_HZ:
        recording = resample(recording, PLOT_RATE_HZ)
    sheet, rate_hz = page(recording), recording.sampling_rate_hz
    pitch_mv = max(1.0, np.ceil(2 * sheet.pitch_mv) / 2)
    traces, names = [], []
    for strip in sheet.strips:
        base_mv = -pitch_mv * strip.row
        first, last = round(strip.from_s * rate_hz), round(strip.to_s * rate_hz)
        if strip.recorded:
            strip_mv = base_mv + recording.lead(strip.lead)[first:last] - np.float32(level_mv(recording, strip.lead))
        else:
            strip_mv = np.full(2, base_mv, dtype=np.float32)
        time_s = np.linspace(
            strip.at_s, strip.at_s + strip.to_s - strip.from_s, len(strip_mv), endpoint=not strip.recorded
        )
        traces.append(
            go.Scatter(
                x=time_s.astype(np.float32),
                y=strip_mv.astype(np.float32),
                mode="lines",
                name=strip.lead,
                line={"color": OFF, "width": 1.4, "dash": "solid" if strip.recorded else "dot"},
                hoverinfo="name",
                showlegend=False,
            )
        )
        names.append((strip.at_s + 0.04, base_mv + 0.42 * pitch_mv, strip.lead))
    top, bottom = 0.62 * pitch_mv, -(sheet.rows - 1) * pitch_mv - max(0.62 * pitch_mv, sheet.bottom_mv)
    # Names as one trace, since a page redraws annotations one by one.
    names.append((sheet.width_s, bottom + 0.16 * pitch_mv, SCALE))
    x, y, words = map(list, zip(*names, strict=True))
    sides = ["middle right"] * len(traces) + ["middle left"]
    traces.append(go.Scatter(x=x, y=y, text=words, textposition=sides, mode="text", hoverinfo="skip", showlegend=False))
    figure = go.Figure(traces)
    grid = {"gridcolor": PAPER_LINE, "showticklabels": False, "zeroline": False}
    figure.update_xaxes(range=[0, sheet.width_s], dtick=0.2, **grid)
    figure.update_yaxes(range=[bottom, top], dtick=0.5, **grid)
    for edge in {strip.at_s for strip in sheet.strips} - {0.0}:
        figure.add_vline(edge, line={"color": PAPER_BOLD})
    height, margin = 360 if title else 325, {"l": 5, "r": 5, "t": 40 if title else 5, "b": 5}
    return finish(figure, title, height, margin=margin, hovermode="closest")


def color_strips(figure: go.Figure | dict, weights: pd.Series) -> go.Figure | dict:
    """Give the strips of a figure of `strips_figure` the colors of other weights, which is faster than a new figure.

    figure: the figure or its dictionary (as for JSON), which plotly does not validate at each change.
    """
    by_lead = weights.to_dict()
    *strips, names = figure["data"]
    words = []
    for strip in strips:
        lead, line = strip["name"], strip["line"]
        if lead in by_lead:
            share = min(by_lead[lead] / SHARE_LIMIT, 1.0)
            # Line width as well as color, for the color-blind.
            line["color"], line["width"] = SHADES[round(share * (len(SHADES) - 1))], 1.1 + 1.1 * share
            words.append(f"<b>{lead}</b> {by_lead[lead]:.1%}")
        else:
            line["color"], line["width"] = OFF, 1.0
            words.append(f"<span style='color:#666666'>{lead} {'absent' if line['dash'] == 'dot' else 'off'}</span>")
    names["text"] = [*words, SCALE]
    return figure


def probabilities_figure(
    now: pd.Series,
    recorded: pd.Series,
    usual: np.ndarray,
    intervals: pd.DataFrame | None = None,
    chosen: str | None = None,
    title: str = "Probabilities of the codes",
) -> go.Figure:
    """The probability of each code now (disc), next to that of the ECG as recorded, with all its leads (mark).

    usual: the log-odds of each code's prevalence, in the order of the probabilities, as from `Probe.usual_log_odds`:
    the codes that stand out most in the recorded ECG are shown, the one whose log-odds lie furthest above first.
    intervals: for the recorded ECG, a row per code, as from `Calibration.intervals`: how many patients with a similar
    probability had the code, as a line that the probability itself may lie outside of. chosen: a code that is shown in
    any case.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=[],
        y=[],
        mode="lines",
        name="of unseen patients with such a probability, the share who had it (95 %)",
        line={"color": GRAY, "width": 5},
    )
    figure.add_scatter(x=[], y=[], mode="lines", name="change", line={"color": BLACK, "width": 1}, showlegend=False)
    open_mark = {"symbol": "line-ns-open", "size": 15, "color": BLACK, "line": {"width": 2.5}}
    figure.add_scatter(x=[], y=[], mode="markers", name="as recorded", marker=open_mark)
    figure.add_scatter(x=[], y=[], mode="markers", name="now", marker={"size": 11, "line": {"width": 1}})
    figure.data[0].opacity = 0.45
    figure.update_traces(hoverinfo="skip")
    figure.data[3].update(hoverinfo="text")
    figure.update_xaxes(range=[-2, 103], ticksuffix=" %", fixedrange=True)
    figure.update_yaxes(fixedrange=True, zeroline=False)
    legend = {"y": -0.12, "yanchor": "top", "x": 1.0, "xanchor": "right", "font": {"size": 11}}
    finish(figure, title, height=310, margin={"l": 10, "r": 10, "t": 40, "b": 30}, legend=legend)
    figure.update_layout(title={"x": 0.01, "xref": "container"})
    return show_probabilities(figure, now, recorded, usual, intervals, chosen)


def show_probabilities(
    figure: go.Figure | dict,
    now: pd.Series,
    recorded: pd.Series,
    usual: np.ndarray,
    intervals: pd.DataFrame | None = None,
    chosen: str | None = None,
) -> go.Figure | dict:
    """Give a figure of `probabilities_figure`, or its dictionary, other probabilities: faster than a new figure."""
    ranked = ranked_codes(recorded.index.tolist(), logit(recorded.to_numpy()), usual)
    codes = ranked.index[:SHOWN_CODES].tolist()
    if chosen is not None and chosen not in codes:
        codes[-1] = chosen
    codes.reverse()
    rows = list(range(len(codes)))
    spans = [
        (intervals.low[code], intervals.high[code], row)
        for row, code in enumerate(codes)
        if intervals is not None and code in intervals.index
    ]
    changes = [(recorded[code], now[code], row) for row, code in enumerate(codes)]
    interval, change, before, disc = figure["data"]
    interval["x"], interval["y"] = _segments(spans)
    change["x"], change["y"] = _segments(changes)
    before["x"], before["y"] = (100 * recorded[codes].to_numpy()).tolist(), rows
    disc["x"], disc["y"] = (100 * now[codes].to_numpy()).tolist(), rows
    disc["marker"]["color"] = [VERMILION if code == chosen else BLUE for code in codes]
    disc["marker"]["symbol"] = ["diamond" if code == chosen else "circle" for code in codes]
    disc["hovertext"] = [f"{name_of(code)}: {now[code]:.1%}, as recorded {recorded[code]:.1%}" for code in codes]
    axis = figure["layout"]["yaxis"]
    axis["tickvals"], axis["ticktext"] = rows, [_name(code, now[code], code == chosen) for code in codes]
    axis["range"] = [-0.7, len(codes) - 0.3]
    return figure


def _name(code: str, probability: float, chosen: bool) -> str:
    short = shortened(name_of(code), NAME_LETTERS)
    return f"{f'<b>{short}</b>' if chosen else short} {probability:.0%}"


def _segments(lines: list[tuple[float, float, int]]) -> tuple[list, list]:
    """Lines on these rows from one probability to another, as one trace; None breaks the line."""
    x = [end for start, stop, _ in lines for end in (100 * float(start), 100 * float(stop), None)]
    return x, [end for *_, row in lines for end in (row, row, None)]
