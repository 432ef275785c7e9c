"""The mask playground in a real JupyterLab: patches are masked by mouse, keyboard and at random, and reconstructed."""

import re

import pytest
from playwright.sync_api import expect

from lab import browser_page, run_all_cells, screenshot, scroll_bars

CELL = """
import ipywidgets, json, numpy as np
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from lamae_toolkit.widgets.mask_playground.widget import MaskPlayground
rng = np.random.default_rng(0)
recording = simulate_ecg(sample_patient(1, rng), rng, codes={"I44.7": 1.0}).recording
playground, said = MaskPlayground(recording), ipywidgets.HTML().add_class("said")
def say(_=None):
    masked = {lead: np.flatnonzero(row).tolist() for lead, row in zip(recording.leads, playground.mask)}
    said.value = json.dumps({lead: patches for lead, patches in masked.items() if patches})
playground.grid.observe(say, names="_reconstructed")
shorter = ipywidgets.Button(description="One lead, 2 s")
cut = recording.__class__(recording.signal_mv[:1, :1000], 500, ("I",))
shorter.on_click(lambda _: playground.show(cut))
display(playground, ipywidgets.VBox([said, shorter]))
"""
GUTTER, ROW, GAP = 96, 56, 16
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
EVERYTHING = list(range(40))


def colored(canvas, red: int, green: int, blue: int) -> int:
    """How many pixels of the canvas have nearly this color."""
    return canvas.evaluate(
        """(canvas, wanted) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4)
                count += wanted.every((value, c) => Math.abs(data[i + c] - value) < 30) && data[i + 3] > 200;
            return count;
        }""",
        [red, green, blue],
    )


