"""Fetching published files, from a server on this machine that holds a part of PTB-XL and misbehaves on request."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import unquote

import pandas as pd
import pytest

from lamae_toolkit.cli.main import main
from lamae_toolkit.data.datasets.ptbxl import ptbxl_store
from lamae_toolkit.data.download import CHECKED, CHUNK_BYTES, download_physionet
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError

RECORDS = 12
BIG = "records500/00000/00005_hr.dat"


@dataclass
class Server:
    """What the server holds, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    breaks: dict[str, list[int]] = field(default_factory=dict)  # by file: after how many bytes each answer ends
    corrupts: Counter = field(default_factory=Counter)  # by file: how many answers are wrong
    statuses: dict[str, list[int]] = field(default_factory=dict)  # by file: errors that come first
    hangs: set[str] = field(default_factory=set)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    connections: int = 0
    hanging: Event = field(default_factory=Event)
    go_on: Event = field(default_factory=Event)

    def asked_for(self, name: str) -> list[str | None]:
        return [part for asked, part in self.asked if asked == name]

    def publish(self) -> None:
        """Write the list of checksums as PhysioNet does: a line for each file, with one space."""
        self.files.pop("SHA256SUMS.txt", None)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        self.files["SHA256SUMS.txt"] = "".join(f"{sha256} {name}\n" for name, sha256 in sums.items()).encode()


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections alive

        def setup(self):
            super().setup()
            server.connections += 1

        def log_message(self, *_):
            pass

        def do_GET(self):
            name = unquote(self.path.removeprefix("/files/ptb-xl/1.0.3/"))
            part = self.headers["Range"]
            server.asked.append((name, part))
            if server.statuses.get(name):
                return self.refuse(server.statuses[name].pop(0))
            if name not in server.files:
                return self.refuse(404)
            content, whole = server.files[name], len(server.files[name])
            start = int(re.fullmatch(r"bytes=(\d+)-", part)[1]) if part and server.ranges else 0
            if start and start >= whole:
                return self.refuse(416)
            if server.corrupts[name] > 0:
                server.corrupts[name] -= 1
                content = content[:-1] + bytes([content[-1] ^ 1])
            body = content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if server.breaks.get(name):
                self.wfile.write(body[: server.breaks[name].pop(0)])
                self.close_connection = True
            elif name in server.hangs:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                server.hanging.set()
                server.go_on.wait(30)
                self.close_connection = True
            else:
                self.wfile.write(body)

        def refuse(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


@pytest.fixture(scope="module")
def published(real_data) -> dict[str, bytes]:
    """The first records of PTB-XL at 500 Hz, and the tables that describe them."""
    source = real_data / "ptb-xl"
    table = pd.read_csv(source / "ptbxl_database.csv", dtype=str).head(RECORDS)
    files = {name: (source / name).read_bytes() for name in ("LICENSE.txt", "scp_statements.csv")}
    files["ptbxl_database.csv"] = table.to_csv(index=False).encode()
    files["records100/00000/00001_lr.dat"] = b"nobody asks for it"
    for name in table.filename_hr:
        files |= {f"{name}{suffix}": (source / f"{name}{suffix}").read_bytes() for suffix in (".hea", ".dat")}
    return files


@pytest.fixture
def server(published, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(dict(published))
    server.publish()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(server))
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/files/ptb-xl/1.0.3/"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.go_on.set()
    http.shutdown()
    thread.join()
    http.server_close()


def wanted(name: str) -> bool:
    return name.startswith("records500/") or "/" not in name


def fetch(server: Server, folder: Path, **options) -> Path:
    options = {"wanted": wanted, "progress": False, "pauses_s": (0.01, 0.02), **options}
    return download_physionet(server.url, folder, **options)


def assert_whole(folder: Path, server: Server) -> None:
    """Every wanted file is there byte for byte, and nothing else but the marks."""
    expected = {name: content for name, content in server.files.items() if wanted(name) and name != "SHA256SUMS.txt"}
    assert contents(folder) == expected


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != CHECKED)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_all_wanted_files_come_whole_over_few_connections_and_make_a_store(server, tmp_path, capsys):
    assert fetch(server, tmp_path / "ptb-xl", workers=3, progress=True) == tmp_path / "ptb-xl"
    assert_whole(tmp_path / "ptb-xl", server)
    assert len(contents(tmp_path / "ptb-xl")) == 3 + 2 * RECORDS
    assert set(Counter(server.asked).values()) == {1} and server.connections <= 3
    assert "27/27" in capsys.readouterr().err
    store = ptbxl_store(tmp_path / "store", tmp_path / "ptb-xl", progress=False)
    assert len(store) == RECORDS


def test_a_second_call_fetches_only_the_list(server, tmp_path):
    fetch(server, tmp_path)
    server.asked.clear()
    fetch(server, tmp_path)
    (tmp_path / CHECKED).write_text("not JSON")  # then the files themselves are looked at
    fetch(server, tmp_path)
    assert server.asked == [("SHA256SUMS.txt", None)] * 2
    assert set(json.loads((tmp_path / CHECKED).read_text())) == set(contents(tmp_path))


