"""The board, the map and the monitor in a real JupyterLab: by mouse and by keyboard, in the page and in Python."""

import os
import pickle
import re
import signal
import time

import nbformat
import pytest
import torch
from playwright.sync_api import expect

from lab import browser_page, run_all_cells, screenshot, scroll_bars
from lamae_toolkit.evaluation.evaluate import Split
from small_models import two_models

SETUP = """
import os, pickle, time
from pathlib import Path
import numpy as np
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.evaluation.embed import embed_rows, random_encoder
from lamae_toolkit.evaluation.evaluate import Split
from lamae_toolkit.data.store import Store
from lamae_toolkit.training.trainer import TrainConfig, pretrain
from lamae_toolkit.widgets.embedding_map.widget import EmbeddingMap
from lamae_toolkit.widgets.icd10_board.widget import ICD10Board
from lamae_toolkit.widgets.training_monitor.widget import TrainingMonitor
Path("pid").write_text(str(os.getpid()))
store = Store.open({store!r})
small = LAMAEConfig(width=32, heads=4, pooling_heads=4, decoder_width=16, decoder_heads=4, encoder_depth=1,
                    latent_depth=1, decoder_depth=1)
def tell(widget):  # what Python knows, for the test to read
    def write(_):
        Path(widget.name + ".part").write_text(widget.code())
        os.replace(widget.name + ".part", widget.name + ".py")
    widget.words.observe(write, names="value")
"""
BOARD = """
board = ICD10Board(store, pickle.loads(Path("evaluations.pickle").read_bytes()), n_bootstrap=100)
tell(board)
board
"""
MAP = """
rows = np.arange(60)
shown = EmbeddingMap(store, rows, embed_rows(random_encoder(small), store, rows, progress=False))
tell(shown)
shown
"""
MONITOR = """
model = random_encoder(small)
monitor = TrainingMonitor(model, store, int(store.rows(Split().test)[0]), every=5)
config = TrainConfig(steps=50_000, batch_size=4, log_every=5, save_every=50_000)
monitor.start(pretrain, model, store, store.rows(Split().train), "run", config)
monitor
"""
PICTURES = """
time.sleep(15)  # the browser has loaded the widgets by then
os.environ["LAMAE_PICTURES"] = "1"
for widget in (board, shown, monitor):
    widget.renew_picture()
"""


@pytest.fixture(scope="module")
def notebook(lab, chromium, cohort):
    """A page with all three widgets, in a notebook whose folder is the lab's."""
    (lab.root / "evaluations.pickle").write_bytes(pickle.dumps(two_models(cohort)))
    cells = (SETUP.replace("{store!r}", repr(str(cohort.folder))), BOARD, MAP, MONITOR, PICTURES)
    with browser_page(chromium, height=2200) as page:
        run_all_cells(page, lab.notebook("board", cells))
        yield page


def known_to_python(lab, widget: str, text: str) -> None:
    """Wait until Python's code of the view has this in it."""
    end, file = time.monotonic() + 30, lab.root / f"{widget}.py"
    while not (file.is_file() and text in file.read_text()):
        assert time.monotonic() < end, f"{text} is not in {file.read_text() if file.is_file() else 'no file'}"
        time.sleep(0.05)


def middle(page, part) -> tuple[float, float]:
    """Where the middle of a part of the page is, once it is in view."""
    part.scroll_into_view_if_needed()
    box = part.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def click_on(page, plot, point) -> None:
    """Click on a point of a plot, as a person does: when its words are seen."""
    x, y = middle(page, point)
    page.mouse.move(x - 2, y)
    page.mouse.move(x, y)
    expect(plot.locator(".hovertext")).to_be_visible()
    page.mouse.click(x, y)


def stopped_at(lab) -> int:
    """The step of the checkpoint on disk."""
    return torch.load(lab.root / "run" / "checkpoint" / "training.pt", weights_only=True)["step"]


def shown_step(monitor) -> int:
    """The step of which the monitor speaks, 0 before the first."""
    found = re.search(r"Step (\d+):", monitor.inner_text())
    return int(found[1]) if found else 0


