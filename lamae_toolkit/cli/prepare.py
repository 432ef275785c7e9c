"""The options of `lamae prepare`, which turns ECGs into a store, and what it does."""

import argparse
import os
import sys
from pathlib import Path

from lamae_toolkit.data.datasets.folder import folder_source
from lamae_toolkit.data.datasets.mimic import mimic_source
from lamae_toolkit.data.datasets.mimic_like import ECG, ED, HOSP, write_mimic_like
from lamae_toolkit.data.datasets.ptbxl import PUBLISHED, TABLES, download_ptbxl, ptbxl_source
from lamae_toolkit.data.prepare import REFUSED_FILE, prepare
from lamae_toolkit.data.shards import CohortSource
from lamae_toolkit.errors import ECGError

DESCRIPTION = (
    "Turn ECGs into a store that models read: every record is read, checked and counted in report.json. The same"
    " command resumes after an interruption. Exit code: 0 if every record was kept, 1 if some were refused, 2 if"
    " nothing could be done."
)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add the four sources of `lamae prepare` to its parser."""
    parser.description = DESCRIPTION
    sources = parser.add_subparsers(
        title="sources", required=True, metavar="SOURCE", parser_class=argparse.ArgumentParser
    )

    def source(name: str, run: str, help_text: str, example: str) -> argparse.ArgumentParser:
        sub = sources.add_parser(
            name,
            help=help_text,
            description=help_text,
            epilog=f"Example:\n  {example}",
            formatter_class=parser.formatter_class,
        )
        sub.set_defaults(run=f"prepare.{run}")
        sub.add_argument("--out", type=Path, required=True, help="folder of the new store, or of the new files")
        sub.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that read in parallel")
        return sub

    sub = source(
        "mimic",
        "mimic_command",
        "MIMIC-IV-ECG 1.0 as published, with ICD-10 labels.",
        "lamae prepare mimic --ecg mimic-iv-ecg --hosp mimiciv/hosp --ed mimiciv-ed/ed --out store",
    )
    sub.add_argument("--ecg", type=Path, required=True, help="folder with record_list.csv and files/")
    sub.add_argument("--hosp", type=Path, default=None, help="folder hosp of MIMIC-IV, for diagnoses, age and sex")
    sub.add_argument("--ed", type=Path, default=None, help="folder ed of MIMIC-IV-ED, for emergency visits")
    sub.add_argument("--labels", type=Path, default=None, help="records_w_diag_icd10.csv, instead of --hosp and --ed")
    sub.add_argument(
        "--min-records-per-code",
        type=int,
        default=2000,
        metavar="N",
        help="ECGs that a code must have to be a class of the store",
    )
    _add_rate(sub)

    sub = source(
        "ptbxl",
        "ptbxl_command",
        "PTB-XL with its statements, superclasses, ICD-10-CM codes and folds.",
        "lamae prepare ptbxl --root ptb-xl --download --out store",
    )
    sub.add_argument("--root", type=Path, required=True, help="folder of PTB-XL as it was unpacked, or to download to")
    sub.add_argument(
        "--download", action="store_true", help="first fetch from PhysioNet the files that are missing (1.8 GB)"
    )
    sub.add_argument("--url", default=PUBLISHED, help="address of the published files")
    _add_rate(sub)

    sub = source(
        "folder",
        "folder_command",
        "Your own ECG files: WFDB, CSV, NumPy, EDF, DICOM, MUSE, Sierra, aECG.",
        "lamae prepare folder my_ecgs --table table.csv --out store",
    )
    sub.add_argument("folder", type=Path, help="folder with the files, in subfolders or not")
    sub.add_argument("--table", type=Path, default=None, help="CSV: file, patient_id [, age_years, sex, codes]")
    sub.add_argument(
        "--sampling-rate-hz", type=float, default=None, help="samples per second, for files that do not give it"
    )
    sub.add_argument("--unit", default=None, help="unit of the values (mV, uV, V), for files that do not give it")
    sub.add_argument("--leads", default=None, help="lead names of NumPy files in their order, as in I,II,V1")
    _add_rate(sub)

    sub = source(
        "mimic-like",
        "mimic_like_command",
        "Write simulated files in the layout of MIMIC-IV-ECG, to practice with.",
        "lamae prepare mimic-like --out practice --ecgs 300",
    )
    sub.add_argument("--ecgs", type=int, default=300, help="number of ECGs")
    sub.add_argument("--seed", type=int, default=0, help="random seed")


def _add_rate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--rate-hz", type=float, default=100.0, help="samples per second of the store")
    sub.add_argument("--duration-s", type=float, default=10.0, help="seconds of each ECG, from its beginning")


def mimic_command(arguments: argparse.Namespace) -> int:
    source = mimic_source(
        arguments.ecg,
        hosp=arguments.hosp,
        ed=arguments.ed,
        labels=arguments.labels,
        minimum=arguments.min_records_per_code,
    )
    for what, times in source.meta["left_out"].items():
        print(f"lamae: left out: {times} {what}", file=sys.stderr)
    print(
        f"{int(source.ecgs.labelled.sum())} of {len(source.ecgs)} ECGs have codes;"
        f" {len(source.meta['classes'])} codes have {arguments.min_records_per_code} ECGs or more."
    )
    return _prepare(source, arguments)


def ptbxl_command(arguments: argparse.Namespace) -> int:
    if arguments.download:
        download_ptbxl(arguments.root, arguments.url)
    elif not all((arguments.root / name).is_file() for name in TABLES):
        raise ECGError(f"{arguments.root} does not hold PTB-XL; give the folder as it was unpacked, or add --download.")
    return _prepare(ptbxl_source(arguments.root), arguments)


def folder_command(arguments: argparse.Namespace) -> int:
    leads = tuple(arguments.leads.split(",")) if arguments.leads else None
    source = folder_source(
        arguments.folder, arguments.table, sampling_rate_hz=arguments.sampling_rate_hz, unit=arguments.unit, leads=leads
    )
    print(f"Patients: {source.meta['patients']}.")
    return _prepare(source, arguments)


def mimic_like_command(arguments: argparse.Namespace) -> int:
    out = write_mimic_like(arguments.out, arguments.ecgs, arguments.seed, workers=arguments.workers)
    print(f"Simulated, of no real patient. Next: lamae prepare mimic --ecg {out / ECG} --hosp {out / HOSP}", end="")
    print(f" --ed {out / ED} --min-records-per-code 20 --out STORE")
    return 0


def _prepare(source: CohortSource, arguments: argparse.Namespace) -> int:
    """Prepare a source and print what was read and refused; returns the exit code."""
    if not arguments.workers > 0:
        raise ECGError(f"--workers is {arguments.workers}, but it must be 1 or more.")
    report = prepare(
        source,
        arguments.out,
        sampling_rate_hz=arguments.rate_hz,
        duration_s=arguments.duration_s,
        workers=arguments.workers,
    )
    print(
        f"{report['read']} listed = {report['kept']} kept + {report['dropped']} refused;"
        f" {report['patients']} patients; {report['ecgs_per_s']:.0f} ECGs/s."
    )
    for reason, times in report["dropped_by_reason"].items():
        print(f"  refused, {reason}: {times}")
    for flag, times in report["ecgs_with_flags"].items():
        print(f"  flagged {flag}: {times} ECGs")
    if not report["new"]:
        print("The store was complete already and is not prepared again; delete it to read the files again.")
    print(f"The store is {arguments.out}; each refused record is in {arguments.out / REFUSED_FILE}.")
    return 1 if report["dropped"] else 0
