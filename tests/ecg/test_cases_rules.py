"""Rules that hold for the files of all devices: lead names, arguments, and warnings of what may change a value."""

import warnings
from pathlib import Path

import numpy as np
import pytest

import written_ecgs as write
from lamae_toolkit.ecg.io.channels import match_leads
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError, LeadWarning, WarningNote

CASES = Path(__file__).parent / "cases"
"""Small files of one simulated ECG of 4 s at 500 Hz: I starts at 0.000 mV, II at 0.008 mV and peaks at 1.10 mV."""


def saved(tmp_path: Path, content: bytes, name: str = "x.bin") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def read_silently(path: Path, **arguments) -> Recording:
    """Read an ECG of which nothing is to be warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeadWarning)
        recording = read_ecg(path, **arguments)
    assert not any(isinstance(note, WarningNote) for note in recording.notes)
    return recording


def read_warned(path: Path, match: str, **arguments) -> Recording:
    """Read an ECG of which there is one LeadWarning, which is also in the notes."""
    with pytest.warns(LeadWarning, match=match) as caught:
        recording = read_ecg(path, **arguments)
    of_notes = [f"{path.name}: {note}" for note in recording.notes if isinstance(note, WarningNote)]
    assert [str(warning.message) for warning in caught] == of_notes
    return recording


def is_the_case(recording: Recording, leads: tuple[str, ...] = LEADS, n_samples: int = 2000) -> None:
    assert set(recording.leads) == set(leads) and recording.sampling_rate_hz == 500
    assert recording.signal_mv.shape == (len(leads), n_samples)
    for lead, first_mv, peak_mv in (("I", 0.0, None), ("II", 0.008, 1.10)):
        if lead in leads:
            assert recording.lead(lead)[0] == pytest.approx(first_mv, abs=0.004)
            assert peak_mv is None or recording.lead(lead).max() == pytest.approx(peak_mv, abs=0.01)


# ---- Lead names and arguments


def test_di_dii_diii_are_i_ii_iii():
    is_the_case(read_silently(CASES / "leads_di_dii.csv", sampling_rate_hz=500))


def test_channel_named_ecg_is_named_by_the_argument():
    path = CASES / "wfdb_lead_called_ecg.hea"
    with pytest.raises(ECGError, match=r"Unknown lead names 'ECG'; name the leads .*, or pass leads= with a name for"):
        read_ecg(path)
    is_the_case(read_silently(path, leads=["I"]), ("I",))
    with pytest.raises(ECGError, match=r"has 1 channels, 'ECG', but leads= names 2; give a name for each channel"):
        read_ecg(path, leads=["I", "II"])


def test_table_without_names_is_read_with_the_argument():
    path, arguments = CASES / "csv_no_header.csv", {"unit": "mV", "sampling_rate_hz": 500}
    with pytest.raises(ECGError, match=r"first row holds numbers instead of lead names; add a row of names, or pass"):
        read_ecg(path, **arguments)
    is_the_case(read_silently(path, **arguments, leads=["I", "II"]), ("I", "II"))


FILES = {
    "muse": lambda counts: write.muse_xml(counts),
    "sierra": lambda counts: write.sierra_xml(counts, "Uncompressed"),
    "aecg": lambda counts: write.aecg_xml(counts),
    "edf": lambda counts: write.edf(counts, prefix=""),
    "csv": lambda counts: write.table(counts),
    "npz": lambda counts: write.npz(counts),
}


@pytest.mark.parametrize("kind", FILES)
def test_argument_leads_names_channels_of_unknown_names_in_every_format(tmp_path, kind):
    counts = write.ecg_counts(("I", "II", "V1"))
    unnamed = dict(zip(("channel_a", "II", "channel_c"), counts.values(), strict=True))
    path = saved(tmp_path, FILES[kind](unnamed))
    recording = read_silently(path, leads=["I", "II", "V1"])
    assert recording.leads == ("I", "II", "V1")
    scale_mv = 4.88e-3 if kind == "muse" else 5e-3
    np.testing.assert_allclose(recording.signal_mv, np.stack(list(counts.values())) * scale_mv, atol=1e-6)
    with pytest.raises(ECGError, match=r"lead II by its name .* by leads=; leave out the argument leads"):
        read_ecg(path, leads=["I", "V2", "V1"])
    # A channel that is no lead keeps a name of its own.
    assert read_silently(path, leads=["Resp", "II", "V1"]).leads == ("II", "V1")


def test_c1_to_c6_are_chest_leads_but_not_in_an_eeg():
    chest = [f"C{number}" for number in range(1, 7)]
    assert list(match_leads(["I", "II", *chest])[0]) == ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
    for names in (["II", "C3", "C4"], ["II", "Cz", *chest], ["ECG II", "EEG Cz", *chest]):
        channel_of, (warning, *_) = match_leads(names)
        assert list(channel_of) == ["II"] and isinstance(warning, WarningNote) and "'C3'" in warning
    with pytest.raises(ECGError, match="Unknown lead names 'C3', 'C4'"):
        match_leads(["C3", "C4"])


@pytest.mark.parametrize("name", ["ECG", "ECG1", "Lead 2", "-aVR", "V", "D1", "II'"])
def test_channel_that_looks_like_a_lead_and_was_not_read_is_warned_of(name):
    (warning,) = match_leads(["II", name])[1]
    assert isinstance(warning, WarningNote) and repr(name) in warning and warning.kind == "lead not read"
    # With all twelve leads, it is one more channel, and nothing is lost.
    (note,) = match_leads([*LEADS, name])[1]
    assert not isinstance(note, WarningNote) and name in note


@pytest.mark.parametrize(
    "name", ["Resp", "vx", "V7", "V4R", "MCL1", "EEG C3-A2", "SpO2", "Trigger (V)", "ABP", "Temp C"]
)
def test_other_channels_are_a_note(name):
    assert match_leads(["II", name])[1] == (f"Dropped channels other than the twelve leads: {name}.",)


def test_modified_lead_gets_a_note():
    assert match_leads(["MLII", "V5"]) == (
        {"II": 0, "V5": 1},
        ("Read MLII, with electrodes on the torso, as lead II.",),
    )
