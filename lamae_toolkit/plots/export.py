"""A figure as a PNG or SVG picture without a browser: what a notebook shows on GitHub, and what goes into a paper."""

import html
import io
import re
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lamae_toolkit.errors import ECGError

WIDTH_PX, PX_PER_IN = 1000, 100
COLORS = 32
"""Of a PNG: enough for lines on paper and for a scale of colors, and a quarter of the bytes."""
MARKS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "cross": "P",
    "x": "X",
    "triangle-up": "^",
    "star": "*",
    "pentagon": "p",
    "hexagon": "h",
    "line-ns": "|",
}
KINDS = ("scatter", "scattergl", "bar", "heatmap")
DASHES = {"dot": ":", "dash": "--", "dashdot": "-."}
ALIGN = {"left": "left", "right": "right", "center": "center", "auto": "center", None: "center"}
OTHER_SIDE = {"left": "right", "right": "left", "center": "center"}
UPRIGHT = {"top": "top", "bottom": "bottom", "middle": "center", "auto": "center", None: "center"}


def picture(figure: go.Figure, kind: str = "png") -> bytes:
    """Draw a plotly figure with matplotlib, as "png" or "svg".

    For the kinds of trace that the toolkit's figures have: lines and marks with error bars, bars, and heat maps, in
    any arrangement of axes. What the page alone has (hovering, a menu) is left out. ECGError for other traces.
    """
    other = [trace.type for trace in figure.data if trace.type not in KINDS]
    if other:
        raise ECGError(f"A trace of the kind {other[0]} cannot be drawn as a picture; save the figure as .html.")
    width_px, height_px = figure.layout.width or WIDTH_PX, figure.layout.height or 450
    page = Figure(figsize=(width_px / PX_PER_IN, height_px / PX_PER_IN), dpi=PX_PER_IN, layout=None)
    axes = {name: _axes(figure, page, *name) for name in dict.fromkeys(map(_axis_names, figure.data))}
    for trace in figure.data:
        if trace.visible in (None, True):
            _draw(axes[_axis_names(trace)], trace)
    for name, ax in axes.items():
        _dress(ax, _axis(figure, "x", name[0]), _axis(figure, "y", name[1]))
    _add_shapes(figure, axes)
    page.text(0.01, 1 - 0.25 * PX_PER_IN / height_px, _plain(figure.layout.title.text), fontsize=12, va="center")
    _add_legend(page, axes)
    file = io.BytesIO()
    page.savefig(file, format=kind, facecolor="white", metadata={"Date": None} if kind == "svg" else None)
    return _with_few_colors(file) if kind == "png" else file.getvalue()


def _with_few_colors(png: io.BytesIO) -> bytes:
    """The same PNG in fewer bytes."""
    small = io.BytesIO()
    Image.open(png).convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(small, "png", optimize=True)
    return small.getvalue()


def _axis_names(trace) -> tuple[str, str]:
    return trace.xaxis or "x", trace.yaxis or "y"


def _axis(figure: go.Figure, letter: str, name: str):
    return figure.layout[f"{letter}axis{name[1:]}"]


def _axes(figure: go.Figure, page: Figure, x: str, y: str) -> Axes:
    """Room on the page for one pair of axes, as far from the edge as labels need."""
    if figure.layout.margin.l == 0:  # a page without an edge
        return page.add_axes((0, 0, 1, 1), facecolor=figure.layout.plot_bgcolor)
    (x0, x1), (y0, y1) = (_axis(figure, letter, name).domain or (0, 1) for letter, name in (("x", x), ("y", y)))
    long = max((len(str(text)) for text in _axis(figure, "y", "y").ticktext or ("",)), default=0)
    left, right = min(0.08 + 0.006 * long, 0.4), 0.97
    height_px = figure.layout.height or 450
    bottom, top = 55 / height_px, 1 - 70 / height_px
    return page.add_axes(
        (
            left + (right - left) * x0,
            bottom + (top - bottom) * y0,
            (right - left) * (x1 - x0),
            (top - bottom) * (y1 - y0),
        )
    )


