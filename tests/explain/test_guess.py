"""A guess and its competitors on the same samples, by hand."""

import numpy as np
import pytest

from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.guess import guess_errors, regressed, straight_lines


@pytest.fixture
def ecg() -> Recording:
    """Three leads of 4 patches of 10 samples; the third is 2 I - II + 0.1 mV."""
    one, two = np.random.default_rng(0).normal(size=(2, 40))
    return Recording(np.stack([one, two, 2 * one - two + 0.1]).astype(np.float32), 100, ("I", "II", "V1"))


def test_errors_count_only_what_was_guessed_and_is_masked(ecg):
    mask = np.array([[False] * 4, [False] * 4, [False, True, False, True]])
    guess = np.full((3, 40), np.nan)
    guess[2, 5:15] = ecg.signal_mv[2, 5:15] + 0.5  # half of it on what is visible
    guess[0, :] = 9.0
    model = Recording(ecg.signal_mv[::-1] + 0.25, 100, ecg.leads[::-1])  # leads by name, not by row
    errors = guess_errors(ecg, mask, guess, {"model": model})
    assert list(errors) == ["your guess", "model", "linear regression", "straight line"]
    assert errors["your guess"] == pytest.approx(0.5, abs=1e-6) and errors["model"] == pytest.approx(0.25, abs=1e-6)
    assert errors["linear regression"] < 1e-5, "the other leads give it exactly"
    line = np.interp(np.arange(10, 15), [9, 20], ecg.signal_mv[2, [9, 20]])
    by_hand = np.sqrt(np.square(line - ecg.signal_mv[2, 10:15]).mean())
    assert errors["straight line"] == pytest.approx(by_hand, abs=1e-6)


def test_regression_uses_only_leads_that_are_visible_at_that_moment(ecg):
    mask = np.zeros((3, 4), dtype=bool)
    mask[2, 1] = mask[1, 1] = True  # V1 from I alone
    masked = np.repeat(mask, 10, axis=1)
    wanted = masked & (np.arange(3) == 2)[:, None]
    found = regressed(ecg.signal_mv, masked, wanted)[2, 10:20]
    learned = np.r_[0:10, 20:40]
    slope, constant = np.polyfit(ecg.signal_mv[0, learned], ecg.signal_mv[2, learned], 1)
    assert found == pytest.approx(slope * ecg.signal_mv[0, 10:20] + constant, abs=1e-4)
    masked[:, 10:20] = True  # nothing is visible
    assert np.isnan(regressed(ecg.signal_mv, masked, wanted)[2, 10:20]).all()
    masked[2] = True  # never visible, so nothing is learned
    assert np.isnan(regressed(ecg.signal_mv, masked, wanted)).all()


def test_a_lead_that_is_masked_completely_is_guessed_by_its_mean(ecg):
    masked = np.zeros((3, 40), dtype=bool)
    masked[1] = True
    lines = straight_lines(ecg.signal_mv, masked)
    assert lines[1] == pytest.approx(np.full(40, ecg.signal_mv[1].mean()))
    assert np.array_equal(lines[[0, 2]], ecg.signal_mv[[0, 2]])


def test_a_guess_on_what_is_visible_is_refused(ecg):
    with pytest.raises(ECGError, match="Nothing masked was guessed"):
        guess_errors(ecg, np.zeros((3, 4), dtype=bool), np.zeros((3, 40)), {})
