"""Everything that a class needs, in one folder: `python start.py stick FOLDER`, on a USB stick for instance.

The folder holds the toolkit, the web page (`lamae.html`), and, in `wheels/`, the packages for this computer's kind of
system and Python, their hashes checked. `python start.py lab` there installs from `wheels/` and needs no network. Run
the same command on a computer of another kind to add its packages. Outputs of notebooks are left out: they may show
an ECG.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import start  # noqa: E402

FOLDERS = ("requirements", "lamae_toolkit", "widgets", "notebooks", "tests", "tools", "benchmarks", "docs")
FILES = ("start.py", "constraints.txt", "pyproject.toml", "environment.yml", "mkdocs.yml", "README.md", "CHANGELOG.md")
FILES += ("CONTRIBUTING.md", "CITATION.cff", "LICENSE")
LEFT_OUT = ("__pycache__", "*.pyc", ".*", "node_modules", "*.egg-info")
PAGE = "lamae.html"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="start.py stick", description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="where to put it; what is there is brought up to date")
    out = parser.parse_args(words).folder.resolve()
    if out == ROOT or ROOT in out.parents:
        sys.exit(f"{out} lies within the toolkit, which would be copied into itself; choose a folder elsewhere.")
    if not start.locked():
        sys.exit("For these the packages cannot be collected; use Python 3.11 to 3.13 on one of the named systems.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        add_page(out)
        add_wheels(start.wheels(out))
        add_toolkit(out)
    except OSError as error:
        sys.exit(f"{error.filename or out} could not be written ({error.strerror}); check the space in {out}.")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e9
    print(f"{out} is complete ({size:.1f} GB). Copy it to a computer, and run there: python start.py lab")
    return 0


def add_page(out: Path) -> None:
    """The web page, as it was built, or built now."""
    page = ROOT / "dist" / PAGE
    if not page.is_file():
        words = [sys.executable, "-m", "lamae_toolkit.cli", "page", "--out", str(page)]
        if subprocess.run(words, cwd=ROOT).returncode:
            sys.exit(f"Without the web page nothing is collected: build it, or put a release's {PAGE} into dist.")
    shutil.copyfile(page, out / PAGE)


def add_wheels(out: Path) -> None:
    """The packages with the versions and hashes of `requirements/`; PyTorch in its CPU build where there is one."""
    out.mkdir(parents=True, exist_ok=True)
    requirements = ROOT / "requirements"
    download(out, requirements / "pip.txt")
    lock = locked_packages(cpu=download(out, requirements / "torch_cpu.txt", optional=True))
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "lock.txt"
        chosen.write_text(lock, "utf-8")
        download(out, chosen)


def locked_packages(cpu: bool) -> str:
    """What else is needed: not PyTorch if its CPU build is there, or else PyTorch and what its CUDA build needs."""
    lock, cuda = ((ROOT / "requirements" / name).read_text("utf-8") for name in ("lock.txt", "cuda.txt"))
    return re.sub(r"^torch==.*\n(?:    .*\n)*", "", lock, flags=re.MULTILINE) if cpu else lock + cuda


def download(out: Path, requirements: Path, optional: bool = False) -> bool:
    """Fetch what is listed, nothing else, unless it is there; whether it could be had."""
    words = ["download", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--prefer-binary"]
    words += ["--find-links", str(out), "--dest", str(out), "--requirement", str(requirements)]
    stderr = subprocess.DEVNULL if optional else None
    done = subprocess.run([sys.executable, "-m", "pip", *words], stderr=stderr).returncode == 0
    if not done and not optional:
        sys.exit("The packages could not be fetched (pip's message is above): check the network, then try again.")
    return done


def add_toolkit(out: Path) -> None:
    """The toolkit itself, notebooks without outputs."""
    for name in FILES:
        shutil.copyfile(ROOT / name, out / name)
    for name in FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(ROOT / name, out / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for path in sorted((out / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        notebook["metadata"].pop("widgets", None)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
