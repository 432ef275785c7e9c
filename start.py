"""Set up lamae_toolkit with nothing but Python and pip, then run it.

    python start.py demo    the main job on a simulated cohort, ending in an HTML report
    python start.py test    the tests
    python start.py lab     the notebooks in JupyterLab
    python start.py docs    the documentation site, into the folder `site`

The first run creates `.venv` beside this file and installs the tested package versions of
`constraints.txt` into it (about 2 GB, a few minutes). Later runs start in seconds, and install
again only after `pyproject.toml` or `constraints.txt` has changed. Further words are handed on:
`python start.py test -k model`, `python start.py demo --out my_report`.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "lamae-installed"
INSTALL = ["--constraint", "constraints.txt", "--editable", ".[all]"]
COMMANDS = {
    "demo": ["-m", "lamae_toolkit.cli", "demo"],
    "test": ["-m", "pytest"],
    "lab": ["-m", "jupyterlab", "--notebook-dir", str(ROOT / "notebooks")],
    "docs": [str(ROOT / "tools" / "docs_site.py")],
}


def wanted():
    """What has to be installed, as one string that changes whenever it does."""
    digest = hashlib.sha256(sys.version.encode() + str(ROOT).encode())
    for name in ("constraints.txt", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def set_up():
    """Create `.venv` and install the package with its tested versions, unless that is done."""
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted():
        return
    print("Setting up .venv with the tested package versions; this takes a few minutes, once.", flush=True)
    # An environment of another Python or a half-finished one is made anew, not repaired.
    venv.EnvBuilder(with_pip=True, clear=True).create(VENV)
    # pip would compile 28,000 modules on one core; compileall does it on all of them.
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    if subprocess.run(pip + INSTALL, cwd=ROOT).returncode != 0:
        sys.exit("The packages could not be installed (pip's message is above): check the network, then run it again.")
    # A module that does not compile (a template, say) is none that is imported: no reason to stop.
    subprocess.run([str(PYTHON), "-W", "ignore", "-m", "compileall", "-qq", "-j", "0", str(VENV)])
    STAMP.write_text(wanted())


def main(words):
    """Set up, then hand over to the command that was asked for; returns its exit code."""
    if sys.version_info < (3, 11):
        sys.exit("lamae_toolkit needs Python 3.11 or later; this is Python " + sys.version.split()[0] + ".")
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
