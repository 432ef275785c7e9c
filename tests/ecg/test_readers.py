"""Every real record is read as wfdb reads it, leads are matched by name, and bad files give one clear sentence."""

import re
import socket
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import wfdb

from lamae_toolkit.ecg.io.listing import find_ecgs
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import FROM_I_AND_II, LEADS, lead_name
from lamae_toolkit.ecg.recording import Recording, einthoven_error_mv
from lamae_toolkit.errors import ECGError, LeadWarning

MIMIC_ORDER = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No reader may reach for the network, and wfdb would like to."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a reader reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def counts(n_leads: int = 12, n_samples: int = 1000, leads: tuple[str, ...] = LEADS) -> np.ndarray:
    """ADC counts (samples, leads) that differ from lead to lead; all twelve obey Einthoven and Goldberger."""
    rng = np.random.default_rng(n_leads * n_samples)
    adc = rng.integers(-150, 150, (n_samples, n_leads)) * 2
    if n_leads == len(LEADS):
        I, II = adc[:, leads.index("I")], adc[:, leads.index("II")]
        for lead, (a, b) in FROM_I_AND_II.items():
            adc[:, leads.index(lead)] = a * I + b * II
    return adc.astype(np.int16)


def write_wfdb(
    folder: Path,
    name: str = "rec",
    adc: np.ndarray | None = None,
    leads: tuple[str, ...] = LEADS,
    gain: str = "200.0(0)/mV",
    rate: str = "500",
    fmt: str = "16",
    suffix: str = ".dat",
    head: bytes = b"",
) -> Path:
    """A WFDB record as plain text and bytes, so that tests can write what wfdb would not. Returns its header."""
    adc = counts(len(leads)) if adc is None else adc
    lines = [f"{name} {len(leads)} {rate} {len(adc)}"]
    lines += [f"{name}{suffix} {fmt} {gain} 16 0 {adc[0, i]} 0 0 {lead}" for i, lead in enumerate(leads)]
    (folder / f"{name}{suffix}").write_bytes(head + adc.astype("<i2").tobytes())
    header = folder / f"{name}.hea"
    header.write_text("\n".join(lines) + "\n# a comment\n", encoding="utf-8")
    return header


def write_csv(path: Path, mv: np.ndarray, columns: tuple[str, ...] | list[str], delimiter: str = ",") -> Path:
    rows = [delimiter.join(columns)] + [delimiter.join(f"{value:.6f}" for value in row) for row in mv]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def refused(path: str | Path, message: str, **arguments) -> ECGError:
    """Reading fails with one sentence that names the file and matches `message`, and leaves no file behind."""
    folder = Path(path).expanduser().parent
    before = sorted(folder.iterdir()) if folder.is_dir() else None
    with pytest.raises(ECGError) as caught:
        read_ecg(path, **arguments)
    text = str(caught.value)
    stem = Path(path).name.removesuffix(".dat").removesuffix(".mat").removesuffix(".hea")
    assert text.startswith(stem), text
    assert re.fullmatch(r"\S+: [A-Z][^\n]*[A-Za-z0-9)\"\]=]\.", text), text
    assert not re.search(r"[.!?]\s+[A-Z]", text), f"more than one sentence: {text}"
    assert re.search(message, text), text
    assert before == (sorted(folder.iterdir()) if folder.is_dir() else None)
    return caught.value


def same(recording: Recording, mv_by_lead: dict[str, np.ndarray], tolerance_mv: float = 1e-6) -> None:
    assert set(recording.leads) == set(mv_by_lead)
    for lead, mv in mv_by_lead.items():
        np.testing.assert_allclose(recording.lead(lead), mv, rtol=0, atol=tolerance_mv)


# ---- Real records


def agrees_with_wfdb(header: Path, rate_hz: float, n_samples: int) -> Recording:
    recording = read_ecg(header)
    expected = wfdb.rdrecord(str(header.with_suffix("")))
    assert set(recording.leads) == set(LEADS)
    assert recording.signal_mv.shape == (12, n_samples) and recording.sampling_rate_hz == rate_hz
    same(recording, {lead_name(name): expected.p_signal[:, i] for i, name in enumerate(expected.sig_name)})
    return recording


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "rate_hz", "n_samples"), [("records100", 100, 1000), ("records500", 500, 5000)])
def test_every_ptbxl_record(real_data, folder, rate_hz, n_samples):
    """Limb leads obey Einthoven to 2 ADC units (0.002 mV), but for nine samples of record 162 at 500 Hz."""
    headers = [path for path in find_ecgs(real_data / "ptb-xl" / folder) if path.suffix == ".hea"]
    assert len(headers) == 500
    for header in headers:
        recording = agrees_with_wfdb(header, rate_hz, n_samples)
        error_mv = einthoven_error_mv(recording)
        assert not recording.notes
        if header.stem == "00162_hr":
            assert error_mv == pytest.approx(2.561, abs=1e-3)
        else:
            assert error_mv < 0.0021, header


