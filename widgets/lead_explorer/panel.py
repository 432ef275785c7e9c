"""The figures of one ECG in the lead explorer: the ECG, lead weights on the body, chances, latent attention, credit."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.attention import Explanation
from lamae_toolkit.explain.lead_shapley import LeadCredit
from lamae_toolkit.explain.session import Changes
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.plots.ecg import lead_attention_figure
from lamae_toolkit.plots.lead_geometry import geometry_figure, show_values
from lamae_toolkit.plots.shapley import credit_figure
from lamae_toolkit.plots.strips import (
    chances_figure,
    colour_strips,
    show_chances,
    strips_figure,
    weighted_strips_figure,
)
from lamae_toolkit.widgets.base.plots import Plots, plain

WIDTH_PX, HALF_PX = 940, 470
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

    @cached_property
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
        said = [
            f"{self.name}, {self.recording.duration_s:g} s: {len(self.explanation.leads)} of"
            f" {len(self.recording.leads)} recorded leads."
        ]
        said += [f"Not recorded: {', '.join(absent)}."] if absent else []
        said += [f"Without {', '.join(self.off)}."] if self.off else []
        said += [self.changes.in_words()] if self.changes.in_words() else []
        best = self.weights.sort_values(ascending=False, kind="stable").head(3)
        said.append("Largest lead weights: " + ", ".join(f"{lead} {value:.1%}" for lead, value in best.items()) + ".")
        if self.layer or self.head:
            which = [f"{name} {number}" for name, number in (("layer", self.layer), ("head", self.head)) if number]
            said.append(f"Latent attention of {', '.join(which)} alone.")
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


class LeadPanel:
    """The figures of one view in a group of `Plots`: the live one, or the one that is pinned beside it."""

    def __init__(self, plots: Plots, group: str, view: View, narrow: bool = False) -> None:
        self.view, self.narrow, self._plots, self._group = view, narrow, plots, group
        self._ecg = self._body = self._chances = self._attention = None
        self.show(view)
        self.show_credit()

    def show(self, view: View) -> None:
        """Show another view, all but its credit: known figures are changed, which is quicker than to draw them anew."""
        explanation = view.explanation
        if self._ecg is None or view.recording is not self.view.recording:
            self._ecg = plain(strips_figure(view.recording))
        self.view = view
        self._put("ecg", colour_strips(self._ecg, view.weights), f"ECG {view.name}, leads coloured by weight")
        values, measure = view.on_the_body
        if self._body is None:
            self._body = plain(geometry_figure(values, measure))
        self._put("body", show_values(self._body, values, measure), f"Lead {measure}: {_listed(values)}", HALF_PX)
        if view.recorded is not None:
            chances = (explanation.chances, view.recorded, view.intervals, view.code)
            if self._chances is None:
                self._chances = plain(chances_figure(*chances))
            self._put(
                "chances",
                show_chances(self._chances, *chances),
                f"Chances, in per cent: {_listed(100 * explanation.chances)}",
                HALF_PX,
            )
        if len(explanation.lead_attention):
            table = explanation.attention_table(view.layer, view.head)
            if self._attention is None:
                shown = lead_attention_figure(explanation)
                shown.update_layout(height=ATTENTION_PX, margin={"l": 10, "r": 10, "t": 40, "b": 10})
                self._attention = plain(shown)
            heat = self._attention["data"][0]
            heat["z"], heat["x"], heat["y"] = table.to_numpy().tolist(), list(table.columns), list(table.index)
            taken = table.idxmax(axis=1)
            words = ", ".join(f"{lead} from {other}" for lead, other in taken.items())
            self._put("attention", self._attention, f"Latent attention; each lead took most {words}", HALF_PX)
        self._plots.show(self._group, "credit", None, words="Shapley values follow", stale=True, **self._about)
        self._plots.send_all()

    def show_credit(self) -> None:
        """Draw the credit of the view, if it is known; apart from `show`, since it takes as long as all the rest."""
        view = self.view
        if view.credit is not None:
            figure = plain(credit_figure(view.credit, view.code, view.explanation))
            self._put("credit", figure, f"Shapley values: {_listed(view.credit.table(view.code).credit)}")
            self._plots.send_all()

    def arrange(self, narrow: bool) -> None:
        """One column of half the width, or two columns and the ECG across both."""
        self.narrow = narrow
        self.show(self.view)
        self.show_credit()

    def take_away(self) -> None:
        """Take all its figures off the page."""
        self._plots.take_away(self._group)
        self._plots.send_all()

    @property
    def _about(self) -> dict:
        return {"heading": self.view.name, "narrow": self.narrow}

    def _put(self, name: str, figure: dict, words: str, width_px: int = WIDTH_PX) -> None:
        figure["layout"]["width"] = HALF_PX if self.narrow else width_px
        self._plots.show(self._group, name, figure, words=words, **self._about)


def _listed(values: pd.Series) -> str:
    """The values in words, the largest first."""
    order = values.reindex(values.abs().sort_values(ascending=False, kind="stable").index)
    return ", ".join(f"{name} {value:.3g}" for name, value in order.items())
