"""The lead explorer as an app: for the ECGs of a folder and for those that are uploaded."""

import html
import tempfile
from collections.abc import Mapping
from pathlib import Path

import ipywidgets as widgets

from lamae_toolkit.errors import ECGError, printable
from lamae_toolkit.evaluation.calibration import Calibration
from lamae_toolkit.evaluation.linear_probe import PROBE_FILE, Probe
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import shipped_or_own
from lamae_toolkit.widgets.app.folder import UPLOAD_MB, ECGFolder, read_uploaded
from lamae_toolkit.widgets.base.browser_files import BrowserFiles
from lamae_toolkit.widgets.lead_explorer.widget import LeadExplorer


class ECGApp(widgets.VBox):
    """What `lamae app` serves. The folder may be empty or hold broken files; uploads work in any case."""

    def __init__(self, folder: Path | str, checkpoint: Path | str = "lamae-mini-ptbxl") -> None:
        where = shipped_or_own(checkpoint)
        self.model, self.calibration = LAMAE.from_pretrained(where), Calibration.load(where)
        self.probe = Probe.load(where) if (where / PROBE_FILE).is_file() else None
        self.ecgs, self.explorer = ECGFolder(folder), None
        self.files = BrowserFiles(self._uploaded, UPLOAD_MB)
        self._message, self._place = widgets.HTML(), widgets.VBox()
        heading = widgets.HTML(
            f"<h1 style='font-size: 1.4em; margin: 0'>ECGs of {html.escape(printable(self.ecgs.root.name))}</h1>"
            "<p style='line-height: 1.4'>What LAMAE predicts for an ECG, and on which leads it rests. For research and"
            " teaching, not for diagnosis. An uploaded ECG stays in memory; WFDB records are uploaded with header"
            " and signal file together.</p>"
        )
        super().__init__([heading, self.files, self._message, self._place])
        self.add_class("lamae-app")
        try:
            self._explore()
        except ECGError as error:
            self._say(f"{error} Upload an ECG.")

    def _explore(self) -> None:
        """Show the explorer, once there is an ECG for it."""
        if not len(self.ecgs):
            raise ECGError(f"The folder {self.ecgs.root.name} holds no ECG.")
        self.explorer = AppExplorer(self)
        self._place.children = [self.explorer]

    def _uploaded(self, files: Mapping[str, bytes]) -> None:
        try:
            self._say("")
            names = [self.ecgs.add(name, recording) for name, recording in read_uploaded(files).items()]
            if self.explorer is None:
                self._explore()
            self.explorer.choose(names[-1])
        except ECGError as error:
            self._say(str(error))

    def _say(self, message: str) -> None:
        self._message.value = f"<p role='alert'><b>{html.escape(message)}</b></p>" if message else ""


class AppExplorer(LeadExplorer):
    """The explorer, whose saved files are downloaded by the browser, since the user has no access to the server."""

    again = "load this page again"

    def __init__(self, app: ECGApp) -> None:
        self._app = app
        super().__init__(app.model, app.ecgs, app.probe, app.calibration)

    def _save_beside_the_notebook(self, kind: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = self.save(Path(folder) / f"{self.name}.{kind}")
            self._app.files.download(path.name, path.read_bytes())
        self.say(f"{path.name} is with your browser's downloads.")