@pytest.mark.filterwarnings("ignore:.*(Einthoven|No lead spans|which no ECG does):lamae_toolkit.errors.LeadWarning")
@pytest.mark.slow
def test_every_ludb_record(real_data):
    """LUDB scales every lead by itself, so in mV Einthoven fails (by 0.4 mV in the median); in counts it holds."""
    headers = sorted((real_data / "ludb" / "data").glob("*.hea"))
    assert len(headers) == 200
    errors_mv = [einthoven_error_mv(agrees_with_wfdb(header, 500, 5000)) for header in headers]
    assert 0.3 < np.median(errors_mv) < 0.5


# ---- WFDB


def test_mimic_stores_avf_before_avl(tmp_path):
    adc = counts(12, 5000, MIMIC_ORDER)
    adc[1000:1100, 7] = -32768  # MIMIC's sign for a missing sample, in V2
    header = write_wfdb(tmp_path, "40689238", adc, MIMIC_ORDER)
    with pytest.warns(LeadWarning, match="Lead V2 had gaps, 2 %"):
        recording = read_ecg(header)
    assert recording.leads == MIMIC_ORDER and recording.sampling_rate_hz == 500
    expected = {lead: adc[:, i] / 200 for i, lead in enumerate(MIMIC_ORDER)}
    expected["V2"] = expected["V2"].copy()
    expected["V2"][1000:1100] = np.interp(np.arange(1000, 1100), [999, 1100], adc[[999, 1100], 7] / 200)
    same(recording, expected)
    np.testing.assert_allclose(recording.lead("aVF"), adc[:, 4] / 200, atol=1e-6)
    np.testing.assert_allclose(recording.lead("aVL"), adc[:, 5] / 200, atol=1e-6)
    assert recording.notes == ("Lead V2 had gaps, 2 % of it, which were interpolated linearly.",)


def test_wfdb_mat_of_the_physionet_challenge(tmp_path):
    adc = counts(12, 5000)
    header = write_wfdb(tmp_path, "A0001", adc, gain="1000/mV", fmt="16x1+24", suffix=".mat", head=bytes(range(24)))
    for path in (header, tmp_path / "A0001.mat", tmp_path / "A0001"):
        same(read_ecg(path), {lead: adc[:, i] / 1000 for i, lead in enumerate(LEADS)})


def test_path_with_any_suffix_or_none(tmp_path, monkeypatch):
    header = write_wfdb(tmp_path)
    expected = read_ecg(header).signal_mv
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (
        "rec.hea",
        "rec.dat",
        "rec",
        "./rec",
        "~/rec.hea",
        "~/rec",
        Path("rec"),
        str(header),
        tmp_path / "rec",
    ):
        np.testing.assert_array_equal(read_ecg(path).signal_mv, expected)


