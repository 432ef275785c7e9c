"""A real JupyterLab and a real browser, for the tests of the widgets and the benchmarks that drive them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from playwright.sync_api import Locator, Page, expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 90_000
"""A cold kernel on a busy computer imports PyTorch in this time; what is waited for usually comes in a tenth of it."""


class Lab:
    """A JupyterLab of our own that runs on loopback, with the notebooks that tests put into it."""

    def __init__(self, address: str, root: Path) -> None:
        self.address, self.root = address, root

    def notebook(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook with these code cells; returns the address that opens it."""
        code = [nbformat.v4.new_code_cell(source.strip()) for source in cells]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), self.root / f"{name}.ipynb")
        return f"{self.address}lab/tree/{name}.ipynb?token=secret&reset"


@contextmanager
def jupyterlab(folder: Path) -> Iterator[Lab]:
    """Start a JupyterLab that keeps everything in this folder; it ends, with its kernels, with the block."""
    (folder / "root").mkdir()
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    own = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    words = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        "--ServerApp.token=secret",
        f"--ServerApp.root_dir={folder / 'root'}",
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}",
        "--LabApp.extension_manager=readonly",
    ]
    with open(folder / "log.txt", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | own | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    try:
        yield Lab(_address(server, folder), folder / "root")
    finally:
        server.send_signal(signal.SIGTERM)  # it takes its kernels along
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _address(server: subprocess.Popen, folder: Path) -> str:
    """Where the server listens, once it does."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        for file in (folder / "JUPYTER_RUNTIME_DIR").glob("jpserver-*.json"):
            try:
                return json.loads(file.read_text())["url"]
            except ValueError:  # it is just being written
                pass
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{(folder / 'log.txt').read_text()}")


@contextmanager
def browser_page(chromium: str, width: int = 1500, height: int = 1700, **context) -> Iterator[Page]:
    """A page of a real browser; after the block, no error may have been logged and no request have left the machine.

    context: further settings of the browser's context, by playwright's names.
    """
    addresses, errors = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.on("request", lambda request: addresses.append(request.url))
        page.on("websocket", lambda socket: addresses.append(socket.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        browser.close()
    assert errors == []
    local = ("data:", "blob:", "file:", "about:")
    assert {urlsplit(address).hostname for address in addresses if not address.startswith(local)} <= {"127.0.0.1"}


def run_all_cells(page: Page, address: str) -> None:
    """Open a notebook, wait for its kernel and run all its cells."""
    page.goto(address)
    run_again(page)


def run_again(page: Page) -> None:
    """Wait for the kernel of the notebook that is open, and run all its cells."""
    # The notebook's own sign says idle before there is a kernel; the status bar does not.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def slowed(page: Page, times: float) -> None:
    """Let the browser's processor be this many times slower, as in an old laptop."""
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": times})


def until_none(find: Callable[[Locator], list[str]], part: Locator, most: int = 0) -> None:
    """Wait until no more than so many faults are found in a part of the page: a layout takes a moment to settle."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while len(found := find(part)) > most:
        assert time.monotonic() < end, f"{find.__name__}: {found}"
        time.sleep(0.5)


def scroll_bars(part: Locator) -> list[str]:
    """The boxes in a part of the page that have a scroll bar of their own, by class, with what they show and hold."""
    return part.evaluate(
        """(part) => [part, ...part.querySelectorAll("*")].flatMap((box) => {
            const style = getComputedStyle(box);
            const hidden = (over, shown, all) => ["auto", "scroll"].includes(over) && shown > 0 && all > shown + 1;
            const across = hidden(style.overflowX, box.clientWidth, box.scrollWidth);
            const along = hidden(style.overflowY, box.clientHeight, box.scrollHeight);
            const sizes = `${box.clientWidth} of ${box.scrollWidth}, ${box.clientHeight} of ${box.scrollHeight}`;
            return (across || along) && box.tagName !== "SELECT" ? [`${box.className}: ${sizes}`] : [];
        })"""
    )


def screenshot(part, name: str) -> None:
    """Keep a picture of a page or a part of it, outside git, where LAMAE_SCREENSHOTS is set."""
    if os.environ.get("LAMAE_SCREENSHOTS"):
        folder = Path(__file__).parents[1] / "screenshots"
        folder.mkdir(exist_ok=True)
        part.screenshot(path=folder / name)


TEXTS = """(part) => {
    const shown = [], ignored = new Set(["SCRIPT", "STYLE", "OPTION", "NOSCRIPT"]);
    const hidden = (box) => {
        for (let at = box; at; at = at.parentElement) {
            const style = getComputedStyle(at), clipped = style.clipPath !== "none" || style.clip !== "auto";
            if (style.visibility === "hidden" || style.opacity === "0" || ignored.has(at.tagName)) return true;
            if (clipped && at.namespaceURI.endsWith("xhtml") && at.clientWidth <= 2) return true;
            if (at.tagName === "PRE" || at.classList?.contains("hoverlayer")) return true;
        }
        return false;
    };
    const walk = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    for (let node; (node = walk.nextNode()); ) {
        const words = node.textContent.trim(), parent = node.parentElement;
        if (!words || hidden(parent)) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        for (const box of range.getClientRects())
            if (box.width > 1 && box.height > 1) shown.push({ words, parent, box });
    }
    return shown;
}"""
"""Every line of text that is seen in a part of the page, with its element and its place."""


def texts_over_texts(part: Locator) -> list[str]:
    """Pairs of words in a part of the page that lie over each other by more than the edges of their letters."""
    return part.evaluate(
        f"""(part) => {{
            const shown = ({TEXTS})(part), found = [];
            shown.forEach((one, number) => shown.slice(number + 1).forEach((other) => {{
                const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
                const along = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
                const least = Math.min(one.box.height, other.box.height);
                if (across > 3 && along > 0.4 * least && one.parent !== other.parent)
                    found.push(`${{one.words.slice(0, 40)}} | ${{other.words.slice(0, 40)}}`);
            }}));
            return found;
        }}"""
    )


def cut_texts(part: Locator) -> list[str]:
    """Words in a part of the page of which a box with a border that hides the rest shows only a piece."""
    return part.evaluate(
        f"""(part) => ({TEXTS})(part).filter(({{ parent, box }}) => {{
            for (let at = parent; at && at !== document.body; at = at.parentElement) {{
                const hides = ["hidden", "clip"].includes(getComputedStyle(at).overflowX);
                if (!hides || at.clientWidth + at.clientHeight === 0 && at.tagName !== "svg") continue;
                const edge = at.getBoundingClientRect();
                if (box.left < edge.left - 2 || box.right > edge.right + 2) return true;
            }}
            return box.right > window.innerWidth + 2;
        }}).map(({{ words }}) => words.slice(0, 60))"""
    )


def toolbar_over(part: Locator) -> list[str]:
    """Words in a part of the page that a toolbar of plotly covers while the mouse is over its figure."""
    return part.evaluate(
        f"""(part) => {{
            const bars = [...part.querySelectorAll(".modebar-group")].map((bar) => bar.getBoundingClientRect());
            return ({TEXTS})(part).filter(({{ box }}) => bars.some((bar) => bar.width
                && Math.min(bar.right, box.right) - Math.max(bar.left, box.left) > 2
                && Math.min(bar.bottom, box.bottom) - Math.max(bar.top, box.top) > 2)).map(({{ words }}) => words);
        }}"""
    )


def narrow_figures(part: Locator) -> list[str]:
    """Figures of widgets that leave more than a few pixels of their place empty, or need more of them than it has."""
    return part.evaluate(
        """(part) => [...part.querySelectorAll(".lamae-figure")].flatMap((place) => {
            const figure = place.querySelector(".main-svg");
            if (!figure || !place.clientWidth || Math.abs(figure.clientWidth - place.clientWidth) <= 2) return [];
            return [`${place.className}: ${figure.clientWidth} of ${place.clientWidth}`];
        })"""
    )
