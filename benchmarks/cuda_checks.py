"""What must hold on a GPU, without pytest: the same batches and results as on a CPU, and no step that waits.

    python benchmarks/cuda_checks.py                # one row of a table per check; exit code 1 if one fails
    python benchmarks/cuda_checks.py --device cpu   # the same code on a CPU

`tests/training/test_loader.py` runs the same checks where there are both a GPU and pytest.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Record, Store, pack
from lamae_toolkit.evaluation.embed import embed_rows, random_encoder
from lamae_toolkit.evaluation.linear_probe import fit_probe
from lamae_toolkit.evaluation.metrics import auroc_and_auprc, patient_bootstrap
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.masking import random_mask
from lamae_toolkit.model.precision import autocast
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.loader import Shuffle, load_batches
from lamae_toolkit.training.run import read_log
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import TrainConfig, pretrain
from measuring import Section, head, row

MODEL = LAMAEConfig(width=32, heads=2, pooling_heads=2, encoder_depth=1, decoder_width=16)
ECGS = 45


def incomplete_store(folder: Path) -> Store:
    """ECGs of which many lack leads."""
    cohort = simulate_store(folder / "cohort", ECGS, seed=1, workers=1, progress=False)
    recordings = [cohort.recording(number) for number in range(ECGS)]
    records = [
        Record(recording.select(recording.leads[number % 12 :]), number, number, 50.0, "F", ())
        for number, recording in enumerate(recordings)
    ]
    return pack(records, folder / "store", source="incomplete")


def batches_are_those_of_the_store(device: torch.device, store: Store, folder: Path) -> None:
    shuffle, steps, processes = Shuffle(np.arange(ECGS), 8, 2), range(2, 30), DistributedContext(0, 1, device)
    for location in ("resident", "streamed"):
        with load_batches(store, shuffle, steps, processes, location, progress=False) as batches:
            fed = list(batches)
        for step, (batch, rows) in zip(steps, fed, strict=True):
            plain = store.batch(shuffle.rows_of(step))
            assert rows.device.type == device.type and rows.tolist() == shuffle.rows_of(step).tolist()
            assert batch.signal_mv.device.type == device.type
            assert torch.equal(batch.signal_mv.cpu(), plain.signal_mv)
            assert torch.equal(batch.lead_mask.cpu(), plain.lead_mask)


def no_step_waits_for_the_gpu(device: torch.device, store: Store, folder: Path) -> None:
    """Between the rows of the log, no operation may wait for the GPU: CUDA raises an error where one does."""
    config = TrainConfig(7, 8, log_every=7, save_every=7, warmup_steps=2, crop_patches=20, scale_jitter=0.2)
    config = replace(config, lead_dropout=0.2, noise_mv=0.02)

    def watch(done: int, row: dict | None) -> bool:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error" if 1 <= done < config.steps - 1 else "default")
        return False

    for location in ("resident", "streamed"):
        for precision in ("float32", "bfloat16") if device.type == "cuda" else ("float32",):
            out, runtime = folder / f"{location} {precision}", RuntimeConfig(2, precision, "no", location)
            rows = np.arange(ECGS)
            options = {"runtime": runtime, "watch": watch, "device": device, "progress": False}
            try:
                pretrain(random_encoder(MODEL), store, rows, out, config, **options)
            finally:
                if device.type == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
            assert np.isfinite(read_log(out)[-1]["loss"])


def results_are_those_of_a_cpu(device: torch.device, store: Store, folder: Path) -> None:
    """Loss, gradients, reconstruction and embedding in float32; the loss in bfloat16, roughly."""
    found = []
    for where in (torch.device("cpu"), device):
        model, batch = random_encoder(MODEL).to(where), store.batch(range(16), where)
        shape = (len(batch), len(batch.leads), MODEL.max_patches)
        mask = random_mask(shape, MODEL.mask_ratio, torch.Generator().manual_seed(0)).to(where)
        loss = model(batch, mask).loss
        loss.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        with torch.inference_mode():
            embedding, reconstruction = model.embed(batch), model.reconstruct(batch, mask)
            with autocast(where, "bfloat16"):
                half = model(batch, mask).loss
        latents = (embedding.heart, embedding.per_lead, embedding.summary)
        found.append([value.detach().cpu() for value in (loss, gradient, reconstruction, *latents, half.float())])
    for expected, value in zip(*(values[:-1] for values in found), strict=True):
        assert (value - expected).norm() <= 1e-4 * expected.norm(), float((value - expected).norm() / expected.norm())
    assert abs(found[1][-1] - found[0][0]) < 0.02 * found[0][0]


def compiled_training_is_that_of_the_plain_model(device: torch.device, store: Store, folder: Path) -> None:
    if device.type != "cuda":
        return  # inductor needs a C++ compiler and a minute there; tests/model/test_compile.py has it
    config = TrainConfig(3, 8, log_every=1, warmup_steps=2)
    losses = []
    for compiled in ("no", "yes"):
        out, runtime = folder / f"compiled {compiled}", RuntimeConfig(compile=compiled)
        pretrain(
            random_encoder(MODEL), store, np.arange(ECGS), out, config, runtime=runtime, device=device, progress=False
        )
        losses.append([row["loss"] for row in read_log(out)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def a_run_resumes_where_it_stopped(device: torch.device, store: Store, folder: Path) -> None:
    config, rows, losses = TrainConfig(8, 8, log_every=1, warmup_steps=2), np.arange(ECGS), []
    for name, stops in (("in one", (None,)), ("in two", (3, None))):
        for stop in stops:
            model = random_encoder(MODEL)
            options = {"runtime": RuntimeConfig(compile="no"), "device": device, "progress": False}
            pretrain(model, store, rows, folder / name, config, stop_after=stop, **options)
        losses.append([row["loss"] for row in read_log(folder / name)])
    assert len(losses[0]) == 8
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def a_probe_and_its_scores_are_those_of_a_cpu(device: torch.device, store: Store, folder: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 40)).astype(np.float32)
    labels = (x[:, :3] + random.normal(size=(600, 3)) > 0.5).astype(np.uint8)
    rows, counts, found = np.arange(600), patient_bootstrap(np.arange(200), 50), []
    for where in ("cpu", device):
        probe = fit_probe(x, labels, ("a", "b", "c"), rows[:300], rows[300:400], Cs=(0.01, 0.1), device=where)
        logits = probe.logits(x[400:])
        scores = auroc_and_auprc(labels[400:], logits, counts, device=where)
        found.append((logits, *(values for metric in scores for values in (metric.value, metric.resamples))))
    for expected, value in zip(*found, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-3)


def embedding_is_that_of_a_cpu(device: torch.device, store: Store, folder: Path) -> None:
    model, rows = random_encoder(MODEL), np.arange(ECGS)
    expected = embed_rows(model, store, rows, progress=False)
    found = embed_rows(model, store, rows, device=device, batch_size=7, progress=False)
    for name, value in found._asdict().items():
        torch.testing.assert_close(value, getattr(expected, name), rtol=1e-3, atol=1e-4)


CHECKS: dict[str, Callable[[torch.device, Store, Path], None]] = {
    function.__name__: function
    for function in (
        batches_are_those_of_the_store,
        no_step_waits_for_the_gpu,
        results_are_those_of_a_cpu,
        embedding_is_that_of_a_cpu,
        a_run_resumes_where_it_stopped,
        a_probe_and_its_scores_are_those_of_a_cpu,
        compiled_training_is_that_of_the_plain_model,
    )
}


def checked(name: str, device: torch.device, store: Store, folder: Path) -> tuple[str]:
    """The row of a check that passes; an error if it does not."""
    start = time.perf_counter()
    CHECKS[name](device, store, folder)
    return (row(name.replace("_", " "), "passed", f"{time.perf_counter() - start:.1f}"),)


def main(arguments: list[str] | None = None) -> int:
    """Print a table of the checks; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no check begins")
    chosen = parser.parse_args(arguments)
    section = Section(chosen.budget)
    print(head("check", "result", "s"), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store = incomplete_store(Path(folder))
        for name in CHECKS:
            print(*section.rows(name, 1, checked, name, torch.device(chosen.device), store, Path(folder) / name))
            sys.stdout.flush()
    return section.failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
