"""Fetch the published files of a PhysioNet project: each whole and with the right checksum, or not at all."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import Event
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from tqdm.auto import tqdm

from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import write_json

SUMS = "SHA256SUMS.txt"
CHECKED = ".checked.json"
CHUNK_BYTES = 1 << 14
TIMEOUT_S = (10, 30)  # to connect, and between two pieces of a file
GO_ON = "run the same command again, which goes on where this one stopped"
BUSY = (408, 429, 500, 502, 503, 504)


def download_physionet(
    url: str,
    folder: Path | str,
    wanted: Callable[[str], bool],
    *,
    workers: int = 4,
    progress: bool = True,
    pauses_s: tuple[float, ...] = (1.0, 4.0, 15.0),
) -> Path:
    """Bring the wanted files of a PhysioNet project into `folder`, each checked against the published checksum.

    url: the folder of the published files, with SHA256SUMS.txt in it: https://physionet.org/files/ptb-xl/1.0.3/.
    wanted: says of a file's name, as listed there ("records500/00000/00001_hr.dat"), whether to fetch it.
    workers: how many files are fetched at a time.
    pauses_s: how long to wait before each new try when the connection breaks or the server is busy.

    A file appears under its name only when it is whole. It grows as NAME.partial, from which the same call goes on
    after an interruption. Files that are there with the right checksum are not fetched again; one with another
    content is replaced. Returns the folder. ECGError if a file cannot be had; those that are there stay.
    """
    url = url.rstrip("/") + "/"
    if not re.match(r"https?://[\w-]{1,63}(\.[\w-]{1,63})*(:\d+)?/", url):
        raise ECGError(f"{url!r} is not a web address; give the https:// address of a folder of published files.")
    if workers < 1:
        raise ECGError(f"Files cannot be fetched {workers} at a time; give 1 or more workers.")
    folder = Path(folder).absolute()
    with requests.Session() as session:
        session.headers.update({"User-Agent": "lamae_toolkit", "Accept-Encoding": "identity"})
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=workers))
        source = _Source(url, session, pauses_s, Event())
        sums = {name: sha256 for name, sha256 in source.sums().items() if wanted(name)}
        if not sums:
            raise ECGError(f"{source.address(SUMS)} lists none of the wanted files; check the address.")
        for name in sums:
            _refuse_if_outside(source, name)
        _fetch_all(source, folder, sums, workers, progress)
    return folder


@dataclass(frozen=True)
class _Source:
    """The published files, over kept-alive connections; `stop` ends all that is under way."""

    url: str
    session: requests.Session
    pauses_s: tuple[float, ...]
    stop: Event

    def address(self, name: str) -> str:
        return self.url + quote(name)

    def sums(self) -> dict[str, str]:
        """The SHA-256 of every published file, by its name."""
        text = self.patiently(SUMS, lambda: self._answer(SUMS).content.decode("utf-8", errors="replace"))
        sums = {}
        for line in filter(None, map(str.strip, text.splitlines())):
            found = re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(.+)", line)
            if not found:
                raise ECGError(f"{self.address(SUMS)} is not a list of checksums; check the address.")
            sums[found[2].removeprefix("./")] = found[1].lower()
        return sums

    def append(self, name: str, partial: Path) -> None:
        """Fetch what is missing of a file; a server that cannot begin in the middle sends it anew."""
        there = partial.stat().st_size if partial.is_file() else 0
        with self._answer(name, there) as answer:
            if answer.status_code == 416:  # nothing lies behind what is there: it is whole or wrong, says its checksum
                return
            with open(partial, "ab" if answer.status_code == 206 else "wb") as file:
                for piece in answer.iter_content(CHUNK_BYTES):
                    file.write(piece)
                    if self.stop.is_set():
                        return

    def patiently(self, name: str, attempt: Callable[[], str | None]) -> str | None:
        """Try, and try again after each pause, as long as what fails is the network or a busy server."""
        pauses_s = iter(self.pauses_s)
        while True:
            try:
                return attempt()
            except requests.RequestException as error:
                pause_s = next(pauses_s, None)
                if pause_s is None or self.stop.wait(pause_s):
                    raise ECGError(
                        f"{self.address(name)} could not be fetched in {len(self.pauses_s) + 1} tries"
                        f" ({_reason(error)}); check the address and the network, then {GO_ON}."
                    ) from error

    def _answer(self, name: str, start: int = 0) -> requests.Response:
        headers = {"Range": f"bytes={start}-"} if start else {}
        answer = self.session.get(self.address(name), headers=headers, stream=True, timeout=TIMEOUT_S)
        if answer.status_code in BUSY:
            answer.close()
            answer.raise_for_status()
        if answer.status_code not in (200, 206, 416):
            answer.close()
            raise ECGError(
                f"The server answered {answer.status_code} ({answer.reason}) to {self.address(name)};"
                " check the address, and whether these files are open to everyone."
            )
        return answer


def _reason(error: requests.RequestException) -> str:
    """What went wrong in a few words; the library's own text is a paragraph."""
    kinds = {
        requests.HTTPError: "the server is busy",
        requests.Timeout: "no answer in time",
        requests.exceptions.SSLError: "the server's certificate is not trusted",
        requests.exceptions.ProxyError: "the proxy refused",
        requests.ConnectionError: "no connection, or it broke",
        requests.exceptions.ChunkedEncodingError: "the connection broke",
    }
    return next((text for kind, text in kinds.items() if isinstance(error, kind)), type(error).__name__)


