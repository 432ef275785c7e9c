"""App (with the explorer) and board on a browser with a sixth of its speed, at two sizes of the window: all figures are
there, no box has a scroll bar of its own, no words lie over others or are cut, and the width is used."""

import pickle
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from lab import (
    PATIENCE_MS,
    browser_page,
    cut_texts,
    narrow_figures,
    run_all_cells,
    screenshot,
    scroll_bars,
    slowed,
    texts_over_texts,
    toolbar_over,
    until_none,
)
from lamae_toolkit.model.pretrained import shipped_or_own
from served_app import served
from small_models import two_models
from written_ecgs import ecg_counts, muse_xml

SIZES = ((1280, 720), (1440, 900))
SLOWER = 6
START_MS = 3 * PATIENCE_MS
"""Until the first figure is there, the browser has to read all of JupyterLab."""
CELL = """
import pickle
from pathlib import Path
import lamae_toolkit as lt
from lamae_toolkit.widgets.icd10_board.widget import ICD10Board
ICD10Board(lt.Store.open({store!r}), pickle.loads(Path("evaluations.pickle").read_bytes()), n_bootstrap=50)
"""


def check(page: Page, part: Locator, name: str) -> None:
    """At both sizes: nothing of the above."""
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        part.scroll_into_view_if_needed()
        for find in (narrow_figures, scroll_bars, texts_over_texts, cut_texts, toolbar_over):
            until_none(find, part)
        screenshot(page, f"layout_{name}_{width}.png")


def edge(part: Locator, side: str) -> float:
    box = part.bounding_box()
    return {"left": box["x"], "right": box["x"] + box["width"], "top": box["y"], "bottom": box["y"] + box["height"]}[
        side
    ]


@pytest.mark.slow
def test_the_app_at_a_sixth_of_the_speed(chromium, tmp_path: Path):
    folder = tmp_path / "ecgs"
    folder.mkdir()
    (folder / "one.xml").write_bytes(muse_xml(ecg_counts(n_samples=5000)))
    with (
        served(folder, shipped_or_own("lamae-mini-ptbxl"), tmp_path / "log.txt") as address,
        browser_page(chromium, *SIZES[0]) as page,
    ):
        slowed(page, SLOWER)
        page.goto(address, wait_until="commit")
        explorer = page.locator(".lamae-lead-explorer")
        expect(explorer.locator(".lamae-figure-terms .bars .point")).to_have_count(13, timeout=START_MS)
        expect(explorer.locator(".lamae-figure-probabilities .points path").first).to_be_attached()
        check(page, page.locator(".lamae-app"), "app")
        until_none(scroll_bars, page.locator("body"), most=1)
        width = SIZES[-1][0]
        terms, paper = explorer.locator(".lamae-figure-terms"), explorer.locator(".ecg-paper").first
        assert edge(terms, "right") > 0.96 * width and edge(terms, "left") >= edge(paper, "right")
        assert abs(edge(terms, "top") - edge(paper, "top")) < 20, "the ECG and its prediction are next to each other"

        page.get_by_role("button", name="Pin").press("Enter")
        pinned = explorer.locator(".lamae-group-pinned .lamae-figure-terms")
        expect(pinned.locator(".bars .point")).to_have_count(13)
        check(page, page.locator(".lamae-app"), "pinned")
        live = explorer.locator(".lamae-group-live .lamae-figure-terms")
        assert edge(live, "right") > 0.96 * width and edge(live, "left") >= edge(pinned, "right")


@pytest.mark.slow
def test_the_board_in_jupyterlab_at_a_sixth_of_the_speed(lab, chromium, cohort):
    (lab.root / "evaluations.pickle").write_bytes(pickle.dumps(two_models(cohort)))
    with browser_page(chromium, *SIZES[0]) as page:
        slowed(page, SLOWER)
        run_all_cells(page, lab.notebook("layout", [CELL.format(store=str(cohort.folder))]))
        board = page.locator(".lamae-icd10-board")
        expect(board.locator(".subplot.xy .js-line").first).to_be_visible(timeout=START_MS)
        expect(board.locator(".js-plotly-plot").nth(1).locator(".points path").first).to_be_attached()
        check(page, board, "board")
        page.set_viewport_size(dict(zip(("width", "height"), SIZES[0], strict=True)))
        code = board.locator("select").nth(2)
        chart = board.locator(".js-plotly-plot").first
        assert edge(chart, "bottom") - edge(code, "top") < SIZES[0][1] - 150, "a code and its chart are in one screen"
        assert "_low" not in board.inner_text()
