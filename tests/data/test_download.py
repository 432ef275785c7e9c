"""Fetching the published files of PTB-XL, from a server on this machine that misbehaves on request."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from lamae_toolkit.cli.main import main
from lamae_toolkit.data.download import download_physionet
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.ptbxl_store import ptbxl_store
from published_files import Server, serving

RECORDS = 12
BIG = "records500/00000/00005_hr.dat"


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
    with serving(published) as running:
        yield running


def wanted(name: str) -> bool:
    return name.startswith("records500/") or "/" not in name


def fetch(server: Server, folder: Path, **options) -> Path:
    return download_physionet(server.url, folder, **{"wanted": wanted, "progress": False, "retries": 0, **options})


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_complete(folder: Path, server: Server) -> None:
    """Every wanted file is there byte for byte, and nothing else."""
    expected = {name: content for name, content in server.files.items() if wanted(name) and name != "SHA256SUMS.txt"}
    assert contents(folder) == expected


def test_all_wanted_files_are_fetched_over_few_connections_and_make_a_store(server, tmp_path, capsys):
    assert fetch(server, tmp_path / "ptb-xl", workers=3, progress=True) == tmp_path / "ptb-xl"
    assert_complete(tmp_path / "ptb-xl", server)
    assert len(contents(tmp_path / "ptb-xl")) == 3 + 2 * RECORDS
    assert set(Counter(server.asked).values()) == {1} and server.connections <= 4
    assert "27/27" in capsys.readouterr().err
    assert len(ptbxl_store(tmp_path / "store", tmp_path / "ptb-xl", progress=False)) == RECORDS


def test_complete_files_are_not_fetched_again_and_changed_ones_are(server, published, tmp_path):
    (tmp_path / BIG).parent.mkdir(parents=True)
    (tmp_path / BIG).write_bytes(published[BIG])  # unpacked by hand
    fetch(server, tmp_path)
    assert BIG not in server.asked
    changed = bytearray(published[BIG])
    changed[100] ^= 255  # as long as before
    (tmp_path / BIG).write_bytes(changed)
    server.asked.clear()
    fetch(server, tmp_path)
    assert server.asked == ["SHA256SUMS.txt", BIG]
    assert_complete(tmp_path, server)
    server.files[BIG] = b"corrected" + server.files[BIG]
    server.publish()
    fetch(server, tmp_path)
    assert_complete(tmp_path, server)


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (
            "breaks",
            r"00005_hr\.dat could not be fetched \(.*broke\); .*then try again: files that are complete are kept",
        ),
        ("corrupts", r"00005_hr\.dat does not match its published checksum"),
        ("busy", r"00005_hr\.dat could not be fetched \(the server is busy\)"),
    ],
)
def test_errors_are_retried_then_reported_and_the_call_resumes(server, tmp_path, trouble, sentence):
    def cause():
        server.breaks, server.corrupts, server.statuses = {}, Counter(), {}
        if trouble == "breaks":
            server.breaks[BIG] = [50_000]
        elif trouble == "corrupts":
            server.corrupts[BIG] = 1
        else:
            server.statuses[BIG] = [503]

    cause()
    with pytest.raises(ECGError, match=sentence):
        fetch(server, tmp_path, workers=1)
    kept = contents(tmp_path)
    assert "LICENSE.txt" in kept and BIG not in kept
    assert all(server.files[name] == content for name, content in kept.items())  # no partial file stays
    server.asked.clear()
    cause()
    fetch(server, tmp_path, retries=1)
    assert server.asked.count(BIG) == 2 and not set(server.asked) & kept.keys()
    assert_complete(tmp_path, server)


@pytest.mark.parametrize("status", [403, 404])
def test_refused_file_is_reported_without_retry(server, tmp_path, status):
    server.statuses[BIG] = [status]
    with pytest.raises(ECGError, match=rf"answered {status} \(.+\) to http.*/records500/00000/00005_hr\.dat; check"):
        fetch(server, tmp_path, retries=5)
    assert server.asked.count(BIG) == 1
    fetch(server, tmp_path)
    assert_complete(tmp_path, server)


def test_addresses_without_published_files_are_refused_and_leave_nothing(server, tmp_path):
    folder = tmp_path / "ptb-xl"
    cases = [
        (server.url.replace("1.0.3", "9.9.9"), "answered 404"),
        ("http://127.0.0.1:9/files/", "no connection"),
        ("http://nowhere.invalid/files/", "could not be fetched"),
        ("http://a..b/files/", "is not a web address"),
        ("ftp://physionet.org/files/ptb-xl/1.0.3/", "is not a web address"),
        ("file:///etc/", "is not a web address"),
        ("physionet.org/files", "is not a web address"),
        ("", "is not a web address"),
    ]
    for url, sentence in cases:
        with pytest.raises(ECGError, match=sentence):
            download_physionet(url, folder, wanted, progress=False, retries=0)
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
def test_names_that_point_outside_the_folder_are_refused_before_anything_is_fetched(server, tmp_path, name):
    server.files["SHA256SUMS.txt"] += f"{'0' * 64}  {name}\n".encode()
    with pytest.raises(ECGError, match="points outside the folder; nothing was fetched"):
        fetch(server, tmp_path / "deep" / "folder", wanted=lambda name: True)
    assert not list(tmp_path.iterdir()) and server.asked == ["SHA256SUMS.txt"]


def test_lists_as_sha256sum_writes_them_and_odd_names_are_read(server, tmp_path):
    content = b"odd"
    sha256, empty = (hashlib.sha256(text).hexdigest() for text in (content, b""))
    server.files |= {"a file #1?.txt": content, "b%20.txt": content, "c.txt": b""}
    server.files["SHA256SUMS.txt"] = (
        f"{sha256}  ./a file #1?.txt\r\n{sha256.upper()} *b%20.txt\n\n{empty}  c.txt\n".encode()
    )
    fetch(server, tmp_path)
    assert contents(tmp_path) == {"a file #1?.txt": content, "b%20.txt": content, "c.txt": b""}


@pytest.mark.skipif(os.name == "nt", reason="this system limits no file size")
def test_full_disk_is_one_sentence_and_leaves_nothing_half_written(server, tmp_path):
    # A limit on the size of a file stands for the full disk: the same OSError when it is written.
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "from lamae_toolkit.data.download import download_physionet\n"
        f"download_physionet({server.url!r}, {str(tmp_path)!r}, lambda name: name == {BIG!r}, progress=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (
        done.returncode and "00005_hr.dat could not be written or read (File too large); free some space" in done.stderr
    )
    assert contents(tmp_path) == {}


def test_file_in_place_of_the_folder_is_refused(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ECGError, match="could not be written"):
        fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_after_ctrl_c_the_same_call_resumes_and_fetches_nothing_twice(server, tmp_path):
    server.hangs.add(BIG)
    code = (
        "from lamae_toolkit.data.download import download_physionet\n"
        f"download_physionet({server.url!r}, {str(tmp_path)!r},"
        " lambda name: name.startswith('records500/') or '/' not in name, workers=2, progress=False)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert server.hanging.wait(60)
    deadline = time.monotonic() + 60
    while len(set(server.asked)) < 2 * RECORDS + 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(3)  # a busy computer handles the signal later than the broken connection otherwise
    server.go_on.set()
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in error
    assert BIG not in contents(tmp_path)
    server.hangs.clear()
    server.asked.clear()
    fetch(server, tmp_path)
    assert_complete(tmp_path, server)
    assert server.asked == ["SHA256SUMS.txt", BIG]


def test_command_downloads_prepares_and_resumes_after_a_refusal(server, tmp_path, capsys):
    words = ["prepare", "ptbxl", "--root", str(tmp_path / "ptb-xl"), "--download", "--url", server.url]
    words += ["--out", str(tmp_path / "store"), "--workers", "1"]
    server.statuses[BIG] = [404]
    assert main(words) == 2
    assert BIG in capsys.readouterr().err and not (tmp_path / "store").exists()
    assert main(words) == 0
    assert f"{RECORDS} listed = {RECORDS} kept + 0 refused" in capsys.readouterr().out
    assert len(Store.open(tmp_path / "store")) == RECORDS
