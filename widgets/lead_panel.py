"""The figures of one ECG in the lead explorer: the ECG, lead weights on the body, chances, latent attention, credit."""

import html
from dataclasses import dataclass

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
from lamae_toolkit.widgets.shell import WIDTH_PX, live, redraw

from lamae_toolkit.ecg import LEADS, Recording
from lamae_toolkit.explain import Explanation
from lamae_toolkit.explorer_plots import (
    chances_figure,
    colour_strips,
    show_chances,
    strips_figure,
    weighted_strips_figure,
)
from lamae_toolkit.geometry_plots import geometry_figure, show_values
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.lead_credit import LeadCredit
from lamae_toolkit.lead_view import Changes
from lamae_toolkit.plots import lead_attention_figure
from lamae_toolkit.shapley_plots import credit_figure

HALF_PX = WIDTH_PX // 2
ATTENTION_PX = 330


@dataclass(frozen=True, eq=False)
class View:
    """What is shown of one ECG.

    whole_s: how long it was recorded. recording: what the model reads of it, with all its leads, after the changes.
    explanation: of the leads that are on. recorded: the chances of
    the ECG as it was recorded, and intervals theirs, or None. credit: of the leads that are on, once it is computed.
    """

    name: str
    whole_s: float
    recording: Recording
    changes: Changes
    explanation: Explanation
    recorded: pd.Series | None
    intervals: pd.DataFrame | None
    credit: LeadCredit | None
    code: str | None
    layer: int | None
    head: int | None
    measure: str

    @property
    def weights(self) -> pd.Series:
        """The lead weights, mean over heads."""
        return self.explanation.weight_table().weight

    @property
    def off(self) -> list[str]:
        """The leads that were recorded but are turned off."""
        return [lead for lead in self.recording.leads if lead not in self.explanation.leads]

    @property
    def on_the_body(self) -> tuple[pd.Series, str]:
        """What the discs on the body stand for: credit where it is wanted and known, else weights."""
        if self.measure == "credit" and self.credit is not None:
            return self.credit.table(self.code).credit, "credit"
        return self.weights, "weight"

    def figures(self) -> list[go.Figure]:
        """All that is shown, drawn anew; the ECG first."""
        found = [weighted_strips_figure(self.recording, self.weights, self.name), geometry_figure(*self.on_the_body)]
        if self.recorded is not None:
            found.append(chances_figure(self.explanation.chances, self.recorded, self.intervals, self.code))
        if len(self.explanation.lead_attention):
            found.append(lead_attention_figure(self.explanation, layer=self.layer, head=self.head))
        if self.credit is not None:
            found.append(credit_figure(self.credit, self.code, self.explanation))
        return found

    def lines(self) -> list[str]:
        """The lines of Python that draw it, from `model`, `probe`, `recordings` and, for intervals, `calibration`."""
        leads = "" if not self.off else f".select({list(self.explanation.leads)})"
        whole = ", probe" if self.recorded is not None else ""
        found = [f"recording = recordings[{self.name!r}]"]
        if self.whole_s > self.recording.duration_s:
            found.append(f"recording = crop(recording, 0.0, {self.recording.duration_s:g})")
        if whole:
            found.append("recorded = explain_ecg(model, recording, probe).chances")
        found += self.changes.lines(self.recording)
        found += [
            f"explanation = explain_ecg(model, recording{leads}{whole})",
            "weights = explanation.weight_table().weight",
            f"figures = [weighted_strips_figure(recording, weights, {self.name!r})]",
        ]
        if self.credit is not None:
            found.append(f"credit = explain_credit(model, probe, recording{leads})")
        on_the_body = self.on_the_body[1]
        of = f"credit.table({self.code!r}).credit, 'credit'" if on_the_body == "credit" else "weights"
        found.append(f"figures.append(geometry_figure({of}))")
        if whole:
            intervals = "None" if self.intervals is None else "calibration.intervals(recorded)"
            chances = f"explanation.chances, recorded, {intervals}, {self.code!r}"
            found.append(f"figures.append(chances_figure({chances}))")
        if len(self.explanation.lead_attention):
            which = f"layer={self.layer}, head={self.head}"
            found.append(f"figures.append(lead_attention_figure(explanation, {which}))")
        if self.credit is not None:
            found.append(f"figures.append(credit_figure(credit, {self.code!r}, explanation))")
        return found

    def in_words(self) -> str:
        """What is shown, for those who do not see it."""
        absent = [lead for lead in LEADS if lead not in self.recording.leads]
        said = [f"{self.name}, {self.recording.duration_s:g} s: {len(self.explanation.leads)} of"
                f" {len(self.recording.leads)} recorded leads."]  # fmt: skip
        said += [f"Not recorded: {', '.join(absent)}."] if absent else []
        said += [f"Without {', '.join(self.off)}."] if self.off else []
        said += [self.changes.in_words()] if self.changes.in_words() else []
        best = self.weights.sort_values(ascending=False, kind="stable").head(3)
        said.append("Largest lead weights: " + ", ".join(f"{lead} {value:.1%}" for lead, value in best.items()) + ".")
        if self.recorded is not None:
            now, before = self.explanation.chances[self.code], self.recorded[self.code]
            said.append(f"{name_of(self.code)}: chance {now:.1%}, as recorded {before:.1%}.")
            if self.intervals is not None and self.code in self.intervals.index:
                found = self.intervals.loc[self.code]
                said.append(
                    f"Of {found.patients:.0f} unseen patients with a chance like the recorded one {found.observed:.0%}"
                    f" had it (95 % interval {found.low:.0%} to {found.high:.0%})."
                )
        if self.credit is not None:
            gains = self.credit.table(self.code).credit
            most = gains.reindex(gains.abs().sort_values(ascending=False).index).head(3)
            said.append("Most credit: " + ", ".join(f"{lead} {value:+.2f}" for lead, value in most.items()) + ".")
        return " ".join(said)


