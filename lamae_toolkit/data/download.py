"""Fetch published files with pooch: each one complete and with the published checksum, or not at all."""

import io
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import quote

from tqdm.auto import tqdm

from lamae_toolkit._lazy import missing_extra
from lamae_toolkit.data.shards import is_inside
from lamae_toolkit.errors import ECGError

SUMS = "SHA256SUMS.txt"
TIMEOUT_S = (10, 30)  # to connect, and between two chunks of a file
BUSY = (408, 429, 500, 502, 503, 504)


class DownloadError(ECGError):
    """A published file could not be fetched; what was fetched before stays."""


class _RefusedError(Exception):
    """The server refused this file: a retry does not help."""


class Published:
    """A folder of published files on a server, over connections that are kept alive.

    url: the folder's address. retries: how often to try again when the connection breaks, the server is busy or the
    content is not the published one, after 1 s, 2 s and so on. MissingExtraError if pooch is not installed.
    """

    def __init__(self, url: str, retries: int = 2) -> None:
        try:
            import pooch
            import requests
        except ModuleNotFoundError as error:
            raise missing_extra("Downloading PTB-XL", error) from error
        self.url, self.retries, self._pooch, self._session = url.rstrip("/") + "/", retries, pooch, requests.Session()
        self._session.headers.update({"User-Agent": "lamae_toolkit", "Accept-Encoding": "identity"})
        pooch.get_logger().setLevel("WARNING")  # otherwise a line for each file

    def fetch(self, name: str, sha256: str, folder: Path) -> Path:
        """A file below `folder`, fetched unless it exists with this SHA-256; DownloadError if that is not possible.

        name: its path below the published folder. It gets this name only when it is complete and correct.
        """
        address = self.url + quote(name)
        files = self._pooch.create(
            path=folder, base_url=self.url, registry={name: sha256}, urls={name: address}, retry_if_failed=self.retries
        )
        with _as_sentence(address, folder / name):
            # pooch fails if another thread makes the same folder between its look and its making.
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            return Path(files.fetch(name, downloader=self._save))

    def sums(self) -> dict[str, str]:
        """The published SHA-256 of every file, by its name."""
        text = io.BytesIO()
        with _as_sentence(self.url + SUMS, None):
            self._save(self.url + SUMS, text)
        lines = [line.strip() for line in text.getvalue().decode(errors="replace").splitlines() if line.strip()]
        pairs = [re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(?:\./)?(.+)", line) for line in lines]
        if not all(pairs):
            raise ECGError(f"{self.url}{SUMS} is not a list of checksums; check the address.")
        return {pair[2]: pair[1].lower() for pair in pairs if pair}

    def _save(self, address: str, target: str | io.BytesIO, _: object = None) -> None:
        with self._session.get(address, stream=True, timeout=TIMEOUT_S) as answer:
            if answer.status_code >= 400 and answer.status_code not in BUSY:
                raise _RefusedError(f"{answer.status_code} ({answer.reason})")
            answer.raise_for_status()
            with nullcontext(target) if isinstance(target, io.BytesIO) else open(target, "wb") as file:
                for chunk in answer.iter_content(1 << 14):
                    file.write(chunk)


def download_physionet(
    url: str,
    folder: Path | str,
    wanted: Callable[[str], bool],
    *,
    workers: int = 4,
    retries: int = 2,
    progress: bool = True,
) -> Path:
    """Download the wanted files of a PhysioNet project to `folder`, each checked against its published checksum.

    url: the folder of the published files, with SHA256SUMS.txt in it: https://physionet.org/files/ptb-xl/1.0.3/.
    wanted: takes a file's listed name ("records500/00000/00001_hr.dat") and returns whether to fetch it.
    workers: how many files are fetched in parallel. retries: as in `Published`.

    Files that exist with the right checksum are not fetched again, so that the same call resumes after an
    interruption; one with another content is replaced. Returns the folder. DownloadError if a file cannot be fetched.
    """
    url = url.rstrip("/") + "/"
    if not re.match(r"https?://[\w-]{1,63}(\.[\w-]{1,63})*(:\d+)?/", url):
        raise ECGError(f"{url!r} is not a web address; give the https:// address of a folder of published files.")
    if workers < 1:
        raise ECGError(f"Files cannot be fetched {workers} at a time; give 1 or more workers.")
    folder, published = Path(folder).absolute(), Published(url, retries)
    sums = {name: sha256 for name, sha256 in published.sums().items() if wanted(name)}
    if not sums:
        raise ECGError(f"{url}{SUMS} lists none of the wanted files; check the address.")
    outside = [name for name in sums if not (is_inside(name) and name.isprintable())]
    if outside:
        raise ECGError(
            f"{url}{SUMS} lists {outside[0]!r}, which points outside the folder; nothing was fetched: do not trust this"
            " source."
        )
    bar = tqdm(total=len(sums), desc=f"fetching from {url.split('/')[2]}", unit="file", disable=not progress)
    with bar, ThreadPoolExecutor(workers) as pool:
        try:
            for done in as_completed([pool.submit(published.fetch, *item, folder) for item in sums.items()]):
                done.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return folder


@contextmanager
def _as_sentence(address: str, target: Path | None) -> Iterator[None]:
    """Turn errors while a file is fetched into one sentence."""
    import requests

    again = "then try again: files that are complete are kept"
    try:
        yield
    except _RefusedError as error:
        raise DownloadError(
            f"The server answered {error} to {address}; check the address, and whether these files are open to all,"
            f" {again}."
        ) from error
    except requests.RequestException as error:
        kinds = {
            requests.HTTPError: "the server is busy",
            requests.exceptions.SSLError: "the server's certificate is not trusted",
            requests.exceptions.ProxyError: "the proxy refused",
            requests.Timeout: "no answer in time",
            requests.ConnectionError: "no connection, or it broke",
        }
        reason = next((text for kind, text in kinds.items() if isinstance(error, kind)), "the connection broke")
        raise DownloadError(
            f"{address} could not be fetched ({reason}); check the network and the address, {again}."
        ) from error
    except ValueError as error:  # pooch raises it for a wrong checksum
        raise DownloadError(
            f"{address} does not match its published checksum and was not kept; wait a while, {again}."
        ) from error
    except OSError as error:
        raise ECGError(
            f"{target} could not be written or read ({error.strerror or error}); free some space or choose another"
            f" folder, {again}."
        ) from error
