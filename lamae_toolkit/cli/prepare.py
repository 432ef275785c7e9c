"""The options of `lamae prepare`, which turns ECGs into a store, and what it does."""

import argparse
import sys
from pathlib import Path

from lamae_toolkit.cli.options import MAX_PROCESSES, WORKERS, add_min_records, add_reading, add_seed, reading
from lamae_toolkit.cli.parser import Command, CommandParser
from lamae_toolkit.cli.terminal import say
from lamae_toolkit.data.datasets.code15 import code15_source
from lamae_toolkit.data.datasets.folder import folder_source
from lamae_toolkit.data.datasets.mimic import mimic_source
from lamae_toolkit.data.datasets.mimic_like import ECG, ED, HOSP, write_mimic_like
from lamae_toolkit.data.datasets.ptbxl import PUBLISHED, TABLES, download_ptbxl, ptbxl_source
from lamae_toolkit.data.prepare import REFUSED_FILE, WARNINGS_FILE, prepare
from lamae_toolkit.data.shards import CohortSource
from lamae_toolkit.errors import ECGError

DESCRIPTION = (
    "Turn ECGs into a store that models read: every record is read, checked and counted in report.json. The same"
    " command resumes after an interruption. Exit code: 0 if every record was kept, 1 if some were refused, 2 if"
    " nothing could be done."
)


def _add_out(sub: CommandParser) -> None:
    sub.option("--out", Path, "folder of the new store, or of the new files")
    sub.option("--workers", int, "processes that read in parallel", WORKERS, at_most=MAX_PROCESSES)


def _add_rate(sub: CommandParser) -> None:
    sub.option("--scheduler", str, "address of a Dask scheduler, whose workers read instead", None)
    sub.option("--rate-hz", float, "samples per second of the store", 100.0)
    sub.option("--duration-s", float, "seconds of each ECG, from its beginning", 10.0)


def mimic(sub: CommandParser) -> None:
    """MIMIC-IV-ECG 1.0 as published, with ICD-10 labels.

    lamae prepare mimic --ecg mimic-iv-ecg --hosp mimiciv/hosp --ed mimiciv-ed/ed --out store
    """
    _add_out(sub)
    sub.option("--ecg", Path, "folder with record_list.csv and files/")
    sub.option("--hosp", Path, "folder hosp of MIMIC-IV, for diagnoses, age and sex", None)
    sub.option("--ed", Path, "folder ed of MIMIC-IV-ED, for emergency visits", None)
    sub.option("--labels", Path, "records_w_diag_icd10.csv, instead of --hosp and --ed", None)
    add_min_records(sub, "ECGs that a code must have to be a class of the store", 2000)
    _add_rate(sub)


def ptbxl(sub: CommandParser) -> None:
    """PTB-XL with its statements, superclasses, ICD-10-CM codes and folds.

    lamae prepare ptbxl --root ptb-xl --download --out store
    """
    _add_out(sub)
    sub.option("--root", Path, "folder of PTB-XL as it was unpacked, or to download to")
    text = "first fetch from PhysioNet the files that are missing (1.8 GB)"
    sub.add_argument("--download", action="store_true", help=text)
    sub.option("--url", str, "address of the published files", PUBLISHED)
    _add_rate(sub)


def code15(sub: CommandParser) -> None:
    """CODE-15 as published (exams.csv, exams_part*.hdf5), with six diagnoses.

    lamae prepare code15 code-15 --duration-s 7 --out store
    """
    _add_out(sub)
    sub.option("folder", Path, "folder with exams.csv and the unpacked parts, or some of them")
    _add_rate(sub)


def folder(sub: CommandParser) -> None:
    """Your own ECG files: WFDB, CSV, EDF, DICOM, SCP-ECG, MUSE, Sierra, aECG ...

    lamae prepare folder my_ecgs --table table.csv --out store
    """
    _add_out(sub)
    sub.option("folder", Path, "folder with the files, in subfolders or not")
    sub.option("--table", Path, "CSV: file, patient_id [, age_years, sex, codes]", None)
    add_reading(sub)
    _add_rate(sub)


def mimic_like(sub: CommandParser) -> None:
    """Write simulated files in the layout of MIMIC-IV-ECG, to practice with.

    lamae prepare mimic-like --out practice --ecgs 300
    """
    _add_out(sub)
    sub.option("--ecgs", int, "number of ECGs", 300)
    add_seed(sub)


SOURCES = {
    "mimic": Command(mimic, "prepare.mimic_command"),
    "ptbxl": Command(ptbxl, "prepare.ptbxl_command"),
    "code15": Command(code15, "prepare.code15_command"),
    "folder": Command(folder, "prepare.folder_command"),
    "mimic-like": Command(mimic_like, "prepare.mimic_like_command"),
}


def mimic_command(arguments: argparse.Namespace) -> int:
    source = mimic_source(
        arguments.ecg,
        hosp=arguments.hosp,
        ed=arguments.ed,
        labels=arguments.labels,
        minimum=arguments.min_records_per_code,
    )
    for what, times in source.meta["left_out"].items():
        say(f"lamae: left out: {times} {what}", file=sys.stderr)
    say(
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


def code15_command(arguments: argparse.Namespace) -> int:
    source = code15_source(arguments.folder)
    for what, times in source.meta["left_out"].items():
        say(f"lamae: left out: {times} {what}", file=sys.stderr)
    say(f"lamae: {source.meta['unit']}.", file=sys.stderr)
    return _prepare(source, arguments)


def folder_command(arguments: argparse.Namespace) -> int:
    source = folder_source(arguments.folder, arguments.table, **reading(arguments))
    say(f"Patients: {source.meta['patients']}.")
    return _prepare(source, arguments)


def mimic_like_command(arguments: argparse.Namespace) -> int:
    out = write_mimic_like(arguments.out, arguments.ecgs, arguments.seed, workers=arguments.workers)
    say(f"Simulated, of no real patient. Next: lamae prepare mimic --ecg {out / ECG} --hosp {out / HOSP}", end="")
    say(f" --ed {out / ED} --min-records-per-code 20 --out STORE")
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
        scheduler=arguments.scheduler,
    )
    say(
        f"{report['read']} listed = {report['kept']} kept + {report['dropped']} refused;"
        f" {report['patients']} patients; {report['ecgs_per_s']:.0f} ECGs/s."
    )
    for reason, times in report["dropped_by_reason"].items():
        say(f"  refused, {reason}: {times}")
    for kind, times in report.get("ecgs_with_warnings", {}).items():
        say(f"  warned, {kind}: {times} ECGs")
    passed_over = report.get("passed_over", {})
    if passed_over:
        listed = ", ".join(f"{times} {suffix or 'without suffix'}" for suffix, times in passed_over.items())
        say(f"Passed over: {sum(passed_over.values())} files that are no ECG ({listed}).")
    for flag, times in report["ecgs_with_flags"].items():
        say(f"  flagged {flag}: {times} ECGs")
    if not report["new"]:
        say("The store is already complete and is not prepared again; delete it to read the files again.")
    where = f"each refused record is in {arguments.out / REFUSED_FILE}, each warning in {WARNINGS_FILE} next to it"
    say(f"The store is {arguments.out}; {where}.")
    return 1 if report["dropped"] else 0
