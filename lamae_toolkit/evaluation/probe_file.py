"""The file of a linear probe: JSON with a checksum, read without trust, since the file may be damaged."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import read_json

CHECKSUM = "sha256"
"""The key of the checksum in the file; files of version 0.1 have none."""
ARRAYS = ("mean", "scale", "weight", "bias", "prevalence")
NAMES = {"codes", "representation", "C", *ARRAYS}
MAX_MB = 4000.0
REMEDY = "run `lamae evaluate` again"


def probe_text(values: Mapping[str, Any]) -> str:
    """The text of the file: what a `Probe` holds, and the checksum of it."""
    plain = {name: _rounded(value) if isinstance(value, np.ndarray) else value for name, value in values.items()}
    return json.dumps(plain | {CHECKSUM: _checksum(plain)})


def probe_values(path: Path) -> dict[str, Any]:
    """What the file of a probe holds, its arrays in float64; ECGError if it has changed, is damaged or inconsistent."""
    values = read_json(path, REMEDY, MAX_MB)
    try:
        if values.pop(CHECKSUM, None) not in (None, _checksum(values)):
            raise ECGError(f"{path} has changed since it was written: its checksum is another; {REMEDY}.")
    except RecursionError as error:  # reading allows deeper nesting than writing
        raise ECGError(f"{path} is damaged: it is nested too deeply; {REMEDY}.") from error
    if "penalty" in values:  # as version 0.1 called it
        values["C"] = values.pop("penalty")
    if set(values) | {"prevalence"} != NAMES:
        raise ECGError(f"{path} is damaged: it lacks an entry of a probe or has another one; {REMEDY}.")
    try:
        values |= {name: np.array(values[name], dtype=np.float64) for name in ARRAYS if values.get(name) is not None}
        reason = _damage(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise ECGError(f"{path} is damaged: its numbers are no arrays; {REMEDY}.") from error
    if reason:
        raise ECGError(f"{path} is damaged: its {reason}; {REMEDY}.")
    return values | {"codes": tuple(values["codes"])}


def _checksum(values: dict[str, Any]) -> str:
    """The SHA-256 of what a probe's file holds otherwise, written in one way."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _damage(values: dict[str, Any]) -> str:
    """What is wrong with the values of a probe that were read from a file; empty if nothing is."""
    codes = values["codes"]
    if not (isinstance(codes, list) and codes and all(isinstance(code, str) and code for code in codes)):
        return "codes are not names"
    if len(set(codes)) < len(codes):
        return f"code {Counter(codes).most_common(1)[0][0]} is given twice"
    if type(values["C"]) not in (int, float) or not 0 < values["C"] < np.inf:
        return "C is not a number above 0"
    d, c = len(values["mean"]), len(codes)
    for name, shape in {"mean": (d,), "scale": (d,), "weight": (c, d), "bias": (c,), "prevalence": (c,)}.items():
        array = values.get(name)
        if array is None:
            if name == "prevalence":
                continue
            return f"{name} is missing"
        if array.shape != shape:
            return f"{name} has the shape {array.shape} and not {shape}"
        if not np.isfinite(array).all():
            return f"{name} holds what is not a number"
        if name == "scale" and not (array > 0).all():
            return "scale is 0 or below"
        if name == "prevalence" and not ((array > 0) & (array < 1)).all():
            return "prevalence is not between 0 and 1"
    return ""


def _rounded(values: np.ndarray) -> list:
    """The numbers to ten significant digits, more than the float32 features have."""
    return np.vectorize(lambda value: float(f"{value:.10g}"))(values).tolist()
