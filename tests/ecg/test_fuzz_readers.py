"""Any file gives an ECG or one clear sentence from `read_ecg`; `benchmarks/fuzz_readers.py` tries far more."""

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import written_ecgs as write
from lamae_toolkit.ecg.io.listing import find_ecgs
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.errors import ECGError, LeadWarning

FILES = write.small_files()
FRACTION = st.floats(0, 1)
EDITS = st.lists(st.tuples(st.sampled_from(write.EDITS), FRACTION, FRACTION), min_size=1, max_size=4)


def outcome(path, **arguments) -> str:
    """ "" for an ECG, otherwise the sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeadWarning)
        try:
            read_ecg(path, **arguments)
        except ECGError as error:
            assert str(error).startswith(f"{path.name}: ") and "\n" not in str(error), str(error)
            return str(error)
    return ""


@pytest.mark.parametrize("kind", FILES)
def test_undamaged_file_is_read(tmp_path, kind):
    assert outcome(write.write_into(tmp_path, kind, FILES[kind]), **write.ARGUMENTS.get(kind, {})) == ""


@pytest.mark.parametrize("kind", FILES)
def test_damaged_file_gives_recording_or_ecgerror(tmp_path, kind):
    @settings(max_examples=200, deadline=5000, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(EDITS, st.sampled_from(sorted(FILES)), st.binary(max_size=64))
    def check(edits, other, noise):
        content = write.damaged_file(kind, FILES, other, edits, noise)
        outcome(write.write_into(tmp_path, kind, content), **write.ARGUMENTS.get(kind, {}))

    check()


@settings(max_examples=300, deadline=5000, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(st.binary(max_size=2000), st.sampled_from(["x", "x.csv", "x.npy", "x.hea", "x.dat", "x.xml"]))
def test_random_bytes_give_recording_or_ecgerror(tmp_path_factory, content, name):
    folder = tmp_path_factory.mktemp("bytes", numbered=True)
    (folder / name).write_bytes(content)
    outcome(folder / name)
    try:
        assert find_ecgs(folder) == [folder / name]
    except ECGError:
        assert name != "x.hea"
