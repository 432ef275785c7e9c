"""The timing of the simulated heart: when the atria and the ventricles are activated, and by which pacemaker."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from lamae_toolkit.simulate.heart import Heart

BEFORE_S, AFTER_S = 2.5, 1.0
"""The schedule starts before the recording and ends after it, so that no wave is missing at the edges."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """All activations of one recording, in seconds from its start.

    kind: "conducted", "escape", "ectopic" or "paced", for each QRS. pr_s is NaN where no P wave leads to the QRS.
    """

    p_onset_s: Float[np.ndarray, " p"]
    qrs_onset_s: Float[np.ndarray, " q"]
    kind: np.ndarray
    pr_s: Float[np.ndarray, " q"]
    qrs_s: Float[np.ndarray, " q"]
    qt_s: Float[np.ndarray, " q"]
    spike_s: Float[np.ndarray, " s"]
    flutter_phase: float = 0.0

    @property
    def own(self) -> Bool[np.ndarray, " q"]:
        """Which beats are not ectopic."""
        return self.kind != "ectopic"


def schedule(heart: Heart, duration_s: float | int, rng: np.random.Generator) -> Schedule:
    """When every P wave and every QRS begins in a recording of this heart."""
    end_s = duration_s + AFTER_S
    phase = 0.0
    if heart.rhythm == "sinus":
        p = _sinus(heart, end_s, rng)
        q, pr = _conduct(heart, p, end_s, rng)
    else:
        p = np.empty(0)
        if heart.rhythm == "fibrillation":
            q = _series(heart.rate_bpm, end_s, rng, 0.6 + 0.4 * rng.random(), log_rr_std=heart.rr_variation)
        elif heart.rhythm == "flutter":
            q, phase = _flutter(heart, end_s, rng)
        else:
            q = _series(heart.rate_bpm, end_s, rng, 1.0, rr_std=0.006)
        if heart.av_conduction == "none":
            q = _series(heart.escape_rate_bpm, end_s, rng, 1.0, rr_std=0.012)
        pr = np.full(len(q), np.nan)
    dissociated = heart.av_conduction == "none"
    kind = np.full(len(q), "escape" if dissociated else "conducted", dtype=object)
    q, kind, pr, p, spikes = _pace(heart, q, kind, pr, p, end_s, rng)
    q, kind, pr, p = _ectopy(heart, q, kind, pr, p, duration_s, rng)
    qrs_s, qt_s = _intervals(heart, q, kind)
    return Schedule(p, q, kind, pr, qrs_s, qt_s, spikes, phase)


def _sinus(heart: Heart, end_s: float | int, rng: np.random.Generator) -> np.ndarray:
    """P waves whose rate swings with breathing (respiratory arrhythmia), a slower wave and random variation."""
    mean_s, t = 60.0 / heart.rate_bpm, -BEFORE_S - rng.random()
    phase_breath, phase_slow = rng.uniform(0, 2 * np.pi, 2)
    onsets = []
    while t < end_s:
        onsets.append(t)
        swing = np.sin(2 * np.pi * heart.respiration_hz * t + phase_breath) + 0.6 * np.sin(0.63 * t + phase_slow)
        t += mean_s * (1 + heart.rr_variation * (swing + 0.35 * rng.standard_normal()))
    return np.array(onsets)


def _series(
    rate_bpm: float,
    end_s: float | int,
    rng: np.random.Generator,
    start: float,
    rr_std: float = 0.0,
    log_rr_std: float = 0.0,
) -> np.ndarray:
    """Beats at this mean rate: regular except for `rr_std` (relative), or irregular (log-normal) with `log_rr_std`."""
    mean_s = 60.0 / rate_bpm
    n = int((end_s + BEFORE_S) / mean_s * 2.2) + 8
    normal = rng.standard_normal(n)
    rr = mean_s * (np.exp(log_rr_std * normal - log_rr_std**2 / 2) if log_rr_std else 1 + rr_std * normal)
    onsets = -BEFORE_S - start * mean_s + np.cumsum(np.maximum(rr, 0.27))
    return onsets[onsets < end_s]


def _flutter(heart: Heart, end_s: float | int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Every second to fourth flutter wave is conducted, as the AV node allows."""
    cycle_s = 60.0 / heart.flutter_rate_bpm
    ratio = max(2.0, heart.flutter_rate_bpm / heart.rate_bpm)
    low = int(ratio)
    n = int((end_s + BEFORE_S) / cycle_s / 2) + 4
    # Mostly fixed conduction; where the ratio lies between two integers, both occur.
    steps = low + (rng.random(n) < ratio - low)
    onsets = -BEFORE_S + cycle_s * np.cumsum(steps) + 0.004 * rng.standard_normal(n)
    return onsets[onsets < end_s], float(rng.random())