@pytest.mark.parametrize("fmt", ["16", "24", "32", "80", "212"])
def test_wfdb_formats(tmp_path, fmt):
    adc = (counts(3, 999) // 3).astype(np.int64)
    wfdb.wrsamp(
        "rec",
        360,
        ["mV"] * 3,
        ["V5", "ii", "AVL"],
        d_signal=adc,
        fmt=[fmt] * 3,
        adc_gain=[100.0] * 3,
        baseline=[0] * 3,
        write_dir=str(tmp_path),
    )
    same(read_ecg(tmp_path / "rec"), {"V5": adc[:, 0] / 100, "II": adc[:, 1] / 100, "aVL": adc[:, 2] / 100})
    data = (tmp_path / "rec.dat").read_bytes()
    for size in (len(data) - 1, len(data) // 2, 1, 0):
        (tmp_path / "rec.dat").write_bytes(data[:size])
        refused(tmp_path / "rec.hea", "rec.dat has .* bytes.*cut off; copy it again")


@pytest.mark.filterwarnings("ignore:.*(Einthoven|No lead spans|which no ECG does):lamae_toolkit.errors.LeadWarning")
def test_wfdb_flac(tmp_path):
    adc = counts(3, 2000).astype(np.int64)
    wfdb.wrsamp(
        "rec",
        500,
        ["mV"] * 3,
        ["I", "II", "III"],
        d_signal=adc,
        fmt=["516"] * 3,
        adc_gain=[200.0] * 3,
        baseline=[0] * 3,
        write_dir=str(tmp_path),
    )
    same(read_ecg(tmp_path / "rec"), {lead: adc[:, i] / 200 for i, lead in enumerate(("I", "II", "III"))})
    (tmp_path / "rec.dat").write_bytes((tmp_path / "rec.dat").read_bytes()[:700])
    refused(tmp_path / "rec", "damaged|cut off")


def test_wfdb_several_samples_per_frame(tmp_path):
    adc = counts(1, 2000)[:, 0]
    (tmp_path / "rec.hea").write_text("rec 1 125 500\nrec.dat 16x4 200/mV 16 0 0 0 0 II\n")
    (tmp_path / "rec.dat").write_bytes(adc.tobytes())
    recording = read_ecg(tmp_path / "rec")
    assert recording.sampling_rate_hz == 500
    same(recording, {"II": adc / 200})


@pytest.mark.filterwarnings("ignore:.*(Einthoven|No lead spans|which no ECG does):lamae_toolkit.errors.LeadWarning")
@pytest.mark.parametrize(
    ("gain", "factor"), [("200/uV", 1e-3), ("200/µV", 1e-3), ("200/μV", 1e-3), ("0.5/V", 1e3), ("200/mv", 1)]
)
def test_wfdb_units_are_converted_to_millivolts(tmp_path, gain, factor):
    adc = np.clip(counts(), -200, 200) if factor < 1e3 else counts() > 0
    adc = adc.astype(np.int16)
    if factor == 1e3:
        gain = "20/V"  # 1 count is 50 mV
    recording = read_ecg(write_wfdb(tmp_path, adc=adc, gain=gain))
    per_unit = float(gain.split("/")[0])
    same(recording, {lead: adc[:, i] / per_unit * factor for i, lead in enumerate(LEADS)}, 1e-5)
    assert any("Converted from" in note for note in recording.notes) == (factor != 1)


def test_wfdb_micro_sign_in_latin1(tmp_path):
    header = write_wfdb(tmp_path, gain="0.2/µV")
    header.write_bytes(header.read_text(encoding="utf-8").encode("latin-1"))
    assert read_ecg(header).notes == ("Converted from uV to mV.",)


def test_wfdb_without_unit_needs_the_argument(tmp_path):
    header = write_wfdb(tmp_path, gain="200")
    refused(header, 'unit of lead I is not given; .* unit="mV"')
    np.testing.assert_allclose(read_ecg(header, unit="mV").lead("V6"), counts()[:, 11] / 200, atol=1e-6)


def test_frank_leads_are_dropped_with_a_note(tmp_path):
    leads = ("vx", "i", "resp", "v6", "vy")
    recording = read_ecg(write_wfdb(tmp_path, leads=leads))
    same(recording, {"I": counts(5)[:, 1] / 200, "V6": counts(5)[:, 3] / 200})
    assert recording.notes == ("Dropped channels other than the twelve leads: vx, resp, vy.",)


def test_wfdb_segments_are_joined_by_lead_name(tmp_path):
    first, second = counts(12, 1000), counts(12, 800, MIMIC_ORDER)
    write_wfdb(tmp_path, "s1", first, LEADS)
    write_wfdb(tmp_path, "s2", second, MIMIC_ORDER, gain="400/mV")
    (tmp_path / "long.hea").write_text("long/3 12 500 1900\ns1 1000\n~ 100\ns2 800\n")
    with pytest.warns(LeadWarning, match="had gaps"):
        recording = read_ecg(tmp_path / "long.hea")
    assert recording.signal_mv.shape == (12, 1900)
    for lead in LEADS:
        np.testing.assert_allclose(recording.lead(lead)[:1000], first[:, LEADS.index(lead)] / 200, atol=1e-6)
        np.testing.assert_allclose(recording.lead(lead)[1100:], second[:, MIMIC_ORDER.index(lead)] / 400, atol=1e-6)
    assert "Joined 3 segments." in recording.notes


@pytest.mark.parametrize(
    ("master", "message"),
    [
        ("long/2 12 500 2000\ns1 1000\ns9 1000\n", "header of its segment s9 is missing"),
        ("long/2 12 500 1900\n~ 100\ns1 1800\n", "does not have the promised 1800 samples"),
        ("long/2 12 500 2000\ns1 1000\ns1 1000\n", "lists a segment twice"),
        ("long/2 12 500 2000\ns1 1000\nother 1000\n", r"different sampling rates, \[250.0, 500.0\] Hz"),
        ("long/2 12 500 900000001000\ns1 1000\n~ 900000000000\n", "900000 million samples, and at most 300 million"),
        ("long/1 12 500 1000\nlong 1000\n", "does not describe its signals"),
        ("long/1 12 500 1000\n~ 1000\n", "lie in gaps"),
        ("long/2 12 500 1000\n", "declares 2 segments and 1000 samples, but its segment lines are 0"),
    ],
)
def test_invalid_wfdb_segments_are_refused(tmp_path, master, message):
    write_wfdb(tmp_path, "s1")
    write_wfdb(tmp_path, "other", rate="250")
    (tmp_path / "long.hea").write_text(master)
    refused(tmp_path / "long.hea", message)


# ---- Bad WFDB


def test_missing_files_are_refused(tmp_path):
    header = write_wfdb(tmp_path)
    (tmp_path / "rec.dat").rename(tmp_path / "other.dat")
    refused(header, "signal file rec.dat is missing; put it next to the header")
    refused(tmp_path / "rec", "signal file rec.dat is missing")
    refused(tmp_path / "other.dat", "WFDB header other.hea is missing")
    refused(tmp_path / "nothing.hea", "There is no such file; check the path")
    refused(tmp_path / "nothing", "There is no such file; check the path")
    refused(tmp_path / "no" / "folder.csv", "There is no such file; check the path")
    refused("s3://bucket/rec", "There is no such file")
    refused(tmp_path / "a::github" / "rec", "'::'")


@pytest.mark.parametrize("bytes_kept", [0, 1, 24, 12000, 23999])
def test_truncated_wfdb_signal_file_is_refused(tmp_path, bytes_kept):
    header = write_wfdb(tmp_path)
    content = (tmp_path / "rec.dat").read_bytes()
    assert len(content) == 24000
    (tmp_path / "rec.dat").write_bytes(content[:bytes_kept])
    refused(header, f"rec.dat has {bytes_kept} bytes, but the header declares at least 24000, so it is cut off")


def test_wfdb_header_with_too_many_samples_allocates_no_memory(tmp_path):
    header = write_wfdb(tmp_path)
    text = header.read_text()
    header.write_text(text.replace("500 1000", "500 1000000000000"))
    refused(header, "declares at least 24000000000000")
    for fmt in ("516", "524", "16x1000000000000"):
        header.write_text(text.replace("rec.dat 16 ", f"rec.dat {fmt} ").replace("500 1000", "500 1000000000000"))
        refused(header, "cut off")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"leads": ("A", "B")}, "Unknown lead names 'A', 'B'; name the leads I, II"),
        ({"leads": ("vx", "vy", "vz")}, "Unknown lead names 'vx'"),
        ({"leads": ("II", "V1", "ii")}, "Lead II is given twice, as 'II' and 'ii'; keep one"),
        ({"rate": "0"}, "sampling rate is 0 Hz"),
        ({"rate": "10"}, "sampling rate is 10 Hz, but an ECG"),
        ({"rate": "50000"}, "sampling rate is 50000 Hz"),
        ({"rate": "5e2"}, "sampling rate '5e2' in the header cannot be understood"),
        ({"gain": "200/NU"}, "unit 'NU', which is not a voltage"),
        ({"gain": "200/mmHg"}, "unit 'mmHg', which is not a voltage"),
        ({"gain": "200/"}, "unit '', which is not a voltage"),
        ({"gain": "0/mV"}, "Lead I has no gain"),
        ({"gain": "0(0)/mV"}, "Lead I has no gain"),
        ({"gain": "/mV"}, "damaged|no gain"),
        ({"gain": "0.2/mV"}, "reaches .* mV, which no ECG does; check the unit and the gain"),
        ({"gain": "1e400/mV"}, "no gain|damaged|flat"),
        ({"fmt": "17"}, "in the format 17, which WFDB does not have"),
        ({"adc": np.full((1000, 12), -32768, np.int16)}, "No lead can be used"),
        ({"adc": np.full((1000, 12), 7, np.int16)}, "No lead can be used"),
        ({"adc": np.full((1, 12), 7, np.int16)}, "No lead can be used"),
    ],
)
def test_invalid_wfdb_headers_and_signals_are_refused(tmp_path, arguments, message):
    refused(write_wfdb(tmp_path, **arguments), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", "does not describe its signals"),
        ("# nothing\n", "does not describe its signals"),
        ("rec\n", "does not describe its signals"),
        ("rec 0 500 0\n", "does not describe its signals"),
        ("rec 2 500 1000\nrec.dat 16 200/mV 16 0 0 0 0 I\n", "does not describe its signals"),
        ("rec 2 500 1000\nrec.dat 212 200/mV 16 0 0 0 0 II\n\u00fb\n", "does not describe its signals"),
        ("rec 1\nrec.dat 16 200/mV 16 0 0 0 0 I\n", "sampling rate is not given"),
        ("rec 1 500 9\nrec.dat 16\n", "Unknown lead names"),
        ("rec 1 500 nan\nrec.dat 16 200/mV 16 0 0 0 0 I\n", "length 'nan' in the header cannot be understood"),
        ("rec 1 500 \u0663\nrec.dat 16 200/mV 16 0 0 0 0 I\n", "The length '\u0663' in the header cannot be"),
        ("rec 1 500 9\nrec.dat 16 200/mV\n", "Unknown lead names"),
        ("rec 1 500 9\nrec.dat\n", "damaged or is not WFDB"),
        ("rec 1 500 9\n~ 16 200/mV 16 0 0 0 0 I\n", "signal file ~ is missing"),
        ("%PDF-1.4 \n\x00\x01\n", "does not describe its signals"),
    ],
)
def test_invalid_wfdb_header_text_is_refused(tmp_path, text, message):
    write_wfdb(tmp_path).write_text(text)
    refused(tmp_path / "rec.hea", message)


