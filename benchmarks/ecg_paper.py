"""ECG paper in a real browser: frames a second while it is dragged, and bytes a change sends, canvas against plotly.

    python benchmarks/ecg_paper.py [--drags 5] [--seconds 2] [--chromium chromium]

The same page (12 leads x 5,000 samples one under the other, on the 1 mm grid) in a real JupyterLab, in one browser
window of 1500 x 1200 pixels without a graphics card: `ECGPaper` (a canvas), and `paper_figure` as plotly's
FigureWidget, drawn as SVG and by WebGL. All are enlarged a little, so that dragging moves them; they are dragged in
turn, and each drag gives one rate. Frames are those in which the page was ready to paint
(`requestAnimationFrame`); bytes are those of all messages between browser and kernel, both ways, until they rest.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from playwright.sync_api import Page, sync_playwright

from lab import FLAGS, PATIENCE_MS, jupyterlab, run_all_cells

ECGS = """
import ipywidgets, numpy as np
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
rng = np.random.default_rng(0)
first, second = (simulate_ecg(sample_patient(seed, rng), rng, codes={}).recording for seed in (1, 2))
another, overlaid = (ipywidgets.Button(description=name) for name in ("another ECG", "an overlay"))
"""
CANVAS = """
from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper
paper = ECGPaper(first, layout="12x1", flags={}, view=[10, 10, 240, 200])
another.on_click(lambda _: setattr(paper, "recording", second))
overlaid.on_click(lambda _: setattr(paper, "overlay", first))
ipywidgets.VBox([ipywidgets.HBox([another, overlaid]), paper])
"""
PLOTLY = """
import plotly.graph_objects as go
from lamae_toolkit.plots.paper import paper_figure
made, other = (paper_figure(ecg, layout="12x1", flags={}, view=[10, 10, 240, 200]) for ecg in (first, second))
def with_kind(figure):
    traces = [dict(trace.to_plotly_json(), type=KIND) for trace in figure.data]
    return go.FigureWidget(traces, figure.layout)
paper = with_kind(made)
leads = [number for number, trace in enumerate(made.data) if len(trace.x) > 100]
def change(_):
    with paper.batch_update():
        for number in leads:
            paper.data[number].y = other.data[number].y
            paper.data[number].customdata = other.data[number].customdata
another.on_click(change)
overlaid.on_click(lambda _: paper.add_traces([dict(made.data[number].to_plotly_json(), type=KIND) for number in leads]))
ipywidgets.VBox([ipywidgets.HBox([another, overlaid]), paper])
"""
COMPARED_MODELS = {
    "ECGPaper, canvas": (CANVAS, ".ecg-paper canvas"),
    "FigureWidget, SVG": ('KIND = "scatter"\n' + PLOTLY, ".js-plotly-plot .nsewdrag"),
    "FigureWidget, WebGL": ('KIND = "scattergl"\n' + PLOTLY, ".js-plotly-plot .nsewdrag"),
}
AN_ECG = 100_000
"""No change of 12 x 5,000 samples has fewer bytes."""

COUNT_FRAMES = """() => {
    window.frames_at = [];
    const frame = (now) => { window.frames_at.push(now); window.counting = requestAnimationFrame(frame); };
    window.counting = requestAnimationFrame(frame);
}"""
STOP_COUNTING = "() => { cancelAnimationFrame(window.counting); return window.frames_at; }"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--drags", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=words.chromium, args=[*FLAGS, "--enable-unsafe-swiftshader"]
        )
        pages, traffic = {}, {name: [] for name in COMPARED_MODELS}
        for number, (name, (cell, part)) in enumerate(COMPARED_MODELS.items()):
            page = browser.new_page(viewport={"width": 1500, "height": 1200})
            page.set_default_timeout(PATIENCE_MS)
            listen(page, traffic[name])
            run_all_cells(page, lab.notebook(f"paper{number}", [ECGS, cell]))
            page.locator(part).first.wait_for()
            page.wait_for_timeout(2000)
            pages[name] = page
        rates: dict[str, list[float]] = {name: [] for name in COMPARED_MODELS}
        slowest: dict[str, list[float]] = {name: [] for name in COMPARED_MODELS}
        for _ in range(words.drags):
            for name, page in pages.items():
                frames_ms = drag(page, COMPARED_MODELS[name][1], words.seconds)
                rates[name].append(1000 * (len(frames_ms) - 1) / (frames_ms[-1] - frames_ms[0]))
                slowest[name].append(max(b - a for a, b in pairwise(frames_ms)))
        print("                      frames/s while dragging      slowest frame   bytes sent both ways for")
        print("                      median   worst    best       median, ms      another ECG   an overlay   a drag")
        for name, page in pages.items():
            page.bring_to_front()
            sent = [quiet_bytes(traffic[name], page, "another ECG"), quiet_bytes(traffic[name], page, "an overlay")]
            traffic[name].clear()
            drag(page, COMPARED_MODELS[name][1], 0.3)
            page.wait_for_timeout(1500)
            sent.append(sum(traffic[name]))
            speed = statistics.median(rates[name]), min(rates[name]), max(rates[name])
            print(f"{name:20s}" + "".join(f"{value:9.1f}" for value in speed), end="")
            print(f"{statistics.median(slowest[name]):15.0f}", end="   ")
            print("".join(f"{value:13,d}" for value in sent), flush=True)
        browser.close()


def listen(page: Page, sizes: list[int]) -> None:
    """Note the size of each message on the page's websockets."""

    def heard(socket) -> None:
        for event in ("framesent", "framereceived"):
            socket.on(event, lambda payload: sizes.append(len(payload)))

    page.on("websocket", heard)


def drag(page: Page, part: str, seconds: float) -> list[float]:
    """Drag the paper to and fro; when each frame was, in ms."""
    page.bring_to_front()
    box = page.locator(part).first.bounding_box()
    x, y = box["x"] + 400, box["y"] + 200
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 5, y)  # past the distance from which a drag is one
    page.evaluate(COUNT_FRAMES)
    end, step = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        step += 1
        page.mouse.move(x - abs(step % 80 - 40) * 3, y - abs(step % 40 - 20))
    frames_ms = page.evaluate(STOP_COUNTING)
    page.mouse.up()
    return frames_ms


def quiet_bytes(sizes: list[int], page: Page, name: str) -> int:
    """The bytes of all messages that follow a click, until no more come for 1.5 s once the ECG has come."""
    page.wait_for_timeout(1500)
    sizes.clear()
    page.get_by_role("button", name=name).click()
    before, end = -1, time.monotonic() + 30
    while (len(sizes) != before or sum(sizes) < AN_ECG) and time.monotonic() < end:
        before = len(sizes)
        page.wait_for_timeout(1500)
    return sum(sizes)


if __name__ == "__main__":
    main()
