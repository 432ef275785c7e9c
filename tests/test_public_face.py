"""`import lamae_toolkit as lt`: its names are lazy and documented, and each example runs."""

import dataclasses
import inspect
import re
import subprocess
import sys
import textwrap
import warnings
from importlib.metadata import version
from importlib.resources import files
from types import ModuleType

import pytest

import lamae_toolkit as lt

PACKAGES = ("data", "ecg", "evaluation", "explain", "export", "model", "plots", "simulate", "training", "widgets")
NAMES = sorted(set(lt.__all__) - set(PACKAGES) - {"LEADS"})


def example_of(value: object) -> str | None:
    """The code below `Example:` in a docstring."""
    match = re.search(r"^Example:\n((?:    .*\n|\n)+)", inspect.getdoc(value) + "\n", flags=re.MULTILINE)
    return textwrap.dedent(match[1]) if match else None


def test_import_loads_neither_torch_nor_numpy():
    code = (
        "import sys; import lamae_toolkit as lt; dir(lt); lt.ecg; lt.plots\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'scipy', 'plotly'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_first_widget_of_a_notebook_waits_for_no_slow_package():
    """Plotly's renderers, which import nbformat, are configured with the first plotly figure: no button sends it."""
    code = (
        "import sys, numpy as np, lamae_toolkit as lt\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "slow = ('torch', 'scipy.signal', 'nbformat', 'plotly.io._renderers')\n"
        "ecg = lt.Recording(np.random.default_rng(0).normal(0, 0.1, (12, 5000)).astype('float32'), 500.0, lt.LEADS)\n"
        "lt.paper_figure(ecg)\n"
        "print([name for name in slow if name in sys.modules])\n"  # outside of a notebook
        "InteractiveShell.instance()\n"
        "lt.ECGPaper(ecg)\n"
        "print([name for name in slow if name in sys.modules])\n"
        "lt.paper_figure(ecg)\n"
        "from plotly.io import renderers\n"
        "config = renderers['notebook_connected'].config\n"
        "print(config['showSendToCloud'], repr(config['plotlyServerURL']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n[]\nFalse ''\n", done.stdout + done.stderr


def test_public_names():
    assert 44 <= len(NAMES) + 1 <= 51
    assert set(PACKAGES) < set(lt.__all__) and dir(lt) == lt.__all__
    assert all(isinstance(getattr(lt, name), ModuleType) for name in PACKAGES)
    assert lt.LEADS == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    assert lt.LAMAE is lt.model.LAMAE


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_package_can_be_imported(package):
    module = getattr(lt, package)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_version_and_type_information_are_installed():
    assert lt.__version__ == version("lamae-toolkit")
    assert files("lamae_toolkit").joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_a_sentence_and_every_parameter(name):
    value = getattr(lt, name)
    text = inspect.getdoc(value) or ""
    first = text.split("\n\n")[0].replace("\n", " ")
    assert re.search(r"[.:]$|\. ", first) and len(first.split()) > 3, f"{name}: {first}"
    documented = {f.name for f in dataclasses.fields(value) if f.metadata.get("help")} if _is_config(value) else set()
    parameters = [] if isinstance(value, type) and issubclass(value, Warning) else inspect.signature(value).parameters
    missing = [one for one in parameters if one not in documented and not re.search(rf"\b{one}\b", text)]
    assert not missing, f"the docstring of {name} does not mention {missing}"


def _is_config(value: object) -> bool:
    return isinstance(value, type) and dataclasses.is_dataclass(value)


@pytest.mark.parametrize("name", NAMES)
def test_example_runs(name, tmp_path, monkeypatch):
    example = example_of(getattr(lt, name))
    assert example, f"{name} has no Example in its docstring"
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():  # an example may set a filter
        exec(compile(example, f"example of {name}", "exec"), {})


@pytest.mark.parametrize(
    ("what", "name", "message"),
    [
        (lt, "read_ekg", "lamae_toolkit has no read_ekg; did you mean read_ecg?"),
        (lt.ecg, "resampled", "lamae_toolkit.ecg has no resampled; did you mean resample?"),
        (lt.simulate, "zzz", "lamae_toolkit.simulate has no zzz; it has "),
    ],
)
def test_unknown_name_is_answered_in_one_sentence(what, name, message):
    with pytest.raises(AttributeError) as caught:
        getattr(what, name)
    assert str(caught.value).startswith(message) and str(caught.value).count(". ") == 0


def test_unknown_example_and_checkpoint_of_a_later_version(tmp_path):
    with pytest.raises(lt.ECGError, match=r"^[^.]*right bundle branch blok.*\.$"):
        lt.example_ecg("right bundle branch blok")
    lt.random_encoder(lt.LAMAEConfig(width=24, heads=2, pooling_heads=2, encoder_depth=1)).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(re.sub(r'"format": \d+', '"format": 99', config.read_text()))
    with pytest.raises(lt.ECGError, match=r"format 99.*\.$"):
        lt.LAMAE.from_pretrained(tmp_path)
