"""The web page in a browser: five steps by mouse and by keyboard, its address, its words, and the Python it gives."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import lamae_toolkit as lt
from lab import browser_page, screenshot
from lamae_toolkit.data.examples import simulated_examples
from lamae_toolkit.ecg.leads import FRONTAL_AXIS_DEG, HORIZONTAL_AXIS_DEG, LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.explain.reconstruction import as_read, reconstruct_masked, shipped_pair
from lamae_toolkit.plots.paper_layout import LAYOUTS, page
from lamae_toolkit.widgets.ecg_paper.widget import SCRIPTS

PAGE = Path(__file__).resolve().parents[2] / "widgets" / "page"
WIDGETS = (*(PAGE.parent / "ecg_paper").glob("*.js"), PAGE.parent / "mask_playground" / "mask_grid.js")
RBBB = "#ecg=right+bundle+branch+block&lang=en"


def strings(language: str) -> dict[str, str]:
    return json.loads((PAGE / "strings" / f"{language}.json").read_text(encoding="utf-8"))


def opened(browser: Page, web_page: Path, address: str = RBBB) -> None:
    """Open the page and wait for its models."""
    browser.goto("about:blank")
    browser.goto(f"{web_page.as_uri()}{address}")
    browser.locator("[data-ready]").wait_for()


def step(browser: Page, name: str):
    section = browser.locator(f"#{name}")
    section.scroll_into_view_if_needed()
    return section


def state(browser: Page) -> dict:
    """What the reader sees, as plain values."""
    return browser.evaluate(
        """() => {
            const { mask, gap, ...rest } = lamae.page.store.state;
            return { ...rest, mask: [...mask], gap: [...gap] };
        }"""
    )


def millivolts(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(\d+\.\d+)\xa0mV", text)]


def rms(recording: Recording, reconstruction: Recording, mask: np.ndarray) -> float:
    samples = np.repeat(mask, reconstruction.signal_mv.shape[1] // mask.shape[1], axis=1)
    return float(np.sqrt(np.mean((reconstruction.signal_mv - recording.signal_mv)[samples] ** 2)))


@pytest.mark.slow
def test_five_steps_by_mouse(web_page, chromium):
    ecg = simulated_examples()["right bundle branch block"]
    with browser_page(chromium, 1280, 900) as browser:
        opened(browser, web_page)
        expect(browser.locator("header")).to_contain_text("For research and teaching, not for diagnosis.")

        look = step(browser, "step-look")
        expect(look).to_contain_text("simulated by a computer")
        expect(look.locator(".answer")).to_be_hidden()
        look.get_by_role("button", name="Show the finding").click()
        expect(look.locator(".answer")).to_contain_text("Right bundle branch block")

        gap = step(browser, "step-gap")
        box = gap.locator("canvas").bounding_box()
        patch = box["width"] / 40
        browser.mouse.move(box["x"] + 4.5 * patch, box["y"] + 60)
        browser.mouse.down()
        browser.mouse.move(box["x"] + 9.5 * patch, box["y"] + 60, steps=4)
        browser.mouse.up()
        assert np.flatnonzero(state(browser)["gap"]).tolist() == [*range(4, 10), *range(16, 24)]
        for name in ("LAMAE's guess", "The twin's guess", "The truth"):
            expect(gap.locator(".verdict")).to_be_empty()
            gap.get_by_role("button", name=name).click()
        expect(gap.locator(".verdict")).not_to_be_empty()
        mask = np.zeros((12, 40), dtype=bool)
        mask[LEADS.index("V3"), np.flatnonzero(state(browser)["gap"])] = True
        models = shipped_pair()
        read = as_read(ecg, models["LAMAE"].config)
        errors = [rms(read, one, mask) for one in reconstruct_masked(models, ecg, mask).values()]
        assert millivolts(gap.locator(".error-bars").inner_text()) == pytest.approx(errors, abs=0.006)
        screenshot(gap, "page_gap.png")

        leads = step(browser, "step-leads")
        leads.get_by_role("button", name="Hide V1 to V6").click()
        expect(leads.locator(".question")).to_contain_text("All chest leads are hidden")
        leads.get_by_role("button", name="Show what the models make of it").click()
        expect(leads.locator(".answer")).to_contain_text("not in the limb leads")
        mask = np.repeat(np.array([name.startswith("V") for name in LEADS])[:, None], 40, axis=1)
        errors = [rms(read, one, mask) for one in reconstruct_masked(models, ecg, mask).values()]
        expect(leads.locator(".error-row")).to_have_count(2)
        assert millivolts(leads.locator(".error-bars").inner_text()) == pytest.approx(errors, abs=0.006)

        terms = step(browser, "step-terms")
        terms.get_by_label("Code").select_option("I45.10")
        rows = terms.locator(".lead-row")
        expect(rows.first).to_have_text(re.compile(r"\?"))
        rows.nth(LEADS.index("V2")).click()
        expect(terms.locator(".answer")).to_contain_text("You chose V2")
        encoded = encode_ecg(lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), ecg, lt.Probe.load("lamae-mini-ptbxl"))
        expected = encoded.lead_terms().of_code("I45.10").term
        shown = [float(text.replace("−", "-")) for text in terms.locator(".lead-row .number").all_inner_texts()]
        assert shown == pytest.approx(expected.to_list(), abs=0.006)
        screenshot(terms, "page_terms.png")
        before = terms.locator(".probability").inner_text()
        rows.nth(LEADS.index("V1")).click()
        expect(terms.locator(".probability")).not_to_have_text(before)
        expect(rows.nth(LEADS.index("V1"))).to_have_attribute("aria-pressed", "false")
        left = [lead for lead in LEADS if lead != "V1"]
        expected = encoded.lead_terms(left).of_code("I45.10").term
        shown = terms.locator(".lead-row .number").all_inner_texts()
        assert shown.pop(LEADS.index("V1")) == "taken away"
        assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(expected.to_list(), abs=0.006)
        assert "V1away" in " ".join(terms.locator(".body text").all_text_contents())

        attention = step(browser, "step-attention")
        expect(attention.locator(".bond")).to_have_count(0)
        attention.get_by_role("button", name="Show the lines").click()
        attention.get_by_role("button", name="V6", exact=True).click()
        expect(attention.locator(".bond")).to_have_count(10)  # V1 is away
        expect(attention).to_contain_text("V6 keeps")
        expect(attention).to_contain_text("What the lines do not show")
        assert state(browser)["from"] == "V6"


@pytest.mark.slow
def test_five_steps_by_keyboard(web_page, chromium):
    with browser_page(chromium, 1280, 900) as browser:
        opened(browser, web_page)

        def to(place) -> None:
            """Press Tab until an element has the focus."""
            for _ in range(60):
                if place.evaluate("(element) => element === document.activeElement"):
                    return
                browser.keyboard.press("Tab")
            raise AssertionError("Tab does not come there.")

        live = browser.locator("#live")
        look, gap, leads, terms, attention = (
            browser.locator(f"#step-{name}") for name in ("look", "gap", "leads", "terms", "attention")
        )
        to(browser.get_by_role("link", name="1: Look at an ECG"))
        browser.keyboard.press("Enter")
        to(look.get_by_role("button", name="Show the finding"))
        browser.keyboard.press("Enter")
        expect(live).to_contain_text("Right bundle branch block")

        to(gap.locator("canvas"))
        for key in ("ArrowRight", "Space"):
            browser.keyboard.press(key)
        expect(live).to_contain_text("V3, piece 2 of 40 (0.25 to 0.50 s): hidden.")
        for name in ("lamae", "twin", "truth"):
            to(gap.locator(f".reveal.{name}"))
            browser.keyboard.press("Space")
        expect(live).to_contain_text("mV")

        to(leads.get_by_role("button", name="Hide one second in all leads"))
        browser.keyboard.press("Enter")
        to(leads.get_by_role("button", name="Show what the models make of it"))
        browser.keyboard.press("Enter")
        expect(leads.locator(".answer")).to_contain_text("Nobody saw this second")

        to(terms.get_by_role("button", name="Show the evidence"))
        browser.keyboard.press("Enter")
        expect(terms.locator(".answer")).not_to_be_empty()
        to(terms.locator(".lead-row").first)
        browser.keyboard.press("Space")
        expect(terms.locator(".lead-row").first).to_have_attribute("aria-pressed", "false")
        expect(live).to_contain_text("%")

        to(attention.get_by_role("button", name="Show the lines"))
        browser.keyboard.press("Enter")
        expect(live).to_contain_text("keeps")

        # One step back brings the lead back, one more the mask.
        browser.keyboard.press("Control+z")
        assert state(browser)["off"] == []
        browser.keyboard.press("Control+z")
        assert np.flatnonzero(state(browser)["mask"]).tolist() == list(range(7 * 40, 8 * 40))


@pytest.mark.slow
def test_playground(web_page, chromium):
    with browser_page(chromium, 1280, 900) as browser:
        opened(browser, web_page)
        play = step(browser, "playground")
        first, second = play.locator(".pane").nth(0), play.locator(".pane").nth(1)
        expect(second).to_be_hidden()
        play.get_by_label("Compare with").select_option("normal")
        expect(second.locator("h3")).to_have_text("Normal ECG")
        second.locator(".lead-bars").scroll_into_view_if_needed()
        expect(second.locator(".probability")).not_to_be_empty()
        code = first.locator(".probability").inner_text().split(":")[0]
        assert second.locator(".probability").inner_text().startswith(code)

        # A stroke that hides a moment in all leads.
        play.get_by_role("button", name="Hide nothing").click()
        play.get_by_label("one stroke hides in all leads").check()
        canvas = first.locator("canvas")
        canvas.focus()
        browser.keyboard.press("Space")
        assert np.flatnonzero(state(browser)["mask"]).tolist() == list(range(0, 480, 40))
        expect(first.locator(".errors")).to_contain_text("twin")
        play.get_by_role("button", name="One beat").click()
        # Everything: refused, and the page says so.
        ratio = play.get_by_role("slider")
        ratio.focus()
        browser.keyboard.press("ArrowRight")
        assert np.reshape(state(browser)["mask"], (12, 40)).sum(axis=1).tolist() == [32] * 12
        browser.evaluate("lamae.page.store.set({ mask: new Uint8Array(480).fill(1) })")
        expect(browser.locator("#live")).to_have_text("Everything is hidden; leave at least one piece visible.")
        play.get_by_role("button", name="Undo").click()
        expect(first.locator(".errors")).to_contain_text("LAMAE")
        # All leads but one go; the last one stays.
        for row in first.locator(".lead-row").all():
            row.click()
        expect(browser.locator("#live")).to_contain_text("One lead has to stay.")
        assert state(browser)["off"] == list(LEADS[:11])


@pytest.mark.slow
def test_own_ecg(web_page, chromium, tmp_path):
    ecg = simulated_examples()["left bundle branch block"].select(("II", "V5", "I"))
    table, picture = tmp_path / "Jane Doe <img src=x onerror=alert(1)>.csv", tmp_path / "Jane Doe.png"
    rows = [",".join(f"{value:.4f}" for value in row) for row in ecg.signal_mv[:, :2600].T]
    table.write_text("\n".join([",".join(ecg.leads), *rows]))
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with browser_page(chromium, 1280, 900) as browser:
        opened(browser, web_page)
        chosen, toast = step(browser, "playground").locator("input[type=file]"), browser.locator(".toast")
        chosen.set_input_files(picture)
        expect(toast).to_contain_text("picture")
        assert state(browser)["ecg"] == "right bundle branch block"
        # What the file does not say is asked.
        chosen.set_input_files(table)
        toast.get_by_label("Unit of the voltages").select_option("mV")
        toast.get_by_role("button", name="Read again").click()
        toast.get_by_label("Sampling rate in Hz").fill("500")
        toast.get_by_role("button", name="Read again").click()
        play = step(browser, "playground")
        expect(play.locator(".pane h3").first).to_contain_text("500 Hz")
        # 5.2 s make 20 patches; three leads of the twelve.
        expect(play.locator(".mask-grid-table tr").nth(1)).to_contain_text("0 of 20")
        play.locator(".lead-bars").first.scroll_into_view_if_needed()
        expect(play.locator(".lead-row .number").nth(LEADS.index("V1"))).to_have_text("not recorded")
        expect(play.locator(".lead-row .number").nth(LEADS.index("II"))).to_have_text(re.compile(r"\d"))
        assert "Jane" not in browser.locator("body").inner_text()
        third = step(browser, "step-leads")
        expect(third.get_by_role("button", name="Hide V1 to V6")).to_be_visible()
        expect(third.get_by_role("button", name="Hide V2")).to_be_hidden()  # this ECG has no V2
        expect(third.locator(".question")).to_contain_text("pieces of your own")
        play.get_by_role("button", name="Hide the limb leads").click()
        expect(play.locator(".errors").first).to_contain_text("LAMAE")
        play.get_by_role("button", name="Copy link").click()
        assert "ecg=" not in toast.locator("pre").inner_text()


@pytest.mark.slow
def test_part_of_a_longer_ecg_of_ones_own_and_its_python(web_page, chromium, tmp_path):
    rng = np.random.default_rng(0)
    long = Recording(np.cumsum(rng.normal(0, 0.02, (2, 25 * 250)), axis=1), 250, ("II", "V5"))
    table = tmp_path / "long.csv"
    rows = [",".join(f"{value:.6f}" for value in row) for row in long.signal_mv.T]
    table.write_text("\n".join(["II_mV,V5_mV", *rows]))
    with browser_page(chromium, 1280, 900) as browser:
        opened(browser, web_page)
        play, toast = step(browser, "playground"), browser.locator(".toast")
        play.locator("input[type=file]").set_input_files(table)
        toast.get_by_label("Sampling rate in Hz").fill("250")
        toast.get_by_role("button", name="Read again").click()
        expect(toast).to_contain_text("25 s")
        toast.get_by_label("Part that begins at second").fill("99")
        toast.get_by_role("button", name="Read again").click()
        expect(toast).to_contain_text("choose an earlier start")
        toast.get_by_label("Part that begins at second").fill("12")
        toast.get_by_role("button", name="Read again").click()
        expect(browser.locator("body")).to_contain_text("the part from 12 s to 22 s is read")
        signal_mv = np.array(browser.evaluate("[...lamae.page.own.signal]")).reshape(12, 1000)
        play.get_by_role("button", name="Copy the Python line", exact=True).click()
        lines = toast.locator("pre").inner_text()
    names: dict = {}
    exec(lines.replace("path/to/your/file", str(table)), names)
    read = as_read(names["ecg"], shipped_pair()["LAMAE"].config)
    assert read.leads == ("II", "V5")
    np.testing.assert_allclose(signal_mv[[LEADS.index(lead) for lead in read.leads]], read.signal_mv, atol=1e-5)


@pytest.mark.slow
def test_the_address_gives_the_same_view_and_its_python_runs(web_page, chromium):
    with browser_page(chromium, 1280, 900) as browser:
        opened(browser, web_page)
        rng = np.random.default_rng(0)
        mask = (rng.random(480) < 0.5).astype(int).tolist()
        browser.evaluate(
            """(mask) => lamae.page.store.set({ mask: Uint8Array.from(mask), ecg: "atrial fibrillation", code: "I48.91",
                off: ["V1", "V5"], from: "aVF", other: "normal", lead: "II",
                gap: Uint8Array.from({ length: 40 }, (_, i) => Number(i > 30)) })""",
            mask,
        )
        before = state(browser)
        play = step(browser, "playground")
        play.get_by_role("button", name="Copy link").click()
        link = browser.locator(".toast pre").inner_text()
        assert len(link) - len(web_page.as_uri()) < 300
        opened(browser, web_page, "#" + link.split("#")[1])
        assert state(browser) == before

        # What an address says wrongly is left as it was, and runs nothing.
        opened(
            browser, web_page, "#ecg=<img src=x onerror=alert(1)>&mask=V9.1-2&gap=V3.5-99&code=X&off=Q&from=&lang=xx"
        )
        assert state(browser)["ecg"] == "anterior infarction" and state(browser)["code"] is None
        assert np.flatnonzero(state(browser)["mask"]).tolist() == list(range(7 * 40, 8 * 40))

        # A link that was pasted into the open page is followed.
        browser.evaluate("(hash) => (location.hash = hash)", "#ecg=normal&mask=V1.0-40&lang=de")
        expect(browser.locator("header")).to_contain_text("nicht zur Diagnose")
        assert state(browser)["ecg"] == "normal"

        opened(browser, web_page, "#" + link.split("#")[1])
        play = step(browser, "playground")
        play.locator(".lead-row").first.wait_for()
        play.locator(".lead-bars").first.scroll_into_view_if_needed()
        expect(play.locator(".probability").first).not_to_be_empty()
        shown = play.locator(".lead-row .number").all_inner_texts()[:12]
        copied = []
        for name in ("Copy the Python line", "Copy the Python line of the evidence"):
            play.get_by_role("button", name=name, exact=True).click()
            copied.append(browser.locator(".toast pre").inner_text())
            browser.keyboard.press("Escape")
    masked, explained = {}, {}
    exec(copied[0], masked)
    ecg = simulated_examples()["atrial fibrillation"]
    assert masked["playground"].mask.ravel().astype(int).tolist() == mask
    np.testing.assert_array_equal(masked["ecg"].signal_mv, ecg.signal_mv)
    exec(copied[1], explained)
    terms = explained["terms"].of_code("I48.91").term
    for lead, text in zip(LEADS, shown, strict=True):
        assert (
            (lead not in terms)
            if text == "taken away"
            else float(text.replace("−", "-")) == pytest.approx(terms[lead], abs=0.006)
        )


@pytest.mark.slow
@pytest.mark.parametrize(("width", "zoom"), [(360, 1), (720, 2), (1440, 1)])
def test_nothing_is_wider_than_the_page(web_page, chromium, width, zoom):
    settings = {"device_scale_factor": zoom, "color_scheme": "dark", "reduced_motion": "reduce"}
    with browser_page(chromium, width, 800, **settings) as browser:
        opened(browser, web_page, "#ecg=normal&with=pacemaker&lang=de")
        for name in ("step-look", "step-gap", "step-leads", "step-terms", "step-attention", "playground"):
            section = step(browser, name)
            for answer in section.locator(".primary").all():
                answer.click()
        expect(browser.locator("#playground .probability").first).not_to_be_empty()
        assert browser.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert browser.evaluate("getComputedStyle(document.querySelector('.lead-row .bar')).transitionDuration") == "0s"
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"


@pytest.mark.slow
def test_screen_reader(web_page, chromium):
    """Everything that can be operated has a name, there is one live region, and what is seen is said."""
    with browser_page(chromium, 1280, 900) as browser:
        opened(browser, web_page)
        step(browser, "playground")
        unnamed = browser.evaluate(
            """() => [...document.querySelectorAll("button, select, input, canvas, [tabindex], a")].filter((one) =>
                !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length || one.title))
                .map((one) => one.outerHTML.slice(0, 200))"""
        )
        assert unnamed == []
        step(browser, "step-terms")
        assert browser.locator("[role=status], [aria-live]").count() == 1
        expect(browser.locator("#step-terms figure")).to_have_attribute("aria-label", re.compile("not shown yet"))
        expect(browser.locator("#step-leads canvas")).to_have_attribute("aria-label", re.compile("Hidden: all of V2"))
        step(browser, "step-terms").get_by_role("button", name="Show the evidence").click()
        expect(browser.locator("#step-terms figure")).to_have_attribute("aria-label", re.compile(r"V1 [+−]\d"))
        caption = browser.locator("#step-terms .paper table caption")
        expect(caption).to_contain_text("Evidence in log-odds: I ")


@pytest.mark.slow
def test_every_text_is_in_the_strings(web_page, chromium):
    """With every string replaced by a mark, no other text is left but names of leads, numbers and units."""
    with browser_page(chromium, 1280, 900) as browser:
        opened(browser, web_page)
        browser.evaluate(
            """() => {
                const table = lamae.page.languages.en;
                for (const [key, text] of Object.entries(table))
                    table[key] = `⟦${(text.match(/\\{\\w+\\}/g) || []).join(" ")}⟧`;
                lamae.page.build();
            }"""
        )
        for name in ("step-look", "step-gap", "step-leads", "step-terms", "step-attention", "playground"):
            section = step(browser, name)
            for answer in section.locator(".primary").all():
                answer.click()
        expect(browser.locator("#playground .probability").first).not_to_be_empty()
        texts = browser.evaluate(
            """() => {
                const found = [];
                for (const one of document.querySelectorAll("body *:not(script):not(style)")) {
                    if (!one.checkVisibility()) continue;
                    for (const node of one.childNodes) if (node.nodeType === 3) found.push(node.textContent);
                    for (const name of ["aria-label", "title", "aria-roledescription", "placeholder"])
                        if (one.hasAttribute(name)) found.push(one.getAttribute(name));
                }
                return found;
            }"""
        )
    assert len(texts) > 200
    marked = re.compile(r"⟦[^⟦⟧]*⟧")
    allowed = {
        *LEADS,
        "mm",
        "s",
        "mV",
        "Hz",
        "x",
        "m",
        "lamae-mini-ptbxl",
        "x1",
        "x2",
        "x4",
        "cabrera",
        "Cabrera",
        "Deutsch",
    }
    rest = set()
    for text in texts:
        while marked.search(text):  # from the inside out
            text = marked.sub(" ", text)
        rest |= set(re.findall(r"[^\W\d_][\w-]*", text)) - allowed
    assert rest == set()


def test_languages_have_the_same_strings():
    english, german = strings("en"), strings("de")
    assert list(english) == list(german)
    for key, text in english.items():
        assert sorted(set(re.findall(r"\{\w+\}", text))) == sorted(set(re.findall(r"\{\w+\}", german[key]))), key
        assert text and german[key] and "<" not in text.replace("< ", "")


def test_strings_are_used_and_those_of_the_widgets_are_complete():
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.js"))
    literal = set(re.findall(r'\bt\(\s*"([^"]+)"', scripts)) | set(re.findall(r'Button\(ctx, "([^"]+)"', scripts))
    assert literal <= set(strings("en"))
    widgets = {path.name: path.read_text(encoding="utf-8") for path in WIDGETS}
    said = {text for script in widgets.values() for text in re.findall(r'\bword\("([^"]*)"\)', script)}
    assert len(said) > 15
    assert {f"widget:{text}" for text in said} <= set(strings("en"))


def test_build_joins_the_scripts_of_the_ecg_paper_as_the_notebook_does():
    build = (PAGE / "build.mjs").read_text(encoding="utf-8")
    assert f"const ECG_PAPER = {json.dumps(SCRIPTS)};" in build


def in_node(script: str) -> object:
    """What a module of the page computes, in Node.js."""
    words = ["node", "--input-type=module", "-"]
    done = subprocess.run(words, cwd=PAGE, input=script, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_paper_of_the_page_is_laid_out_as_in_python():
    recordings = list(simulated_examples().values())[:3]
    recordings.append(recordings[0].select(("V2", "I", "aVF")))
    ecgs = []
    for recording in recordings:
        rows = [recording.lead(lead) if lead in recording.leads else np.zeros(5000) for lead in LEADS]
        valid = [int(lead in recording.leads) for lead in LEADS]
        ecgs.append({"signal": np.concatenate(rows).astype(float).tolist(), "valid": valid})
    script = f"""
        import {{ LAYOUTS, page }} from "./paper_layout.js";
        const ecgs = {json.dumps(ecgs)}.map((ecg) => ({{ ...ecg, signal: Float64Array.from(ecg.signal), n_samples: 5000,
          rate_hz: 500 }}));
        console.log(JSON.stringify(ecgs.map((ecg) => Object.keys(LAYOUTS).map((name) => page(ecg, name)))));
    """
    for recording, layouts in zip(recordings, in_node(script), strict=True):
        for name, made in zip(LAYOUTS, layouts, strict=True):
            expected = page(recording, name)
            for number in ("width_s", "rows", "top_mv", "pitch_mv", "bottom_mv"):
                assert made[number] == pytest.approx(getattr(expected, number), abs=1e-5)
            for strip, own in zip(expected.strips, made["strips"], strict=True):
                for value in ("name", "lead", "sign", "row", "at_s", "from_s", "to_s", "recorded"):
                    assert own[value] == getattr(strip, value)


def test_body_has_the_axes_of_python():
    body = (PAGE / "body.js").read_text(encoding="utf-8")
    for name, axes in (("FRONTAL_DEG", FRONTAL_AXIS_DEG), ("HORIZONTAL_DEG", HORIZONTAL_AXIS_DEG)):
        written = re.search(rf"const {name} = {{(.*?)}};", body)[1]
        assert {lead: int(deg) for lead, deg in re.findall(r"(\w+): (-?\d+)", written)} == axes


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_word_of_a_mask_gives_the_mask(share):
    mask = (np.random.default_rng(1).random(480) < share).astype(int).tolist()
    word, back = in_node(
        'import { maskToWord, wordToMask } from "./state.js";'
        f"const word = maskToWord(Uint8Array.from({mask}), 40);"
        "console.log(JSON.stringify([word, [...wordToMask(word, 40)]]));"
    )
    assert back == mask and len(word) <= 81
