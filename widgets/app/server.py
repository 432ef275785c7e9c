"""Serving the lead explorer for a folder of ECGs, on this computer only."""

import logging
import secrets
import socket
import tempfile
from pathlib import Path

from lamae_toolkit._lazy import missing_extra
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.pretrained import CONFIG_FILE
from lamae_toolkit.widgets.app.folder import UPLOAD_MB, ECGFolder

TEMPLATE = Path(__file__).parent / "template"
EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget")
"""The extensions of JupyterLab that the page needs; all others would take seconds to load."""
LOOPBACK = "127.0.0.1"
NOTEBOOK = "explorer.ipynb"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob: ws://127.0.0.1:*;"
    " frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
"""What the page may load; the browser itself enforces that nothing is fetched from or sent to another machine."""
CELL = "from lamae_toolkit.widgets.app.page import ECGApp\n\nECGApp({folder!r}, {checkpoint!r})"


def serve(folder: Path, checkpoint: Path, port: int) -> None:
    """Serve until Ctrl-C; port: 0 takes any free one. ECGError without a checkpoint, or if the port is in use."""
    ecgs = ECGFolder(folder)
    if not (checkpoint / CONFIG_FILE).is_file():
        raise ECGError(f"There is no checkpoint in {checkpoint}; give the folder of a model.")
    try:
        from voila.app import Voila
    except ModuleNotFoundError as error:
        raise missing_extra("lamae app", error) from error
    if ecgs.left_out:
        print(f"Left out, since they point outside the folder: {ecgs.left_out} files.")
    if not ecgs:
        print(f"{folder} holds no ECG; ECGs can be uploaded.")
    port, token = _port(port), secrets.token_urlsafe(32)

    class App(Voila):
        def launch_browser(self) -> None:
            """Called when the server listens: print the address for the user to open."""
            print(f"Open http://{LOOPBACK}:{port}/?token={token}\nStop with Ctrl-C.", flush=True)

    with tempfile.TemporaryDirectory(prefix="lamae_app_") as temporary:
        notebook = Path(temporary) / NOTEBOOK
        write_app_notebook(notebook, ecgs.root, checkpoint.resolve())
        app = App(config=_config(notebook, port, token), log_level=logging.ERROR)
        app.initialize([])
        app.template_paths.insert(0, str(TEMPLATE))
        app.start()


def write_app_notebook(path: Path, folder: Path, checkpoint: Path) -> None:
    """Write the notebook that is served: one cell, which makes the app."""
    import nbformat

    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cell = nbformat.v4.new_code_cell(CELL.format(folder=str(folder), checkpoint=str(checkpoint)))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), path)


def _config(notebook: Path, port: int, token: str) -> dict:
    """The token is passed here, not on the command line, which every user of the computer can read.

    Kernels are started beforehand, so that the page opens at once.
    """
    from traitlets.config import Config

    return Config(
        {
            "Voila": {
                "ip": LOOPBACK,
                "port": port,
                "port_retries": 0,
                "token": token,
                "notebook_path": str(notebook),
                "connection_dir_root": str(notebook.parent),  # removed with it, whenever the app is stopped
                "config_file_paths": [],
                "tornado_settings": {
                    "allow_remote_access": False,
                    "headers": {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"},
                    "websocket_max_message_size": int((UPLOAD_MB + 1) * 1e6),
                },
            },
            "KernelManager": {"transport_encryption": "auto"},
            "VoilaKernelManager": {"fill_delay": 10.0},  # the next kernel starts after the page is open
            "VoilaConfiguration": {
                "strip_sources": True,
                "show_tracebacks": False,
                "file_allowlist": [],
                "extension_allowlist": list(EXTENSIONS),
                "preheat_kernel": True,
                "default_pool_size": 1,
                "allow_template_override": "NO",
                "allow_theme_override": "NO",
            },
        }
    )


def _port(wanted: int) -> int:
    """The port, if it is free, or any free one for 0; ECGError if it is not."""
    with socket.socket() as trial:
        try:
            trial.bind((LOOPBACK, wanted))
        except (OSError, OverflowError) as error:
            raise ECGError(
                f"Port {wanted} is in use or not allowed; choose another with --port, or 0 for any free one."
            ) from error
        return trial.getsockname()[1]
