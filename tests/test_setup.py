"""pyproject.toml, constraints.txt, environment.yml, start.py and CITATION.cff agree with each other."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from lamae_toolkit._lazy import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def start():
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_conda_installs_what_start_installs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"] and pip == "pip"
    assert python.removeprefix("python=") in PROJECT["requires-python"]
    assert " ".join(packages["pip"]) == " ".join(start().INSTALL)


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
    assert start().INSTALL[-1] == ".[all]"


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
    monkeypatch.setattr(
        module.subprocess, "run", lambda *words, **_: calls.append(words) or subprocess.CompletedProcess(words, 0)
    )
    module.set_up()
    module.set_up()
    # pip without its compiler, then the compiler of all cores
    assert ["install" in words[0] for words in calls] == [True, False]
    assert "--no-compile" in calls[0][0] and "compileall" in calls[1][0]
    monkeypatch.setattr(module, "wanted", lambda: "another state of the files")
    module.set_up()
    assert len(calls) == 4


def test_citation_has_the_version_of_the_project():
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_nothing_in_the_repository_names_a_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in tracked.stdout.split():
        text = (ROOT / name).read_bytes()
        assert b"/wo" + b"rk/" not in text and b"/ro" + b"ot/" not in text, name
