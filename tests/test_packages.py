"""Data flows one way: each package imports only from itself and from packages before it."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    # The ground floor: what everything may need, and what needs nothing of ours but each other.
    {"_lazy", "checksums", "errors", "files", "icd10", "locks", "palette", "parallel"},
    # One recording, from a file to named leads in mV.
    {"ecg"},
    # Simulated recordings are recordings; a cohort may be made of them.
    {"simulate"},
    # A cohort on disk, and the batches that are drawn from it.
    {"data"},
    # The model reads batches and knows nothing of files, devices or processes.
    {"model"},
    # A frozen model on a cohort: embeddings, probes, scores.
    {"evaluation"},
    # Both use models and their scores, and neither needs the other: explanations never train.
    {"explain", "training"},
    # Figures of all that was computed so far, which compute nothing themselves, and models for other programs.
    {"plots", "export"},
    # Studies use everything; nobody needs them. Widgets are shells over figures and explanations.
    {"experiments", "widgets"},
    # The command line offers all of it.
    {"cli"},
)
WIDGETS_THAT_TRAIN = {"training_monitor"}
"""The one widget that shows training while it runs; no other reaches into training."""


def sources() -> Iterator[tuple[str, Path]]:
    """Each source file with the package, or the module of the ground floor, that it belongs to."""
    for path in (ROOT / "lamae_toolkit").rglob("*.py"):
        inside = path.relative_to(ROOT / "lamae_toolkit")
        if inside != Path("__init__.py"):
            yield inside.parts[0].removesuffix(".py"), path
    for path in (ROOT / "widgets").rglob("*.py"):
        yield "widgets", path


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively; say from which package"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    # The version belongs to the package itself.
    return {name.split(".")[1] for name in names if name.startswith("lamae_toolkit.")} - {"__version__"}


def test_every_package_has_its_place_in_the_order():
    assert {package for package, _ in sources()} == set().union(*ORDER)


def test_packages_import_only_from_packages_before_them():
    for package, path in sources():
        position = next(position for position, names in enumerate(ORDER) if package in names)
        # The modules of the ground floor may use each other; packages that stand side by side may not.
        allowed = set().union(*ORDER[:position], ORDER[0] if position == 0 else {package})
        assert imported_packages(path) <= allowed, f"{path} imports {imported_packages(path) - allowed}"


def test_explanations_figures_and_widgets_never_reach_into_training():
    for package, path in sources():
        if package in {"explain", "plots"} or (package == "widgets" and path.parent.name not in WIDGETS_THAT_TRAIN):
            assert "training" not in imported_packages(path), path


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = [folder for name in ("lamae_toolkit", "widgets") for folder in (ROOT / name).rglob("__init__.py")]
    names = [".".join(path.parent.relative_to(ROOT).parts) for path in folders]
    assert sorted(listed) == sorted(
        name if name.startswith("lamae_toolkit") else f"lamae_toolkit.{name}" for name in names
    )


LAZY = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "lamae_toolkit").rglob("__init__.py")
    if "lazy(" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("package", LAZY)
def test_no_lazy_name_is_also_the_name_of_a_submodule(package):
    """Importing a submodule sets its name in the package: the module would take the place of the lazy object."""
    names, folder = set(import_module(package).__all__), ROOT.joinpath(*package.split("."))
    submodules = {path.stem for path in folder.glob("*.py")}
    if package != "lamae_toolkit":  # there, packages are public names themselves
        submodules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    assert names and not names & submodules


def test_wheel_contains_every_tracked_file_of_the_packages(tmp_path):
    """Tables, results, weights, JavaScript and style sheets as well as Python; built offline from a copy."""
    listed = subprocess.run(
        ["git", "ls-files", "lamae_toolkit", "widgets", "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    tracked = [name for name in listed if (ROOT / name).is_file()]  # not what was just deleted
    for name in tracked:
        copy = tmp_path / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path]
    built = subprocess.run([*command, tmp_path / "source"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    with ZipFile(next(tmp_path.glob("lamae_toolkit-*.whl"))) as wheel:
        content = {name: wheel.read(name) for name in wheel.namelist()}
    expected = {
        f"lamae_toolkit/{name}" if name.startswith("widgets/") else name: (ROOT / name).read_bytes()
        for name in tracked
        if name.startswith(("lamae_toolkit/", "widgets/"))
    }
    assert {".py", ".csv", ".json", ".safetensors", ".js", ".css", ".html", ".j2"} <= {
        Path(name).suffix for name in expected
    }
    assert {name: content.get(name) == expected[name] for name in expected} == dict.fromkeys(expected, True)