def _draw(ax: Axes, trace) -> None:
    name = trace.name if trace.showlegend is not False and trace.name else None
    if trace.type in ("scatter", "scattergl"):
        if trace.x is None or len(trace.x) == 0:
            return
        x, y = np.asarray(trace.x), np.asarray(trace.y, dtype=float)
        for error, along in ((trace.error_x, "xerr"), (trace.error_y, "yerr")):
            if error.array is not None:
                low = error.array if error.arrayminus is None else error.arrayminus
                ax.errorbar(
                    x,
                    y,
                    **{along: np.abs(np.stack([low, error.array]))},
                    fmt="none",
                    elinewidth=1,
                    capsize=2,
                    ecolor=_color(trace.marker.color or trace.line.color, "#777777"),
                )
        mode = trace.mode or "lines"
        if "lines" in mode:
            ax.plot(
                x,
                y,
                color=_color(trace.line.color, "#0072B2"),
                linewidth=0.75 * (trace.line.width or 2),
                linestyle=DASHES.get(trace.line.dash, "-"),
                label=name,
            )
        if "text" in mode:
            sides = np.broadcast_to(trace.textposition or "middle center", x.shape)
            for place, side in zip(zip(x, y, trace.text, strict=True), sides, strict=True):
                _write(ax, *place, trace.textfont, OTHER_SIDE[side.split()[1]])
        if "markers" in mode:
            _draw_marks(ax, trace, x, y, None if "lines" in mode else name)
    elif trace.type == "bar":
        draw = ax.barh if trace.orientation == "h" else ax.bar
        along, values = (trace.y, trace.x) if trace.orientation == "h" else (trace.x, trace.y)
        draw(along, values, color=_color(trace.marker.color, "#0072B2"), label=name)
    else:
        ax.pcolormesh(np.arange(len(trace.x) + 1) - 0.5, np.arange(len(trace.y) + 1) - 0.5, np.asarray(trace.z, float))
        ax.set_xticks(range(len(trace.x)), trace.x)
        ax.set_yticks(range(len(trace.y)), trace.y)


def _draw_marks(ax: Axes, trace, x: np.ndarray, y: np.ndarray, name: str | None) -> None:
    """Marks, each kind of symbol in turn, as each may have its own; where some are selected, the others fade."""
    symbols = np.broadcast_to(np.asarray(trace.marker.symbol or "circle", dtype=object), x.shape)
    size = np.broadcast_to(np.asarray(trace.marker.size or 6, dtype=float), x.shape)
    opacity = np.full(x.shape, trace.marker.opacity or 1.0)
    if trace.selectedpoints is not None:
        opacity[np.setdiff1d(np.arange(len(x)), trace.selectedpoints)] = trace.unselected.marker.opacity or 0.2
    for symbol in dict.fromkeys(symbols):
        which = symbols == symbol
        color = _colors(trace, which)
        numbers = isinstance(color, np.ndarray)
        if numbers:
            look = {"c": color, "cmap": "cividis", "vmin": trace.marker.cmin, "vmax": trace.marker.cmax}
        else:
            hollow = symbol.endswith("-open") and not symbol.startswith("line")
            look = {"facecolors": "none", "edgecolors": color} if hollow else {"color": color}
        faded = opacity[which] if trace.selectedpoints is not None else trace.marker.opacity
        width = trace.marker.line.width or 0.5
        drawn = ax.scatter(
            x[which],
            y[which],
            s=(0.7 * size[which]) ** 2,
            marker=MARKS[symbol.removesuffix("-open")],
            label=name,
            alpha=faded,
            linewidths=width,
            zorder=3,
            **look,
        )
        if numbers and trace.marker.showscale:
            ax.figure.colorbar(drawn, ax=ax, label=_plain(trace.marker.colorbar.title.text), fraction=0.03, pad=0.01)
        name = None


def _colors(trace, which: np.ndarray):
    """One color for all these marks, or one for each, or numbers for a scale of colors."""
    colors = trace.marker.color
    if colors is None or isinstance(colors, str):
        return _color(colors or trace.line.color, "#0072B2")
    colors = np.asarray(colors)[which]
    return colors.astype(float) if colors.dtype.kind in "fi" else [_color(one, "#0072B2") for one in colors]


