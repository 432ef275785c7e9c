"""Pictures of the course's figures: small PNGs, rendered by the plotly.js of the notebooks."""

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image
from playwright.sync_api import sync_playwright
from plotly.offline import get_plotlyjs

from lamae_toolkit.errors import ECGError

WIDTH_PX, HEIGHT_PX = 900, 450
"""A page is some 900 px wide on GitHub; the height is for figures that set none."""
MAX_BYTES = 100_000
COLORS = (64, 32, 16, 8)
TO_PNG = "([figure, width, height]) => Plotly.toImage(figure, {format: 'png', width, height})"

Draw = Callable[[dict], bytes]


@contextmanager
def plotly_in_chromium() -> Iterator[Draw]:
    """A function that renders the JSON of a plotly figure as PNG, in one offline browser for all figures."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise ECGError("Chromium, which renders the figures, is not installed: install it and try again.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.set_content("<!doctype html><meta charset=utf-8>")
        page.add_script_tag(content=get_plotlyjs())

        def draw(figure: dict) -> bytes:
            layout = figure.get("layout", {})
            size = layout.get("width") or WIDTH_PX, layout.get("height") or HEIGHT_PX
            url = page.evaluate(TO_PNG, [{"data": figure["data"], "layout": layout}, *size])
            return base64.b64decode(url.partition(",")[2])

        yield draw
        browser.close()


def small_png(
    png: bytes, max_bytes: int = MAX_BYTES, palettes: tuple[int, ...] = COLORS, width_px: int = WIDTH_PX
) -> bytes:
    """The same picture with as many palette colors as fit into max_bytes; wider than width_px, it is scaled down."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.width > width_px:
        image = image.resize((width_px, round(image.height * width_px / image.width)), Image.Resampling.LANCZOS)
    for colors in palettes:
        small = io.BytesIO()
        image.quantize(colors, dither=Image.Dither.NONE).save(small, "png", optimize=True)
        if small.tell() <= max_bytes:
            break
    return small.getvalue()
