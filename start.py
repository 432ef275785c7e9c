"""Set up lamae_toolkit with nothing but Python and pip, then run it.

    python start.py demo    the main job on a simulated cohort, ending in an HTML report
    python start.py test    the tests
    python start.py lab     the notebooks in JupyterLab
    python start.py docs    the documentation site, into the folder `site`
    python start.py page    the web page, into `dist/lamae.html`; it needs Node.js 20
    python start.py stick   all of it with its packages in a folder, for computers without a network

The first run creates `.venv` next to this file and installs the tested package versions into it
(about 2 GB, a few minutes): only files whose hashes are listed in `requirements/`, where those are
for this computer's system and Python, and else by version, from `constraints.txt`. Later runs start
in seconds, and install again only after these files have changed. Further words are handed on:
`python start.py test -k model`, `python start.py demo --out my_report`.
"""

import hashlib
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "lamae-installed"
LAB_SETTINGS = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
# Otherwise JupyterLab asks every new user whether it may fetch news; who wants them turns them on in its settings.
NO_NEWS = """{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}"""
LOCKED = ["--require-hashes", "--requirement", "requirements/lock.txt", "--constraint", "requirements/cuda.txt"]
INSTALL = [
    ["--require-hashes", "--requirement", "requirements/pip.txt"],
    ["--require-hashes", "--no-deps", "--requirement", "requirements/torch_cpu.txt"],
    LOCKED,
    ["--no-deps", "--no-build-isolation", "--editable", "."],
]
UNLOCKED = [["--constraint", "constraints.txt", "--editable", ".[all]"]]
PYTHONS = ("3.11", "3.12", "3.13")
# The toolkit itself runs on any Python 3.11, but two of the tested packages (soupsieve, pymdown-extensions) do not.
OLDEST = (3, 11, 5)
PLATFORMS = ("Linux x86_64", "Linux aarch64", "Darwin arm64", "Windows AMD64")
COMMANDS = {
    "demo": ["-m", "lamae_toolkit.cli", "demo"],
    "test": ["-m", "pytest"],
    "lab": ["-m", "jupyterlab", str(ROOT / "notebooks" / "00_start_here.ipynb")],
    "page": ["-m", "lamae_toolkit.cli", "page", "--out", str(ROOT / "dist" / "lamae.html")],
    "docs": [str(ROOT / "tools" / "docs_site.py")],
    "stick": [str(ROOT / "tools" / "stick.py")],
}


def wanted():
    """What has to be installed, as one string that changes whenever it does."""
    digest = hashlib.sha256(sys.version.encode() + str(ROOT).encode())
    for name in ("constraints.txt", "pyproject.toml", "requirements/lock.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def locked():
    """Whether `requirements/` has the hashes for this Python and system; prints a sentence if not."""
    python, system = ".".join(map(str, sys.version_info[:2])), f"{platform.system()} {platform.machine()}"
    if python in PYTHONS and system in PLATFORMS and platform.python_implementation() == "CPython":
        return True
    print(f"There are no hashes of packages for Python {python} on {system}: they are installed by version only.")
    return False


def wheels(folder):
    """Where `start.py stick` puts the packages for this Python and system."""
    python = ".".join(map(str, sys.version_info[:2]))
    return folder / "wheels" / f"{platform.system()}-{platform.machine()}-python{python}"


def package_source():
    """From where pip installs: from the network, or in a folder that `start.py stick` made from `wheels/`."""
    if not (ROOT / "wheels").is_dir():
        return []
    folder = wheels(ROOT)
    if not folder.is_dir():
        others = ", ".join(sorted(path.name for path in (ROOT / "wheels").iterdir()))
        sys.exit(
            f"The folder wheels has packages for {others or 'no computer'}, but this one is {folder.name}. Run"
            " `python start.py stick FOLDER` on a computer like this one that has a network, or delete the folder"
            " wheels to install from the network."
        )
    return ["--no-index", "--find-links", str(folder)]


def set_up():
    """Create `.venv` and install the package with its tested versions, unless that is done."""
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted():
        return
    source = package_source()
    print("Setting up .venv with the tested package versions; this takes a few minutes, once.", flush=True)
    # An environment of another Python or a half-finished one is made anew, not repaired.
    venv.EnvBuilder(with_pip=True, clear=True).create(VENV)
    # pip would compile 28,000 modules on one core; compileall does it on all of them.
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    for words in INSTALL if locked() else UNLOCKED:
        words = [*words, *source]
        # PyTorch's CPU build is smaller by gigabytes, but most package indexes do not have it: that is no error.
        optional = "requirements/torch_cpu.txt" in words
        stderr = subprocess.DEVNULL if optional else None
        # Setuptools warns, at length, of the toolkit's folders of data.
        quiet = dict(os.environ, PYTHONWARNINGS="ignore")
        done = subprocess.run(pip + words, cwd=ROOT, env=quiet, stderr=stderr)
        if done.returncode != 0 and not optional:
            sys.exit("The packages could not be installed (pip's message is above): check the network, then try again.")
    # A module that does not compile (a template, say) is none that is imported: no reason to stop.
    subprocess.run([str(PYTHON), "-W", "ignore", "-m", "compileall", "-qq", "-j", "0", str(VENV)])
    LAB_SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    LAB_SETTINGS.write_text(NO_NEWS)
    STAMP.write_text(wanted())


def main(words):
    """Set up, then hand over to the command that was asked for; returns its exit code."""
    if sys.version_info < OLDEST:
        oldest, this = ".".join(map(str, OLDEST)), sys.version.split()[0]
        sys.exit("The tested packages need Python " + oldest + " or later, and this is Python " + this + ".")
    if not words or words[0] not in COMMANDS:
        print(__doc__)
        return 0 if words in (["-h"], ["--help"]) else 2
    set_up()
    environment = dict(os.environ, PATH=str(BIN) + os.pathsep + os.environ.get("PATH", ""))
    # The user stays where they are (their paths stay true); only the tests belong to the repository.
    folder = ROOT if words[0] == "test" else None
    try:
        return subprocess.run([str(PYTHON), *COMMANDS[words[0]], *words[1:]], cwd=folder, env=environment).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
