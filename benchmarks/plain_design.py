"""A training step of LAMAE next to one of the usual design of ECG masked autoencoders, at equal operations per ECG.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/plain_design.py [--threads 2] [--rounds 7]

(The two variables keep numpy on one core, and a thread that waits for another from computing nothing at full speed.)

The usual design is re-stated here in its plainest form (after ST-MEM, arXiv 2402.09450; no code of it is used): one
sequence of the visible patches of all leads, each of which looks at each; a decoder that draws the leads one after the
other in a Python loop; and filters (band-pass and normalization, scipy and numpy) at every access of a record. What is
the same on both sides: blocks and fused attention (`lamae_toolkit.model.layers`), mask ratio, batch, AdamW, clipping,
the ECGs, the store and, nearly, width and operations per ECG, which PyTorch counts.

A step is all of it: batch from the store, forward, backward, clipping, optimizer. All take turns in one process. Beside
seconds on the clock stands processor time, which other work on the machine disturbs less. Where the plain design loses
is seen from the plain design with one of its three ways changed to ours, and with all three changed. It is spared that
most sets of records are of 500 Hz; one row shows what reading and filtering those costs.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.format import ABSENT
from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.ecg.preprocess import bandpass, resample
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.layers import Block, sinusoidal_pos_embed
from lamae_toolkit.model.masking import random_mask, visible_patches
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.loader import Shuffle
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import TrainConfig, optimizer
from measuring import flop, in_turns, machine, median_and_range, training_step


@dataclass(frozen=True)
class PlainConfig:
    """Sizes of the plain design, and its two ways of computing that are not ours."""

    width: int
    heads: int
    encoder_depth: int
    decoder_width: int
    decoder_heads: int
    decoder_depth: int = 1
    leads: int = 12
    patch_samples: int = 25
    patches: int = 40
    mask_ratio: float = 0.75
    leads_look_at_each_other: bool = True
    """In the encoder; else each lead is a sequence of its own."""
    decoder_loops: bool = True
    """Over the leads, in Python; else they are drawn side by side."""


class PlainMAE(nn.Module):
    """A masked autoencoder that reads all leads of an ECG as one long sequence."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        d, dd, p = config.width, config.decoder_width, config.patch_samples
        self.patch_embed, self.lead_name = nn.Linear(p, d), nn.Embedding(config.leads, d)
        self.encoder = nn.ModuleList(Block(d, config.heads) for _ in range(config.encoder_depth))
        self.norm, self.to_decoder = nn.LayerNorm(d), nn.Linear(d, dd)
        self.mask_token, self.decoder_lead_embed = nn.Parameter(torch.zeros(dd)), nn.Embedding(config.leads, dd)
        self.decoder = nn.ModuleList(Block(dd, config.decoder_heads) for _ in range(config.decoder_depth))
        self.decoder_norm, self.decoder_pred = nn.LayerNorm(dd), nn.Linear(dd, p)
        self.register_buffer("encoder_pos_embed", sinusoidal_pos_embed(config.patches, d))
        self.register_buffer("decoder_pos_embed", sinusoidal_pos_embed(config.patches, dd))
        for name in (self.lead_name, self.decoder_lead_embed):
            nn.init.normal_(name.weight, std=0.02)

    def forward(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The loss of normalized ECGs (b, l, t): the mean squared error on the hidden patches."""
        config = self.config
        patches = rearrange(signal, "b l (n p) -> b l n p", p=config.patch_samples)
        b, l, n, _ = patches.shape
        mask = random_mask((b, l, n), config.mask_ratio, generator)
        keep = visible_patches(n, config.mask_ratio)
        position = mask.to(torch.uint8).argsort(dim=-1, stable=True)[:, :, :keep]
        tokens = self.patch_embed(patches) + self.encoder_pos_embed + self.lead_name.weight[:, None]
        tokens = tokens.gather(2, repeat(position, "b l k -> b l k d", d=config.width))
        fold = "b l k d -> b (l k) d" if config.leads_look_at_each_other else "b l k d -> (b l) k d"
        x = rearrange(tokens, fold)
        for block in self.encoder:
            x = block(x)
        own = self.to_decoder(self.norm(x)).reshape(b, l, keep, -1)
        canvas = repeat(self.mask_token, "d -> b l n d", b=b, l=l, n=n)
        canvas = canvas.scatter(2, repeat(position, "b l k -> b l k d", d=config.decoder_width), own)
        canvas = canvas + self.decoder_pos_embed + self.decoder_lead_embed.weight[:, None]
        if config.decoder_loops:
            drawn = torch.stack([self._draw(canvas[:, lead]) for lead in range(l)], dim=1)
        else:
            drawn = self._draw(rearrange(canvas, "b l n d -> (b l) n d")).reshape(b, l, n, -1)
        error = (drawn - patches).square().mean(dim=-1)
        return (error * mask).sum() / mask.sum()

    def _draw(self, x: Tensor) -> Tensor:
        for block in self.decoder:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))


def filtered_at_access(store: Store, rows: np.ndarray) -> Tensor:
    """These ECGs (b, l, t), each filtered, brought to 100 Hz and normalized by numpy and scipy at every access."""
    signals = []
    for row in rows.tolist():
        signal = resample(bandpass(store.recording(row)), 100.0).signal_mv
        signals.append((signal - signal.mean(axis=1, keepdims=True)) / (signal.std(axis=1, keepdims=True) + 1e-6))
    return torch.from_numpy(np.stack(signals))


def packed(store: Store, rows: np.ndarray) -> Tensor:
    """The same ECGs from a store that was filtered once, when it was packed; normalized by torch, all at once."""
    signal = store.batch(rows).signal_mv
    return (signal - signal.mean(dim=2, keepdim=True)) / (signal.std(dim=2, correction=0, keepdim=True) + 1e-6)


def filtered_store(store: Store, folder: Path) -> Store:
    """The same cohort, band-passed once."""
    entries = (Record(bandpass(store.recording(row)), row, row, float("nan"), "", ()) for row in range(len(store)))
    return pack(entries, folder, source="filtered once", sampling_rate_hz=store.sampling_rate_hz)


def plain_step(model: PlainMAE, rows: Callable[[], np.ndarray], read: Callable[[np.ndarray], Tensor]):
    """A function that trains the plain design for one step and returns the loss."""
    optim, generator = optimizer(model, TrainConfig()), torch.Generator().manual_seed(0)

    def step() -> Tensor:
        optim.zero_grad(set_to_none=True)
        loss = model(read(rows()), generator)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        return loss.detach()

    return step


def our_step(model: LAMAE, rows: Callable[[], np.ndarray], read: Callable[[np.ndarray], Batch]):
    """The same for LAMAE, by the toolkit's own step (`lamae_toolkit.training.step.gradients`)."""
    step = training_step(model, DistributedContext(0, 1, torch.device("cpu")), RuntimeConfig())
    return lambda: step(read(rows()))


def in_order(store: Store, batch: int) -> Callable[[], np.ndarray]:
    """A function that gives the rows of one step after the other: shuffled epochs of the ECGs that have all leads."""
    complete, steps = np.flatnonzero((store.signals[:, :, 0] != ABSENT).all(axis=1)), count()
    shuffle = Shuffle(complete, batch, 0)
    return lambda: shuffle.rows_of(next(steps))


# Sizes of LAMAE, and plain ones as wide whose decoder is made wider until the operations per ECG are equal within 1 %.
PAIRS = {
    "demo size": (LAMAEConfig(), PlainConfig(144, 3, 3, 62, 2)),
    "size of the comparison with baselines": (MINI, PlainConfig(96, 2, 3, 44, 2)),
}


@dataclass(frozen=True)
class Cohorts:
    """The same ECGs at 100 Hz, filtered once, and at the 500 Hz of most recorders."""

    raw: Store
    once: Store
    at_500_hz: Store

    @classmethod
    def simulate(cls, folder: Path, ecgs: int) -> "Cohorts":
        """Simulate them into a folder."""
        raw = simulate_store(folder / "raw", ecgs, workers=1, progress=False)
        fast = simulate_store(folder / "500_hz", ecgs, sampling_rate_hz=500.0, workers=1, progress=False)
        return cls(raw, filtered_store(raw, folder / "filtered"), fast)


def jobs_of(ours: LAMAEConfig, plain: PlainConfig, cohorts: Cohorts, batch: int) -> dict[str, Callable]:
    """The steps to compare, the plain design first."""
    torch.manual_seed(0)

    def changed(store: Store = cohorts.raw, read=filtered_at_access, **changes) -> Callable:
        return plain_step(PlainMAE(replace(plain, **changes)), in_order(store, batch), partial(read, store))

    return {
        "plain design": changed(),
        "  attention within each lead": changed(leads_look_at_each_other=False),
        "  leads drawn side by side": changed(decoder_loops=False),
        "  filtered once": changed(cohorts.once, packed),
        "  all three": changed(cohorts.once, packed, leads_look_at_each_other=False, decoder_loops=False),
        "  filtered at 500 Hz": changed(cohorts.at_500_hz),
        "LAMAE": our_step(LAMAE(ours), in_order(cohorts.once, batch), cohorts.once.batch),
    }


def report(jobs: dict[str, Callable], batch: int, rounds: int, seconds: float) -> None:
    """Measure and print one row per step."""
    giga = {name: flop(job) / batch / 1e9 for name, job in jobs.items()}
    taken = in_turns(jobs, rounds, seconds)
    reference = next(iter(taken.values()))
    print(
        f"{'':30} {'GFLOP':>6} {'ECGs/s':>7} {'GFLOP/s':>7} {'ratio (range)':>20}"
        f" | {'CPU ms':>6} {'GFLOP/CPU s':>11} {'ratio (range)':>20}"
    )
    for name, times in taken.items():
        clock, processor = (
            [getattr(first, kind) / getattr(this, kind) for first, this in zip(reference, times, strict=True)]
            for kind in ("clock_s", "processor_s")
        )
        wall_s = statistics.median(time.clock_s for time in times) / batch
        cpu_s = statistics.median(time.processor_s for time in times) / batch
        print(
            f"{name:30} {giga[name]:6.3f} {1 / wall_s:7.1f} {giga[name] / wall_s:7.1f} {median_and_range(clock):>20}"
            f" | {1000 * cpu_s:6.2f} {giga[name] / cpu_s:11.1f} {median_and_range(processor):>20}"
        )


def main(arguments: list[str] | None = None) -> None:
    """Measure both pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="per step and round")
    parser.add_argument("--ecgs", type=int, default=1000, help="simulated ECGs to train on")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    print(
        f"{machine('cpu', chosen.threads)}, float32, batch {chosen.batch}; GFLOP and CPU ms are per ECG; ratio: speed"
        f" over that of the plain design in the same round, {chosen.rounds} rounds"
    )
    with tempfile.TemporaryDirectory() as folder:
        cohorts = Cohorts.simulate(Path(folder), chosen.ecgs)
        for size, (ours, plain) in PAIRS.items():
            print(f"\n{size}")
            report(jobs_of(ours, plain, cohorts, chosen.batch), chosen.batch, chosen.rounds, chosen.seconds)


if __name__ == "__main__":
    main()
