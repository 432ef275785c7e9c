"""Recording: validated fields, leads matched by name, and Einthoven's relations."""

import numpy as np
import pytest

from lamae_toolkit.ecg.leads import (
    FRONTAL_AXIS_DEG,
    HORIZONTAL_AXIS_DEG,
    LEAD_SUBSETS,
    LEADS,
    LIMB_LEADS,
    check_leads,
    lead_name,
)
from lamae_toolkit.ecg.recording import Recording, einthoven_error_mv
from lamae_toolkit.errors import ECGError


def a_recording(leads: tuple[str, ...] = LEADS, rate_hz: float = 500.0) -> Recording:
    signal_mv = np.random.default_rng(0).normal(size=(len(leads), 100)).astype(np.float32)
    return Recording(signal_mv, rate_hz, leads)


@pytest.mark.parametrize("text", ["aVR", "AVR", "avr", " aVR ", "Lead aVR", "lead_avr", "LEAD AVR"])
def test_lead_name_ignores_case(text):
    assert lead_name(text) == "aVR"


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        *[("DI", "I"), ("DII", "II"), ("diii", "III"), ("MLII", "II"), ("C1", "V1"), ("c6", "V6"), ("V 1", "V1")],
        *[("II (mV)", "II"), ("V1_uV", "V1"), ("v2[µV]", "V2"), ("DIII_mV", "III"), ("aV R", "aVR")],
        *[("ECG II", "II"), ("EKG V5", "V5"), ("ECG lead II", "II"), ("ECG I-Ref", "I"), ("Ableitung II", "II")],
        *[("MDC_ECG_LEAD_II", "II"), ("MDC_ECG_LEAD_AVF", "aVF"), ("MDC_ECG_ELEC_POTL_V3", "V3")],
    ],
)
def test_lead_name_knows_the_names_of_many_devices(text, lead):
    assert lead_name(text) == lead


@pytest.mark.parametrize(
    "text",
    [
        *["", "lead", "vx", "V7", "V4R", "V", "IV", "-aVR", "lead -aVR", "I-", "II III", "resp", "D1", "MCL1"],
        *["EEG C3-A2", "EEG I", "MDC_EEG_I", "V1-V2", "Iv", "C7", "DV1"],
    ],
)
def test_lead_name_of_other_channels_is_none(text):
    assert lead_name(text) is None


def test_leads_are_unique_and_have_one_axis():
    assert [lead_name(lead.upper()) for lead in LEADS] == list(LEADS)
    assert set(FRONTAL_AXIS_DEG) | set(HORIZONTAL_AXIS_DEG) == set(LEADS)
    assert set(FRONTAL_AXIS_DEG) == set(LIMB_LEADS)
    assert all(set(subset) <= set(LEADS) for subset in LEAD_SUBSETS.values())


def test_recording_is_float32_contiguous_with_duration():
    recording = Recording(np.zeros((200, 3)).T + np.arange(200), 100.0, ("V1", "I", "aVF"))
    assert recording.signal_mv.dtype == np.float32
    assert recording.signal_mv.flags.c_contiguous
    assert recording.duration_s == 2.0


@pytest.mark.parametrize(
    ("signal_mv", "rate_hz", "leads", "message"),
    [
        (np.zeros((2, 9)), 500.0, ("I", "X"), "Unknown lead name 'X'"),
        (np.zeros((2, 9)), 500.0, ("I", "i"), "Unknown lead name 'i'"),
        (np.zeros((2, 9)), 500.0, ("I", "I"), "Lead I is given twice"),
        (np.zeros((3, 9)), 500.0, ("I", "II"), "3 rows but 2 lead names"),
        (np.zeros((0, 9)), 500.0, (), "no leads or no samples"),
        (np.zeros((1, 0)), 500.0, ("I",), "no leads or no samples"),
        (np.zeros((1, 9)), 0.0, ("I",), "The sampling rate is 0 Hz"),
        (np.zeros((1, 9)), 49.9, ("I",), "The sampling rate is 49.9 Hz"),
        (np.zeros((1, 9)), 2001.0, ("I",), "The sampling rate is 2001 Hz"),
        (np.zeros((1, 9)), float("nan"), ("I",), "The sampling rate is nan Hz"),
        (np.array([[0.0, np.nan]]), 500.0, ("I",), "not finite"),
        (np.array([[0.0, np.inf]]), 500.0, ("I",), "not finite"),
    ],
)
def test_invalid_recording_is_refused(signal_mv, rate_hz, leads, message):
    with pytest.raises(ECGError, match=message) as caught:
        Recording(signal_mv, rate_hz, leads)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize("rate_hz", [50.0, 257.0, 2000.0])
def test_sampling_rates_from_50_to_2000_hz_are_valid(rate_hz):
    assert a_recording(rate_hz=rate_hz).sampling_rate_hz == rate_hz


def test_select_leads_by_name_in_any_order():
    recording = a_recording()
    picked = recording.select(["V6", "I", "aVF"])
    assert picked.leads == ("V6", "I", "aVF")
    for name in picked.leads:
        np.testing.assert_array_equal(picked.lead(name), recording.lead(name))
    with pytest.raises(ECGError, match="Lead V6 is not in this ECG"):
        recording.select(["I", "II"]).lead("V6")


def test_with_note_returns_a_copy():
    recording = a_recording()
    assert recording.with_note("one").with_note("two").notes == ("one", "two")
    assert recording.notes == ()


def test_check_leads_accepts_any_subset_in_any_order():
    check_leads(("V6", "I"))
    with pytest.raises(ECGError, match="twice"):
        check_leads(("V6", "I", "V6"))


def limb_leads_of(lead_I: np.ndarray, lead_II: np.ndarray) -> Recording:
    rows = {
        "I": lead_I,
        "II": lead_II,
        "III": lead_II - lead_I,
        "aVR": -(lead_I + lead_II) / 2,
        "aVL": lead_I - lead_II / 2,
        "aVF": lead_II - lead_I / 2,
    }
    return Recording(np.stack(list(rows.values())), 500.0, tuple(rows))


def test_einthoven_holds_for_derived_limb_leads():
    rng = np.random.default_rng(1)
    recording = limb_leads_of(rng.normal(size=500), rng.normal(size=500))
    assert einthoven_error_mv(recording) < 1e-6
    shuffled = recording.select(["aVF", "II", "aVR", "I"])
    assert einthoven_error_mv(shuffled) < 1e-6


@pytest.mark.parametrize("lead", LIMB_LEADS)
def test_einthoven_detects_one_wrong_sample(lead):
    rng = np.random.default_rng(2)
    recording = limb_leads_of(rng.normal(size=500), rng.normal(size=500))
    signal_mv = recording.signal_mv.copy()
    signal_mv[recording.leads.index(lead), 250] += 0.4
    assert einthoven_error_mv(Recording(signal_mv, 500.0, recording.leads)) == pytest.approx(0.4, abs=1e-5)


def test_einthoven_detects_swapped_lead_names():
    rng = np.random.default_rng(3)
    recording = limb_leads_of(rng.normal(size=500), rng.normal(size=500))
    swapped = Recording(recording.signal_mv, 500.0, ("I", "III", "II", "aVR", "aVL", "aVF"))
    assert einthoven_error_mv(swapped) > 0.5


def test_einthoven_needs_three_limb_leads():
    with pytest.raises(ECGError, match="need leads I and II"):
        einthoven_error_mv(a_recording(("I", "II", "V1")))
