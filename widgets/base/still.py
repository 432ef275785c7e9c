"""A widget in a notebook, with a still picture for pages without live widgets: on GitHub, or without a kernel.

The picture is an output of its own. In one output with the widget GitHub would show it, but JupyterLab would not: of a
notebook that is opened again it shows "model not found" in place of all that the output holds.

It is made only where the environment asks for it (LAMAE_PICTURES=1): Chrome is started for each picture, just when the
reader's own browser loads the widget.
"""

import os
from collections.abc import Callable

import ipywidgets as widgets
from IPython.display import DisplayHandle, display

from lamae_toolkit.errors import ECGError

PICTURES = "LAMAE_PICTURES"
VIEW = "application/vnd.jupyter.widget-view+json"
STYLE = """
/* The picture that stands above a widget is not needed while the widget lives. */
.jp-OutputArea-child:has(+ .jp-OutputArea-child .lamae-displayed) { display: none; }
/* For a widget whose Python has stopped, words instead of a broken link on each of its parts. */
:is(.lamae-displayed, .lamae-shell, .lamae-app) .jupyter-widgets-disconnected::before,
:is(.lamae-displayed, .lamae-shell, .lamae-app).jupyter-widgets-disconnected::before { content: none !important; }
"""


def still(draw: Callable[[], bytes], words: str) -> dict:
    """The picture of a figure, if Chrome is installed, with a description for screen readers."""
    if not os.environ.get(PICTURES):
        return {"text/plain": words}
    try:
        return {"image/png": draw(), "text/plain": words}
    except ECGError:  # without a Chrome; the widget itself needs none
        return {"text/plain": words}


def display_with_still(widget: widgets.DOMWidget, name: str, draw: Callable[[], bytes], words: str) -> DisplayHandle:
    """Show a widget, and before it the picture; returns the handle to update the picture."""
    widget.add_class("lamae-displayed")
    shown = display({"text/plain": words}, raw=True, display_id=True)
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display({VIEW: view, "text/plain": name}, raw=True)
    shown.update(still(draw, words), raw=True)  # last, since the widget need not wait for Chrome
    return shown
