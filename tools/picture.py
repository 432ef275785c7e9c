"""The pictures of README and docs:

    .venv/bin/python tools/picture.py

Needs Chromium. Paper and attribution are of a simulated ECG; those of lead terms are by tools/lead_terms_pictures.py.
`docs/mask_playground.png` is a screenshot of a browser test, in fewer colors:

    LAMAE_SCREENSHOTS=1 pytest -n 0 tests/widgets/test_browser_mask.py
    .venv/bin/python tools/picture.py --playground screenshots/mask_random.png
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

import lamae_toolkit as lt
from course_pictures import small_png

DOCS = Path(__file__).parents[1] / "docs"
CODE = "I45.10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--playground", type=Path, help="screenshot of the mask playground")
    chosen = parser.parse_args()
    rng = np.random.default_rng(4)
    ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng, codes={CODE: 0.9}).recording
    model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
    attribution = lt.attribution_figure(lt.attribute_leads(model, probe, ecg), CODE)
    attribution_html = attribution.update_layout(width=1000, height=560).to_html(include_plotlyjs=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, html, what in (
            ("ecg_paper", f"<meta charset=utf-8>{lt.ECGPaper(ecg).picture('svg').decode()}", "svg"),
            ("lead_attribution", attribution_html, ".plotly-graph-div"),
        ):
            page = Path(folder) / f"{name}.html"
            page.write_text(html, encoding="utf-8")
            _shoot(browser, page, what, DOCS / f"{name}.png")
        browser.close()
    if chosen.playground:
        (DOCS / "mask_playground.png").write_bytes(small_png(chosen.playground.read_bytes(), max_bytes=100_000))


def _shoot(browser: Browser, page: Path, what: str, out: Path) -> None:
    """Keep a picture of the page's first element of this kind."""
    tab = browser.new_page(viewport={"width": 1040, "height": 900}, color_scheme="light")
    tab.goto(page.resolve().as_uri())
    tab.locator(what).first.screenshot(path=out)
    tab.close()


if __name__ == "__main__":
    main()
