"""PTB-XL as a store, from its real files: labels, folds and signals, and no patient on both sides of a split."""

import ast
import shutil

import numpy as np
import pandas as pd
import pytest

from lamae_toolkit.data.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.ptbxl_store import ptbxl_store
from lamae_toolkit.icd10 import ancestors, name_of, scp_to_icd10


@pytest.fixture(scope="module")
def archive(real_data) -> dict[str, np.ndarray]:
    with np.load(real_data / "ptbxl_zscored_100hz_folds1-8.npz") as found:
        return {name: found[name] for name in ("x", "y", "ecg_id", "patient_id", "strat_fold")}


@pytest.mark.slow
def test_records_of_both_sets_are_unique_and_folds_patient_wise(ptbxl, archive, real_data):
    original = pd.read_csv(real_data / "ptb-xl" / "ptbxl_database.csv")
    assert set(ptbxl.index.study_id) == set(original.ecg_id) | set(archive["ecg_id"])
    assert ptbxl.index.study_id.is_unique
    assert len(set(original.ecg_id) & set(archive["ecg_id"])) > 10  # so "once" is tested
    assert ptbxl.index.groupby("patient_id").fold.nunique().max() == 1
    table = pd.read_csv(real_data / "ptbxl_database_all_21837.csv").set_index("ecg_id")
    assert (ptbxl.index.fold.to_numpy() == table.strat_fold[ptbxl.index.study_id].to_numpy()).all()
    # Folds 9 and 10 come from the original records alone: the archive ends at fold 8.
    assert set(ptbxl.index.study_id[ptbxl.index.fold > 8]) <= set(original.ecg_id)


@pytest.mark.slow
def test_superclasses_are_those_of_the_archive(ptbxl, archive):
    theirs = {ecg_id: row for ecg_id, row in zip(archive["ecg_id"], archive["y"], strict=True)}
    checked = 0
    for ecg_id, ours in zip(ptbxl.index.study_id, ptbxl.index.superclasses, strict=True):
        if ecg_id in theirs:
            assert [name in ours for name in SUPERCLASSES] == theirs[ecg_id].astype(bool).tolist(), ecg_id
            checked += 1
    assert checked == len(archive["ecg_id"])


@pytest.mark.slow
def test_original_records_are_standardized_like_the_archive(ptbxl, archive):
    place = {ecg_id: row for row, ecg_id in enumerate(ptbxl.index.study_id)}
    original = np.flatnonzero(archive["ecg_id"] <= 500)
    inner = slice(100, 900)  # filters differ in how they begin and end
    agreement = [
        np.corrcoef(ptbxl.recording(place[archive["ecg_id"][k]]).lead(lead)[inner], archive["x"][k, row, inner])[0, 1]
        for k in original
        for row, lead in enumerate(LEADS)
    ]
    assert np.median(agreement) > 0.999
    spread = ptbxl.batch(range(100)).signal_mv.std(dim=2)
    assert spread.min() > 0.98 and spread.max() < 1.02


@pytest.mark.slow
def test_codes_follow_from_the_statements(ptbxl, real_data):
    table = pd.read_csv(real_data / "ptbxl_database_all_21837.csv").set_index("ecg_id")
    for ecg_id, codes in zip(ptbxl.index.study_id, ptbxl.index.codes, strict=True):
        statements = ast.literal_eval(table.scp_codes[ecg_id])
        assert ("I48.91" in codes) == ("AFIB" in statements)
        assert ("I44.7" in codes) == bool({"CLBBB", "ILBBB"} & statements.keys())


def test_original_records_alone_keep_their_millivolts(real_data, tmp_path):
    root = tmp_path / "ptb-xl"
    root.mkdir()
    table = pd.read_csv(real_data / "ptb-xl" / "ptbxl_database.csv").head(3)
    table.to_csv(root / "ptbxl_database.csv", index=False)
    shutil.copy(real_data / "ptb-xl" / "scp_statements.csv", root)
    for name in table.filename_lr:  # only the records of 100 Hz
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".hea", ".dat"):
            shutil.copy((real_data / "ptb-xl" / name).with_suffix(suffix), (root / name).with_suffix(suffix))
    store = ptbxl_store(tmp_path / "store", root, progress=False)
    assert len(store) == 3 and store.index.fold.tolist() == table.strat_fold.tolist()
    recording = store.recording(0)
    assert np.abs(recording.lead("II") - recording.lead("I") - recording.lead("III")).max() < 0.005
    assert 0.2 < np.ptp(recording.lead("II")) < 5


def test_every_statement_of_ptbxl_is_mapped_or_deliberately_without_a_code(real_data):
    statements = pd.read_csv(real_data / "ptb-xl" / "scp_statements.csv").iloc[:, 0]
    codes = {name: scp_to_icd10(name) for name in statements}
    assert all(ancestors(code)[-1] == code and name_of(code) != code for code in codes.values() if code)
    assert [name for name, code in codes.items() if code is None] == [
        "DIG",
        "NORM",
        "EL",
        "VCLVH",
        "SR",
        "SARRH",
        "SVARR",
    ]
    assert (scp_to_icd10("IMI"), scp_to_icd10("IMI", acute=True)) == ("I25.2", "I21.19")
    with pytest.raises(ECGError, match="not an SCP-ECG statement"):
        scp_to_icd10("XYZ")


def test_folder_without_ptbxl_is_refused(tmp_path):
    with pytest.raises(ECGError, match=r"has no scp_statements\.csv; give the folder of PTB-XL"):
        ptbxl_store(tmp_path / "store", tmp_path, progress=False)
    assert not (tmp_path / "store").exists()


def test_invalid_archive_is_refused(real_data, tmp_path):
    (tmp_path / "more.npz").write_text("not an archive")
    with pytest.raises(ECGError, match="not an archive"):
        ptbxl_store(tmp_path / "store", real_data / "ptb-xl", zscored=tmp_path / "more.npz", progress=False)
