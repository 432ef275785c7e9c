"""ECG paper in a real browser: moved, measured and relaid by mouse and keyboard, with Python, without it, and saved."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import lamae_toolkit as lt
from lab import browser_page, run_all_cells, screenshot, scroll_bars
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.plots import paper_layout as paper
from lamae_toolkit.plots.paper import PAPER, reading
from lamae_toolkit.plots.paper_layout import GAINS_MM_PER_MV, LAYOUTS, SPEEDS_MM_PER_S, Calipers
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from lamae_toolkit.widgets.ecg_paper.terms import AGAINST, FOR, HEAD_MM, TERM_LIMIT, TINT
from lamae_toolkit.widgets.ecg_paper.widget import HERE, ECGPaper
from made_terms import made_terms

CELL = """
import ipywidgets, numpy as np
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper
rng = np.random.default_rng(0)
recording = simulate_ecg(sample_patient(1, rng), rng, codes={"I44.7": 1.0}).recording
paper, said = ECGPaper(recording), ipywidgets.Label("").add_class("said")
paper.observe(lambda _: setattr(said, "value", paper.code()))
fewer, hide = ipywidgets.Button(description="Fewer leads"), ipywidgets.Button(description="Hide")
fewer.on_click(lambda _: paper.show(recording.select(["I", "II", "V1"])))
hide.on_click(lambda _: paper.show(recording, overlay=recording, mask=np.tile([True, False], (12, 20))))
ipywidgets.VBox([paper, said, ipywidgets.HBox([fewer, hide])])
"""


PAN_AND_COMPARE = """(sent) => {
    const ecg = decoded({ ...sent.ecg, data: new DataView(new Uint8Array(sent.ecg.data).buffer) });
    const sheet = sent.pages["6x2"], geo = geometry(sheet, 25, 10);
    const state = { ecg, sheet, geo, colors: sent.colors, overlay: null, mask: null, startS: 0 };
    const shifted = keptPaper(), scale = 5.3;
    const pixels = (paper, left, top) => {
        const view = { left: left / scale, top: top / scale, right: (left + 700) / scale, bottom: (top + 400) / scale };
        return paper(state, view, scale, 1, 700, 400).getContext("2d").getImageData(0, 0, 700, 400).data;
    };
    pixels(shifted, 200, 100);
    return [[231, 100], [190, 113], [150, 60], [163, 41]].map(([left, top]) => {
        const panned = pixels(shifted, left, top), again = pixels(keptPaper(), left, top);
        return panned.filter((value, i) => Math.abs(value - again[i]) > 40).length;
    });
}"""


def simulated(duration_s: float = 10.0) -> Recording:
    rng = np.random.default_rng(0)
    return simulate_ecg(sample_patient(1, rng), rng, codes={"I44.7": 1.0}, duration_s=duration_s).recording


def drag(page: Page, canvas, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Press at one point of the canvas, move to another in steps, release."""
    box = canvas.bounding_box()
    (x0, y0), (x1, y1) = ((box["x"] + x, box["y"] + y) for x, y in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=6)
    page.mouse.up()


def colored(canvas, red: int, green: int, blue: int) -> int:
    """How many pixels of the canvas have nearly this color."""
    return canvas.evaluate(
        """(canvas, wanted) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const near = (i) => wanted.every((value, c) => Math.abs(data[i + c] - value) < 30);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) count += near(i);
            return count;
        }""",
        [red, green, blue],
    )


