"""Leads and patches of an ECG as a grid on the page, which are masked by mouse or keyboard."""

from collections.abc import Mapping
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from jaxtyping import Bool, Float

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.reconstruction import mean_error
from lamae_toolkit.palette import model_looks

HERE = Path(__file__).parent
DASHES_PX = {"solid": [], "dash": [6, 4], "dashdot": [8, 3, 2, 3], "dot": [2, 3]}


class MaskGrid(anywidget.AnyWidget):
    """The grid only: the mask comes from the page, the reconstructions from Python.

    masked: a word of 0 and 1 for each lead, 1 where a patch is masked. _edit: the same as a person changed it on the
    page, with the number of this change. cursor: the lead and the patch that the keys are at. On the page leads stand
    in the order of `LEADS`, here in that of the recording.
    """

    _esm = (HERE / "mask_grid.js").read_text("utf-8")
    _css = (HERE / "mask_grid.css").read_text("utf-8")

    masked = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _edit = traitlets.Dict().tag(sync=True)
    cursor = traitlets.List().tag(sync=True)
    _ecg = traitlets.Dict().tag(sync=True)
    _models = traitlets.List().tag(sync=True)
    _reconstructed = traitlets.Dict().tag(sync=True)
    _text = traitlets.Unicode().tag(sync=True)
    _window = traitlets.List().tag(sync=True)
    _row_px = traitlets.Int(56).tag(sync=True)
    _gap = traitlets.Bool(False).tag(sync=True)
    _all_leads = traitlets.Bool(False).tag(sync=True)
    _drawing = traitlets.Bool(False).tag(sync=True)
    _guess = traitlets.Dict().tag(sync=True)

    def zoom(self, first: int, end: int) -> None:
        """Show the patches from the first to before the end."""
        self._window = [first, end]

    def guess_mv(self, samples: int) -> Float[np.ndarray, "l t"]:
        """What was drawn on the page, a row for each lead of the recording, NaN where nothing was."""
        drawn = np.full((len(self.leads), samples), np.nan)
        for lead, values in self._guess.items():
            if lead in self.leads and len(values) == samples:
                drawn[self.leads.index(lead)] = [np.nan if value is None else value for value in values]
        return drawn

    def show_ecg(self, recording: Recording, patches: int, models: Mapping[str, object]) -> None:
        """Another ECG, as the models read it."""
        self.leads = recording.leads
        self._guess, self._window = {}, [0, patches]
        signal_mv = recording.signal_mv[self._rows()]
        # As in `ecg_figure`: one scale for all leads; a rare spike may exceed it.
        bottom, top = np.quantile(signal_mv, [0.0005, 0.9995]) * 1.15 + np.array([-0.15, 0.15])
        steps, scale_mv = _in_two_bytes(signal_mv)
        names = [name for name in LEADS if name in self.leads]
        self._ecg = {
            "leads": names,
            "patches": patches,
            "patch_s": recording.duration_s / patches,
            "bottom_mv": float(bottom),
            "top_mv": float(top),
            "samples": signal_mv.shape[1],
            "data": steps,
            "scale_mv": scale_mv,
        }
        looks = model_looks(models).items()
        self._models = [{"name": name, "color": color, "dash": DASHES_PX[dash]} for name, (color, dash, _) in looks]
        if not self.cursor or self.cursor[0] not in names:
            self.cursor = ["V3" if "V3" in names else names[0], 0]
        self.cursor = [self.cursor[0], min(self.cursor[1], patches - 1)]

    def show_reconstructions(
        self,
        mask: Bool[np.ndarray, "l n"],
        reconstructions: Mapping[str, Recording],
        errors: Mapping[str, Float[np.ndarray, " l"]],
        text: str,
    ) -> None:
        """The mask, its reconstructions, their errors, and a description."""
        rows = self._rows()
        steps, scale_mv = _in_two_bytes(
            np.stack([reconstruction.signal_mv[rows] for reconstruction in reconstructions.values()])
        )
        numbers = [_sent(of[rows]) for of in errors.values()]
        means = _sent([mean_error(of, mask) for of in errors.values()])
        self._text = text
        self.masked = ["".join("01"[int(patch)] for patch in mask[row]) for row in rows]
        # Counted, so that the page is notified of every answer, even if nothing changes.
        count = self._reconstructed.get("count", 0) + 1
        self._reconstructed = {
            "data": steps,
            "scale_mv": scale_mv,
            "errors": numbers,
            "means": means,
            "count": count,
            "edit": self._edit.get("number", 0),
        }

    def edited(self) -> Bool[np.ndarray, "l n"]:
        """The mask as it was changed on the page, a row for each lead of the recording."""
        shown = np.array([[patch == "1" for patch in row] for row in self._edit["masked"]])
        rows = self._rows()
        return shown[np.argsort(rows)] if len(shown) == len(rows) else shown  # the latter of an ECG shown before

    def _rows(self) -> list[int]:
        """The index in the recording of each lead of the page."""
        return [self.leads.index(name) for name in LEADS if name in self.leads]


def _sent(errors) -> list[float | None]:
    """Errors as JSON has them, None where nothing is masked."""
    return [None if np.isnan(one) else float(one) for one in errors]


def _in_two_bytes(signal_mv: np.ndarray) -> tuple[bytes, float]:
    """Voltages in steps of a 32767th of the largest, and that step in mV."""
    scale_mv = max(float(np.abs(signal_mv).max()), 1e-6) / 32767
    return np.round(signal_mv / scale_mv).astype("<i2").tobytes(), scale_mv
