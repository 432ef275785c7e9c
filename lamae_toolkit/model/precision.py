"""The precision of matrix products: float32, or bfloat16 for speed."""

from contextlib import AbstractContextManager, nullcontext

import torch

from lamae_toolkit.errors import ECGError

PRECISIONS = ("float32", "bfloat16")


def check_precision(precision: str) -> None:
    """Refuse a precision that is not one of PRECISIONS (ECGError)."""
    if precision not in PRECISIONS:
        raise ECGError(f"The precision is {precision!r}; choose from {', '.join(PRECISIONS)}.")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Within it, matrix products are computed in this precision; parameters and sums stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def full_precision(device: torch.device) -> AbstractContextManager:
    """Matrix products in float32, also within `autocast`; the device "meta" has neither."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
