"""Suspected lead reversals are those that were made, with few others; flags are in the index."""

import numpy as np
import pytest
from scipy.signal import firwin

from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS, flag_columns, quality_columns, quality_flags, suspected_reversal
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.counterfactuals import electrodes_reversed


def exchanged(ecg: Recording, electrodes: str) -> Recording:
    """The twelve leads as they come out when two limb electrodes are exchanged, with a little noise of their own."""
    found = electrodes_reversed(ecg, *electrodes.split("-"))
    noise = np.random.default_rng(0).normal(0, 1e-3, found.signal_mv.shape)  # the two legs differ by a little
    return Recording(found.signal_mv + noise, ecg.sampling_rate_hz, ecg.leads)


@pytest.fixture(scope="module")
def real_ecgs(real_data) -> list[Recording]:
    return [read_ecg(file) for file in sorted((real_data / "ptb-xl" / "records100").rglob("*.hea"))[:200]]


def test_lead_reversal_is_rarely_suspected_in_real_ecgs(real_ecgs):
    assert sum(suspected_reversal(ecg) is not None for ecg in real_ecgs) <= 4


@pytest.mark.parametrize(("electrodes", "share"), [("RA-LA", 0.6), ("RA-LL", 0.75), ("RA-RL", 0.95), ("LA-RL", 0.95)])
def test_lead_reversal_is_detected(real_ecgs, electrodes, share):
    found = [suspected_reversal(exchanged(ecg, electrodes)) for ecg in real_ecgs]
    assert found.count(electrodes) / len(found) > share
    # What is suspected is nearly always the pair that was exchanged.
    assert found.count(electrodes) / sum(swap is not None for swap in found) > 0.9


def test_lead_reversal_needs_its_leads(real_ecgs):
    assert suspected_reversal(exchanged(real_ecgs[0], "RA-LA").select(("I", "II", "V6"))) is None


def test_quality_columns_list_leads_in_order(real_ecgs):
    signal_mv = real_ecgs[0].signal_mv.copy()
    signal_mv[LEADS.index("V2")] = 0.3
    ecg = Recording(signal_mv, 100.0, LEADS, flags=(("V6", "nan"), ("I", "nan")))
    columns = quality_columns(ecg)
    assert tuple(columns) == FLAG_COLUMNS
    assert columns["flag_nan"] == "I,V6" and columns["flag_flat"] == "V2" and columns["flag_clipped"] == "V2"


def by_definition(lead_mv: np.ndarray, rate_hz: float) -> tuple[str, ...]:
    """The flags of a lead as `quality_flags` defines them, with scipy, and without any quick test."""
    window, least, flags = min(round(2 * rate_hz), len(lead_mv)), max(3, round(0.04 * rate_hz)), []
    if np.ptp(np.lib.stride_tricks.sliding_window_view(lead_mv, window), axis=1).min() < 0.01:
        flags.append("flat")
    runs = np.lib.stride_tricks.sliding_window_view(lead_mv, least)
    if any((runs == limit).all(axis=1).any() for limit in (lead_mv.max(), lead_mv.min())):
        flags.append("clipped")
    half, lead_mv = round(0.06 * rate_hz), lead_mv - lead_mv.mean(dtype=np.float64)
    taps = firwin(2 * half + 1, 40.0, fs=rate_hz, pass_zero=False)
    high_mv = np.convolve(np.pad(lead_mv, half, mode="reflect", reflect_type="odd"), taps, mode="valid")
    if 1.4826 * np.median(np.abs(high_mv[:: int(rate_hz // 50)])) > 0.01:
        flags.append("noisy")
    return tuple(flags)


@pytest.mark.parametrize("rate_hz", [100.0, 500.0])
def test_flags_are_those_of_their_definition(real_data, rate_hz):
    """Real ECGs with planted faults, of lengths just below and just above what is flagged."""
    files = sorted((real_data / "ptb-xl" / f"records{rate_hz:.0f}").rglob("*.hea"))[:40]
    random, count = np.random.default_rng(0), dict.fromkeys(("flat", "clipped", "noisy"), 0)
    for file in files:
        ecg = read_ecg(file)
        signal_mv = ecg.signal_mv.copy()
        for lead in range(0, 9):
            start, fault = int(random.integers(0, 7 * rate_hz)), ("flat", "clipped", "noisy")[lead % 3]
            if fault == "flat":
                n = round(2 * rate_hz) + int(random.integers(-1, 2))
                signal_mv[lead, start : start + n] = random.uniform(0, 0.0099, n)
            elif fault == "clipped":
                n = round(0.04 * rate_hz) + int(random.integers(-1, 2))
                signal_mv[lead, start : start + n] = random.choice([1.001, -1.001]) * np.abs(signal_mv[lead]).max()
            else:
                signal_mv[lead] += random.normal(
                    0, random.uniform(0.01, 0.03) * (100 / rate_hz) ** 0.5 * 2, len(signal_mv[lead])
                )
        ecg = Recording(signal_mv, rate_hz, ecg.leads)
        expected = {lead: by_definition(ecg.lead(lead), rate_hz) for lead in ecg.leads}
        assert quality_flags(ecg) == expected
        for flags in expected.values():
            for flag in flags:
                count[flag] += 1
    assert all(0.2 * 3 * len(files) < found < 0.9 * 12 * len(files) for found in count.values()), count


def test_flags_of_several_ecgs_are_those_of_each(real_ecgs):
    """Of 100 real ECGs, some of them with reversed electrodes, and what a reader found."""
    ecgs = [exchanged(ecg, "RA-LA") if row % 3 == 0 else ecg for row, ecg in enumerate(real_ecgs[:100])]
    together = np.stack([ecg.signal_mv.T for ecg in ecgs], axis=1)
    of_reader = [(("V2", "nan"), ("I", "nan")) if row % 7 == 0 else () for row in range(len(ecgs))]
    alone = [
        quality_columns(Recording(ecg.signal_mv, 100.0, LEADS, flags=flags))
        for ecg, flags in zip(ecgs, of_reader, strict=True)
    ]
    assert flag_columns(together, 100.0, LEADS, of_reader) == alone
    assert sum(columns["flag_swap"] == "RA-LA" for columns in alone) > 15 and alone[0]["flag_nan"] == "I,V2"
