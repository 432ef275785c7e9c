"""MIMIC-IV-ECG: stays and codes by the published recipe, every record counted, and simulated files of its layout."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from lamae_toolkit.cli.main import main
from lamae_toolkit.data.datasets.mimic import mimic_source
from lamae_toolkit.data.datasets.mimic_labels import _finished, clean_codes, frequent_classes, labels_from_tables
from lamae_toolkit.data.datasets.mimic_like import ECG, ED, HOSP, LEAD_ORDER, RELEASED, write_mimic_like
from lamae_toolkit.data.prepare import prepare
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return write_mimic_like(tmp_path_factory.mktemp("mimic") / "tree", 240, seed=3, progress=False)


def source_of(tree: Path, **options):
    return mimic_source(tree / ECG, hosp=tree / HOSP, ed=tree / ED, **{"minimum": 15} | options)


@pytest.fixture(scope="module")
def store(tree, tmp_path_factory) -> Store:
    out = tmp_path_factory.mktemp("mimic_store") / "store"
    report = prepare(source_of(tree), out, workers=1, progress=False)
    assert report["read"] == report["kept"] == 240 and report["dropped"] == 0
    return Store.open(out)


# ---- Labels


@pytest.mark.slow
def test_labels_from_tables_equal_labels_from_the_released_table(tree):
    """The released table is written from what was simulated, not by the code that links stays."""
    from_tables, from_released = source_of(tree), mimic_source(tree / ECG, labels=tree / RELEASED, minimum=15)
    ours, theirs = from_tables.ecgs, from_released.ecgs
    for name in ("codes", "labelled", "age_years", "sex", "stay", "fold", "ecg_in_stay"):
        assert ours[name].tolist() == theirs[name].tolist(), name
    assert (
        source_of(tree).meta["classes"] == mimic_source(tree / ECG, labels=tree / RELEASED, minimum=15).meta["classes"]
    )
    # The fixture holds what the recipe must cope with.
    stays = pd.read_csv(tree / HOSP / "diagnoses_icd.csv.gz", dtype=str)
    assert set(stays.icd_version) == {"9", "10"} and (stays.icd_code.str.len() >= 7).all()
    assert ours.stay.str.startswith("ed ").any() and (ours.stay == "").any()
    admissions = pd.read_csv(tree / HOSP / "admissions.csv.gz", parse_dates=["admittime", "dischtime", "deathtime"])
    assert admissions.deathtime.notna().any()
    pairs = admissions.merge(admissions, on="subject_id")
    pairs = pairs[pairs.hadm_id_x != pairs.hadm_id_y]
    overlapping = (pairs.admittime_x < pairs.admittime_y) & (pairs.admittime_y < pairs.dischtime_x)
    assert overlapping.any() and not ours.codes.map(lambda codes: "Z51.5" in codes).any()


def tables(folder: Path, **rows: list[dict]) -> Path:
    folder.mkdir()
    for name, table in rows.items():
        pd.DataFrame(table).to_csv(folder / f"{name}.csv.gz", index=False)
    return folder


def test_stays_are_linked_by_time(tmp_path):
    hosp = tables(
        tmp_path / "hosp",
        patients=[{"subject_id": 1, "gender": "F", "anchor_age": 60, "anchor_year": 2150}],
        admissions=[
            {
                "subject_id": 1,
                "hadm_id": 12,
                "admittime": "2151-01-01 12:00:00",
                "dischtime": "2151-01-05 12:00:00",
                "deathtime": "",
            },
            {
                "subject_id": 1,
                "hadm_id": 11,
                "admittime": "2151-01-01 08:00:00",
                "dischtime": "2151-01-02 12:00:00",
                "deathtime": "",
            },
            {
                "subject_id": 1,
                "hadm_id": 13,
                "admittime": "2152-01-01 08:00:00",
                "dischtime": "2152-01-02 12:00:00",
                "deathtime": "2152-01-01 20:00:00",
            },
            {
                "subject_id": 1,
                "hadm_id": 15,
                "admittime": "2155-01-01 00:00:00",
                "dischtime": "2155-01-02 12:00:00",
                "deathtime": "",
            },
            {
                "subject_id": 1,
                "hadm_id": 14,
                "admittime": "yesterday",
                "dischtime": "2153-01-02 12:00:00",
                "deathtime": "",
            },
        ],
        diagnoses_icd=[
            {"hadm_id": 11, "icd_code": "42731  ", "icd_version": 9},
            {"hadm_id": 11, "icd_code": "I2510  ", "icd_version": 10},
            {"hadm_id": 11, "icd_code": "99999  ", "icd_version": 9},
            {"hadm_id": 12, "icd_code": "I447   ", "icd_version": 10},
            {"hadm_id": 13, "icd_code": "S72001A", "icd_version": 10},
            {"hadm_id": 14, "icd_code": "I2510  ", "icd_version": 10},
            {"hadm_id": 15, "icd_code": "I10    ", "icd_version": 10},
            {"hadm_id": 15, "icd_code": "V4501  ", "icd_version": 11},
            {"hadm_id": "?", "icd_code": "I10    ", "icd_version": 10},
        ],
    )
    ed = tables(
        tmp_path / "ed",
        edstays=[
            {
                "subject_id": 1,
                "hadm_id": 13,
                "stay_id": 31,
                "intime": "2152-01-01 01:00:00",
                "outtime": "2152-01-01 08:00:00",
            },
            {
                "subject_id": 1,
                "hadm_id": 12,
                "stay_id": 33,
                "intime": "2155-01-01 01:00:00",
                "outtime": "2155-01-01 08:00:00",
            },
            {
                "subject_id": 1,
                "hadm_id": "",
                "stay_id": 32,
                "intime": "2154-01-01 01:00:00",
                "outtime": "2154-01-01 08:00:00",
            },
        ],
        diagnosis=[
            {"stay_id": 31, "icd_code": "R079", "icd_version": 10},
            {"stay_id": 32, "icd_code": "78650", "icd_version": 9},
        ],
    )
    cases = {
        "2151-01-01 10:00:00": ("I25.10", "I48.91"),  # in the first admission
        "2151-01-01 13:00:00": ("I44.7",),  # in both: the first in the table
        "2151-01-03 13:00:00": ("I44.7",),  # the first one is over
        "2151-01-01 08:00:00": (),  # at the minute of admission: not within
        "2152-01-01 02:00:00": ("S72.00",),  # emergency visit that led to an admission: its diagnoses, cut to five
        "2152-01-01 21:00:00": ("S72.00",),  # after death, before discharge
        "2152-01-03 21:00:00": (),  # after both
        "2155-01-01 02:00:00": ("I10", "I44.7"),  # in a hospital stay and in a visit that led to another: both
        "2153-01-02 11:00:00": (),  # the stay's times cannot be read
        "2154-01-01 02:00:00": ("R07.9",),  # emergency visit alone: its own, from ICD-9
        "2160-01-01 00:00:00": (),
    }
    ecgs = pd.DataFrame({"subject_id": 1, "study_id": range(len(cases)), "ecg_time": pd.to_datetime(list(cases))})
    found, left_out = labels_from_tables(ecgs, hosp, ed)
    assert dict(zip(cases, found.codes, strict=True)) == cases
    assert found.labelled.tolist() == [bool(codes) for codes in cases.values()]
    assert found.age_years.tolist()[0] == 61 and set(found.sex) == {"F"}
    assert left_out == {
        "rows of admissions.csv.gz without readable subject_id, hadm_id, admittime, dischtime": 1,
        "rows of diagnoses_icd.csv.gz without readable hadm_id, icd_code, icd_version": 2,
    }
    stay = dict(zip(cases, found.stay, strict=True))
    assert stay["2151-01-01 10:00:00"] == "hadm 11" and stay["2151-01-03 13:00:00"] == "hadm 12"
    assert stay["2154-01-01 02:00:00"] == "ed 32" and stay["2152-01-01 02:00:00"] == "ed 31"


def test_codes_are_cut_to_five_characters_without_trailing_x():
    assert clean_codes(["I4891", "T8241XA", "I10", " e119 "], 10) == ("E11.9", "I10", "I48.91", "T82.41")
    assert clean_codes(["4019", "V4501"], 9) == ("I10", "Z95.0")


def test_classes_hold_ancestors_and_are_counted_by_ecg():
    codes = [("I48.91", "I48.92"), ("I48.91",), ("I10",), ()]
    assert frequent_classes(codes, 2) == ("I48", "I48.9", "I48.91")
    assert frequent_classes(codes, 1) == ("I10", "I48", "I48.9", "I48.91", "I48.92")


@pytest.mark.parametrize(
    ("file", "column"),
    [
        (f"{ECG}/record_list.csv", "study_id"),
        (f"{ECG}/machine_measurements.csv", "t_axis"),
        (f"{HOSP}/admissions.csv.gz", "hadm_id"),
        (f"{HOSP}/diagnoses_icd.csv.gz", "icd_version"),
        (f"{HOSP}/patients.csv.gz", "gender"),
        (f"{ED}/edstays.csv.gz", "outtime"),
    ],
)
def test_a_table_that_lacks_a_column_is_refused_by_name(tree, tmp_path, file, column):
    copy = links_to(tree, tmp_path / "copy", replaced=file)
    pd.read_csv(tree / file).drop(columns=column).to_csv(copy / file, index=False)
    with pytest.raises(ECGError, match=rf"{Path(file).name} has no column {column}"):
        source_of(copy)


@pytest.mark.parametrize("file", [f"{HOSP}/admissions.csv.gz", f"{ED}/diagnosis.csv.gz", f"{ECG}/record_list.csv"])
def test_a_damaged_table_is_refused(tree, tmp_path, file):
    copy = links_to(tree, tmp_path / "copy", replaced=file)
    (copy / file).write_bytes(b"\x1f\x8b not a table\x00\xff" * 50)
    with pytest.raises(ECGError, match=Path(file).name):
        source_of(copy)


def test_invalid_cells_remove_only_their_row(tree, tmp_path):
    usual = source_of(tree)
    for file, column in (
        (f"{HOSP}/admissions.csv.gz", "subject_id"),
        (f"{HOSP}/diagnoses_icd.csv.gz", "icd_version"),
        (f"{HOSP}/patients.csv.gz", "anchor_age"),
        (f"{ED}/edstays.csv.gz", "hadm_id"),
    ):
        copy = links_to(tree, tmp_path / column, replaced=file)
        table = pd.read_csv(tree / file, dtype=str)
        table.loc[0, column] = "junk"
        table.to_csv(copy / file, index=False)
        odd = source_of(copy)
        assert (odd.ecgs.codes == usual.ecgs.codes).mean() > 0.97, column
        assert odd.ecgs.labelled.sum() >= usual.ecgs.labelled.sum() - 6, column


def test_folds_of_the_released_table_are_used_and_unlisted_ecgs_follow_their_patient(tree, tmp_path):
    table = pd.read_csv(tree / RELEASED)
    table["fold"] = table.subject_id % 7
    table["strat_fold"] = 3
    of_several = table.subject_id.duplicated(keep=False)
    unlisted = table.study_id[of_several].iloc[0]
    table[table.study_id != unlisted].to_csv(tmp_path / "released.csv", index=False)
    source = mimic_source(tree / ECG, labels=tmp_path / "released.csv", minimum=15)
    assert source.ecgs.fold.tolist() == (source.ecgs.patient_id % 7).tolist()
    assert source.meta["left_out"] == {"ECGs that released.csv does not list": 1}
    assert not source.ecgs.labelled[source.ecgs.study_id == unlisted].any()


def test_labels_from_two_sources_are_refused(tree):
    with pytest.raises(ECGError, match="give one"):
        mimic_source(tree / ECG, hosp=tree / HOSP, labels=tree / RELEASED)


def links_to(tree: Path, copy: Path, replaced: str) -> Path:
    """A tree of links to another, but for one file that a test writes anew."""
    for folder in (ECG, HOSP, ED):
        (copy / folder).mkdir(parents=True)
        for entry in (tree / folder).iterdir():
            if f"{folder}/{entry.name}" != replaced:
                (copy / folder / entry.name).symlink_to(entry)
    return copy


# ---- Signals


def test_records_have_the_published_layout_and_leads_are_matched_by_name(tree, store):
    row = 17
    record = wfdb.rdrecord(str(tree / ECG / store.index.file[row].removesuffix(".hea")))
    assert record.fmt == ["16"] * 12 and record.fs == 500 and record.sig_len == 5000
    assert tuple(record.sig_name) == LEAD_ORDER != LEADS and record.units == ["mV"] * 12
    digital = wfdb.rdrecord(str(tree / ECG / store.index.file[row].removesuffix(".hea")), physical=False)
    assert digital.checksum == digital.calc_checksum()
    packed = store.recording(row)
    for lead in packed.leads:
        original = record.p_signal[:, record.sig_name.index(lead)][::5]
        if np.isfinite(original).all():
            assert np.corrcoef(packed.lead(lead), original)[0, 1] > 0.98, lead


def test_gaps_and_flat_leads_are_flagged_and_counted(tree, store):
    report = json.loads((store.folder / "report.json").read_text())
    gaps = flat = 0
    for row, file in enumerate(store.index.file):
        units = np.fromfile((tree / ECG / file).with_suffix(".dat"), dtype="<i2").reshape(5000, 12)
        with_gap = {LEAD_ORDER[lead] for lead in np.flatnonzero((units == -32768).any(axis=0))}
        silent = {LEAD_ORDER[lead] for lead in np.flatnonzero((units == units[0]).all(axis=0))}
        assert set(filter(None, store.index.flag_nan[row].split(","))) == with_gap
        assert silent <= set(store.index.flag_flat[row].split(","))
        assert silent.isdisjoint(store.recording(row).leads)
        gaps, flat = gaps + bool(with_gap), flat + bool(silent)
    assert gaps > 2 and flat > 2
    assert report["ecgs_with_flags"]["nan"] == gaps and report["ecgs_with_flags"]["flat"] >= flat


def test_split_and_first_ecg_of_each_stay_follow_the_published_recipe(store):
    split = Split.of(store)
    assert split == Split(tuple(range(18)), (18,), (19,))
    wide = Split(tuple(range(10)), (10, 11, 12, 13, 14), (15, 16, 17, 18, 19))
    train, validation, test = wide.indices(store.index)
    chosen = store.index.iloc[np.concatenate([validation, test])]
    assert (chosen.ecg_in_stay == 1).all() and (store.index.ecg_in_stay.iloc[train] > 1).any()
    assert store.index.labelled.iloc[np.concatenate([train, validation, test])].all()
    codes = codes_to_predict(store, wide, minimum=5)
    assert set(codes) <= set(store.meta["classes"]) and any(len(code) == 3 for code in codes)


def test_machine_measurements_are_in_the_index(tree, store):
    table = pd.read_csv(tree / ECG / "machine_measurements.csv").set_index("study_id")
    assert (store.index.qrs_end.to_numpy() == table.qrs_end[store.index.study_id].to_numpy()).all()
    assert store.index.p_onset.isna().any() and not (store.index.p_onset == 29999).any()


# ---- Damage


def test_damaged_records_are_refused_with_their_reasons(tmp_path, capsys):
    tree = write_mimic_like(tmp_path / "tree", 24, seed=5, progress=False)
    table = pd.read_csv(tree / ECG / "record_list.csv", dtype={"ecg_time": str})
    file = [tree / ECG / f"{path}.hea" for path in table.path]
    signal = [path.with_suffix(".dat") for path in file]
    signal[0].write_bytes(signal[0].read_bytes()[:-100])
    file[1].write_text(file[1].read_text().replace(" 500 5000", " 500 4000"))
    file[2].write_text(file[2].read_text().replace(" 500 5000", " 500 500000000"))
    file[3].unlink()
    signal[4].unlink()
    table.loc[5, "study_id"] = table.study_id[6]
    table.loc[7, "ecg_time"] = "2150-01-01T10:00:00+01:00"
    table.loc[8, "ecg_time"] = "last winter"
    table.loc[9, "path"] = "../../etc/passwd"
    table.loc[10, "path"] = "/etc/passwd"
    table.loc[14, "path"] = table.path[15]
    table = table.astype({"study_id": object})
    table.loc[16, "study_id"] = "40000011.5"
    table.loc[17, "study_id"] = "inf"
    signal[11].write_bytes(bytes(120_000))  # all leads flat
    file[12].write_bytes(b"\x00" * 300)
    short = signal[13].read_bytes()[: 24 * 1500]  # 3 s
    signal[13].write_bytes(short)
    file[13].write_text(file[13].read_text().replace(" 500 5000", " 500 1500"))
    table.to_csv(tree / ECG / "record_list.csv", index=False)
    out = tmp_path / "store"
    words = ["prepare", "mimic", "--ecg", str(tree / ECG), "--hosp", str(tree / HOSP), "--ed", str(tree / ED)]
    assert main([*words, "--out", str(out), "--workers", "1", "--min-records-per-code", "3"]) == 1
    report = json.loads((out / "report.json").read_text())
    assert report["dropped_by_reason"] == {
        "signal file cut off": 2,
        "header and signal disagree": 1,
        "file missing": 1,
        "signal file missing": 1,
        "duplicate study": 1,
        "unreadable time": 2,
        "path outside the root": 2,
        "no usable lead": 1,
        "unreadable": 1,
        "too short": 1,
        "duplicate file": 1,
        "no number": 2,
    }
    assert report["read"] == 24 == report["kept"] + report["dropped"] and report["dropped"] == 16
    refused = pd.read_csv(out / "refused.csv")
    assert len(refused) == 16 and refused.sentence.str.len().min() > 20
    assert len(Store.open(out)) == 8
    assert "refused, unreadable time: 2" in capsys.readouterr().out


def test_the_same_seed_writes_the_same_files(tmp_path):
    one, two = (write_mimic_like(tmp_path / name, 6, seed=1, progress=False) for name in ("one", "two"))
    for file in sorted(one.rglob("*")):
        if file.is_file() and file.suffix != ".gz":
            assert file.read_bytes() == (two / file.relative_to(one)).read_bytes(), file.name


def test_each_ecg_without_a_stay_is_the_first_of_its_own():
    """ECGs without a stay do not belong together; those of a stay are numbered in the order of their times."""
    labels = pd.DataFrame(
        {
            "subject_id": [1, 1, 1, 2, 2],
            "ecg_time": pd.to_datetime(["2150-03-01", "2150-01-01", "2150-02-01", "2150-01-05", "2150-01-04"]),
            "codes": [("I10",), (), (), ("I10",), ()],
            "age_years": 60.0,
            "sex": "F",
            "stay": ["hadm 7", "", "hadm 7", "", ""],
        }
    )
    finished = _finished(labels)
    assert finished.ecg_in_stay.tolist() == [2, 1, 1, 1, 1]
    assert finished.labelled.tolist() == [True, False, False, True, False]
