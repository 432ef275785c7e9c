"""What `lamae embed` and `lamae lead-terms` do: a table of many ECGs, from a store, a folder of files, or one file."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from lamae_toolkit.cli.commands import load_model
from lamae_toolkit.cli.options import reading
from lamae_toolkit.cli.terminal import say
from lamae_toolkit.data.batch import Batch, collate
from lamae_toolkit.data.datasets.folder import read_own
from lamae_toolkit.data.format import META
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.io.listing import find_ecgs
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.terms import check_additive, store_lead_terms, terms_table
from lamae_toolkit.files import atomic_write
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding


def embed_command(arguments: argparse.Namespace) -> None:
    write = _table_writer(arguments.out)
    model = load_model(arguments.checkpoint)
    if (arguments.source / META).is_file():
        store = Store.open(arguments.source)
        embedding = embed_rows(model, store, np.arange(len(store)), device=arguments.device)
        table = store.index[["patient_id", "study_id"]].reset_index(drop=True)
    else:
        model.to(arguments.device)
        files, parts = [], []
        for file, batch in _ecgs_of_files(arguments, model, "embedding"):
            with torch.inference_mode():
                parts.append([part.cpu() for part in model.embed(batch)])
            files.append(file)
        embedding = Embedding(*(torch.cat(part) for part in zip(*parts, strict=True)))
        table = pd.DataFrame({"file": files})
    heart, weights = embedding.heart.numpy(), embedding.lead_weights.mean(dim=1).numpy()
    if arguments.out.suffix.lower() == ".csv":  # a column for each number; Parquet has columns of lists
        names = [f"heart_{number}" for number in range(1, heart.shape[1] + 1)] + [f"weight_{lead}" for lead in LEADS]
        table = pd.concat([table, pd.DataFrame(np.hstack([heart, weights]), columns=names)], axis=1)
    else:
        table = table.assign(heart=heart.tolist(), lead_weights=weights.tolist())
    write(table)
    say(f"{len(table)} ECGs, {embedding.heart.shape[1]} numbers each and 12 pooling weights, in {arguments.out}.")


def lead_terms_command(arguments: argparse.Namespace) -> None:
    write = _table_writer(arguments.out)
    model, probe = load_model(arguments.checkpoint).to(arguments.device), Probe.load(arguments.checkpoint)
    check_additive(probe)
    if (arguments.source / META).is_file():
        table = store_lead_terms(model, probe, Store.open(arguments.source))
    else:
        ecgs = _ecgs_of_files(arguments, model, "lead terms")
        tables = [terms_table(model, probe, batch, pd.DataFrame({"file": [file]})) for file, batch in ecgs]
        table = pd.concat(tables, ignore_index=True)
    write(table)
    codes = len(probe.codes)
    say(f"{len(table) // codes} ECGs x {codes} codes: 12 lead terms and the bias, in log-odds, in {arguments.out}.")


def _table_writer(out: Path) -> Callable[[pd.DataFrame], None]:
    """How a table is written to this file, complete or not at all; ECGError if its suffix names no format."""
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise ECGError(f"{out.name} does not end in .parquet or .csv; give it one of these suffixes.")

    def write(table: pd.DataFrame) -> None:
        with atomic_write(out) as partial:
            if out.suffix.lower() == ".csv":
                table.to_csv(partial, index=False)
            else:
                table.to_parquet(partial)

    return write


def _ecgs_of_files(arguments: argparse.Namespace, model: LAMAE, what: str) -> Iterator[tuple[str, Batch]]:
    """Each ECG of a folder, or one file, as a batch of one on the device: files may differ in length, the ECGs of a
    batch may not.

    A file that cannot be read is left out with a sentence; ECGError if no file can be read.
    """
    files = find_ecgs(arguments.source) if arguments.source.is_dir() else [arguments.source]
    readable = 0
    for file in tqdm(files, desc=what, unit="ECG"):
        try:
            recording = read_own(file, model.config.duration_s, **reading(arguments))
            batch = collate([recording], model.config.sampling_rate_hz, model.config.duration_s)
        except ECGError as error:
            if len(files) == 1:
                raise
            tqdm.write(f"lamae: left out: {error}", file=sys.stderr)
            continue
        readable += 1
        yield str(file), batch.to(arguments.device)
    if not readable:
        raise ECGError(f"None of the {len(files)} files in {arguments.source} could be read as an ECG.")