def test_files_unpacked_by_hand_are_not_fetched_again(server, published, tmp_path):
    (tmp_path / BIG).parent.mkdir(parents=True)
    (tmp_path / BIG).write_bytes(published[BIG])
    fetch(server, tmp_path)
    assert not server.asked_for(BIG)
    assert_whole(tmp_path, server)


def test_a_changed_file_is_fetched_again(server, published, tmp_path):
    fetch(server, tmp_path)
    changed = bytearray(published[BIG])
    changed[100] ^= 255  # as long as before
    (tmp_path / BIG).write_bytes(changed)
    server.asked.clear()
    fetch(server, tmp_path)
    assert [name for name, _ in server.asked] == ["SHA256SUMS.txt", BIG]
    assert_whole(tmp_path, server)


def test_a_new_version_of_the_list_is_believed_over_the_marks(server, tmp_path):
    fetch(server, tmp_path)
    server.files[BIG] = b"corrected" + server.files[BIG]
    server.publish()
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path):
    server.breaks[BIG] = [50_000, 30_000]
    fetch(server, tmp_path)
    starts = [int(part.removeprefix("bytes=").removesuffix("-")) for part in server.asked_for(BIG)[1:]]
    assert server.asked_for(BIG)[0] is None and len(starts) == 2
    # What has come is kept up to the last whole piece.
    assert 50_000 - CHUNK_BYTES < starts[0] <= 50_000 and starts[0] < starts[1] <= starts[0] + 30_000
    assert_whole(tmp_path, server)


def test_a_server_that_cannot_begin_in_the_middle_sends_the_file_anew(server, tmp_path):
    server.ranges = False
    server.breaks[BIG] = [50_000]
    fetch(server, tmp_path)
    assert len(server.asked_for(BIG)) == 2
    assert_whole(tmp_path, server)


def test_a_connection_that_always_breaks_ends_in_one_sentence_and_a_later_call_goes_on(server, tmp_path):
    server.breaks[BIG] = [40_000, 0, 0]
    with pytest.raises(
        ECGError, match=r"00005_hr\.dat could not be fetched in 3 tries \(.*broke\); .* same command again"
    ):
        fetch(server, tmp_path)
    before = len(server.asked_for(BIG))
    fetch(server, tmp_path)
    assert server.asked_for(BIG)[before:] == [f"bytes={40_000 // CHUNK_BYTES * CHUNK_BYTES}-"]
    assert_whole(tmp_path, server)


def test_a_refusal_does_not_wait_for_files_that_pause(server, tmp_path):
    pausing = "LICENSE.txt"
    server.breaks[pausing], server.statuses[BIG] = [0], [404]
    begin = time.monotonic()
    with pytest.raises(ECGError, match="answered 404"):
        fetch(server, tmp_path, pauses_s=(60.0,), workers=2)
    assert time.monotonic() - begin < 30 and server.asked_for(pausing) == [None]


def test_a_body_that_is_damaged_once_is_fetched_once_more(server, tmp_path):
    server.corrupts[BIG] = 1
    fetch(server, tmp_path)
    assert server.asked_for(BIG) == [None, None]
    assert_whole(tmp_path, server)


def test_a_wrong_checksum_is_refused_and_the_other_files_stay(server, tmp_path):
    good = hashlib.sha256(server.files[BIG]).hexdigest()
    server.files["SHA256SUMS.txt"] = server.files["SHA256SUMS.txt"].replace(good.encode(), good[::-1].encode())
    with pytest.raises(ECGError, match=r"00005_hr\.dat came twice with another content than SHA256SUMS\.txt promises"):
        fetch(server, tmp_path, workers=1)
    assert server.asked_for(BIG) == [None, None]
    there = contents(tmp_path)
    assert "LICENSE.txt" in there and not {BIG, f"{BIG}.partial"} & there.keys()
    # A file that was under way stays to be continued.
    assert all(server.files[name.removesuffix(".partial")].startswith(content) for name, content in there.items())
    server.publish()
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)


def test_a_partial_file_that_is_no_beginning_of_the_file_is_dropped(server, tmp_path):
    partial = (tmp_path / BIG).with_name("00005_hr.dat.partial")
    partial.parent.mkdir(parents=True)
    for content in (b"something else", bytes(200_000)):  # shorter and longer than the file
        (tmp_path / BIG).unlink(missing_ok=True)
        partial.write_bytes(content)
        server.asked.clear()
        fetch(server, tmp_path)
        assert server.asked_for(BIG) == [f"bytes={len(content)}-", None]
        assert_whole(tmp_path, server)


def test_a_partial_file_that_is_whole_only_gets_its_name(server, published, tmp_path):
    partial = (tmp_path / BIG).with_name("00005_hr.dat.partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(published[BIG])
    fetch(server, tmp_path)
    assert not server.asked_for(BIG)
    assert_whole(tmp_path, server)


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = {BIG: [503, 429], "SHA256SUMS.txt": [502]}
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    server.statuses = {"SHA256SUMS.txt": [503] * 3}
    with pytest.raises(ECGError, match=r"in 3 tries \(the server is busy\)"):
        fetch(server, tmp_path)


@pytest.mark.parametrize("status", [403, 404])
def test_a_file_that_the_server_refuses_is_named_at_once(server, tmp_path, status):
    server.statuses[BIG] = [status]
    with pytest.raises(ECGError, match=rf"answered {status} \(.+\) to http.*/records500/00000/00005_hr\.dat; check"):
        fetch(server, tmp_path)
    assert len(server.asked_for(BIG)) == 1
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)


