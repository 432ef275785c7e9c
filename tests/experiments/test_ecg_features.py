"""Hand-made features agree with the simulator, and are NaN where nothing can be measured."""

import numpy as np
import pytest

from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.experiments.comparison.ecg_features import handmade_features, handmade_table


@pytest.mark.slow
def test_rate_and_qrs_are_those_of_the_simulated_hearts(cohort):
    normal = np.flatnonzero([len(codes) == 0 for codes in cohort.index.codes])[:8]
    table, truth = handmade_table(cohort, normal.tolist(), progress=False), cohort.index.iloc[normal]
    assert np.median(np.abs(table.heart_rate_bpm.to_numpy() - truth.heart_rate_bpm.to_numpy())) < 2
    assert np.median(np.abs(table.qt_ms.to_numpy() - truth.qt_ms.to_numpy())) < 60
    assert table.R_II.median() > 0.5  # mV
    assert table.R_axis_deg.between(-45, 100).mean() > 0.8


def test_amplitudes_scale_with_the_signal_and_times_do_not(cohort):
    recording = cohort.recording(0)
    twice = Recording(2 * recording.signal_mv, recording.sampling_rate_hz, recording.leads)
    plain, scaled = handmade_features(recording), handmade_features(twice)
    for name in ("R_V5", "S_V1", "ST_II", "T_V3"):
        np.testing.assert_allclose(scaled[name], 2 * plain[name], rtol=1e-4)
    assert scaled["heart_rate_bpm"] == plain["heart_rate_bpm"]
    assert set(plain) == set(scaled)


def test_features_of_absent_or_flat_leads_are_nan(cohort):
    one = handmade_features(cohort.recording(0).select(["V2"]))
    assert np.isnan(one["R_II"]) and np.isnan(one["R_axis_deg"]) and np.isfinite(one["R_V2"])
    flat = handmade_features(Recording(np.zeros((1, 1000), dtype=np.float32), 100.0, ("II",)))
    assert np.isnan(flat["heart_rate_bpm"]) and np.isnan(flat["qrs_ms"])
    assert set(flat) == set(one)
