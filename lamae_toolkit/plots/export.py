"""A figure as a PNG or SVG picture: what a notebook shows on GitHub, and what goes into a paper.

plotly draws it, as on the page, in a Chrome without a window.
"""

import asyncio
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import kaleido
import plotly.graph_objects as go
from choreographer import Browser
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
    with _chrome_needed():
        content = kaleido.calc_fig_sync(figure, opts={"format": kind, **size}, kopts={"mathjax": False})
    return with_few_colors(content) if kind == "png" else content


def page_value(page: str, expression: str) -> str:
    """The value of a JavaScript expression on an HTML page, once it is not undefined. ECGError without a Chrome."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:  # a notebook has an event loop of its own
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        with _chrome_needed():
            return thread.submit(asyncio.run, _page_value(path.as_uri(), expression)).result()


async def _page_value(address: str, expression: str) -> str:
    async with Browser() as browser:
        tab = await browser.create_tab("about:blank")
        await tab.send_command("Page.navigate", {"url": address})
        waiting = f"""new Promise((done) => {{
            const look = () => {{ const value = {expression}; value ? done(value) : setTimeout(look, 20); }};
            look();
        }})"""
        asked = {"expression": waiting, "awaitPromise": True, "returnByValue": True}
        answer = await tab.send_command("Runtime.evaluate", asked)
        return str(answer["result"]["result"]["value"])


@contextmanager
def _chrome_needed() -> Iterator[None]:
    try:
        yield
    except (ChromeNotFoundError, BrowserFailedError) as error:
        raise ECGError(
            "A picture is drawn by Chrome, which is not installed or does not start: install it, or run"
            " plotly_get_chrome, or save the figure as .html."
        ) from error


def with_few_colors(png: bytes) -> bytes:
    """The same PNG in fewer bytes."""
    small, image = io.BytesIO(), Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(small, "png", optimize=True)
    return small.getvalue()
