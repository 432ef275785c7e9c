"""Resampling keeps amplitudes, times and ends of waves; filters remove their bands; flags find planted defects."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.signal import resample_poly

from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import bandpass, crop, resample, resampled
from lamae_toolkit.ecg.quality import quality_flags
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError

RATES_HZ = [50.0, 100.0, 128.0, 250.0, 257.0, 360.0, 500.0, 1000.0, 2000.0]


def sines(rate_hz: float, duration_s: float = 10.0, frequencies_hz: tuple[float, ...] = (1.0, 7.0)) -> Recording:
    """Two leads, the second a tenth of the first, each a sum of sines of 1 mV."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    wave_mv = sum(np.sin(2 * np.pi * f * time_s + f) for f in frequencies_hz)
    return Recording(np.stack([wave_mv, 0.1 * wave_mv]), rate_hz, ("V3", "II"), ("a note",))


def noise(seed: int = 0, rate_hz: float = 500.0, leads: tuple[str, ...] = LEADS) -> Recording:
    rng = np.random.default_rng(seed)
    return Recording(rng.normal(size=(len(leads), 5000)), rate_hz, leads)


# ---- Resampling


@pytest.mark.parametrize("from_hz", RATES_HZ)
@pytest.mark.parametrize("to_hz", RATES_HZ)
def test_resampling_keeps_amplitude_and_phase_of_sines(from_hz, to_hz):
    """Of waves of 2 mV, within 0.005 mV, but 0.1 mV in the half second at each end."""
    resampled, expected = resample(sines(from_hz), to_hz), sines(to_hz)
    assert resampled.sampling_rate_hz == to_hz and resampled.leads == ("V3", "II") and resampled.notes == ("a note",)
    assert resampled.signal_mv.shape == expected.signal_mv.shape
    error_mv = np.abs(resampled.lead("V3") - expected.lead("V3"))
    n_edge = round(0.5 * to_hz)
    assert error_mv[n_edge:-n_edge].max() < 0.005
    assert error_mv.max() < 0.1
    np.testing.assert_allclose(resampled.lead("II"), 0.1 * resampled.lead("V3"), atol=1e-6)


@pytest.mark.parametrize("to_hz", [50, 100, 257, 1000])
def test_resampling_offset_and_slope_does_not_ring_at_ends(to_hz):
    time_s = np.arange(5000) / 500
    recording = Recording((300 + 0.2 * time_s)[None], 500.0, ("I",))
    resampled = resample(recording, to_hz)
    expected_mv = 300 + 0.2 * np.arange(resampled.signal_mv.shape[1]) / to_hz
    np.testing.assert_allclose(resampled.lead("I"), expected_mv, rtol=0, atol=2e-3)


def test_downsampling_does_not_alias():
    """90 Hz sampled at 100 Hz without a filter would look like 10 Hz."""
    high = sines(500.0, frequencies_hz=(90.0,))
    inner_mv = resample(high, 100).lead("V3")[100:-100]
    assert np.abs(inner_mv).max() < 0.005


def test_upsampling_and_downsampling_restore_the_ecg():
    low = sines(100.0)
    np.testing.assert_allclose(
        resample(resample(low, 500), 100).signal_mv[:, 50:-50], low.signal_mv[:, 50:-50], atol=5e-3
    )


@pytest.mark.parametrize("from_hz", [200.0, 500.0, 1000.0])
@pytest.mark.parametrize("n_samples", [99, 1001, 5000])
def test_downsampling_is_that_of_scipy(from_hz, n_samples):
    """The matrix product gives what `resample_poly` gives of the padded signal in double precision."""
    signal_mv, down = np.random.default_rng(0).normal(size=(12, n_samples)) + 3, round(from_hz / 100)
    padded_mv = np.pad(signal_mv, ((0, 0), (12 * down, 12 * down)), mode="reflect", reflect_type="odd")
    expected_mv = resample_poly(padded_mv, 1, down, axis=1)[:, 12:]
    resampled_mv = resample(Recording(signal_mv, from_hz, LEADS), 100.0).signal_mv
    np.testing.assert_allclose(resampled_mv, expected_mv[:, : resampled_mv.shape[1]], rtol=0, atol=5e-6)


@pytest.mark.parametrize("to_hz", [100.0, 250.0, 360.0])
def test_resampled_ecgs_take_four_bytes_per_sample(to_hz):
    assert resampled(noise().signal_mv.T, 500.0, to_hz).dtype == np.float32


def test_resampling_to_the_same_rate_is_identity():
    recording = noise()
    assert resample(recording, 500) is recording


