"""The stores of the studies on amplitude and transfer, from a small made-up folder of the same layout."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.transfer import stores
from lamae_toolkit.experiments.transfer.stores import FIRST_PATIENT, research_stores

# The signals are random, so that no limb lead follows from two others.
pytestmark = pytest.mark.filterwarnings("ignore:.*Einthoven:lamae_toolkit.errors.LeadWarning")

PACK = [  # source, record, window, valid samples, labels, age, sex, patient
    ("CODE-15", "7", 0, 734, "Chagas:True", "50", "F", ""),
    ("CPSC2018", "A1", 0, 1000, "Dx:AF", "61", "M", ""),
    ("CPSC2018", "A1", 1, 1000, "Dx:AF", "61", "M", ""),
    ("PTB", "S1", 0, 1000, "Dx:164865005", "63", "M", ""),
    ("PTB", "S2", 0, 1000, "Dx:164865005", "63", "M", ""),
    ("PTB", "s3_re", 0, 1000, "", "", "", "patient9"),
    ("Georgia", "E1", 0, 1000, "folder:sinus_rhythm", "NaN", "", ""),
    ("PTB-XL", "00902", 0, 1000, "SCP:{'LVH': 80.0}", "73.0", "F", "21"),
]


def signal_uv(seed: int, n_samples: int = 1000, rate_hz: float = 100) -> np.ndarray:
    """Twelve leads of a slow rhythm with noise and baseline wander, in microvolts."""
    t, rng = np.arange(n_samples) / rate_hz, np.random.default_rng(seed)
    beats = rng.uniform(300, 900, (len(LEADS), 1)) * np.exp(-(((t % 0.8) - 0.3) ** 2) / 5e-4)
    wander = 2000 * np.sin(2 * np.pi * 0.1 * t)
    return (beats + wander + rng.normal(0, 20, (len(LEADS), n_samples))).astype(np.int16)


def write_record(path: Path, signal: np.ndarray, rate_hz: int, names: tuple[str, ...] = LEADS, gain: int = 1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        path.name,
        fs=rate_hz,
        units=["mV"] * len(names),
        sig_name=list(names),
        d_signal=signal.T.astype(np.int64),
        fmt=["16"] * len(names),
        adc_gain=[gain] * len(names),
        baseline=[0] * len(names),
        write_dir=str(path.parent),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A pack of eight windows, two records of PTB-XL, three z-scored ones, and two of LUDB."""
    root = tmp_path_factory.mktemp("data")
    columns = [np.array(column) for column in zip(*PACK, strict=True)]
    names = ("source", "record", "window", "n_valid", "labels", "age", "sex", "patient")
    signals = np.stack([signal_uv(row) for row in range(len(PACK))])
    for row, n_valid in enumerate(columns[3]):
        signals[row, :, n_valid:] = 0
    (root / "nine_sets").mkdir()
    np.savez(
        root / stores.PACK,
        x=signals,
        leads=np.array(LEADS),
        fs=np.int64(100),
        unit=np.array("microvolt"),
        **dict(zip(names, columns, strict=True)),
    )
    everything = pd.DataFrame(
        {
            "ecg_id": [1, 2, 900, 901, 902],
            "patient_id": [11.0, 12.0, 11.0, 20.0, 21.0],
            "age": [40.0, 300.0, 41.0, 66.0, 73.0],
            "sex": [0, 1, 0, 0, 1],
            "scp_codes": ["{'NORM': 100.0}", "{'AFIB': 0.0}", "{'NORM': 80.0}", "{'IMI': 50.0}", "{'LVH': 80.0}"],
            "infarction_stadium1": "",
            "strat_fold": [3, 9, 3, 4, 5],
            "device": ["CS-12   E", "AT-6 C 5.5", "CS100    3", "CS100    3", "CS-12"],
            "filename_lr": [f"records100/{number}_lr" for number in range(5)],
            "filename_hr": [f"records500/{number}_hr" for number in range(5)],
        }
    )
    (root / stores.PTBXL).mkdir()
    everything.to_csv(root / stores.METADATA, index=False)
    everything[:2].to_csv(root / stores.PTBXL / "ptbxl_database.csv", index=False)
    statements = {"NORM": "NORM", "IMI": "MI", "LVH": "HYP", "AFIB": ""}
    pd.DataFrame(
        {"diagnostic": [float(bool(name)) for name in statements.values()], "diagnostic_class": statements.values()},
        index=list(statements),
    ).to_csv(root / stores.PTBXL / "scp_statements.csv")
    for row, name in enumerate(everything.filename_lr[:2]):
        write_record(root / stores.PTBXL / name, signal_uv(20 + row), 100)
    zscored = np.stack([signal_uv(30 + row) / 1000 for row in range(4)]).astype(np.float16)
    # 902 is in the pack and 2 among the original records, both in millivolts.
    np.savez(root / stores.ZSCORED, x=zscored, ecg_id=np.array([900, 901, 902, 2]))
    for number in (1, 2):
        names = tuple(name.lower() for name in LEADS)
        write_record(root / stores.LUDB / "data" / str(number), signal_uv(40 + number, 5000, 500), 500, names)
    (root / stores.LUDB / "ludb.csv").write_text(
        'ID,Sex,Age,Rhythms,Conduction abnormalities\n1,"F\n","51\n",Sinus rhythm,\n'
        '2,"M\n",>89,Atrial fibrillation,"Left anterior hemiblock\nI degree av block"\n',
        encoding="utf-8",
    )
    return root


