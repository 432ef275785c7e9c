"""Signal quality flags for each lead: hints for a human reader, not a diagnosis."""

from functools import cache

import numpy as np
from jaxtyping import Float

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import filtered_every, reflected
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
    masks = _lead_masks(recording)
    flagged = {flag: [recording.leads[row] for row in np.flatnonzero(lead_mask)] for flag, lead_mask in masks.items()}
    flagged["nan"] = []
    for lead, flag in recording.flags:
        flagged[flag].append(lead)
    columns = {f"flag_{flag}": ",".join(sorted(flagged[flag], key=LEADS.index)) for flag in LEAD_FLAGS}
    return columns | {"flag_swap": suspected_reversal(recording) or ""}


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
    masks = _lead_masks(recording)
    return {
        lead: tuple(flag for flag, lead_mask in masks.items() if lead_mask[row])
        for row, lead in enumerate(recording.leads)
    }


def _lead_masks(recording: Recording) -> dict[str, np.ndarray]:
    """For each flag a mask of the leads that have it, (l,)."""
    signal_mv, rate_hz = recording.signal_mv, recording.sampling_rate_hz
    return {
        "flat": _flat(signal_mv, round(FLAT_S * rate_hz)),
        "clipped": _clipped(signal_mv, max(3, round(CLIPPED_S * rate_hz))),
        "noisy": _noise_mv(signal_mv, rate_hz) > NOISY_MV,
    }


def suspected_reversal(recording: Recording) -> str | None:
    """A suspected lead reversal, as the two electrodes "RA-LA", or None if the leads do not suggest one.

    RA-LA and RA-LL: lead I (II) is inverted relative to V6, though both view the heart from the left (from below), and
    aVR is not. RA-RL: lead II, which is then the voltage between the two legs, is nearly flat; LA-RL: lead III.
    Dextrocardia, a large lateral infarction or an extreme axis look similar. Source: Batchvarov et al., Europace 9:1081
    (2007).
    """
    if not {"I", "II", "III", "aVR", "V6"} <= set(recording.leads):
        return None
    step = max(1, round(recording.sampling_rate_hz / 100))
    # Slopes, in which QRS dominates and the baseline does not.
    slope = {name: np.diff(recording.lead(name)[::step]) for name in ("I", "II", "III", "aVR", "V6")}
    size = {name: float(np.linalg.norm(values)) for name, values in slope.items()}
    if min(size["V6"], size["aVR"]) == 0:
        return None
    for name, electrodes in (("II", "RA-RL"), ("III", "LA-RL")):
        if size[name] < SILENT_SHARE * max(size["I"], size["II"], size["III"]):
            return electrodes
    with_v6 = {name: float(slope[name] @ slope["V6"]) / (size[name] * size["V6"]) for name in ("I", "II", "aVR")}
    name = "I" if with_v6["I"] < with_v6["II"] else "II"
    if with_v6[name] < REVERSED_CORRELATION and with_v6["aVR"] > 0:
        return {"I": "RA-LA", "II": "RA-LL"}[name]
    return None


def _flat(signal_mv: Float[np.ndarray, "l t"], window: int) -> np.ndarray:
    """Which leads stay within FLAT_MV for `window` samples."""
    if window >= signal_mv.shape[1]:
        return np.ptp(signal_mv, axis=1) < FLAT_MV
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    # A flat segment contains a complete block of a quarter of its length, on any grid: a quick test for most leads.
    quarter = max(1, window // 4)
    blocks = signal_mv[:, : signal_mv.shape[1] // quarter * quarter].reshape(len(signal_mv), -1, quarter)
    flat = (blocks.max(axis=2) - blocks.min(axis=2)).min(axis=1) < FLAT_MV
    for row in np.flatnonzero(flat):
        lead_mv = signal_mv[row]
        range_mv = maximum_filter1d(lead_mv, window) - minimum_filter1d(lead_mv, window)
        # Only windows that lie inside the ECG count.
        flat[row] = range_mv[window // 2 : len(lead_mv) - (window - 1) // 2].min() < FLAT_MV
    return flat


def _clipped(signal_mv: Float[np.ndarray, "l t"], least: int) -> np.ndarray:
    """Which leads stay at their highest or lowest value for at least this many samples."""
    clipped = np.zeros(len(signal_mv), dtype=bool)
    for limit_mv in (signal_mv.max(axis=1, keepdims=True), signal_mv.min(axis=1, keepdims=True)):
        at_limit = signal_mv == limit_mv
        for row in np.flatnonzero(at_limit.sum(axis=1) >= least):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], at_limit[row], [0]]).astype(np.int8)))
            clipped[row] |= (edges[1::2] - edges[::2]).max() >= least
    return clipped


def _noise_mv(signal_mv: Float[np.ndarray, "l t"], rate_hz: float) -> np.ndarray:
    """The robust standard deviation of the signal above 40 Hz, at 50 time steps a second."""
    if rate_hz < 100 or signal_mv.shape[1] < 2:
        return np.zeros(len(signal_mv))
    taps = _high_pass(rate_hz)
    centered = signal_mv - signal_mv.mean(axis=1, keepdims=True)
    noise_mv = filtered_every(reflected(centered, len(taps) // 8), taps, max(1, int(rate_hz // 50)))
    return 1.4826 * np.median(np.abs(noise_mv), axis=1)


@cache
def _high_pass(rate_hz: float) -> bytes:
    """A high-pass filter of 0.12 s above 40 Hz, as bytes, which can be cached."""
    from scipy.signal import firwin

    n_taps = 2 * round(0.06 * rate_hz) + 1
    return firwin(n_taps, NOISE_ABOVE_HZ, fs=rate_hz, pass_zero=False).astype(np.float32).tobytes()


def found_flags(recording: Recording) -> dict[str, tuple[str, ...]]:
    """All quality flags by lead, and under "ECG" a suspected lead reversal."""
    flags = {lead: list(names) for lead, names in quality_flags(recording).items()}
    for lead, flag in recording.flags:
        flags.setdefault(lead, []).append(flag)
    swap = suspected_reversal(recording)
    if swap:
        flags[WHOLE_ECG] = [f"lead reversal {swap}?"]
    return {lead: tuple(dict.fromkeys(names)) for lead, names in flags.items() if names}
