"""Which choices of the model pay? Each is trained for a short time, alike, and scored on patients it has not seen.

    lamae research stores --data-folder DATA --out runs/stores
    python -m lamae_toolkit.experiments.alternatives --stores runs/stores --out runs/alternatives [--only NAME ...]

Pretraining: PTB-XL's folds 1 to 4, nine other sets, LUDB and simulated ECGs, in mV except for PTB-XL's z-scored
records, whose amplitude is marked as unknown. Folds 9 and 10 are not touched.

Scores, each next to those of the default on the same patients. Macro AUROC on the five superclasses of PTB-XL:
    z-scored: probes on folds 1 to 3, C from fold 4, scored on folds 5 to 8, all ECGs z-scored;
    in mV: five rotations by patient over the ECGs of folds 1 to 8 that are in mV, whose signals pretraining has seen in
    part, their labels not.
Missing leads, in mV, on folds 5 to 8: root mean square error of a reconstruction, minus that of a linear regression
fitted on the real ECGs in mV of pretraining.

What is complete is not computed again, and an interrupted training resumes.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.datasets.ptbxl import SUPERCLASSES
from lamae_toolkit.data.labels import labels_of
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.evaluation.linear_probe import features, fit_probe
from lamae_toolkit.evaluation.metrics import auroc, macro_difference, over_patients, patient_bootstrap
from lamae_toolkit.experiments.comparison.plans import KNOWS_AMPLITUDE
from lamae_toolkit.experiments.cross_fit import cross_fitted
from lamae_toolkit.experiments.missing_leads.methods import (
    SCENARIOS,
    Amplitudes,
    apply,
    lead_scores,
    linear_regression,
    reconstructed_by_model,
)
from lamae_toolkit.experiments.pretraining_store import FIRST_SIMULATED, OTHER_FOLD, pretraining_store
from lamae_toolkit.files import atomic_write, write_json
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.parallel import machine
from lamae_toolkit.training.linear_path import fit_linear_path
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.trainer import TrainConfig, pretrain

SEEN, UNSEEN = (1, 2, 3, 4), (5, 6, 7, 8)
"""PTB-XL's folds: pretraining sees the first and is scored on the second."""
REPRESENTATIONS = ("heart", "summary", "leads")
STEPS = TrainConfig(steps=1500, batch_size=16, learning_rate=2e-3, warmup_steps=100, save_every=250)

AMPLITUDE = replace(MINI, normalization="visible", amplitude_input=True)
NAMED = KNOWS_AMPLITUDE
ALTERNATIVES: dict[str, LAMAEConfig] = {
    "default": MINI,
    "amplitude": AMPLITUDE,
    "amplitude, named pooling, linear path": NAMED,
    "... and masks of groups and time": replace(NAMED, masks="lead+group+time"),
    "... and masks of groups": replace(NAMED, masks="lead+group"),
    "... and masks of time": replace(NAMED, masks="lead+time"),
    "twin with amplitude": AMPLITUDE,
}
"""Each of the first three adds to the one before; masks are added to the third. The twin has independent leads. The
linear path is fitted after pretraining and changes nothing but the reconstruction."""


COMMAND = "python -m lamae_toolkit.experiments.alternatives --stores runs/stores --out runs/alternatives"


def embedded(model: LAMAE, batch: Batch) -> Embedding:
    """The features of these ECGs."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(batch), 32):
            parts.append(model.embed(batch.rows(slice(start, start + 32))))
    return Embedding(*(torch.cat(part) for part in zip(*parts, strict=True)))


def z_scored(batch: Batch) -> Batch:
    """Each lead divided by its standard deviation, and the amplitude marked as unknown."""
    std = batch.signal_mv.std(dim=2, keepdim=True)
    unknown = torch.zeros(len(batch), dtype=torch.bool)
    return replace(batch, signal_mv=centered(batch.signal_mv) / (std + 1e-6), amplitude_known=unknown)


def probed(model: LAMAE, stores: Path) -> dict[str, np.ndarray]:
    """The log-odds of the superclasses for each measure and representation, with labels and patients."""
    parts = [Store.open(stores / name) for name in ("ptbxl_mv", "ptbxl_z")]
    rows = [store.rows((*SEEN, *UNSEEN)) for store in parts]
    index = pd.concat([store.index.iloc[some] for store, some in zip(parts, rows, strict=True)], ignore_index=True)
    labels, patients, fold = labels_of(index, "superclasses", SUPERCLASSES), index.patient_id.to_numpy(), index.fold
    in_mv = parts[0].batch(rows[0])
    both = torch.cat([in_mv.signal_mv, parts[1].batch(rows[1]).signal_mv])
    scored = z_scored(Batch(both, torch.ones(len(both), 12, dtype=torch.bool)))
    found: dict[str, np.ndarray] = {}
    train, validation, test = (np.flatnonzero(fold.isin(folds)) for folds in (SEEN[:-1], SEEN[-1:], UNSEEN))
    every, few = embedded(model, scored), embedded(model, in_mv)
    first = len(in_mv)
    of_five = index[:first].assign(fold=np.unique(patients[:first], return_inverse=True)[1] % 5)
    for name in REPRESENTATIONS:
        x = features(every, name)
        probe = fit_probe(x, labels, SUPERCLASSES, train, validation, representation=name)
        found[f"z-scored, {name}"] = probe.logits(x[test])
        x, logits = features(few, name), np.zeros((first, len(SUPERCLASSES)))
        probes = cross_fitted(x, labels[:first], SUPERCLASSES, of_five, representation=name, progress=False)
        for probe, scored_rows in probes:
            logits[scored_rows] = probe.logits(x[scored_rows])
        found[f"in mV, {name}"] = logits
    found |= {"z-scored, labels": labels[test], "z-scored, patients": patients[test]}
    return found | {"in mV, labels": labels[:first], "in mV, patients": patients[:first]}


def real_rows(store: Store) -> np.ndarray:
    """The real ECGs in mV of pretraining."""
    seen = store.index.fold.isin((OTHER_FOLD, *SEEN)) & (store.index.study_id < FIRST_SIMULATED)
    return np.flatnonzero(store.index.amplitude_known & seen)


def missing_leads(model: LAMAE, store: Store, stores: Path) -> dict[str, np.ndarray]:
    """The error in mV of each ECG's missing leads by the model and by a regression, for each scenario."""
    train_mv = centered(store.batch(real_rows(store)).signal_mv).numpy()
    ptbxl = Store.open(stores / "ptbxl_mv")
    test_mv = centered(ptbxl.batch(ptbxl.rows(UNSEEN)).signal_mv).numpy()
    found = {"patients": ptbxl.index.patient_id.to_numpy()[ptbxl.rows(UNSEEN)]}
    for name, tasks in SCENARIOS.items():
        errors: dict[str, list] = {"model": [], "regression": []}
        for task in tasks:
            true_mv = test_mv[:, [LEADS.index(lead) for lead in task.missing]]
            amplitudes, matrix = Amplitudes.fit(train_mv, LEADS, task), linear_regression(train_mv, LEADS, task)
            by_model = reconstructed_by_model(model, amplitudes, test_mv, LEADS)
            errors["model"].append(lead_scores(by_model, true_mv)["rmse_mv"])
            errors["regression"].append(lead_scores(apply(matrix, test_mv, LEADS, task), true_mv)["rmse_mv"])
        found |= {f"{name}, {by}": np.concatenate(parts, axis=1).mean(axis=1) for by, parts in errors.items()}
    return found


