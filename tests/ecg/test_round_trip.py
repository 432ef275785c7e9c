"""What is written in any format that we can write comes back equal: leads, their order, rate, unit, length, gaps."""

import io

import edfio
import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import written_ecgs as write
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS, LIMB_LEADS

MV_PER_COUNT = 0.005
MV = {"mV": 1.0, "uV": 1e-3, "V": 1e3}


@st.composite
def ecgs(draw, leads=LEADS, max_samples=600):
    """Counts of 5 uV by lead, in any order, that obey Einthoven; a gap that is short enough to be filled; a rate."""
    names = tuple(draw(st.permutations(leads)))[: draw(st.integers(1, len(leads)))]
    n_samples = draw(st.integers(50, max_samples))
    counts = write.ecg_counts(names, n_samples)
    start = draw(st.integers(1, n_samples - 2))
    gap = range(start, start + draw(st.integers(0, min(n_samples // 10, n_samples - 1 - start))))
    return counts, gap, draw(st.sampled_from([100, 250, 257, 360, 500, 1000])), draw(st.sampled_from(sorted(MV)))


def with_gap(counts: dict[str, np.ndarray], gap: range) -> np.ndarray:
    """The signals in mV, (l, t), NaN in the gap."""
    signal_mv = np.stack(list(counts.values())) * MV_PER_COUNT
    signal_mv[:, gap.start : gap.stop] = np.nan
    return signal_mv


def filled(signal_mv: np.ndarray) -> np.ndarray:
    time = np.arange(signal_mv.shape[1])
    return np.stack([np.interp(time, time[~np.isnan(row)], row[~np.isnan(row)]) for row in signal_mv])


def write_wfdb(folder, counts, gap, rate_hz, unit, code):
    stored = np.stack(list(counts.values()), axis=1).astype(np.int64)
    stored[gap.start : gap.stop] = -(2 ** {"212": 11, "16": 15, "24": 23, "32": 31, "516": 15}[code])
    n = len(counts)
    wfdb.wrsamp(
        "x", rate_hz, [unit] * n, list(counts), d_signal=stored, fmt=[code] * n, adc_gain=[MV[unit] / MV_PER_COUNT] * n,
        baseline=[0] * n, write_dir=str(folder),
    )  # fmt: skip
    return folder / "x.hea", {}, filled(with_gap(counts, gap))


def write_table(folder, counts, gap, rate_hz, unit, delimiter, decimal):
    signal = with_gap(counts, gap) / MV[unit]
    rows = [delimiter.join(["time_s", *(f"{lead} ({unit})" for lead in counts)])]
    for i, values in enumerate(signal.T):
        cells = [repr(i / rate_hz), *("" if np.isnan(value) else repr(float(value)) for value in values)]
        rows.append(delimiter.join(cell.replace(".", decimal) for cell in cells))
    (folder / "x.csv").write_text("\n".join([*rows, ""]))
    return folder / "x.csv", {}, filled(signal * MV[unit])


def write_npy(folder, counts, gap, rate_hz, unit, order):
    signal = with_gap(counts, gap) / MV[unit]
    np.save(folder / "x.npy", np.array(signal if order == "C" else signal.T, order=order))
    return (
        folder / "x.npy",
        {"sampling_rate_hz": rate_hz, "unit": unit, "leads": tuple(counts)},
        filled(signal * MV[unit]),
    )


def write_npz(folder, counts, gap, rate_hz, unit):
    signal = with_gap(counts, gap) / MV[unit]
    np.savez_compressed(folder / "x.npz", signal=signal, leads=list(counts), sampling_rate_hz=rate_hz, unit=unit)
    return folder / "x.npz", {}, filled(signal * MV[unit])


def saved(folder, content: bytes, counts, **arguments):
    (folder / "x").write_bytes(content)
    return folder / "x", arguments, np.stack(list(counts.values())) * MV_PER_COUNT


def write_edf(folder, counts, gap, rate_hz, unit, signal_class, file_class):
    """Formats without a mark for missing samples: no gap. The header has 8 characters for the duration."""
    assume(len(repr(len(next(iter(counts.values()))) / rate_hz)) <= 8)
    span = 32768 * MV_PER_COUNT / MV[unit] if unit != "V" else 0.2
    signals = [
        signal_class(
            signal * MV_PER_COUNT / MV[unit], rate_hz, label=f"ECG {lead}", physical_dimension=unit,
            physical_range=(-round(span, 4), round(span, 4)),
        )
        for lead, signal in counts.items()
    ]  # fmt: skip
    content = io.BytesIO()
    file_class(signals, data_record_duration=len(next(iter(counts.values()))) / rate_hz).write(content)
    return saved(folder, content.getvalue(), counts)


def write_dicom(folder, counts, gap, rate_hz, unit):
    return saved(folder, write.dicom(write.dicom_group(counts, rate_hz)), counts)


def write_muse(folder, counts, gap, rate_hz, unit):
    return saved(folder, write.muse_xml(counts, per_bit="5", rate=str(rate_hz)), counts)


def write_aecg(folder, counts, gap, rate_hz, unit):
    scale = f'value="{MV_PER_COUNT / MV[unit]!r}" unit="{unit}"'
    return saved(folder, write.aecg_xml(counts, scale, repr(1 / rate_hz)), counts)


WRITERS = {
    **{f"WFDB {code}": (write_wfdb, (code,)) for code in ("16", "24", "32", "212", "516")},
    "CSV": (write_table, (",", ".")),
    "CSV with decimal commas": (write_table, (";", ",")),
    "TSV": (write_table, ("\t", ".")),
    "npy": (write_npy, ("C",)),
    "npy in columns": (write_npy, ("F",)),
    "npz": (write_npz, ()),
    "EDF": (write_edf, (edfio.EdfSignal, edfio.Edf)),
    "BDF": (write_edf, (edfio.BdfSignal, edfio.Bdf)),
    "DICOM": (write_dicom, ()),
    "MUSE XML": (write_muse, ()),
    "aECG XML": (write_aecg, ()),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore::lamae_toolkit.errors.LeadWarning")
def test_what_is_written_comes_back(tmp_path_factory, kind):
    writer, arguments = WRITERS[kind]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(ecgs())
    def check(ecg):
        counts, gap, rate_hz, unit = ecg
        folder = tmp_path_factory.mktemp("ecg", numbered=True)
        path, given_arguments, expected_mv = writer(folder, counts, gap, rate_hz, unit, *arguments)
        recording = read_ecg(path, **given_arguments)
        # A file of the eight leads that a device stores comes back with all twelve.
        assert recording.leads[: len(counts)] == tuple(counts) or set(LIMB_LEADS) <= set(recording.leads)
        assert recording.sampling_rate_hz == pytest.approx(rate_hz, rel=1e-6)
        # EDF rounds to its 65,536 steps of 0.005 mV or, in V, of 0.006.
        tolerance_mv = {"EDF": 0.0062 if unit == "V" else 0.003, "BDF": 1e-4}.get(kind, 2e-6)
        for lead, signal_mv in zip(counts, expected_mv, strict=True):
            np.testing.assert_allclose(recording.lead(lead), signal_mv, atol=tolerance_mv, rtol=1e-6)

    check()


@pytest.mark.parametrize("compression", ["XLI", "Uncompressed"])
@pytest.mark.parametrize("n_samples", [51, 500])
def test_sierra_comes_back(tmp_path, compression, n_samples):
    """Its method needs all twelve leads at 500 Hz."""
    counts = write.ecg_counts(n_samples=n_samples)
    path, _, expected_mv = saved(tmp_path, write.sierra_xml(counts, compression), counts)
    recording = read_ecg(path)
    assert recording.leads == LEADS and recording.sampling_rate_hz == 500
    np.testing.assert_allclose(recording.signal_mv, expected_mv, atol=1e-6)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(ecgs(), st.data())
@pytest.mark.filterwarnings("ignore::lamae_toolkit.errors.LeadWarning")
def test_any_stretch_comes_back(tmp_path_factory, ecg, data):
    counts, _, rate_hz, unit = ecg
    n_samples = len(next(iter(counts.values())))
    first = data.draw(st.integers(0, n_samples - 20))
    length = data.draw(st.integers(15, n_samples - first))
    folder = tmp_path_factory.mktemp("ecg", numbered=True)
    path, arguments, expected_mv = write_npz(folder, counts, range(1, 1), rate_hz, unit)
    part = read_ecg(path, start_s=first / rate_hz, duration_s=length / rate_hz, **arguments)
    assert part.leads == tuple(counts) and part.signal_mv.shape[1] == length
    np.testing.assert_allclose(part.signal_mv, expected_mv[:, first : first + length], atol=2e-6)
