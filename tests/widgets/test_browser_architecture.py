"""The architecture picture in a real browser: hovering, keys, the twin, code, and a narrow page, without Python."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from lab import browser_page, cut_texts, screenshot, scroll_bars
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from lamae_toolkit.widgets.architecture.widget import Architecture, ArchitecturePicture

PAGE = """<!doctype html><meta charset="utf-8"><title>Architecture</title><style>CSS</style><div id="place"></div>
<script type="module">
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const state = JSON.parse(STATE, (_, value) => (value?.base64 !== undefined ? bytes(value.base64) : value));
const heard = {};
window.model = {
  get: (name) => state[name], save_changes() { window.saved = (window.saved ?? 0) + 1; },
  set(name, value) { state[name] = value; (heard[`change:${name}`] ?? []).forEach((call) => call()); },
  on: (name, call) => (heard[name] ??= []).push(call), off() {}, widget_manager: {},
};
const source = new Blob([SCRIPT], { type: "text/javascript" });
(await import(URL.createObjectURL(source))).default.render({ model, el: document.getElementById("place") });
</script>"""
NAME, ROW, TOP = 44, 34, 22


@pytest.fixture(scope="module")
def architecture() -> Architecture:
    rng = np.random.default_rng(0)
    return Architecture(simulate_ecg(sample_patient(1, rng), rng, codes={"I44.7": 1.0}).recording)


@pytest.fixture
def address(architecture, tmp_path) -> str:
    """A page with the picture as Python sends it, and no Python behind it."""
    state = {name: getattr(architecture.picture, name) for name in ("_ecg", "_models", "chosen")}
    sent = json.dumps(state, default=lambda value: {"base64": base64.b64encode(value).decode()})
    literal = lambda text: json.dumps(text).replace("</", "<\\/")  # noqa: E731
    parts = {
        "CSS": str(ArchitecturePicture._css),
        "STATE": literal(sent),
        "SCRIPT": literal(str(ArchitecturePicture._esm)),
    }
    file = tmp_path / "page.html"
    file.write_text(re.sub(r"\b(CSS|STATE|SCRIPT)\b", lambda name: parts[name[1]], PAGE), encoding="utf-8")
    return file.as_uri()


def patch_at(page: Page, lead: int, patch: int) -> tuple[float, float]:
    """Where a patch is on a wide page; patch -1 is the lead's name."""
    box = page.locator("canvas").bounding_box()
    wide = (round(box["width"] * 0.55) - NAME) / 40
    return box["x"] + (20 if patch < 0 else NAME + (patch + 0.5) * wide), box["y"] + TOP + (lead + 0.5) * ROW


@pytest.mark.slow
def test_hovering_answers_with_the_numbers_of_the_model(architecture, address, chromium):
    steps = architecture.steps["LAMAE"]
    leads, v2 = steps.recording.leads, 7
    with browser_page(chromium, 1440, 900) as page:
        page.goto(address)
        canvas, status = page.locator("canvas"), page.locator(".architecture-status")
        expect(canvas).to_have_attribute("data-painted", "LAMAE V3 -1")
        screenshot(page, "architecture_lead.png")
        page.mouse.move(*patch_at(page, v2, -1))
        row = steps.between_leads()[v2]
        most = int(row.argmax())
        expect(status).to_contain_text(f"V2: takes {row[most]:.1%} from {leads[most]}")

        visible = int(np.flatnonzero(~steps.mask[v2])[5])
        page.mouse.move(*patch_at(page, v2, visible))
        query = np.flatnonzero((steps.tokens == [v2, visible]).all(axis=1))[0]
        taken = np.bincount(steps.tokens[:, 0], steps.attention[0, :, query].mean(axis=0), len(leads))
        expect(status).to_contain_text(f"takes {taken.max():.1%} from {leads[int(taken.argmax())]}")
        expect(canvas).to_have_attribute("data-painted", f"LAMAE V2 {visible}")
        screenshot(page, "architecture_patch.png")

        masked = int(np.flatnonzero(steps.mask[v2])[5])
        page.mouse.move(*patch_at(page, v2, masked))
        expect(status).to_contain_text(f"an error of {steps.errors_mv()[v2, masked]:.3f} mV")

        page.get_by_label("Attention: ").select_option("layer 1, head 2")
        page.mouse.move(*patch_at(page, v2, visible))
        taken = np.bincount(steps.tokens[:, 0], steps.attention[0, 1, query], len(leads))
        expect(status).to_contain_text(f"takes {taken.max():.1%} from {leads[int(taken.argmax())]}")
        expect(status).to_contain_text("layer 1, head 2")
        assert scroll_bars(page.locator(".architecture")) == [] and cut_texts(page.locator(".architecture")) == []


@pytest.mark.slow
def test_twin_code_and_keyboard(architecture, address, chromium):
    with browser_page(chromium, 1440, 900) as page:
        page.goto(address)
        canvas, status = page.locator("canvas"), page.locator(".architecture-status")
        page.get_by_role("radio", name="independent leads").check()
        canvas.focus()
        page.keyboard.press("ArrowDown")
        expect(status).to_contain_text("V4: takes 100.0% from V4 (independent leads, mean over heads).")
        expect(status).to_contain_text("no line leaves the lane")
        expect(canvas).to_have_attribute("data-painted", "independent leads V4 -1")
        screenshot(page, "architecture_twin.png")
        page.keyboard.press("ArrowRight")
        expect(status).to_contain_text("V4, patch 1 (0.00 to 0.25 s)")
        page.keyboard.press("Home")
        expect(status).to_contain_text("V4: takes")

        for block in architecture.picture._models[1]["blocks"]:
            button = page.get_by_role("button", name=re.compile(rf"^\d {block['heading']}"))
            button.focus()
            page.keyboard.press("Enter")
            expect(button).to_have_attribute("aria-pressed", "true")
            expect(button).to_be_focused()
            expect(page.locator(".architecture pre")).to_have_text(block["code"])
        assert page.evaluate("model.get('chosen')") == {"model": "independent leads", "head": 0, "block": "error"}
        table = page.locator(".architecture-table tr")
        expect(table).to_have_count(13)
        expect(table.nth(10)).to_contain_text("100.0%")


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 800])
def test_narrow_pages_show_everything(address, chromium, width):
    with browser_page(chromium, width, 1500) as page:
        page.goto(address)
        canvas = page.locator("canvas")
        expect(canvas).to_have_attribute("data-painted", "LAMAE V3 -1")
        shown = page.locator(".architecture")
        assert cut_texts(shown) == [] and scroll_bars(shown) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (canvas.bounding_box()["height"] > 700) == (width < 760)
        screenshot(page, f"architecture_{width}.png")


def test_the_script_loads_nothing():
    script = (Path(__file__).parents[2] / "widgets" / "architecture" / "architecture.js").read_text("utf-8")
    assert "http" not in script
