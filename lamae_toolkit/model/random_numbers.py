"""Random numbers from a counter: those of an ECG depend on the seed, the epoch and the ECG, and on nothing else.

So each process computes the numbers of its own ECGs only; they are the same for any batch size, number of processes and
device; and a run has no generator whose state must be saved. The numbers are those of SplitMix64, a hash of key and
counter (Steele, Lea and Flood, OOPSLA 2014). It needs 64-bit integers that wrap, as those of torch do.
"""

import math
from enum import IntEnum

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Purpose(IntEnum):
    """What random numbers are for: each purpose has numbers of its own."""

    MASKED_PATCHES = 1
    MASKED_LEADS = 2
    CROP = 3
    AMPLITUDE = 4
    LEAD_DROPOUT = 5
    NOISE = 6
    MASK_KIND = 7
    MASKED_STRETCHES = 8


def random_keys(seed: int, epoch: int, rows: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
    """One key per ECG, from which all its random numbers in this epoch follow. rows: the ECGs' rows in the store."""
    return _hashed(_hashed(_hashed(torch.tensor(seed)) + epoch) + rows)


def uniform(keys: Int64[Tensor, " b"], purpose: Purpose, shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
    """Uniform numbers of this shape for each key, above 0 and below 1."""
    counter = torch.arange(1, math.prod(shape) + 1, device=keys.device)
    bits = _hashed(_hashed(keys + purpose)[:, None] + counter * GAMMA)
    return ((_shifted(bits, 41) + 0.5) * 2.0**-23).reshape(-1, *shape)  # exact in float32, so never 1


def normal(keys: Int64[Tensor, " b"], purpose: Purpose, shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
    """Standard normal numbers of this shape for each key."""
    return math.sqrt(2) * torch.erfinv(2 * uniform(keys, purpose, shape) - 1)


def _hashed(z: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """The output function of SplitMix64: every bit of the result depends on every bit of z."""
    z = (z ^ _shifted(z, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    z = (z ^ _shifted(z, 27)) * (0x94D049BB133111EB - 2**64)
    return z ^ _shifted(z, 31)


def _shifted(z: Int64[Tensor, "..."], bits: int) -> Int64[Tensor, "..."]:
    """z shifted to the right, as an unsigned number."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


GAMMA = 0x9E3779B97F4A7C15 - 2**64
"""The step of the counter in SplitMix64, as a signed number."""
