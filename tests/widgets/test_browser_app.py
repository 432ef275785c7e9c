"""`lamae app` in a real browser: who is let in, its explorer, and the kernels that it starts and ends."""

import os
import re
import signal
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lab import PATIENCE_MS, browser_page, screenshot
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.widgets.app.kernels import MEMORY_GB
from served_app import served
from small_models import ONE_BLOCK, probe_of
from written_ecgs import ecg_counts, muse_xml, wfdb_header, wfdb_signals


def answer(address: str, **headers: str) -> tuple[int, str, str]:
    """Status, final address and text."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as response:
            return response.status, response.url, response.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, address, error.read().decode("utf-8", "replace")


def check_strangers_are_refused(address: str) -> None:
    """Whoever lacks the token, or asks by another name or from another computer, gets nothing."""
    bare, token = address.split("?token=")
    assert len(token) >= 40
    for wrong in (bare, f"{bare}?token=", f"{bare}?token=secret"):
        status, where, text = answer(wrong)
        assert (status, "/login" in where) == (200, True) and "lamae" not in text.lower()
    assert answer(f"{bare}api/kernels/00000000-0000-0000-0000-000000000000")[0] == 403
    for path in ("voila/files/explorer.ipynb", "voila/files/..%2f..%2fetc%2fpasswd", "explorer.ipynb"):
        status, where, text = answer(f"{bare}{path}")
        assert status in (403, 404) or "/login" in where, path
        assert "ECGApp" not in text and "root:" not in text
        status, _, text = answer(f"{bare}{path}", Authorization=f"token {token}")
        assert "ECGApp" not in text and "root:" not in text, path
    assert answer(address, Host="evil.example")[0] == 403
    port = int(re.search(r":(\d+)/", bare)[1])
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=5):
        pass  # who listens on every address would answer


def kernels_in(folder: Path) -> list[int]:
    """The processes of the kernels whose connection lies in this folder."""
    lines = {int(path.parent.name): path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()}
    return [number for number, words in lines.items() if str(folder).encode() in words and b"ipykernel" in words]


def ecgs_and_checkpoint(tmp_path: Path) -> Path:
    """A folder with one ECG, and a model next to it."""
    folder = tmp_path / "ecgs"
    folder.mkdir()
    (folder / "one.xml").write_bytes(muse_xml(ecg_counts(n_samples=5000)))
    random_encoder(ONE_BLOCK).save_pretrained(tmp_path / "checkpoint")
    probe_of().save(tmp_path / "checkpoint")
    return folder


def wait_for(reached: Callable[[], bool], seconds: float) -> None:
    """Wait until this is reached; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"not reached within {seconds} s"
        time.sleep(0.1)


def memory_gb(process: int) -> float:
    """The memory of a process, shared pages divided by the number of their users."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1]) / 1e6


def check_shutdown_needs_the_cookie(address: str) -> None:
    """A page may end its own kernel; a page of another site, which cannot read the cookie, may not."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar := CookieJar()))
    page = opener.open(address).read().decode()
    kernel = re.search(r'"kernelId": ?"([-0-9a-f]+)"', page)[1]
    (xsrf,) = (cookie.value for cookie in jar if cookie.name == "_xsrf")
    place = f"{address.split('?')[0]}voila/api/shutdown/{kernel}"

    def post(origin: str = "", **fields: str) -> int:
        headers = {"Origin": origin} if origin else {}
        request = urllib.request.Request(place, urllib.parse.urlencode(fields).encode(), headers)
        try:
            with opener.open(request) as response:
                return response.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert post() == 403 and post(_xsrf="guessed") == 403
    assert post("http://evil.example", _xsrf=xsrf) == 404
    assert post(_xsrf=xsrf) == 204


