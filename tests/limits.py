"""A limit on the memory that a test takes."""

from contextlib import contextmanager
from pathlib import Path

MAX_MB = 200.0
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def limited(path: Path):
    """Less than 200 MB beyond the size of a file on disk, where the system reports memory; benchmarks limit time."""
    if CLEAR.exists():
        CLEAR.write_text("5")  # the peak is counted from here again
    before_mb = _memory_mb("VmRSS:")
    yield
    assert _memory_mb("VmHWM:") - before_mb < MAX_MB + path.stat().st_blocks * 512 / 1e6


def _memory_mb(name: str) -> float:
    words = STATUS.read_text().split() if CLEAR.exists() else [name, "0"]
    return int(words[words.index(name) + 1]) / 1000
