"""Figures show patients, so no button of theirs may send them anywhere: settings for every page that has one."""

import sys

PRIVATE = {"showSendToCloud": False, "plotlyServerURL": "", "displaylogo": False}
"""Settings of a figure on a page: without them a button of plotly sends it, patients and all, to a server of theirs."""

if "IPython" in sys.modules:  # a notebook, which shows also figures that no widget holds; elsewhere it costs seconds
    from plotly.io import renderers

    for _name in renderers:
        if hasattr(renderers[_name], "config"):
            renderers[_name].config = {**(renderers[_name].config or {}), **PRIVATE}
