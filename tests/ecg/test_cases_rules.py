"""Rules that hold for the files of all devices: lead names, arguments, and warnings of what may change a value."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import wfdb

import written_ecgs as write
from lamae_toolkit.ecg.io.channels import match_leads
from lamae_toolkit.ecg.io.checks import implausible, without_marks
from lamae_toolkit.ecg.io.listing import find_ecgs
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.io.waveforms import Waveform, choose_waveforms
from lamae_toolkit.ecg.leads import FROM_I_AND_II, LEADS
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
    # With all twelve leads, or if the caller leaves it out, it is one more channel.
    for notes in (match_leads([*LEADS, name])[1], match_leads(["II", name], ["II", "other"])[1]):
        (note,) = notes
        assert not isinstance(note, WarningNote) and (name in note or "other" in note)


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


# ---- Values that cannot be right


def test_wfdb_samples_that_do_not_match_their_checksums_are_warned_of():
    with pytest.warns(LeadWarning) as caught:
        recording = read_ecg(CASES / "wfdb_overwritten_16.hea")
    assert [note.kind for note in recording.notes] == ["checksum", "Einthoven's relations broken"]
    assert len(caught) == 2 and "leads I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6 do not" in str(
        caught[0].message
    )
    # The samples themselves are read as they are.
    assert recording.lead("I")[400:500] == pytest.approx(4.369) and recording.lead("I")[399] < 1


@pytest.mark.parametrize("fmt", ["16", "24", "212"])
@pytest.mark.parametrize("n_samples", [1, 99, 100, 1234])
def test_wfdb_checksums_and_first_values_of_every_length_and_format(tmp_path, fmt, n_samples):
    rng = np.random.default_rng(n_samples)
    adc = rng.integers(1, 1000, (n_samples + 2, 2))
    named = {"fmt": [fmt] * 2, "adc_gain": [200.0] * 2, "baseline": [0] * 2, "write_dir": str(tmp_path)}
    wfdb.wrsamp("rec", 500, ["mV"] * 2, ["V5", "II"], d_signal=adc, **named)
    header = tmp_path / "rec.hea"
    if n_samples > 1:
        read_silently(header)
    text = header.read_text()
    *_, line = text.splitlines()
    words = line.split()
    assert words[-1] == "II" and int(words[5]) == adc[0, 1] and (int(words[6]) - adc[:, 1].sum()) % 65536 == 0
    words[6] = str(int(words[6]) + 1)
    header.write_text(text.replace(line, " ".join(words)))
    read_warned(header, r"The samples of lead II do not match the checksum or first value in the header")
    # A writer that computes no checksum writes 0, and only the first value can be compared.
    words[6] = "0"
    header.write_text(text.replace(line, " ".join(words)))
    read_silently(header)
    words[5] = str(adc[0, 1] + 1)
    header.write_text(text.replace(line, " ".join(words)))
    read_warned(header, r"The samples of lead II do not match the checksum or first value in the header")


def test_mark_of_a_missing_sample_in_24_bits_is_a_gap():
    recording = read_warned(CASES / "wfdb_24_gap.hea", r"Lead II had gaps, 2 % of it, which were interpolated")
    assert recording.lead("II").min() == pytest.approx(-0.2, abs=0.02) and recording.flags == (("II", "nan"),)


@pytest.mark.parametrize("mark", [-32768.0, -32.768, float(np.float32(-32.768))])
def test_mark_of_a_missing_sample_stands_apart(mark):
    values = np.random.default_rng(0).normal(0, 1, 1000)
    values[300:320] = mark
    marked = without_marks(values)
    assert np.flatnonzero(np.isnan(marked)).tolist() == list(range(300, 320))
    np.testing.assert_array_equal(np.delete(marked, range(300, 320)), np.delete(values, range(300, 320)))
    # A signal that comes near it, one without anything else, and one without it stay as they are.
    for other in (np.linspace(mark, -mark, 1000), np.full(5, mark), np.delete(values, range(300, 320)), values[:0]):
        np.testing.assert_array_equal(without_marks(other), other)


def test_counts_called_millivolts_are_warned_of():
    match = r"Leads I, II, .*, V6 span up to 347 mV, which no ECG does; check the unit and the gain\.$"
    recording = read_warned(CASES / "adc_counts_called_mv.csv", match, sampling_rate_hz=500)
    assert [note.kind for note in recording.notes] == ["impossible amplitude"]


def test_amplitude_and_einthoven_limits():
    def kinds(**signals_mv) -> list[str]:
        return [note.kind for note in implausible(signals_mv)]

    wave = np.sin(np.arange(5000) / 50)
    assert kinds(I=wave * 24) == kinds(V1=wave * 0.03, V2=wave * 0.01) == []
    assert kinds(I=wave * 26) == kinds(V1=wave * 0.02, V2=wave * 0.01) == ["impossible amplitude"]
    obeying = {"I": wave, "II": 2 * wave[::-1]}
    obeying |= {lead: a * obeying["I"] + b * obeying["II"] for lead, (a, b) in FROM_I_AND_II.items()}
    assert kinds(**obeying) == kinds(V1=wave, II=wave) == kinds(I=wave, V2=wave) == []
    broken = ["Einthoven's relations broken"]
    for lead in FROM_I_AND_II:
        wrong = obeying[lead].copy()
        wrong[1000:1100] += 0.06  # for 2 % of the time
        assert kinds(**(obeying | {lead: wrong})) == broken
        assert kinds(**{name: obeying[name] for name in ("I", "II")}, **{lead: wrong}) == broken
        wrong = obeying[lead].copy()
        wrong[1000:1030] += 5.0
        assert kinds(**(obeying | {lead: wrong})) == []
    assert kinds(**(obeying | {"aVL": obeying["aVF"], "aVF": obeying["aVL"]})) == broken


@pytest.mark.slow
def test_warnings_on_real_records(real_data):
    """LUDB's headers scale each lead on its own, so its 200 warnings are true; no other record has one."""
    kinds = Counter()
    for folder in ("ptb-xl/records100", "ptb-xl/records500", "ludb/data", "formats"):
        for path in find_ecgs(real_data / folder):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LeadWarning)
                notes = read_ecg(path).notes
            kinds.update((folder, note.kind) for note in notes if isinstance(note, WarningNote))
    assert kinds == {("ludb/data", "Einthoven's relations broken"): 200}


