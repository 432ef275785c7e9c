"""Shared fixtures: the real ECGs next to the repository, if present, and a small simulated cohort."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from coverage import Coverage
from filelock import FileLock
from threadpoolctl import threadpool_limits

from lab import Lab, jupyterlab
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Store
from lamae_toolkit.experiments.ptbxl_store import ptbxl_store

# The tests run in as many processes as there are cores, so each of them, and what it starts, computes on one.
torch.set_num_threads(1)
ONE_THREAD = threadpool_limits(1)
os.environ["OMP_NUM_THREADS"] = "1"

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


SLOW_TIMEOUT_S = 900
"""How long a notebook, a browser or a whole demo may take on a busy computer before it counts as hanging."""


def pytest_configure(config: pytest.Config) -> None:
    """On CI, where the tested versions are installed, a warning is an error; elsewhere a newer package may warn."""
    if os.environ.get("CI"):
        config.addinivalue_line("filterwarnings", "error")
        # torch's compiler uses a part of torch that torch deprecates, whichever test imports it first.
        config.addinivalue_line("filterwarnings", r"ignore:`torch\.jit\..*` is deprecated:DeprecationWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests have a longer time limit, and files with slow tests run first, so that no process ends long after
    the others."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    for item in slow:
        item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))
    slow_files = {item.path for item in slow}
    items.sort(key=lambda item: item.path not in slow_files)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Coverage is that of the fast tests: on Python 3.11, measuring it takes a third more time, and the slow ones
    mostly run in processes that are not measured anyway."""
    measured = Coverage.current() if item.get_closest_marker("slow") else None
    if measured is not None:
        measured.stop()
    try:
        return (yield)
    finally:
        if measured is not None:
            measured.start()


def skip_or_fail(reason: str) -> None:
    """Skip a test that lacks what it needs; on our CI, where it must be there, fail."""
    if os.environ.get("LAMAE_NOTHING_SKIPPED"):
        pytest.fail(f"CI must not skip this: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real ECGs (PTB-XL, LUDB)."""
    if not REAL_DATA.is_dir():
        skip_or_fail(f"the real ECGs are not at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], Store]], Store]:
    """Makes a store once for all processes of the tests: the first that asks makes it, the others wait and open it."""
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def store(name: str, make: Callable[[Path], Store]) -> Store:
        folder = common / name / "store"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.parent / "lock"):
            return Store.open(folder) if folder.exists() else make(folder)

    return store


@pytest.fixture(scope="session")
def ptbxl(real_data, made_once) -> Store:
    """All real PTB-XL records that are here, original and z-scored."""
    more = {
        "zscored": real_data / "ptbxl_zscored_100hz_folds1-8.npz",
        "metadata": real_data / "ptbxl_database_all_21837.csv",
    }
    return made_once("ptbxl", lambda folder: ptbxl_store(folder, real_data / "ptb-xl", **more, progress=False))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        skip_or_fail("no Chromium is installed")
    return path


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """A JupyterLab, for all tests of one process."""
    with jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def cohort(made_once) -> Store:
    """120 simulated ECGs."""
    return made_once("cohort", lambda folder: simulate_store(folder, 120, seed=1, workers=1, progress=False))


@pytest.fixture(scope="session")
def short_cohort(cohort) -> Store:
    """The first 2.5 s of these ECGs, which take a third of the time where it does not matter what a model learns."""
    return Store(cohort.folder, cohort.meta | {"samples": 250}, cohort.folds, cohort.signals[:, :, :250])


@pytest.fixture(scope="session")
def web_page(tmp_path_factory) -> Path:
    """The web page of the shipped weights with simulated ECGs, built once for all processes of the tests."""
    return built_page(tmp_path_factory, "simulated")


@pytest.fixture(scope="session")
def web_page_of_real_ecgs(tmp_path_factory, real_data) -> Path:
    """The same page with real ECGs."""
    return built_page(tmp_path_factory, "ptbxl", LAMAE_PTBXL=str(real_data / "ptb-xl"))


def built_page(tmp_path_factory, examples: str, **environment: str) -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        skip_or_fail("Node.js and npm are not installed")
    own = tmp_path_factory.getbasetemp()
    file = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "page" / f"{examples}.html"
    file.parent.mkdir(exist_ok=True)
    with FileLock(file.parent / "lock"):
        if not file.exists():
            # In a process of its own: torch's exporter does not take functions whose types are checked.
            words = [sys.executable, "-m", "lamae_toolkit.cli", "page", "--examples", examples, "--out", str(file)]
            done = subprocess.run(words, capture_output=True, text=True, env=os.environ | environment)
            if "npm could not install" in done.stderr:  # npm's registry does not answer, which is no fault of ours
                pytest.skip(done.stderr)
            assert done.returncode == 0, done.stderr
    return file
