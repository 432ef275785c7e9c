"""A guess of the masked part of an ECG, drawn by a person, next to the models and two rules that need no model."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError

YOURS, REGRESSION, LINE = "your guess", "linear regression", "straight line"


def guess_errors(
    read: Recording,
    mask: Bool[np.ndarray, "l n"],
    guess_mv: Float[np.ndarray, "l t"],
    reconstructions: Mapping[str, Recording],
) -> dict[str, float]:
    """How far a guess lies from the ECG, and how far models, a regression and a straight line do on the same samples.

    read: the ECG as the models read it, from `as_read`. mask: True where masked. guess_mv: NaN where nothing was
    guessed; what is not masked does not count. reconstructions: from `reconstruct_masked`. Returns the root mean
    square error in mV of each, NaN where there is none. The regression is from the leads that are visible at that
    moment, learned from the rest of this ECG. ECGError if nothing masked was guessed.

    Example:
        import numpy as np

        import lamae_toolkit as lt

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording
        read, models = lt.explain.as_read(ecg, lt.LAMAEConfig()), lt.explain.shipped_pair()
        mask = np.zeros((12, 40), dtype=bool)
        mask[1, 24] = True
        guess = np.where(np.repeat(mask, 25, axis=1), 0.1, np.nan)
        print(lt.explain.guess_errors(read, mask, guess, lt.explain.reconstruct_masked(models, ecg, mask)))
    """
    masked = np.repeat(mask, read.signal_mv.shape[1] // mask.shape[1], axis=1)
    counted = masked & ~np.isnan(guess_mv)
    if not counted.any():
        raise ECGError("Nothing masked was guessed: draw on a part of the ECG that is masked.")
    said = {
        YOURS: guess_mv,
        **{name: one.select(read.leads).signal_mv for name, one in reconstructions.items()},
        REGRESSION: regressed(read.signal_mv, masked, counted),
        LINE: straight_lines(read.signal_mv, masked),
    }
    true = read.signal_mv[counted]
    return {name: float(np.sqrt(np.square(values[counted] - true).mean())) for name, values in said.items()}


def straight_lines(signal_mv: Float[np.ndarray, "l t"], masked: Bool[np.ndarray, "l t"]) -> Float[np.ndarray, "l t"]:
    """A straight line across each gap of a lead; where all of a lead is masked, its mean."""
    times, lines = np.arange(signal_mv.shape[1]), signal_mv.copy()
    for lead, gaps in zip(lines, masked, strict=True):
        lead[gaps] = lead.mean() if gaps.all() else np.interp(times[gaps], times[~gaps], lead[~gaps])
    return lines


def regressed(
    signal_mv: Float[np.ndarray, "l t"], masked: Bool[np.ndarray, "l t"], wanted: Bool[np.ndarray, "l t"]
) -> Float[np.ndarray, "l t"]:
    """The wanted samples by linear regression on the leads that are visible at that moment; NaN without any.

    Learned from the samples of this ECG at which the lead and all these leads are visible; NaN if there are too few.
    """
    found = np.full(signal_mv.shape, np.nan)
    for row, samples in enumerate(wanted):
        for visible in {tuple(column) for column in ~masked[:, samples].T}:
            leads = np.array(visible)
            here = samples & (~masked == leads[:, None]).all(axis=0)
            learned = ~masked[row] & (~masked[leads]).all(axis=0)
            if not leads.any() or learned.sum() < 2 * (leads.sum() + 1):
                continue
            with_one = np.vstack([signal_mv[leads], np.ones(len(learned))]).T
            weights, *_ = np.linalg.lstsq(with_one[learned], signal_mv[row, learned], rcond=1e-6)
            found[row, here] = with_one[here] @ weights
    return found
