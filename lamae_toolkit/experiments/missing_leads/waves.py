"""Do P, QRS and T survive in a reconstructed lead? Wave by wave, in the spans marked by cardiologists."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Real

from lamae_toolkit.evaluation.metrics import Estimate, over_patients
from lamae_toolkit.experiments.missing_leads.ludb import Mark
from lamae_toolkit.experiments.missing_leads.methods import named

SURVIVES_CORRELATION, SURVIVES_FACTOR = 0.7, 2.0
LEAST_SAMPLES = 4
WAVE_MEASURES = ("survives", "correlation", "amplitude_ratio", "polarity_right")


@dataclass(frozen=True)
class WaveScore:
    """How one reconstructed wave compares with the true one, both within the span of the mark, onset to end.

    correlation: Pearson's; NaN where the reconstruction is flat. amplitude_ratio: peak to peak, reconstructed / true; 0
    where flat. polarity_right: whether the main deflection (largest distance from the line from onset to end) has the
    true sign. survives: correlation of 0.7 or more, and amplitude within a factor of 2. A flat reconstruction has no
    wave, no polarity.
    """

    correlation: float
    amplitude_ratio: float
    polarity_right: bool
    survives: bool


def wave_score(reconstructed_mv: Float[np.ndarray, " t"], true_mv: Float[np.ndarray, " t"]) -> WaveScore:
    """Compare the samples of one wave, reconstructed and true."""
    amplitude, true_amplitude = float(np.ptp(reconstructed_mv)), float(np.ptp(true_mv))
    ratio = amplitude / max(true_amplitude, 1e-6)
    if amplitude < 1e-6 or true_amplitude < 1e-6:
        return WaveScore(float("nan"), ratio, False, False)
    reconstructed, true = reconstructed_mv - reconstructed_mv.mean(), true_mv - true_mv.mean()
    correlation = float(reconstructed @ true / np.sqrt((reconstructed @ reconstructed) * (true @ true)))
    same_sign = main_deflection(reconstructed_mv) * main_deflection(true_mv) > 0
    within = 1 / SURVIVES_FACTOR <= ratio <= SURVIVES_FACTOR
    return WaveScore(correlation, ratio, bool(same_sign), bool(correlation >= SURVIVES_CORRELATION and within))


def main_deflection(wave_mv: Float[np.ndarray, " t"]) -> float:
    """The largest distance from the straight line between first and last sample, with its sign, in mV."""
    above = wave_mv - np.linspace(wave_mv[0], wave_mv[-1], len(wave_mv))
    return float(above[np.abs(above).argmax()])


def record_scores(
    marks: Sequence[Mark],
    reconstructed_mv: Float[np.ndarray, "m t"],
    true_mv: Float[np.ndarray, "m t"],
    missing: Sequence[str],
    sampling_rate_hz: float | int,
) -> pd.DataFrame:
    """All marked waves of one ECG's missing leads: wave, lead, and the fields of `WaveScore`.

    A span is taken from the sample before its onset to the sample after its end; waves of fewer than four samples, or
    that reach beyond what was reconstructed, are left out.
    """
    rows = []
    for mark in marks:
        if mark.lead not in missing:
            continue
        at = list(missing).index(mark.lead)
        span = slice(int(np.floor(mark.onset_s * sampling_rate_hz)), int(np.ceil(mark.end_s * sampling_rate_hz)) + 1)
        if span.stop - span.start < LEAST_SAMPLES or span.stop > reconstructed_mv.shape[1]:
            continue
        score = wave_score(reconstructed_mv[at, span], true_mv[at, span])
        rows.append({"wave": mark.wave, "lead": mark.lead} | vars(score))
    return pd.DataFrame(rows, columns=["wave", "lead", *WaveScore.__dataclass_fields__])


def wave_table(
    waves: dict[str, pd.DataFrame], weights: Real[np.ndarray, "r b"], baseline: str = "linear regression"
) -> pd.DataFrame:
    """One row per method and wave: each of `WAVE_MEASURES` with its 95 % interval over patients.

    waves: for each method the tables of `record_scores` under one another, with the column `ecg`, the row of `weights`'
    columns. An ECG counts once, by the mean over its waves (the geometric mean of the amplitude ratio, of waves that
    are not flat), and not at all where it has none. difference_survives: the share minus the baseline's, on the same
    ECGs.
    """
    rows = []
    for wave in ("P", "QRS", "T"):
        by_ecg = {method: _by_ecg(table[table.wave == wave], weights.shape[1]) for method, table in waves.items()}
        for method, means in by_ecg.items():
            row: dict[str, object] = {"wave": wave, "method": method, "waves": int((waves[method].wave == wave).sum())}
            for measure in WAVE_MEASURES:
                found = over_patients(means[measure], weights)
                if measure == "amplitude_ratio":  # means were taken of its logarithm
                    found = Estimate(*(float(np.exp(value)) for value in (found.value, found.low, found.high)))
                row |= named(measure, found)
            if method != baseline:
                difference = means["survives"] - by_ecg[baseline]["survives"]
                row |= named("difference_survives", over_patients(difference, weights))
            rows.append(row)
    return pd.DataFrame(rows)


def _by_ecg(table: pd.DataFrame, ecgs: int) -> dict[str, np.ndarray]:
    """The mean of each measure over the waves of each ECG, (b,); NaN where there are none."""
    ratio = table.amplitude_ratio.where(table.amplitude_ratio > 0)
    table = table.assign(amplitude_ratio=np.log(ratio))
    means = table.groupby("ecg")[list(WAVE_MEASURES)].mean().reindex(range(ecgs))
    return {measure: means[measure].to_numpy(dtype=float) for measure in WAVE_MEASURES}