def test_argument_that_contradicts_the_file_is_refused(tmp_path):
    header = write_wfdb(tmp_path)
    refused(header, "500 Hz by the file but 250 Hz by sampling_rate_hz=; correct one", sampling_rate_hz=250)
    refused(header, "Lead I is in mV by the file but in uV by unit=; correct one", unit="uV")
    refused(header, "unit 'miles', which is not a voltage", unit="miles")
    refused(
        header, "lead I by its name 'I' but 'II' by leads=; leave out the argument leads", leads=LEADS[1:] + LEADS[:1]
    )
    refused(header, "The file has 12 channels, .* but leads= names 2; leave out the argument leads", leads=["I", "II"])
    np.testing.assert_array_equal(read_ecg(header, leads=LEADS).signal_mv, read_ecg(header).signal_mv)
    assert read_ecg(header, sampling_rate_hz=500, unit="mV").sampling_rate_hz == 500


def test_find_ecgs_searches_folders_and_read_ecg_refuses_them(tmp_path):
    refused(tmp_path, "This is a folder; give one file, or list its ECGs with find_ecgs")
    with pytest.raises(ECGError, match=rf"^{tmp_path.name}: The folder holds no ECG; put .* there\.$"):
        find_ecgs(tmp_path)
    with pytest.raises(ECGError, match=r"^gone: There is no such folder; check the path\.$"):
        find_ecgs(tmp_path / "gone")
    (tmp_path / "sub").mkdir()
    header = write_wfdb(tmp_path / "sub")
    table = write_csv(tmp_path / "b.CSV", np.zeros((2, 1)), ["I"])
    (tmp_path / "notes.md").write_text("x")
    assert find_ecgs(tmp_path) == sorted([header, table])
    assert find_ecgs(str(tmp_path)) == sorted([header, table])


