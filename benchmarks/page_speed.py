"""The web page in a real browser: how long a reader waits for the first ECG, a reconstruction and a prediction.

    python benchmarks/page_speed.py dist/lamae.html [--clicks 500] [--chromium chromium]

Headless Chromium opens the file as a double click does; the models run on one thread. A click on a patch of the mask
grid counts until both models have answered and the browser has painted the next frame; a lead that is turned off, until
its prediction is painted. Next to seconds on the clock the table has the processor time of the page's process, which
other work on the computer lengthens less. Memory is what the page keeps after a garbage collection: its JavaScript
objects, and all of its process.
"""

import argparse
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from lab import FLAGS, PATIENCE_MS
from lamae_toolkit.parallel import machine
from measuring import head, row

TIMED, FIRST_CLICKS = 50, 50
AIMS = {"first ECG": "3 s", "mask": "150 ms, worst 400 ms", "lead": "100 ms"}

WATCH_OPENING = """
globalThis.opened = new Promise((done) => {
  const seen = new MutationObserver(() => {
    if (!document.querySelector("#page canvas")) return;
    seen.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
  });
  seen.observe(document, { childList: true, subtree: true });
});
"""

WATCH_ANSWERS = """async () => {
  const engine = await lamae.engine, ready = performance.now(), running = new Set();
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  for (const name of ["reconstruct", "predict"]) {
    const own = engine[name].bind(engine);
    engine[name] = (...words) => {
      const answer = own(...words), ended = () => running.delete(answer);
      globalThis.asked = true;
      running.add(answer);
      answer.then(ended, ended);
      return answer;
    };
  }
  globalThis.started = () => { globalThis.asked = false; globalThis.start = performance.now(); };
  globalThis.settled = async () => {
    while (!globalThis.asked) await frame();
    while (running.size) { await Promise.allSettled(running); await new Promise((done) => setTimeout(done)); }
    await frame();
    await frame();
    return performance.now() - globalThis.start;
  };
  addEventListener("pointerdown", started, true);
  return ready;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("page", type=Path, help="the file that `python start.py page` builds")
    parser.add_argument("--clicks", type=int, default=500)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    arguments = parser.parse_args()
    print(
        f"{machine()}; {time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f}; {arguments.page.name} has", end=" "
    )
    print(f"{arguments.page.stat().st_size / 1e6:.1f} MB\n")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=FLAGS)
        measure(browser, arguments.page.resolve().as_uri(), arguments.clicks)
        browser.close()


def measure(browser: Browser, address: str, clicks: int) -> None:
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.add_init_script(WATCH_OPENING)
    page.goto(address)
    opened_ms, ready_ms = page.evaluate("opened"), page.evaluate(WATCH_ANSWERS)
    process = Process(browser)
    print(head("", "on the clock", "processor time", "aim"))
    print(row("opening to the first ECG", f"{opened_ms / 1e3:.2f} s", "", AIMS["first ECG"]))
    print(row("opening to the models ready", f"{ready_ms / 1e3:.2f} s", f"{process.cpu_s():.2f} s", ""))
    grid = page.locator("#playground .mask-grid canvas").first
    grid.scroll_into_view_if_needed()
    click(page, grid, 0)  # warms up
    before_s = process.cpu_s()
    waited = [click(page, grid, number) for number in range(1, TIMED + 1)]
    print(row("a patch masked, both models", in_ms(waited), per(process.cpu_s() - before_s, TIMED), AIMS["mask"]))
    before_s = process.cpu_s()
    toggled = [toggle(page, number) for number in range(TIMED)]
    print(row("a lead toggled, prediction", in_ms(toggled), per(process.cpu_s() - before_s, TIMED), AIMS["lead"]))
    session, sizes = page.context.new_cdp_session(page), []
    for number in range(clicks):
        if number in (FIRST_CLICKS, clicks - 1):
            sizes.append((number + 1 - (number == FIRST_CLICKS), memory_mb(session), process.memory_mb()))
        click(page, grid, TIMED + 1 + number)
    print("\n" + head("after clicks", "JavaScript, MB", "process, MB"))
    for count, heap, resident in sizes:
        print(row(str(count), f"{heap:.1f}", f"{resident:.0f}"))


def click(page: Page, grid, number: int) -> float:
    """Milliseconds from a click on a patch of the first rows to the redrawn reconstruction."""
    box = grid.bounding_box()
    # Along the first row's patches, then the second's; the grid's left edge has the names of the leads.
    x = box["x"] + 110 + (box["width"] - 130) * ((number * 7) % 40 + 0.5) / 40
    page.mouse.click(x, box["y"] + 40 + 92 * ((number // 40) % 2))
    return page.evaluate("settled()")


def toggle(page: Page, number: int) -> float:
    """Milliseconds from a lead that is turned off, another each time, to its prediction."""
    leads = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    off = [leads[number % 12], leads[(number // 12 + number + 1) % 12]]
    return page.evaluate("(off) => { started(); lamae.page.store.set({ off }); return settled(); }", off)


class Process:
    """The process of the page, among those of the browser: the one of the kind renderer that has computed most."""

    def __init__(self, browser: Browser) -> None:
        found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        renderers = [one for one in found if one["type"] == "renderer"]
        self.folder = Path("/proc") / str(max(renderers, key=lambda one: one["cpuTime"])["id"])

    def cpu_s(self) -> float:
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        return int((self.folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory_mb(session: CDPSession) -> float:
    session.send("HeapProfiler.collectGarbage")
    return session.send("Runtime.getHeapUsage")["usedSize"] / 1e6


def in_ms(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ms (worst {max(values):.0f})"


def per(seconds: float, times: int) -> str:
    return f"{1e3 * seconds / times:.0f} ms"


if __name__ == "__main__":
    main()
