"""The lead explorer in a real browser: from a toggle to the reconstructed page, bytes a change sends, and opening the
app.

    python benchmarks/explorer_speed.py [--toggles 50] [--openings 3] [--wait 40] [--out explorer_speed.json]

The shipped weights and simulated ECGs of 10 s, in Chromium without a graphics card.

- *Toggle to redraw*: in JupyterLab, lead V2 is turned off and on by clicks, one a second. Measured in the page, from
  the click until the frame after the last figure (lead terms, discs on the body, probabilities) was changed. Shapley
  values follow a tenth of a second later and are not in it; Python and the kernel's messages are.
- *Bytes*: all messages to the browser that a toggle causes, Shapley values included; and for another ECG.
- *Opening*: `lamae app` as a program of its own; from asking for its address to all lead terms of the first ECG. Ready:
  after `--wait` seconds, when the kernel stands by. At once: as soon as the address is printed, when it has to start.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from playwright.sync_api import Page

from lab import browser_page, jupyterlab, run_all_cells
from lamae_toolkit.files import write_json
from lamae_toolkit.model.pretrained import shipped_or_own
from lamae_toolkit.parallel import machine
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from served_app import served

CELL = """
import numpy as np
from lamae_toolkit.evaluation.calibration import Calibration
from lamae_toolkit.model.pretrained import shipped_or_own
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.simulate.simulator import simulate_ecg
from lamae_toolkit.widgets.lead_explorer.widget import LeadExplorer
rng, folder = np.random.default_rng(0), shipped_or_own("lamae-mini-ptbxl")
ecgs = [simulate_ecg(sample_patient(seed, rng), rng, codes={}).recording for seed in (1, 2)]
LeadExplorer(LAMAE.from_pretrained(folder), ecgs, Probe.load(folder), Calibration.load(folder))
"""
TOGGLE = """async (name) => {
    const plots = document.querySelector(".lamae-plots");
    const buttons = [...document.querySelectorAll(".lamae-lead-explorer button")];
    const button = buttons.find((one) => one.textContent === name);
    const before = plots.dataset.shown, start = performance.now();
    button.click();
    await new Promise((resolve) => new MutationObserver((_, observer) => {
        if (plots.dataset.shown === before) return;
        observer.disconnect();
        requestAnimationFrame(() => requestAnimationFrame(resolve));  // the second comes after the first was painted
    }).observe(plots, { attributes: true }));
    return performance.now() - start;
}"""
BARS, MARKS = ".lamae-figure-terms .bars .point", ".lamae-figure-terms .scatterlayer .point"


def toggling(chromium: str, toggles: int) -> dict:
    """Times of toggles in ms, and bytes that one sends, and that another ECG sends."""
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyterlab(Path(folder)) as lab,
        browser_page(chromium, 1400, 2000) as page,
    ):
        received = count_bytes(page)
        run_all_cells(page, lab.notebook("explorer", [CELL]))
        page.locator(MARKS).nth(23).wait_for()
        page.wait_for_timeout(3000)
        times, sizes = [], []
        for number in range(toggles + 5):
            received.clear()
            took_ms = page.evaluate(TOGGLE, "V2")
            page.wait_for_timeout(1000)
            if number >= 5:  # the first few compile what they run
                times.append(took_ms)
                sizes.append(sum(received))
        received.clear()
        page.get_by_role("button", name="Next ECG").click()
        page.wait_for_timeout(2000)
        return {
            "toggles": toggles,
            "median_ms": statistics.median(times),
            "worst_ms": max(times),
            "bytes_per_toggle": statistics.median(sizes),
            "most_bytes_per_toggle": max(sizes),
            "bytes_of_another_ecg": sum(received),
        }


def count_bytes(page: Page) -> list[int]:
    """A list to which the size of every message to the browser is added."""
    sizes: list[int] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda payload: sizes.append(len(payload))))
    return sizes


def opening(chromium: str, openings: int, wait_s: float) -> dict:
    """Seconds from asking for the app's address to the first ECG, in a new browser each time."""
    found: dict[str, list[float]] = {"ready_s": [], "at_once_s": []}
    with tempfile.TemporaryDirectory() as folder:
        ecgs, rng = Path(folder) / "ecgs", np.random.default_rng(0)
        ecgs.mkdir()
        recording = simulate_ecg(sample_patient(1, rng), rng, codes={}).recording
        np.savez(
            ecgs / "ecg.npz",
            signal=recording.signal_mv,
            leads=recording.leads,
            unit="mV",
            sampling_rate_hz=recording.sampling_rate_hz,
        )
        for name, pause_s in (("at_once_s", 0.0), ("ready_s", wait_s)):
            for number in range(openings):
                log = Path(folder) / f"{name}{number}" / "log.txt"
                log.parent.mkdir()
                with served(ecgs, shipped_or_own("lamae-mini-ptbxl"), log) as address:
                    time.sleep(pause_s)
                    with browser_page(chromium, 1020, 1800) as page:
                        start = time.perf_counter()
                        page.goto(address, wait_until="commit")
                        page.locator(BARS).nth(12).wait_for()
                        found[name].append(time.perf_counter() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toggles", type=int, default=50, help="how many")
    parser.add_argument("--openings", type=int, default=3, help="how many, of either kind")
    parser.add_argument("--wait", type=float, default=40, help="seconds in which the app's kernel gets ready")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium", help="path of the browser")
    parser.add_argument("--out", type=Path, default=None, help="file for the numbers (JSON)")
    arguments = parser.parse_args()
    results = {"toggle": toggling(arguments.chromium, arguments.toggles)}
    results["opening"] = opening(arguments.chromium, arguments.openings, arguments.wait)
    results["machine"] = machine()
    print(json.dumps(results, indent=1))
    if arguments.out:
        write_json(arguments.out, results)


if __name__ == "__main__":
    main()
