"""The app without a server: the files it reads, the input it refuses, and messages after an error."""

import os
import socket
from pathlib import Path

import nbformat
import pytest

from lamae_toolkit.cli.main import main
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.widgets.app.folder import ECGFolder, read_uploaded
from lamae_toolkit.widgets.app.page import ECGApp
from lamae_toolkit.widgets.app.server import NOTEBOOK, write_app_notebook
from lamae_toolkit.widgets.base.browser_files import BrowserFiles
from lamae_toolkit.widgets.lead_explorer import widget as lead_explorer
from small_models import ONE_BLOCK, probe_of
from written_ecgs import ecg_counts, muse_xml, sierra_xml, table, wfdb_header, wfdb_signals

COUNTS = ecg_counts()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two ECGs, one that is damaged, a note, and ways out: a link, a header that names a file elsewhere, a link to a
    signal file."""
    secret, inside = tmp_path / "secret", tmp_path / "ecgs"
    for made in (secret, inside / "ward"):
        made.mkdir(parents=True)
    (secret / "other.csv").write_bytes(table(COUNTS))
    (secret / "rec.dat").write_bytes(wfdb_signals(COUNTS))
    (inside / "one.xml").write_bytes(muse_xml(COUNTS))
    (inside / "ward" / "two.csv").write_bytes(table(COUNTS))
    (inside / "broken.xml").write_bytes(muse_xml(COUNTS)[:4000])
    (inside / "note.txt").write_text("Patients of ward 3.")
    (inside / "way_out.csv").symlink_to(secret / "other.csv")
    (inside / "linked.hea").write_bytes(wfdb_header(COUNTS, "linked"))
    (inside / "linked.dat").symlink_to(secret / "rec.dat")
    (inside / "named.hea").write_bytes(wfdb_header(COUNTS, "named").replace(b"named.dat", b"../secret/rec.dat"))
    return inside


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    random_encoder(ONE_BLOCK).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(lead_explorer, "PAUSE_S", 60.0)


def test_files_outside_the_folder_are_not_read(folder):
    ecgs = ECGFolder(folder)
    assert list(ecgs) == ["broken.xml", "one.xml", "ward/two.csv"] and ecgs.left_out == 3
    assert ecgs["one.xml"].leads == ecgs["ward/two.csv"].leads == LEADS and len(ecgs) == 3
    with pytest.raises(ECGError, match=r"broken\.xml"):
        ecgs["broken.xml"]
    for name in ("way_out.csv", "../secret/other.csv", str(folder.parent / "secret" / "other.csv")):
        with pytest.raises(KeyError):
            ecgs[name]
    # What was a file when the folder was listed may be a link when it is read.
    (folder / "ward" / "two.csv").unlink()
    (folder / "ward" / "two.csv").symlink_to(folder.parent / "secret" / "other.csv")
    ecgs["one.xml"]
    with pytest.raises(ECGError, match="points outside the folder ecgs"):
        ecgs["ward/two.csv"]
    with pytest.raises(ECGError, match="no folder"):
        ECGFolder(folder / "absent")


def test_uploads_are_read_and_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = {"rec.hea": wfdb_header(COUNTS), "rec.dat": wfdb_signals(COUNTS), "C:\\ecg\\one.xml": muse_xml(COUNTS)}
    found = read_uploaded(files)
    assert list(found) == ["one.xml", "rec.hea"] and found["rec.hea"].leads == LEADS
    with pytest.raises(ECGError, match=r"rec\.dat is missing; put it next to"):
        read_uploaded({"rec.hea": wfdb_header(COUNTS)})
    with pytest.raises(ECGError, match=r"note\.txt"):
        read_uploaded({"note.txt": b"no ECG"})
    with pytest.raises(ECGError, match="at most 20 MB are read"):
        read_uploaded({"large.csv": bytes(21_000_000)})
    with pytest.raises(ECGError, match="files outside of its folder"):
        read_uploaded({"rec.hea": wfdb_header(COUNTS).replace(b"rec.dat", b"/etc/passwd")})
    for name in ("..", "/", "", "a\0b.csv", "x" * 300):
        with pytest.raises(ECGError, match="a name that no file can have"):
            read_uploaded({name: table(COUNTS)})
    read_uploaded({"../../up.csv": table(COUNTS)})
    assert list(tmp_path.iterdir()) == [] and not (tmp_path.parent / "up.csv").exists()


def test_app_shows_first_readable_ecg_then_uploads(folder, checkpoint):
    probe_of().save(checkpoint)
    app = ECGApp(folder, checkpoint)
    assert app.explorer.view.name == "one.xml" and app.explorer.view.recorded is not None
    assert "without a calibration" in app.explorer._notes.value
    app.explorer.controls.ecg.value = "broken.xml"
    assert "broken.xml" in app.explorer._message.value and app.explorer.view.name == "one.xml"
    app._uploaded({"note.txt": b"no ECG"})
    assert "note.txt" in app._message.value and "alert" in app._message.value
    for name in ("mine.xml", "mine.xml (2)"):
        app._uploaded({"mine.xml": sierra_xml(COUNTS)})
        assert app.explorer.view.name == app.explorer.controls.ecg.value == name and app._message.value == ""

    given = []
    app.files.send = lambda content, buffers: given.append((content["name"], buffers[0]))
    app.explorer._save_beside_the_notebook("svg")
    assert given[0][0] == "lead-explorer.svg" and b"<svg" in given[0][1] and "downloads" in app.explorer._message.value


def test_empty_folder_and_checkpoint_without_probe(tmp_path, checkpoint):
    (tmp_path / "empty").mkdir()
    app = ECGApp(tmp_path / "empty", checkpoint)
    assert app.explorer is None and "holds no ECG. Upload an ECG." in app._message.value
    app._uploaded({"two.csv": table(COUNTS)})
    assert app.explorer.view.name == "two.csv" and app.explorer.view.recorded is None
    assert "no probe" in app.explorer._notes.value and app._message.value == ""


def test_browser_files_receives_names_with_contents():
    got, files = [], BrowserFiles(lambda content: got.append(content), 20)
    files._receive(files, {"names": ["a.dat", "b.dat"]}, [memoryview(b"12"), memoryview(b"3")])
    assert got == [{"a.dat": b"12", "b.dat": b"3"}]
    for content, buffers in (({"names": ["a"]}, []), ({"names": [1]}, [b"1"]), ({}, [b"1"]), ("here", [])):
        files._receive(files, content, buffers)  # not from our page
    assert len(got) == 1


def test_app_notebook_runs(tmp_path, folder, checkpoint):
    write_app_notebook(tmp_path / NOTEBOOK, folder, checkpoint)
    (cell,) = nbformat.read(tmp_path / NOTEBOOK, as_version=4).cells
    *imports, call = cell.source.splitlines()
    scope = {}
    exec("\n".join(imports), scope)
    assert eval(call, scope).explorer.view.name == "one.xml" and len(cell.source.splitlines()) == 3


def test_invalid_folder_checkpoint_and_port_are_refused(tmp_path, folder, checkpoint, capsys):
    def refused(*words) -> str:
        assert main(["app", *map(str, words)]) == 2
        return capsys.readouterr().err

    assert "There is no folder" in refused(tmp_path / "absent")
    assert "There is no checkpoint in" in refused(folder, "--checkpoint", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"Port {port} is in use or not allowed" in refused(folder, "--checkpoint", checkpoint, "--port", port)
    assert "Port 70000 is in use or not allowed" in refused(folder, "--checkpoint", checkpoint, "--port", 70000)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("lamae_app_")]
