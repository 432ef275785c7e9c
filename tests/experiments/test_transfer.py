"""Transfer to other sets: what published labels mean, AUROC within sets, and probes from stores to tables."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.signal import find_peaks

from lamae_toolkit.data.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.data.store import Record, pack
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.metrics import auroc, patient_bootstrap
from lamae_toolkit.experiments import shipped_weights
from lamae_toolkit.experiments.transfer import cohorts, predict, run, subgroups
from lamae_toolkit.experiments.transfer import labels as label_table
from lamae_toolkit.experiments.transfer.labels import FINDINGS, UNKNOWN, finding_labels, reviewed_labels, split_labels
from lamae_toolkit.experiments.transfer.report import transfer_tables
from lamae_toolkit.experiments.transfer.scores import bootstrap_within, by_record, stratified_auroc
from lamae_toolkit.files import write_json
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from small_models import SMALL


def findings_of(published: str, source: str) -> dict[str, int]:
    """The findings that are positive (1) or left open (UNKNOWN)."""
    found = dict(zip(FINDINGS, finding_labels([(published, source)])[0].tolist(), strict=True))
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize(
    ("published", "source", "expected"),
    [
        ("Dx:164889003,59118001", "Georgia", {"AFIB": 1, "RBBB": 1}),
        ("Dx:AF", "CPSC2018", {"AFIB": 1, "STT": UNKNOWN}),
        ("Dx:164890007", "Ningbo", {"AFIB": UNKNOWN}),  # flutter
        ("Dx:713426002", "Georgia", {"RBBB": UNKNOWN}),  # incomplete
        ("Dx:426783006", "Georgia", {"NORM": 1}),
        ("Dx:426783006,164934002", "Georgia", {"STT": 1}),  # sinus rhythm, but an abnormal T wave
        ("Dx:426177001", "Ningbo", {"NORM": UNKNOWN}),  # sinus bradycardia alone
        ("Dx:STD", "CPSC2018", {"STD": 1, "STT": UNKNOWN}),
        ("Dx:428750005", "CPSC2018-Extra", {"STD": UNKNOWN, "STT": 1}),
        ("AHA:1", "SPH", {"NORM": 1}),
        ("AHA:22;23", "SPH", {"NORM": UNKNOWN}),
        ("SCP:{'NORM': 100.0, 'PAC': 0.0, 'SR': 0.0}", "PTB-XL", {"NORM": 1, "PAC": 1}),
        ("SCP:{'LPR': 0.0}", "PTB-XL", {"1AVB": 1}),
        ("SCP:{'SR': 0.0}", "PTB-XL", {}),
        ("Sinus rhythm\nElectric axis of the heart: normal", "LUDB", {"NORM": 1}),
        ("Sinus rhythm\nElectric axis of the heart: normal\nLeft ventricular hypertrophy", "LUDB", {}),
        (
            "Sinus rhythm\nI degree av block \nIncomplete right bundle branch block",
            "LUDB",
            {"1AVB": 1, "RBBB": UNKNOWN},
        ),
        (
            "Atrial extrasystole, type: single pac\nVentricular extrasystole, type: couplet",
            "LUDB",
            {"PAC": 1, "PVC": 1},
        ),
    ],
)
def test_published_labels_become_findings(published, source, expected):
    assert findings_of(published, source) == expected


def test_ecgs_without_a_statement_are_neither_positive_nor_negative():
    everything = dict.fromkeys(FINDINGS, UNKNOWN)
    assert findings_of("", "PTB") == findings_of("AHA:", "SPH") == findings_of("Chagas:True", "CODE-15") == everything
    # One class is known of these records, and nothing else.
    one_class = findings_of("folder:atrial_fibrillation", "Georgia")
    assert one_class == everything | {"AFIB": 1, "NORM": 0} or one_class == {
        name: UNKNOWN for name in FINDINGS if name not in ("AFIB", "NORM")
    } | {"AFIB": 1}
    assert findings_of("folder:sinus_rhythm", "Georgia") == {"NORM": 1}


def test_every_row_of_the_table_is_reviewed_and_names_findings():
    table = reviewed_labels()
    assert {system for system, _ in table} == {*label_table.SYSTEMS.values(), "CPSC", "LUDB"}
    positive = set().union(*(row.positive for row in table.values()))
    assert positive == set(FINDINGS) - {"NORM"}
    for system in ("SCP", "SNOMED", "CPSC", "AHA", "LUDB", "Georgia folder"):
        assert any(row.normal == "yes" for (own, _), row in table.items() if own == system)
    assert not any(row.positive & row.unsure for row in table.values())


def test_scp_statements_agree_with_the_map_to_icd10():
    from lamae_toolkit.icd10 import scp_to_icd10

    codes = {
        "AFIB": {"I48.91"},
        "LBBB": {"I44.7"},
        "RBBB": {"I45.10"},
        "1AVB": {"I44.0"},
        "PAC": {"I49.1"},
        "PVC": {"I49.3"},
    }
    for finding, expected in codes.items():
        statements = [
            label for (system, label), row in reviewed_labels().items() if system == "SCP" and finding in row.positive
        ]
        assert {scp_to_icd10(name) for name in statements} == expected


def test_unreviewed_label_and_damaged_table_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ECGError, match=r"The label '123' \(SNOMED\) is not in labels.csv; review and add it"):
        finding_labels([("Dx:123", "Georgia")])
    with pytest.raises(ECGError, match="are of no known system"):
        finding_labels([("ICD:I10", "Georgia")])
    text = label_table.TABLE.read_text(encoding="utf-8")
    for old, new, message in (
        (",AFIB,,no,The same", ",AFYB,,no,The same", "names a finding that is not in FINDINGS"),
        (",AFIB,,no,The same", ",AFIB,,nein,The same", "lacks a meaning, a reason or `normal`"),
    ):
        (tmp_path / "labels.csv").write_text(text.replace(old, new, 1), encoding="utf-8")
        monkeypatch.setattr(label_table, "TABLE", tmp_path / "labels.csv")
        reviewed_labels.cache_clear()
        with pytest.raises(ECGError, match=message):
            reviewed_labels()
    monkeypatch.undo()
    reviewed_labels.cache_clear()


@pytest.mark.slow
def test_every_label_of_the_real_sets_is_reviewed(real_data):
    with np.load(real_data / "nine_sets" / "ecg_pack_100hz.npz") as pack_:
        published = list(zip(pack_["labels"].tolist(), pack_["source"].tolist(), strict=True))
    assert finding_labels(published).shape == (1049, len(FINDINGS))
    used = {label for one in published for label in split_labels(*one) if label[0] != "SCP"}
    reviewed = {label for label in reviewed_labels() if label[0] not in ("SCP", "LUDB")}
    assert used == reviewed  # no row for what no set has
    statements = pd.read_csv(real_data / "ptb-xl" / "scp_statements.csv", index_col=0)
    scp = [label for system, label in reviewed_labels() if system == "SCP"]
    assert set(scp) <= set(statements.index)
    aha = {
        label: statements.index[statements["AHA code"] == float(label)][0]
        for system, label in reviewed_labels()
        if system == "AHA"
    }
    assert aha == {"1": "NORM", "22": "SBRAD", "23": "SARRH", "106": "CRBBB"}


def test_auroc_compares_only_within_a_set_and_leaves_open_labels_out():
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 2)) < 0.4).astype(np.uint8)
    log_odds, strata = rng.normal(size=(60, 2)), np.repeat(["a", "b", "c"], 20)
    known, counts = rng.random((60, 2)) < 0.8, patient_bootstrap(np.arange(60), 5, 0)
    found = stratified_auroc(labels, log_odds, known, counts, strata)
    for resample, weights in enumerate([np.ones(60), *counts]):
        concordant = pairs = 0.0
        for i in range(60):
            for j in range(60):
                if strata[i] == strata[j] and known[i, 0] and known[j, 0] and labels[i, 0] > labels[j, 0]:
                    concordant += weights[i] * weights[j] * (log_odds[i, 0] > log_odds[j, 0])
                    pairs += weights[i] * weights[j]
        got = found.value[0] if resample == 0 else found.resamples[resample - 1, 0]
        assert got == pytest.approx(concordant / pairs)
    shifted = log_odds + 100 * (strata == "b")[:, None]  # another set, with another offset
    np.testing.assert_allclose(stratified_auroc(labels, shifted, known, counts, strata).value, found.value)
    one = stratified_auroc(labels, log_odds, np.ones_like(known), counts, np.zeros(60))
    np.testing.assert_allclose(one.value, auroc(labels, log_odds, counts).value)
    assert np.isnan(stratified_auroc(labels, log_odds, known & False, counts, strata).value).all()


def test_records_are_the_mean_of_their_windows_and_resamples_keep_the_sets():
    index = pd.DataFrame({"source": ["a", "a", "b", "b"], "record": ["1", "1", "1", "2"], "patient_id": [1, 1, 2, 3]})
    records, (values,) = by_record(index, np.array([[1.0], [3.0], [5.0], [7.0]]))
    assert records.patient_id.tolist() == [1, 2, 3] and values[:, 0].tolist() == [2, 5, 7]
    counts = bootstrap_within(records.patient_id.to_numpy(), records.source.to_numpy(), 20, 0)
    assert (counts[:, 0] == 1).all() and (counts[:, 1:].sum(axis=1) == 2).all()


@pytest.fixture(scope="module")
def small_stores(tmp_path_factory):
    """Stores with the names and columns of `research_stores`, of simulated ECGs whose AF a probe can learn."""
    folder = tmp_path_factory.mktemp("stores")

    def records(name: str, count: int):
        for number in range(count):
            af, rng = number % 2 == 0, np.random.default_rng([len(name), number])
            ecg = simulate_ecg(
                sample_patient(number, rng), rng, codes={"I48.91": 1.0} if af else {}, sampling_rate_hz=100
            )
            offset = 1000 * len(name)
            source = {"nine": "Georgia" if number < 16 else "Ningbo", "ludb": "LUDB"}.get(name, "PTB-XL")
            labels = {
                "LUDB": "Atrial fibrillation" if af else "Sinus rhythm",
                "PTB-XL": "SCP:{'AFIB': 0.0}" if af else "SCP:{'NORM': 100.0}",
            }.get(source, "Dx:164889003" if af else "Dx:426783006")
            extra = {
                "source": source,
                "record": str(number),
                "window": 0,
                "labels": labels,
                "amplitude_known": name != "ptbxl_z",
                "device": "CS100 3" if number % 4 < 2 else "AT-6 C 5.5",
                "superclasses": [SUPERCLASSES[number % 5]],
                "statements": [],
            }
            fold = number // 2 % 8 + 1 if name.startswith("ptbxl") else None
            yield Record(
                ecg.recording,
                offset + number,
                offset + number,
                40.0 + number,
                "FM"[number % 2],
                (),
                tuple(extra.items()),
                fold,
            )

    for name, count in (("nine", 24), ("ludb", 12), ("ptbxl_mv", 40), ("ptbxl_z", 40)):
        pack(records(name, count), folder / name, source=name)
    return folder


@pytest.fixture(scope="module")
def small_checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, kind in (("lamae", LAMAE), ("twin", IndependentMAE)):
        kind(SMALL).eval().save_pretrained(folder / name)
    return folder


def heart_rhythm(recording) -> dict[str, float]:
    """How irregular the highest deflections of lead II are: enough to tell atrial fibrillation, in a millisecond."""
    lead = recording.lead("II")
    peaks, _ = find_peaks(lead, height=0.5 * lead.max(), distance=30)
    return {"rr_sd": float(np.diff(peaks).std()), "beats": len(peaks)}


def test_transfer_from_stores_to_tables(small_stores, small_checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(cohorts, "handmade_features", heart_rhythm)
    monkeypatch.setattr(run, "REPRESENTATIONS", ("heart", "per_lead"))
    checkpoints = (small_checkpoints / "lamae", small_checkpoints / "twin")
    results = run.transfer(small_stores, tmp_path, *checkpoints, command="lamae", n_bootstrap=20, progress=False)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == json.loads(json.dumps(results))
    assert results["learned_from"] == {"folds": list(range(1, 9)), "ecgs": 80, "patients": 80, "in_millivolts": 40}
    assert {name: one["records"] for name, one in results["sets"].items()} == {"Georgia": 16, "LUDB": 12, "Ningbo": 8}
    rows = {(row["set"], row["finding"], row["method"], row["representation"]): row for row in results["findings"]}
    for name, positives in (("all sets", 18), ("Georgia", 8), ("LUDB", 6), ("PTB-XL", 40)):
        row = rows[name, "AFIB", "hand-made features", "trained"]
        assert row["positives"] == positives == row["negatives"] and row["auroc"] > 0.8
        assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]
    assert not [key for key in rows if key[0] == "Ningbo"]  # four records with the finding are too few
    assert {key[1] for key in rows} == {"AFIB", "NORM"}  # what PTB-XL or all sets lack is not scored
    macro = {(row["set"], row["method"], row["representation"]): row for row in results["over_findings"]}
    assert len(macro) == 2 * (3 * 2 + 1)
    ours, theirs = macro["all sets", "LAMAE", "per_lead"], macro["all sets", "hand-made features", "trained"]
    assert theirs["difference"] == pytest.approx(ours["auroc"] - theirs["auroc"], abs=2e-4) and "difference" not in ours
    tables = transfer_tables(results)
    assert "| LAMAE | heart token |" in tables[0] and "| atrial fibrillation | 18 of 36 |" in tables[1]
    assert "Georgia (16 records)" in tables[2] and "Ningbo" not in tables[2]
    # The same call resumes, here without computing anything.
    monkeypatch.setattr(predict, "embedded", None)
    monkeypatch.setattr(predict, "fit_probe", None)
    again = run.transfer(small_stores, tmp_path, *checkpoints, command="lamae", n_bootstrap=20, progress=False)
    assert again == results
    with pytest.raises(ECGError, match="holds a study of transfer with seed = 0, not 1"):
        run.transfer(small_stores, tmp_path, *checkpoints, seed=1, progress=False)
    path = tmp_path / "handmade, PTB-XL, standard deviations.parquet"
    kept = pd.read_parquet(path)
    assert len(kept) == 80
    kept.iloc[::-1].to_parquet(path)
    (tmp_path / "hand-made features, trained.npz").unlink()
    with pytest.raises(ECGError, match="has the features of other ECGs"):
        run.transfer(small_stores, tmp_path, *checkpoints, progress=False)


def test_log_odds_of_ptbxl_come_from_probes_that_have_not_seen_the_patient():
    index = pd.DataFrame({"fold": np.arange(80) % 8 + 1})
    seen: list[tuple[set, set, set]] = []

    def fit(x, labels, learn, choose):
        folds = set(index.fold[learn]), set(index.fold[choose])
        assert labels.shape[1] == 1  # the second finding is on no ECG
        return lambda z: seen.append((*folds, {int(fold) for fold in z[:, 0]})) or np.ones((len(z), 1))

    x = index.fold.to_numpy()[:, None].astype(float)
    labels = np.stack([np.arange(80) % 3 == 0, np.zeros(80)], axis=1).astype(np.uint8)
    found = predict.log_odds(fit, x, labels, np.zeros((3, 1)), index)
    assert found.ptbxl.shape == (80, 2) and found.others.tolist() == [[1, 0]] * 3
    assert seen[0] == ({1, 2, 3, 4, 5, 6, 7}, {8}, {0})
    assert [test for _, _, test in seen[1:]] == [{1, 2}, {3, 4}, {5, 6}, {7, 8}]
    assert all(not (learn & test or choose & test or learn & choose) for learn, choose, test in seen)
    assert (np.bincount(predict.rotation_of(index)) == 20).all()


def test_subgroups_are_scored_and_written_into_the_model_card(small_stores, small_checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(subgroups, "MINIMUM", 20)
    folder = tmp_path / "weights"
    model = LAMAE.from_pretrained(small_checkpoints / "lamae")
    model.save_pretrained(folder)
    kept = json.loads((shipped_weights.WEIGHTS / "lamae-mini-ptbxl" / "metrics.json").read_text(encoding="utf-8"))
    kept.pop("subgroups", None)
    write_json(folder / "metrics.json", kept)
    results = shipped_weights.score_subgroups(folder, small_stores, n_bootstrap=20, progress=False)
    groups = {row["group"]: row for row in results["groups"]}
    assert list(groups) == [
        "all",
        "women",
        "men",
        "under 50 years",
        "50 to 64 years",
        "65 to 79 years",
        "device CS100",
        "device AT-6",
    ]
    assert (groups["all"]["ecgs"], groups["women"]["ecgs"], groups["device CS100"]["patients"]) == (80, 40, 40)
    assert sum(row["ecgs"] for name, row in groups.items() if "years" in name) == 80
    for row in groups.values():
        assert row["macro_auroc"]["low"] <= row["macro_auroc"]["value"] <= row["macro_auroc"]["high"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "of these weights, which are of version 0.1" in card and subgroups.subgroup_table(results) in card
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["subgroups"] == json.loads(
        json.dumps(results)
    )
