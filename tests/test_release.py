"""The source archive and the wheel: complete, and working in an empty environment away from the source folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2]))"
TESTS = ("model/test_masking.py", "ecg/test_recording.py", "evaluation/test_thresholds.py")
"""Fast tests of three packages; they need no fixture and no data."""

pytestmark = pytest.mark.slow


def run(*words: str | Path, folder: Path, **environment: str) -> str:
    """Run a program in a folder; gives what it prints."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COV_CORE_SOURCE")}
    done = subprocess.run(list(map(str, words)), cwd=folder, env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The source archive of what git tracks, and the wheel that is built from that archive."""
    folder = tmp_path_factory.mktemp("release")
    clone, unpacked = folder / "clone", folder / "unpacked"
    for name in tracked():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clone / name)
    archive = folder / run(sys.executable, "-c", BUILD, "sdist", folder, folder=clone).split()[-1]
    with tarfile.open(archive) as files:
        files.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return archive, folder / run(sys.executable, "-c", BUILD, "wheel", folder, folder=source).split()[-1]


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


@pytest.fixture(scope="module")
def empty(built, tmp_path_factory) -> Path:
    """The programs of an environment with the wheel alone; what it depends on is that of this environment.

    A folder on the path brings packages but not the editable toolkit, whose own .pth file is not read there.
    """
    folder = tmp_path_factory.mktemp("empty")
    venv.EnvBuilder(symlinks=True).create(folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(programs / "python", "-c", ask, folder=folder).strip())
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(others), encoding="utf-8")
    words = ["-m", "pip", "--python", programs / "python", "install", "--quiet", "--no-deps", "--no-index", built[1]]
    run(sys.executable, *words, folder=folder)
    return programs


def test_wheel_holds_all_that_is_tracked_and_nothing_else(built):
    files = {name.replace("widgets/", "lamae_toolkit/widgets/", 1) if name.startswith("widgets/") else name
             for name in tracked()}  # fmt: skip
    expected = {name for name in files if name.startswith("lamae_toolkit/")}
    with zipfile.ZipFile(built[1]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA"))
    assert held == expected
    for line in ("License-Expression: MIT", "Requires-Python: >=3.11", "Name: lamae-toolkit"):
        assert line in metadata.splitlines()


def test_wheel_works_away_from_the_source(empty, tmp_path):
    where = "import lamae_toolkit as lt, lamae_toolkit.widgets as w; print(lt.__file__, w.__file__)"
    for path in run(empty / "python", "-c", where, folder=tmp_path).split():
        assert Path(path).is_relative_to(empty.parent)
    version = run(empty / "lamae", "--version", folder=tmp_path)
    assert version.split()[-1] in {part for part in (ROOT / "CITATION.cff").read_text("utf-8").split()}
    run(empty / "lamae", "demo", "--out", "demo", "--ecgs", "260", "--steps", "3", folder=tmp_path, OMP_NUM_THREADS="1")
    assert (tmp_path / "demo" / "report.html").stat().st_size > 1e6


def test_tests_pass_with_the_wheel(empty, tmp_path):
    for name in TESTS:
        shutil.copy(ROOT / "tests" / name, tmp_path)
    shutil.copy(ROOT / "tests" / "small_models.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # or pytest would look for settings in the folders above
    printed = run(empty / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path, folder=tmp_path)
    assert int(printed.split(" passed")[0].split()[-1]) >= 12 and "failed" not in printed
