"""A convolutional network that is trained from scratch: what labels alone are worth, next to a pretrained model."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.model.normalization import mean_and_scale


class XResNet1d(nn.Module):
    """A convolutional network (xresnet1d) on all leads at once, trained from scratch.

    Three small convolutions, then residual blocks with average-pooled shortcuts, then the mean and the maximum of
    each feature over time. Source: He et al., arXiv 1812.01187; on ECGs Strodthoff et al., arXiv 2004.13701.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = (64, 64, 128, 128), kernel: int = 5) -> None:
        super().__init__()
        stem = [_convolution(len(LEADS), 32, kernel, 2), _convolution(32, 32, kernel), _convolution(32, 64, kernel)]
        inputs = (64, *widths[:-1])
        blocks = [
            _Residual(before, after, kernel, 1 if index == 0 else 2)
            for index, (before, after) in enumerate(zip(inputs, widths, strict=True))
        ]
        self.body = nn.Sequential(*stem, nn.MaxPool1d(3, 2, 1), *blocks)
        self.head = nn.Sequential(nn.BatchNorm1d(2 * widths[-1]), nn.Dropout(0.3), nn.Linear(2 * widths[-1], classes))

    def forward(self, batch: Batch) -> Float[Tensor, "b c"]:
        """The log-odds of each class. Leads are divided by their standard deviation; an absent one is 0."""
        batch = batch.select(LEADS)
        complete = batch.signal_mv[:, :, None]
        mean_mv, scale_mv = mean_and_scale(complete, torch.ones_like(complete[..., 0], dtype=torch.bool))
        x = self.body(((complete - mean_mv) / scale_mv)[:, :, 0])
        return self.head(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1))


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            _convolution(before, after, kernel, stride), _convolution(after, after, kernel, 1, 0.0)
        )
        shrink = [nn.AvgPool1d(2, ceil_mode=True)] if stride == 2 else []
        widen = [nn.Conv1d(before, after, 1, bias=False), nn.BatchNorm1d(after)] if before != after else []
        self.shortcut = nn.Sequential(*shrink, *widen)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.path(x) + self.shortcut(x))


def _convolution(before: int, after: int, kernel: int, stride: int = 1, scale: float = 1.0) -> nn.Sequential:
    """Convolution and batch norm, then ReLU; with scale 0 the last of a residual path, whose output is 0 at first."""
    norm = nn.BatchNorm1d(after)
    nn.init.constant_(norm.weight, scale)
    layers = [nn.Conv1d(before, after, kernel, stride, kernel // 2, bias=False), norm]
    return nn.Sequential(*layers, nn.ReLU()) if scale else nn.Sequential(*layers)