@pytest.mark.slow
def test_the_paper_in_jupyterlab(lab, chromium):
    with browser_page(chromium, 1500, 1200) as page:
        run_all_cells(page, lab.notebook("paper", [CELL]))
        root, said = page.locator(".ecg-paper"), page.locator(".said")
        canvas, status, line = (
            root.locator("canvas"),
            root.locator(".ecg-paper-status"),
            root.locator(".ecg-paper-code"),
        )
        expect(canvas).to_have_attribute(
            "aria-label", re.compile(r"ECG of 12 leads, 10\.0 s at 500 Hz\..* as 3x4, 25 mm/s")
        )
        page.wait_for_function("document.querySelector('.ecg-paper canvas[tabindex]').width > 600")
        assert colored(canvas, 27, 27, 27) > 3000  # ink
        screenshot(root, "paper_3x4.png")
        assert scroll_bars(root) == []

        # Nothing moves by the wheel until the paper was clicked, so that the notebook can be scrolled past it.
        canvas.hover()
        page.mouse.wheel(0, -300)
        # Zoom by the wheel, then pan by 120 pixels: Python gets the view, and the page writes the same line of code.
        canvas.click()
        page.mouse.wheel(0, -400)
        expect(said).to_contain_text("view=")
        left, top, width, _ = view = view_in(said.inner_text())
        assert view == view_in(line.text_content())
        scale = canvas.bounding_box()["width"] / width
        drag(page, canvas, (500, 200), (380, 200))
        expect(said).not_to_contain_text(f"view=[{left:g}")
        moved = view_in(said.inner_text())
        assert moved[0] - left == pytest.approx(120 / scale, abs=0.2) and moved[1:3] == [top, width]

        # Calipers from point to point: 100 pixels are so many milliseconds, 40 so many millivolts.
        page.keyboard.press("c")
        expect(said).to_contain_text("calipers=")
        drag(page, canvas, (500, 200), (600, 160))
        expect(status).to_have_text(re.compile(r"^\w+: \d+ ms .*/min .*\d mV$"))
        expect(said).to_have_text(line.text_content())
        points = Calipers(*json.loads(re.search(r"calipers=(\[.*?\])", said.inner_text())[1]))
        assert points.ms == pytest.approx(1000 * 100 / scale / 25, abs=1.5)
        assert abs(points.mv) == pytest.approx(40 / scale / 10, abs=0.01)
        expect(status).to_have_text(f"{points.lead}: {reading(points)}", use_inner_text=False)
        screenshot(root, "paper_calipers.png")
        before = points.end_s
        page.keyboard.press("ArrowRight")
        expect(said).to_contain_text(f"{round(before + 0.01, 4):g}")

        # Keys that mean something else to JupyterLab: layout, speed, gain; and those of the paper's own list.
        for key in ("Escape", "l", "s", "g", "?"):
            page.keyboard.press(key)
        expect(said).to_have_text('lt.ECGPaper(recording, layout="6x2", mm_per_s=50, mm_per_mv=20)')
        expect(root.get_by_label("Layout")).to_have_value("6x2")
        expect(root.get_by_role("note")).to_be_visible()
        page.keyboard.press("Escape")
        expect(root.get_by_role("note")).to_be_hidden()
        root.get_by_label("Speed").select_option("25 mm/s")
        root.get_by_label("Gain").select_option("10 mm/mV")
        expect(said).to_have_text('lt.ECGPaper(recording, layout="6x2")')

        # From Python: leads that are missing, then masked patches with a second trace.
        page.get_by_role("button", name="Fewer leads").click()
        expect(status).to_have_text("Not recorded: III, aVR, aVL, aVF, V2, V3, V4, V5, V6.")
        assert colored(canvas, 0, 114, 178) == 0
        page.get_by_role("button", name="Hide").click()
        expect(canvas).to_have_attribute("aria-label", re.compile("50% of the patches are masked"))
        expect(said).to_contain_text("overlay=overlay, mask=mask")
        page.wait_for_timeout(100)  # a frame
        assert colored(canvas, 0, 114, 178) > 500
        screenshot(root, "paper_masked.png")

        # Python stops: the paper says so and goes on.
        page.get_by_role("menuitem", name="Kernel", exact=True).click()
        page.get_by_role("menuitem", name="Shut Down Kernel", exact=True).click()
        page.get_by_role("button", name="No Kernel").first.wait_for()
        canvas.focus()
        page.keyboard.press("l")
        expect(line).to_contain_text('layout="12x1"')
        expect(status).to_have_text(re.compile("Python does not answer"))


def view_in(code: str) -> list[float]:
    """The view in a line of code."""
    return json.loads(re.search(r"view=(\[.*?\])", code)[1])