class LeadPanel(widgets.VBox):
    """The figures of one view, side by side or, when two panels are, one below the other."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._heading, self.credit_state = widgets.HTML(), widgets.HTML()
        self._ecg = live(strips_figure(view.recording), view.name)
        self._body = live(geometry_figure(*view.on_the_body), "lead_geometry", HALF_PX)
        self._chances = self._attention = self._credit = None
        if view.recorded is not None:
            first = chances_figure(view.explanation.chances, view.recorded, view.intervals, view.code)
            self._chances = live(first, "chances", HALF_PX)
        if len(view.explanation.lead_attention):
            heat = lead_attention_figure(view.explanation)
            heat.update_layout(height=ATTENTION_PX, margin={"l": 10, "r": 10, "t": 40, "b": 10})
            self._attention = live(heat, "latent_attention", HALF_PX)
        self._credit_box = widgets.VBox([self.credit_state])
        super().__init__()
        self.narrow = False
        self.show(view)
        self.arrange(narrow=False)

    def arrange(self, narrow: bool) -> None:
        """One column of half the width, or two columns and the ECG across both."""
        self.narrow, width = narrow, HALF_PX if narrow else WIDTH_PX
        for figure in (self._ecg, self._credit):
            if figure is not None:
                figure.layout.width = width
        right = [part for part in (self._chances, self._attention) if part is not None]
        if narrow:
            self.children = [self._heading, self._ecg, self._body, *right, self._credit_box]
        else:
            middle = widgets.HBox([self._body, widgets.VBox(right)])
            self.children = [self._heading, self._ecg, middle, self._credit_box]

    def show(self, view: View) -> None:
        """Show another view; only what differs is sent to the browser."""
        if view.recording is not self.view.recording:
            redraw(self._ecg, strips_figure(view.recording))
        self.view, explanation = view, view.explanation
        self._heading.value = f"<b>{html.escape(view.name)}</b>"
        with self._ecg.batch_update():
            colour_strips(self._ecg, view.weights)
        with self._body.batch_update():
            show_values(self._body, *view.on_the_body)
        if self._chances is not None:
            with self._chances.batch_update():
                show_chances(self._chances, explanation.chances, view.recorded, view.intervals, view.code)
        if self._attention is not None:
            with self._attention.batch_update():
                table, heat = explanation.attention_table(view.layer, view.head), self._attention.data[0]
                heat.z, heat.x, heat.y = table.to_numpy(), list(table.columns), list(table.index)
        if view.credit is None:
            self._credit_box.children = [self.credit_state]

    def show_credit(self) -> None:
        """Draw the credit of the view, if it is known; apart from `show`, since it takes as long as all the rest."""
        view = self.view
        if view.credit is None:
            return
        figure = credit_figure(view.credit, view.code, view.explanation)
        if self._credit is None:
            self._credit = live(figure, "credit", HALF_PX if self.narrow else WIDTH_PX)
        else:
            redraw(self._credit, figure)
        self.credit_state.value = ""
        if len(self._credit_box.children) == 1:
            self._credit_box.children = [self.credit_state, self._credit]
