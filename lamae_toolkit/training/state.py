"""The state of training in a checkpoint, `training.pt`: read without trust, since the file may be damaged."""

from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch

from lamae_toolkit.checksums import check_files
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.pretrained import WEIGHTS_FILE

STATE_FILE = "training.pt"


def read_state(checkpoint: Path, device: torch.device) -> dict[str, Any]:
    """What `training.pt` of a checkpoint holds; ECGError if it is damaged or not a state of training."""
    path, weights = checkpoint / STATE_FILE, checkpoint / WEIGHTS_FILE
    for file in (path, weights):
        if not file.is_file():
            raise _unusable(checkpoint, f"has no {file.name}")
    check_files(checkpoint, [STATE_FILE])
    # AdamW keeps two numbers for each parameter.
    if path.stat().st_size > 3 * weights.stat().st_size + 1e7:
        raise _unusable(checkpoint, f"has a {STATE_FILE} that is too large for its weights")
    try:
        with ZipFile(path) as archive:  # torch compresses nothing, so the file cannot unpack to more than its size
            packed = any(entry.compress_type != ZIP_STORED for entry in archive.infolist())
        state = None if packed else torch.load(path, weights_only=True, map_location=device)
    except Exception as error:  # damaged content makes zipfile and torch raise errors of any kind
        raise _unusable(checkpoint, f"has a damaged {STATE_FILE}") from error
    if not isinstance(state, dict) or ("recipe" in state and not _is_run(state)):
        raise _unusable(checkpoint, f"has a {STATE_FILE} that is not the state of a pretraining run")
    return state


def _is_run(state: dict[Any, Any]) -> bool:
    """Whether these are the entries of a run; one of version 0.1, which has no recipe, is refused for that instead."""
    kinds = {"step": int, "recipe": int, "train_config": dict, "precision": str, "data": str, "optimizer": dict}
    return (
        all(isinstance(state.get(name), kind) for name, kind in kinds.items())
        and type(state.get("threads", 0)) is int
        and all(
            isinstance(name, str) and isinstance(value, (int, float, str))
            for name, value in state["train_config"].items()
        )
    )


def load_optimizer(optim: torch.optim.Optimizer, state: dict[str, Any], steps: int, checkpoint: Path) -> None:
    """Give an optimizer its state from `read_state`, after checking that it fits the parameters and is finite.

    steps: how many steps the run has. Settings of the optimizer are not read: they follow from the configuration.
    """
    if not 0 <= state["step"] <= steps:
        raise _unusable(checkpoint, f"is of step {state['step']} of a run of {steps} steps")
    parameters = [parameter for group in optim.param_groups for parameter in group["params"]]
    moments = state["optimizer"].get("state")
    if not isinstance(moments, dict) or not all(
        type(index) is int and 0 <= index < len(parameters) and _fits(values, parameters[index], state["step"])
        for index, values in moments.items()
    ):
        raise _unusable(checkpoint, f"has a {STATE_FILE} that does not fit its weights or holds what is not a number")
    optim.load_state_dict({"state": moments, "param_groups": optim.state_dict()["param_groups"]})


def _fits(values: Any, parameter: torch.Tensor, step: int) -> bool:
    """Whether this is the state of AdamW for this parameter, after at most so many steps."""
    if not isinstance(values, dict) or set(values) != {"step", "exp_avg", "exp_avg_sq"}:
        return False
    if not all(isinstance(value, torch.Tensor) and value.is_floating_point() for value in values.values()):
        return False
    mean, square = values["exp_avg"], values["exp_avg_sq"]
    return (
        mean.shape == square.shape == parameter.shape
        and bool(mean.isfinite().all() and square.isfinite().all() and (square >= 0).all())
        and values["step"].numel() == 1
        and 0 < values["step"].item() <= step
    )


def _unusable(checkpoint: Path, reason: str) -> ECGError:
    return ECGError(
        f"{checkpoint} cannot be resumed: it {reason}; copy it again, or choose another folder to start again."
    )