@pytest.mark.parametrize("name", ["x.hea", "x.csv", "x.txt", "x.npy", "x.npz"])
def test_empty_files_are_refused(tmp_path, name):
    (tmp_path / name).touch()
    refused(tmp_path / name, "The file is empty")


@pytest.mark.parametrize("name", ["x.pdf", "x.xml", "x"])
def test_unknown_kinds_of_files_are_refused(tmp_path, name):
    (tmp_path / name).write_text("hello")
    refused(tmp_path / name, "cannot be read; give a WFDB record")


# ---- Flat and missing leads


def test_flat_and_missing_leads_are_left_out(tmp_path):
    adc = counts(12, 1000)
    adc[:, 2] = 5  # III flat
    adc[:, 7] = -32768  # V2 missing
    adc[:201, 8] = -32768  # V3 missing by more than a fifth
    adc[:200, 9] = -32768  # V4 by a fifth
    with pytest.warns(LeadWarning) as caught:
        recording = read_ecg(write_wfdb(tmp_path, adc=adc))
    assert recording.leads == tuple(lead for lead in LEADS if lead not in ("III", "V2", "V3"))
    assert recording.notes == (
        "Lead III was left out: it is flat.",
        "Lead V2 was left out: 100 % of it is missing.",
        "Lead V3 was left out: 20.1 % of it is missing.",
        "Lead V4 had gaps, 20 % of it, which were interpolated linearly.",
    )
    assert [str(warning.message) for warning in caught] == [f"rec.hea: {note}" for note in recording.notes]
    np.testing.assert_array_equal(recording.lead("V4")[:200], recording.lead("V4")[200])


# ---- CSV and NumPy


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_columns_in_any_order_and_case(tmp_path, delimiter):
    columns = ["v6", "AVF", "Resp", "i", "II", "iii", "avr", "aVL", "V1", "v2", "V3", "V4", "V5", "vx"]
    twelve = counts(12, 300) / 200
    mv = np.stack([twelve[:, LEADS.index(lead_name(name) or "I")] for name in columns], axis=1)
    path = write_csv(tmp_path / "ecg.csv", mv, columns, delimiter)
    recording = read_ecg(path, sampling_rate_hz=257, unit="mV")
    same(recording, {lead_name(name): mv[:, i] for i, name in enumerate(columns) if lead_name(name)})
    assert recording.sampling_rate_hz == 257
    assert recording.notes == ("Dropped channels other than the twelve leads: Resp, vx.",)


@pytest.mark.parametrize("columns", [["I_uV", "V1_µV"], ["I (uV)", "V1 [µV]"], ["i uV", "v1(μV)"]])
def test_csv_units_in_column_names(tmp_path, columns):
    uv = counts(2).astype(float)
    recording = read_ecg(write_csv(tmp_path / "ecg.csv", uv, columns), sampling_rate_hz=500)
    same(recording, {"I": uv[:, 0] / 1000, "V1": uv[:, 1] / 1000})
    assert recording.notes == ("Converted from uV to mV.",)
    refused(tmp_path / "ecg.csv", "by the file but in mV by unit=", sampling_rate_hz=500, unit="mV")


