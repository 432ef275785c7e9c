"""A store is complete, equals the ECGs, and damaged or foreign folders are refused."""

import errno
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lamae_toolkit.checksums import CHECKSUM_FILE
from lamae_toolkit.data import format as store_format
from lamae_toolkit.data import store as store_module
from lamae_toolkit.data.batch import Batch, collate
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.format import ABSENT, kept_samples, patient_fold, quantized
from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError


def record_of(
    number: int, patient: int | None = None, leads=LEADS, seconds: float = 10.0, rate_hz: float = 100.0
) -> Record:
    noise = np.random.default_rng(number).normal(0, 0.3, (len(leads), round(seconds * rate_hz)))
    return Record(Recording(noise, rate_hz, tuple(leads)), patient or number, number, 61.5, "F", ("I48.91",))


def test_packed_ecgs_round_trip(tmp_path):
    shuffled = tuple(reversed(LEADS[:9]))
    records = [record_of(1), record_of(2, leads=shuffled), record_of(3, patient=1)]
    store = pack(records, tmp_path / "store", source="test")
    assert len(store) == 3 and store.sampling_rate_hz == 100
    for row, packed in enumerate(records):
        recording = store.recording(row)
        assert set(recording.leads) == set(packed.recording.leads)
        difference = recording.signal_mv - packed.recording.select(recording.leads).signal_mv
        assert np.abs(difference).max() <= 0.0005 + 1e-6, "half a unit of 0.001 mV"
    assert store.index.codes.map(list).tolist() == [["I48.91"]] * 3
    assert store.index.fold[0] == store.index.fold[2]


def test_a_batch_of_the_store_is_the_collated_recordings(tmp_path):
    store = pack([record_of(1), record_of(2, leads=("II", "V5"))], tmp_path / "store", source="test")
    batch, collated = store.batch([1, 0]), collate([store.recording(1), store.recording(0)])
    assert isinstance(batch, Batch) and batch.leads == LEADS
    assert np.allclose(batch.signal_mv, collated.signal_mv, atol=1e-6)
    assert (batch.lead_mask == collated.lead_mask).all() and batch.lead_mask[0].sum() == 2
    assert batch.signal_mv[~batch.lead_mask].abs().max() == 0


def test_ecgs_whose_amplitude_is_unknown_are_marked(tmp_path):
    unknown = replace(record_of(2), extra=(("amplitude_known", False),))
    known = replace(record_of(1), extra=(("amplitude_known", True),))
    store = pack([known, unknown], tmp_path / "store", source="test")
    assert store.batch([1, 0]).amplitude_known.tolist() == [False, True]
    assert store.batch([1, 0]).in_mv().tolist() == [False, True]
    in_mv = pack([known], tmp_path / "in_mv", source="test").batch([0])
    assert in_mv.amplitude_known is None and in_mv.in_mv().tolist() == [True]


def test_packed_ecgs_are_rows_of_the_store_and_other_rows_are_refused(tmp_path):
    store = pack([record_of(number, leads=LEADS[number:]) for number in (1, 2, 3)], tmp_path / "store", source="test")
    rows = np.array([2, 0, -1, -3])
    assert (store.packed(rows) == store.signals[rows]).all() and store.packed(rows[:0]).shape == (0, 12, 1000)
    for row in (3, -4):
        with pytest.raises(ECGError, match=f"Row {row} is not among the 3 ECGs of"):
            store.batch([0, row])


def test_ecgs_of_any_rate_are_resampled(tmp_path):
    store = pack([record_of(1, rate_hz=500), record_of(2, seconds=12)], tmp_path / "store", source="test")
    assert store.signals.shape == (2, 12, 1000)


def test_real_ecgs_are_packed(tmp_path, real_data):
    files = sorted((real_data / "ptb-xl" / "records100").rglob("*.hea"))[:20]
    records = [Record(read_ecg(file), n, n, 60.0, "M", ()) for n, file in enumerate(files)]
    store = pack(records, tmp_path / "store", source="PTB-XL")
    for row, packed in enumerate(records):
        assert np.allclose(store.recording(row).signal_mv, packed.recording.select(LEADS).signal_mv, atol=0.00051)


def test_folds_are_patient_wise_and_balanced():
    folds = np.array([patient_fold(patient) for patient in range(20000)])
    assert np.bincount(folds, minlength=20).min() > 850
    assert patient_fold(7) == patient_fold(7)


