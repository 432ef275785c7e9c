"""The picture of the README, from the report of a demo:

    python start.py demo
    .venv/bin/python docs/picture.py lamae_demo/report.html

Needs Chromium. Draws the first figure of lead weights at its size on the page.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("lead_weights.png"))
    chosen = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 900}, color_scheme="light")
        page.goto(chosen.report.resolve().as_uri())
        page.locator(".plotly-graph-div", has_text="colour of its lead's weight").first.screenshot(path=chosen.out)
        browser.close()


if __name__ == "__main__":
    main()