@pytest.mark.parametrize("n_samples", [1, 2, 3, 7, 99])
@pytest.mark.parametrize("to_hz", [50, 99.9, 257, 2000])
def test_resampling_short_ecgs(n_samples, to_hz):
    recording = Recording(np.full((1, n_samples), 0.7), 500.0, ("II",))
    resampled = resample(recording, to_hz)
    assert resampled.signal_mv.shape[1] == max(1, round(n_samples * to_hz / 500))
    np.testing.assert_allclose(resampled.signal_mv, 0.7, atol=2e-3)


@pytest.mark.parametrize("rate_hz", [0, -100, 49, 2001, float("nan"), float("inf")])
def test_resampling_to_invalid_rate_is_refused(rate_hz):
    with pytest.raises(ECGError, match=r"^An ECG cannot be resampled to .* Hz; choose 50 to 2000 Hz\.$"):
        resample(noise(), rate_hz)


def test_resampling_does_not_change_its_input():
    recording = noise()
    before = recording.signal_mv.copy()
    for function in (lambda r: resample(r, 100), bandpass, lambda r: crop(r, 1, 2), quality_flags):
        function(recording)
    np.testing.assert_array_equal(recording.signal_mv, before)


def test_preprocessing_treats_leads_independently():
    """Each lead of a shuffled ECG is resampled and filtered as it was in order."""
    recording = noise()
    shuffled = recording.select(LEADS[::-1])
    for function in (lambda r: resample(r, 100), bandpass):
        # Not to the last bit: some processors compute several rows at once, and sum them in another order.
        np.testing.assert_allclose(
            function(shuffled).select(LEADS).signal_mv, function(recording).signal_mv, rtol=0, atol=2e-6
        )


@pytest.mark.slow
def test_resampled_ptbxl_500_hz_matches_published_100_hz(real_data):
    """Our 100 Hz agree with PTB-XL's own in the middle 8 s and the band of 1 to 30 Hz.

    PTB-XL's were made by another filter, which leaves transients at the ends and a shift of about 1 ms, so
    the two are not equal sample by sample.
    """
    correlations = []
    for high in sorted((real_data / "ptb-xl" / "records500").rglob("*.hea")):
        number = high.stem.removesuffix("_hr")
        low = high.parents[2] / "records100" / high.parent.name / f"{number}_lr.hea"
        ours, theirs = (
            crop(bandpass(recording, 1, 30), 1, 8) for recording in (resample(read_ecg(high), 100), read_ecg(low))
        )
        assert ours.leads == theirs.leads and ours.signal_mv.shape == theirs.signal_mv.shape
        correlations += [np.corrcoef(a, b)[0, 1] for a, b in zip(ours.signal_mv, theirs.signal_mv, strict=True)]
    print("correlation, 0, 1, 10, 50 %:", np.percentile(correlations, [0, 1, 10, 50]))
    assert len(correlations) == 6000
    assert np.median(correlations) > 0.99 and min(correlations) > 0.97


# ---- Filtering


@pytest.mark.parametrize("rate_hz", [100.0, 257.0, 500.0, 2000.0])
def test_bandpass_frequency_response(rate_hz):
    kept = sines(rate_hz, 20, (10.0,))
    inner = slice(round(5 * rate_hz), -round(5 * rate_hz))
    np.testing.assert_allclose(bandpass(kept).lead("V3")[inner], kept.lead("V3")[inner], atol=0.01)  # no shift
    wander = sines(rate_hz, 20, (0.15,))
    assert np.abs(bandpass(wander).lead("V3")[inner]).max() < 0.05
    if rate_hz > 200:
        mains = sines(rate_hz, 20, (90.0,))
        assert np.abs(bandpass(mains).lead("V3")[inner]).max() < 0.01


def test_bandpass_removes_offset_without_transient():
    offset = Recording(np.full((1, 5000), 300.0), 500.0, ("I",))
    assert np.abs(bandpass(offset).signal_mv).max() < 1e-3


@pytest.mark.parametrize("n_samples", [1, 2, 10, 100])
def test_bandpass_of_short_ecgs(n_samples):
    recording = Recording(np.ones((1, n_samples)), 500.0, ("I",))
    assert bandpass(recording).signal_mv.shape == (1, n_samples)


@pytest.mark.parametrize(("low_hz", "high_hz"), [(0, 40), (-1, 40), (40, 40), (40, 0.5), (0.5, 50), (float("nan"), 40)])
def test_invalid_bands_are_refused(low_hz, high_hz):
    with pytest.raises(ECGError, match="does not fit a sampling rate of 100 Hz; keep 0 < low_hz < high_hz < 50"):
        bandpass(noise(rate_hz=100.0), low_hz, high_hz)


# ---- Cropping


