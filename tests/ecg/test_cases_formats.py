"""Files as devices and converters write them, each read with its right values or refused with the true reason."""

import io
from pathlib import Path

import edfio
import numpy as np
import pytest

import written_ecgs as write
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError

COUNTS = write.ecg_counts()
"""500 samples of 5 uV a count at 500 Hz, in all twelve leads."""
MV = {lead: signal * 0.005 for lead, signal in COUNTS.items()}


def saved(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_read(path: Path, leads: tuple[str, ...] = LEADS, atol: float = 1e-6, **arguments):
    """The file holds exactly these leads of the signal, at 500 Hz."""
    recording = read_ecg(path, **arguments)
    assert recording.leads == leads and recording.sampling_rate_hz == 500
    for lead in leads:
        np.testing.assert_allclose(recording.lead(lead), MV[lead], atol=atol)
    return recording


def refusal(path: Path, **arguments) -> str:
    with pytest.raises(ECGError) as caught:
        read_ecg(path, **arguments)
    return str(caught.value)


# ---- EDF and BDF


def test_edf_with_decimal_commas(tmp_path):
    content = write.edf(COUNTS)
    at = 256 + 12 * 104  # the field of the physical minimum, then the maximum, 8 bytes a lead
    low, high = content[at : at + 8].strip(), content[at + 96 : at + 104].strip()
    assert float(low) == -163840 and float(high) == 163835
    with_commas = content[:at] + b"-163,840" * 12 + b"163,835 " * 12 + content[at + 192 :]
    with_commas = with_commas.replace(b"uV      ", b"mV      ")
    assert_read(saved(tmp_path, "x.edf", with_commas))


@pytest.mark.parametrize("name", ["x.bdf", "x.edf"])
def test_bdf_holds_24_bits(tmp_path, name):
    """0.02 uV a count, so that the values need all of three bytes."""
    exact = {lead: signal.astype(np.int32) * 250 for lead, signal in COUNTS.items()}
    unit = {"physical_dimension": "uV", "physical_range": (-160_000, 160_000), "digital_range": (-8_000_000, 8_000_000)}
    signals = [edfio.BdfSignal.from_digital(signal, 500, label=lead, **unit) for lead, signal in exact.items()]
    content = io.BytesIO()
    edfio.Bdf(signals, data_record_duration=0.5).write(content)
    path = saved(tmp_path, name, content.getvalue())
    assert_read(path)
    path.write_bytes(content.getvalue()[:-3])
    assert "its header declares" in refusal(path)
