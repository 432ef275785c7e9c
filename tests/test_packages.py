"""Data flows one way: each package imports only from itself and from packages before it."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    # The ground floor: what everything may need, and what needs nothing of ours but each other.
    {"_lazy", "errors", "files", "icd10", "parallel"},
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
    # Figures of all that was computed so far; they compute nothing themselves.
    {"plots"},
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
