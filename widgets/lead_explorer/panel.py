"""One view of the lead explorer on the page: the ECG on paper and figures, changed in place."""

from collections.abc import Callable
from textwrap import wrap

import ipywidgets as widgets
import pandas as pd

from lamae_toolkit.explain.lead_shapley import LeadAttribution
from lamae_toolkit.palette import SMALL_PX, TEXT_PX
from lamae_toolkit.plots.attention import lead_attention_figure
from lamae_toolkit.plots.lead_geometry import MEASURES, geometry_figure, show_values
from lamae_toolkit.plots.shapley import attribution_figure
from lamae_toolkit.plots.strips import color_strips, probabilities_figure, show_probabilities, strips_figure
from lamae_toolkit.plots.terms import lead_terms_figure
from lamae_toolkit.widgets.base.plots import Plots, plain
from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper
from lamae_toolkit.widgets.lead_explorer.controls import SHARE
from lamae_toolkit.widgets.lead_explorer.view import View

ATTENTION_PX = 330
NOTE_LETTERS = 58
"""Letters in a line of the note below a figure, which may have half the page."""


class LeadPanel:
    """One view on the page, the live one or the pinned one next to it: the ECG on paper in a box of papers, and figures
    in a group of `Plots`.

    choose: called with the code that is chosen on the paper.
    """

    def __init__(
        self,
        plots: Plots,
        papers: widgets.Box,
        group: str,
        view: View,
        choose: Callable[[str], None],
        narrow: bool = False,
    ) -> None:
        self.view, self.narrow, self._plots, self._papers, self._group = view, narrow, plots, papers, group
        self._ecg = self._body = self._probabilities = self._attention = None
        self.paper, self._showing = ECGPaper(view.recording, title=view.title, **_on_paper(view)), False
        papers.children = [self.paper, *papers.children] if narrow else [*papers.children, self.paper]
        self.paper.observe(lambda change: self._showing or choose(change.new), names="icd10_code")
        self.show(view)
        self.show_attribution()

    def show(self, view: View) -> None:
        """Show another view, all but its Shapley values; changing figures on the page is faster than new ones."""
        if view.tab != self.view.tab:
            self._plots.take_away(self._group)
        if view.recording is not self.view.recording:
            self._ecg = None
        self.view = view
        self._show_paper()
        if view.tab == SHARE:
            self._show_shares()
        else:
            self._show_prediction()
        self._plots.send_all()

    def show_attribution(self) -> None:
        """Show the Shapley values of the view, once computed; they take as long as all the rest."""
        view = self.view
        if view.attribution is not None and view.tab != SHARE:
            if view.terms is None:
                figure = plain(attribution_figure(view.attribution, view.code))
                values = view.attribution.table(view.code).attribution
                self._put("attribution", figure, f"Shapley values: {_listed(values)}")
            else:
                self._show_terms(view.attribution)
            self._show_body()
            self._plots.send_all()

    def arrange(self, narrow: bool) -> None:
        """One column of half the width, or two columns and the ECG across both."""
        self.narrow = narrow
        self.show(self.view)
        self.show_attribution()

    def take_away(self) -> None:
        """Remove its paper and all its figures from the page."""
        self._papers.children = [paper for paper in self._papers.children if paper is not self.paper]
        self.paper.close()
        self._plots.take_away(self._group)
        self._plots.send_all()

    def _show_paper(self) -> None:
        view, paper = self.view, self.paper
        self._showing = True
        paper.layout.flex, paper.layout.min_width = f"1 1 {'380px' if self.narrow else '100%'}", "0"
        paper.layout.display = "none" if view.tab == SHARE else None
        if paper.recording is not view.recording:
            paper.show(view.recording, title=view.title, **_on_paper(view))
        elif view.terms is not None:
            with paper.hold_sync():
                paper.terms, paper.icd10_code = view.terms, view.code
        self._showing = False

    def _show_body(self) -> None:
        if self.view.on_the_body is not None:
            values, measure = self.view.on_the_body
            if self._body is None:
                self._body = plain(geometry_figure(values, measure))
            show_values(self._body, values, measure)
            self._put("body", self._body, f"{MEASURES[measure]}: {_listed(values)}")

    def _show_prediction(self) -> None:
        view = self.view
        if view.terms is not None:
            self._show_terms(None)
        self._show_body()
        if self._probabilities is None:
            self._probabilities = plain(probabilities_figure(*view.of_probabilities))
        show_probabilities(self._probabilities, *view.of_probabilities)
        words = f"Probabilities, in per cent: {_listed(100 * view.summary.probabilities)}"
        self._put("probabilities", self._probabilities, words)
        self._plots.show(self._group, "attribution", None, words="Shapley values follow", stale=True, **self._about)

    def _show_terms(self, attribution: LeadAttribution | None) -> None:
        terms, code = self.view.terms, self.view.code
        words = f"Lead terms: {_listed(terms.of_code(code).term)}. {terms.sentence(code)}"
        figure = plain(lead_terms_figure(terms, code, attribution))
        note = figure["layout"]["annotations"][-1]
        note["font"] = {"size": SMALL_PX}
        note["text"] = "<br>".join(line for long in note["text"].split("<br>") for line in wrap(long, NOTE_LETTERS))
        figure["layout"]["title"] |= {"x": 0.01, "xref": "container", "font": {"size": TEXT_PX}}
        self._put("terms", figure, words)

    def _show_shares(self) -> None:
        view = self.view
        if self._ecg is None:
            self._ecg = plain(strips_figure(view.recording))
        self._put("ecg", color_strips(self._ecg, view.weights), f"ECG {view.title}, leads colored by share")
        self._show_body()
        if len(view.summary.lead_attention):
            table = view.summary.attention_table(view.layer, view.head)
            if self._attention is None:
                shown = lead_attention_figure(view.summary)
                shown.update_layout(height=ATTENTION_PX, margin={"l": 10, "r": 10, "t": 40, "b": 10})
                self._attention = plain(shown)
            heat = self._attention["data"][0]
            heat["z"], heat["x"], heat["y"] = table.to_numpy().tolist(), list(table.columns), list(table.index)
            taken = table.idxmax(axis=1)
            words = ", ".join(f"{lead} from {other}" for lead, other in taken.items())
            self._put("attention", self._attention, f"Latent attention; each lead took most {words}")

    @property
    def _about(self) -> dict:
        return {"heading": self.view.title, "narrow": self.narrow}

    def _put(self, name: str, figure: dict, words: str) -> None:
        self._plots.show(self._group, name, figure, words=words, **self._about)


def _on_paper(view: View) -> dict:
    """What the paper shows of a view besides its ECG."""
    return {} if view.terms is None else {"terms": view.terms, "code": view.code}


def _listed(values: pd.Series) -> str:
    """The values as text, the largest first."""
    order = values.reindex(values.abs().sort_values(ascending=False, kind="stable").index)
    return ", ".join(f"{name} {value:.3g}" for name, value in order.items())