@pytest.mark.slow
def test_a_saved_page_works_without_python(chromium, tmp_path):
    recording = simulated(60.0)
    widget = ECGPaper(recording, title="LBBB & more")
    with browser_page(chromium, 1200, 900, offline=True, accept_downloads=True) as page:
        page.goto(widget.save(tmp_path / "ecg.html").as_uri())
        root, status = page.locator(".ecg-paper"), page.locator(".ecg-paper-status")
        canvas = root.locator("canvas")
        assert root.locator("table tr").count() == 13 and root.locator("table").inner_text().count("yes") == 12
        # By keyboard alone: Tab reaches the paper behind its buttons.
        for _ in range(20):
            page.keyboard.press("Tab")
            if canvas.evaluate("canvas => canvas === document.activeElement"):
                break
        page.keyboard.press("PageDown")
        page.keyboard.press("c")
        expect(status).to_have_text(re.compile(r"^\w+: \d+ ms"))
        line = root.locator(".ecg-paper-code").text_content()
        assert "start_s=10" in line and "calipers=" in line
        again = eval(line, {"lt": lt, "recording": recording})
        assert again.code() == line and again.figure().data

        files = {}
        for name in ("PNG", "SVG", "HTML"):
            with page.expect_download() as download:
                root.locator("button", has_text=name).click()
            files[name] = Path(tmp_path / download.value.suggested_filename)
            download.value.save_as(files[name])
        assert [path.name for path in files.values()] == ["LBBB_more.png", "LBBB_more.svg", "LBBB_more.html"]
        head = files["PNG"].read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(head[16:20], "big") > 3000
        root_of_svg = ET.parse(files["SVG"]).getroot()
        assert root_of_svg.get("width").endswith("mm") and "LBBB & more" in "".join(root_of_svg.itertext())
        assert sum(len(path.get("d")) > 5000 for path in root_of_svg.findall("{*}path")) >= 13

        # What the browser saved opens again as it was left.
        page.goto(files["HTML"].as_uri())
        expect(page.locator(".ecg-paper-code")).to_have_text(line, use_inner_text=False)

        # After panning, the picture is what painting it again gives: no seam where new edges were added.
        page.add_script_tag(content=(HERE / "ecg_paper_paint.js").read_text("utf-8"))
        sent = {name: getattr(ECGPaper(simulated()), f"_{name}") for name in ("ecg", "pages", "colors")}
        sent["ecg"] = {**sent["ecg"], "data": list(sent["ecg"]["data"])}
        assert page.evaluate(PAN_AND_COMPARE, sent) == [0, 0, 0, 0]

        # The arithmetic of the page is written twice, in Python and in JavaScript.
        for layout, speed, gain, head in product(LAYOUTS, SPEEDS_MM_PER_S, GAINS_MM_PER_MV, (0.0, HEAD_MM)):
            sheet = paper.page(recording, layout, head)
            width, height = sheet.size_mm(speed, gain)
            there = page.evaluate(
                "([sheet, speed, gain]) => { const geo = geometry(sheet, speed, gain);"
                " return [geo.left, geo.width, geo.height, geo.rowY(0), geo.rowY(sheet.rows - 1)]; }",
                [{**widget._pages[layout], "head_mm": head}, speed, gain],
            )
            rows = sheet.row_mm(0, gain), sheet.row_mm(sheet.rows - 1, gain)
            assert there == pytest.approx([sheet.left_mm(speed), width, height, *rows])


def field_color(canvas, widget: ECGPaper, lead: str) -> tuple[int, int, int]:
    """The most frequent color in the field of a lead, on a page that is shown completely; its trace is a small part."""
    sheet = paper.page(widget.recording, widget.lead_layout, HEAD_MM)
    strip = next(strip for strip in sheet.strips if strip.lead == lead)
    left, y = sheet.left_mm(25) + 25 * strip.at_s, sheet.row_mm(strip.row, 10)
    box_mm = [left + 5, y - 0.3 * sheet.pitch_mm(10) + 3, 50, 0.6 * sheet.pitch_mm(10)]
    color = canvas.evaluate(
        """(canvas, [box, height]) => {
            const [x, y, wide, high] = box.map((mm) => Math.round(mm * canvas.height / height));
            const { data } = canvas.getContext("2d").getImageData(x, y, wide, high), counts = new Map();
            for (let i = 0; i < data.length; i += 4) {
                const color = data.slice(i, i + 3).join();
                counts.set(color, (counts.get(color) || 0) + 1);
            }
            return [...counts].sort((a, b) => b[1] - a[1])[0][0];
        }""",
        [box_mm, sheet.size_mm(25, 10)[1]],
    )
    return tuple(map(int, color.split(",")))


