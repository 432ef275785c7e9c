"""The lead explorer: on which leads a prediction rests, with leads turned off, scaled or reversed."""

import html
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
from scipy.special import logit

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import found_flags
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError, printable
from lamae_toolkit.evaluation.calibration import Calibration
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.counterfactuals import normalization_note
from lamae_toolkit.explain.ecg_terms import ranked_codes
from lamae_toolkit.explain.encoded import EncodedECG, encode_ecg
from lamae_toolkit.explain.lead_shapley import LeadAttribution, attribute_leads
from lamae_toolkit.explain.terms import check_additive
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.widgets.base.background import Background
from lamae_toolkit.widgets.base.plots import Plots
from lamae_toolkit.widgets.base.shell import Shell
from lamae_toolkit.widgets.lead_explorer.changes import Changes
from lamae_toolkit.widgets.lead_explorer.controls import SHARE, LeadControls
from lamae_toolkit.widgets.lead_explorer.panel import LeadPanel
from lamae_toolkit.widgets.lead_explorer.view import View

PAUSE_S, SHORT_PAUSE_S = 0.5, 0.1
"""Seconds after the last change until Shapley values are computed, and until computed ones are shown."""
KEPT_ECGS = 12
SHARES_SAY = (
    "A lead's share in the heart token (its pooling weight) says how much of it was added up into the summary of this"
    " ECG. It does not say whether a prediction rests on the lead: the lead terms do."
)
PROBE_READS_NO_SHARE = " With this probe, other shares would change no predicted probability."
ByName = Mapping[str, Any]
"""Recordings by name, read on demand: nothing may access them before, not even a type checker."""


