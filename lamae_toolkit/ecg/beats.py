"""The beats of an ECG: R peaks and waves by NeuroKit2, complete beats aligned, and where QRS begins and ends."""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lamae_toolkit._lazy import missing_extra
from lamae_toolkit.ecg.preprocess import bandpass
from lamae_toolkit.ecg.recording import Recording

RATE_HZ = 500.0
"""All is measured at this rate; a file of fewer samples a second gains no detail by it."""
BEFORE_S, AFTER_S = 0.4, 0.6
"""What the median beat has before and after the R peak."""
SAME_BEAT_S, LIKE_THE_MEDIAN = 0.06, 0.8
AT_REST, CLEARLY = (0.04, 0.05), 0.1
"""QRS begins and ends where the slope is above these shares of the steepest; where the end at `CLEARLY` lies far from
it, QRS passes into ST without an end that could be named."""
CLEAR_S = 0.036


def waves_of(lead_mv: Float[np.ndarray, " t"]) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
    """R peaks, and beginnings and ends of waves, of one lead in s, as NeuroKit2 finds them; None if it fails."""
    try:
        import neurokit2 as nk  # here, since it takes a second to import and most users never measure
    except ModuleNotFoundError as error:
        raise missing_extra("Measuring an ECG", error) from error

    rate_hz = int(RATE_HZ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NeuroKit2 warns of every ECG that is short or noisy
        try:
            cleaned = nk.ecg_clean(lead_mv.astype(np.float64), sampling_rate=rate_hz)
            peaks = np.asarray(nk.ecg_peaks(cleaned, sampling_rate=rate_hz)[1]["ECG_R_Peaks"], dtype=int)
            if len(peaks) < 2:
                return peaks / RATE_HZ, {}
            marks = nk.ecg_delineate(cleaned, peaks, sampling_rate=rate_hz, method="prominence")[1]
        except (ValueError, IndexError, ZeroDivisionError, KeyError, TypeError):
            return None
    named = {"P on": "ECG_P_Onsets", "P off": "ECG_P_Offsets", "T off": "ECG_T_Offsets"}
    return peaks / RATE_HZ, {name: np.asarray(marks[key], dtype=float) / RATE_HZ for name, key in named.items()}


def agreed_beats(peaks: list[np.ndarray], leads: int) -> np.ndarray:
    """The times in s at which at least half of the leads have an R peak."""
    times, beats, first = np.sort(np.concatenate([*peaks, np.zeros(0)])), [], 0
    while first < len(times):
        last = first
        while last + 1 < len(times) and times[last + 1] < min(times[last] + SAME_BEAT_S, times[first] + 0.15):
            last += 1
        if last - first + 1 >= leads / 2:
            beats.append(float(np.median(times[first : last + 1])))
        first = last + 1
    return np.array(beats)


@dataclass(frozen=True, eq=False)
class Beats:
    """Complete beats that look alike, aligned, each lead from its level before QRS: (beat, l, t) in mV."""

    beats_mv: np.ndarray
    of_beat: np.ndarray
    """The index of the beat that each of them is."""

    @classmethod
    def of(cls, ecg: Recording, beats_s: np.ndarray) -> "Beats | None":
        quiet = bandpass(ecg, 0.5, 100.0).signal_mv if ecg.duration_s >= 2 else ecg.signal_mv
        before, after, reach = (round(seconds * RATE_HZ) for seconds in (BEFORE_S, AFTER_S, 0.03))
        centers = [round(float(beat) * RATE_HZ) for beat in beats_s]
        last = quiet.shape[1] - after - reach
        inside = [beat for beat, center in enumerate(centers) if before + reach <= center < last]
        if len(inside) < 2:
            return None

        def at(center: int) -> np.ndarray:
            beat = quiet[:, center - before : center + after]
            return beat - np.median(beat[:, before - 50 : before - 25], axis=1, keepdims=True)

        qrs = slice(before - reach, before + 2 * reach)
        template = np.median([at(centers[beat]) for beat in inside], axis=0)
        for _ in range(2):  # align, then align again with the sharper template
            shapes = _centered(template[:, qrs])
            aligned, kept = [], []
            for beat in inside:
                shifts = range(-reach, reach + 1)
                near = quiet[:, centers[beat] - 2 * reach : centers[beat] + 3 * reach]
                alike = [
                    float((_centered(near[:, first:][:, : 3 * reach]) * shapes).sum()) for first in range(2 * reach + 1)
                ]
                best = int(np.argmax(alike))
                if alike[best] > LIKE_THE_MEDIAN:
                    aligned.append(at(centers[beat] + shifts[best]))
                    kept.append(beat)
            if len(kept) < 2 or len(kept) < len(inside) / 2:
                return None
            template = np.median(aligned, axis=0)
        return cls(np.stack(aligned), np.array(kept))

    def alike(self, beats_s: np.ndarray) -> np.ndarray:
        """A mask of the beats of the ECG: those that look like the median beat."""
        mask = np.zeros(len(beats_s), dtype=bool)
        mask[self.of_beat] = True
        return mask

    def median(self, ecg: Recording) -> Recording:
        """The median beat."""
        return Recording(np.median(self.beats_mv, axis=0), RATE_HZ, ecg.leads)


def _centered(part_mv: np.ndarray) -> np.ndarray:
    """All leads without their mean, the sum of squares 1, so that the sum of products is a correlation."""
    part_mv = part_mv - part_mv.mean(axis=1, keepdims=True)
    return part_mv / max(float(np.sqrt((part_mv**2).sum())), 1e-9)


def qrs_edges(beat_mv: Float[np.ndarray, "l t"]) -> tuple[float, float] | None:
    """Where QRS begins and ends in a beat, in s from its R peak; None where no slope stands out.

    The slope is the root mean square over leads of the change over 12 ms, after a mean over 8 ms.
    """
    width, lag, rest, r = 4, 3, round(0.012 * RATE_HZ), round(BEFORE_S * RATE_HZ)
    smooth = np.stack([np.convolve(lead, np.full(width, 1 / width), "same") for lead in beat_mv])
    slope = np.zeros(smooth.shape[1])
    slope[lag:-lag] = np.sqrt(((smooth[:, 2 * lag :] - smooth[:, : -2 * lag]) ** 2).mean(axis=0))
    steepest = r - 50 + int(np.argmax(slope[r - 50 : r + 50]))
    noise = float(np.quantile(slope[r - 150 : r - 40], 0.2))
    if noise > 0.12 * slope[steepest]:
        return None

    def edge(share: float, step: int) -> float:
        quiet, at = slope < max(share * slope[steepest], 1.5 * noise), steepest
        while rest < at < len(slope) - rest and not quiet[at + step : at + step * (rest + 1) : step].all():
            at += step
        return (at - r) / RATE_HZ

    start, end = edge(AT_REST[0], -1), edge(AT_REST[1], 1)
    if end - edge(CLEARLY, 1) > CLEAR_S or edge(CLEARLY, -1) - start > CLEAR_S:
        return None
    return start, end