@pytest.mark.parametrize(("column", "per_s"), [("time_s", 1), ("Time (s)", 1), ("t_ms", 1000), ("time [ms]", 1000)])
@pytest.mark.parametrize("rate_hz", [100, 257, 360, 2000])
def test_csv_rate_from_time_column(tmp_path, column, per_s, rate_hz):
    mv = counts(1, 2000) / 200
    table = np.column_stack([1.5 * per_s + np.arange(2000) / rate_hz * per_s, mv])
    path = write_csv(tmp_path / "ecg.csv", table, [column, "II"])
    assert read_ecg(path, unit="mV").sampling_rate_hz == rate_hz
    assert read_ecg(path, unit="mV", sampling_rate_hz=rate_hz).sampling_rate_hz == rate_hz
    refused(path, "by the file but", unit="mV", sampling_rate_hz=rate_hz / 2)


def test_csv_time_column_without_unit(tmp_path):
    table = np.column_stack([np.arange(1000) / 500, counts(1) / 200])
    path = write_csv(tmp_path / "ecg.csv", table, ["time", "II"])
    refused(path, "name it time_s or time_ms or pass sampling_rate_hz", unit="mV")
    assert read_ecg(path, unit="mV", sampling_rate_hz=500).sampling_rate_hz == 500
    refused(path, "500 Hz by the file but 100 Hz", unit="mV", sampling_rate_hz=100)


def test_csv_written_by_pandas_and_excel(tmp_path):
    mv = counts(2, 50) / 200
    with_index = tmp_path / "pandas.csv"
    with_index.write_text(",I,V1\n" + "".join(f"{i},{a},{b}\n" for i, (a, b) in enumerate(mv)))
    german = tmp_path / "excel.csv"
    german.write_bytes(
        ('\ufeff"I";"V1"\r\n' + "".join(f"{a};{b}\r\n".replace(".", ",") for a, b in mv)).encode("utf-8")
    )
    for path in (with_index, german):
        same(read_ecg(path, sampling_rate_hz=100, unit="mV"), {"I": mv[:, 0], "V1": mv[:, 1]})


def test_csv_gap_is_interpolated(tmp_path):
    (tmp_path / "ecg.csv").write_text("I,II\n0,0\n,1\n2,2\n3,3\n4,4\n5,5\n")
    with pytest.warns(LeadWarning, match=r"^ecg.csv: Lead I had gaps, 16.7 % of it"):
        recording = read_ecg(tmp_path / "ecg.csv", sampling_rate_hz=100, unit="mV")
    same(recording, {"I": np.arange(6), "II": np.arange(6)})


@pytest.mark.parametrize("text", ["I\n0\n\n2\n3\n4\n5\n", "I\tII\n0\t0\n\t\n2\t2\n3\t3\n4\t4\n5\t5\n\n"])
def test_csv_empty_row_is_a_gap(tmp_path, text):
    (tmp_path / "ecg.csv").write_text(text)
    with pytest.warns(LeadWarning, match="had gaps"):
        recording = read_ecg(tmp_path / "ecg.csv", sampling_rate_hz=100, unit="mV")
    np.testing.assert_allclose(recording.lead("I"), np.arange(6), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("I,II\n1,2\n\n2,3\n", "Row 3 has 1 values for 2 columns"),
        ("A,B\n1,2\n2,3\n", "Unknown lead names in the 2 columns of its first row"),
        ("1,2\n2,3\n", "first row holds numbers instead of lead names; add a row of names, or pass them"),
        ("I,i\n1,2\n2,3\n", "Lead I is given twice, as 'I' and 'i'"),
        ("I,I\n1,2\n2,3\n", "Lead I is given twice"),
        ("II,V1,time_s\n1\n2\n", "Row 2 has 1 values for 3 columns; complete it"),
        ("I,II\n1,2\n2\n", "Row 3 has 1 values for 2 columns; complete it"),
        ("I,II\n1,2,3\n2,3,4\n", "Row 2 has 3 values for 2 columns"),
        ("I,II\n", "no samples below the first row"),
        ("\n\n", "no row of names and no samples"),
        ("I,II\n1,2\n2,abc\n", "Not every value below the first row is a number; correct"),
        ("I,II\n1,2\n1,2\n", "No lead can be used"),
        ("I,II\n0,0\n1000,0\n", "Lead I reaches 1e\\+03 mV"),
        ("time_s,II\n0,0\n0.01,1\n0.5,2\n", "not evenly spaced"),
        ("time_s,II\n0.2,0\n0.1,1\n0,2\n", "not evenly spaced"),
        ("time_s,II\n0,0\n", "not evenly spaced"),
        ("time_s,II\n0,0\n,1\n0.59,2\n0.6,0\n", "not evenly spaced"),
        ("\x00\x01\x02\n\x03", "holds zero bytes"),
    ],
)
def test_invalid_csv_is_refused(tmp_path, text, message):
    (tmp_path / "ecg.csv").write_text(text)
    refused(tmp_path / "ecg.csv", message, sampling_rate_hz=100, unit="mV")


