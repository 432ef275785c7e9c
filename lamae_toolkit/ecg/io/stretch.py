"""Which stretch of a record is read, and how many samples at once."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lamae_toolkit.errors import ECGError

MAX_SAMPLES = 300_000_000
"""Limit of one reading, over all leads: 12 leads of 24 hours at 250 Hz have 259 million, 1 GB in float32."""

BLOCK_SAMPLES = 1_000_000
"""Samples, over all channels, that are converted at a time: an ECG of 10 s is one block."""


class Stretch(NamedTuple):
    """A part of a record: from `start_s` on, `duration_s` long or, if None, to the end.

    or_less: a record that ends earlier is read to its end, instead of being refused.
    """

    start_s: float = 0.0
    duration_s: float | None = None
    or_less: bool = False

    def checked(self) -> "Stretch":
        """Itself; ECGError if the numbers are no stretch of any record."""
        if not (0 <= self.start_s < np.inf and (self.duration_s is None or 0 < self.duration_s < np.inf)):
            raise ECGError("A stretch starts at 0 s or later and lasts more than 0 s; correct start_s or duration_s.")
        return self

    def wanted(self, rate_hz: float) -> tuple[int, int | None]:
        """The first sample and the one after the last, None for the end, whether or not a record has them."""
        if not 0 < rate_hz < np.inf:
            raise ECGError(f"The sampling rate is {rate_hz:g} Hz, which no ECG has; correct it.")
        start = round(self.start_s * rate_hz)
        return start, None if self.duration_s is None else start + max(1, round(self.duration_s * rate_hz))

    def samples(self, n_samples: int, rate_hz: float, n_leads: int) -> range:
        """The samples of this stretch in a record of `n_samples` per lead; ECGError if the record lacks some of them.

        ECGError also if they are too many to be read at once.
        """
        if n_samples < 1:
            raise ECGError("The record is empty, as it has no samples; copy or export it again.")
        start, stop = self.wanted(rate_hz)
        stop = n_samples if stop is None else stop
        if stop > n_samples and self.or_less:
            stop = n_samples
        if not start < stop <= n_samples:
            until = "the end" if self.duration_s is None else f"{self.start_s + self.duration_s:g} s"
            raise ECGError(
                f"The stretch from {self.start_s:g} s to {until} does not lie inside the record, which lasts"
                f" {n_samples / rate_hz:g} s; correct start_s or duration_s.",
                "stretch outside of the record",
            )
        check_size(stop - start, n_leads)
        return range(start, stop)

    @property
    def is_complete(self) -> bool:
        """Whether it is the complete record, whatever its length."""
        return self.start_s == 0 and self.duration_s is None


def check_size(n_samples: int, n_leads: int) -> None:
    """Refuse what is too much to be read at once, before any memory is taken."""
    if n_samples * n_leads > MAX_SAMPLES:
        raise ECGError(
            f"It has {n_samples * n_leads / 1e6:.0f} million samples, and at most {MAX_SAMPLES / 1e6:.0f} million are"
            " read at once; read a stretch of it, for example with start_s=0 and duration_s=3600.",
            "too long",
        )


def blocks(samples: range, n_channels: int) -> Iterator[range]:
    """The samples in parts of limited size, one after the other."""
    step = max(1, BLOCK_SAMPLES // max(1, n_channels))
    for start in range(samples.start, samples.stop, step):
        yield range(start, min(start + step, samples.stop))