@pytest.mark.slow
def test_the_playground_in_jupyterlab(lab, chromium):
    with browser_page(chromium, 1300, 1400) as page:
        run_all_cells(page, lab.notebook("mask", [CELL]))
        shell, said = page.locator(".lamae-mask-playground"), page.locator(".said .widget-html-content")
        bars = shell.locator(".barlayer .point path")
        canvas, status = shell.locator(".mask-grid canvas"), shell.locator(".mask-grid-status")
        expect(canvas).to_have_attribute("aria-label", re.compile(r"Masked: 75% of the patches\. Error: LAMAE 0\."))
        screenshot(shell, "mask_random.png")
        assert scroll_bars(shell) == []
        assert shell.bounding_box()["height"] < 700, "it fits on a laptop's screen"
        shell.get_by_role("button", name="Errors as bars").click()
        expect(bars.first).to_be_visible()
        assert colored(canvas, 0, 114, 178) > 2000 and colored(canvas, 213, 94, 0) > 1000

        def spot(lead: str, patch: float) -> tuple[float, float]:
            """Where a patch is on the page; patch -1 is the lead's name."""
            box, index = canvas.bounding_box(), LEADS.index(lead)
            wide = (box["width"] - GAP) / 2
            left = 30 if patch < 0 else GUTTER + (patch + 0.5) * (wide - GUTTER) / 40
            return box["x"] + index // 6 * (wide + GAP) + left, box["y"] + index % 6 * ROW + (14 if patch < 0 else 30)

        # Show everything, then mask by mouse: one patch, a stretch, a rectangle over two leads, a whole lead.
        shell.get_by_role("button", name="Clear").click()
        expect(said).to_have_text("{}")
        expect(canvas).to_have_attribute("aria-label", re.compile("Nothing is masked"))
        expect(shell).to_contain_text("Nothing is masked")
        assert colored(canvas, 0, 114, 178) == 0
        page.mouse.click(*spot("II", 3))
        expect(said).to_have_text('{"II": [3]}')
        for start, end in ((("V2", 10), ("V2", 14)), (("V5", 20), ("V6", 21))):
            page.mouse.move(*spot(*start))
            page.mouse.down()
            page.mouse.move(*spot(*end), steps=4)
            page.mouse.up()
        expect(said).to_have_text('{"II": [3], "V2": [10, 11, 12, 13, 14], "V5": [20, 21], "V6": [20, 21]}')
        page.mouse.click(*spot("V3", -1))
        expect(said).to_contain_text(f'"V3": {EVERYTHING}')
        expect(shell).to_contain_text("the amplitude of a masked lead")
        expect(canvas).to_have_attribute("aria-label", re.compile("completely masked: V3"))
        high = "[...document.querySelectorAll('.barlayer .point path')].filter((bar) => bar.getBBox().height > 0.5)"
        page.wait_for_function(f"{high}.length === 10")
        table = shell.locator(".mask-grid table tr")
        lamae, independent = map(float, table.nth(9).inner_text().split("\t")[2:])
        assert lamae < 0.5 < independent
        screenshot(shell, "mask_by_mouse.png")

        # One second, one moment in all leads, the truth hidden; a guess along the middle of V3 is scored.
        shell.get_by_role("button", name="One beat").click()
        shell.get_by_role("button", name="One moment").click()
        expect(said).to_have_text(re.compile(r'^\{("\w+": \[\d+\](, )?){12}\}$'))
        patch = int(re.search(r"\[(\d+)\]", said.inner_text())[1])
        black = colored(canvas, 34, 34, 34)
        shell.get_by_role("button", name="Draw a guess").click()
        expect(shell).to_contain_text("lift the mouse to be scored")
        page.wait_for_function("document.querySelector('.mask-grid canvas') !== null")
        assert colored(canvas, 34, 34, 34) < black, "the truth is hidden"
        window = [float(one) for one in re.findall(r"([\d.]+) s", shell.locator(".widget-readout").last.inner_text())]
        wide = (canvas.bounding_box()["width"] - GAP) / 2 - GUTTER
        left = (patch * 0.25 - window[0]) / (window[1] - window[0]) * wide
        x, y = spot("V3", -1)[0] - 30 + GUTTER + left, spot("V3", 0)[1]
        page.mouse.move(x + 5, y)
        page.mouse.down()
        page.mouse.move(x + wide / 4 - 5, y + 4, steps=8)
        page.mouse.up()
        expect(shell).to_contain_text(re.compile(r"best first: .*your guess \d\.\d{3} mV"))
        expect(shell).to_contain_text("linear regression not possible")  # nothing is visible at that moment
        assert colored(canvas, 0, 158, 115) > 30
        screenshot(shell, "mask_guess.png")
        for name in ("Draw a guess", "Hide the truth", "One beat"):
            shell.get_by_role("button", name=name).click()
        page.wait_for_timeout(200)
        assert colored(canvas, 0, 158, 115) == 0
        shell.get_by_role("button", name="Clear").click()
        expect(said).to_have_text("{}")
        expect(canvas).to_have_attribute("aria-label", re.compile("Nothing is masked"))

        # Three quick clicks while Python is busy: the answer to the first must not undo the second.
        for patch in (1, 2, 3):
            page.mouse.click(*spot("aVF", patch))
        expect(said).to_have_text('{"aVF": [1, 2, 3]}')
        shell.get_by_role("button", name="Clear").click()
        expect(said).to_have_text("{}")
        expect(canvas).to_have_attribute("aria-label", re.compile("Nothing is masked"))

        # By keyboard: the cursor goes on from V3; keys that mean something else to JupyterLab.
        page.mouse.click(*spot("V3", -1))
        for key in ("ArrowDown", "ArrowRight", "Space"):
            page.keyboard.press(key)
        expect(status).to_have_text("V4, patch 2 of 40 (0.25 to 0.50 s): masked.")
        expect(said).to_contain_text('"V4": [1]')
        expect(shell.get_by_role("button", name="Mask only V4")).to_be_visible()
        page.keyboard.press("m")
        expect(said).to_contain_text(f'"V4": {EVERYTHING}')
        page.keyboard.press("m")
        expect(said).not_to_contain_text('"V4"')

        # Buttons, and a random mask by the slider's keys.
        shell.get_by_role("button", name="Mask V1-V6").press("Enter")
        expect(said).to_have_text(re.compile(r'^\{"V1".*"V6": [^"]*$'))
        shell.get_by_role("button", name="Keep only V4").click()
        expect(said).not_to_contain_text('"V4"')
        expect(shell).to_contain_text("Masked: 92% of the patches")
        handle = shell.locator(".noUi-handle").first
        handle.focus()
        page.keyboard.press("ArrowLeft")
        expect(shell).to_contain_text("Masked: 70% of the patches.")
        first = said.inner_text()
        shell.get_by_role("button", name="Another mask").click()
        expect(said).not_to_have_text(first)
        shell.get_by_role("button", name="Code of this view").click()
        expect(shell.locator("pre")).to_contain_text("random_mask((1, 12, 40), 0.7, torch.Generator().manual_seed(1))")

        # Another ECG with one lead: to mask all of it is refused, and the page shows what is.
        page.get_by_role("button", name="One lead, 2 s").click()
        expect(shell).to_contain_text("This ECG has lead I only")
        expect(shell).to_contain_text("2 s in 8 patches")
        before = said.inner_text()
        canvas.focus()
        page.keyboard.press("m")
        expect(shell.get_by_role("alert")).to_contain_text("leave at least one patch visible")
        page.wait_for_timeout(100)  # a frame
        expect(said).to_have_text(before)
        expect(table.nth(1)).to_contain_text("6 of 8")
        screenshot(shell, "mask_one_lead.png")

        # Python stops: shading goes on, and the page says that nothing is reconstructed.
        page.get_by_role("menuitem", name="Kernel", exact=True).click()
        page.get_by_role("menuitem", name="Shut Down Kernel", exact=True).click()
        page.get_by_role("button", name="No Kernel").first.wait_for()
        canvas.focus()
        page.keyboard.press("Space")
        expect(status).to_have_text(re.compile("Python does not answer"))
