"""The pictures of the README:

    python start.py demo
    .venv/bin/python tools/picture.py lamae_demo/report.html

Needs Chromium. The lead weights are the first figure of that report; paper and credit are of a simulated ECG.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.encoded import attention_summary
from lamae_toolkit.explain.lead_shapley import attribute_leads
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import WEIGHTS
from lamae_toolkit.plots.paper import paper_figure, paper_svg
from lamae_toolkit.plots.shapley import attribution_figure
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg

DOCS = Path(__file__).parents[1] / "docs"
CODE = "I45.10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, nargs="?", help="report of a demo; without it the other two are drawn")
    chosen = parser.parse_args()
    rng = np.random.default_rng(4)
    ecg = simulate_ecg(sample_patient(1, rng), rng, codes={CODE: 0.9}).recording
    model, probe = LAMAE.from_pretrained("lamae-small"), Probe.load(WEIGHTS / "lamae-small")
    attribution = attribution_figure(attribute_leads(model, probe, ecg), CODE, attention_summary(model, ecg, probe))
    credit_html = attribution.update_layout(width=1000, height=560).to_html(include_plotlyjs=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, html, what in (
            ("ecg_paper", f"<meta charset=utf-8>{paper_svg(paper_figure(ecg))}", "svg"),
            ("lead_attribution", credit_html, ".plotly-graph-div"),
        ):
            page = Path(folder) / f"{name}.html"
            page.write_text(html, encoding="utf-8")
            _shoot(browser, page, what, DOCS / f"{name}.png")
        if chosen.report:
            _shoot(browser, chosen.report, ".plotly-graph-div", DOCS / "lead_weights.png", "color of its lead's weight")
        browser.close()


def _shoot(browser: Browser, page: Path, what: str, out: Path, text: str | None = None) -> None:
    """Keep what the page shows of its first element of this kind that holds the text."""
    tab = browser.new_page(viewport={"width": 1040, "height": 900}, color_scheme="light")
    tab.goto(page.resolve().as_uri())
    tab.locator(what, has_text=text).first.screenshot(path=out)
    tab.close()


if __name__ == "__main__":
    main()