# ---- Several waveforms in one file


def test_muse_first_sample_baseline_is_subtracted():
    recording = read_silently(CASES / "muse_first_sample_baseline.xml")
    assert recording.signal_mv.shape == (12, 2000) and recording.sampling_rate_hz == 500
    assert recording.lead("I")[0] == pytest.approx(0, abs=0.003) and recording.lead("II")[0] == pytest.approx(
        0.010, abs=0.003
    )
    assert np.ptp(recording.lead("I")) == pytest.approx(0.805, abs=0.001)


@pytest.mark.parametrize("name", ["aecg_strip_first.xml", "dicom_median_first.dcm"])
def test_waveform_with_the_most_leads_and_then_the_longest_is_read(name):
    recording = read_silently(CASES / name)
    is_the_case(recording)


def test_calibration_pulse_of_an_aecg_is_left_out():
    recording = read_silently(CASES / "aecg_with_calibration.xml")
    is_the_case(recording)
    assert "Left out the last 0.4 s, a calibration pulse alike in all leads." in recording.notes


def test_nanovolts():
    recording = read_silently(CASES / "aecg_nanovolt.xml")
    is_the_case(recording)
    assert "Converted from nV to mV." in recording.notes


PARTS = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))


def of(*leads: str, n: int = 5000, rate_hz: float = 500, start: str = "", is_beat: bool = False) -> Waveform:
    return Waveform(leads, rate_hz, n, start, is_beat)


