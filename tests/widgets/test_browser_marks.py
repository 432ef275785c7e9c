"""What was measured and what a reader writes on the ECG paper, in a real browser without Python."""

import json

import numpy as np
import pytest
from playwright.sync_api import expect

import lamae_toolkit as lt
from lab import browser_page, screenshot
from lamae_toolkit.ecg.annotations import Annotation, read_annotations, write_annotations
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper

pytestmark = pytest.mark.slow


def simulated():
    rng = np.random.default_rng(0)
    return simulate_ecg(sample_patient(1, rng), rng, codes={}).recording


def test_measured_values_and_the_median_beat_are_on_the_page(chromium, tmp_path):
    pytest.importorskip("neurokit2")
    ecg = simulated()
    paper = ECGPaper(ecg, measured=True)
    measured = lt.ecg.measure(ecg)
    for width in (1280, 1440):
        with browser_page(chromium, width, 1300) as page:
            page.set_content(paper.page())
            results = page.locator(".ecg-paper-results")
            for name, value in measured.table():
                expect(results.locator("div", has=page.get_by_text(name, exact=True))).to_contain_text(value)
            expect(page.locator(".ecg-paper-median")).to_be_visible()
            screenshot(page, f"ecg-paper-measured-{width}")
            page.get_by_role("button", name="Beats, intervals").click()
            expect(results).to_be_hidden()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert measured.in_words() in paper.describe()


def test_labels_are_written_saved_and_opened_again_without_python(chromium, tmp_path):
    ecg = simulated()
    with browser_page(chromium, 1280, 1100) as page:
        page.set_content(ECGPaper(ecg, layout="12x1").page())
        canvas, writing = page.locator(".ecg-paper > canvas"), page.locator(".ecg-paper-writing")
        page.get_by_role("button", name="Write labels").click()
        canvas.click(position={"x": 500, "y": 60})
        writing.fill("early beat")
        writing.press("Enter")
        notes = page.locator(".ecg-paper-notes li")
        expect(notes).to_have_count(1)
        expect(notes).to_contain_text("early beat")
        screenshot(page, "ecg-paper-labels")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save the labels").click()
        path = tmp_path / "labels.json"
        download.value.save_as(path)
        (label,) = read_annotations(path, ecg)
        assert label.text == "early beat" and label.lead == "I" and 2 < label.time_s < 8
        canvas.click(position={"x": 500, "y": 60})  # the same label again
        expect(writing).to_have_value("early beat")
        writing.fill("")
        writing.press("Enter")
        expect(notes).to_have_count(0)
        write_annotations(path, [Annotation("V1", 4.0, "from Python")], ecg)
        page.locator("input[type=file]").set_input_files(path)
        expect(notes).to_contain_text("V1, 4.00 s: from Python")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"ecg_sha256": "0"}))
        page.locator("input[type=file]").set_input_files(path)
        expect(page.locator(".ecg-paper-status")).to_contain_text("of another ECG")
        expect(notes).to_have_count(1)
