"""What several tests share: the real ECGs beside the repository, where they are."""

import os
from pathlib import Path

import pytest
import torch

# The tests run in as many processes as there are cores, so each of them computes on one.
torch.set_num_threads(1)

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real ECGs (PTB-XL, LUDB); tests that use it skip where it is absent, but never on CI."""
    if not REAL_DATA.is_dir():
        if os.environ.get("CI") and os.environ.get("LAMAE_REAL_DATA") != "absent":
            pytest.fail(f"CI must have the real ECGs at {REAL_DATA}")
        pytest.skip(f"the real ECGs are not at {REAL_DATA}")
    return REAL_DATA
