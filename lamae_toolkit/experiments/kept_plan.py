"""The plan of a study, kept next to its results: the same command resumes, another one is refused."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lamae_toolkit.errors import ECGError
from lamae_toolkit.training.trainer import TrainConfig


def kept_plan(path: Path, plan: dict, study: str, may_grow: Sequence[str] = ()) -> dict:
    """The plan that a folder holds, or else this one; ECGError if it holds another, except for what may grow."""
    if not path.is_file():
        return plan
    kept = json.loads(path.read_text(encoding="utf-8"))
    kept["train"] = asdict(TrainConfig()) | kept.get("train", {})  # what an earlier version did not have was off
    for name, value in plan.items():
        before = kept.get(name)
        if name not in may_grow and before != value:
            if isinstance(before, dict) and isinstance(value, dict):  # say which of its settings
                name = next(key for key in before | value if before.get(key) != value.get(key))
                before, value = before.get(name), value.get(name)
            raise ECGError(
                f"{path.parent} holds {study} with {name} = {before}, not {value}; choose another folder, or the same"
                " options to resume."
            )
    return kept
