"""Missing leads reconstructed by LAMAE and its baselines, in mV, and whether P, QRS and T survive.

    python -m lamae_toolkit.experiments.missing_leads.run --ptbxl PTB-XL --ludb LUDB --seed 0 --out missing_leads.json

Three cohorts, all band-passed from 0.5 to 40 Hz and resampled to 100 Hz: simulated patients (regressions fitted on
folds 0 to 13, scored on 16 to 19; other patients than those of the shipped weights), PTB-XL (fitted on folds 1 to 8,
scored on 9 and 10, which are unseen by the shipped weights), and LUDB (fitted on PTB-XL's folds 1 to 8, scored on all
200 records).
"""

import argparse
import shlex
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from lamae_toolkit.data.datasets.ptbxl import SPLIT, filtered
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import resample
from lamae_toolkit.evaluation.evaluate import Split
from lamae_toolkit.evaluation.metrics import patient_bootstrap
from lamae_toolkit.experiments.missing_leads.ludb import RECORDS, Mark, read_ludb, read_marks
from lamae_toolkit.experiments.missing_leads.methods import (
    SCENARIOS,
    Amplitudes,
    Task,
    apply,
    lead_scores,
    linear_regression,
    reconstructed_by_model,
    score_table,
    through_dipole,
)
from lamae_toolkit.experiments.missing_leads.waves import record_scores, wave_table
from lamae_toolkit.experiments.ptbxl_store import RATE_HZ, ptbxl_store
from lamae_toolkit.files import write_json
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.parallel import machine


@dataclass(frozen=True)
class Cohort:
    """ECGs with all twelve leads: those to fit on, those to score on, and the patients of both."""

    name: str
    train_mv: np.ndarray
    test_mv: np.ndarray
    train_patients: np.ndarray
    test_patients: np.ndarray
    marks: tuple[tuple[Mark, ...], ...] = ()

    def __post_init__(self) -> None:
        if set(self.train_patients) & set(self.test_patients):
            raise SystemExit(f"A patient of {self.name} is in training and test.")

    def about(self) -> dict:
        return {
            "train_ecgs": len(self.train_mv),
            "train_patients": len(np.unique(self.train_patients)),
            "test_ecgs": len(self.test_mv),
            "test_patients": len(np.unique(self.test_patients)),
        }


def simulated_cohort(folder: Path, ecgs: int, seed: int) -> Cohort:
    # The shipped weights were trained on patients of seed 0.
    store, split = simulate_store(folder / "simulated", ecgs, seed=1000 + seed, progress=False), Split()
    parts: dict[str, Any] = {}
    for part, folds in (("train", split.train), ("test", split.test)):
        complete = [row for row in store.rows(folds) if len(store.recording(row).leads) == len(LEADS)]
        parts[f"{part}_mv"] = np.stack([filtered(store.recording(row)).signal_mv for row in complete])
        parts[f"{part}_patients"] = store.index.patient_id.to_numpy()[complete]
    return Cohort("simulated", **parts)


def ptbxl_cohort(folder: Path, root: Path) -> Cohort:
    store = ptbxl_store(folder / "ptbxl", root, progress=False)
    parts: dict[str, Any] = {}
    for part, folds in (("train", SPLIT["train"]), ("test", [*SPLIT["validation"], *SPLIT["test"]])):
        rows = store.rows(folds)
        batch = store.batch(rows)
        complete = batch.lead_mask.all(dim=1).numpy()
        parts[f"{part}_mv"] = batch.signal_mv.numpy()[complete]
        parts[f"{part}_patients"] = store.index.patient_id.to_numpy()[rows[complete]]
    return Cohort("PTB-XL", **parts)


def ludb_cohort(root: Path, ptbxl: Cohort) -> Cohort:
    recordings = [resample(filtered(read_ludb(root, number)).select(LEADS), RATE_HZ) for number in RECORDS]
    return replace(
        ptbxl,
        name="LUDB",
        test_mv=np.stack([recording.signal_mv for recording in recordings]),
        test_patients=-np.arange(1, len(recordings) + 1),  # one record each, of nobody in PTB-XL
        marks=tuple(read_marks(root, number) for number in RECORDS),
    )


def reconstruct(cohort: Cohort, task: Task, models: dict[str, LAMAE]) -> dict[str, np.ndarray]:
    """The missing leads of the test ECGs by each method."""
    amplitudes = Amplitudes.fit(cohort.train_mv, LEADS, task)
    linear = linear_regression(cohort.train_mv, LEADS, task)
    reconstructed = {
        "LAMAE": reconstructed_by_model(models["LAMAE"], amplitudes, cohort.test_mv, LEADS),
        "linear regression": apply(linear, cohort.test_mv, LEADS, task),
        "dipole (Dower)": apply(through_dipole(task), cohort.test_mv, LEADS, task),
        "independent leads": reconstructed_by_model(models["independent leads"], amplitudes, cohort.test_mv, LEADS),
    }
    return reconstructed | {"flat line": np.zeros_like(reconstructed["LAMAE"])}


