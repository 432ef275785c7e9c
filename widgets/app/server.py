"""Serving the lead explorer for a folder of ECGs, on this computer only."""

import asyncio
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
    "default-src 'self'; script-src 'self' 'unsafe-inline' blob:; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob: ws://127.0.0.1:*;"
    " frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
"""What the page may load; the browser itself enforces that nothing is fetched from or sent to another machine."""
ENDED_WHILE_LOADING = ("Kernel died", "Kernel never reached")
"""How the errors begin that Voila and Jupyter raise then."""
PAGE = "lamae_toolkit.widgets.app.page"
CELL = f"from {PAGE} import ECGApp\n\nECGApp({{folder!r}}, {{checkpoint!r}})"


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
            asyncio.get_event_loop().call_soon(self.kernel_manager.prepare_first)
            print(f"Open http://{LOOPBACK}:{port}/?token={token}\nStop with Ctrl-C.", flush=True)

    with tempfile.TemporaryDirectory(prefix="lamae_app_") as temporary:
        notebook = Path(temporary) / NOTEBOOK
        write_app_notebook(notebook, ecgs.root, checkpoint.resolve())
        app = App(config=_config(notebook, port, token), log_level=logging.ERROR)
        app.initialize([])
        log_in_one_line()
        app.template_paths.insert(0, str(TEMPLATE))
        app.start()


class OneLine(logging.Formatter):
    """An error of the server in one line: what the user of a terminal can read, and a bug report can quote."""

    def format(self, record: logging.LogRecord) -> str:
        error = f": {record.exc_info[1]!r}" if record.exc_info else ""
        return f"lamae app: {record.getMessage().splitlines()[0]}{error}"


def log_in_one_line() -> None:
    """Print the server's errors without tracebacks; none for a page that was left while it was loading."""
    lines = logging.StreamHandler()
    lines.setFormatter(OneLine())
    lines.addFilter(lambda record: not (record.exc_info and str(record.exc_info[1]).startswith(ENDED_WHILE_LOADING)))
    for name, level in (("asyncio", logging.ERROR), ("tornado", logging.ERROR), ("tornado.access", logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)
    for name in ("asyncio", "tornado"):
        logging.getLogger(name).handlers = [lines]
        logging.getLogger(name).propagate = False


def write_app_notebook(path: Path, folder: Path, checkpoint: Path) -> None:
    """Write the notebook that is served: one cell, which makes the app."""
    import nbformat

    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cell = nbformat.v4.new_code_cell(CELL.format(folder=str(folder), checkpoint=str(checkpoint)))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), path)


def _config(notebook: Path, port: int, token: str) -> dict:
    """The token is passed here, not on the command line, which every user of the computer can read.

    The first kernel is started beforehand, so that its page opens at once; Voila's own way of doing that always keeps
    one more than are in use.
    """
    from jupyter_server import DEFAULT_STATIC_FILES_PATH
    from traitlets.config import Config

    from lamae_toolkit.widgets.app.kernels import BrowserKernels

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
                    "xsrf_cookie_kwargs": {"samesite": "Strict"},
                    "headers": {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"},
                    "static_path": DEFAULT_STATIC_FILES_PATH,  # without it, Jupyter's page for an error fails
                    "websocket_max_message_size": int((UPLOAD_MB + 1) * 1e6),
                },
            },
            "KernelManager": {"transport_encryption": "auto"},
            "BrowserKernels": {"folder": str(notebook.parent), "imports": PAGE},
            "VoilaConfiguration": {
                "strip_sources": True,
                "show_tracebacks": False,
                "file_allowlist": [],
                "extension_allowlist": list(EXTENSIONS),
                "multi_kernel_manager_class": BrowserKernels,
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
