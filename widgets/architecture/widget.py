"""The architecture of LAMAE beside that of its twin, alive: every block with the numbers of one ECG."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import torch
import traitlets
from jaxtyping import Bool

from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.architecture import ModelSteps, model_steps, root_mean_square
from lamae_toolkit.explain.reconstruction import as_read, shipped_pair
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import masked_ranges, random_mask
from lamae_toolkit.palette import DARK, model_looks
from lamae_toolkit.plots._plotly import WEIGHT_SCALE, finish, heatmap
from lamae_toolkit.plots.masks import MOST_MODELS, mask_figure
from lamae_toolkit.widgets.base.shell import Shell, control_row

HERE = Path(__file__).parent
LINES = 11
"""At most as many lines of a block's code are shown."""

BLOCKS: dict[str, tuple[str, Callable[[LAMAE], Any]]] = {
    "patches": ("Patches", lambda model: type(model.normalize).__call__),
    "encoder": ("Lead encoder", lambda model: type(model).encode_leads),
    "attention": ("Latent attention", lambda model: type(model).connect),
    "pooling": ("Pooling", lambda model: type(model.pooling).weigh),
    "decoder": ("Decoder", lambda model: type(model).decode),
    "error": ("Error", lambda model: ModelSteps.errors_mv),
}
"""The blocks in the order in which an ECG passes them: heading, and the function of the source that computes it."""


class ArchitecturePicture(anywidget.AnyWidget):
    """The picture on the page, which holds all numbers: hovering and switching need no Python.

    chosen: the name of the model, which attention (0 is the mean over heads), and the block whose code is shown.
    """

    _esm = (HERE / "architecture.js").read_text("utf-8")
    _css = (HERE / "architecture.css").read_text("utf-8")

    chosen = traitlets.Dict({"model": "", "head": 0, "block": "attention"}).tag(sync=True)
    _ecg = traitlets.Dict().tag(sync=True)
    _models = traitlets.List().tag(sync=True)


