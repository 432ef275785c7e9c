"""The installed packages with their licenses: a page of the documentation, and a software bill of materials.

    python tools/bill_of_materials.py                 writes docs/licenses.md
    python tools/bill_of_materials.py sbom.cdx.json   writes a CycloneDX 1.6 bill of materials, too

Everything is read from the metadata of the packages installed next to this one; nothing is fetched.
"""

import json
import re
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licenses.md"
INTRODUCTION = """# Licenses of the packages

`lamae_toolkit` itself is under the [MIT license](https://opensource.org/license/mit) and contains no code of others.
These packages are installed with it, in the tested versions, with all extras. The licenses are what the packages state.
CI writes the same list as a software bill of materials (CycloneDX). Made by `tools/bill_of_materials.py`.

| package | version | license |
|---|---|---|
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(name: str = "lamae-toolkit", extras: frozenset[str] = frozenset({"all"})) -> dict[str, set[str]]:
    """The packages that one needs, itself included, each with the names of those that it needs directly."""
    needed: dict[str, set[str]] = {}
    waiting, visited = [(normal(name), extras)], set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
        direct = needed.setdefault(name, set())
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
                waiting.append((normal(requirement.name), frozenset(requirement.extras)))
                direct |= {normal(requirement.name)} - {name}
    return needed


def license_of(package: Distribution) -> str:
    """What a package states: its SPDX expression, or its classifiers, or the first line of its license field."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [
        text.rsplit(" :: ", 1)[-1]
        for text in metadata.get_all("Classifier") or []
        if text.startswith("License :: OSI Approved :: ")
    ]
    if classifiers:
        return " or ".join(classifiers)
    field = (metadata.get("License") or "").strip()
    return field.splitlines()[0].strip() if field else "not stated"


def page(needed: dict[str, set[str]]) -> str:
    """The page of the documentation."""
    rows = []
    for name in sorted(set(needed) - {"lamae-toolkit"}):
        package = distribution(name)
        rows.append(f"| {name} | {package.version.split('+')[0]} | {license_of(package)} |\n")
    return INTRODUCTION + "".join(rows)


def bill(needed: dict[str, set[str]]) -> dict:
    """The bill of materials in the form of CycloneDX 1.6."""

    def reference(name: str) -> str:
        return f"pkg:pypi/{name}@{distribution(name).version}"

    def component(name: str) -> dict:
        package = distribution(name)
        return {
            "type": "application" if name == "lamae-toolkit" else "library",
            "bom-ref": reference(name),
            "name": name,
            "version": package.version,
            "purl": reference(name),
            "licenses": [{"license": {"name": license_of(package)}}],
        }

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component("lamae-toolkit")},
        "components": [component(name) for name in sorted(set(needed) - {"lamae-toolkit"})],
        "dependencies": [
            {"ref": reference(name), "dependsOn": sorted(map(reference, direct))} for name, direct in needed.items()
        ],
    }


def main(words: list[str]) -> None:
    needed = packages()
    PAGE.write_text(page(needed), encoding="utf-8", newline="\n")
    for word in words:
        Path(word).parent.mkdir(parents=True, exist_ok=True)
        Path(word).write_text(json.dumps(bill(needed), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