def test_csv_needs_rate_and_unit(tmp_path):
    path = write_csv(tmp_path / "ecg.csv", counts(2) / 200, ["I", "II"])
    refused(path, "sampling rate is not given; pass for example sampling_rate_hz=500", unit="mV")
    refused(path, "unit of lead I is not given", sampling_rate_hz=500)
    refused(path, "sampling rate is 5000 Hz, but", sampling_rate_hz=5000, unit="mV")


@pytest.mark.filterwarnings("ignore:.*(Einthoven|No lead spans|which no ECG does):lamae_toolkit.errors.LeadWarning")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_npy(tmp_path, transposed, dtype):
    uv = counts(12, 300).T.astype(dtype)
    names = ("V6", "avf", "vx", "I", "II", "III", "AVR", "aVL", "V1", "V2", "V3", "V4")
    np.save(tmp_path / "ecg.npy", uv.T if transposed else uv)
    recording = read_ecg(tmp_path / "ecg.npy", sampling_rate_hz=250.0, unit="µV", leads=list(names))
    same(recording, {lead_name(name): uv[i] / 1000 for i, name in enumerate(names) if lead_name(name)})


def test_npz_with_leads_rate_and_unit(tmp_path):
    mv = counts(3, 300).T / 200
    path = tmp_path / "ecg.npz"
    np.savez(path, signal=mv, leads=["V1", "ii", "aVL"], sampling_rate_hz=500, unit="mV")
    recording = read_ecg(path)
    same(recording, {"V1": mv[0], "II": mv[1], "aVL": mv[2]})
    assert recording.sampling_rate_hz == 500
    refused(path, "lead aVL by its name 'aVL' but 'V3' by leads=", leads=["V1", "II", "V3"])
    refused(path, "by the file but", sampling_rate_hz=100)
    refused(path, "by the file but", unit="uV")


@pytest.mark.parametrize("name", ["leads", "sampling_rate_hz", "unit"])
@pytest.mark.parametrize("value", [np.ones((2, 2)), np.array("mV"), np.array(["mV", "uV"]), np.array(500)])
def test_npz_with_an_array_of_another_shape_or_type_is_refused(tmp_path, name, value):
    about = {"leads": ["I", "II"], "sampling_rate_hz": 500, "unit": "mV"} | {name: value}
    np.savez(tmp_path / "ecg.npz", signal=counts(2).T / 200, **about)
    is_right = (name, value.dtype.kind, value.size) in (("sampling_rate_hz", "i", 1), ("unit", "U", 1))
    if is_right:
        assert read_ecg(tmp_path / "ecg.npz").leads == ("I", "II")
    else:
        message = "Its array '.*' has the shape|which is not a|usable number|Unknown lead names|not a voltage"
        refused(tmp_path / "ecg.npz", message)


@pytest.mark.parametrize("name", ["leads", "sampling_rate_hz", "unit"])
def test_npz_with_a_member_that_is_no_array_is_refused(tmp_path, name):
    about = {"leads": ["I", "II"], "sampling_rate_hz": 500, "unit": "mV"}
    np.savez(tmp_path / "ecg.npz", signal=counts(2).T / 200, **{key: about[key] for key in about if key != name})
    with zipfile.ZipFile(tmp_path / "ecg.npz", "a") as archive:
        archive.writestr(f"{name}.npy", "no array")
    refused(tmp_path / "ecg.npz", "Its array 'leads' has the shape|not a usable number|which is not a voltage")


