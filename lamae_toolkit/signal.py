"""What is done to an ECG before a model sees it: resampling, filtering, cropping, and flags on its quality.

Every function takes a `Recording` and leaves it as it is; leads, their order and the notes are kept.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
from scipy import ndimage
from scipy import signal as scipy_signal

from lamae_toolkit.ecg import MAX_RATE_HZ, MIN_RATE_HZ, ECGError, Recording

FLAT_MV, FLAT_S = 0.01, 2.0
CLIPPED_S = 0.04
NOISY_MV, NOISE_ABOVE_HZ = 0.01, 40.0


def resample(recording: Recording, sampling_rate_hz: float | int) -> Recording:
    """The same ECG with more or fewer samples per second; heights and times of its waves stay.

    A polyphase low-pass filter (scipy's resample_poly) removes what the new rate cannot carry. The ends are
    continued by point reflection, so that neither their level nor their slope jumps and nothing rings.
    Raises ECGError for a rate outside 50 to 2000 Hz.
    """
    rate_hz = float(sampling_rate_hz)
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ECGError(f"An ECG cannot be resampled to {rate_hz:g} Hz; choose {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz.")
    if rate_hz == recording.sampling_rate_hz:
        return recording
    ratio = Fraction(rate_hz / recording.sampling_rate_hz).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    # The filter reaches 10 samples of the slower side; padding by whole periods of `down` keeps the time grid.
    periods = -(-11 * max(up, down) // min(up, down)) // down + 1
    n_samples = recording.signal_mv.shape[1]
    # The offset goes round the filter, whose gain differs by 0.05 % from one new sample to the next.
    offset_mv = recording.signal_mv.mean(axis=1, keepdims=True, dtype=np.float64)
    padded_mv = _reflect(recording.signal_mv - offset_mv, periods * down)
    resampled_mv = scipy_signal.resample_poly(padded_mv, up, down, axis=1) + offset_mv
    n_resampled = max(1, round(n_samples * up / down))
    signal_mv = resampled_mv[:, periods * up : periods * up + n_resampled].astype(np.float32)
    return replace(recording, signal_mv=signal_mv, sampling_rate_hz=rate_hz)


def _reflect(signal_mv: np.ndarray, n_pad: int) -> np.ndarray:
    """The signal continued at both ends by point reflection about its first and last sample."""
    if signal_mv.shape[1] == 1:
        return np.pad(signal_mv, ((0, 0), (n_pad, n_pad)), mode="edge")
    return np.pad(signal_mv, ((0, 0), (n_pad, n_pad)), mode="reflect", reflect_type="odd")


def bandpass(recording: Recording, low_hz: float | int = 0.5, high_hz: float | int = 40.0, order: int = 3) -> Recording:
    """Remove baseline wander below `low_hz` and muscle and mains noise above `high_hz`, without shifting waves in time.

    A Butterworth filter, run forwards and backwards. It changes the ST segment when `low_hz` is
    above 0.05: use it for what a model learns from rhythm and shape, not to measure ST.
    Raises ECGError unless 0 < low_hz < high_hz < half the sampling rate.
    """
    rate_hz = recording.sampling_rate_hz
    if not 0 < low_hz < high_hz < rate_hz / 2:
        raise ECGError(
            f"A band of {low_hz:g} to {high_hz:g} Hz does not fit a sampling rate of {rate_hz:g} Hz; keep 0 < low_hz"
            f" < high_hz < {rate_hz / 2:g}."
        )
    sections = scipy_signal.butter(order, (low_hz, high_hz), btype="bandpass", fs=rate_hz, output="sos")
    n_pad = min(recording.signal_mv.shape[1] - 1, round(rate_hz / low_hz))  # one period of the slowest wave kept
    filtered_mv = scipy_signal.sosfiltfilt(sections, recording.signal_mv.astype(np.float64), axis=1, padlen=n_pad)
    return replace(recording, signal_mv=filtered_mv.astype(np.float32))


def crop(recording: Recording, start_s: float | int, duration_s: float | int) -> Recording:
    """A stretch of the ECG, `duration_s` seconds long, from `start_s` seconds on.

    Both are rounded to whole samples. Raises ECGError where the stretch is empty or leaves the ECG.
    """
    rate_hz, n_samples = recording.sampling_rate_hz, recording.signal_mv.shape[1]
    if not (np.isfinite(start_s) and np.isfinite(duration_s)):
        raise ECGError("Start and duration of a crop are numbers of seconds; give finite ones.")
    first, length = round(start_s * rate_hz), round(duration_s * rate_hz)
    if first < 0 or length < 1 or first + length > n_samples:
        raise ECGError(
            f"A crop of {duration_s:g} s from {start_s:g} s does not fit an ECG of {recording.duration_s:g} s; choose a"
            " stretch inside it."
        )
    return replace(recording, signal_mv=recording.signal_mv[:, first : first + length])


def quality_flags(recording: Recording) -> dict[str, tuple[str, ...]]:
    """What is suspicious about each lead: any of "flat", "clipped" and "noisy", often nothing.

    flat: for 2 s (or a shorter ECG's whole length) the lead stays within 0.01 mV.
    clipped: for 40 ms, at least 3 samples, the lead stays exactly at its highest or lowest value.
    noisy: what lies above 40 Hz has a robust standard deviation (1.48 median |x|, which the short QRS
        complexes do not move) above 0.01 mV; not judged below a sampling rate of 100 Hz.
    These are hints for a human eye, not a diagnosis.
    """
    rate_hz = recording.sampling_rate_hz
    noise_mv = np.zeros_like(recording.signal_mv)
    if rate_hz >= 100 and recording.signal_mv.shape[1] > 1:
        sections = scipy_signal.butter(3, NOISE_ABOVE_HZ, btype="highpass", fs=rate_hz, output="sos")
        n_pad = min(recording.signal_mv.shape[1] - 1, round(rate_hz))
        noise_mv = scipy_signal.sosfiltfilt(sections, recording.signal_mv.astype(np.float64), axis=1, padlen=n_pad)
    flags = {}
    for row, lead in enumerate(recording.leads):
        lead_mv = recording.signal_mv[row]
        found = {
            "flat": _range_of_flattest_mv(lead_mv, round(FLAT_S * rate_hz)) < FLAT_MV,
            "clipped": _longest_at_limit(lead_mv) >= max(3, round(CLIPPED_S * rate_hz)),
            "noisy": 1.4826 * np.median(np.abs(noise_mv[row])) > NOISY_MV,
        }
        flags[lead] = tuple(name for name, is_so in found.items() if is_so)
    return flags


def _range_of_flattest_mv(lead_mv: np.ndarray, window: int) -> float:
    """Highest minus lowest value in the flattest stretch of `window` samples."""
    if window >= len(lead_mv):
        return float(np.ptp(lead_mv))
    range_mv = ndimage.maximum_filter1d(lead_mv, window) - ndimage.minimum_filter1d(lead_mv, window)
    # Only windows that lie inside the ECG count.
    return float(range_mv[window // 2 : len(lead_mv) - (window - 1) // 2].min())


def _longest_at_limit(lead_mv: np.ndarray) -> int:
    """The longest run of samples exactly at the highest or at the lowest value."""
    longest = 0
    for limit_mv in (lead_mv.max(), lead_mv.min()):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], lead_mv == limit_mv, [0]]).astype(np.int8)))
        longest = max(longest, int((edges[1::2] - edges[::2]).max()))
    return longest