def blended(term: float) -> tuple[int, ...]:
    """The color of the paper below the tint of a term."""
    color, opacity = FOR if term > 0 else AGAINST, TINT * min(1.0, abs(term) / TERM_LIMIT)
    below, above = ([int(one[i : i + 2], 16) for i in (1, 3, 5)] for one in (PAPER, color))
    return tuple(round((1 - opacity) * b + opacity * a) for b, a in zip(below, above, strict=True))


@pytest.mark.slow
def test_lead_terms_on_a_saved_page(chromium, tmp_path):
    recording = simulated()
    terms = made_terms(recording, {"I45.10": {"V1": 3.0, "V2": 1.0, "V6": -1.0}, "I44.7": {"I": 0.5}})
    widget = ECGPaper(recording, terms=terms, title="RBBB", flags={})
    with browser_page(chromium, 1500, 1300, offline=True, accept_downloads=True) as page:
        page.goto(widget.save(tmp_path / "ecg.html").as_uri())
        root, canvas = page.locator(".ecg-paper"), page.locator(".ecg-paper canvas[tabindex]")
        page.wait_for_timeout(200)  # a frame
        for lead, term in (("V1", 3.0), ("V2", 1.0), ("V6", -1.0), ("V4", 0.0)):
            assert field_color(canvas, widget, lead) == pytest.approx(blended(term), abs=2), lead
        assert canvas.get_attribute("aria-label").count("Rests on V1. Without it: ") == 1
        cells = root.locator("table tr", has_text="V1").locator("td").all_inner_texts()
        assert cells[-2:] == ["+3.00", "4.7 %"]
        assert root.locator("table th").all_inner_texts()[-2:] == [
            "Term of I45.10, log-odds",
            "Probability without the lead",
        ]
        screenshot(root, "paper_terms.png")

        # Over time, only the patch from 1 s on is tinted: V1 is shown from 5 s, the rhythm strip of II has no term.
        canvas.focus()
        page.keyboard.press("t")
        expect(root.get_by_role("button", name="Which patches")).to_have_attribute("aria-pressed", "true")
        page.wait_for_timeout(100)
        assert field_color(canvas, widget, "V1") == blended(0.0)
        expect(root.locator(".ecg-paper-code")).to_contain_text("over_time=True", use_inner_text=False)
        page.keyboard.press("t")

        # Another code by key and by the chooser; the line of code follows.
        page.keyboard.press("n")
        expect(root.locator(".ecg-paper-code")).to_contain_text('code="I44.7"', use_inner_text=False)
        page.wait_for_timeout(100)
        assert field_color(canvas, widget, "V1") == blended(0.0)
        assert field_color(canvas, widget, "I") == pytest.approx(blended(0.5), abs=2)
        root.locator("select").first.select_option(index=0)
        expect(canvas).to_have_attribute("aria-label", re.compile("I45.10 Right bundle-branch block"))
        line = root.locator(".ecg-paper-code").text_content()
        assert eval(line, {"lt": lt, "recording": recording, "terms": terms, "flags": {}}).code() == line

        with page.expect_download() as download:
            root.locator("button", has_text="SVG").click()
        download.value.save_as(tmp_path / "ecg.svg")
        texts = ["".join(text.itertext()) for text in ET.parse(tmp_path / "ecg.svg").getroot().findall("{*}text")]
        assert any(text.startswith("Rests on V1") for text in texts) and "+3.0" in texts and "−1.0" in texts

        # An ECG whose leads all look average stays white.
        even = ECGPaper(recording, terms=made_terms(recording, {}), flags={})
        page.goto(even.save(tmp_path / "even.html").as_uri())
        page.wait_for_timeout(200)
        assert {field_color(page.locator("canvas"), even, lead) for lead in lt.LEADS} == {blended(0.0)}
        assert "Rests on no lead in particular" in page.locator("canvas").get_attribute("aria-label")