@pytest.mark.parametrize(("bytes_of_row", "is_refused"), [(8000, False), (12_000, True)])
def test_index_with_huge_rows_is_refused(tmp_path, monkeypatch, bytes_of_row, is_refused):
    monkeypatch.setattr(store_format, "MAX_INDEX_BYTES", 0)
    records = [replace(record_of(n), extra=(("note", f"{n}" * bytes_of_row),)) for n in range(1, 10)]
    if not is_refused:
        assert len(pack(records, tmp_path / "store", source="test")) == 9
        return
    with pytest.raises(ECGError, match=r"The index of .* unpacks to 0\.000109 GB; pack the cohort again"):
        pack(records, tmp_path / "store", source="test")


def test_a_patient_in_two_folds_is_refused(tmp_path):
    folder = tmp_path / "store"
    pack([record_of(1, patient=5), record_of(2, patient=5)], folder, source="test")
    index = pd.read_parquet(folder / "index.parquet")
    index["fold"] = [0, 1]
    (folder / CHECKSUM_FILE).unlink()
    index.to_parquet(folder / "index.parquet")
    with pytest.raises(ECGError, match="in two folds"):
        Store.open(folder)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no ECG to pack"),
        ([record_of(1), record_of(1)], "Study 1 is listed twice"),
        ([record_of(1), record_of(2, seconds=4)], "Study 2: The ECG lasts 4 s"),
    ],
)
def test_a_refused_cohort_leaves_nothing_behind(tmp_path, records, message):
    with pytest.raises(ECGError, match=message):
        pack(records, tmp_path / "store", source="test")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.pd.DataFrame, "to_parquet", full)
    with pytest.raises(ECGError, match=r"No space left on device.*no partial file was left"):
        pack([record_of(1)], tmp_path / "store", source="test")
    assert list(tmp_path.iterdir()) == []


def test_full_device_leaves_nothing_behind(tmp_path):
    """/dev/full takes no byte: the signal file is a link to it."""
    full = store_module.Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    opened = store_module.Path.mkdir

    def mkdir_with_full_disk(self, *arguments, **options):
        opened(self, *arguments, **options)
        if self.name.endswith(".partial"):
            (self / store_module.SIGNALS).symlink_to(full)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module.Path, "mkdir", mkdir_with_full_disk)
        with pytest.raises(ECGError, match="could not be written"):
            pack((record_of(n) for n in range(50)), tmp_path / "store", source="test")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_old_store(tmp_path):
    pack([record_of(1)], tmp_path / "store", source="old")

    def interrupted():
        yield record_of(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(interrupted(), tmp_path / "store", source="new")
    assert Store.open(tmp_path / "store").meta["source"] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert pack([record_of(3)], tmp_path / "store", source="new").meta["source"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def damaged(folder, how):
    (folder / CHECKSUM_FILE).unlink()
    if how == "version":
        meta = json.loads((folder / "store.json").read_text())
        (folder / "store.json").write_text(json.dumps(meta | {"version": 99}))
    elif how == "json":
        (folder / "store.json").write_text("{")
    elif how == "truncated":
        signals = (folder / "signals.int16").read_bytes()
        (folder / "signals.int16").write_bytes(signals[:-2])
    elif how == "no signals":
        (folder / "signals.int16").unlink()
    elif how == "index":
        (folder / "index.parquet").write_bytes(b"not parquet")
    elif how == "column":
        pd.read_parquet(folder / "index.parquet").drop(columns="fold").to_parquet(folder / "index.parquet")
    elif how == "rows":
        pd.read_parquet(folder / "index.parquet").head(1).to_parquet(folder / "index.parquet")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("version", "store of version 99, but this toolkit reads version 1"),
        ("json", "damaged"),
        ("truncated", "of 48000 bytes"),
        ("no signals", "0 of 48000 bytes"),
        ("index", "missing or damaged"),
        ("column", "lacks the column fold"),
        ("rows", "its index has 1 rows"),
    ],
)
def test_a_damaged_store_is_refused(tmp_path, how, message):
    pack([record_of(1), record_of(2)], tmp_path / "store", source="test")
    damaged(tmp_path / "store", how)
    with pytest.raises(ECGError, match=message):
        Store.open(tmp_path / "store")


def test_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(ECGError, match=r"it has no store\.json"):
        Store.open(tmp_path)


def test_batch_refuses_inconsistent_shapes_and_names():
    short, long = record_of(1, seconds=3).recording, record_of(2).recording
    with pytest.raises(ECGError, match="from 3 to 10 s"):
        collate([short, long])
    with pytest.raises(ECGError, match="at least one ECG"):
        collate([])
    batch = collate([long])
    with pytest.raises(ECGError, match="Lead X is not"):
        batch.select(["X"])
    with pytest.raises(ECGError, match="does not fit"):
        replace(batch, leads=("I", "II"))
    assert collate([short]).signal_mv.shape == (1, 12, 300)


