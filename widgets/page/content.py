"""What the page knows besides the models: their names and codes, and example ECGs as they read them."""

import base64
from typing import Any

import numpy as np
import pandas as pd

from lamae_toolkit import __version__
from lamae_toolkit.data.download import DownloadError
from lamae_toolkit.data.examples import LICENSE, example_ecg, examples, simulated_examples
from lamae_toolkit.ecg.leads import FRONTAL_AXIS_DEG, HORIZONTAL_AXIS_DEG, LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.reconstruction import as_read
from lamae_toolkit.export.onnx_parts import leads_alone
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE

EXAMPLES = ("ptbxl", "simulated")


def about(models: dict[str, LAMAE], names: dict[str, str], probe: Probe, simulated: bool) -> dict[str, Any]:
    """The models, the codes and the leads. names: of the models, as they are loaded in Python."""
    config = models["lamae"].config
    prevalence = [None] * len(probe.codes) if probe.prevalence is None else probe.prevalence.tolist()
    codes = zip(probe.codes, prevalence, probe.usual_log_odds().tolist(), probe.bias.tolist(), strict=True)
    return {
        "version": __version__,
        "models": {
            key: {
                "name": names[key],
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "leads_alone": leads_alone(model),
            }
            for key, model in models.items()
        },
        "leads": LEADS,
        "rate_hz": config.sampling_rate_hz,
        "patch_samples": config.patch_samples,
        "n_patches": config.max_patches,
        "mask_ratio": config.mask_ratio,
        "codes": [
            {
                "code": code,
                "name": name_of(code).removeprefix(code).strip(),
                "prevalence": share,
                "usual_log_odds": usual,
                "bias": bias,
            }
            for code, share, usual, bias in codes
        ],
        "frontal_axis_deg": FRONTAL_AXIS_DEG,
        "horizontal_axis_deg": HORIZONTAL_AXIS_DEG,
        "simulated": simulated,
        "source": None if simulated else LICENSE,
    }


def example_recordings(source: str) -> tuple[dict[str, Recording], bool]:
    """The ECGs of `lt.examples()` by their names, and whether they are simulated.

    source: "ptbxl", from a local folder (LAMAE_PTBXL) or PhysioNet, or if neither has them simulated ones, which is
    printed; or "simulated".
    """
    if source not in EXAMPLES:
        raise ECGError(f"There are no examples {source!r}; choose from {', '.join(EXAMPLES)}.")
    if source == "ptbxl":
        try:
            return {name: example_ecg(name) for name in examples().index}, False
        except ECGError as error:
            if not isinstance(error.__cause__, DownloadError):
                raise
            print(f"The page will hold simulated ECGs: {error.__cause__}")
    return simulated_examples(), True


def example_ecgs(recordings: dict[str, Recording], simulated: bool, config: LAMAEConfig) -> list[dict[str, Any]]:
    """Each example as the models read it, for JSON: its signals as 16-bit numbers, and what is known of it."""
    table = examples()
    return [kept(name, one, config) | _known(table.loc[name], simulated) for name, one in recordings.items()]


def kept(name: str, recording: Recording, config: LAMAEConfig) -> dict[str, Any]:
    """An ECG as the models read it, its signals in units of 1/32767 of its greatest voltage."""
    read = as_read(recording, config)
    read = read.select([lead for lead in LEADS if lead in read.leads])
    mv_per_unit = max(float(np.abs(read.signal_mv).max()), 1e-3) / 32767
    units = np.rint(read.signal_mv / mv_per_unit).astype("<i2")
    return {
        "name": name,
        "leads": read.leads,
        "n_samples": read.signal_mv.shape[1],
        "rate_hz": read.sampling_rate_hz,
        "mv_per_unit": mv_per_unit,
        "signal": base64.b64encode(units.tobytes()).decode(),
        "notes": read.notes,
        "warnings": [],
    }


def _known(row: pd.Series, simulated: bool) -> dict[str, Any]:
    """What `lt.examples()` says of an example; of a simulated one, what was simulated of it."""
    age = None if pd.isna(row.age_years) else float(row.age_years)
    known = {"age_years": age, "sex": row.sex, "simulated": simulated}
    if simulated:
        return known | {"title": str(row.name)[0].upper() + str(row.name)[1:]}
    about_record = {"record": int(row.record), "unseen": bool(row.unseen), "look_at": row.look_at}
    return known | {"title": row.finding} | about_record