def _conduct(
    heart: Heart, p: np.ndarray, end_s: float | int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """From P waves to QRS complexes through the AV node: QRS onset = P onset + PR, unless blocked."""
    pr_s = heart.pr_ms / 1000 + 0.0015 * rng.standard_normal(len(p))
    if heart.av_conduction == "none":
        q = _series(heart.escape_rate_bpm, end_s, rng, rng.random(), rr_std=0.012)
        return q, np.full(len(q), np.nan)
    conducted = np.ones(len(p), dtype=bool)
    if heart.av_conduction != "1:1":
        position = (np.arange(len(p)) + rng.integers(heart.av_ratio)) % heart.av_ratio
        conducted = position < heart.av_ratio - 1
        if heart.av_conduction == "wenckebach":
            # PR grows from beat to beat, by less each time, until a beat is dropped (1 + 1/2 + 1/3 ...).
            pr_s = pr_s + 0.065 * np.cumsum(1 / np.arange(1, heart.av_ratio + 1))[position] - 0.065
    return (p + pr_s)[conducted], pr_s[conducted]


def _pace(heart: Heart, q, kind, pr, p, end_s: float | int, rng: np.random.Generator):
    """A pacemaker takes over: DDD follows (or paces) each P wave; VVI paces at its own fixed rate."""
    if not heart.paced_share:
        return q, kind, pr, p, np.empty(0)
    if heart.rhythm == "sinus" and heart.av_conduction == "1:1":
        paced = np.arange(len(q)) >= round((1 - heart.paced_share) * len(q))
        kind[paced] = "paced"
        spikes = [q[paced] - 0.004]
        if heart.paces_atrium:
            spikes.append((q - pr)[paced] - 0.004)
        return q, kind, pr, p, np.concatenate(spikes)
    q = _series(heart.escape_rate_bpm, end_s, rng, rng.random(), rr_std=0.001)
    return q, np.full(len(q), "paced", dtype=object), np.full(len(q), np.nan), p, q - 0.004


def _ectopy(heart: Heart, q, kind, pr, p, duration_s: float | int, rng: np.random.Generator):
    """Some beats come early from the ventricle; the P wave due is not conducted and a pause follows."""
    inside = np.nonzero((q > 0.6) & (q < duration_s - 0.8))[0]
    if not heart.ectopic_beats or len(inside) == 0:
        return q, kind, pr, p
    n = min(heart.ectopic_beats, (len(inside) + 1) // 2)
    slots = np.sort(rng.choice(np.arange(len(inside) - n + 1), n, replace=False)) + np.arange(n)
    coupling = rng.uniform(0.5, 0.68)
    for i in inside[slots]:
        due = q[i] - pr[i]
        p = p[np.abs(p - due) > 1e-6] if np.isfinite(due) else p
        q[i] = q[i - 1] + max(0.3, (coupling + 0.015 * rng.standard_normal()) * (q[i] - q[i - 1]))
        kind[i], pr[i] = "ectopic", np.nan
    return q, kind, pr, p


def _intervals(heart: Heart, q: np.ndarray, kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """QRS and QT of each beat in seconds; QT follows the recent rate: QT = QTc * RR^(1/3) (Fridericia)."""
    rr = np.diff(q, prepend=q[0] - (q[1] - q[0] if len(q) > 1 else 0.9))
    # QT adapts slowly, so it is set by the mean RR of the last beats more than by the last RR.
    recent = np.convolve(np.concatenate([np.full(4, rr[:5].mean()), rr]), np.full(5, 0.2), mode="valid")
    qrs_s = np.full(len(q), heart.qrs_ms / 1000)
    wide = (kind == "paced") | (kind == "ectopic") | ((kind == "escape") & heart.wide_escape)
    qrs_s[wide] = max(heart.wide_qrs_ms, heart.qrs_ms + 15) / 1000
    qt_s = heart.qtc_ms / 1000 * np.cbrt(0.7 * recent + 0.3 * rr.mean())
    qt_s[wide] += 0.6 * np.maximum(0.0, qrs_s[wide] - heart.qrs_ms / 1000)
    # Repolarization ends before the next beat, however fast the heart.
    return qrs_s, np.minimum(qt_s, np.maximum(qrs_s + 0.12, 0.9 * np.minimum(recent, 60.0)))
