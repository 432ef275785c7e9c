"""`lamae app` as a program of its own, for tests in a browser and for benchmarks."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(folder: Path, checkpoint: Path, log: Path) -> Iterator[str]:
    """`lamae app` as a program of its own; gives the address that it prints."""
    words = [
        sys.executable,
        "-m",
        "lamae_toolkit.cli",
        "app",
        str(folder),
        "--checkpoint",
        str(checkpoint),
        "--port",
        "0",
    ]
    own = {
        name: str(log.parent / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TMPDIR")
    }
    Path(own["TMPDIR"]).mkdir()
    with open(log, "wb") as errors:
        app = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=errors, env=os.environ | own, start_new_session=True
        )
    try:
        line = app.stdout.readline().decode()
        assert line.startswith("Open http://127.0.0.1:"), (line, log.read_text())
        yield line.split()[1]
        app.send_signal(signal.SIGTERM)
        assert app.wait(30) == 0
        assert list(Path(own["TMPDIR"]).iterdir()) == []  # neither the notebook nor connections nor an upload is left
    finally:
        if app.poll() is None:
            os.killpg(app.pid, signal.SIGKILL)
            app.wait()
        app.stdout.close()
