"""ECGs that are processed together get the values, flags and refusals that each gets by itself."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lamae_toolkit.data.convert import FILTER_S, stored_ecgs
from lamae_toolkit.data.datasets.mimic_like import ECG, write_mimic_like
from lamae_toolkit.data.datasets.ptbxl import filtered
from lamae_toolkit.data.format import ABSENT
from lamae_toolkit.ecg.io.formats.wfdb_plain import read_alike
from lamae_toolkit.ecg.io.read import read_start
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import crop, resample
from lamae_toolkit.ecg.recording import Recording

pytestmark = pytest.mark.filterwarnings("ignore::lamae_toolkit.errors.LeadWarning")


def read_alone(path: Path, duration_s: float) -> Recording:
    return read_start(path, duration_s)


def compare(root: Path, files: list[str], duration_s: float = 10.0) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Process the files together and one by one; returns what was processed together."""
    stored, results = stored_ecgs(root, files, read_start, None, 100.0, duration_s)
    alone = [stored_ecgs(root, [name], read_alone, None, 100.0, duration_s) for name in files]
    assert results == [result for _, (result,) in alone]
    kept = [not result["reason"] for result in results]
    difference = np.abs(stored[kept].astype(int) - np.concatenate([signals for signals, _ in alone])[kept])
    # Sums in another order differ by 1e-7 of the signal, which rarely turns a rounding.
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3
    assert np.array_equal(stored[kept] == ABSENT, np.concatenate([signals for signals, _ in alone])[kept] == ABSENT)
    return stored, results


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return write_mimic_like(tmp_path_factory.mktemp("tree") / "tree", 60, progress=False) / ECG


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.hea"))


def test_simulated_ecgs_processed_together_equal_each_by_itself(tree):
    _, results = compare(tree, names(tree))
    assert not any(result["reason"] for result in results)
    assert any(result["flag_nan"] for result in results) and any(result["flag_flat"] for result in results)
    together = sum(len(rows) for rows, *_ in read_alike([tree / name for name in names(tree)]))
    assert together > 0.8 * len(results)


@pytest.mark.parametrize("folder", ["records500", "records100"])
def test_real_ecgs_processed_together_equal_each_by_itself(real_data, folder):
    root = real_data / "ptb-xl"
    files = [name for name in names(root) if name.startswith(folder)][:100]
    compare(root, files)
    compare(root, files[:20], duration_s=4.3)


def edited(header: Path, old: str, new: str, times: int = -1) -> None:
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, times))


EDITS = {
    "gain": ("200.0(0)/mV", "100.0(0)/mV", 1),
    "baseline": ("200.0(0)/mV", "200.0(7)/mV"),
    "unit": ("200.0(0)/mV", "0.2(0)/uV"),
    "implausible": ("200.0(0)/mV", "0.01(0)/mV"),
    "counts called mV": ("200.0(0)/mV", "2.0(0)/mV"),
    "gain too large": ("200.0(0)/mV", "200000.0(0)/mV"),
    "another name": (" aVF\n", " aVF?\n"),
    "unknown unit": ("200.0(0)/mV", "200.0(0)/mmHg", 1),
    "no gain": (" 200.0(0)/mV", " 0", 1),
    "inverted": ("200.0(0)/mV", "-200.0(0)/mV", 1),
    "rate": (" 12 500 5000", " 12 360 5000"),
    "same rate": (" 12 500 5000", " 12 100 5000"),
    "lead twice": (" aVF", " aVL"),
    "not a number": (" 0 ", " zero ", 1),
}
"""Damage that one edit of the header makes: what stood there, what stands there then, and how often if not always."""