def test_folder_with_other_files_is_never_replaced(tmp_path):
    precious = tmp_path / "thesis.docx"
    precious.write_text("three years of work")
    with pytest.raises(ECGError, match="other files; choose a new one"):
        simulate_store(tmp_path, 2, workers=1, progress=False)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.docx"]


def test_store_of_version_0_1_opens(tmp_path):
    # The three files as lamae_toolkit 0.1 wrote them, without its code.
    meta = {
        "version": 1,
        "source": "simulated, seed 0",
        "ecgs": 2,
        "samples": 100,
        "sampling_rate_hz": 100.0,
        "folds": 20,
        "mv_per_unit": 0.001,
        "leads": ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"],
    }
    signals = np.arange(2 * 12 * 100, dtype="<i2").reshape(2, 12, 100)
    signals[1, 7] = -32768  # V2 of the second ECG is absent
    index = pd.DataFrame({"patient_id": [3, 3], "study_id": [0, 1], "age_years": [61.5, 61.5], "sex": ["F", "F"]})
    index["codes"], index["fold"] = [["I44.7"], []], 5
    for flag in ("flat", "nan", "clipped", "noisy", "swap"):
        index[f"flag_{flag}"] = ""
    (tmp_path / "store.json").write_text(json.dumps(meta, indent=1) + "\n")
    (tmp_path / "signals.int16").write_bytes(signals.tobytes())
    index.to_parquet(tmp_path / "index.parquet")

    store = Store.open(tmp_path)
    assert len(store) == 2 and store.sampling_rate_hz == 100 and store.rows([5]).tolist() == [0, 1]
    assert store.index.codes.map(list).tolist() == [["I44.7"], []] and set(FLAG_COLUMNS) <= set(store.index)
    assert store.recording(0).lead("II")[:2] == pytest.approx([0.1, 0.101])
    assert store.recording(1).leads == tuple(lead for lead in LEADS if lead != "V2")
    batch = store.batch([1])
    assert batch.lead_mask.sum() == 11 and batch.signal_mv[0, 7].abs().max() == 0


@pytest.mark.parametrize(
    ("samples", "rate_hz", "kept"),
    [(4998, 500.0, 4998), (4997, 500.0, None), (5001, 500.0, 5000), (2499, 250.0, 2499), (498, 50.0, None)],
)
def test_ecg_may_be_half_a_sample_too_short(samples, rate_hz, kept):
    """Half a sample of the slower side: 5 ms where the store has 100 Hz, 10 ms where the ECG has 50 Hz."""
    if kept is None:
        with pytest.raises(ECGError, match=r"lasts .* s, but this store holds ECGs of 10 s"):
            kept_samples(samples, rate_hz, 100.0, 10.0)
    else:
        assert kept_samples(samples, rate_hz, 100.0, 10.0) == kept
    assert kept_samples(500, 50.0, 100.0, 10.005) == 500


@pytest.mark.parametrize("offset_mv", [-40.0, 40.0])
def test_offset_beyond_the_range_of_a_store_is_subtracted(offset_mv):
    wave_mv = np.sin(np.arange(1000) / 7)[:, None].repeat(2, axis=1).astype(np.float32)
    signal_mv = (wave_mv + np.array([0.0, offset_mv], dtype=np.float32))[:, None]
    stored, beyond = quantized(signal_mv, 100.0, ("I", "V6"), 100.0, 10.0)
    assert beyond.tolist() == [[False, True]]
    np.testing.assert_allclose(stored[0, 0], wave_mv[:, 0] * 1000, atol=1)
    np.testing.assert_allclose(stored[0, 11], (wave_mv[:, 1] - np.median(wave_mv[:, 1])) * 1000, atol=2)


@pytest.mark.parametrize("spike_mv", [-100.0, -32.768, 32.768, 100.0])
def test_clipped_sample_is_not_the_mark_of_an_absent_lead(spike_mv):
    signal_mv = np.zeros((1000, 1, 1), dtype=np.float32)
    signal_mv[::4] = 0.5  # their median, which is subtracted, stays 0
    signal_mv[10] = spike_mv
    stored, beyond = quantized(signal_mv, 100.0, ("II",), 100.0, 10.0)
    assert beyond.all() and stored[0, 1, 10] == np.sign(spike_mv) * 32767
    assert (stored[0, 1] != ABSENT).all() and (stored[0, 0] == ABSENT).all()