def _refuse_if_outside(source: _Source, name: str) -> None:
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.anchor or ".." in path.parts or not path.name or not name.isprintable():
            raise ECGError(
                f"{source.address(SUMS)} lists {name!r}, which is no place inside the folder;"
                " nothing was fetched: do not trust this source."
            )


def _fetch_all(source: _Source, folder: Path, sums: dict[str, str], workers: int, progress: bool) -> None:
    checked = _checked(folder)
    bar = tqdm(total=len(sums), desc=f"fetching from {source.url.split('/')[2]}", unit="file", disable=not progress)
    with bar, ThreadPoolExecutor(workers) as pool:
        try:
            names = {
                pool.submit(_bring, source, name, folder / name, sha256, checked.get(name)): name
                for name, sha256 in sums.items()
            }
            for done in as_completed(names):
                checked[names[done]] = done.result()
                bar.update()
        except BaseException:
            source.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            # Without the marks the next call only takes longer: it hashes what is there.
            with suppress(ECGError, OSError):
                write_json(folder / CHECKED, checked)


def _bring(source: _Source, name: str, target: Path, sha256: str, mark: list | None) -> list | None:
    """See to it that one file is there and right; returns its mark, or None if all was stopped."""
    try:
        if not target.is_file() or (mark != _mark(target, sha256) and _sha256(target) != sha256):
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(source, name, target, sha256)
        return None if source.stop.is_set() else _mark(target, sha256)
    except OSError as error:
        raise ECGError(
            f"{target} could not be written or read ({error.strerror or error}); make room or choose another folder,"
            f" then {GO_ON}."
        ) from error


def _fetch(source: _Source, name: str, target: Path, sha256: str) -> None:
    partial = target.with_name(f"{target.name}.partial")
    if partial.is_file() and _sha256(partial) == sha256:  # interrupted just before it got its name
        os.replace(partial, target)
        return
    for _ in range(2):
        source.patiently(name, lambda: source.append(name, partial))
        if source.stop.is_set():
            return
        if _sha256(partial) == sha256:
            os.replace(partial, target)
            return
        partial.unlink()
    raise ECGError(
        f"{source.address(name)} came twice with another content than {SUMS} promises, and was not kept;"
        f" try later: {GO_ON}."
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(path: Path, sha256: str) -> list:
    """By which a file that was checked is known again: a changed one has another size or time."""
    return [path.stat().st_size, path.stat().st_mtime_ns, sha256]


def _checked(folder: Path) -> dict[str, list]:
    """The marks of earlier calls, or none if they cannot be read: then the files are hashed."""
    try:
        marks = json.loads((folder / CHECKED).read_text(encoding="utf-8"))
        return marks if isinstance(marks, dict) else {}
    except (OSError, ValueError):
        return {}