def damage(header: Path, how: str) -> None:
    """Make a record unusual or damaged."""
    signal = header.with_suffix(".dat")
    samples = np.fromfile(signal, dtype="<i2").reshape(-1, 12).copy()
    if how in EDITS:
        edited(header, *EDITS[how])
    elif how == "short":
        edited(header, " 5000", " 4000", 1)
        samples[:4000].tofile(signal)
    elif how == "cut off":
        signal.write_bytes(signal.read_bytes()[:-2])
    elif how == "too long":
        signal.write_bytes(signal.read_bytes() + b"12")
    elif how == "no signal file":
        signal.unlink()
    elif how == "no header":
        header.unlink()
    elif how == "other channels":
        edited(header, " V6", " Resp")
        edited(header, " V5", " MCL1")
    elif how == "offset":  # beyond what a store can hold
        (samples // 4 + 7000).astype("<i2").tofile(signal)
    elif how == "gap":
        samples[100:300, 4] = -32768
        samples.tofile(signal)
    elif how == "one sample":
        samples[100, 4] += 1
        samples.tofile(signal)
    elif how == "scaled":
        edited(header, "200.0(0)/mV 16 0", "400.0(0)/mV 16 0", 1)
    elif how == "flat":
        samples[:, 4] = 17
        samples.tofile(signal)
    elif how == "all flat":
        (samples * 0).tofile(signal)
    elif how == "empty":
        header.write_text("")


DAMAGED = {
    **dict.fromkeys(("gain", "baseline", "unit", "inverted", "rate", "same rate", "other channels"), ""),
    **dict.fromkeys(("offset", "gap", "flat", "not a number"), ""),
    **dict.fromkeys(("counts called mV", "gain too large", "another name", "one sample", "scaled"), ""),
    **{"implausible": "impossible amplitude", "short": "too short", "cut off": "signal file cut off"},
    **{"too long": "header and signal disagree", "no signal file": "signal file missing", "no header": "file missing"},
    **{"all flat": "no usable lead"},
    **dict.fromkeys(("unknown unit", "no gain", "lead twice", "empty"), "unreadable"),
}


def test_unusual_and_damaged_records_get_the_values_and_refusals_of_each_by_itself(tree, tmp_path):
    root = tmp_path / "tree"
    shutil.copytree(tree, root)
    files = names(root)
    for name, how in zip(files, DAMAGED, strict=False):
        damage(root / name, how)
    stored, results = compare(root, files)
    assert [result["reason"] for result in results] == [*DAMAGED.values(), *[""] * (len(files) - len(DAMAGED))]
    of = dict(zip(DAMAGED, range(len(files)), strict=False))
    assert results[of["gap"]]["flag_nan"] == "aVF" and results[of["flat"]]["flag_flat"] == "aVF"
    warned = {how: [line.partition(":")[0] for line in results[of[how]]["warnings"].splitlines()] for how in of}
    for how, kind in (
        ("counts called mV", "impossible amplitude"),
        ("gain too large", "impossible amplitude"),
        ("another name", "lead not read"),
        ("one sample", "checksum"),
        ("scaled", "Einthoven's relations broken"),
        ("gain", "Einthoven's relations broken"),
        ("flat", "lead left out"),
        ("gap", "gap filled"),
    ):
        assert kind in warned[how], how
    assert not any(
        result["warnings"] for result in results[len(DAMAGED) :] if not result["flag_nan"] + result["flag_flat"]
    )
    absent = [lead for lead, signal in zip(LEADS, stored[of["other channels"]], strict=True) if signal[0] == ABSENT]
    assert absent == ["V5", "V6"]


def test_only_what_a_store_keeps_is_read_of_long_records(tmp_path):
    """An hour of twelve leads takes 173 MB as floating-point numbers; its first ten seconds take half a megabyte."""
    random, n_samples = np.random.default_rng(1), 3600 * 500
    counts = np.cumsum(random.integers(-3, 4, (n_samples, 2)), axis=0)
    counts = (counts - np.linspace(0, 1, n_samples)[:, None] * counts[-1]).clip(-3000, 3000).astype("<i2")
    for name, n in (("long", n_samples), ("short", 5000)):
        counts[:n].tofile(tmp_path / f"{name}.dat")
        lines = [f"{name}.dat 16 1000/mV 16 0 {counts[0, i]} 0 0 {lead}" for i, lead in enumerate(("I", "V2"))]
        (tmp_path / f"{name}.hea").write_text("\n".join([f"{name} 2 500 {n}", *lines, ""]))
    tracemalloc.start()
    stored, results = stored_ecgs(tmp_path, ["long.hea", "short.hea"], read_start, None, 100.0, 10.0)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert not any(result["reason"] for result in results)
    assert np.abs(stored[0].astype(int) - stored[1]).max() <= 1
    asked = []

    def read(path: Path, duration_s: float) -> Recording:
        asked.append(duration_s)
        return read_start(path, duration_s)

    filtered_start, _ = stored_ecgs(tmp_path, ["long.hea"], read, filtered, 100.0, 10.0)
    complete = filtered(read_start(tmp_path / "long.hea", 3600.0))
    expected = resample(crop(complete, 0, 10), 100).lead("V2")
    assert asked == [10.0 + FILTER_S]
    row = LEADS.index("V2")
    assert np.abs(filtered_start[0, row] / 1000 - expected)[:-20].max() < 0.002


def test_headers_of_one_layout_are_parsed_once(tree):
    from lamae_toolkit.ecg.io.formats import wfdb_plain

    wfdb_plain._layout.cache_clear()
    list(read_alike([tree / name for name in names(tree)]))
    assert wfdb_plain._layout.cache_info().misses == 1
