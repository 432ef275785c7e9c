"""Cohort tables: correct counts, a planted leak is found, and redundancy of leads follows from the electrodes."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from lamae_toolkit.checksums import CHECKSUM_FILE
from lamae_toolkit.data.format import INDEX
from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.data.summary import (
    age_table,
    co_occurrence,
    code_table,
    cohort_table,
    explained_share,
    flagged_rows,
    lead_covariances,
    lead_matrix,
    quality_table,
    redundancy_table,
    reversal_table,
    some_rows,
)
from lamae_toolkit.ecg.leads import LEADS, LIMB_LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.leakage import COIN, leak_experiment, leak_figure, mean_beats
from lamae_toolkit.plots import cohort as cohort_plots

FLAGS = {"flag_nan": "", "flag_flat": "", "flag_clipped": "", "flag_noisy": "", "flag_swap": ""}


def an_index(**columns) -> pd.DataFrame:
    """Four ECGs of three patients."""
    usual = {
        "patient_id": [1, 1, 2, 3],
        "study_id": [10, 11, 12, 13],
        "age_years": [50.0, 52.0, 70.0, np.nan],
        "sex": ["F", "F", "M", ""],
        "codes": [["I48.91", "I10"], ["I48.91"], ["I10", "I10"], []],
        "fold": [0, 0, 1, 2],
    }
    return pd.DataFrame(usual | columns)


def twelve_leads(two: np.ndarray, chest: np.ndarray) -> np.ndarray:
    """Twelve leads from I and II (2, t) and V1 to V6 (6, t)."""
    I, II = two
    return np.vstack([I, II, II - I, -(I + II) / 2, I - II / 2, II - I / 2, chest])


def a_store(folder, ecgs: int = 12, absent: dict[int, list[str]] | None = None, seed: int = 0, **flags) -> Store:
    """ECGs of random leads, two for each patient, with V2 = 2 V1; absent: the leads that an ECG lacks."""
    rng, entries = np.random.default_rng(seed), []
    for number in range(ecgs):
        chest = rng.normal(size=(6, 1000))
        chest[1] = 2 * chest[0]
        leads = [lead for lead in LEADS if lead not in (absent or {}).get(number, [])]
        recording = Recording(twelve_leads(rng.normal(size=(2, 1000)), chest), 100, LEADS).select(leads)
        entries.append(Record(recording, number // 2, number, 60.0, "F", ("I10",)))
    pack(entries, folder, source="test")
    (folder / CHECKSUM_FILE).unlink()
    index = pd.read_parquet(folder / INDEX)
    index.assign(**(FLAGS | {name: pd.Series(texts) for name, texts in flags.items()})).to_parquet(folder / INDEX)
    return Store.open(folder)


def test_a_cohort_is_counted_by_ecg_and_by_patient():
    values = cohort_table(an_index()).value
    assert (values["ECGs"], values["patients"], values["patients with several ECGs"]) == (4, 3, 1)
    assert values["ECGs per patient, mean"] == pytest.approx(4 / 3) and values["ECGs per patient, most"] == 2
    assert (values["women"], values["men"], values["patients of unknown sex"]) == (1, 1, 1)
    assert (values["age in years, median"], values["ECGs of unknown age"]) == (52, 1)
    assert (values["different codes"], values["ECGs without a code"], values["codes per ECG, mean"]) == (2, 1, 1.0)
    assert (values["folds"], values["patients in more than one fold"]) == (3, 0)
    assert cohort_table(an_index(fold=[0, 1, 1, 2])).value["patients in more than one fold"] == 1


def test_ages_are_counted_by_sex_and_unknown_ones_left_out():
    ages = age_table(an_index(), width_years=10)
    assert ages.loc[50].to_dict() == {"women": 2, "men": 0, "unknown": 0}
    assert ages.to_numpy().sum() == 3
    nobody = age_table(an_index(age_years=[np.nan] * 4))
    assert len(nobody) == 0 and list(nobody) == ["women", "men", "unknown"]
    assert isinstance(cohort_plots.age_figure(nobody), go.Figure)


def test_a_code_counts_once_per_ecg():
    codes = code_table(an_index())
    assert codes.ECGs.to_dict() == {"I48.91": 2, "I10": 2} and codes.patients.to_dict() == {"I48.91": 1, "I10": 2}
    assert codes["share of ECGs"].tolist() == [0.5, 0.5] and codes.name["I10"] == "Essential (primary) hypertension"
    assert len(code_table(an_index(codes=[[]] * 4))) == 0
    with pytest.raises(ECGError, match="no column superclasses; choose from patient_id"):
        code_table(an_index(), "superclasses")


def test_co_occurrence_recovers_planted_pairs():
    """A and B exclude each other, B brings C along, D knows nothing of A."""
    codes = [[*(["A"] if a else ["B", "C"]), *(["D"] if d else [])] for a in (0, 1) for d in (0, 1) for _ in range(10)]
    many = pd.DataFrame({"patient_id": range(40), "codes": codes})
    count, expected, ratio, share = co_occurrence(many)
    assert count.loc["B", "C"] == 20 and count.loc["A", "B"] == 0 and count.loc["D", "D"] == 20
    assert expected.loc["A", "D"] == 10 and ratio.loc["A", "D"] == 1
    assert ratio.loc["B", "C"] == 2 and ratio.loc["A", "B"] == 0 and np.isnan(ratio.loc["A", "A"])
    assert share.loc["B", "C"] == 1 and share.loc["A", "D"] == 0.5
    assert co_occurrence(many, least_expected=11).ratio.isna().all(axis=None), "chance rules where few are expected"
    assert list(co_occurrence(many, most=2).count) == ["A", "B"]


def test_co_occurrence_of_one_code_and_of_no_code():
    alone = co_occurrence(an_index(codes=[["I10"]] * 4))
    assert alone.count.to_numpy().tolist() == [[4]] and alone.share.to_numpy().tolist() == [[1.0]]
    for show in ("ratio", "share"):
        assert isinstance(cohort_plots.co_occurrence_figure(alone, show), go.Figure)
    with pytest.raises(ECGError, match="No ECG of this cohort has anything in codes"):
        co_occurrence(an_index(codes=[[]] * 4))


@pytest.mark.parametrize("look", [cohort_table, code_table, co_occurrence, lambda index: some_rows(index, 10)])
def test_an_empty_cohort_is_refused_in_a_sentence(look):
    with pytest.raises(ECGError, match="This cohort has no ECGs"):
        look(an_index()[:0])


def test_sampled_patients_are_complete(cohort):
    rows = some_rows(cohort.index, 50)
    inside = set(cohort.index.patient_id.iloc[rows])
    assert 40 < len(rows) <= 50 and len(rows) == cohort.index.patient_id.isin(inside).sum()
    assert np.array_equal(rows, some_rows(cohort.index, 50)) and not np.array_equal(
        rows, some_rows(cohort.index, 50, 1)
    )
    assert np.array_equal(some_rows(cohort.index, 10_000), np.arange(len(cohort)))
    assert len(some_rows(an_index(patient_id=[1] * 4), 2)) == 4, "one patient at least"


def test_flags_are_counted_lead_by_lead(tmp_path):
    store = a_store(
        tmp_path / "store",
        4,
        {0: ["V1"], 1: ["V1", "V6"]},
        flag_noisy=["V2,V3", "", "V2", ""],
        flag_nan=["V1", "", "", ""],
        flag_swap=["", "RA-LA", "", ""],
    )
    table = quality_table(store)
    assert list(table.index) == list(LEADS) and list(table) == ["absent", "nan", "flat", "clipped", "noisy"]
    assert table.loc["V2", "noisy"] == 0.5 and table.loc["V3", "noisy"] == 0.25 and table.loc["V1", "nan"] == 0.25
    assert table.loc["V1", "absent"] == 0.5 and table.loc["V6", "absent"] == 0.25
    assert table.to_numpy().sum() == pytest.approx(0.5 + 0.25 + 0.25 + 0.5 + 0.25)
    assert quality_table(store, np.array([2])).loc["V2", "noisy"] == 1
    assert reversal_table(store.index).loc["RA-LA"].tolist() == [1, 0.25]
    assert flagged_rows(store.index, "noisy").tolist() == [0, 2]
    assert flagged_rows(store.index, "noisy", "V3").tolist() == [0] and flagged_rows(store.index, "flat").size == 0
    assert flagged_rows(store.index, "swap", "RA-LA").tolist() == [1]
    with pytest.raises(ECGError, match="no flag 'loose'; choose from nan"):
        flagged_rows(store.index, "loose")
    assert "noisy: V2,V3" in cohort_plots.flagged_figure(store, 0).layout.title.text
    assert "no flag" in cohort_plots.flagged_figure(store, 3).layout.title.text
    assert isinstance(cohort_plots.quality_figure(table), go.Figure)


def test_store_without_flag_columns_is_refused(tmp_path):
    store = a_store(tmp_path / "store", 2)
    older = store.index.drop(columns=list(FLAGS))
    older.to_parquet(store.folder / INDEX)
    store = Store.open(store.folder)
    for look in (lambda: quality_table(store), lambda: reversal_table(older), lambda: flagged_rows(older, "flat")):
        with pytest.raises(ECGError, match=r"no column flag_nan.*prepare it again"):
            look()


def persons(patients: int, ecgs_each: int, day_to_day: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """ECGs as points: each patient's place, and how far from it the patient is on a day."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), ecgs_each)
    return rng.normal(size=(patients, 8))[patient] + day_to_day * rng.normal(size=(len(patient), 8)), patient