def wait_for_later_step(monitor, step: int) -> None:
    """Wait until training is past a step; which steps are seen depends on when one looks."""
    end = time.monotonic() + 90
    while shown_step(monitor) <= step:
        assert time.monotonic() < end, "training does not go on"
        time.sleep(0.1)


def kept_pictures(lab) -> list[str]:
    """The pictures in the notebook's file, as GitHub shows them."""
    try:
        cells = nbformat.read(lab.root / "board.ipynb", as_version=4).cells
    except nbformat.reader.NotJSONError:  # it is just being written
        return []
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
def test_the_monitor(notebook, lab):  # first, for its training takes the computer until it is stopped
    monitor = notebook.locator(".lamae-training-monitor")
    stop = monitor.get_by_role("button").first
    expect(monitor).to_contain_text("Reconstructed after step")
    drawn = monitor.locator(".js-plotly-plot").nth(1).locator("path.js-line").nth(1)
    shape, step = drawn.get_attribute("d"), shown_step(monitor)
    expect(drawn).not_to_have_attribute("d", shape)  # it is drawn again while training runs
    wait_for_later_step(monitor, step)
    assert (lab.root / "run" / "log.jsonl").is_file()
    expect(monitor.locator(".js-plotly-plot").first.locator(".js-line").first).to_be_visible()

    stop.press("Enter")
    expect(monitor).to_contain_text("Paused; the checkpoint is complete")
    step = stopped_at(lab)
    stop.click()
    expect(monitor).to_contain_text("Training. Step")
    wait_for_later_step(monitor, step)
    stop.click()
    expect(monitor).to_contain_text("Paused; the checkpoint is complete")
    assert stopped_at(lab) > step
    screenshot(monitor, "training_monitor.png")
    assert scroll_bars(monitor) == []


@pytest.mark.slow
def test_the_board(notebook, lab, cohort):
    board = notebook.locator(".lamae-icd10-board")
    plots = board.locator(".js-plotly-plot")
    panels = plots.nth(0)
    ecgs = panels.locator(".subplot.x4y4 .points path")
    expect(plots.nth(0).locator(".main-svg .ytick").first).to_be_visible()
    expect(ecgs).to_have_count(len(Split().indices(cohort.index)[2]))
    expect(board).to_contain_text("Predicted positive at 50.0% or more")

    # The threshold, by keyboard.
    handle, line = board.locator(".noUi-handle").first, panels.locator(".subplot.x4y4 path.js-line")
    before = line.get_attribute("d")
    for _ in range(10):
        handle.press("ArrowLeft")
    expect(board).to_contain_text("Predicted positive at 40.0% or more")
    known_to_python(lab, "icd10-board", ", 0.4)")
    expect(line).not_to_have_attribute("d", before)
    # The prevalence, by keyboard, and a baseline.
    board.locator(".noUi-handle").nth(1).press("ArrowRight")
    expect(board).to_contain_text("prevalence 0.1%")
    known_to_python(lab, "icd10-board", "weights, 0.001)")
    lines = panels.locator(".subplot.xy .js-line").count()
    board.locator("select").nth(1).select_option("model 2")
    expect(board).to_contain_text("Paired difference on the same patients")
    known_to_python(lab, "icd10-board", "baseline=evaluations[1]")
    expect(panels.locator(".subplot.xy .js-line")).to_have_count(lines + 1)

    # An ECG, by mouse; another of its kind, by keyboard.
    click_on(notebook, panels, ecgs.first)
    expect(board.locator(".ecg-paper canvas[tabindex]")).to_be_visible()
    known_to_python(lab, "icd10-board", "opened=")
    heading = board.get_by_role("status").filter(has_text="patient").first
    first = heading.inner_text()
    board.locator("select").nth(3).select_option("true negatives")
    board.get_by_role("button", name="Next ECG").press("Enter")
    expect(heading).not_to_have_text(first)
    expect(board.locator(".ecg-paper canvas[tabindex]")).to_have_count(1)

    board.get_by_role("button", name="Code of this view").press("Space")
    expect(board.locator("pre").last).to_contain_text("figure = lt.plots.board_figure(evaluations[0]")
    screenshot(board, "icd10_board.png")
    assert scroll_bars(board) == []
    board.get_by_title("Save as", exact=True).click()
    expect(board).to_contain_text("Saved as icd10-board-1.html")
    assert "plotly.js" in (lab.root / "icd10-board-1.html").read_text()
    assert panels.locator("[data-title*='Share']").count() == 0, "no button sends patients to a server"