def centered(signal_mv: torch.Tensor) -> torch.Tensor:
    return signal_mv - signal_mv.mean(dim=2, keepdim=True)


def run(name: str, store: Store, stores: Path, out: Path, train: TrainConfig) -> dict[str, np.ndarray]:
    """Train one alternative and score it; at once if that is done already."""
    folder = out / name.replace("... ", "").replace(", ", "_").replace(" ", "_")
    if not (folder / "scores.npz").is_file():
        torch.manual_seed(train.seed)
        kind = IndependentMAE if name.startswith("twin") else LAMAE
        model = pretrain(kind(ALTERNATIVES[name]), store, store.rows((OTHER_FOLD, *SEEN)), folder, train)
        if model.linear_path is not None:
            real = store.batch(real_rows(store))
            fit_linear_path(model, [real], [real.rows(slice(None, None, 2))])
        found = probed(model, stores)
        if kind is LAMAE:
            found |= {f"missing, {key}": value for key, value in missing_leads(model, store, stores).items()}
        with atomic_write(folder / "scores.npz") as partial, open(partial, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **found)
    return dict(np.load(folder / "scores.npz", allow_pickle=False))


def table(scores: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """A row per alternative and measure: its value and its difference to the default, with intervals over patients."""
    rows = []
    reference = scores["default"]
    for name, found in scores.items():
        for measure in ("z-scored", "in mV"):
            labels, counts = found[f"{measure}, labels"], patient_bootstrap(found[f"{measure}, patients"])
            for key in REPRESENTATIONS:
                ours, theirs = (auroc(labels, one[f"{measure}, {key}"], counts) for one in (found, reference))
                row = {"alternative": name, "measure": f"{measure}, {key}", **asdict(ours.macro())}
                row |= {f"difference_{part}": value for part, value in asdict(macro_difference(ours, theirs)).items()}
                column = SUPERCLASSES.index("HYP")
                row["hypertrophy"] = float(ours.value[column])
                rows.append(row)
        for scenario in SCENARIOS if f"missing, {next(iter(SCENARIOS))}, model" in found else ():
            counts = patient_bootstrap(found["missing, patients"])
            errors, ruler = found[f"missing, {scenario}, model"], found[f"missing, {scenario}, regression"]
            row = {
                "alternative": name,
                "measure": f"missing leads: {scenario}, mV",
                **asdict(over_patients(errors, counts)),
            }
            above = over_patients(errors - ruler, counts)
            rows.append(row | {f"difference_{part}": value for part, value in asdict(above).items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=Path, required=True, help="folder that `lamae research stores` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="*", default=None, help=f"which ones: {', '.join(ALTERNATIVES)}")
    parser.add_argument("--steps", type=int, default=STEPS.steps)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    store = pretraining_store(args.stores, args.out / "store")
    names = [name for name in ALTERNATIVES if not args.only or name in args.only]
    train = replace(STEPS, steps=args.steps)
    scores = {name: run(name, store, args.stores, args.out, train) for name in sorted({"default", *names})}
    rows = table(scores)
    for row in rows:
        value, difference = (
            "{:.3f} ({:.3f} to {:.3f})".format(*(row[key] for key in keys))
            for keys in (("value", "low", "high"), ("difference_value", "difference_low", "difference_high"))
        )
        print(f"{row['alternative']:45} {row['measure']:50} {value}  {difference}")
    rounded = [{key: float(f"{x:.4g}") if isinstance(x, float) else x for key, x in row.items()} for row in rows]
    about = {"machine": machine(), "steps": train.steps, "batch_size": train.batch_size, "seed": train.seed}
    write_json(args.out / "alternatives.json", {"command": COMMAND} | about | {"rows": rounded})


if __name__ == "__main__":
    main()
