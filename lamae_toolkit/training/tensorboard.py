"""The log of a run as TensorBoard scalars, where TensorBoard is installed."""

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
    with SummaryWriter(str(folder / TENSORBOARD), purge_step=first_step) as writer:

        def write(row: dict) -> None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, row["step"])

        yield write
