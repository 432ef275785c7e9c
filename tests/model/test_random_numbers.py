"""Random numbers from a counter: the published generator, uniform and independent, and each ECG's own."""

import numpy as np
import pytest
import torch
from scipy import stats

from lamae_toolkit.model.random_numbers import GAMMA, Purpose, _hashed, normal, random_keys, uniform

ROWS = torch.arange(2000)


def test_the_hash_is_that_of_splitmix64():
    # The first numbers of the reference implementation for the seed 1234567.
    numbers = _hashed(1234567 + GAMMA * torch.arange(1, 6))
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [int(number) % 2**64 for number in numbers[:4]] == expected


def test_numbers_are_uniform_and_independent_of_each_other():
    keys = random_keys(0, 0, ROWS)
    numbers = uniform(keys, Purpose.MASKED_PATCHES, (12, 40))
    assert numbers.shape == (2000, 12, 40) and numbers.min() > 0 and numbers.max() < 1
    assert stats.kstest(numbers.flatten()[::7].numpy(), "uniform").pvalue > 0.001
    others = {
        "next number": numbers[:, :, 1:].flatten(),
        "next ECG": numbers[1:, :, 1:].flatten(),
        "next epoch": uniform(random_keys(0, 1, ROWS), Purpose.MASKED_PATCHES, (12, 40))[:, :, 1:].flatten(),
        "next seed": uniform(random_keys(1, 0, ROWS), Purpose.MASKED_PATCHES, (12, 40))[:, :, 1:].flatten(),
        "other purpose": uniform(keys, Purpose.NOISE, (12, 40))[:, :, 1:].flatten(),
    }
    first = numbers[:, :, :-1].flatten()
    for name, other in others.items():
        assert abs(np.corrcoef(first[: len(other)], other)[0, 1]) < 5 / np.sqrt(len(other)), name


def test_normal_numbers_are_normal():
    numbers = normal(random_keys(3, 0, ROWS), Purpose.NOISE, (50,)).flatten()
    assert torch.isfinite(numbers).all()
    assert stats.kstest(numbers.numpy(), "norm").pvalue > 0.001


@pytest.mark.parametrize("seed", [0, 2**63 - 1, -5])
def test_an_ecg_has_the_same_numbers_in_any_batch(seed):
    keys = random_keys(seed, 4, ROWS)
    some = torch.tensor([7, 1999, 0])
    assert torch.equal(random_keys(seed, 4, some), keys[some])
    assert torch.equal(uniform(keys[some], Purpose.CROP, (5,)), uniform(keys, Purpose.CROP, (5,))[some])
    assert len(torch.unique(torch.cat([random_keys(seed, epoch, ROWS) for epoch in range(-1, 20)]))) == 21 * len(ROWS)