def _dress(ax: Axes, x, y) -> None:
    """Titles, ranges, ticks and grid as the figure has them."""
    which: Literal["x", "y"]
    for axis, which in ((x, "x"), (y, "y")):
        getattr(ax, f"set_{which}label")(_plain(axis.title.text), fontsize=9)
        if axis.tickvals is not None:
            getattr(ax, f"set_{which}ticks")(axis.tickvals, axis.ticktext)
        if axis.showticklabels is False:
            ax.tick_params(axis=which, labelbottom=False, labelleft=False)
        if axis.autorange == "reversed":
            getattr(ax, f"invert_{which}axis")()
        if axis.dtick and axis.range is not None:
            getattr(ax, f"set_{which}ticks")(_every(axis.dtick, axis.range))
        if axis.minor.dtick:
            getattr(ax, f"set_{which}ticks")(_every(axis.minor.dtick, axis.range), minor=True)
            ax.grid(True, axis=which, which="minor", color=axis.minor.gridcolor, linewidth=0.5, zorder=0)
        if axis.range is not None and None not in axis.range:
            getattr(ax, f"set_{which}lim")(*axis.range)
        elif axis.rangemode == "tozero":
            getattr(ax, f"set_{which}lim")(**{"bottom" if which == "y" else "left": 0})
    ax.tick_params(which="both", labelsize=8, length=0)
    ax.grid(True, color=_color(x.gridcolor, "#e5e9f0"), linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)
    for side in ax.spines.values():
        side.set_visible(False)


def _every(step: float, ends: tuple[float, float]) -> np.ndarray:
    """The multiples of a step between two ends."""
    return np.arange(np.ceil(min(ends) / step), max(ends) / step) * step


def _add_shapes(figure: go.Figure, axes: dict[tuple[str, str], Axes]) -> None:
    """Lines and bands across a pair of axes, and the words in it."""
    by_axis = {letter: {name[number]: ax for name, ax in axes.items()} for number, letter in enumerate("xy")}
    for shape in figure.layout.shapes:
        ax = by_axis["x"].get(shape.xref.split()[0]) or by_axis["y"].get(shape.yref.split()[0])
        y_part, x_part = "domain" in shape.yref, "domain" in shape.xref
        if ax is not None and (y_part or "paper" in shape.yref):
            if shape.type == "rect":
                ax = by_axis["y"].get(shape.yref.split()[0], ax)
                ax.axvspan(shape.x0, shape.x1, color="#777777", alpha=shape.opacity or 0.2, linewidth=0, zorder=0)
            else:
                ax.axvline(
                    shape.x0, color=_color(shape.line.color, "black"), linestyle=DASHES.get(shape.line.dash, "-")
                )
        elif ax is not None and x_part:
            ax.axhline(shape.y0, color=_color(shape.line.color, "black"), linestyle=DASHES.get(shape.line.dash, "-"))
        elif ax is not None and shape.type == "rect":
            ax.fill_between(
                [shape.x0, shape.x1],
                shape.y0,
                shape.y1,
                color=_color(shape.fillcolor, "#777777"),
                linewidth=0,
                zorder=0,
            )
    for words in figure.layout.annotations:
        ax = by_axis["y"].get((words.yref or " ").split(" ")[0])
        if ax is not None and "domain" not in words.yref and "domain" not in (words.xref or ""):
            ax = axes.get((words.xref, words.yref), ax)
            _write(ax, words.x, words.y, words.text, words.font, words.xanchor, words.yanchor)


def _write(ax: Axes, x, y, text: str, font, across: str | None = None, up: str | None = None) -> None:
    """Words at a place of the data, in bold where they begin so."""
    ax.text(
        x,
        y,
        _plain(text),
        fontsize=0.72 * (font.size or 11),
        color=_color(font.color, "black"),
        weight="bold" if text.startswith("<b>") else "normal",
        ha=ALIGN[across],
        va=UPRIGHT[up],
        clip_on=True,
    )


def _add_legend(page: Figure, axes: dict[tuple[str, str], Axes]) -> None:
    found = {
        label: handle for ax in axes.values() for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    if len(found) > 1:
        page.legend(found.values(), found.keys(), loc="upper right", ncols=4, fontsize=8, frameon=False)


def _plain(text: str | None) -> str:
    """The words without the marks of HTML, and without matplotlib's for formulas."""
    return html.unescape(re.sub(r"<[^>]*>", "", text or "")).replace("$", r"\$")


def _color(color, otherwise: str):
    """A color in matplotlib's words: "rgb(1, 2, 3)" becomes shares of one."""
    if isinstance(color, str) and color.startswith("rgb"):
        red, green, blue, *opacity = map(float, re.findall(r"[\d.]+", color))
        return (red / 255, green / 255, blue / 255, *opacity)
    return color if isinstance(color, str) else otherwise
