"""Hand-made features: the intervals, axes and wave amplitudes that a cardiologist measures, by NeuroKit2."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording

RHYTHM_LEADS = ("II", "I", "V5", "V2", *LEADS)
"""Where beats and intervals are detected: in the first of these that the ECG has."""

WINDOWS_MS = {"P": (-260, -70), "Q": (-60, 0), "R": (-60, 60), "S": (0, 80), "ST": (80, 110), "T": (120, 420)}
"""Where each wave of the mean beat lies, in ms around the R peak."""

BASELINE_MS = (-90, -60)


def handmade_features(recording: Recording) -> dict[str, float]:
    """Rate and its variation, P, PR, QRS, QT and QTc in ms, wave amplitudes in every lead, and axes in degrees.

    Beats, onsets and ends are NeuroKit2's (discrete wavelet method) in one lead; amplitudes are measured in each
    lead's mean beat, above the level just before QRS, in the units of the recording. NaN is what could not be
    measured. Source: Makowski et al., Behav Res 53:1689 (2021), for the delineation.
    """
    rate_hz = recording.sampling_rate_hz
    lead = next(name for name in RHYTHM_LEADS if name in recording.leads)
    peaks = _r_peaks(recording.lead(lead), rate_hz)
    features = _rhythm(peaks, rate_hz) | _intervals(recording.lead(lead), peaks, rate_hz)
    beats = {name: _mean_beat(recording.lead(name), peaks, rate_hz) for name in recording.leads}
    for name in LEADS:
        for wave in WINDOWS_MS:
            features[f"{wave}_{name}"] = _amplitude(beats[name], wave, rate_hz) if name in beats else np.nan
    for wave in ("P", "R", "T"):
        x, y = features[f"{wave}_I"], features[f"{wave}_aVF"]
        features[f"{wave}_axis_deg"] = float(np.degrees(np.arctan2(y, x)))
    return features


def handmade_table(store: Store, rows: Sequence[int], *, progress: bool = True) -> pd.DataFrame:
    """The hand-made features of these ECGs of a store, one row each."""
    bar = tqdm(rows, desc="measuring", unit="ECG", disable=not progress)
    return pd.DataFrame([handmade_features(store.recording(int(row))) for row in bar])


def _r_peaks(lead_mv: np.ndarray, rate_hz: float) -> np.ndarray:
    import neurokit2 as nk  # here, since it takes a second to import and most users never measure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NeuroKit2 warns of every ECG that is short or noisy
        try:
            cleaned = nk.ecg_clean(lead_mv.astype(np.float64), sampling_rate=int(rate_hz))
            return np.asarray(nk.ecg_peaks(cleaned, sampling_rate=int(rate_hz))[1]["ECG_R_Peaks"], dtype=int)
        except (ValueError, IndexError, ZeroDivisionError, KeyError):
            return np.zeros(0, dtype=int)


def _rhythm(peaks: np.ndarray, rate_hz: float) -> dict[str, float]:
    rr_ms = np.diff(peaks) * 1000 / rate_hz
    if len(rr_ms) < 2:
        return dict.fromkeys(("heart_rate_bpm", "rr_sd_ms", "rmssd_ms", "rr_min_ratio", "rr_max_ratio"), np.nan)
    return {
        "heart_rate_bpm": 60000 / float(np.median(rr_ms)),
        "rr_sd_ms": float(rr_ms.std()),
        "rmssd_ms": float(np.sqrt(np.mean(np.diff(rr_ms) ** 2))),
        "rr_min_ratio": float(rr_ms.min() / np.median(rr_ms)),
        "rr_max_ratio": float(rr_ms.max() / np.median(rr_ms)),
    }


def _intervals(lead_mv: np.ndarray, peaks: np.ndarray, rate_hz: float) -> dict[str, float]:
    names = ("p_ms", "p_share", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms")
    features = dict.fromkeys(names, np.nan)
    if len(peaks) < 3:
        return features
    import neurokit2 as nk

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = nk.ecg_delineate(lead_mv.astype(np.float64), peaks, sampling_rate=int(rate_hz), method="dwt")[1]
        except (ValueError, IndexError, ZeroDivisionError, KeyError, TypeError):
            return features
        at = {name: np.asarray(values, dtype=float) * 1000 / rate_hz for name, values in found.items()}
        p_on, p_off = at["ECG_P_Onsets"], at["ECG_P_Offsets"]
        qrs_on, qrs_off, t_off = at["ECG_R_Onsets"], at["ECG_R_Offsets"], at["ECG_T_Offsets"]
        features["p_ms"] = np.nanmedian(p_off - p_on)
        features["p_share"] = float(np.isfinite(p_on).mean())
        features["pr_ms"] = np.nanmedian(qrs_on - p_on)
        features["qrs_ms"] = np.nanmedian(qrs_off - qrs_on)
        features["qt_ms"] = np.nanmedian(t_off - qrs_on)
    features["qtc_ms"] = features["qt_ms"] / np.sqrt(np.median(np.diff(peaks)) / rate_hz)
    return {name: float(value) for name, value in features.items()}


def _mean_beat(lead_mv: np.ndarray, peaks: np.ndarray, rate_hz: float) -> np.ndarray | None:
    """The median over beats from 300 ms before to 450 ms after the R peak; None if no beat lies inside the ECG."""
    before, after = round(0.3 * rate_hz), round(0.45 * rate_hz)
    inside = [peak for peak in peaks if before <= peak < len(lead_mv) - after]
    return np.median([lead_mv[peak - before : peak + after] for peak in inside], axis=0) if inside else None


def _amplitude(beat: np.ndarray | None, wave: str, rate_hz: float) -> float:
    """The largest excursion in the wave's window (the mean, for ST) above the level before QRS."""
    if beat is None:
        return float("nan")
    base = np.median(_window(beat, BASELINE_MS, rate_hz))
    part = _window(beat, WINDOWS_MS[wave], rate_hz) - base
    if wave == "ST":
        return float(part.mean())
    if wave in ("Q", "S"):
        return float(part.min())
    return float(part.max()) if wave == "R" else float(part[np.abs(part).argmax()])


def _window(beat: np.ndarray, window_ms: tuple[int, int], rate_hz: float) -> np.ndarray:
    start, stop = (round((0.3 + edge / 1000) * rate_hz) for edge in window_ms)
    return beat[start : max(stop, start + 1)]
