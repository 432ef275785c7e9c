"""The lead explorer in a real JupyterLab, worked by mouse and keyboard."""

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from lab import browser_page, run_again, run_all_cells, screenshot, scroll_bars

FIGURE = """
import ipywidgets, numpy as np, os
from pathlib import Path
Path("pid").write_text(str(os.getpid()))
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.plots.ecg import ecg_figure
from lamae_toolkit.simulate.simulator import simulate_ecg
rng = np.random.default_rng(0)
ecgs = {code: simulate_ecg(sample_patient(1, rng), rng, codes={code: 1.0}).recording for code in ("I44.7", "I21.09")}
ecg_figure(ecgs["I44.7"], title="An ECG")
"""
EXPLORER = """
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.widgets.lead_explorer.widget import LeadExplorer
config = LAMAEConfig(width=32, heads=4, pooling_heads=4, encoder_depth=1, latent_depth=2, tokens="cls")
weight = rng.normal(size=(2, 32))
probe = Probe(("I44.7", "I21.09"), "heart", np.zeros(32), np.ones(32), weight / 4, np.zeros(2), 1.0)
explorer, said = LeadExplorer(random_encoder(config), ecgs, probe), ipywidgets.Label().add_class("said")
def say(_):
    view = explorer.view
    said.value = f"{view.name} off={view.off} code={view.code} layer={view.layer} head={view.head} {view.changes}"
explorer.words.observe(say)
ipywidgets.VBox([explorer, said])
"""


def figure(explorer: Locator, name: str, group: str = "live") -> Locator:
    return explorer.locator(f".lamae-group-{group} .lamae-figure-{name}")


def choose(explorer: Locator, label: str, option: str) -> None:
    """Choose from the list of this label."""
    explorer.locator(".widget-dropdown").filter(has_text=label).locator("select").first.select_option(option)