def test_addresses_without_published_files_are_refused_and_leave_nothing(server, tmp_path):
    folder = tmp_path / "ptb-xl"
    cases = [
        (server.url.replace("1.0.3", "9.9.9"), "answered 404"),
        ("http://127.0.0.1:9/files/", "no connection"),
        ("http://nowhere.invalid/files/", "could not be fetched in 3 tries"),
        ("http://a..b/files/", "is not a web address"),
        ("ftp://physionet.org/files/ptb-xl/1.0.3/", "is not a web address"),
        ("file:///etc/", "is not a web address"),
        ("physionet.org/files", "is not a web address"),
        ("", "is not a web address"),
    ]
    for url, sentence in cases:
        with pytest.raises(ECGError, match=sentence):
            download_physionet(url, folder, wanted, progress=False, pauses_s=(0.0, 0.0))
    with pytest.raises(ECGError, match="lists none of the wanted files"):
        fetch(server, folder, wanted=lambda name: False)
    with pytest.raises(ECGError, match="give 1 or more"):
        fetch(server, folder, workers=0)
    server.files["SHA256SUMS.txt"] = b"<html>Please log in</html>"
    with pytest.raises(ECGError, match="is not a list of checksums"):
        fetch(server, folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/../../x", "..\\x", "C:\\x", "C:x", "\\\\host\\x", "..", "a\x01b"]
)
def test_names_that_leave_the_folder_are_refused_before_anything_is_fetched(server, tmp_path, name):
    server.files["SHA256SUMS.txt"] += f"{'0' * 64}  {name}\n".encode()
    with pytest.raises(ECGError, match="is no place inside the folder"):
        fetch(server, tmp_path / "deep" / "folder", wanted=lambda name: True)
    assert not list(tmp_path.iterdir()) and [name for name, _ in server.asked] == ["SHA256SUMS.txt"]


def test_lists_as_sha256sum_writes_them_and_odd_names_are_read(server, tmp_path):
    content = b"odd"
    sha256 = hashlib.sha256(content).hexdigest()
    server.files |= {"a file #1?.txt": content, "b%20.txt": content, "c.txt": b""}
    empty = hashlib.sha256().hexdigest()
    server.files["SHA256SUMS.txt"] = (
        f"{sha256}  ./a file #1?.txt\r\n{sha256.upper()} *b%20.txt\n\n{empty}  c.txt\n".encode()
    )
    fetch(server, tmp_path)
    assert contents(tmp_path) == {"a file #1?.txt": content, "b%20.txt": content, "c.txt": b""}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_said_in_one_sentence(server, tmp_path):
    partial = (tmp_path / BIG).with_name("00005_hr.dat.partial")
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    with pytest.raises(ECGError, match=r"00005_hr\.dat could not be written or read \(No space left.*make room"):
        fetch(server, tmp_path)
    partial.unlink()
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)


def test_a_folder_that_cannot_be_is_refused(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ECGError, match="could not be written"):
        fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_after_ctrl_c_the_same_call_goes_on_and_fetches_nothing_twice(server, tmp_path):
    server.hangs.add(BIG)
    code = (
        "from lamae_toolkit.data.download import download_physionet\n"
        f"download_physionet({server.url!r}, {str(tmp_path)!r},"
        " lambda name: name.startswith('records500/') or '/' not in name, workers=2, progress=False)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert server.hanging.wait(60)
    deadline = time.monotonic() + 60
    while len({name for name, _ in server.asked}) < 2 * RECORDS + 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    server.go_on.set()
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in error
    there = contents(tmp_path)
    assert f"{BIG}.partial" in there and BIG not in there
    first, server.hangs = Counter(name for name, _ in server.asked), set()
    server.asked.clear()
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    second = [(name, part) for name, part in server.asked if name in first]
    assert {name for name, _ in second} == {"SHA256SUMS.txt", BIG}
    assert server.asked_for(BIG) == [f"bytes={len(there[f'{BIG}.partial'])}-"]


def test_the_command_downloads_and_prepares_in_one_go_and_goes_on_after_a_break(server, tmp_path, capsys):
    words = ["prepare", "ptbxl", "--root", str(tmp_path / "ptb-xl"), "--download", "--url", server.url]
    words += ["--out", str(tmp_path / "store"), "--workers", "1"]
    server.statuses[BIG] = [404]
    assert main(words) == 2
    assert BIG in capsys.readouterr().err and not (tmp_path / "store").exists()
    assert main(words) == 0
    assert f"{RECORDS} listed = {RECORDS} kept + 0 refused" in capsys.readouterr().out
    assert len(Store.open(tmp_path / "store")) == RECORDS
