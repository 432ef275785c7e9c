"""pyproject.toml, constraints.txt, requirements/, environment.yml, start.py and CITATION.cff agree with each other."""

import ast
import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.version import Version

from lamae_toolkit._lazy import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def start():
    return script("start.py")


def lock_tool():
    return script("tools/lock.py")


def script(name: str):
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def requirements(name: str) -> dict[str, tuple[str, Marker | None, list[str]]]:
    """Version, marker and hashes by package, of a file in requirements/."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace(" \\\n    --hash=", " --hash=")
    packages = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            wanted, *hashes = line.split(" --hash=")
            requirement = Requirement(wanted)
            (pin,) = requirement.specifier
            assert pin.operator == "==" and hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes)
            packages[normal(requirement.name)] = pin.version, requirement.marker, hashes
    return packages


def test_every_tested_version_has_hashes():
    pinned = {normal(name): version for name, version in constraints().items()}
    lock, cuda = requirements("lock.txt"), requirements("cuda.txt")
    assert {name: version for name, (version, _, _) in lock.items() if name in pinned} == pinned
    # What is locked besides is for other systems, for the CUDA build of PyTorch, or builds the toolkit itself.
    for name in set(lock) - set(pinned) - {"setuptools"}:
        marker = lock[name][1]
        assert not marker.evaluate({"sys_platform": "linux", "os_name": "posix"}), f"{name} has no tested version"
    assert lock["torch"][0] == requirements("torch_cpu.txt")["torch"][0].removesuffix("+cpu")
    assert len(lock["numpy"][2]) >= 12  # four systems with three Pythons
    assert set(requirements("pip.txt")) == {"pip"} and not set(cuda) & set(lock)


def test_start_installs_by_hash_what_the_lock_is_for(monkeypatch, capsys):
    module = start()
    pythons, systems = (lock_tool().PYTHONS, lock_tool().PLATFORMS.values())
    assert pythons == module.PYTHONS and tuple(f"{one[1]} {one[2]}" for one in systems) == module.PLATFORMS
    for words in module.INSTALL:
        assert "--require-hashes" in words or words[:2] == ["--no-deps", "--no-build-isolation"]
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module.sys, "version_info", (3, 12, 1))
    assert module.locked() and capsys.readouterr().out == ""
    monkeypatch.setattr(module.platform, "machine", lambda: "riscv64")
    assert not module.locked() and "no hashes of packages for Python 3.12 on Linux riscv64" in capsys.readouterr().out


def test_start_refuses_a_python_that_a_tested_package_refuses(monkeypatch):
    module, needed = start(), []
    for name in requirements("lock.txt"):
        with contextlib.suppress(PackageNotFoundError):  # of another system or Python
            needed += re.findall(r">=\s*(3[.\d]+)", metadata(name).get("Requires-Python") or "")
    assert max(map(Version, needed)) == Version(".".join(map(str, module.OLDEST)))
    monkeypatch.setattr(module.sys, "version_info", (3, 11, 4, "final", 0))
    with pytest.raises(SystemExit, match=r"^The tested packages need Python 3\.11\.5 or later, and this is Python"):
        module.main(["demo"])


def test_conda_installs_what_start_installs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"] and pip == "pip"
    assert python.removeprefix("python=") in PROJECT["requires-python"]
    assert " ".join(packages["pip"]) == " ".join(start().LOCKED)
    assert "pip install " + " ".join(start().INSTALL[-1]) in (ROOT / "environment.yml").read_text(encoding="utf-8")


def test_every_dependency_has_a_tested_version():
    pinned = {normal(name): version for name, version in constraints().items()}
    extras = PROJECT["optional-dependencies"].values()
    for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        if requirement.name == "lamae-toolkit":  # the extra "all"
            continue
        version = pinned[normal(requirement.name)]
        assert requirement.specifier.contains(version), f"{text} does not admit the tested {version}"


def names(texts: list[str]) -> set[str]:
    return {normal(Requirement(text).name) for text in texts}


def test_start_installs_every_extra():
    extras = PROJECT["optional-dependencies"]
    assert Requirement(extras["all"][0]).extras == set(extras) - {"all"}
    assert start().UNLOCKED[0][-1] == ".[all]"


def test_every_import_is_a_core_dependency_or_names_its_extra():
    """An error about a missing package names the extra that installs it: EXTRAS agrees with pyproject.toml."""
    imported = set()
    for folder in ("lamae_toolkit", "widgets"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    imported.update(alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.split(".")[0])
    third_party = imported - set(sys.stdlib_module_names) - {"lamae_toolkit"}
    distributions = packages_distributions()
    core, extras = names(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    for package in third_party | set(EXTRAS):
        found = {normal(name) for name in distributions[package]}
        if package in EXTRAS:
            assert found & names(extras[EXTRAS[package]]), f"the extra {EXTRAS[package]} lacks {package}"
            assert not found & core, f"{package} is a core dependency and needs no extra"
        elif package != "threadpoolctl":  # scikit-learn brings it
            assert found & core, f"{package} is neither a core dependency nor in EXTRAS"


ON_CI = pytest.mark.skipif(
    not os.environ.get("LAMAE_NOTHING_SKIPPED"),
    reason="the pins are those of our CI; other systems bring packages of their own",
)


@ON_CI
def test_the_tested_versions_are_the_installed_ones():
    pinned = {normal(name): version for name, version in constraints().items()}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed = {normal(name): version for name, version in (line.split("==") for line in listed.split())}
    tools = {"pip", "setuptools", "wheel", "lamae-toolkit"}
    different = {
        name: version
        for name, version in installed.items()
        if name not in tools and version.split("+")[0] != pinned.get(name)
    }
    assert different == {}


@ON_CI
def test_nothing_is_pinned_that_is_not_used():
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed = {normal(line.split("==")[0]) for line in listed.split()}
    assert {normal(name) for name in constraints()} <= installed


def test_start_help_lists_its_commands():
    shown = subprocess.run([sys.executable, str(ROOT / "start.py"), "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    for command in ("demo", "test", "lab", "docs"):
        assert f"python start.py {command}" in shown.stdout
    assert subprocess.run([sys.executable, str(ROOT / "start.py"), "dmeo"], capture_output=True).returncode == 2


def test_start_installs_again_only_when_something_changed(tmp_path, monkeypatch):
    module = start()
    calls = []
    monkeypatch.setattr(module, "VENV", tmp_path / "venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / "venv" / "stamp")
    monkeypatch.setattr(module, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(module.venv.EnvBuilder, "create", lambda self, path: Path(path).mkdir(exist_ok=True))
    monkeypatch.setattr(module, "locked", lambda: True)
    monkeypatch.setattr(
        module.subprocess, "run", lambda *words, **_: calls.append(words) or subprocess.CompletedProcess(words, 0)
    )
    module.set_up()
    module.set_up()
    # pip without its compiler, first for itself; then the compiler of all cores
    assert ["install" in words[0] for words in calls] == [True] * len(module.INSTALL) + [False]
    assert all("--no-compile" in words[0] for words in calls[:-1]) and "compileall" in calls[-1][0]
    assert "requirements/pip.txt" in calls[0][0]
    monkeypatch.setattr(module, "wanted", lambda: "another state of the files")
    module.set_up()
    assert len(calls) == 2 * (len(module.INSTALL) + 1)


def test_start_stops_if_a_package_cannot_be_installed(tmp_path, monkeypatch):
    module = start()
    monkeypatch.setattr(module, "VENV", tmp_path / "venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / "venv" / "stamp")
    monkeypatch.setattr(module.venv.EnvBuilder, "create", lambda self, path: Path(path).mkdir(exist_ok=True))
    monkeypatch.setattr(module, "locked", lambda: True)
    failing = "requirements/torch_cpu.txt"

    def run(words, **_):
        return subprocess.CompletedProcess(words, int(failing in words))

    monkeypatch.setattr(module.subprocess, "run", run)
    module.set_up()  # the CPU build of PyTorch is not offered: that is no error
    assert module.STAMP.read_text() == module.wanted()
    module.STAMP.unlink()
    failing = "requirements/lock.txt"
    with pytest.raises(SystemExit, match="could not be installed"):
        module.set_up()
    assert not module.STAMP.exists()


def test_the_page_of_licenses_lists_the_tested_versions():
    page = (ROOT / "docs" / "licenses.md").read_text(encoding="utf-8")
    rows = {tuple(cell.strip() for cell in row.split("|")[1:4]) for row in page.splitlines() if row.startswith("| ")}
    listed = {normal(name): (version, license) for name, version, license in rows if name != "package"}
    assert set(listed) - {"setuptools"} == {normal(name) for name in constraints()}
    for name, version in constraints().items():
        assert listed[normal(name)][0] == version and listed[normal(name)][1] not in ("", "not stated")


def test_bill_of_materials_names_each_package_once_with_what_it_needs():
    tool = script("tools/bill_of_materials.py")
    bill = tool.bill(tool.packages())
    references = [component["bom-ref"] for component in bill["components"]]
    assert bill["bomFormat"] == "CycloneDX" and len(set(references)) == len(references) > 150
    depends = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    (torch,) = (one for one in references if one.startswith("pkg:pypi/torch@"))
    assert torch in depends[bill["metadata"]["component"]["bom-ref"]]
    assert {one for direct in depends.values() for one in direct} <= set(references) | {*depends}
    assert all(component["licenses"][0]["license"]["name"] for component in bill["components"])


def test_citation_has_the_version_of_the_project():
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_nothing_in_the_repository_names_a_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in tracked.stdout.split():
        text = (ROOT / name).read_bytes()
        assert b"/wo" + b"rk/" not in text and b"/ro" + b"ot/" not in text, name