@pytest.mark.slow
def test_the_explorer_in_jupyterlab(lab, chromium, tmp_path):
    with browser_page(chromium, 1500, 2300, accept_downloads=True) as page:
        run_all_cells(page, lab.notebook("explorer", [FIGURE, EXPLORER]))
        plain_figure = page.locator(".jp-OutputArea-child > .js-plotly-plot")
        expect(plain_figure.locator("path.js-line")).to_have_count(12)
        for upload in ("[data-title*='Share']", "[data-title*='Produced']", ".plotlyjsicon"):
            assert page.locator(f".js-plotly-plot {upload}").count() == 0, "no button leads to a server"
        explorer, said = page.locator(".lamae-lead-explorer"), page.locator(".said")
        ecg, terms, body, probabilities, heat = (
            figure(explorer, name) for name in ("ecg", "terms", "body", "probabilities", "attention")
        )
        paper = explorer.locator(".ecg-paper")
        expect(terms.locator(".modebar-btn").first).to_be_attached()
        assert explorer.locator("[data-title*='Share']").count() == 0, "no button uploads an ECG"
        # Twelve lead terms and the limb leads together; what is lost without each lead, and then Shapley values.
        expect(terms.locator(".bars .point")).to_have_count(13)
        expect(terms.locator(".scatterlayer .point")).to_have_count(24)
        expect(paper.locator("canvas")).to_have_attribute("aria-label", re.compile("Lead terms in log-odds"))
        expect(ecg).to_have_count(0)

        # A lead less, by mouse: its bar and its disc are gone, and Shapley values of eleven leads follow.
        toggle = explorer.get_by_role("button", name="V2", exact=True)
        toggle.click()
        expect(said).to_contain_text("off=['V2']")
        expect(body).to_contain_text("V2 absent")
        expect(body).to_have_attribute("aria-label", re.compile(r"^Lead terms: (?!.*V2)"))
        expect(terms.locator(".bars .point")).to_have_count(12)
        expect(terms.locator(".scatterlayer .point")).to_have_count(22)
        expect(explorer.locator("p[role=status]").last).to_contain_text("11 of 12 recorded leads. Without V2.")
        screenshot(page, "explorer.png")
        assert scroll_bars(explorer) == []
        # And back, by keyboard.
        toggle.press("Space")
        expect(said).to_contain_text("off=[]")
        expect(terms.locator(".bars .point")).to_have_count(13)

        # The other tab: shares in the heart token, and attention by layer and head.
        explorer.get_by_role("button", name="Share in the heart token").click()
        expect(ecg.locator("path.js-line")).to_have_count(13)
        expect(heat.locator(".xtick")).to_have_count(12)
        expect(terms).to_have_count(0)
        expect(paper).to_be_hidden()
        expect(explorer).to_contain_text("It does not say whether a prediction rests on the lead")
        picture = heat.locator(".hm image").get_attribute("href")
        choose(explorer, "Layer", "2")
        choose(explorer, "Head", "3")
        expect(said).to_contain_text("layer=2 head=3")
        expect(heat.locator(".hm image")).not_to_have_attribute("href", picture)
        for title, head in (("Save as SVG", b"<svg"), ("Save as PNG", b"\x89PNG")):
            with page.expect_download() as download:
                ecg.locator(f"[data-title='{title}']").dispatch_event("click")
            assert Path(download.value.path()).read_bytes().startswith(head)
        explorer.get_by_role("button", name="Lead terms").click()
        expect(paper).to_be_visible()

        # The code, chosen in the list or on the paper, and what the discs stand for.
        choose(explorer, "Code", "I21.09 ST elevation myocardial infarction of the anterior wall")
        expect(said).to_contain_text("code=I21.09")
        expect(terms).to_contain_text("I21.09")
        on_paper = paper.locator(".ecg-paper-codes")
        index = on_paper.locator("option").evaluate_all("all => all.findIndex((one) => one.text.includes('I44.7'))")
        on_paper.select_option(index=index)
        expect(said).to_contain_text("code=I44.7")
        expect(terms).to_contain_text("I44.7")
        choose(explorer, "On body", "Shapley values")
        expect(body).to_contain_text("Shapley values of leads")

        # Electrodes reversed, a lead made lower by the arrow keys, and all as recorded again.
        before = probabilities.get_attribute("aria-label")
        choose(explorer, "Reverse", "RA and LA")
        choose(explorer, "Scale", "V3")
        handle = explorer.locator(".noUi-handle")
        handle.focus()
        page.keyboard.press("ArrowLeft")
        expect(said).to_contain_text("Changes(electrodes=('RA', 'LA'), scaled=('V3',), factor=0.4)")
        expect(probabilities).not_to_have_attribute("aria-label", before)
        expect(explorer).to_contain_text("reads each lead in units of its own standard deviation")
        explorer.get_by_role("button", name="As recorded").press("Enter")
        expect(said).to_contain_text("Changes(electrodes=None, scaled=(), factor=1.0)")
        expect(probabilities).to_have_attribute("aria-label", before)

        # Two ECGs side by side.
        explorer.get_by_role("button", name="Pin").click()
        explorer.get_by_role("button", name="Next ECG").press("Space")
        expect(said).to_contain_text("I21.09 off=[]")
        expect(explorer.locator(".lamae-group h3")).to_have_text(["I44.7", "I21.09"])
        expect(figure(explorer, "terms", "pinned").locator(".scatterlayer .point")).to_have_count(24)
        expect(terms.locator(".scatterlayer .point")).to_have_count(24)
        expect(paper).to_have_count(2)
        screenshot(page, "explorer_pinned.png")
        explorer.get_by_role("button", name="Pin").click()
        expect(explorer.locator(".lamae-group h3")).to_have_text(["I21.09"])

        # Code on demand.
        explorer.get_by_role("button", name="Code of this view").click()
        expect(explorer.locator("pre:not(.ecg-paper-code)")).to_contain_text("recording = recordings['I21.09']")

        # Where there is less room the figures stand below each other, and none is cut.
        page.set_viewport_size({"width": 1024, "height": 1400})
        room = explorer.bounding_box()["width"]
        page.wait_for_function(
            "(room) => [...document.querySelectorAll('.lamae-plots .main-svg')].every((p) => p.clientWidth <= room)",
            arg=room,
        )
        assert terms.bounding_box()["y"] + terms.bounding_box()["height"] <= body.bounding_box()["y"] + 1
        page.set_viewport_size({"width": 1500, "height": 2300})

        # No lead at all is said, and is not the end: the last one stays.
        for name in ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"):
            explorer.get_by_role("button", name=name, exact=True).click()
        expect(explorer.get_by_role("alert")).to_contain_text("turn at least one on again")
        expect(said).to_contain_text("'V5'] code")
        expect(terms.locator(".bars .point")).to_have_count(1)

        # Python is killed: that is said, and all that was drawn stays.
        stopped = explorer.get_by_text("Python has stopped.")
        expect(stopped).to_be_hidden()
        os.kill(int((lab.root / "pid").read_text()), signal.SIGKILL)
        page.get_by_role("dialog").get_by_role("button", name="Ok").click()
        expect(stopped).to_be_visible()
        expect(stopped).to_contain_text("run the cell again")
        expect(terms.locator(".bars .point")).to_have_count(1)
        expect(explorer.get_by_role("button", name="V2", exact=True)).to_be_visible()
        screenshot(page, "explorer_stopped.png")
        # And from the cell, run again, there is a new one.
        run_again(page)
        expect(stopped).to_be_hidden()
        expect(terms.locator(".bars .point")).to_have_count(13)
