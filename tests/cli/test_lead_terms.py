"""`lamae lead-terms`: a row per ECG and code whose terms and bias sum to the log-odds, from a store or from files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import lamae_toolkit as lt
from lamae_toolkit.cli.main import main
from lamae_toolkit.model.pretrained import WEIGHTS

SHIPPED = WEIGHTS / "lamae-mini-ptbxl"
NUMBERS = [*lt.LEADS, "bias"]


def simulated(seed: int) -> lt.Recording:
    rng = np.random.default_rng(seed)
    return lt.simulate_ecg(lt.sample_patient(seed, rng), rng).recording


def probabilities(ecg: lt.Recording) -> np.ndarray:
    """What the shipped weights predict for an ECG."""
    model, probe = lt.LAMAE.from_pretrained(SHIPPED), lt.Probe.load(SHIPPED)
    return lt.predict(model, probe, lt.collate([ecg])).iloc[0].to_numpy()


def terms_of(*words: object) -> None:
    assert main(["lead-terms", *map(str, words), "--device", "cpu"]) == 0


def refused(capsys, *words: object) -> str:
    """The sentence with which the command refuses: one line, no traceback."""
    assert main([*map(str, words)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lamae: ")]
    return line


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder with an ECG of twelve leads, one of two leads, a file that is no ECG, and a note."""
    folder = tmp_path / "ecgs"
    folder.mkdir()
    for name, ecg in (("a", simulated(0)), ("b", simulated(1).select(["V1", "II"]))):
        np.savez(folder / f"{name}.npz", signal=ecg.signal_mv, leads=ecg.leads, unit="mV", sampling_rate_hz=100.0)
    (folder / "broken.csv").write_text("I_mV,II_mV,V1_mV\n1,2\n")
    (folder / "README.txt").write_text("not an ECG")
    return folder


def test_rows_of_files_sum_to_the_log_odds_and_an_absent_lead_has_none(files, tmp_path, capsys):
    terms_of(files, "--out", tmp_path / "terms.csv")
    printed = capsys.readouterr()
    assert "left out: broken.csv: Row 2" in printed.err and "README" not in printed.err
    assert "2 ECGs x 14 codes: 12 lead terms and the bias, in log-odds, in" in printed.out
    table = pd.read_csv(tmp_path / "terms.csv")
    assert list(table.columns) == ["file", "code", *NUMBERS]
    assert table.file.drop_duplicates().map(lambda name: Path(name).name).tolist() == ["a.npz", "b.npz"]
    assert tuple(table.code[:14]) == lt.Probe.load(SHIPPED).codes
    absent = [lead for lead in lt.LEADS if lead not in ("V1", "II")]
    assert (table[14:][absent] == 0).all(axis=None) and (table[14:][["V1", "II"]] != 0).all(axis=None)
    for name, of_file in table.groupby("file"):
        expected = probabilities(lt.read_ecg(name))
        np.testing.assert_allclose(expit(of_file[NUMBERS].sum(axis=1)), expected, atol=1e-6)


def test_rows_of_a_store_have_its_studies_and_patients(tmp_path):
    store = lt.simulate_store(tmp_path / "store", 3, seed=2, progress=False)
    terms_of(store.folder, "--out", tmp_path / "terms.parquet")
    table = pd.read_parquet(tmp_path / "terms.parquet")
    assert list(table.columns) == ["study_id", "patient_id", "code", *NUMBERS] and len(table) == 3 * 14
    assert table.study_id[::14].tolist() == store.index.study_id.tolist()
    assert table.patient_id[::14].tolist() == store.index.patient_id.tolist()
    expected = probabilities(store.recording(2))
    np.testing.assert_allclose(expit(table[28:][NUMBERS].sum(axis=1)), expected, atol=1e-6)


def test_one_file_that_is_no_ecg_and_another_suffix_are_refused(files, tmp_path, capsys):
    out = tmp_path / "terms.xlsx"
    assert "does not end in .parquet or .csv" in refused(capsys, "lead-terms", files, "--out", out)
    message = refused(capsys, "lead-terms", files / "broken.csv", "--out", tmp_path / "terms.csv")
    assert message.startswith("lamae: broken.csv: Row 2")
    for name in ("a.npz", "b.npz"):
        (files / name).unlink()
    (files / "torn.csv").write_text("I,II\n1,2\n1\n")
    assert "None of the 2 files" in refused_after_reports(capsys, files, tmp_path / "terms.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"ecgs"}, "nothing is written"


def refused_after_reports(capsys, source: Path, out: Path) -> str:
    """The last of several sentences."""
    assert main(["lead-terms", str(source), "--out", str(out)]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"representation": "per_lead"}, "is not a sum over leads, so leads have no terms; fit one with"),
        ({"bias": [float("nan")] * 14}, "probe.json is damaged: its bias holds what is not a number"),
        ({"scale": [0.0] * 2304}, "probe.json is damaged: its scale is 0 or below"),
    ],
)
def test_a_probe_without_terms_and_a_damaged_one_are_refused(files, tmp_path, capsys, change, message):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(SHIPPED, checkpoint)
    probe = json.loads((checkpoint / "probe.json").read_text())
    assert len(probe["scale"]) == 2304 and len(probe["bias"]) == 14
    (checkpoint / "probe.json").write_text(json.dumps(probe | change))
    out = tmp_path / "terms.csv"
    assert message in refused(capsys, "lead-terms", files, "--checkpoint", checkpoint, "--out", out)
    assert not out.exists()


def test_the_twin_embeds_and_explains_too_and_a_csv_table_has_a_column_for_each_number(files, tmp_path, capsys):
    twin = ["--checkpoint", "lamae-mini-ptbxl-independent"]
    assert main(["embed", str(files), *twin, "--out", str(tmp_path / "twin.csv"), "--device", "cpu"]) == 0
    table = pd.read_csv(tmp_path / "twin.csv")
    weights = table[[f"weight_{lead}" for lead in lt.LEADS]].to_numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (weights[1] > 0).sum() == 2 and {"file", "heart_1"} <= set(table)
    assert main(["explain", str(files / "a.npz"), *twin, "--out", str(tmp_path / "twin.html")]) == 0
    page = (tmp_path / "twin.html").read_text(encoding="utf-8")
    assert "Lead terms of all codes" in page and "Share in the heart token" not in page
    capsys.readouterr()
    message = refused(capsys, "embed", files, *twin, "--out", tmp_path / "twin.xlsx")
    assert message.endswith("twin.xlsx does not end in .parquet or .csv; give it one of these suffixes.")
