"""A checkpoint, a run, a probe and a store as they are written, and the same after damage to one of their files."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import written_ecgs as write
from lamae_toolkit.checksums import CHECKSUM_FILE
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Store
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain

TINY = LAMAEConfig(width=16, heads=2, pooling_heads=2, decoder_width=8, encoder_depth=1, max_patches=10)
STEPS = TrainConfig(steps=4, batch_size=4, warmup_steps=1, log_every=1, save_every=2)
RUN, STORE = "run", "store"


class Kind(NamedTuple):
    """A file that may be damaged: its path in the folder, and what opens it there."""

    file: str
    open: Callable[[Path], object]
    checked: bool = True
    """Whether its checksum is compared at opening."""


def resumed(folder: Path) -> LAMAE:
    """The run resumes with two more steps."""
    store = Store.open(folder / STORE)
    rows = np.arange(len(store))
    return pretrain(random_encoder(TINY), store, rows, folder / RUN, STEPS, progress=False)


def opened_store(folder: Path) -> object:
    store = Store.open(folder / STORE)
    return store.index, store.batch([0, 1]), store.recording(0)


def loaded_model(folder: Path) -> LAMAE:
    return LAMAE.from_pretrained(folder / RUN / CHECKPOINT)


def loaded_probe(folder: Path) -> Probe:
    return Probe.load(folder / RUN / CHECKPOINT)


KINDS = {
    "configuration": Kind(f"{RUN}/{CHECKPOINT}/config.json", loaded_model),
    "weights": Kind(f"{RUN}/{CHECKPOINT}/model.safetensors", loaded_model),
    "golden outputs": Kind(f"{RUN}/{CHECKPOINT}/golden.json", loaded_model),
    "training state": Kind(f"{RUN}/{CHECKPOINT}/training.pt", resumed),
    "checksums": Kind(f"{RUN}/{CHECKPOINT}/{CHECKSUM_FILE}", resumed),
    "probe": Kind(f"{RUN}/{CHECKPOINT}/probe.json", loaded_probe),
    "store.json": Kind(f"{STORE}/store.json", opened_store),
    "index": Kind(f"{STORE}/index.parquet", opened_store),
    "signals": Kind(f"{STORE}/signals.int16", opened_store, checked=False),
}


def make(folder: Path) -> Path:
    """Write a store, a run that was stopped in the middle, and a probe."""
    store = simulate_store(folder / STORE, 8, workers=1, progress=False)
    rows = np.arange(len(store))
    pretrain(random_encoder(TINY), store, rows, folder / RUN, STEPS, progress=False, stop_after=2)
    probe = Probe(("I44.7", "I21.09"), "heart", np.zeros(16), np.ones(16), np.ones((2, 16)) / 7, np.zeros(2), 1.0)
    probe.save(folder / RUN / CHECKPOINT)
    return folder


def fresh(made: Path, folder: Path, *, checksums: bool = True) -> Path:
    """A copy of what `make` wrote; without checksums as an earlier version wrote it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    if not checksums:
        for path in folder.rglob(CHECKSUM_FILE):
            path.unlink()
        probe = folder / KINDS["probe"].file
        values = json.loads(probe.read_text())
        del values["sha256"]
        probe.write_text(json.dumps(values))
    return folder


HOSTILE: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**70, 10**400, 1e308, float("nan"), float("inf"), "", "x" * 100_000, "\x1b[31m",
    [], {}, [[]], ["I", "I"], {"a": None}, [1e999] * 16, [0.0] * 16, list(range(100_000)),
)  # fmt: skip


def _replaced(values: Any, rng: np.random.Generator) -> Any:
    """JSON values of which one, at any depth, is replaced by a hostile one, removed or doubled."""
    values = copy.deepcopy(values)
    inside: Any = {"": values}
    key: Any = ""
    while isinstance(inside[key], (dict, list)) and len(inside[key]) and rng.random() < 0.8:
        inside = inside[key]
        key = list(inside)[rng.integers(len(inside))] if isinstance(inside, dict) else int(rng.integers(len(inside)))
    what = rng.integers(10)
    if what == 0 and inside is not values:
        del inside[key]
    elif what == 1 and isinstance(inside, list):
        inside.append(inside[key])
    else:
        inside[key] = HOSTILE[rng.integers(len(HOSTILE))]
    return values


def damaged(kind: str, content: bytes, seed: int, number: int) -> bytes:
    """The content of a file after damage number `number`: values of JSON are replaced, or bytes of any file edited."""
    rng = np.random.default_rng([seed, number])
    if content[:1] == b"{" and rng.random() < 0.7:
        if rng.random() < 0.1:
            return b'{"a":' * 200_000 if rng.random() < 0.5 else b"[" * 200_000
        return json.dumps(_replaced(json.loads(content), rng)).encode()
    edits = [(write.EDITS[rng.integers(len(write.EDITS))], *rng.random(2)) for _ in range(rng.geometric(0.6))]
    return write.damaged(content, b"PK\x03\x04" + content[::-1], edits, rng.bytes(rng.integers(64)))
