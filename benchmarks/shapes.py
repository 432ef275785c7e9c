"""Deep and narrow or shallow and wide? Models of equal operations per ECG, trained alike, and what they reach.

    lamae simulate --ecgs 3000 --out runs/shapes/store
    OMP_NUM_THREADS=1 python benchmarks/shapes.py --store runs/shapes/store --out runs/shapes [--steps 500] [--seeds 2]

The shapes are those of the presets, made small: eight blocks that read each lead and four that connect the leads, as in
`small` and larger; half as many; and a quarter, as in `mini`. Width makes up for it. The loss is that of the validation
patients after the last step; the macro AUROC is of a linear probe on the unseen patients' heart token and summary. The
time of a step is processor time, in turns. The same command resumes; what is complete is not computed again.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import torch

from lamae_toolkit.data.store import Store
from lamae_toolkit.evaluation.embed import embed_features
from lamae_toolkit.evaluation.evaluate import Split, codes_to_predict, evaluate
from lamae_toolkit.files import write_json
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.presets import MINI, Size
from lamae_toolkit.training.run import read_log
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import TrainConfig, pretrain
from measuring import head, in_turns, machine, median_and_range, row, training_step

SHAPES = {
    "8 + 4 blocks": replace(MINI, width=64, decoder_width=32, decoder_depth=2, encoder_depth=8, latent_depth=4),
    "4 + 2 blocks": replace(MINI, width=92, decoder_width=46, encoder_depth=4, latent_depth=2),
    "2 + 1 blocks": replace(MINI, width=120, decoder_width=60),
}
REPRESENTATIONS = ("heart", "summary")


def trained(store: Store, config: LAMAEConfig, steps: int, seed: int, folder: Path) -> dict:
    """The last validation loss and the macro AUROCs of one training; computed once."""
    if (folder / "scores.json").is_file():
        return json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    split = Split.of(store)
    train = TrainConfig(steps=steps, batch_size=16, learning_rate=2e-3, seed=seed, validate_every=steps, save_every=50)
    torch.manual_seed(seed)
    validation = store.rows(split.validation)
    model = pretrain(LAMAE(config), store, store.rows(split.train), folder, train, validation_rows=validation)
    rows, codes = store.rows(split.folds), codes_to_predict(store, split, 10)
    x = embed_features(model, store, rows, REPRESENTATIONS)
    scores = {"loss": read_log(folder)[-1]["validation_loss"]}
    for name in REPRESENTATIONS:
        found = evaluate(x[name], store.index.iloc[rows], codes, representation=name, n_bootstrap=10)
        scores[name] = found.auroc.macro().value
    write_json(folder / "scores.json", scores)
    return scores


def main() -> None:
    """Train all shapes with one seed, then with the next, and print a table after each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    store, alone = Store.open(chosen.store), DistributedContext(0, 1, torch.device("cpu"))
    batch, scores = store.batch(range(16)), {name: [] for name in SHAPES}
    for seed in range(chosen.seeds):
        for name, config in SHAPES.items():
            folder = chosen.out / name.replace(" ", "") / str(seed)
            scores[name].append(trained(store, config, chosen.steps, seed, folder))
    steps = {name: training_step(LAMAE(config), alone, RuntimeConfig()) for name, config in SHAPES.items()}
    taken = in_turns({name: lambda step=step: step(batch) for name, step in steps.items()}, 5, 1.0)
    print(f"{machine('cpu', 1)}; {chosen.steps} steps of 16 ECGs, seeds 0 to {chosen.seeds - 1}, median and range\n")
    columns = ["shape", "width", "M parameters", "GFLOP per ECG", "step, ms per ECG", "validation loss"]
    print(head(*columns, *(f"macro AUROC, {name}" for name in REPRESENTATIONS)))
    for name, config in SHAPES.items():
        size = Size(config, TrainConfig(), RuntimeConfig())
        ms = [1000 * one.processor_s / len(batch) for one in taken[name]]
        reached = [median_and_range([one[key] for one in scores[name]], 3) for key in ("loss", *REPRESENTATIONS)]
        cost = [f"{size.parameters / 1e6:.2f}", f"{size.gflop_per_ecg:.2f}", f"{statistics.median(ms):.1f}"]
        print(row(name, str(config.width), *cost, *reached))


if __name__ == "__main__":
    main()
