"""`lamae demo` in a small size: what it writes, and its report in a real browser with no network."""

import json
import re
from pathlib import Path

import pytest

from lab import browser_page, screenshot
from lamae_toolkit.cli.main import main
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.experiments import demo_report
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.plots.report import write_report
from test_commands import refused

pytestmark = pytest.mark.slow
SMALL = ["--ecgs", "260", "--steps", "3"]


def versions_of_report(folder: Path) -> list[tuple[str, set[str]]]:
    """Run the demo: each version of the report that it writes, with what the folder holds at that time."""
    versions = []

    def write(path: Path, *arguments) -> None:
        write_report(path, *arguments)
        versions.append((path.read_text(encoding="utf-8"), {found.name for found in folder.iterdir()}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_report, "write_report", write)
        assert main(["demo", "--out", str(folder), *SMALL]) == 0
    return versions


@pytest.fixture(scope="module")
def run_and_versions(tmp_path_factory) -> tuple[Path, list[tuple[str, set[str]]]]:
    folder = tmp_path_factory.mktemp("demo") / "run"
    return folder, versions_of_report(folder)


@pytest.fixture(scope="module")
def run(run_and_versions) -> Path:
    return run_and_versions[0]


def test_report_grows_with_the_run(run_and_versions):
    run, versions = run_and_versions
    first, trained, complete = (page for page, _ in versions)
    assert versions[0][1] == {"report.html"}, "the first picture comes before the simulation"
    assert "I44.7 Left bundle-branch block" in first and 'title="ECG on paper"' in first
    assert "How it learned" in trained and "How it learned" not in first
    assert ["Not finished yet. Next: " in page for page in (first, trained, complete)] == [True, True, False]
    assert complete == (run / "report.html").read_text(encoding="utf-8")


def test_demo_writes_store_checkpoint_metrics_and_report(run):
    written = {path.name for path in run.iterdir()} - {"tensorboard"}  # which is there where TensorBoard is installed
    assert written == {"store", "checkpoint", "log.jsonl", "metrics.json", "report.html"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert [e["name"] for e in metrics["evaluations"]] == [
        f"{model}, {reads}"
        for reads in ("lead latents, no summary", "heart token", "summary of the latents")
        for model in ("LAMAE", "random encoder")
    ]
    for evaluation in metrics["evaluations"]:
        auroc = evaluation["macro_auroc"]
        assert auroc["low"] < auroc["value"] < auroc["high"]
        assert evaluation["codes"].keys() == metrics["evaluations"][0]["codes"].keys()
    assert LAMAE.from_pretrained(run / "checkpoint").config.width
    assert Probe.load(run / "checkpoint").representation == "leads"
    assert set(Probe.load(run / "checkpoint").codes) == set(metrics["evaluations"][0]["codes"])


def test_report_loads_no_external_files(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    without_plotly = re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<(script|img|link|iframe)[^>]+(src|href)=\"(?!data:)", without_plotly)
    for words in ("How it learned", "ICD-10 codes of unseen patients", "not for diagnosis", "What each lead adds: "):
        assert words in page
    assert "Simulated with" in page and "whose evidence lies in" in page
    assert "average ECG that the probe was fitted on" in page and "Share in the heart token" in page


def test_demo_resumes_and_refuses_other_settings(run, capsys):
    assert len(versions_of_report(run)) == 1, "a complete report is not replaced by an incomplete one"
    assert "choose another folder" in refused(capsys, "demo", "--out", run, "--ecgs", "100", "--steps", "3")
    assert "a run with steps = 3, not 9" in refused(capsys, "demo", "--out", run, "--ecgs", "260", "--steps", "9")


def test_report_opens_offline(run, chromium):
    requests = []
    with browser_page(chromium, 1200, 900, offline=True) as page:
        page.on("request", lambda request: requests.append(request.url))
        page.goto((run / "report.html").as_uri())
        figures = page.locator(".plotly-graph-div")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.plotly-graph-div')].every(d => d.querySelector('.main-svg'))"
        )
        assert figures.count() >= 5 + 3 * 2
        assert page.locator("h1").inner_text() == "LAMAE on a simulated cohort"
        assert page.locator(".plotly-graph-div >> nth=1").locator("path.js-line").count() >= 12
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], "the page must not scroll sideways"
        screenshot(page.locator("body"), "report.png")
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
