"""Preprocessing of an ECG: resampling, filtering and cropping.

Every function returns a new `Recording`; leads, their order and the notes are kept.
"""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
from jaxtyping import Float

from lamae_toolkit.ecg.recording import MAX_RATE_HZ, MIN_RATE_HZ, Recording
from lamae_toolkit.errors import ECGError


def resample(recording: Recording, sampling_rate_hz: float | int) -> Recording:
    """The same ECG with more or fewer samples per second; amplitudes and times of its waves stay.

    A polyphase low-pass filter (scipy's resample_poly) removes frequencies above the new Nyquist frequency. The ends
    are padded by point reflection, so that neither their level nor their slope jumps and the filter does not ring.
    Raises ECGError for a rate outside 50 to 2000 Hz.
    """
    rate_hz = float(sampling_rate_hz)
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ECGError(f"An ECG cannot be resampled to {rate_hz:g} Hz; choose {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz.")
    if rate_hz == recording.sampling_rate_hz:
        return recording
    signal_mv = resampled(recording.signal_mv.T, recording.sampling_rate_hz, rate_hz).T
    return replace(recording, signal_mv=signal_mv, sampling_rate_hz=rate_hz)


def columns(signal_mv: Float[np.ndarray, "t b l"]) -> Float[np.ndarray, "t bl"]:
    """The leads of several ECGs next to each other; those of one ECG without a copy, however they lie in memory."""
    return signal_mv[:, 0] if signal_mv.shape[1] == 1 else signal_mv.reshape(len(signal_mv), -1)


