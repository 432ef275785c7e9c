"""Real ECGs by the name of their finding: table, cache, a server that misbehaves, a local folder, no network."""

import ast
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import lamae_toolkit as lt
from lamae_toolkit.data import examples as module
from published_files import serving

RBBB = "records500/00000/00195_hr"
STATEMENTS = {
    "normal": "NORM",
    "sinus bradycardia": "SBRAD",
    "sinus tachycardia": "STACH",
    "atrial fibrillation": "AFIB",
    "atrial flutter": "AFLT",
    "first-degree AV block": "1AVB",
    "right bundle branch block": "CRBBB",
    "left bundle branch block": "CLBBB",
    "left anterior fascicular block": "LAFB",
    "pre-excitation": "WPW",
    "ventricular ectopy": "PVC",
    "pacemaker": "PACE",
    "left ventricular hypertrophy": "LVH",
    "inferior infarction": "IMI",
    "anterior infarction": "ASMI",
    "ST depression": "INJAL",
}


@pytest.fixture
def server(real_data, tmp_path, monkeypatch):
    """A server of one record, which `example_ecg` takes for PhysioNet, with an empty cache of its own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(module.LOCAL, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = [f"{RBBB}.hea", f"{RBBB}.dat"]
    with serving({name: (real_data / "ptb-xl" / name).read_bytes() for name in names}) as running:
        monkeypatch.setattr(module, "PUBLISHED", running.url)
        monkeypatch.setattr(module, "RETRIES", 0)
        yield running


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_table_agrees_with_the_metadata_of_ptbxl(real_data):
    table = lt.examples()
    assert list(table.index) == list(STATEMENTS) and table.record.is_unique
    described = pd.read_csv(real_data / "ptb-xl" / "ptbxl_database.csv", index_col="ecg_id").loc[table.record]
    assert table.age_years.to_numpy() == pytest.approx(described.age.to_numpy(), nan_ok=True)
    assert [{"M": 0, "F": 1}[sex] for sex in table.sex] == described.sex.tolist()
    assert table.fold.tolist() == described.strat_fold.tolist() and described.validated_by_human.all()
    assert table.index[~table.unseen].tolist() == ["sinus tachycardia", "inferior infarction"]
    for name, scp_codes in zip(table.index, described.scp_codes, strict=True):
        statements = ast.literal_eval(scp_codes)
        # PTB-XL writes likelihood 0 for a rhythm, whose likelihood is not given.
        assert statements[STATEMENTS[name]] == (0 if STATEMENTS[name] in ("SBRAD", "STACH", "AFIB") else 100)
    assert all(text.endswith(".") and 60 < len(text) < 400 for text in table.look_at)


def test_every_example_is_read_from_a_local_folder(real_data, monkeypatch, capsys):
    monkeypatch.setenv(module.LOCAL, str(real_data / "ptb-xl"))
    module._tell_license.cache_clear()
    for name, row in lt.examples().iterrows():
        ecg = lt.example_ecg(name)
        assert ecg.signal_mv.shape == (12, 5000) and ecg.sampling_rate_hz == 500
        assert f"PTB-XL record {row.record}" in ecg.notes[-3] and ecg.notes[-2] == row.look_at
        assert "CC BY 4.0" in ecg.notes[-1]
    assert capsys.readouterr().out.count("CC BY 4.0") == 1  # once per process


def test_measured_amplitudes_in_the_text_are_those_of_the_signal(real_data, monkeypatch):
    monkeypatch.setenv(module.LOCAL, str(real_data / "ptb-xl"))

    def peaks_mv(name, lead):
        # The median over ten seconds of each second's extremes, since the baseline wanders.
        seconds_mv = lt.example_ecg(name).lead(lead).reshape(10, 500)
        seconds_mv = seconds_mv - np.median(seconds_mv, axis=1, keepdims=True)
        return np.median(seconds_mv.max(axis=1)), np.median(seconds_mv.min(axis=1))

    assert peaks_mv("lbbb", "V2")[1] == pytest.approx(-5.7, abs=0.3)
    assert peaks_mv("lvh", "V5")[0] - peaks_mv("lvh", "V1")[1] == pytest.approx(7.3, abs=0.5)
    assert peaks_mv("lvh", "aVL")[0] == pytest.approx(2.3, abs=0.2)
    assert peaks_mv("ST depression", "aVL")[0] == pytest.approx(1.9, abs=0.2)
    assert peaks_mv("rbbb", "V1")[0] == pytest.approx(0.9, abs=0.2)


def test_aliases_case_and_spaces_name_the_same_record(real_data, monkeypatch):
    monkeypatch.setenv(module.LOCAL, str(real_data / "ptb-xl"))
    expected = lt.example_ecg("right bundle branch block").signal_mv
    for alias in ("RBBB", "rbbb", "  Right  Bundle branch BLOCK ", "I45.10", "CRBBB"):
        assert np.array_equal(lt.example_ecg(alias).signal_mv, expected)
    aliases = [alias.casefold() for text in module._table().aliases for alias in text.split(";")]
    assert len(set(aliases) | {name.casefold() for name in STATEMENTS}) == len(aliases) + len(STATEMENTS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("right bundel branch", "use right bundle branch block"),
        ("infarction", "use inferior infarction or anterior infarction"),
        ("xyz", "use normal, sinus bradycardia"),
    ],
)
def test_unknown_name_is_refused_with_near_ones(name, hint):
    with pytest.raises(lt.ECGError, match=hint):
        lt.example_ecg(name)


def test_unknown_word_for_offline_is_refused():
    with pytest.raises(lt.ECGError, match="offline is 'guess'"):
        lt.example_ecg("normal", offline="guess")


def test_record_is_fetched_once_and_kept_in_the_cache(server, real_data, tmp_path):
    ecg = lt.example_ecg("RBBB")
    assert server.asked == [f"{RBBB}.hea", f"{RBBB}.dat"] and server.connections == 1
    assert cached(tmp_path) == ["00195_hr.dat", "00195_hr.hea"]
    assert np.array_equal(ecg.signal_mv, lt.read_ecg(real_data / "ptb-xl" / RBBB).signal_mv)
    server.asked.clear()
    assert np.array_equal(lt.example_ecg("RBBB").signal_mv, ecg.signal_mv) and server.asked == []


def test_damaged_cache_is_fetched_again(server, tmp_path):
    expected = lt.example_ecg("RBBB").signal_mv
    next((tmp_path / "cache").rglob("*.dat")).write_bytes(b"damaged")
    server.asked.clear()
    assert np.array_equal(lt.example_ecg("RBBB").signal_mv, expected) and server.asked == [f"{RBBB}.dat"]


def test_damaged_download_is_refused_and_not_kept(server, tmp_path):
    server.corrupts[f"{RBBB}.dat"] = 1
    with pytest.raises(lt.ECGError, match=r"00195_hr\.dat does not match its published checksum and was not kept"):
        lt.example_ecg("RBBB")
    assert cached(tmp_path) == ["00195_hr.hea"]
    assert lt.example_ecg("RBBB").leads == lt.LEADS


def test_missing_file_and_broken_connection_are_one_sentence(server, tmp_path):
    server.statuses[f"{RBBB}.hea"] = [404]
    with pytest.raises(lt.ECGError, match=r"answered 404 \(Not Found\) to http.*LAMAE_PTBXL"):
        lt.example_ecg("RBBB")
    server.breaks[f"{RBBB}.dat"] = [50_000]
    with pytest.raises(lt.ECGError, match=r"00195_hr\.dat could not be fetched \(.*broke\)"):
        lt.example_ecg("RBBB")
    assert cached(tmp_path) == ["00195_hr.hea"]


def test_broken_connection_is_tried_again(server, monkeypatch):
    monkeypatch.setattr(module, "RETRIES", 1)
    server.breaks[f"{RBBB}.hea"] = [10]
    assert lt.example_ecg("RBBB").leads == lt.LEADS and server.asked.count(f"{RBBB}.hea") == 2


def test_without_a_server_the_simulated_ecg_is_returned_if_asked(server, monkeypatch, capsys):
    monkeypatch.setattr(module, "PUBLISHED", "http://127.0.0.1:9/")
    with pytest.raises(lt.ECGError, match=r"no connection.*offline=\"simulate\""):
        lt.example_ecg("RBBB")
    first, second = (lt.example_ecg("RBBB", offline="simulate") for _ in range(2))
    assert np.array_equal(first.signal_mv, second.signal_mv) and first.signal_mv.shape[1] == 5000
    assert first.notes[-1].startswith("Simulated, not a patient: right bundle branch block")
    assert "Simulated, not a patient" in capsys.readouterr().out
    for name, row in module._table().iterrows():
        if row.simulated:
            assert name in lt.example_ecg(name, offline="simulate").notes[-1]
        else:
            with pytest.raises(lt.ECGError, match=f"{name} cannot be simulated"):
                lt.example_ecg(name, offline="simulate")


@pytest.mark.slow
def test_two_processes_fetch_the_same_record_at_once(server, tmp_path):
    code = (
        "import lamae_toolkit as lt; from lamae_toolkit.data import examples\n"
        f"examples.PUBLISHED = {server.url!r}\n"
        "print(lt.example_ecg('RBBB').signal_mv.shape)"
    )
    running = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and "(12, 5000)" in out
    assert cached(tmp_path) == ["00195_hr.dat", "00195_hr.hea"]


def test_local_folder_without_the_record_or_with_another_one_is_refused(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv(module.LOCAL, str(tmp_path))
    with pytest.raises(lt.ECGError, match=r"LAMAE_PTBXL names .*, which has no records500/00000/00195_hr\.hea"):
        lt.example_ecg("RBBB", offline="simulate")
    (tmp_path / RBBB).parent.mkdir(parents=True)
    (tmp_path / f"{RBBB}.hea").write_bytes((real_data / "ptb-xl" / f"{RBBB}.hea").read_bytes())
    (tmp_path / f"{RBBB}.dat").write_bytes(bytes(120_000))
    with pytest.raises(lt.ECGError, match=r"00195_hr\.dat is not the file that PTB-XL 1\.0\.3 published"):
        lt.example_ecg("RBBB")


def test_missing_pooch_is_named_with_its_extra(monkeypatch):
    monkeypatch.delenv(module.LOCAL, raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"lamae-toolkit\[examples\]"):
        lt.example_ecg("normal")
