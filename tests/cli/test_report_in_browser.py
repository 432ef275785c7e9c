"""The report in a real browser with no network: every figure is drawn, nothing is fetched, no error is logged."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from lamae_toolkit.cli.main import main

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "run"
    assert main(["demo", "--out", str(folder), "--ecgs", "260", "--steps", "8"]) == 0
    return folder / "report.html"


@pytest.mark.slow
def test_report_opens_offline(report, chromium):
    requests, errors = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(report.as_uri())
        figures = page.locator(".plotly-graph-div")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.plotly-graph-div')].every(d => d.querySelector('.main-svg'))"
        )
        assert figures.count() >= 4 + 3
        assert page.locator("h1").inner_text() == "LAMAE on a simulated cohort"
        assert page.locator(".plotly-graph-div >> nth=0").locator("path.js-line").count() >= 12
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], "the page must not scroll sideways"
        if os.environ.get("LAMAE_SCREENSHOTS"):
            folder = Path(__file__).parents[2] / "screenshots"
            folder.mkdir(exist_ok=True)
            page.screenshot(path=folder / "report.png", full_page=True)
        browser.close()
    assert errors == []
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
