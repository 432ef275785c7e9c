"""Write `requirements/`: every package of `constraints.txt` with the hashes of its wheels, for `pip --require-hashes`.

    python tools/lock.py        needs the package resolver uv (`pip install uv`) and a network

uv resolves `pyproject.toml` for all platforms at once and reads the hashes from the package index; nothing is
downloaded. Of the wheels, those are kept that a platform of `PLATFORMS` can install. pip then refuses any other file:

- `requirements/pip.txt`: the pip that installs the rest;
- `requirements/torch_cpu.txt`: PyTorch's CPU build for Linux, tried first; pip finds it where it is told of PyTorch's
  own index or of a folder with the wheel;
- `requirements/lock.txt`: all packages but those of `cuda.txt`;
- `requirements/cuda.txt`: what the CUDA build of PyTorch for Linux needs, given to pip as constraints, since its CPU
  build needs none of them.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import unquote

from packaging.markers import Marker
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = {
    "Linux on x86_64": ("linux", "Linux", "x86_64", "posix"),
    "Linux on aarch64": ("linux", "Linux", "aarch64", "posix"),
    "macOS on arm64": ("darwin", "Darwin", "arm64", "posix"),
    "Windows on x86_64": ("win32", "Windows", "AMD64", "nt"),
}
"""By name: sys.platform, platform.system(), platform.machine() and os.name."""
OLDEST_PYTHON = "3.11.5"
"""Some of the tested versions need it."""
TORCH_CPU = ("torch==2.13.0+cpu", "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b")
"""PyTorch's CPU build for Linux on x86_64 and Python 3.11, which CI installs; the package index does not have it."""
TOP = "# Written by tools/lock.py: {}\n"


def resolved(source: str | Path, *options: str) -> list[dict]:
    """The packages that uv finds for these requirements: name, version, marker, wheels and source archive."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pylock.toml"
        words = ["uv", "pip", "compile", str(source), "--universal", "--python-version", OLDEST_PYTHON]
        words += ["--format", "pylock.toml", "--quiet", "--output-file", str(out), *options]
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return tomllib.loads(out.read_text(encoding="utf-8"))["packages"]


def environments() -> list[dict[str, str]]:
    """The variables of environment markers on each platform with each Python."""
    return [
        {
            "sys_platform": platform,
            "platform_system": system,
            "platform_machine": machine,
            "os_name": name,
            "python_version": python,
            "python_full_version": f"{python}.9",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
        for platform, system, machine, name in PLATFORMS.values()
        for python in PYTHONS
    ]


def tags(environment: dict[str, str]) -> set:
    """The tags of the wheels that can be installed in an environment."""
    version = tuple(int(part) for part in environment["python_version"].split("."))
    machine = environment["platform_machine"]
    match environment["sys_platform"]:
        case "linux":
            old = [f"manylinux{name}_{machine}" for name in ("1", "2010", "2014")]
            platforms = [f"manylinux_2_{number}_{machine}" for number in range(5, 36)] + old
        case "darwin":
            platforms = list(mac_platforms((15, 0), machine))
        case _:
            platforms = ["win_amd64"]
    interpreter = f"cp{version[0]}{version[1]}"
    return {*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)}


def line(package: dict) -> str:
    """A package as a line of a requirements file, with its marker and its hashes; nothing if no platform needs it."""
    name, version = package["name"], package["version"]
    marker = package.get("marker", "").replace("python_full_version >= '3.11' and ", "")
    wanted = [one for one in environments() if not marker or Marker(marker).evaluate(one)]
    if not wanted:
        return ""
    files = {unquote(wheel["url"].rsplit("/", 1)[1]): wheel["hashes"]["sha256"] for wheel in package.get("wheels", [])}
    tags_of = {file: parse_wheel_filename(file)[3] for file in files}
    hashes, without = set(), []
    for environment in wanted:
        possible = tags(environment)
        fitting = {files[file] for file, own in tags_of.items() if own & possible}
        hashes |= fitting
        if not fitting:
            without.append(f"{environment['sys_platform']} {environment['platform_machine']}")
    if without:  # it is built there
        print(f"{name} {version} has no wheel for {', '.join(sorted(set(without)))}.", file=sys.stderr)
        hashes.add(package["sdist"]["hashes"]["sha256"])
    needed = f" ; {marker}" if len(wanted) < len(environments()) else ""
    return f"{name}=={version}{needed} \\\n" + " \\\n".join(f"    --hash=sha256:{one}" for one in sorted(hashes)) + "\n"


def is_cuda(package: dict) -> bool:
    return package["name"].startswith(("nvidia-", "cuda-")) or package["name"] == "triton"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    packages = resolved("pyproject.toml", "--all-extras", "--constraint", "constraints.txt")
    with tempfile.TemporaryDirectory() as folder:
        (wish := Path(folder) / "pip.in").write_text("pip\n")
        pip = resolved(wish)
    where = f"{', '.join(PLATFORMS)}; Python {', '.join(PYTHONS)}"
    contents = {
        "pip.txt": ("the pip that installs the others.", pip),
        "lock.txt": (f"{where}.", [one for one in packages if not is_cuda(one)]),
        "cuda.txt": ("what PyTorch's CUDA build for Linux needs.", [one for one in packages if is_cuda(one)]),
    }
    for name, (about, listed) in contents.items():
        write(name, about, "".join(line(package) for package in listed))
    build, digest = TORCH_CPU
    write("torch_cpu.txt", "PyTorch's CPU build for Linux on x86_64.", f"{build} \\\n    --hash=sha256:{digest}\n")


def write(name: str, about: str, lines: str) -> None:
    (FOLDER / name).write_text(TOP.format(about) + lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