def test_crop_returns_the_requested_segment():
    recording = noise()
    part = crop(recording, 2.5, 4)
    np.testing.assert_array_equal(part.signal_mv, recording.signal_mv[:, 1250:3250])
    assert part.duration_s == 4 and part.leads == recording.leads and part.sampling_rate_hz == 500
    np.testing.assert_array_equal(crop(recording, 0, 10).signal_mv, recording.signal_mv)


@pytest.mark.parametrize(("start_s", "duration_s"), [(-1, 2), (9, 2), (0, 10.1), (0, 0), (0, -1), (20, 1)])
def test_crop_outside_the_ecg_is_refused(start_s, duration_s):
    with pytest.raises(ECGError, match=r"does not fit an ECG of 10 s; choose a segment inside it\.$"):
        crop(noise(), start_s, duration_s)


@pytest.mark.parametrize(("start_s", "duration_s"), [(float("nan"), 2), (0, float("inf"))])
def test_crop_with_nonfinite_bounds_is_refused(start_s, duration_s):
    with pytest.raises(ECGError, match="give finite ones"):
        crop(noise(), start_s, duration_s)


# ---- Quality


def clean(rate_hz: float) -> Recording:
    """A beat a second, QRS-shaped, with a little baseline movement and 1 µV of noise."""
    rng = np.random.default_rng(5)
    time_s = np.arange(round(10 * rate_hz)) / rate_hz
    beat_mv = np.exp(-0.5 * ((time_s % 1 - 0.5) / 0.012) ** 2) + 0.2 * np.exp(-0.5 * ((time_s % 1 - 0.75) / 0.05) ** 2)
    wave_mv = beat_mv + 0.05 * np.sin(2 * np.pi * 0.3 * time_s) + rng.normal(0, 0.001, len(time_s))
    return Recording(np.stack([wave_mv] * 4), rate_hz, ("I", "II", "V1", "V6"))


@pytest.mark.parametrize("rate_hz", [100.0, 250.0, 500.0, 1000.0])
def test_quality_flags_of_planted_faults(rate_hz):
    recording = clean(rate_hz)
    assert quality_flags(recording) == {lead: () for lead in recording.leads}
    signal_mv = recording.signal_mv.copy()
    rng = np.random.default_rng(6)
    signal_mv[1, : round(2.5 * rate_hz)] = signal_mv[1, 0]  # an electrode comes off
    signal_mv[2] = np.clip(signal_mv[2], -1, 0.15)  # the amplifier saturates
    signal_mv[3] += rng.normal(0, 0.1, signal_mv.shape[1])  # muscle
    flags = quality_flags(Recording(signal_mv, rate_hz, recording.leads))
    assert flags == {"I": (), "II": ("flat",), "V1": ("clipped",), "V6": ("noisy",)}


def test_quality_flags_of_constant_and_tiny_ecgs():
    constant = Recording(np.ones((1, 5000)), 500.0, ("I",))
    assert quality_flags(constant) == {"I": ("flat", "clipped")}
    assert quality_flags(Recording(np.ones((1, 1)), 500.0, ("I",))) == {"I": ("flat",)}
    assert quality_flags(Recording(np.array([[0.0, 1.0]]), 50.0, ("I",))) == {"I": ()}


def test_quality_flags_are_rare_in_ptbxl(real_data):
    """A hint that is given for every tenth lead would be no hint."""
    flagged = 0
    for header in sorted((real_data / "ptb-xl" / "records500").rglob("*.hea"))[:200]:
        flagged += sum(bool(flags) for flags in quality_flags(read_ecg(header)).values())
    print("leads flagged:", flagged, "of 2400")
    assert flagged < 240


@pytest.mark.parametrize(("from_hz", "to_hz"), [(250.0, 100.0), (257.0, 100.0), (360.0, 100.0), (128.0, 500.0)])
@pytest.mark.parametrize("n_samples", [60, 997, 1000])
def test_padding_reaches_as_far_as_the_filter(from_hz, to_hz, n_samples):
    """With ten times the padding, nothing changes."""
    signal_mv = np.random.default_rng(0).normal(size=(n_samples, 1)).astype(np.float32).cumsum(axis=0)
    ratio = Fraction(to_hz / from_hz).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    periods = 10 * (11 * max(up, down) // down + 1)
    offset_mv = signal_mv.mean(axis=0)
    padded_mv = np.pad(signal_mv - offset_mv, ((periods * down,) * 2, (0, 0)), mode="reflect", reflect_type="odd")
    expected_mv = resample_poly(padded_mv.astype(np.float64), up, down, axis=0)[periods * up :] + offset_mv
    result_mv = resampled(signal_mv, from_hz, to_hz)
    assert len(result_mv) == round(n_samples * to_hz / from_hz)
    np.testing.assert_allclose(result_mv, expected_mv[: len(result_mv)], atol=1e-4)
