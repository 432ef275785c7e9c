"""The explorer in a real JupyterLab in a real browser: it reacts to keys and mouse, and nothing leaves the machine."""

import pytest
from lab import browser_page, run_all_cells, screenshot
from lamae_toolkit.widgets.lead_attention import lead_attention_explorer
from playwright.sync_api import expect

from lamae_toolkit.config import LAMAEConfig
from lamae_toolkit.ecg import ECGError
from lamae_toolkit.evaluate import random_encoder

FIGURE = """
from lamae_toolkit.conditions import sample_patient
from lamae_toolkit.plots import ecg_figure
from lamae_toolkit.simulate import simulate_ecg
import numpy as np
rng = np.random.default_rng(0)
ecgs = {code: simulate_ecg(sample_patient(1, rng), rng, codes={code: 1.0}).recording for code in ("I44.7", "I21.09")}
ecg_figure(ecgs["I44.7"], title="An ECG")
"""
EXPLORER = """
from lamae_toolkit.config import LAMAEConfig
from lamae_toolkit.evaluate import random_encoder
from lamae_toolkit.probe import Probe
from lamae_toolkit.widgets.lead_attention import lead_attention_explorer
config = LAMAEConfig(width=96, heads=4, pooling_heads=4, latent_depth=2)
weight = rng.normal(size=(2, 96))
probe = Probe(("I44.7", "I21.09"), "heart", np.zeros(96), np.ones(96), weight / 10, np.zeros(2), 1.0)
lead_attention_explorer(random_encoder(config), ecgs, probe)
"""


@pytest.mark.slow
def test_the_explorer_reacts_in_jupyterlab(lab, chromium):
    address = lab.notebook("explorer", [FIGURE, EXPLORER])
    with browser_page(chromium) as page:
        run_all_cells(page, address)

        # The ECG, then the explorer with its two figures.
        expect(page.locator(".jp-OutputArea-child > .js-plotly-plot path.js-line")).to_have_count(12)
        explorer = page.locator(".lead-attention-explorer")
        expect(explorer.locator(".js-plotly-plot .main-svg .xtick").first).to_be_visible()
        heat_map, bars = explorer.locator(".js-plotly-plot").all()
        expect(bars.locator(".bars .point")).to_have_count(12)
        expect(explorer).to_contain_text("All twelve leads.")
        chances, shapes = explorer.locator("table"), bars.locator(".bars .point path")
        first, first_bar = chances.inner_text(), shapes.first.get_attribute("d")

        # Another ECG. (JupyterLab keeps the arrow keys of a focused list for itself: they move from cell to cell.)
        explorer.locator("select").first.select_option("I21.09")
        expect(chances).not_to_have_text(first, use_inner_text=True)
        expect(shapes.first).not_to_have_attribute("d", first_bar)

        # A lead less, by mouse; back on, by keyboard.
        toggle = explorer.get_by_role("button", name="V2", exact=True)
        toggle.click()
        expect(explorer).to_contain_text("Without V2.")
        expect(bars.locator(".bars .point")).to_have_count(11)
        expect(heat_map.locator(".xtick")).to_have_count(11)
        screenshot(explorer, "explorer.png")
        toggle.press("Space")
        expect(bars.locator(".bars .point")).to_have_count(12)

        # One layer, one head.
        picture = heat_map.locator(".hm image").get_attribute("href")
        explorer.locator("select").nth(1).select_option("2")
        explorer.locator("select").nth(2).select_option("3")
        expect(heat_map.locator(".hm image")).not_to_have_attribute("href", picture)

        # No lead at all is said, and is not the end.
        for button in explorer.get_by_role("button").filter(has_text="V").all():
            button.click()
        for name in ("I", "II", "III", "aVR", "aVL", "aVF"):
            button = explorer.get_by_role("button", name=name, exact=True)
            if "mod-active" in button.get_attribute("class"):
                button.click()
        expect(explorer).to_contain_text("Every lead is taken away")
        explorer.get_by_role("button", name="II", exact=True).click()
        expect(bars.locator(".bars .point")).to_have_count(1)


SMALL = LAMAEConfig(
    width=32,
    heads=4,
    pooling_heads=4,
    decoder_width=16,
    decoder_heads=4,
    encoder_depth=1,
    latent_depth=2,
    decoder_depth=1,
)


def test_the_explorer_without_a_browser(cohort):
    recording = next(cohort.recording(row) for row in range(9) if len(cohort.recording(row).leads) == 12)
    without_V1 = recording.select([lead for lead in recording.leads if lead != "V1"])
    explorer = lead_attention_explorer(random_encoder(SMALL), [recording, without_V1])
    (ecg, layer, head), (_, *leads) = (box.children for box in explorer.children[:2])
    heat_map, bars = explorer.children[3].children[0], explorer.children[3].children[1].children[0]
    assert ecg.options == ("ECG 1", "ECG 2") and len(layer.options) == 1 + 2 and len(head.options) == 1 + 4
    before = heat_map.data[0].z
    layer.value, head.value = 2, 4
    assert (heat_map.data[0].z != before).any()
    ecg.value = "ECG 2"
    V1 = next(button for button in leads if button.description == "V1")
    assert V1.disabled and "V1" not in bars.data[0].x and explorer.children[2].value == "Without V1."
    ecg.value = "ECG 1"
    assert not V1.disabled and len(bars.data[0].x) == len(recording.leads)
    with pytest.raises(ECGError, match="no ECG to explore"):
        lead_attention_explorer(random_encoder(SMALL), [])


def test_layers_and_heads_that_are_not_there_are_refused(cohort):
    from lamae_toolkit.explain import explain_ecg

    explanation = explain_ecg(random_encoder(SMALL), cohort.recording(0))
    whole = sum(explanation.attention_table(layer=layer) for layer in (1, 2)) / 2
    assert abs(whole - explanation.attention_table()).to_numpy().max() < 1e-6
    assert abs(explanation.attention_table(2, 3).to_numpy() - explanation.lead_attention[1, 2]).max() == 0
    with pytest.raises(ECGError, match="no layer 3; choose one from 1 to 2"):
        explanation.attention_table(layer=3)
    with pytest.raises(ECGError, match="no head 0"):
        explanation.attention_table(head=0)
