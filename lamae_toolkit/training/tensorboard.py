"""The log of a run as TensorBoard scalars, where TensorBoard is installed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TENSORBOARD = "tensorboard"


@contextmanager
def tensorboard_scalars(folder: Path, first_step: int) -> Iterator[Callable[[dict], None]]:
    """A function that writes a row of the log into `folder/tensorboard`; without TensorBoard it does nothing.

    first_step: the first step of this part of the run; TensorBoard drops scalars of an earlier part from there on.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda row: None
        return
    with _without_tracebacks(), SummaryWriter(str(folder / TENSORBOARD), purge_step=first_step) as writer:

        def write(row: dict) -> None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, row["step"])

        yield write


@contextmanager
def _without_tracebacks() -> Iterator[None]:
    """TensorBoard writes in a thread of its own. If that fails, say because the disk is full, the next row raises the
    error where it can be reported in a sentence; the thread must not print it as well."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not type(failed.thread).__module__.startswith("tensorboard."):
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
