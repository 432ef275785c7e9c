"""Explore which leads the model combines: choose an ECG, a layer and a head, and take leads away."""

from collections.abc import Mapping, Sequence
from html import escape

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.ecg import LEADS, ECGError, Recording
from lamae_toolkit.explain import Explanation, explain_ecg
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model import LAMAE
from lamae_toolkit.plots import lead_attention_figure, lead_bar_figure
from lamae_toolkit.probe import Probe

SHOWN_CODES = 8
WIDTH_PX = 480


def lead_attention_explorer(
    model: LAMAE, recordings: Mapping[str, Recording] | Sequence[Recording], probe: Probe | None = None
) -> widgets.VBox:
    """Lead weights, latent attention and chances of codes of one ECG, computed anew whenever a lead is taken away.

    recordings: ECGs by name, or a list. Without a probe no chances are shown. What cannot be computed
    (every lead taken away, an ECG too short) is said in one sentence above the figures, which stay as they were.
    """
    if not isinstance(recordings, Mapping):
        recordings = {f"ECG {number}": recording for number, recording in enumerate(recordings, 1)}
    if not recordings:
        raise ECGError("There is no ECG to explore; give at least one recording.")

    ecg = widgets.Dropdown(options=list(recordings), description="ECG")
    layer = _choice("Layer", model.config.latent_depth)
    head = _choice("Head", model.config.heads)
    leads = {lead: widgets.ToggleButton(value=True, description=lead, layout={"width": "58px"}) for lead in LEADS}
    message, chances = widgets.HTML(), widgets.HTML()
    whole = {name: None for name in recordings}  # each ECG's chances with all its leads, computed when first shown

    def explain() -> Explanation:
        recording = recordings[ecg.value]
        if probe is not None and whole[ecg.value] is None:
            whole[ecg.value] = explain_ecg(model, recording, probe).chances
        for lead, button in leads.items():
            button.disabled = lead not in recording.leads
        kept = [lead for lead in recording.leads if leads[lead].value]
        if not kept:
            raise ECGError("Every lead is taken away: turn at least one back on.")
        return explain_ecg(model, recording.select(kept), probe)

    first = explain()
    weights = go.FigureWidget(lead_bar_figure(first))
    attention = go.FigureWidget(lead_attention_figure(first))
    for figure in (weights, attention):
        figure.update_layout(width=WIDTH_PX)

    def update(*_) -> None:
        try:
            explanation = explain()
        except ECGError as error:
            message.value = f"<b role='alert'>{escape(str(error))}</b>"
            return
        absent = [lead for lead in LEADS if lead not in explanation.leads]
        message.value = f"Without {', '.join(absent)}." if absent else "All twelve leads."
        _redraw(weights, lead_bar_figure(explanation))
        _redraw(attention, lead_attention_figure(explanation, layer=layer.value or None, head=head.value or None))
        if explanation.chances is not None:
            chances.value = _chance_table(explanation.chances, whole[ecg.value])

    for control in (ecg, layer, head, *leads.values()):
        control.observe(update, names="value")
    update()
    side_by_side = widgets.Layout(flex_flow="row wrap")
    right = widgets.VBox([weights, chances], layout={"width": f"{WIDTH_PX + 20}px"})
    return widgets.VBox(
        [
            widgets.HBox([ecg, layer, head], layout=side_by_side),
            widgets.HBox([widgets.Label("Leads in use"), *leads.values()], layout=side_by_side),
            message,
            widgets.HBox([attention, right], layout=side_by_side),
        ]
    ).add_class("lead-attention-explorer")


def _choice(name: str, number: int) -> widgets.Dropdown:
    options = [("all (mean)", 0), *((str(one), one) for one in range(1, number + 1))]
    return widgets.Dropdown(options=options, description=name, layout={"width": "200px"})


def _redraw(shown: go.FigureWidget, figure: go.Figure) -> None:
    """Give a figure on the page the data of a new one of the same kind."""
    with shown.batch_update():
        for old, new in zip(shown.data, figure.data, strict=True):
            old.update(new.to_plotly_json(), overwrite=True)
        shown.layout.shapes = figure.layout.shapes


def _chance_table(now: pd.Series, whole: pd.Series) -> str:
    """The codes with the highest chance, with the chosen leads and with all leads of this ECG."""
    best = now.sort_values(ascending=False).head(SHOWN_CODES).index
    table = pd.DataFrame({"these leads": now[best], "all leads": whole[best]}).rename(index=name_of)
    return table.to_html(float_format="{:.1%}".format, border=0)
