"""Signal quality flags for each lead: hints for a human reader, not a diagnosis."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, Float

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import columns, filtered_every
from lamae_toolkit.ecg.recording import Recording

LEAD_FLAGS = ("nan", "flat", "clipped", "noisy")
FLAG_COLUMNS = (*(f"flag_{flag}" for flag in LEAD_FLAGS), "flag_swap")
"""Columns of a store's index: the names of the leads with the flag, joined by commas, and a suspected reversal."""

FLAT_MV, FLAT_S = 0.01, 2.0
CLIPPED_S = 0.04
NOISY_MV, NOISE_ABOVE_HZ = 0.01, 40.0
WHOLE_ECG = "ECG"
"""The key of flags that concern the complete ECG."""
REVERSED_CORRELATION, SILENT_SHARE = -0.5, 0.1


def quality_columns(recording: Recording) -> dict[str, str]:
    """The flags of an ECG as the columns of a store's index (`FLAG_COLUMNS`), "" where there is none."""
    signal_mv, rate_hz = recording.signal_mv.T[:, None], recording.sampling_rate_hz
    return flag_columns(signal_mv, rate_hz, recording.leads, [recording.flags])[0]


def flag_columns(
    signal_mv: Float[np.ndarray, "t b l"],
    rate_hz: float,
    leads: tuple[str, ...],
    of_reader: Sequence[tuple[tuple[str, str], ...]],
) -> list[dict[str, str]]:
    """`quality_columns` of several ECGs with the same leads; of_reader: what the reader found in each (`flags`)."""
    found = [
        (*divmod(int(column), len(leads)), flag)
        for flag, mask in _lead_masks(columns(signal_mv), rate_hz).items()
        for column in np.flatnonzero(mask)
    ]
    named = [(ecg, leads[lead], flag) for ecg, lead, flag in found]
    named += [(ecg, lead, flag) for ecg, flags in enumerate(of_reader) for lead, flag in flags]
    none = dict.fromkeys(FLAG_COLUMNS, "")
    columns_of = [none | {"flag_swap": reversal} for reversal in _reversals(signal_mv, rate_hz, leads).tolist()]
    for ecg, lead, flag in sorted(named, key=lambda one: LEADS.index(one[1])):
        listed = columns_of[ecg][f"flag_{flag}"]
        columns_of[ecg][f"flag_{flag}"] = f"{listed},{lead}" if listed else lead
    return columns_of


def quality_flags(recording: Recording) -> dict[str, tuple[str, ...]]:
    """The quality flags of each lead: any of "flat", "clipped" and "noisy", often none.

    flat: for 2 s (or the complete length of a shorter ECG) the lead stays within 0.01 mV.
    clipped: for 40 ms, at least 3 samples, the lead stays exactly at its highest or lowest value.
    noisy: the signal above 40 Hz has a robust standard deviation (1.48 median |x|, which the short QRS
        complexes do not move) above 0.01 mV; not computed below a sampling rate of 100 Hz.
    The flags of a reader that filled gaps or left leads out are in `recording.flags`.

    recording: any leads at any sampling rate, in mV. Returns the flags of each lead, by its name.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        patient = lt.sample_patient(0, np.random.default_rng(0))
        ecg = lt.simulate_ecg(patient, np.random.default_rng(1)).recording
        lt.quality_flags(ecg)["V1"]  # () if nothing is suspicious
    """
    masks = _lead_masks(recording.signal_mv.T, recording.sampling_rate_hz)
    return {
        lead: tuple(flag for flag, lead_mask in masks.items() if lead_mask[row])
        for row, lead in enumerate(recording.leads)
    }


def _lead_masks(signal_mv: Float[np.ndarray, "t l"], rate_hz: float) -> dict[str, np.ndarray]:
    """For each flag a mask of the leads that have it, (l,)."""
    window, least = min(round(FLAT_S * rate_hz), len(signal_mv)), max(3, round(CLIPPED_S * rate_hz))
    step = least // 2  # a quick test on every `step`-th sample, which few leads without a flag pass
    grid_mv = np.ascontiguousarray(signal_mv[::step])
    return {
        "flat": _flat(signal_mv, window, grid_mv, step),
        "clipped": _clipped(signal_mv, least, grid_mv, step),
        "noisy": _noisy(signal_mv, rate_hz),
    }


def suspected_reversal(recording: Recording) -> str | None:
    """A suspected lead reversal, as the two electrodes "RA-LA", or None if the leads do not suggest one.

    RA-LA and RA-LL: lead I (II) is inverted relative to V6, though both view the heart from the left (from below), and
    aVR is not. RA-RL: lead II, which is then the voltage between the two legs, is nearly flat; LA-RL: lead III.
    Dextrocardia, a large lateral infarction or an extreme axis look similar. Source: Batchvarov et al., Europace 9:1081
    (2007).
    """
    reversals = _reversals(recording.signal_mv.T[:, None], recording.sampling_rate_hz, recording.leads)
    return reversals[0] or None