def resampled(signal_mv: Float[np.ndarray, "t l"], from_hz: float, to_hz: float) -> Float[np.ndarray, "k l"]:
    """`resample` for leads of one or many ECGs, time steps first, as files store them."""
    ratio = Fraction(to_hz / from_hz).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    n_resampled = max(1, round(len(signal_mv) * up / down))
    if up == down:
        return signal_mv
    if up == 1:  # the same filter, computed only for the kept samples by a matrix product
        return filtered_every(signal_mv, _low_pass(down), down)[:n_resampled]
    from scipy.signal import resample_poly

    # The filter reaches 10 samples of the slower side; padding by complete periods of `down` keeps the time grid.
    periods = -(-11 * max(up, down) // min(up, down)) // down + 1
    # The offset bypasses the filter, whose gain differs by 0.05 % from one new sample to the next.
    offset_mv = signal_mv.mean(axis=0)
    padded_mv = reflected(signal_mv - offset_mv, periods * down).astype(np.float64)
    resampled_mv = resample_poly(padded_mv, up, down, axis=0)[periods * up :][:n_resampled]
    return (resampled_mv + offset_mv).astype(np.float32)


@cache
def _low_pass(down: int) -> bytes:
    """The taps by which scipy's resample_poly makes every `down`-th sample, as bytes, which can be cached."""
    # As scipy.signal.firwin does: importing that takes longer than filtering a thousand ECGs.
    taps = np.sinc(np.arange(-10 * down, 10 * down + 1) / down) * np.kaiser(20 * down + 1, 5.0)
    return (taps / taps.sum()).astype(np.float32).tobytes()


def filtered_every(signal_mv: Float[np.ndarray, "t l"], taps: bytes, step: int) -> Float[np.ndarray, "k l"]:
    """Filter with these symmetric taps (float32), an odd number, and keep every `step`-th result, from the first.

    y_k = sum_i taps_i x(k step + i - half); beyond its ends the signal is reflected.
    """
    half, n_samples = len(taps) // 8, len(signal_mv)
    inner, end = -(-half // step), max(0, n_samples - half - 1) // step + 1  # the results whose taps lie inside
    n_results = (n_samples - 1) // step + 1
    if end <= inner or n_samples <= 2 * half:
        return _products(reflected(signal_mv, half), taps, step, n_results)
    last = n_samples - 2 * half - 1
    return np.concatenate(  # only the ends are padded: a copy of all samples takes as long as some of the products
        [
            _products(reflected(signal_mv[: 2 * half + 1], half), taps, step, inner),
            _products(signal_mv[inner * step - half :], taps, step, end - inner),
            _products(reflected(signal_mv[last:], half)[end * step - last :], taps, step, n_results - end),
        ]
    )


def _products(signal_mv: np.ndarray, taps: bytes, step: int, n_results: int) -> np.ndarray:
    """The first results of the filter, from the first sample on: 12 at a time are one matrix product."""
    matrix = _band_matrix(taps, step)
    at_once, reach = matrix.shape
    blocks, rest = divmod(n_results, at_once)
    by_row, by_lead = signal_mv.strides
    shape, strides = (blocks, reach, signal_mv.shape[1]), (at_once * step * by_row, by_row, by_lead)
    windows = np.lib.stride_tricks.as_strided(signal_mv, shape, strides, writeable=False)  # overlapping, not copied
    results = np.empty((n_results, signal_mv.shape[1]), dtype=np.float32)
    np.matmul(matrix, windows, out=results[: n_results - rest].reshape(blocks, at_once, signal_mv.shape[1]))
    reach -= (at_once - rest) * step
    np.matmul(matrix[:rest, :reach], signal_mv[blocks * at_once * step :][:reach], out=results[n_results - rest :])
    return results


@cache
def _band_matrix(taps: bytes, step: int, at_once: int = 12) -> np.ndarray:
    """One row of taps per result, each `step` samples after the one before."""
    values = np.frombuffer(taps, dtype=np.float32)
    matrix = np.zeros((at_once, (at_once - 1) * step + len(values)), dtype=np.float32)
    for row in range(at_once):
        matrix[row, row * step : row * step + len(values)] = values
    return matrix


def reflected(signal_mv: Float[np.ndarray, "t l"], n_pad: int) -> Float[np.ndarray, "u l"]:
    """The signal padded at both ends by point reflection about its first and last sample."""
    if n_pad < len(signal_mv):
        before = 2 * signal_mv[:1] - signal_mv[n_pad:0:-1]
        after = 2 * signal_mv[-1:] - signal_mv[-2 : -n_pad - 2 : -1]
        return np.concatenate([before, signal_mv, after])
    if len(signal_mv) == 1:
        return np.repeat(signal_mv, 2 * n_pad + 1, axis=0)
    return np.pad(signal_mv, ((n_pad, n_pad), (0, 0)), mode="reflect", reflect_type="odd")  # more than once


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
    from scipy.signal import butter, sosfiltfilt

    sections = butter(order, (low_hz, high_hz), btype="bandpass", fs=rate_hz, output="sos")
    n_pad = min(recording.signal_mv.shape[1] - 1, round(rate_hz / low_hz))  # one period of the slowest wave kept
    filtered_mv = sosfiltfilt(sections, recording.signal_mv.astype(np.float64), axis=1, padlen=n_pad)
    return replace(recording, signal_mv=filtered_mv.astype(np.float32))


def crop(recording: Recording, start_s: float | int, duration_s: float | int) -> Recording:
    """A segment of the ECG, `duration_s` seconds long, from `start_s` seconds on.

    Both are rounded to whole samples. Raises ECGError if the segment is empty or extends beyond the ECG.
    """
    rate_hz, n_samples = recording.sampling_rate_hz, recording.signal_mv.shape[1]
    if not (np.isfinite(start_s) and np.isfinite(duration_s)):
        raise ECGError("Start and duration of a crop are numbers of seconds; give finite ones.")
    first, length = round(start_s * rate_hz), round(duration_s * rate_hz)
    if first < 0 or length < 1 or first + length > n_samples:
        raise ECGError(
            f"A crop of {duration_s:g} s from {start_s:g} s does not fit an ECG of {recording.duration_s:g} s; choose a"
            " segment inside it."
        )
    return replace(recording, signal_mv=recording.signal_mv[:, first : first + length])
