"""What the lead explorer shows of one ECG: figures, the lines that draw them, and words."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import printable
from lamae_toolkit.explain.attention import AttentionSummary
from lamae_toolkit.explain.ecg_terms import LeadTerms, disagreeing, percent
from lamae_toolkit.explain.lead_shapley import LeadAttribution
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.plots.attention import lead_attention_figure
from lamae_toolkit.plots.lead_geometry import geometry_figure
from lamae_toolkit.plots.shapley import attribution_figure
from lamae_toolkit.plots.strips import probabilities_figure, weighted_strips_figure
from lamae_toolkit.plots.terms import lead_terms_figure
from lamae_toolkit.widgets.lead_explorer.changes import Changes
from lamae_toolkit.widgets.lead_explorer.controls import SHARE

FEWEST_PATIENTS = 10
"""With fewer patients of a similar probability, their share says nothing and is not mentioned."""


@dataclass(frozen=True, eq=False)
class View:
    """What is shown of one ECG.

    recorded_s: how long it was recorded. recording: what the model reads of it, with all its leads, after the changes.
    summary, terms: of the leads that are on; no terms without a probe that is a sum over leads. recorded: the
    probabilities of the ECG as it was recorded, and their intervals, or None. usual: the log-odds of each code's
    prevalence. attribution: of the leads that are on,
    once it is computed.
    """

    name: str
    recorded_s: float
    recording: Recording
    changes: Changes
    summary: AttentionSummary
    terms: LeadTerms | None
    recorded: pd.Series | None
    intervals: pd.DataFrame | None
    usual: np.ndarray | None
    attribution: LeadAttribution | None
    tab: str
    code: str | None
    layer: int | None
    head: int | None
    measure: str | None

    @property
    def title(self) -> str:
        """The name, which may be that of a file, without control characters."""
        return printable(self.name)

    @cached_property
    def weights(self) -> pd.Series:
        """The pooling weights, mean over heads."""
        return self.summary.weight_table().weight

    @property
    def off(self) -> list[str]:
        """The leads that were recorded but are turned off."""
        return [lead for lead in self.recording.leads if lead not in self.summary.leads]

    @property
    def on_the_body(self) -> tuple[pd.Series, str] | None:
        """What the discs on the body show: lead terms, or Shapley values if they are chosen and computed."""
        if self.tab == SHARE:
            return self.weights, "weight"
        if self.attribution is not None and (self.measure == "attribution" or self.terms is None):
            return self.attribution.table(self.code).attribution, "attribution"
        return None if self.terms is None else (self.terms.of_code(self.code).term, "term")

    @property
    def of_probabilities(self) -> tuple:
        """The arguments of `probabilities_figure`."""
        return self.summary.probabilities, self.recorded, self.usual, self.intervals, self.code

    def figures(self) -> list[go.Figure]:
        """All figures of the tab, the most important first."""
        body = [] if self.on_the_body is None else [geometry_figure(*self.on_the_body)]
        if self.tab == SHARE:
            shown = [weighted_strips_figure(self.recording, self.weights, self.title), *body]
            if len(self.summary.lead_attention):
                shown.append(lead_attention_figure(self.summary, layer=self.layer, head=self.head))
            return shown
        shown = []
        if self.terms is not None:
            shown.append(lead_terms_figure(self.terms, self.code, self.attribution))
        elif self.attribution is not None:
            shown.append(attribution_figure(self.attribution, self.code))
        return [*shown, *body, probabilities_figure(*self.of_probabilities)]

    def lines(self) -> list[str]:
        """The lines of Python that draw it, from `model`, `probe`, `recordings` and, for intervals, `calibration`."""
        leads, probe = f"{list(self.summary.leads)}" if self.off else "", self.tab != SHARE
        lines = [f"recording = recordings[{self.name!r}]"]
        if self.recorded_s > self.recording.duration_s:
            lines.append(f"recording = lt.ecg.crop(recording, 0.0, {self.recording.duration_s:g})")
        if probe:
            lines.append("recorded = lt.attention_summary(model, recording, probe).probabilities")
        lines += self.changes.lines(self.recording)
        lines.append(f"encoded = lt.explain.encode_ecg(model, recording{', probe' if probe else ''})")
        lines.append(f"summary = encoded.attention_summary({leads})")
        return lines + (self._lines_of_terms(leads) if probe else self._lines_of_shares())

    def _lines_of_terms(self, leads: str) -> list[str]:
        lines, attribution = ["figures = []"], ""
        if self.attribution is not None:
            select = f".select({leads})" if leads else ""
            lines.append(f"attribution = lt.attribute_leads(model, probe, recording{select})")
            attribution = ", attribution"
        if self.terms is not None:
            lines += [
                f"terms = encoded.lead_terms({leads})",
                f"paper = lt.ECGPaper(recording, terms=terms, code={self.code!r})",
                f"figures.append(lt.lead_terms_figure(terms, {self.code!r}{attribution}))",
            ]
        elif attribution:
            lines.append(f"figures.append(lt.attribution_figure(attribution, {self.code!r}))")
        if self.on_the_body is not None:
            values = {
                "term": f"terms.of_code({self.code!r}).term, 'term'",
                "attribution": f"attribution.table({self.code!r}).attribution, 'attribution'",
            }
            lines.append(f"figures.append(lt.plots.geometry_figure({values[self.on_the_body[1]]}))")
        intervals = "None" if self.intervals is None else "calibration.intervals(recorded)"
        probabilities = f"summary.probabilities, recorded, probe.usual_log_odds(), {intervals}, {self.code!r}"
        return [*lines, f"figures.append(lt.plots.probabilities_figure({probabilities}))"]

    def _lines_of_shares(self) -> list[str]:
        lines = [
            "weights = summary.weight_table().weight",
            f"figures = [lt.plots.weighted_strips_figure(recording, weights, {self.title!r})]",
            "figures.append(lt.plots.geometry_figure(weights, 'weight'))",
        ]
        if len(self.summary.lead_attention):
            which = f"layer={self.layer}, head={self.head}"
            lines.append(f"figures.append(lt.plots.lead_attention_figure(summary, {which}))")
        return lines

    def in_words(self) -> str:
        """A description of the view, for screen readers."""
        absent = [lead for lead in LEADS if lead not in self.recording.leads]
        parts = [
            f"{self.title}, {self.recording.duration_s:g} s: {len(self.summary.leads)} of"
            f" {len(self.recording.leads)} recorded leads."
        ]
        parts += [f"Not recorded: {', '.join(absent)}."] if absent else []
        parts += [f"Without {', '.join(self.off)}."] if self.off else []
        parts += [self.changes.in_words()] if self.changes.in_words() else []
        return " ".join(parts + (self._shares_in_words() if self.tab == SHARE else self._terms_in_words()))

    def _terms_in_words(self) -> list[str]:
        now, before = self.summary.probabilities[self.code], self.recorded[self.code]
        parts = [f"{name_of(self.code)}: probability {percent(now)}, as recorded {percent(before)}."]
        if self.terms is not None:
            of_lead = self.terms.of_code(self.code)
            prevalence = self.terms.ranked().prevalence[self.code]
            parts.append(f"Its prevalence is {percent(prevalence)}. {self.terms.sentence(self.code)}")
            parts.append(f"Largest lead terms, in log-odds: {_largest(of_lead.term)}.")
            if others := disagreeing(of_lead.term, of_lead.leave_one_out):
                parts.append(f"What is lost without the lead differs from the term for {', '.join(others)}.")
        if self.attribution is not None:
            parts.append(f"Largest Shapley values: {_largest(self.attribution.table(self.code).attribution)}.")
        similar = (
            None if self.intervals is None or self.code not in self.intervals.index else self.intervals.loc[self.code]
        )
        if similar is not None and similar.patients >= FEWEST_PATIENTS:
            parts.append(
                f"Of {similar.patients:.0f} unseen patients with a similar probability, {similar.observed:.0%}"
                f" had it (95 % interval {similar.low:.0%} to {similar.high:.0%})."
            )
        return parts

    def _shares_in_words(self) -> list[str]:
        best = self.weights.sort_values(ascending=False, kind="stable").head(3)
        shares = ", ".join(f"{lead} {value:.1%}" for lead, value in best.items())
        parts = [f"Largest shares in the heart token: {shares}."]
        if self.layer or self.head:
            which = [f"{name} {number}" for name, number in (("layer", self.layer), ("head", self.head)) if number]
            parts.append(f"Latent attention of {', '.join(which)} alone.")
        return parts


def _largest(values: pd.Series) -> str:
    """The three values furthest from 0."""
    most = values.reindex(values.abs().sort_values(ascending=False, kind="stable").index).head(3)
    return ", ".join(f"{lead} {value:+.2f}" for lead, value in most.items())
