"""Files from the user's disk to Python and back, for an app whose user has no access to folders of the server."""

from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import traitlets

from lamae_toolkit.palette import ACCENT

HERE = Path(__file__).parent


class BrowserFiles(anywidget.AnyWidget):
    """A button to choose one or more files; their content is passed to `received` in memory.

    received: is given the content of each file by its name. limit_mb: more is refused in the browser, before it is
    sent; whoever receives has to check it again, since a browser can send what it likes.
    """

    _esm = (HERE / "browser_files.js").read_text("utf-8")
    _css = (
        ".lamae-upload { margin-right: 1em; } .lamae-upload input { margin-left: 0.6em; }"
        " .lamae-upload input:focus-visible { outline: 3px solid ACCENT; outline-offset: 1px; }"
    ).replace("ACCENT", ACCENT)
    label = traitlets.Unicode("Upload an ECG").tag(sync=True)
    limit_mb = traitlets.Float().tag(sync=True)

    def __init__(self, received: Callable[[Mapping[str, bytes]], None], limit_mb: float) -> None:
        super().__init__(limit_mb=limit_mb)
        self._received = received
        self.on_msg(self._receive)

    def _receive(self, _, content: object, buffers: list) -> None:
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list) and len(names) == len(buffers) and all(isinstance(name, str) for name in names):
            self._received({name: bytes(buffer) for name, buffer in zip(names, buffers, strict=True)})

    def download(self, name: str, content: bytes) -> None:
        """Let the browser save this content as a file with this name."""
        self.send({"name": name}, buffers=[content])
