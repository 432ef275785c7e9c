"""`python start.py lab` in a real browser: the first notebook is open, and nothing is asked."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from playwright.sync_api import expect

from lab import browser_page
from test_setup import start


@pytest.mark.slow
def test_lab_opens_the_first_notebook_and_asks_nothing(chromium, tmp_path):
    module = start()
    if not module.LAB_SETTINGS.is_file():
        pytest.skip("this environment was not set up by start.py")
    own = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    own["JUPYTERLAB_WORKSPACES_DIR"] = own["JUPYTERLAB_SETTINGS_DIR"] = str(tmp_path / "lab")
    # Instead of the user's browser, a program that notes which page was to be opened.
    opened = tmp_path / "opened.txt"
    (tmp_path / "browser.py").write_text(
        f"import os, sys\nopen(r'{opened}.part', 'w').write(sys.argv[1])\nos.replace(r'{opened}.part', r'{opened}')"
    )
    own["BROWSER"] = f"{sys.executable} {tmp_path / 'browser.py'} %s"
    words = ["--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    with open(tmp_path / "log.txt", "w") as log:
        server = subprocess.Popen(
            [str(module.PYTHON), *module.COMMANDS["lab"], *words],
            stdout=log,
            stderr=log,
            env=os.environ | own,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 90
        while not opened.is_file():
            assert time.monotonic() < end and server.poll() is None, (tmp_path / "log.txt").read_text()
            time.sleep(0.1)
        with browser_page(chromium) as page:
            page.goto(opened.read_text())
            expect(page.get_by_role("heading", name="00 · Start here")).to_be_visible()
            page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
            expect(page.locator(".jp-Dialog")).to_have_count(0)
            expect(page.get_by_text("official Jupyter news")).to_have_count(0)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    assert json.loads(module.NO_NEWS)["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
