"""Build the web page: export the models, collect the examples, and let Node.js put them together as one HTML file."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import torch

import lamae_toolkit
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.evaluation.probe_file import probe_text
from lamae_toolkit.explain.terms import check_additive
from lamae_toolkit.export.onnx_parts import compare_parts, onnx_parts
from lamae_toolkit.files import atomic_write
from lamae_toolkit.locks import output_lock
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import SHIPPED, class_name, shipped_or_own
from lamae_toolkit.widgets.page.content import about, example_ecgs, example_recordings

HERE = Path(__file__).parent
NODE_MAJOR = 20
INSTALL_NODE = f"install Node.js {NODE_MAJOR} or later with npm (nodejs.org), then try again"
SOURCES = Path(lamae_toolkit.__file__).parent
EXPORTED = ("model", "explain", "evaluation", "export")
"""The packages that an exported model depends on."""
NPM_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def build_page(
    out: Path | str, checkpoint: Path | str = SHIPPED[0], twin: Path | str = SHIPPED[1], examples: str = "ptbxl"
) -> None:
    """Write the web page around a model as one HTML file that works offline.

    out: the file. checkpoint: the folder of a model with a probe on "leads" or "heart", or the name of shipped weights.
    twin: of a model with independent leads that reads the same patches. examples: "ptbxl" or "simulated", see
    `example_recordings`.

    Raises ECGError without Node.js and npm, if its packages cannot be installed, or if the models do not fit the page;
    MissingExtraError without the extra `export`. Node's packages and exported models are kept in the user's cache.
    """
    node, npm = _programs()
    lamae, independent = _model(checkpoint, LAMAE), _model(twin, IndependentMAE)
    probe = Probe.load(checkpoint)
    check_additive(probe)
    if _patches(lamae) != _patches(independent):
        raise ECGError(
            "The two models read patches of different rate, length or number; give a twin that was pretrained with the"
            " same --sampling-rate-hz, --patch-samples and --max-patches."
        )
    modules = _node_modules(npm)
    models = {"lamae": lamae, "twin": independent}
    # The name alone: the page may be handed on, and a path says where it was made.
    names = {"lamae": Path(checkpoint).name, "twin": Path(twin).name}
    recordings, simulated = example_recordings(examples)
    parts = {
        f"{key}-{part}": exported
        for key, model in models.items()
        for part, exported in _exported(model, probe if key == "lamae" else None).items()
    }
    content = {
        "about": about(models, names, probe, simulated) | {"parts": list(parts)},
        "examples": example_ecgs(recordings, simulated, lamae.config),
    }
    with atomic_write(out) as partial, tempfile.TemporaryDirectory() as folder:
        Path(folder, "content.json").write_text(json.dumps(content), encoding="utf-8")
        for name, part in parts.items():
            Path(folder, f"{name}.onnx").write_bytes(part)
        words = [node, HERE / "build.mjs", "--modules", modules, "--assets", folder, "--out", partial]
        _run(words, "The page could not be put together", "this is an error of the toolkit; report it")


def _programs() -> tuple[str, str]:
    """Node.js and npm; ECGError if they are not installed or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ECGError(f"{'npm' if node else 'Node.js'} is not installed, which builds the page; {INSTALL_NODE}.")
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    major = version.removeprefix("v").partition(".")[0]
    if not major.isdecimal() or int(major) < NODE_MAJOR:
        raise ECGError(f"This is Node.js {version or 'of an unknown version'}, which is too old; {INSTALL_NODE}.")
    return node, npm


def _model(folder: Path | str, kind: type[LAMAE]) -> LAMAE:
    found = class_name(shipped_or_own(folder))
    if found != kind.__name__:
        raise ECGError(f"{folder} holds a model of the kind {found}, but this one must be {kind.__name__}.")
    return kind.from_pretrained(folder)


def _patches(model: LAMAE) -> tuple[float, int, int]:
    return model.config.sampling_rate_hz, model.config.patch_samples, model.config.max_patches


def cache_folder() -> Path:
    """Where what takes long to make or to fetch is kept between builds."""
    home = Path.home()
    usual = {"Darwin": home / "Library" / "Caches", "Windows": home / "AppData" / "Local"}
    chosen = os.environ.get("XDG_CACHE_HOME") or usual.get(platform.system(), home / ".cache")
    return Path(chosen) / "lamae_toolkit" / "page"


def _node_modules(npm: str) -> Path:
    """The folder with the packages of package-lock.json, which npm checks against their hashes."""
    lock = (HERE / "package-lock.json").read_bytes()
    folder = cache_folder() / f"node-{sha256(lock).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with output_lock(folder, 600):
        if (folder / "complete").exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, folder / name)
        _run([npm, *NPM_CI], "npm could not install what the page is made of", "check the network", folder)
        (folder / "complete").touch()
    return folder


def _exported(model: LAMAE, probe: Probe | None) -> dict[str, bytes]:
    """The parts of the model as ONNX. Those that were exported before, by the same sources, are taken from the cache;
    either way they are compared with PyTorch."""
    digest = sha256(f"{torch.__version__} {type(model).__name__} {json.dumps(model.config.to_dict())}".encode())
    for source in sorted(path for package in EXPORTED for path in (SOURCES / package).rglob("*.py")):
        digest.update(source.read_bytes())
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    if probe is not None:
        digest.update(probe_text(vars(probe)).encode())
    folder = cache_folder() / f"model-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        parts = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.onnx"))}
        compare_parts(parts, model, probe)
        return parts
    parts = onnx_parts(model, probe)
    compare_parts(parts, model, probe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        for name, part in parts.items():
            Path(made, f"{name}.onnx").write_bytes(part)
        with suppress(OSError):  # another build has been faster
            shutil.copytree(made, partial := Path(f"{made}-complete"))
            partial.rename(folder)
    return parts


def _run(words: list, what: str, remedy: str, folder: Path | None = None) -> None:
    """Run a program; ECGError with the last line of what it prints if it fails."""
    done = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if "rror" in line), lines[-1] if lines else "no message")
        raise ECGError(f"{what} ({reason.strip()}); {remedy}.")