@pytest.mark.parametrize(
    ("waveforms", "chosen", "kind"),
    [
        ([of(*LEADS)], [0], None),
        # A rhythm before a beat, the most leads, then the longest, then the first.
        ([of(*LEADS, n=600, is_beat=True), of("II", n=9000)], [1], None),
        ([of(*LEADS, n=600), of(*LEADS)], [1], "note"),
        ([of("II", n=20000), of(*LEADS)], [1], "note"),
        ([of(*LEADS), of(*LEADS)], [0], "several ECGs"),
        ([of(*LEADS, n=600, is_beat=True)], [], None),
        ([of("Resp"), of("II")], [1], None),
        # Parts of one ECG are joined, and a strip of a lead that is among them is not.
        ([of(*part) for part in PARTS], [0, 1, 2, 3], None),
        ([of("II", n=9000), *(of(*part) for part in PARTS), of("II")], [1, 2, 3, 4], "note"),
        # What was recorded at another time, rate or length cannot be joined.
        ([of(*part, start=str(i)) for i, part in enumerate(PARTS)], [0], "lead not read"),
        ([of("I", "II", rate_hz=250), of("V1", "V2", "V3")], [1], "lead not read"),
    ],
)
def test_choice_among_several_waveforms(waveforms, chosen, kind):
    indices, notes = choose_waveforms(waveforms)
    assert indices == chosen
    kinds = [getattr(note, "kind", "note") for note in notes]
    assert kinds == ([] if kind is None else [kind])


@pytest.mark.parametrize("kind", ["dicom", "aecg", "muse"])
def test_leads_in_four_waveforms_are_joined_in_every_format(tmp_path, kind):
    counts = write.ecg_counts(n_samples=600)
    parts = [{lead: counts[lead] for lead in part} for part in PARTS]
    if kind == "dicom":
        content = write.dicom(*map(write.dicom_group, parts))
    else:
        start, end = (
            (b"<series>", b"</series>") if kind == "aecg" else (b"<Waveform><WaveformType>Rhythm", b"</RestingECG>")
        )
        one_of = [(write.aecg_xml if kind == "aecg" else write.muse_xml)(part) for part in parts]
        cut = [text[text.index(start) : text.index(end)] for text in one_of]
        between = b"</series></component><component>" if kind == "aecg" else b""
        content = one_of[0].replace(cut[0], between.join(cut))
    recording = read_silently(saved(tmp_path, content))
    assert set(recording.leads) == set(LEADS)
    scale_mv = 4.88e-3 if kind == "muse" else 5e-3
    for lead in LEADS:
        np.testing.assert_allclose(recording.lead(lead), counts[lead] * scale_mv, atol=1e-6)


def test_dicom_groups_of_different_times_are_not_joined(tmp_path):
    counts = write.ecg_counts(n_samples=600)
    groups = [write.dicom_group({lead: counts[lead] for lead in part}) for part in PARTS]
    for number, group in enumerate(groups):
        group.MultiplexGroupTimeOffset = 2500 * number
    recording = read_warned(
        saved(tmp_path, write.dicom(*groups)), "the others have aVR, aVL, aVF, V1, .* at another time"
    )
    assert recording.leads == ("I", "II", "III")


def test_dicom_skew_is_warned_of(tmp_path):
    group = write.dicom_group(write.ecg_counts())
    for channel in group.ChannelDefinitionSequence:
        channel.ChannelSampleSkew = 0
    read_silently(saved(tmp_path, write.dicom(group)))
    group.ChannelDefinitionSequence[3].ChannelSampleSkew = 2
    read_warned(
        saved(tmp_path, write.dicom(group)), r"its leads were sampled up to 4 ms apart, which was not corrected"
    )


@pytest.mark.parametrize("kind", ["dicom", "aecg", "muse", "sierra", "csv", "npz"])
def test_mark_of_a_missing_sample_is_a_gap_in_every_format(tmp_path, kind):
    counts = write.ecg_counts()
    counts["V1"][100:110] = -32768
    files = FILES | {"dicom": lambda counts: write.dicom(write.dicom_group(counts))}
    if kind in ("csv", "npz"):  # as a table in mV has it, converted from uV
        counts["V1"] = np.where(counts["V1"] == -32768, -32.768 / 0.005, counts["V1"])
    path = saved(tmp_path, files[kind](counts))
    recording = read_warned(path, r"Lead V1 had gaps, 2 % of it, which were interpolated linearly\.$")
    assert recording.lead("V1").min() > -5 and recording.flags == (("V1", "nan"),)
