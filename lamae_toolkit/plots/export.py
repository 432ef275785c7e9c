"""A figure as a PNG or SVG picture: what a notebook shows on GitHub, and what goes into a paper.

plotly draws it, as on the page, in a Chrome without a window.
"""

import io

import kaleido
import plotly.graph_objects as go
from choreographer.browsers.chromium import ChromeNotFoundError
from choreographer.errors import BrowserFailedError
from PIL import Image

from lamae_toolkit.errors import ECGError

WIDTH_PX, HEIGHT_PX = 1000, 450
"""The size of a figure without a size of its own."""
COLORS = 32
"""Of a PNG: enough for lines on paper and for a scale of colors, and a quarter of the bytes."""


def picture(figure: go.Figure, kind: str = "png") -> bytes:
    """A plotly figure as "png" or "svg"; nothing is loaded from the internet. ECGError without a Chrome.

    Chrome is started for each picture, which takes a second or two.
    """
    size = {"width": figure.layout.width or WIDTH_PX, "height": figure.layout.height or HEIGHT_PX}
    try:
        content = kaleido.calc_fig_sync(figure, opts={"format": kind, **size}, kopts={"mathjax": False})
    except (ChromeNotFoundError, BrowserFailedError) as error:
        raise ECGError(
            "A picture is drawn by Chrome, which is not installed or does not start: install it, or run"
            " plotly_get_chrome, or save the figure as .html."
        ) from error
    return _with_few_colors(content) if kind == "png" else content


def _with_few_colors(png: bytes) -> bytes:
    """The same PNG in fewer bytes."""
    small, image = io.BytesIO(), Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(small, "png", optimize=True)
    return small.getvalue()