@pytest.mark.slow
def test_the_map(notebook, lab):
    shown = notebook.locator(".lamae-embedding-map")
    plot = shown.locator(".js-plotly-plot").first
    ecgs = plot.locator(".trace.scatter").first.locator(".points path")
    expect(ecgs).to_have_count(60)
    shown.locator("select").nth(2).select_option("age")
    expect(plot.locator(".colorbar")).to_be_visible()
    known_to_python(lab, "embedding-map", "'age'")
    shown.locator("select").nth(0).select_option("summary of the latents")
    known_to_python(lab, "embedding-map", "'summary'")

    # A lasso round the right half, by mouse.
    middle(notebook, plot)
    area = plot.locator(".nsewdrag").bounding_box()
    corners = [(0.5, 0.02), (0.99, 0.02), (0.99, 0.98), (0.5, 0.98), (0.5, 0.05)]
    for number, (right, down) in enumerate(corners):
        notebook.mouse.move(area["x"] + area["width"] * right, area["y"] + area["height"] * down, steps=6)
        if number == 0:
            notebook.mouse.down()
    notebook.mouse.up()
    expect(shown).to_contain_text("ECGs selected of")
    known_to_python(lab, "embedding-map", "chosen=np.array(")
    places = (lab.root / "embedding-map.py").read_text().split("chosen=np.array([")[1].split("])")[0].split(",")
    assert 0 < len(places) < 60
    expect(shown).to_contain_text(f"{len(places)} ECGs selected of")

    # An ECG and its neighbors, by keyboard; another, by mouse; then without the selection.
    shown.get_by_role("button", name="Next ECG").press("Enter")
    expect(shown).to_contain_text("Nearest to row")
    known_to_python(lab, "embedding-map", f"asked={int(places[0])}")
    first = shown.locator("table").last.inner_text()
    screenshot(shown, "embedding_map.png")
    assert scroll_bars(shown) == []
    shown.get_by_role("button", name="Clear selection").press("Enter")
    expect(shown).not_to_contain_text("ECGs selected of")
    expect(plot.locator(".select-outline")).to_have_count(0)
    # The one farthest to the left, which lies on no other.
    boxes = [(one.bounding_box()["x"], number) for number, one in enumerate(ecgs.all())]
    click_on(notebook, plot, ecgs.nth(min(boxes)[1]))
    expect(shown.locator("table").last).not_to_have_text(first, use_inner_text=True)


@pytest.mark.slow
def test_pictures_stay_in_the_notebook_and_figures_when_the_kernel_dies(notebook, lab):
    stills = notebook.locator(".jp-RenderedImage img")
    expect(stills).to_have_count(3)
    assert not any(still.is_visible() for still in stills.all()), "the widgets themselves are there"
    notebook.locator(".jp-Notebook .jp-Cell").first.click()
    notebook.keyboard.press("Control+s")
    end = time.monotonic() + 30
    while len(kept_pictures(lab)) < 3:
        assert time.monotonic() < end, "the notebook was not saved with its pictures"
        time.sleep(0.1)

    monitor = notebook.locator(".lamae-training-monitor")
    words = monitor.inner_text()
    os.kill(int((lab.root / "pid").read_text()), signal.SIGKILL)
    dialog = notebook.get_by_role("dialog")
    expect(dialog).to_contain_text("appears to have died")
    dialog.get_by_role("button", name="Ok").click()
    expect(monitor.get_by_text("Python has stopped.")).to_be_visible()
    expect(monitor.locator(".js-plotly-plot path.js-line").first).to_be_visible()
    assert words.split("Paused")[1][:60] in monitor.inner_text(), "it goes on showing the last state"
