"""How fast the model trains and embeds on this machine, in ECGs/s and in GFLOP/s.

    python benchmarks/model_speed.py [--threads 2] [--batch 16] [--seconds 8] [--device cpu]

Floating-point operations are counted by PyTorch's own counter over the matrix products of one step
(attention by its explicit path), a multiply-add as two. Beside the model, in the same run and in turn
with it, the ceiling: one matrix product of 1024 x 1024, so that the model's rate can be read as a share
of what the machine gives. Median and range over rounds.
"""

import argparse
import platform
import statistics
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.training.trainer import TrainConfig, optimizer

SIZES = {
    "demo": LAMAEConfig(),
    "20 GFLOP, wide": LAMAEConfig(width=192, encoder_depth=2, latent_depth=1),
    "20 GFLOP, deep": LAMAEConfig(
        width=128, heads=4, pooling_heads=4, encoder_depth=3, latent_depth=2, decoder_depth=2
    ),
}


def flop(function) -> int:
    """Floating-point operations of one call."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def calls_per_s(function, seconds: float, device: str) -> float:
    """Calls per second over at least `seconds`; a GPU is waited for once in ten calls, so that it is kept busy."""
    calls, start, at_once = 0, time.perf_counter(), 1 if device == "cpu" else 10
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(at_once):
            function()
        if device != "cpu":
            torch.cuda.synchronize()
        calls += at_once
    return calls / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8.0, help="per measurement and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    signal = torch.randn(chosen.batch, 12, 1000, generator=torch.Generator().manual_seed(0))
    batch = Batch(signal, torch.ones(chosen.batch, 12, dtype=torch.bool)).to(chosen.device)
    edge = 1024 if chosen.device == "cpu" else 8192
    left, right = torch.randn(2, edge, edge, device=chosen.device)
    jobs = {f"ceiling: {edge} x {edge} matrix product": (lambda: left @ right, 2 * edge**3)}
    for name, config in SIZES.items():
        model = random_encoder(config).to(chosen.device)
        optim = optimizer(model, TrainConfig())

        def step(model=model, optim=optim):
            loss = model(batch).loss
            optim.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optim.step()

        def embed(model=model):
            with torch.inference_mode():
                model.embed(batch)

        parameters = sum(p.numel() for p in model.parameters())
        jobs[f"{name}, {parameters:,} parameters: training step"] = (step, flop(step))
        jobs[f"{name}: embedding"] = (embed, flop(embed))
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for function, _ in jobs.values():
        function()
    for _ in range(chosen.rounds):
        for name, (function, _) in jobs.items():
            rates[name].append(calls_per_s(function, chosen.seconds, chosen.device))
    device = torch.cuda.get_device_name() if chosen.device != "cpu" else f"{platform.processor() or platform.machine()}"
    print(f"{device}, {chosen.threads} threads, float32, batch {chosen.batch}, torch {torch.__version__}")
    print(f"{'':58} {'GFLOP/call':>10} {'ECGs/s':>8} {'GFLOP/s':>8}  range")
    for name, (_, operations) in jobs.items():
        rate = statistics.median(rates[name])
        giga = [r * operations / 1e9 for r in rates[name]]
        ecgs = "" if name.startswith("ceiling") else f"{rate * chosen.batch:.0f}"
        print(
            f"{name:58} {operations / 1e9:10.2f} {ecgs:>8} {statistics.median(giga):8.0f}"
            f"  {min(giga):.0f} to {max(giga):.0f}"
        )


if __name__ == "__main__":
    main()