def _reversals(signal_mv: Float[np.ndarray, "t b l"], rate_hz: float, leads: tuple[str, ...]) -> np.ndarray:
    """For each ECG the electrodes that `suspected_reversal` names, or ""."""
    compared = ("I", "II", "III", "aVR", "V6")
    if not set(compared) <= set(leads):
        return np.full(signal_mv.shape[1], "")
    step = max(1, round(rate_hz / 100))
    # Slopes, in which QRS dominates and the baseline does not.
    indices = [leads.index(name) for name in compared]
    slope = np.diff(signal_mv[::step][:, :, indices].transpose(1, 2, 0))
    products = slope @ slope.transpose(0, 2, 1)
    size = np.sqrt(products.diagonal(axis1=1, axis2=2))
    with np.errstate(invalid="ignore", divide="ignore"):
        I, II, _, aVR, _ = (products[:, :, 4] / (size * size[:, 4:])).T
    silent = size[:, :3] < SILENT_SHARE * size[:, :3].max(axis=1, keepdims=True)
    inverted = np.where(I < II, I, II) < REVERSED_CORRELATION
    cases = {
        "": (size[:, 3:] == 0).any(axis=1),
        "RA-RL": silent[:, 1],
        "LA-RL": silent[:, 2],
        "RA-LA": inverted & (aVR > 0) & (I < II),
        "RA-LL": inverted & (aVR > 0),
    }
    return np.select(list(cases.values()), list(cases), "")


def _flat(
    signal_mv: Float[np.ndarray, "t l"], window: int, grid_mv: Float[np.ndarray, "g l"], step: int
) -> Bool[np.ndarray, " l"]:
    """Which leads stay within FLAT_MV for `window` samples."""
    # A flat segment contains a complete block of half its length, wherever the blocks begin.
    block = max(1, window // step // 2)
    blocks = grid_mv[: len(grid_mv) // block * block].reshape(-1, block, grid_mv.shape[1])
    flat = (blocks.max(axis=1) - blocks.min(axis=1) < FLAT_MV).any(axis=0)
    for lead in np.flatnonzero(flat):
        from scipy.ndimage import maximum_filter1d, minimum_filter1d

        lead_mv = np.ascontiguousarray(signal_mv[:, lead])
        range_mv = maximum_filter1d(lead_mv, window) - minimum_filter1d(lead_mv, window)
        # Only windows that lie inside the ECG count.
        flat[lead] = range_mv[window // 2 : len(lead_mv) - (window - 1) // 2].min() < FLAT_MV
    return flat


def _clipped(
    signal_mv: Float[np.ndarray, "t l"], least: int, grid_mv: Float[np.ndarray, "g l"], step: int
) -> Bool[np.ndarray, " l"]:
    """Which leads stay at their highest or lowest value for at least this many samples."""
    clipped = np.zeros(signal_mv.shape[1], dtype=bool)
    for extreme in (np.max, np.min):
        limit_mv = extreme(grid_mv, axis=0)
        at_limit = grid_mv == limit_mv
        pairs = at_limit[1:] & at_limit[:-1]
        for lead in np.flatnonzero(pairs.any(axis=0)):
            between = np.flatnonzero(pairs[:, lead])[:, None] * step + np.arange(step)
            if (signal_mv[between, lead] == limit_mv[lead]).all(axis=1).any():
                at_limit_now = signal_mv[:, lead] == extreme(signal_mv[:, lead])
                edges = np.flatnonzero(np.diff(np.concatenate([[0], at_limit_now, [0]])))
                clipped[lead] |= bool((edges[1::2] - edges[::2]).max() >= least)
    return clipped


def _noisy(signal_mv: Float[np.ndarray, "t l"], rate_hz: float) -> Bool[np.ndarray, " l"]:
    """Which leads have a robust standard deviation above 40 Hz, at 50 time steps a second, of more than NOISY_MV."""
    if rate_hz < 100 or len(signal_mv) < 2:
        return np.zeros(signal_mv.shape[1], dtype=bool)
    taps = _high_pass(rate_hz)
    mean_mv = np.full(len(signal_mv), 1 / len(signal_mv), dtype=np.float32) @ signal_mv
    noise_mv = filtered_every(signal_mv, taps, max(1, int(rate_hz // 50)))
    noise_mv -= mean_mv * np.frombuffer(taps, dtype=np.float32).sum()  # the filter leaves a little of the offset
    above = 2 * (np.abs(noise_mv) > NOISY_MV / 1.4826).sum(axis=0)
    # The median is above where more than half of the values are; where it is half of them, it lies between two.
    noisy, tied = above > len(noise_mv), above == len(noise_mv)
    noisy[tied] = 1.4826 * np.median(np.abs(noise_mv[:, tied]), axis=0) > NOISY_MV
    return noisy


@cache
def _high_pass(rate_hz: float) -> bytes:
    """A high-pass filter of 0.12 s above 40 Hz, as bytes, which can be cached."""
    half, cutoff = round(0.06 * rate_hz), 2 * NOISE_ABOVE_HZ / rate_hz
    at = np.arange(-half, half + 1)  # as scipy.signal.firwin does, which takes long to import
    taps = (np.sinc(at) - cutoff * np.sinc(cutoff * at)) * np.hamming(2 * half + 1)
    return (taps / (taps * np.cos(np.pi * at)).sum()).astype(np.float32).tobytes()


def found_flags(recording: Recording) -> dict[str, tuple[str, ...]]:
    """All quality flags by lead, and under "ECG" a suspected lead reversal."""
    flags = {lead: list(names) for lead, names in quality_flags(recording).items()}
    for lead, flag in recording.flags:
        flags.setdefault(lead, []).append(flag)
    swap = suspected_reversal(recording)
    if swap:
        flags[WHOLE_ECG] = [f"lead reversal {swap}?"]
    return {lead: tuple(dict.fromkeys(names)) for lead, names in flags.items() if names}
