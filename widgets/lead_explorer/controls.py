"""The controls of the lead explorer: which ECG, tab and code, which leads, and which perturbations."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import ipywidgets as widgets

from lamae_toolkit.ecg.leads import LEADS, LIMB_LEADS, PRECORDIAL_LEADS
from lamae_toolkit.errors import ECGError, printable
from lamae_toolkit.explain.counterfactuals import LIMB_REVERSALS
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.widgets.base.shell import control_row
from lamae_toolkit.widgets.lead_explorer.changes import Changes

TERMS, SHARE = "Lead terms", "Share in the heart token"
"""The two tabs: the lead weights that a prediction is made of, and those of the pooling."""
REVERSALS = (*LIMB_REVERSALS, *pairwise(PRECORDIAL_LEADS), ("V1", "V3"))
NONE = "no lead"
SCALED = {NONE: (), "limb leads": LIMB_LEADS, "chest leads": PRECORDIAL_LEADS} | {lead: (lead,) for lead in LEADS}
WORDING = {"layout": {"width": "225px"}, "style": {"description_width": "80px"}}


class LeadControls(widgets.VBox):
    """Rows of controls, all of them reached by Tab and operated by the space bar, arrows and letters.

    names: of the ECGs. codes: that the probe predicts, none without a probe. additive: whether its log-odds are a sum
    over leads.
    """

    def __init__(
        self, config: LAMAEConfig, names: Iterable[str], codes: Iterable[str] = (), additive: bool = False
    ) -> None:
        self.ecg = widgets.Dropdown(options=_with_titles(names), description="ECG", **WORDING)
        self.previous, self.next = (
            widgets.Button(description=f"{word} ECG", layout={"width": "115px"}) for word in ("Previous", "Next")
        )
        self.pin = widgets.ToggleButton(description="Pin", icon="thumb-tack", layout={"width": "130px"})
        tabs = [TERMS, SHARE] if codes else [SHARE]
        self.tab = widgets.ToggleButtons(options=tabs, style={"button_width": "200px"})
        self.code = widgets.Dropdown(description="Code", **WORDING | {"layout": {"width": "480px"}})
        measures = [("lead terms", "term")] * additive + [("Shapley values", "attribution")]
        self.measure = widgets.Dropdown(options=measures, description="On body", **WORDING)
        self.layer, self.head = _numbered("Layer", config.latent_depth), _numbered("Head", config.heads)
        narrow = {"width": "58px", "margin": "1px"}
        self.leads = {lead: widgets.ToggleButton(value=True, description=lead, layout=narrow) for lead in LEADS}
        self.as_recorded = widgets.Button(description="As recorded", icon="undo", layout={"width": "130px"})
        reversals = [("none", ()), *((f"{one} and {other}", (one, other)) for one, other in REVERSALS)]
        self.reversal = widgets.Dropdown(options=reversals, description="Reverse", **WORDING)
        self.scaled = widgets.Dropdown(options=list(SCALED), description="Scale", **WORDING)
        wide = {"layout": {"width": "290px"}, "style": {"description_width": "60px"}}
        self.percent = widgets.IntSlider(value=50, min=0, max=200, step=10, description="to, in %", **wide)
        self._quiet = False
        self.rank(codes)
        self._of_tab = {TERMS: control_row(self.code, self.measure), SHARE: control_row(self.layer, self.head)}
        super().__init__(
            [
                control_row(self.ecg, self.previous, self.next, self.pin),
                self.tab,
                *self._of_tab.values(),
                control_row(widgets.Label("Leads"), *self.leads.values(), self.as_recorded),
                control_row(self.reversal, self.scaled, self.percent),
            ]
        )
        self.tab.observe(lambda _: self._show_those_of_the_tab(), names="value")
        self._show_those_of_the_tab()
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))

    @property
    def changes(self) -> Changes:
        """The chosen perturbations of the ECG."""
        electrodes, scaled, factor = self.reversal.value or None, SCALED[self.scaled.value], self.percent.value / 100
        return Changes(electrodes, scaled, factor) if scaled and factor != 1 else Changes(electrodes)

    @property
    def on(self) -> list[str]:
        """The leads that are turned on, recorded or not."""
        return [lead for lead, button in self.leads.items() if button.value]

    def listen(self, update: Callable[[], None], refuse: Callable[[str], None]) -> None:
        """Call `update` when a control changes; if it raises ECGError, the control is reset.

        refuse: receives the message of the error.
        """

        def react(change) -> None:
            if self._quiet:
                return
            try:
                update()
            except ECGError as error:
                with self.quietly():
                    change.owner.value = change.old
                refuse(str(error))

        chosen = (self.ecg, self.tab, self.code, self.measure, self.layer, self.head)
        for control in (*chosen, self.reversal, self.scaled, self.percent, *self.leads.values()):
            control.observe(react, names="value")

    def rank(self, codes: Iterable[str]) -> None:
        """List the codes in this order, the one furthest above its prevalence first. The chosen one stays chosen.

        The first entry, "", follows the ECG: it means the first code of whatever ECG is shown.
        """
        codes = list(codes)
        with self.quietly():
            kept = self.code.value
            first = [(f"first for this ECG: {name_of(code)}", "") for code in codes[:1]]
            self.code.options = first + [(name_of(code), code) for code in codes]
            self.code.value = kept if kept in codes else "" if codes else None

    def recorded(self, leads: Iterable[str]) -> None:
        """Let only these leads be turned off and on."""
        leads = set(leads)
        for lead, button in self.leads.items():
            button.disabled = lead not in leads

    def reset(self) -> None:
        """All leads on and nothing changed, without calling `update`."""
        with self.quietly():
            self.reversal.value, self.scaled.value = (), NONE
            for button in self.leads.values():
                button.value = True

    def rename(self, names: Iterable[str]) -> None:
        """List these ECGs; the displayed one stays chosen."""
        with self.quietly():
            kept = self.ecg.value
            self.ecg.options = _with_titles(names)
            self.ecg.value = kept

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Set controls without calling `update` for each."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _show_those_of_the_tab(self) -> None:
        for tab, row in self._of_tab.items():
            row.layout.display = None if tab == self.tab.value else "none"

    def _step(self, by: int) -> None:
        self.ecg.index = (self.ecg.index + by) % len(self.ecg.options)


def _with_titles(names: Iterable[str]) -> list[tuple[str, str]]:
    return [(printable(name), name) for name in names]


def _numbered(name: str, number: int) -> widgets.Dropdown:
    options = [("all (mean)", 0), *((str(one), one) for one in range(1, number + 1))]
    return widgets.Dropdown(options=options, description=name, **WORDING)