@pytest.mark.slow
def test_one_kernel_per_browser_and_none_after_its_page_is_closed(chromium, tmp_path):
    folder = ecgs_and_checkpoint(tmp_path)

    def kernels() -> list[int]:
        return kernels_in(tmp_path / "TMPDIR")

    def shown(page: Page) -> None:
        expect(page.locator(".lamae-figure-terms .bars .point")).to_have_count(13)

    with served(folder, tmp_path / "checkpoint", tmp_path / "log.txt") as address:
        with browser_page(chromium, 1020, 1800) as page:
            page.context.set_default_timeout(PATIENCE_MS)
            earlier = page.context.new_page()  # of the same browser
            earlier.goto(address)
            shown(earlier)
            for _ in range(5):
                page.goto(address, wait_until="commit")
            page.goto(address)
            shown(page)
            expect(earlier.get_by_text("Python has stopped.")).to_be_visible()
            assert page.locator("[data-title*='Share']").count() == 0, "no button uploads an ECG"
            wait_for(lambda: len(kernels()) == 1, 20)
            (before,) = kernels()
            assert memory_gb(before) < MEMORY_GB
            page.reload()
            shown(page)
            wait_for(lambda: len(kernels()) == 1, 20)
            assert kernels() != [before]
            page.close()
            wait_for(lambda: not kernels(), 20)
        check_shutdown_needs_the_cookie(address)
        wait_for(lambda: not kernels(), 20)
    assert (tmp_path / "log.txt").read_text() == ""


@pytest.mark.slow
def test_the_app_in_voila(chromium, tmp_path):
    counts, folder = ecg_counts(n_samples=5000), ecgs_and_checkpoint(tmp_path)
    (folder / "broken.xml").write_bytes(muse_xml(counts)[:4000])
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    files = {
        "rec.hea": wfdb_header(counts),
        "rec.dat": wfdb_signals(counts),
        "note.txt": b"none",
        "big.csv": bytes(21 << 20),
    }
    for name, content in files.items():
        (uploads / name).write_bytes(content)

    with served(folder, tmp_path / "checkpoint", tmp_path / "log.txt") as address:
        check_strangers_are_refused(address)
        with browser_page(chromium, 1020, 1800, accept_downloads=True) as page:
            page.goto(address)
            explorer = page.locator(".lamae-lead-explorer")
            terms = explorer.locator(".lamae-group-live .lamae-figure-terms")
            paper = explorer.locator(".ecg-paper canvas[tabindex]")
            expect(terms.locator(".bars .point")).to_have_count(13)
            expect(paper).to_have_attribute("aria-label", re.compile("Lead terms in log-odds"))
            assert "ECGApp" not in page.content() and page.locator(".jp-InputArea-editor").count() == 0
            expect(explorer.get_by_role("alert")).to_contain_text("broken.xml")
            expect(terms.locator(".scatterlayer .point")).to_have_count(24)
            screenshot(page, "app.png")

            explorer.get_by_role("button", name="V2", exact=True).press("Space")
            expect(terms.locator(".bars .point")).to_have_count(12)
            expect(explorer).to_contain_text("Without V2.")
            with page.expect_download() as download:
                explorer.locator(".jupyter-button").filter(has_text="Save as").click()
            saved = Path(download.value.path()).read_text("utf-8")
            assert download.value.suggested_filename == "lead-explorer.html" and "Without V2." in saved

            chooser, app = page.locator(".lamae-upload input"), page.locator(".lamae-app")
            chooser.set_input_files(uploads / "big.csv")
            expect(app).to_contain_text("These files have 22 MB, but at most 20 MB are read")
            chooser.set_input_files(uploads / "note.txt")
            expect(app.get_by_role("alert").first).to_contain_text("note.txt")
            chooser.set_input_files([uploads / "rec.hea", uploads / "rec.dat"])
            expect(explorer.locator(".lamae-group h3")).to_have_text(["rec.hea"])
            explorer.get_by_role("button", name="Previous ECG").click()
            expect(explorer.locator(".lamae-group h3")).to_have_text(["one.xml"])

            # Its kernel is killed: that is said, and what was drawn stays.
            for kernel in kernels_in(tmp_path / "TMPDIR"):
                os.kill(kernel, signal.SIGKILL)
            stopped = explorer.get_by_text("Python has stopped.")
            expect(stopped).to_be_visible()
            expect(stopped).to_contain_text("load this page again")
            expect(terms.locator(".bars .point")).to_have_count(12)
            screenshot(page, "app_stopped.png")
