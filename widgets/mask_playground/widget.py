"""The mask playground: mask parts of an ECG and see at once how LAMAE and its twin reconstruct them."""

import html
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Bool

from lamae_toolkit.ecg.leads import LEADS, PRECORDIAL_LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.guess import guess_errors
from lamae_toolkit.explain.reconstruction import as_read, masked_errors, mean_error, reconstruct_masked, shipped_pair
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import masked_ranges, named_lead_mask, random_mask, range_mask
from lamae_toolkit.plots.masks import MOST_MODELS, error_figure, mask_figure
from lamae_toolkit.widgets.base.plots import Plot
from lamae_toolkit.widgets.base.shell import Shell, control_row
from lamae_toolkit.widgets.mask_playground.mask_grid import MaskGrid

AMPLITUDE = (
    "A model reconstructs shapes: mean and amplitude in mV are taken from the lead itself, so the amplitude of a masked"
    " lead is given, not inferred."
)


class MaskPlayground(Shell):
    """Mask patches and leads of an ECG by mouse, keyboard or at random, and see how each model reconstructs them.

    models: one to four by name, with patches of one length; by default the two that come with the toolkit, LAMAE and
    its twin that reads every lead on its own (`shipped_pair`). ratio, seed: of the random mask at the beginning. mask,
    reconstructions and errors are attributes: the mask (a row for each lead of the recording), the reconstruction of
    each model, and its error in each lead. `show` opens another ECG; `set_mask`, `mask_leads` and `mask_qrs` mask
    what you choose. ECGError if the ECG is too short, or if one mask does not fit all models.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        playground = lt.MaskPlayground(lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording)
        print(playground.describe())
    """

    name, heading = "mask-playground", "Mask playground"

    def __init__(
        self, recording: Recording, models: Mapping[str, LAMAE] | None = None, *, ratio: float = 0.75, seed: int = 0
    ) -> None:
        self._shipped, self.models = models is None, shipped_pair() if models is None else dict(models)
        _check_models(self.models)
        self.seed, self._random, self._bars, self.mask, self.guessed = seed, None, None, None, {}
        self.grid, self._about, self._score = MaskGrid(), widgets.HTML(), widgets.HTML()
        self._build(ratio)
        self.show(recording)
        self._bars = Plot(self._error_figure(), self.name)
        masks = control_row(
            self.ratio, self.another, self.beat, self.moment, self.chest, self.only, self.keep, self.clear
        )
        views = control_row(self.shown, self.zoom, self.all_leads, self.hide, self.draw, self.bars)
        self._bars.layout.display = "none"
        super().__init__([masks, views, self.grid, self._score], [self._bars, self._about])
        self.changed()

    def _build(self, ratio: float) -> None:
        self.ratio = widgets.FloatSlider(
            ratio,
            min=0.05,
            max=0.95,
            step=0.05,
            description="At random",
            readout_format=".0%",
            style={"description_width": "initial"},
            layout={"width": "240px"},
        )
        self.another, self.chest = _button("Another mask"), _button("Mask V1-V6")
        self.beat = _button("One QRS", "Mask a QRS complex in the lead with the cursor")
        self.moment = _button("One moment", "Mask a QRS complex in all leads")
        self.only, self.keep, self.clear = _button(""), _button(""), _button("Clear", "Mask nothing")
        self.zoom = _button("One beat", "Show one second around a QRS complex", widgets.ToggleButton)
        self.all_leads = _button("All leads at once", "A click masks that moment in all leads", widgets.ToggleButton)
        self.hide = _button("Hide the truth", "Leave a gap where the ECG is masked", widgets.ToggleButton)
        self.draw = _button(
            "Draw a guess", "Draw with the mouse what you expect on a masked part", widgets.ToggleButton
        )
        self.bars = _button("Errors as bars", "The error of each model in each lead", widgets.ToggleButton)
        self.shown = widgets.SelectionRangeSlider(
            options=[("0 s", 0), ("10 s", 1)],
            description="Shown",
            style={"description_width": "initial"},
            layout={"width": "280px"},
        )
        self.ratio.observe(lambda _: self.attempt(self._random_mask), names="value")
        self.another.on_click(lambda _: self.attempt(self._another_mask))
        self.chest.on_click(lambda _: self.attempt(self._mask_chest))
        self.only.on_click(lambda _: self.attempt(lambda: self.mask_leads(self.lead)))
        others = lambda: tuple(name for name in self.recording.leads if name != self.lead)  # noqa: E731
        self.keep.on_click(lambda _: self.attempt(lambda: self.mask_leads(*others())))
        self.clear.on_click(lambda _: self.attempt(lambda: self.mask_leads()))
        self.beat.on_click(lambda _: self.attempt(lambda: self.mask_qrs(self.lead)))
        self.moment.on_click(lambda _: self.attempt(lambda: self.mask_qrs(*self.recording.leads)))
        self.shown.observe(lambda change: self.grid.zoom(*change.new), names="value")
        self.zoom.observe(lambda change: self._zoom(change.new), names="value")
        widgets.jslink((self.all_leads, "value"), (self.grid, "_all_leads"))
        widgets.jslink((self.hide, "value"), (self.grid, "_gap"))
        widgets.jslink((self.draw, "value"), (self.grid, "_drawing"))
        self.draw.observe(lambda change: self._begin_drawing(change.new), names="value")
        self.bars.observe(lambda change: self._show_bars(change.new), names="value")
        self.grid.observe(lambda _: self.attempt(self._score_guess), names="_guess")
        self.grid.observe(lambda _: self._take(), names="_edit")
        self.grid.observe(lambda _: self._name_lead(), names="cursor")

    @property
    def lead(self) -> str:
        """The lead that was clicked last, or that has the keyboard cursor."""
        return self.grid.cursor[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """One ECG, its leads and patches."""
        patch = next(iter(self.models.values())).config.patch_samples
        return 1, len(self.read.leads), self.read.signal_mv.shape[1] // patch

    def show(self, recording: Recording) -> None:
        """Open another ECG, and mask it at random; ECGError if it is too short to be read."""
        config = next(iter(self.models.values())).config
        self.read = as_read(recording, config)
        self.recording = recording
        self._about.value = "".join(f"<p>{html.escape(words)}</p>" for words in (*self._notes(config), AMPLITUDE))
        with self.grid.hold_sync():
            self.grid.show_ecg(self.read, self.shape[2], self.models)
            self._random_mask()
        patches, patch_s = self.shape[2], self.read.duration_s / self.shape[2]
        self.zoom.value = False
        self.shown.options = [(f"{number * patch_s:g} s", number) for number in range(patches + 1)]
        self.shown.value = (0, patches)

    def set_mask(self, mask: Bool[np.ndarray, "l n"]) -> None:
        """Mask these patches, True where masked, one row per lead of the recording; ECGError if nothing is visible."""
        if mask.shape != self.shape[1:]:
            raise ECGError(f"The mask has the shape {mask.shape}, but the ECG has {self.shape[1:]} leads and patches.")
        if mask.all():
            raise ECGError("Nothing is visible to reconstruct from: leave at least one patch visible.")
        self._apply(mask, None)

    def _apply(self, mask: np.ndarray, random: tuple[float, int] | None) -> None:
        """Reconstruct with all models; random: ratio and seed, if the mask was sampled with them."""
        self.reconstructions = reconstruct_masked(self.models, self.read, mask)
        self.errors = {
            name: masked_errors(self.read, reconstruction, mask)
            for name, reconstruction in self.reconstructions.items()
        }
        self.mask, self._random = mask, random
        self._tell_page()
        if self._bars is not None:
            self._bars.redraw(self._error_figure())
            self.changed()

    def _tell_page(self) -> None:
        """The mask and its reconstructions, in one message to the page."""
        with self.grid.hold_sync():
            self.grid.show_reconstructions(self.mask, self.reconstructions, self.errors, self.describe())

    def _take(self) -> None:
        """Apply the mask of the page; a refused one, or one of an ECG that is no longer shown, is reset."""
        wanted = self.grid.edited()
        if wanted.shape == self.mask.shape and not np.array_equal(wanted, self.mask):
            self.attempt(lambda: self.set_mask(wanted))
        if self.mask is not wanted:
            self._tell_page()

    def _random_mask(self) -> None:
        sampled = self.ratio.value, self.seed
        mask = random_mask(self.shape, sampled[0], torch.Generator().manual_seed(sampled[1]))
        self._apply(mask[0].numpy(), sampled)

    def _another_mask(self) -> None:
        self.seed += 1
        self._random_mask()

    def _mask_chest(self) -> None:
        chest = tuple(name for name in PRECORDIAL_LEADS if name in self.recording.leads)
        if not chest:
            raise ECGError("This ECG has none of the leads V1 to V6, so there is nothing to mask.")
        self.mask_leads(*chest)

    def _qrs_patch(self) -> int:
        """The patch with a QRS complex that is nearest to the middle of what is shown: where the leads are steepest."""
        steep = np.abs(np.diff(self.read.signal_mv, axis=1, append=self.read.signal_mv[:, -1:])).sum(axis=0)
        steep = steep.reshape(self.shape[2], -1).max(axis=1)
        candidates = np.flatnonzero(steep >= 0.6 * steep.max())
        return int(candidates[np.abs(candidates - sum(self.shown.value) / 2).argmin()])

    def mask_qrs(self, *leads: str) -> None:
        """Mask the patch of a QRS complex in these leads, and nothing else; ECGError if the ECG lacks one of them."""
        first = self._qrs_patch()
        mask = range_mask(self.shape, self.recording.leads, {lead: [(first, first + 1)] for lead in leads})
        self.set_mask(mask[0].numpy())

    def _zoom(self, on: bool) -> None:
        """Show one second, with a QRS complex in it, or all."""
        patches, center = self.shape[2], self._qrs_patch()
        wide = max(round(self.shape[2] / self.read.duration_s), 2)
        first = min(max(center - wide // 2, 0), max(patches - wide, 0))
        self.shown.value = (first, min(first + wide, patches)) if on else (0, patches)

    def _begin_drawing(self, on: bool) -> None:
        """Whoever draws a guess must not see the truth."""
        if on:
            self.hide.value = True
            self._score.value = "<p role='status'>Draw on a masked part of a lead; lift the mouse to be scored.</p>"
        else:
            self.grid._guess, self._score.value, self.guessed = {}, "", {}

    def _score_guess(self) -> None:
        """The errors of a guess and of the models on the same samples, in mV."""
        if not self.grid._guess:
            return
        guess_mv = self.grid.guess_mv(self.read.signal_mv.shape[1])
        self.guessed = guess_errors(self.read, self.mask, guess_mv, self.reconstructions)
        errors = [
            f"{html.escape(name)} {'not possible' if np.isnan(error) else f'{error:.3f} mV'}"
            for name, error in sorted(self.guessed.items(), key=lambda pair: (np.isnan(pair[1]), pair[1]))
        ]
        self._score.value = f"<p role='status'><b>On what you drew, the best first: {'; '.join(errors)}.</b></p>"

    def _show_bars(self, on: bool) -> None:
        self._bars.layout.display = None if on else "none"

    def mask_leads(self, *leads: str) -> None:
        """Mask these leads completely, and nothing else; ECGError if the ECG lacks one, or if nothing is left."""
        self.set_mask(named_lead_mask(self.shape, self.recording.leads, leads)[0].clone().numpy())

    def _name_lead(self) -> None:
        """The buttons for one lead follow the cursor."""
        self.only.description, self.keep.description = f"Mask only {self.lead}", f"Keep only {self.lead}"

    def figures(self) -> list[go.Figure]:
        """The ECG with its reconstructions, and the errors as bars."""
        return [mask_figure(self.recording, self.reconstructions, self.mask), self._error_figure()]

    def _error_figure(self) -> go.Figure:
        return error_figure(self.read, self.reconstructions, self.mask)

    def code(self) -> str:
        """Lines that reproduce the mask, the reconstructions and both figures, from `recording` (and `models`)."""
        if self._random:
            ratio, seed = self._random
            generator = f"torch.Generator().manual_seed({seed})"
            made = f"lt.random_mask({self.shape}, {ratio:g}, {generator})"
        else:
            ranges = masked_ranges(self.mask, self.recording.leads)
            made = f"lt.model.range_mask({self.shape}, recording.leads, {ranges})"
        lines = ["import lamae_toolkit as lt", *(["import torch"] if self._random else [])]
        if self._shipped:
            lines.append("models = lt.explain.shipped_pair()")
        return "\n".join(
            [
                *lines,
                f"mask = {made}[0].numpy()",
                "reconstructions = lt.explain.reconstruct_masked(models, recording, mask)",
                "figure = lt.plots.mask_figure(recording, reconstructions, mask)",
                "errors = lt.plots.error_figure(recording, reconstructions, mask)",
            ]
        )

    def describe(self) -> str:
        """The mask, and the error of each model."""
        leads, patches = self.shape[1:]
        whole = [name for name, row in zip(self.recording.leads, self.mask, strict=True) if row.all()]
        text = f"ECG of {leads} lead{'s' * (leads > 1)}, {self.read.duration_s:g} s in {patches} patches a lead."
        if not self.mask.any():
            return f"{text} Nothing is masked: mask a patch by a click, or a lead by a click on its name."
        completely = f"; completely masked: {', '.join(whole)}" if whole else ""
        errors = [f"{name} {mean_error(values, self.mask):.2f}" for name, values in self.errors.items()]
        number = int(self.mask.sum())
        masked = f"{number} patch{'es' * (number > 1)}" if number < 10 else f"{self.mask.mean():.0%} of the patches"
        text += f" Masked: {masked}{completely}. Error: {', '.join(errors)}"
        text += " (0 is exact, 1 is what guessing the mean of each lead gives)."
        if len(self.errors) > 1:
            table = np.stack(list(self.errors.values()))[:, self.mask.any(axis=1)]
            wins = np.bincount(table.argmin(axis=0), minlength=len(table))
            best = ", ".join(f"{name} in {number}" for name, number in zip(self.errors, wins, strict=True))
            text += f" Smallest error, by number of leads: {best}."
        if whole:
            text += (
                " The amplitude in mV of a completely masked lead is taken from that lead; its shape is reconstructed."
            )
        return text

    def _notes(self, config) -> list[str]:
        """Notes on this ECG."""
        recording, notes = self.recording, []
        absent = [name for name in LEADS if name not in recording.leads]
        if len(recording.leads) == 1:
            notes.append(
                f"This ECG has lead {recording.leads[0]} only, so there is no other lead to reconstruct it from."
            )
        elif absent:
            notes.append(f"Not recorded: {', '.join(absent)}.")
        if recording.duration_s > config.duration_s:
            notes.append(
                f"The ECG has {recording.duration_s:g} s, of which the models read the first {self.read.duration_s:g};"
                f" for another part, give crop(recording, start_s, {config.duration_s:g})."
            )
        elif self.read.duration_s < recording.duration_s:
            notes.append(f"The models read the first {self.read.duration_s:g} s: what follows is less than a patch.")
        if self.read.duration_s < config.duration_s:
            notes.append(f"The models read up to {config.duration_s:g} s; this ECG has {self.read.duration_s:g} s.")
        return notes


def _button(words: str, tip: str = "", kind: type = widgets.Button) -> Any:
    """A button as wide as its words."""
    return kind(description=words, tooltip=tip, layout={"width": "auto"})


def _check_models(models: Mapping[str, LAMAE]) -> None:
    """Refuse (ECGError) models that cannot be compared on one mask."""
    if not 0 < len(models) <= MOST_MODELS:
        raise ECGError(f"{len(models)} models cannot be told apart in one figure; give 1 to {MOST_MODELS} of them.")
    alike = {"patch_samples": "samples a patch", "sampling_rate_hz": "Hz", "max_patches": "patches a lead"}
    (first, reference), *others = models.items()
    for name, model in others:
        for what, unit in alike.items():
            ours, theirs = (getattr(one.config, what) for one in (reference, model))
            if ours != theirs:
                raise ECGError(
                    f"{first} reads {ours:g} {unit}, but {name} {theirs:g}, so one mask does not fit both; give models"
                    " with equal patches."
                )
