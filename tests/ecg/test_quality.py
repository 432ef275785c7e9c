"""Suspected lead reversals are those that were made, with few others; flags are in the index."""

import numpy as np
import pytest

from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS, quality_columns, suspected_reversal
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
