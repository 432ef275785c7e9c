"""The figures of one ECG in the lead explorer: weights, probabilities, latent attention and Shapley values."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.attention import AttentionSummary
from lamae_toolkit.explain.counterfactuals import Changes
from lamae_toolkit.explain.lead_shapley import LeadAttribution
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.plots.attention import lead_attention_figure
from lamae_toolkit.plots.lead_geometry import geometry_figure, show_values
from lamae_toolkit.plots.shapley import attribution_figure
from lamae_toolkit.plots.strips import (
    color_strips,
    probabilities_figure,
    show_probabilities,
    strips_figure,
    weighted_strips_figure,
)
from lamae_toolkit.widgets.base.plots import Plots, plain

WIDTH_PX, HALF_PX = 940, 470
ATTENTION_PX = 330


@dataclass(frozen=True, eq=False)
class View:
    """What is shown of one ECG.

    recorded_s: how long it was recorded. recording: what the model reads of it, with all its leads, after the changes.
    summary: of the leads that are on. recorded: the probabilities of the ECG as it was recorded, and their intervals,
    or None. attribution: of the leads that are on, once it is computed.
    """

    name: str
    recorded_s: float
    recording: Recording
    changes: Changes
    summary: AttentionSummary
    recorded: pd.Series | None
    intervals: pd.DataFrame | None
    attribution: LeadAttribution | None
    code: str | None
    layer: int | None
    head: int | None
    measure: str

    @cached_property
    def weights(self) -> pd.Series:
        """The pooling weights, mean over heads."""
        return self.summary.weight_table().weight

    @property
    def off(self) -> list[str]:
        """The leads that were recorded but are turned off."""
        return [lead for lead in self.recording.leads if lead not in self.summary.leads]

    @property
    def on_the_body(self) -> tuple[pd.Series, str]:
        """What the discs on the body show: Shapley values if they are chosen and computed, else pooling weights."""
        if self.measure == "attribution" and self.attribution is not None:
            return self.attribution.table(self.code).attribution, "attribution"
        return self.weights, "weight"

    def figures(self) -> list[go.Figure]:
        """All figures of the view; the ECG first."""
        shown = [weighted_strips_figure(self.recording, self.weights, self.name), geometry_figure(*self.on_the_body)]
        if self.recorded is not None:
            shown.append(probabilities_figure(self.summary.probabilities, self.recorded, self.intervals, self.code))
        if len(self.summary.lead_attention):
            shown.append(lead_attention_figure(self.summary, layer=self.layer, head=self.head))
        if self.attribution is not None:
            shown.append(attribution_figure(self.attribution, self.code, self.summary))
        return shown

    def lines(self) -> list[str]:
        """The lines of Python that draw it, from `model`, `probe`, `recordings` and, for intervals, `calibration`."""
        leads = "" if not self.off else f".select({list(self.summary.leads)})"
        probe = ", probe" if self.recorded is not None else ""
        lines = [f"recording = recordings[{self.name!r}]"]
        if self.recorded_s > self.recording.duration_s:
            lines.append(f"recording = lt.ecg.crop(recording, 0.0, {self.recording.duration_s:g})")
        if probe:
            lines.append("recorded = lt.attention_summary(model, recording, probe).probabilities")
        lines += self.changes.lines(self.recording)
        lines += [
            f"summary = lt.attention_summary(model, recording{leads}{probe})",
            "weights = summary.weight_table().weight",
            f"figures = [lt.plots.weighted_strips_figure(recording, weights, {self.name!r})]",
        ]
        if self.attribution is not None:
            lines.append(f"attribution = lt.attribute_leads(model, probe, recording{leads})")
        on_the_body = self.on_the_body[1]
        of = (
            f"attribution.table({self.code!r}).attribution, 'attribution'"
            if on_the_body == "attribution"
            else "weights"
        )
        lines.append(f"figures.append(lt.plots.geometry_figure({of}))")
        if probe:
            intervals = "None" if self.intervals is None else "calibration.intervals(recorded)"
            probabilities = f"summary.probabilities, recorded, {intervals}, {self.code!r}"
            lines.append(f"figures.append(lt.plots.probabilities_figure({probabilities}))")
        if len(self.summary.lead_attention):
            which = f"layer={self.layer}, head={self.head}"
            lines.append(f"figures.append(lt.plots.lead_attention_figure(summary, {which}))")
        if self.attribution is not None:
            lines.append(f"figures.append(lt.attribution_figure(attribution, {self.code!r}, summary))")
        return lines

    def in_words(self) -> str:
        """A description of the view, for screen readers."""
        absent = [lead for lead in LEADS if lead not in self.recording.leads]
        parts = [
            f"{self.name}, {self.recording.duration_s:g} s: {len(self.summary.leads)} of"
            f" {len(self.recording.leads)} recorded leads."
        ]
        parts += [f"Not recorded: {', '.join(absent)}."] if absent else []
        parts += [f"Without {', '.join(self.off)}."] if self.off else []
        parts += [self.changes.in_words()] if self.changes.in_words() else []
        best = self.weights.sort_values(ascending=False, kind="stable").head(3)
        parts.append(
            "Largest pooling weights: " + ", ".join(f"{lead} {value:.1%}" for lead, value in best.items()) + "."
        )
        if self.layer or self.head:
            which = [f"{name} {number}" for name, number in (("layer", self.layer), ("head", self.head)) if number]
            parts.append(f"Latent attention of {', '.join(which)} alone.")
        if self.recorded is not None:
            now, before = self.summary.probabilities[self.code], self.recorded[self.code]
            parts.append(f"{name_of(self.code)}: probability {now:.1%}, as recorded {before:.1%}.")
            if self.intervals is not None and self.code in self.intervals.index:
                found = self.intervals.loc[self.code]
                parts.append(
                    f"Of {found.patients:.0f} unseen patients with a similar probability, {found.observed:.0%}"
                    f" had it (95 % interval {found.low:.0%} to {found.high:.0%})."
                )
        if self.attribution is not None:
            gains = self.attribution.table(self.code).attribution
            most = gains.reindex(gains.abs().sort_values(ascending=False).index).head(3)
            parts.append(
                "Largest Shapley values: " + ", ".join(f"{lead} {value:+.2f}" for lead, value in most.items()) + "."
            )
        return " ".join(parts)


class LeadPanel:
    """The figures of one view in a group of `Plots`: the live one, or the pinned one next to it."""

    def __init__(self, plots: Plots, group: str, view: View, narrow: bool = False) -> None:
        self.view, self.narrow, self._plots, self._group = view, narrow, plots, group
        self._ecg = self._body = self._probabilities = self._attention = None
        self.show(view)
        self.show_attribution()

    def show(self, view: View) -> None:
        """Show another view, all but its Shapley values; changing figures on the page is faster than new ones."""
        summary = view.summary
        if self._ecg is None or view.recording is not self.view.recording:
            self._ecg = plain(strips_figure(view.recording))
        self.view = view
        self._put("ecg", color_strips(self._ecg, view.weights), f"ECG {view.name}, leads colored by weight")
        values, measure = view.on_the_body
        if self._body is None:
            self._body = plain(geometry_figure(values, measure))
        self._put("body", show_values(self._body, values, measure), f"Lead {measure}: {_listed(values)}", HALF_PX)
        if view.recorded is not None:
            probabilities = (summary.probabilities, view.recorded, view.intervals, view.code)
            if self._probabilities is None:
                self._probabilities = plain(probabilities_figure(*probabilities))
            self._put(
                "probabilities",
                show_probabilities(self._probabilities, *probabilities),
                f"Probabilities, in per cent: {_listed(100 * summary.probabilities)}",
                HALF_PX,
            )
        if len(summary.lead_attention):
            table = summary.attention_table(view.layer, view.head)
            if self._attention is None:
                shown = lead_attention_figure(summary)
                shown.update_layout(height=ATTENTION_PX, margin={"l": 10, "r": 10, "t": 40, "b": 10})
                self._attention = plain(shown)
            heat = self._attention["data"][0]
            heat["z"], heat["x"], heat["y"] = table.to_numpy().tolist(), list(table.columns), list(table.index)
            taken = table.idxmax(axis=1)
            words = ", ".join(f"{lead} from {other}" for lead, other in taken.items())
            self._put("attention", self._attention, f"Latent attention; each lead took most {words}", HALF_PX)
        self._plots.show(self._group, "attribution", None, words="Shapley values follow", stale=True, **self._about)
        self._plots.send_all()

    def show_attribution(self) -> None:
        """Show the Shapley values of the view, once computed; they take as long as all the rest."""
        view = self.view
        if view.attribution is not None:
            figure = plain(attribution_figure(view.attribution, view.code, view.summary))
            self._put(
                "attribution", figure, f"Shapley values: {_listed(view.attribution.table(view.code).attribution)}"
            )
            self._plots.send_all()

    def arrange(self, narrow: bool) -> None:
        """One column of half the width, or two columns and the ECG across both."""
        self.narrow = narrow
        self.show(self.view)
        self.show_attribution()

    def take_away(self) -> None:
        """Remove all its figures from the page."""
        self._plots.take_away(self._group)
        self._plots.send_all()

    @property
    def _about(self) -> dict:
        return {"heading": self.view.name, "narrow": self.narrow}

    def _put(self, name: str, figure: dict, words: str, width_px: int = WIDTH_PX) -> None:
        figure["layout"]["width"] = HALF_PX if self.narrow else width_px
        self._plots.show(self._group, name, figure, words=words, **self._about)


def _listed(values: pd.Series) -> str:
    """The values as text, the largest first."""
    order = values.reindex(values.abs().sort_values(ascending=False, kind="stable").index)
    return ", ".join(f"{name} {value:.3g}" for name, value in order.items())