class Architecture(Shell):
    """How an ECG passes through LAMAE, block by block, in numbers; and through the twin, whose leads never meet.

    Hover a patch or a lead to see which leads it attends to; choose a block to read its code. models: by name, as in
    `MaskPlayground`; by default the shipped pair. ratio, seed: of the random mask at the beginning. `steps` has the
    numbers of each model. `show` opens another ECG, `set_mask` masks what you choose. ECGError if the ECG is too short,
    or for a model whose latent attention does not connect all tokens directly.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        picture = lt.Architecture(lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording)
        print(picture.describe())
        picture.steps["LAMAE"].between_leads().shape  # (12, 12)
    """

    name, heading = "architecture", "Architecture"

    def __init__(
        self, recording: Recording, models: Mapping[str, LAMAE] | None = None, *, ratio: float = 0.75, seed: int = 0
    ) -> None:
        self._shipped, self.models = models is None, shipped_pair() if models is None else dict(models)
        if not 0 < len(self.models) <= MOST_MODELS:
            raise ECGError(f"Give 1 to {MOST_MODELS} models, not {len(self.models)}.")
        self.ratio, self.seed, self._ready = ratio, seed, False
        self.picture = ArchitecturePicture(chosen={"model": next(iter(self.models)), "head": 0, "block": "attention"})
        another = widgets.Button(description="Another mask", layout={"width": "auto"})
        another.on_click(lambda _: self.attempt(self._another_mask))
        self.show(recording)
        super().__init__([control_row(another), self.picture])
        self.picture.observe(lambda _: self.changed(), names="chosen")
        self._ready = True
        self.changed()

    @property
    def shown(self) -> str:
        """The name of the model that is shown."""
        return self.picture.chosen["model"]

    def show(self, recording: Recording) -> None:
        """Open another ECG, masked at random; ECGError if it is too short."""
        config = next(iter(self.models.values())).config
        read = as_read(recording, config)
        shape = 1, len(read.leads), read.signal_mv.shape[1] // config.patch_samples
        mask = random_mask(shape, self.ratio, torch.Generator().manual_seed(self.seed))[0].numpy()
        self._apply(recording, mask)

    def set_mask(self, mask: Bool[np.ndarray, "l n"]) -> None:
        """Mask these patches, True where masked, one row per lead of the recording; ECGError if nothing is visible."""
        self._apply(self.recording, mask)

    def _another_mask(self) -> None:
        self.seed += 1
        self.show(self.recording)

    def _apply(self, recording: Recording, mask: np.ndarray) -> None:
        self.steps = {name: model_steps(model, recording, mask) for name, model in self.models.items()}
        self.recording, self.mask = recording, mask
        read = next(iter(self.steps.values())).recording
        with self.picture.hold_sync():
            self.picture._ecg = {
                "leads": list(read.leads),
                "patches": mask.shape[1],
                "patch_s": read.duration_s / mask.shape[1],
                "signal": _floats(read.signal_mv),
                "masked": mask.astype(np.uint8).tobytes(),
            }
            looks = model_looks(self.models)
            self.picture._models = [self._sent(name, looks[name].color) for name in self.models]
        if self._ready:
            self.changed()

    def _sent(self, name: str, color: str) -> dict:
        """All that the page shows of one model."""
        model, steps = self.models[name], self.steps[name]
        layers, heads, tokens, _ = steps.attention.shape
        errors_mv = steps.errors_mv()
        number = "{:.3f} mV on masked patches".format
        mean_mv = root_mean_square(errors_mv)
        notes = {
            "patches": f"{steps.mask.mean():.0%} masked",
            "encoder": f"{tokens} tokens, each lead alone",
            "attention": _met(steps),
            "pooling": _pooled(steps),
            "decoder": "lead by lead",
        }
        blocks = []
        for key, (heading, function) in BLOCKS.items():
            note = notes.get(key) or ("nothing is masked" if mean_mv is None else number(mean_mv))
            shape = " × ".join(map(str, steps.shapes.get(key, ())))
            blocks.append({"key": key, "heading": heading, "shape": shape, "note": note} | _source(function(model)))
        return {
            "name": name,
            "color": color,
            "dark": DARK.get(color, color),
            "heads": [f"layer {layer + 1}, head {head + 1}" for layer in range(layers) for head in range(heads)],
            "tokens": steps.tokens.tolist(),
            "attention": _floats(steps.attention),
            "lead_weights": steps.lead_weights.mean(axis=0).tolist(),
            "reconstruction": _floats(steps.reconstruction.signal_mv),
            "errors": _floats(errors_mv),
            "lead_errors": [root_mean_square(row) for row in errors_mv],
            "heart_to_decoder": hasattr(model, "heart_to_decoder"),
            "blocks": blocks,
        }

    def figures(self) -> list[go.Figure]:
        """The attention between leads of the model that is shown, and all reconstructions of the ECG."""
        steps = self.steps[self.shown]
        look = {"colorscale": WEIGHT_SCALE, "colorbar": {"title": "share"}}
        leads = steps.recording.leads
        figure = heatmap(steps.between_leads(), leads, leads, "%{y} took %{z:.1%} from %{x}", **look)
        figure.update_yaxes(title_text="attending lead").update_xaxes(title_text="attended lead")
        reconstructions = {name: one.reconstruction for name, one in self.steps.items()}
        return [
            finish(figure, f"{self.shown}: latent attention between leads", height=460),
            mask_figure(self.recording, reconstructions, self.mask),
        ]

    def code(self) -> str:
        """Lines that reproduce the numbers of the present view, from `recording` (and `models`)."""
        shape, ranges = (1, *self.mask.shape), masked_ranges(self.mask, self.recording.leads)
        made = f"lt.model.range_mask({shape}, recording.leads, {ranges})"
        head = self.picture.chosen["head"]
        heads = self.steps[self.shown].attention.shape[1]
        which = f"steps.attention[{(head - 1) // heads}, {(head - 1) % heads}]" if head else "steps.between_leads()"
        return "\n".join(
            [
                "import lamae_toolkit as lt",
                *(["models = lt.explain.shipped_pair()"] if self._shipped else []),
                f"mask = {made}[0].numpy()",
                f"steps = lt.explain.model_steps(models[{self.shown!r}], recording, mask)",
                f"attention = {which}",
                "weights, errors_mv = steps.lead_weights, steps.errors_mv()",
            ]
        )

    def describe(self) -> str:
        """What the model that is shown makes of this ECG, block by block."""
        steps = self.steps[self.shown]
        leads, patches = self.mask.shape
        error_mv = root_mean_square(steps.errors_mv())
        text = (
            f"{self.shown}: {leads} leads of {patches} patches, {self.mask.mean():.0%} masked. One encoder reads each"
            f" lead on its own. Latent attention: {_met(steps)}. Pooling: {_pooled(steps)}."
        )
        if error_mv is not None:
            text += (
                f" The decoder reconstructs the masked patches with an error of {error_mv:.3f} mV (root mean square)."
            )
        return f"{text} Attention shows what is combined, not why."


def _met(steps: ModelSteps) -> str:
    """How much of the attention goes to other leads."""
    between = steps.between_leads()
    visible = between.sum(axis=1) > 0
    across = 1 - float(np.diag(between)[visible].mean())
    return f"{across:.0%} goes to other leads" if across > 1e-6 else "the lanes never meet"


def _pooled(steps: ModelSteps) -> str:
    """The lead that counts most for the heart token, and its weight."""
    weights = steps.lead_weights.mean(axis=0)
    most = int(weights.argmax())
    if weights[weights > 0].min() > weights[most] - 1e-6:
        return f"every lead {weights[most]:.1%}"
    return f"most from {steps.recording.leads[most]}, {weights[most]:.1%}"


def _floats(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def _source(function: Callable) -> dict[str, str]:
    """The last statements of a function as they are in the source, and where that is."""
    function = inspect.unwrap(function)
    lines, first = inspect.getsourcelines(function)
    lines = textwrap.dedent("".join(lines)).splitlines()
    (definition,) = ast.parse("\n".join(lines)).body
    assert isinstance(definition, ast.FunctionDef)
    begin = next(one.lineno for one in definition.body if one.lineno > len(lines) - LINES) - 1
    documented = ast.get_docstring(definition) is not None
    begin = max(begin, definition.body[int(documented)].lineno - 1)
    where = f"{function.__qualname__}, {function.__module__.replace('.', '/')}.py, line {first + begin}"
    return {"where": where, "code": textwrap.dedent("\n".join(lines[begin:]))}