def score(cohort: Cohort, scenario: str, models: dict[str, LAMAE], seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of leads and, where waves are marked, of waves."""
    weights = patient_bootstrap(cohort.test_patients, 1000, seed)
    by_task: dict[str, list] = {}
    waves: dict[str, list] = {}
    for task in SCENARIOS[scenario]:
        true = cohort.test_mv[:, [LEADS.index(name) for name in task.missing]].astype(np.float64)
        for method, reconstructed in reconstruct(cohort, task, models).items():
            by_task.setdefault(method, []).append(lead_scores(reconstructed, true))
            for ecg, marks in enumerate(cohort.marks):
                found = record_scores(marks, reconstructed[ecg], true[ecg], task.missing, RATE_HZ)
                waves.setdefault(method, []).append(found.assign(ecg=ecg))
    scores = {
        method: {measure: np.concatenate([part[measure] for part in parts], axis=1) for measure in parts[0]}
        for method, parts in by_task.items()
    }
    missing = [name for task in SCENARIOS[scenario] for name in task.missing]
    leads = score_table(scores, missing, weights)
    if not waves:
        return leads, pd.DataFrame()
    return leads, wave_table({method: pd.concat(parts) for method, parts in waves.items()}, weights)


def as_rows(tables: list[pd.DataFrame]) -> list[dict]:
    """Rows as plain values to four digits, differences of LAMAE only, without undefined values."""
    rows = pd.concat(tables).to_dict(orient="records")
    return [
        {
            name: float(f"{value:.4g}") if isinstance(value, float) else value
            for name, value in row.items()
            if not (isinstance(value, float) and np.isnan(value))
            and not (name.startswith("difference") and row["method"] != "LAMAE")
        }
        for row in rows
    ]


def printed(rows: pd.DataFrame, value: str, digits: int = 3) -> pd.Series:
    """A column with its interval."""
    return pd.Series(
        [
            ""
            if np.isnan(row[value])
            else f"{row[value]:.{digits}f} ({row[f'{value}_low']:.{digits}f} to {row[f'{value}_high']:.{digits}f})"
            for _, row in rows.iterrows()
        ],
        index=rows.index,
        name=value,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptbxl", type=Path, required=True, help="folder of PTB-XL with ptbxl_database.csv")
    parser.add_argument("--ludb", type=Path, required=True, help="folder of LUDB with data/")
    parser.add_argument("--simulated-ecgs", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the tables")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    models = {
        "LAMAE": LAMAE.from_pretrained("lamae-mini-ptbxl"),
        "independent leads": IndependentMAE.from_pretrained("lamae-mini-ptbxl-independent"),
    }
    with tempfile.TemporaryDirectory() as folder:
        ptbxl = ptbxl_cohort(Path(folder), args.ptbxl)
        cohorts = (simulated_cohort(Path(folder), args.simulated_ecgs, args.seed), ptbxl, ludb_cohort(args.ludb, ptbxl))
    lead_tables: list[pd.DataFrame] = []
    wave_tables: list[pd.DataFrame] = []
    for cohort, scenario in tqdm([(cohort, scenario) for cohort in cohorts for scenario in SCENARIOS]):
        leads, waves = score(cohort, scenario, models, args.seed)
        for found, tables in ((leads, lead_tables), (waves, wave_tables)):
            if len(found):
                found.insert(0, "scenario", scenario)
                found.insert(0, "cohort", cohort.name)
                tables.append(found)
    pd.set_option("display.width", 250, "display.max_rows", 1000, "display.max_columns", 20)
    for title, tables, values in (
        (
            "Leads, mean over the missing leads",
            [table[table.lead == "all"] for table in lead_tables],
            ("rmse_mv", "relative_rmse", "correlation", "difference_rmse_mv"),
        ),
        (
            "RMSE of each lead",
            [table[table.lead != "all"] for table in lead_tables],
            ("rmse_mv", "correlation", "difference_rmse_mv"),
        ),
        (
            "Waves of LUDB",
            wave_tables,
            ("survives", "correlation", "amplitude_ratio", "polarity_right", "difference_survives"),
        ),
    ):
        rows = pd.concat(tables, ignore_index=True)
        names = [name for name in ("cohort", "scenario", "lead", "wave", "method") if name in rows]
        print(f"\n{title}\n")
        print(pd.concat([rows[names], *(printed(rows, value) for value in values)], axis=1).to_string(index=False))
    if args.out is not None:
        command = shlex.join(
            [
                "python",
                "-m",
                "lamae_toolkit.experiments.missing_leads.run",
                "--ptbxl",
                "PTB-XL",
                "--ludb",
                "LUDB",
                "--simulated-ecgs",
                str(args.simulated_ecgs),
                "--seed",
                str(args.seed),
            ]
        )
        write_json(
            args.out,
            {
                "command": command,
                "seed": args.seed,
                "date": date.today().isoformat(),
                "machine": machine(),
                "cohorts": {cohort.name: cohort.about() for cohort in cohorts},
                "leads": as_rows(lead_tables),
                "waves": as_rows(wave_tables),
            },
        )
        print(f"wrote {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