def test_a_planted_leak_is_found():
    x, patient = persons(150, 4, day_to_day=0.1)
    seen = pd.DataFrame({"seen": (x[:, 0] > 0).astype(int)})
    leak = leak_experiment(x, patient, seen, n_bootstrap=100)
    assert leak.with_mate > 0.98 and leak.recognized.value > 0.98 and leak.by_chance < 0.01
    coin, seen = leak.table.loc[COIN], leak.table.loc["seen"]
    assert coin.by_ecg > 0.97 and coin.by_patient_low < 0.5 < coin.by_patient_high and coin.difference_low > 0.4
    assert seen.by_patient_low > 0.7, "what the ECG does show is predicted for new patients, too"
    assert coin.difference == pytest.approx(coin.by_ecg - coin.by_patient)
    assert isinstance(leak_figure(leak), go.Figure)


def test_no_leak_if_each_patient_has_one_ecg():
    x, patient = persons(300, 1, day_to_day=0.1)
    leak = leak_experiment(x, patient, pd.DataFrame({"seen": (x[:, 0] > 0).astype(int)}), n_bootstrap=50)
    assert leak.with_mate == 0 and np.isnan(leak.recognized.value) and np.isnan(leak.by_chance)
    assert (leak.table[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)


def test_no_leak_if_patients_cannot_be_recognized():
    """ECGs that tell nothing of the person: both divisions guess, and a mate is met as often as by chance."""
    _, patient = persons(150, 4, day_to_day=0.1)
    leak = leak_experiment(np.random.default_rng(1).normal(size=(600, 8)), patient, pd.DataFrame(), n_bootstrap=100)
    assert leak.by_chance == pytest.approx(3 * 0.8 / 480, rel=0.05)
    assert leak.recognized.value < 0.03
    coin = leak.table.loc[COIN]
    assert coin.by_ecg == pytest.approx(0.5, abs=0.05) and coin.difference_low < 0 < coin.difference_high


def test_leak_experiment_refuses_unsuitable_cohorts():
    x, patient = persons(50, 2, day_to_day=0.1)
    with pytest.raises(ECGError, match="Every ECG has the same value of I10"):
        leak_experiment(x, patient, pd.DataFrame({"I10": np.ones(100, dtype=int)}))
    with pytest.raises(ECGError, match="20 patients at least, but here are 10 of 5"):
        leak_experiment(x[:10], patient[:10], pd.DataFrame())
    with pytest.raises(ECGError, match="10,000 ECGs at most"):
        leak_experiment(np.zeros((10_001, 1)), np.arange(10_001), pd.DataFrame())


def test_mean_beats_of_a_patient_are_similar_and_absent_leads_filled(cohort, tmp_path):
    x, patient = mean_beats(cohort, np.arange(len(cohort))), cohort.index.patient_id.to_numpy()
    assert x.shape == (len(cohort), 12 * 35) and np.isfinite(x).all()
    leak = leak_experiment(x, patient, pd.DataFrame(), n_bootstrap=50)
    assert leak.recognized.value > 20 * leak.by_chance
    store = a_store(tmp_path / "store", 4, {0: ["V1"]})
    beats = mean_beats(store, np.arange(4)).reshape(4, 12, 35)
    assert np.allclose(beats[0, 6], beats[1:, 6].mean(axis=0)) and not np.allclose(beats[0, 7], beats[1:, 7].mean(0))
    with pytest.raises(ECGError, match="No ECG is chosen"):
        mean_beats(store, np.arange(0))


def test_limb_leads_are_explained_exactly_and_unrelated_leads_not_at_all(tmp_path):
    store = a_store(tmp_path / "store")
    learn, unseen = lead_covariances(store, np.arange(8)), lead_covariances(store, np.arange(8, 12))
    assert np.allclose(learn[0], np.cov(store.recording(0).signal_mv, bias=True), atol=1e-6)
    assert explained_share(learn, unseen, "III", ["I", "II"]) == pytest.approx(1, abs=1e-5)
    for lead in LIMB_LEADS:
        assert explained_share(learn, unseen, lead, LIMB_LEADS) == pytest.approx(1, abs=1e-5)
    assert explained_share(learn, unseen, "V2", ["V1"]) == pytest.approx(1, abs=1e-5)
    assert explained_share(learn, unseen, "V5", ["I", "V1"]) == pytest.approx(0, abs=0.02)
    matrix = lead_matrix(learn, unseen)
    # I and II are independent and equally large: III = II - I has half of its variance from each.
    assert matrix.loc["III", "I"] == pytest.approx(0.5, abs=0.05) and np.isnan(np.diag(matrix)).all()
    table = redundancy_table(learn, unseen).set_index(["lead", "from"])
    assert table.loc[("aVR", "limb leads"), "median"] == pytest.approx(1, abs=1e-5)
    assert table.loc[("V6", "all other leads"), "median"] == pytest.approx(0, abs=0.05)
    assert (table.low <= table["median"]).all() and (table["median"] <= table.high).all() and (table.ECGs == 4).all()
    assert isinstance(cohort_plots.redundancy_figure(table.reset_index()), go.Figure)
    assert isinstance(cohort_plots.lead_matrix_figure(matrix), go.Figure)


def test_r_squared_equals_that_of_the_reconstructed_lead(tmp_path):
    """The same by drawing the lead sample by sample, with scikit-learn's regression through the covariances' centre."""
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    store = a_store(tmp_path / "store", seed=3)
    names, rows = ["I", "V3", "V4"], np.arange(8)
    leads = [LEADS.index(name) for name in names]
    signal_mv = store.batch(np.arange(12)).signal_mv.numpy().astype(float)
    signal_mv[:, 9] += 0.5 * signal_mv[:, 0]  # something to find: V4 with some of I in it
    store.signals = np.rint(signal_mv * 1000).astype(np.int16)
    centered = signal_mv - signal_mv.mean(axis=2, keepdims=True)
    x, y = centered[:8][:, leads[:2]].transpose(0, 2, 1).reshape(-1, 2), centered[:8][:, leads[2]].reshape(-1)
    fit = LinearRegression(fit_intercept=False).fit(x, y)
    expected = [r2_score(ecg[leads[2]], fit.predict(ecg[leads[:2]].T)) for ecg in centered[8:]]
    found = explained_share(lead_covariances(store, rows), lead_covariances(store, np.arange(8, 12)), "V4", ["I", "V3"])
    assert found == pytest.approx(np.array(expected), abs=1e-4) and found.mean() > 0.1


def test_absent_leads_are_left_out(tmp_path):
    """V1 is in no training ECG, V3 not in one unseen ECG, which must be drawn from what it has."""
    store = a_store(tmp_path / "store", 12, {row: ["V1"] for row in range(8)} | {8: ["V3"], 9: list(LIMB_LEADS)})
    learn, unseen = lead_covariances(store, np.arange(8)), lead_covariances(store, np.arange(8, 12))
    assert np.isnan(explained_share(learn, unseen, "V1", LEADS)).all()
    assert np.isnan(explained_share(learn, unseen, "V2", ["V1"])).all()
    assert np.isnan(explained_share(learn, unseen, "V3", LEADS)).tolist() == [True, False, False, False]
    assert explained_share(learn, unseen, "aVF", LEADS)[[0, 2, 3]] == pytest.approx(1, abs=1e-4)
    assert np.isnan(explained_share(learn, unseen, "aVF", LEADS)[1])
    assert np.isfinite(explained_share(learn, unseen, "V5", LEADS)).all()
    table = redundancy_table(learn, unseen).set_index(["lead", "from"])
    assert table.loc[("V1", "all other leads"), "ECGs"] == 0 and np.isnan(table.loc[("V1", "limb leads"), "median"])
    assert table.loc[("V3", "all other leads"), "ECGs"] == 3
    assert lead_matrix(learn, unseen).loc["V1"].isna().all()


def test_summaries_of_the_simulated_cohort(cohort):
    for figure in (
        cohort_plots.age_figure(age_table(cohort.index)),
        cohort_plots.code_figure(code_table(cohort.index)),
        cohort_plots.co_occurrence_figure(co_occurrence(cohort.index)),
    ):
        assert isinstance(figure, go.Figure) and figure.layout.height > 200
    silent = code_table(cohort.index, "silent_codes")
    assert set(silent.index) <= {"E11.9", "E78.5", "I10"}
