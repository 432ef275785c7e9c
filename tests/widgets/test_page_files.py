"""Files that a reader drops on the web page: real ones as in Python, and large ones while the page goes on."""

import base64
from pathlib import Path

import pytest

from lab import browser_page

DROP = """async (files) => {
  const transfer = new DataTransfer();
  for (const [name, text] of Object.entries(files))
    transfer.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], name));
  dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
}"""

LARGE = """async () => {
  const letter = (i) => (i % 9 === 8 ? 10 : 65 + (Math.imul(i + 1, 2654435761) >>> 13) % 26);
  const transfer = new DataTransfer(), { toast } = lamae.page;
  transfer.items.add(new File([new Uint8Array(24e6).map((_, i) => letter(i))], "noise.csv"));
  dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
  let turns = 0;
  while (toast.hidden) { await new Promise((done) => setTimeout(done)); turns++; }
  return [turns, toast.textContent];
}"""
"""Drops 24 MB of letters as a table."""

TWO = """() => {
  lamae.page.toast.hidden = true;
  for (const [name, text] of [["noise.csv", "A,B\\n".repeat(2e6)], ["picture.png", "\\x89PNG\\r\\n\\x1a\\n"]]) {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(text, (letter) => letter.charCodeAt(0))], name));
    dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
  }
}"""
"""Drops a large table, and a picture before it is read."""


def drop(page, *files: Path) -> str:
    """Drop files on the page; what it says of them."""
    page.evaluate("() => { lamae.page.own = null; lamae.page.toast.hidden = true; }")
    page.evaluate(DROP, {file.name: base64.b64encode(file.read_bytes()).decode() for file in files})
    page.locator(".toast").wait_for()
    return page.locator(".toast p").inner_text()


@pytest.mark.slow
def test_page_goes_on_while_a_large_file_is_read(web_page, chromium):
    """24 MB of letters as a table take long to refuse; meanwhile the page does other things, and a newer file wins."""
    with browser_page(chromium, 1280, 900) as page:
        page.goto(f"{web_page.as_uri()}#lang=en")
        page.locator("[data-ready]").wait_for()
        turns, said = page.evaluate(LARGE)
        # The page had its turn again and again, not once at the end.
        assert turns > 5 and said
        page.evaluate(TWO)
        page.locator(".toast p", has_text="picture").wait_for()
        page.wait_for_timeout(500)
        assert "picture" in page.locator(".toast p").inner_text()