class LeadExplorer(Shell):
    """Explore on which leads a prediction rests: turn leads off, reverse electrodes, compare two ECGs.

    model: LAMAE. recordings: ECGs by name, or a list of them. probe: a linear probe of this model, for the probability
    of each ICD-10 code and the lead terms; without one, only the shares of the leads in the heart token and latent
    attention are shown. calibration: intervals of the probabilities, as from `Calibration.load`.

    The first tab shows the lead terms of a code (log-odds), what the prediction loses without each lead, and, half a
    second after the last change, the exact Shapley values. The code is the one furthest above its prevalence, until
    another is chosen. The second tab shows the shares in the heart token, which the pooling gives to the leads.
    ECGError if there is no ECG, or none that can be read; an ECG that cannot be read is reported, and the next one is
    shown.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording
        model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
        explorer = lt.LeadExplorer(model, [ecg], probe)
        print(explorer.describe())
    """

    name = "lead-explorer"

    def __init__(
        self,
        model: LAMAE,
        recordings: ByName | Sequence[Recording],
        probe: Probe | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        if not recordings:
            raise ECGError("There is no ECG to explore; give at least one recording.")
        if not isinstance(recordings, Mapping):
            recordings = {f"ECG {number}": recording for number, recording in enumerate(recordings, 1)}
        self.model, self.recordings, self.probe, self.calibration = model, recordings, probe, calibration
        self._encoded: dict[tuple[str, Changes], EncodedECG] = {}
        self._found_flags: dict[tuple[str, Changes], dict[str, tuple[str, ...]]] = {}
        self._attributions: dict[tuple[str, Changes], LeadAttribution] = {}
        self._as_recorded: dict[str, tuple[pd.Series, pd.DataFrame | None]] = {}
        self._lock, self.background = threading.RLock(), Background()
        self._no_terms = _why_no_terms(probe)
        self.controls = LeadControls(
            model.config, recordings, probe.codes if probe is not None else (), additive=not self._no_terms
        )
        self.plots, self._notes, self._waiting = Plots(), widgets.HTML(), widgets.HTML()
        self.papers = widgets.HBox(layout={"flex_flow": "row wrap", "grid_gap": "0 10px"}).add_class("lamae-papers")
        self._stage = widgets.Box([self.papers, self.plots]).add_class("lamae-stage").add_class("lamae-alone")
        self.panel = LeadPanel(self.plots, self.papers, "live", self._first_view(), self._choose_code)
        self.pinned = None
        super().__init__([self.controls], [self._notes, self._stage, self._waiting])
        self._show(self.view)
        self._ask_for_attribution(self.view)
        self.say(self._unread, alert=True)
        self.controls.listen(self._update, lambda sentence: self.say(sentence, alert=True))
        self.controls.as_recorded.on_click(lambda _: self.reset())
        self.controls.pin.observe(lambda _: self._pin(), names="value")

    def _first_view(self) -> View:
        """The view of the first readable ECG; ECGError if there is none."""
        errors = []
        for name in self.recordings:
            try:
                self.controls.ecg.value = name
                view = self._view()
            except ECGError as error:
                errors.append(error)
            else:
                self._unread = str(errors[0]) if errors else ""
                return view
        raise errors[0]

    @property
    def view(self) -> View:
        """The present view."""
        return self.panel.view

    def figures(self) -> list[go.Figure]:
        """The figures of the view, followed by those of the pinned one."""
        return self.view.figures() + (self.pinned.view.figures() if self.pinned else [])

    def code(self) -> str:
        """Lines that reproduce the figures, from `recordings` by name, `model`, `probe` and `calibration`."""
        pinned = ["# The pinned one:", *self.pinned.view.lines()] if self.pinned else []
        return "\n".join(["import lamae_toolkit as lt", *self.view.lines(), *pinned])

    def describe(self) -> str:
        """The view in words, and the pinned one."""
        return self.view.in_words() + (f" Pinned: {self.pinned.view.in_words()}" if self.pinned else "")

    def reset(self) -> None:
        """Undo all changes to the ECG."""
        self.controls.reset()
        self.attempt(self._update)

    def choose(self, name: str) -> None:
        """Show this ECG, which may have been added to the recordings after the explorer was made."""
        self.controls.rename(self.recordings)
        self.controls.ecg.value = name

    def _view(self) -> View:
        """The view that the controls select; ECGError if it is not available."""
        chosen = self.controls
        name, changes = chosen.ecg.value, chosen.changes
        encoded = self._encode(name, changes)
        summary = encoded.attention_summary(chosen.on)
        recorded, intervals = self._probabilities_as_recorded(name)
        terms = None if self._no_terms else encoded.lead_terms(chosen.on)
        ranked = self._ranked(summary.probabilities)
        attribution = self._attributions.get((name, changes))
        return View(
            name,
            self.recordings[name].duration_s,
            encoded.recording,
            changes,
            summary,
            terms,
            recorded,
            intervals,
            None if self.probe is None else self.probe.usual_log_odds(),
            None if attribution is None else attribution.select(summary.leads),
            chosen.tab.value,
            chosen.code.value or next(iter(ranked), None),
            chosen.layer.value or None,
            chosen.head.value or None,
            chosen.measure.value,
        )

    def _ranked(self, probabilities: pd.Series | None) -> list[str]:
        """The codes, first the one whose log-odds lie furthest above those of its prevalence."""
        if probabilities is None:
            return []
        log_odds = logit(probabilities.to_numpy())
        return ranked_codes(self.probe.codes, log_odds, self.probe.usual_log_odds()).index.tolist()

    def _probabilities_as_recorded(self, name: str) -> tuple[pd.Series | None, pd.DataFrame | None]:
        """The probabilities of the unchanged ECG, and their intervals if the scored ECGs were like it."""
        if self.probe is None:
            return None, None
        if name not in self._as_recorded:
            encoded, intervals = self._encode(name, Changes()), None
            probabilities = encoded.attention_summary().probabilities
            full_length = encoded.recording.duration_s >= self.model.config.duration_s
            if self.calibration is not None and len(encoded.leads) == len(LEADS) and full_length:
                intervals = self.calibration.intervals(probabilities)
            self._as_recorded[name] = probabilities, intervals
        return self._as_recorded[name]

    def _encode(self, name: str, changes: Changes) -> EncodedECG:
        """The ECG with these changes, encoded; the last few are cached."""
        key = (name, changes)
        if key not in self._encoded:
            self._encoded[key] = encode_ecg(self.model, changes(self.recordings[name]), self.probe)
        self._encoded[key] = self._encoded.pop(key)  # the newest last
        _keep_the_last(self._encoded)
        return self._encoded[key]

    def _update(self) -> None:
        """Show the view that the controls select; ECGError if it is not available."""
        with self._lock:
            view = self._view()
            self.say("")
            self._show(view)
        self._ask_for_attribution(view)

    def _choose_code(self, code: str) -> None:
        """Show this code, which was chosen on the paper."""
        self.controls.code.value = code

    def _choose_pinned_code(self, code: str) -> None:
        """Show this code of the pinned view, which was chosen on its paper."""
        with self._lock:
            self._show_pinned(replace(self.pinned.view, code=code))
            self.changed()

    def _show_pinned(self, view: View) -> None:
        self.pinned.show(view)
        self.pinned.show_attribution()

    def _show(self, view: View) -> None:
        self.controls.recorded(view.recording.leads)
        self.controls.rank(self._ranked(view.summary.probabilities))
        self.panel.show(view)
        if self.pinned is not None and self.pinned.view.tab != view.tab:
            self._show_pinned(replace(self.pinned.view, tab=view.tab))
        self._notes.value = "".join(f"<p>{html.escape(printable(note))}</p>" for note in self._noted(view))
        self.changed()

    def _noted(self, view: View) -> Iterator[str]:
        """Notes without which the view would be misread."""
        yield from view.recording.notes
        flags = self._flags(view)
        if flags:
            text = "; ".join(f"{lead} {', '.join(of_lead)}" for lead, of_lead in flags.items())
            yield f"Signal quality: {text}" + "." * (not text.endswith("?"))
        if view.recorded_s > view.recording.duration_s:
            yield f"The ECG has {view.recorded_s:g} s; the model reads the first {view.recording.duration_s:g} of them."
        if self._no_terms:
            yield self._no_terms
        if view.tab == SHARE:
            yield from self._about_shares(view)
        elif self.calibration is None:
            yield "Probabilities have no interval: this probe comes without a calibration."
        elif view.intervals is None:
            yield "Probabilities have no interval: the calibration is for ECGs with all leads and of full length."
        if view.changes.scaled:
            yield normalization_note(self.model.config)

    def _about_shares(self, view: View) -> Iterator[str]:
        """What the shares in the heart token say, and what they do not."""
        yield SHARES_SAY + PROBE_READS_NO_SHARE * (self.probe is not None and self.probe.representation == "leads")
        if not len(view.summary.lead_attention):
            yield "This model has no latent attention: its leads meet in the pooling only."

    def _flags(self, view: View) -> dict[str, tuple[str, ...]]:
        key = (view.name, view.changes)
        if key not in self._found_flags:
            self._found_flags[key] = found_flags(view.recording)
            _keep_the_last(self._found_flags)
        return self._found_flags[key]

    def _ask_for_attribution(self, view: View) -> None:
        """Show the Shapley values of the leads, computed first if needed."""
        if view.tab == SHARE:
            return
        if view.attribution is not None:
            self.background.ask(SHORT_PAUSE_S, lambda newest: self._show_attribution(newest))
        else:
            subsets = f"all {2 ** len(view.recording.leads):,} subsets of the leads"
            self._waiting.value = f"<p role='status'>Shapley values follow: {subsets} are being computed.</p>"
            self.background.ask(PAUSE_S, lambda newest: self._compute_attribution(view, newest))

    def _show_attribution(self, newest: Callable[[], bool]) -> None:
        with self._lock:
            if newest():
                self.panel.show_attribution()
                self._waiting.value = ""

    def _compute_attribution(self, view: View, newest: Callable[[], bool]) -> None:
        """In the background: log-odds of all subsets of the leads; Shapley values after any toggle follow from them."""
        # On a copy, since explanations record the attention of the model itself at the same time.
        attribution = attribute_leads(deepcopy(self.model), self.probe, view.recording)
        with self._lock:
            self._attributions[view.name, view.changes] = attribution
            _keep_the_last(self._attributions)
            if newest():
                self._show(replace(self.view, attribution=attribution.select(self.view.summary.leads)))
                self._show_attribution(newest)

    def _pin(self) -> None:
        """Keep the present view on the left and continue with another on the right, or show one alone again."""
        with self._lock:
            if self.controls.pin.value:
                choose = self._choose_pinned_code
                self.pinned = LeadPanel(self.plots, self.papers, "pinned", self.view, choose, narrow=True)
            else:
                self.pinned.take_away()
                self.pinned = None
            (self._stage.remove_class if self.pinned else self._stage.add_class)("lamae-alone")
            self.panel.arrange(narrow=self.controls.pin.value)
            self.changed()


def _why_no_terms(probe: Probe | None) -> str:
    """Why the leads have no terms, in a sentence; empty if they have."""
    if probe is None:
        return (
            "This model has no probe, so it predicts no codes: only the shares in the heart token and attention are"
            " shown. `lamae evaluate` fits a probe."
        )
    try:
        check_additive(probe)
    except ECGError as error:
        return str(error)
    return ""


def _keep_the_last(kept: dict) -> None:
    """Drop all but the last few."""
    for old in list(kept)[:-KEPT_ECGS]:
        del kept[old]