@pytest.fixture(scope="module")
def packed(data, tmp_path_factory) -> dict[str, Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "RECORDS", range(1, 3))
        return research_stores(data, tmp_path_factory.mktemp("stores"), progress=False)


def test_nine_sets_keep_millivolts_labels_and_patients(packed):
    store = packed["nine"]
    index = store.index
    assert index.source.tolist() == [row[0] for row in PACK[:-1]]  # PTB-XL's records are in ptbxl_mv
    assert index.labels.tolist() == [row[4] for row in PACK[:-1]]
    assert index.n_valid.tolist() == [734, *[1000] * 6]
    assert index.record.tolist() == ["7", "A1", "A1", "S1", "S2", "s3_re", "E1"]
    patients = index.patient_id.tolist()
    assert patients[1] == patients[2] and patients[3] == patients[4]  # two windows; two records of equal age and sex
    assert len(set(patients)) == 5
    assert all(np.array(patients) // 1_000_000 == [FIRST_PATIENT[name] // 1_000_000 for name in index.source])
    assert index.age_years[:3].tolist() == [50, 61, 61] and np.isnan(index.age_years[5:]).all()
    assert index.amplitude_known.all() and not index.labelled.any() and not index.held_out.any()
    signal_mv = store.batch(range(len(store))).signal_mv.numpy()
    assert (signal_mv[0, :, 734:] == 0).all() and (signal_mv[0, :, :734].std(axis=1) > 0.05).all()
    raw_mv = signal_uv(1) / 1000
    inner = slice(200, 800)
    assert np.abs(raw_mv[0]).max() > 2 > 1.5 > np.abs(signal_mv[1, 0, inner]).max()  # the wander is gone, QRS is not
    without_wander = raw_mv[0] - 2 * np.sin(0.2 * np.pi * np.arange(1000) / 100)
    assert np.ptp(signal_mv[1, 0, inner]) == pytest.approx(np.ptp(without_wander[inner]), rel=0.2)
    assert index.peak_mv[1] == pytest.approx(np.abs(signal_mv[1]).max(), abs=1e-3)
    assert index.flag_flat[0] == "" and set(FLAG_COLUMNS) <= set(index)  # padding is not a flat lead


def test_ptbxl_in_millivolts_has_its_labels_and_held_out_folds(packed):
    index = packed["ptbxl_mv"].index
    assert index.study_id.tolist() == [1, 2, 902] and index.patient_id.tolist() == [11, 12, 21]
    assert index.fold.tolist() == [3, 9, 5] and index.held_out.tolist() == [False, True, False]
    assert [list(names) for names in index.superclasses] == [["NORM"], [], ["HYP"]]
    assert [list(names) for names in index.statements] == [["NORM"], ["AFIB"], ["LVH"]]
    assert [list(codes) for codes in index.codes] == [[], ["I48.91"], ["I51.7"]]
    assert index.age_years.tolist() == [40, 90, 73] and index.amplitude_known.all() and index.labelled.all()
    assert index.device.tolist() == ["CS-12 E", "AT-6 C 5.5", "CS-12"]
    assert index.labels.tolist()[::2] == ["SCP:{'NORM': 100.0}", "SCP:{'LVH': 80.0}"]


def test_zscored_records_have_no_copy_in_millivolts_and_are_marked(packed):
    index = packed["ptbxl_z"].index
    assert index.study_id.tolist() == [900, 901] and not index.amplitude_known.any()
    assert index.patient_id[0] == packed["ptbxl_mv"].index.patient_id[0]  # one patient, in both stores in one fold
    assert index.fold.tolist() == [3, 4] and [list(names) for names in index.superclasses] == [["NORM"], ["MI"]]
    signal = packed["ptbxl_z"].batch([0]).signal_mv.numpy()[0]
    np.testing.assert_allclose(signal, (signal_uv(30) / 1000).astype(np.float16), atol=6e-4)


def test_ludb_has_its_wording_and_an_age_above_89(packed):
    store = packed["ludb"]
    assert store.index.labels.tolist() == [
        "Sinus rhythm",
        "Atrial fibrillation\nLeft anterior hemiblock\nI degree av block",
    ]
    assert store.index.age_years.tolist() == [51, 90] and store.index.sex.tolist() == ["F", "M"]
    assert store.recording(0).leads == LEADS and store.index.patient_id.is_unique


def test_stores_share_no_study_number_and_only_ptbxls_patients(packed):
    studies = pd.concat([store.index.study_id for store in packed.values()])
    assert studies.is_unique
    columns = [set(store.index.columns) for store in packed.values()]
    assert all(names == columns[0] for names in columns)


def test_unknown_store_and_damaged_pack_are_refused(data, tmp_path):
    with pytest.raises(ECGError, match="There is no store 'ten'; choose from nine, ludb"):
        research_stores(data, tmp_path / "out", ("ten",), progress=False)
    other = tmp_path / "data"
    shutil.copytree(data, other)
    with np.load(data / stores.PACK) as pack:
        arrays = dict(pack)
    np.savez(other / stores.PACK, **arrays | {"unit": np.array("millivolt")})
    with pytest.raises(ECGError, match="is not in microvolts at 100 Hz"):
        research_stores(other, tmp_path / "out", ("nine",), progress=False)
    np.savez(other / stores.PACK, **arrays | {"source": np.array(["XYZ"] * len(PACK))})
    with pytest.raises(ECGError, match="unknown set 'XYZ'"):
        research_stores(other, tmp_path / "out", ("nine",), progress=False)
    (other / stores.PACK).write_text("damaged")
    with pytest.raises(ECGError, match="is absent or no pack of ECGs"):
        research_stores(other, tmp_path / "out", ("nine",), progress=False)
    (other / stores.LUDB / "ludb.csv").unlink()
    with pytest.raises(ECGError, match=r"ludb\.csv is absent or damaged \(FileNotFoundError\)"):
        research_stores(other, tmp_path / "out", ("ludb",), progress=False)
    assert not (tmp_path / "out" / "nine").exists()


@pytest.mark.slow
def test_stores_of_the_real_data_have_all_records(real_data, tmp_path):
    made = research_stores(real_data, tmp_path, progress=False)
    assert {name: len(store) for name, store in made.items()} == {
        "nine": 996,
        "ludb": 200,
        "ptbxl_mv": 553,
        "ptbxl_z": 1417,  # of 1,442, without 22 of the records 1 to 500 and 3 that are also in the pack
    }
    nine, millivolts, zscored = (made[name].index for name in ("nine", "ptbxl_mv", "ptbxl_z"))
    assert nine.groupby(["source", "record"]).patient_id.nunique().max() == 1
    assert nine.source.value_counts().to_dict() == {
        "CODE-15": 463,
        "CPSC2018": 196,
        "CPSC2018-Extra": 51,
        "Chapman-Shaoxing": 15,
        "Georgia": 117,
        "Ningbo": 42,
        "PTB": 86,
        "SPH": 10,
        "SaMi-Trop": 16,
    }
    assert (nine.n_valid < 1000).sum() == 326
    assert not set(millivolts.study_id) & set(zscored.study_id) and not set(zscored.study_id) & {3403, 12846, 14039}
    table = pd.read_csv(real_data / "ptbxl_database_all_21837.csv").set_index("ecg_id")
    for index in (millivolts, zscored):
        assert (index.fold.to_numpy() == table.strat_fold[index.study_id].to_numpy()).all()
    assert int((~millivolts.held_out).sum()) == 353 + 53 and zscored.fold.max() == 8