@pytest.mark.parametrize("name", ["leads", "unit"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_npz_with_letters_beyond_unicode_is_refused(tmp_path, name, order):
    about = {"leads": np.array(["I", "II"]), "sampling_rate_hz": 500, "unit": np.array(["mV"])}
    letters = np.full(2 * about[name].size, 0x110000, f"{order}u4")
    about[name] = np.frombuffer(letters.tobytes(), f"{order}U2")
    np.savez(tmp_path / "ecg.npz", signal=counts(2).T / 200, **about)
    refused(tmp_path / "ecg.npz", f"Its array '{name}' holds letters that do not exist")


@pytest.mark.filterwarnings("error")
def test_damaged_header_of_npy_gives_no_warning_of_python(tmp_path):
    np.save(tmp_path / "ecg.npy", np.ones((2, 300)))
    content = (tmp_path / "ecg.npy").read_bytes().replace(b"_order'", b"_ord\\{r")
    (tmp_path / "ecg.npy").write_bytes(content)
    refused(tmp_path / "ecg.npy", "damaged or is not NumPy", sampling_rate_hz=500, unit="mV", leads=["I", "II"])


@pytest.mark.parametrize(
    ("array", "leads", "message"),
    [
        (np.ones((12, 300)), None, "The leads have no names; pass them"),
        (np.ones((12, 300)), LEADS[:3], "does not fit 3 lead names"),
        (np.ones((12, 12)), LEADS, "as many leads as samples"),
        (np.ones((12, 300)), LEADS, "No lead can be used"),
        (np.ones(300), ("I",), r"shape \(300,\)"),
        (np.ones((1, 3, 4)), ("I",), r"shape \(1, 3, 4\)"),
        (np.ones((1, 300), dtype=complex), ("I",), "type complex128"),
        (np.array([["a", "b", "c"]]), ("I",), "type <U1"),
        (np.array([[None, 1, 2]], dtype=object), ("I",), "type object"),
        (np.ones((2, 300)), ("X", "Y"), "Unknown lead names 'X', 'Y'"),
        (np.ones((2, 300)), ("I", "i"), "Lead I is given twice"),
        (np.ones((1, 0)), ("I",), "The record is empty, as it has no samples"),
    ],
)
def test_invalid_npy_is_refused(tmp_path, array, leads, message):
    np.save(tmp_path / "ecg.npy", array, allow_pickle=True)
    refused(tmp_path / "ecg.npy", message, sampling_rate_hz=500, unit="mV", leads=leads)


def test_npy_needs_rate_and_unit(tmp_path):
    np.save(tmp_path / "ecg.npy", counts(2).T / 200)
    refused(tmp_path / "ecg.npy", "sampling rate is not given", unit="mV", leads=["I", "II"])
    refused(tmp_path / "ecg.npy", "unit of lead I is not given", sampling_rate_hz=500, leads=["I", "II"])


def test_damaged_numpy_files_are_refused(tmp_path):
    np.savez(tmp_path / "ecg.npz", other=np.ones((2, 3)))
    refused(tmp_path / "ecg.npz", "no array called 'signal' but other; save it so")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "ecg.npz").read_bytes()[:100])
    refused(tmp_path / "cut.npz", "damaged or is not NumPy")
    np.save(tmp_path / "ecg.npy", np.ones((2, 300)))
    content = (tmp_path / "ecg.npy").read_bytes()
    for damaged, message in (
        (content[:-8], "has 4792 bytes, but its header declares 4800"),
        (content + b"0", "has 4801 bytes, but its header declares 4800"),
        (content[:50], "damaged or is not NumPy"),
        (content.replace(b"(2, 300)", b"(2, 3e9)"), "damaged or is not NumPy"),
        (content.replace(b"\1\0", b"\1\xff", 1), "version"),
        (content[:6] + b"\2\0\xff\xff\xff\xff" + content[12:], "longer than that of any array"),
        (b"hello", "damaged or is not NumPy"),
    ):
        (tmp_path / "ecg.npy").write_bytes(damaged)
        refused(tmp_path / "ecg.npy", message, sampling_rate_hz=500, unit="mV", leads=["I", "II"])
    huge = content[:128].replace(b"(2, 300), }         ", b"(2, 300000000000), }") + content[128:]
    assert len(huge) == len(content)
    (tmp_path / "ecg.npy").write_bytes(huge)
    refused(tmp_path / "ecg.npy", "header declares 4800000000000", sampling_rate_hz=500, unit="mV", leads=["I", "II"])


# ---- Damage at random


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        damaged[rng.integers(len(damaged))] = rng.integers(256)
    start, end = sorted(rng.integers(len(damaged), size=2))
    return bytes([damaged, damaged[:end], damaged[:start] + damaged[end:]][rng.integers(3)])


@pytest.mark.parametrize("kind", ["rec.hea", "ecg.csv", "ecg.npz", "ecg.npy"])
def test_random_damage_gives_recording_or_ecgerror(tmp_path, kind):
    arguments = {"ecg.csv": {"unit": "mV"}, "ecg.npy": {"unit": "mV", "sampling_rate_hz": 500, "leads": ["I", "II"]}}
    write_wfdb(tmp_path, adc=counts(2, 60), leads=("I", "II"))
    table = np.column_stack([np.arange(60) / 500, counts(2, 60) / 200])
    write_csv(tmp_path / "ecg.csv", table, ["time_s", "I", "II"])
    np.savez(tmp_path / "ecg.npz", signal=table[:, 1:].T, leads=["I", "II"], sampling_rate_hz=500, unit="mV")
    np.save(tmp_path / "ecg.npy", table[:, 1:].T)
    path = tmp_path / kind
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    outcomes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeadWarning)
        for _ in range(200):
            path.write_bytes(damage(whole, rng))
            try:
                outcomes.append(read_ecg(path, **arguments.get(kind, {})).signal_mv.shape[0])
            except ECGError as error:
                assert str(error).startswith(f"{kind}: ") and "\n" not in str(error)
                outcomes.append(0)
    assert 0 in outcomes
