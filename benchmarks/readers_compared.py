"""Our readers next to independent libraries on all files of a folder: which values differ, and why.

    python benchmarks/readers_compared.py FOLDER

Reads every ECG that `find_ecgs` lists with `read_ecg`, and again with wfdb (WFDB), pydicom (DICOM), edfio (EDF, BDF)
and ecgdatakit (what it knows), each if it is installed. Prints one row per library: files, leads that agree within
1 uV, and each kind of difference with an example. Values in gaps are not compared.
"""

import argparse
import collections
import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np

from lamae_toolkit.ecg.io.channels import MV_PER_UNIT
from lamae_toolkit.ecg.io.listing import find_ecgs
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import lead_name
from lamae_toolkit.errors import ECGError

TOLERANCE_MV = 1e-3


def by_wfdb(path: Path) -> dict[str, np.ndarray]:
    import wfdb

    record = wfdb.rdrecord(str(path.with_suffix("")))
    factors = [MV_PER_UNIT.get(unit, np.nan) for unit in record.units]
    return {name: record.p_signal[:, i] * factors[i] for i, name in enumerate(record.sig_name)}


def by_pydicom(path: Path) -> dict[str, np.ndarray]:
    import pydicom

    dataset = pydicom.dcmread(path)
    group, signal = dataset.WaveformSequence[0], dataset.waveform_array(0)
    leads = {}
    for i, channel in enumerate(group.ChannelDefinitionSequence):
        unit = channel.ChannelSensitivityUnitsSequence[0].CodeValue
        leads[channel.ChannelSourceSequence[0].CodeMeaning] = signal[:, i] * MV_PER_UNIT.get(unit, np.nan)
    return leads


def by_edfio(path: Path) -> dict[str, np.ndarray]:
    import edfio

    read = edfio.read_bdf if path.open("rb").read(1) == b"\xff" else edfio.read_edf
    return {s.label: s.data * MV_PER_UNIT.get(s.physical_dimension, np.nan) for s in read(path).signals}


def by_ecgdatakit(path: Path) -> dict[str, np.ndarray]:
    from ecgdatakit import FileParser

    record = FileParser().parse(path)
    return {lead.label: np.asarray(lead.samples) * MV_PER_UNIT.get(lead.units, np.nan) for lead in record.leads}


LIBRARIES = {
    "wfdb": (by_wfdb, lambda path, head: path.suffix == ".hea"),
    "pydicom": (by_pydicom, lambda path, head: head[128:132] == b"DICM"),
    "edfio": (by_edfio, lambda path, head: head[1:8] in (b"       ", b"BIOSEMI")),
    "ecgdatakit": (by_ecgdatakit, lambda path, head: True),
}


def difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], *, derived: bool) -> str:
    """ "" if every lead of ours has the same values in theirs, otherwise what differs.

    derived: whether we computed four limb leads, which the file does not hold.
    """
    named = {lead_name(str(name).partition("(")[0].strip()): signal for name, signal in theirs.items()}
    for lead, signal_mv in ours.items():
        if lead not in named and derived:
            continue
        if lead not in named:
            return "a lead that it does not have or does not name"
        other = np.asarray(named[lead], dtype=float).ravel()
        if np.isnan(other).all():
            return "a unit that it does not give"
        if len(other) != len(signal_mv):
            return "another number of samples"
        error_mv = np.nanmax(np.abs(other - signal_mv))
        if error_mv > TOLERANCE_MV:
            ratio = np.nanstd(other) / max(np.std(signal_mv), 1e-12)
            known = next((name for name, x in (("uV", 1e3), ("nV", 1e6), ("V", 1e-3)) if abs(ratio / x - 1) < 0.01), "")
            return f"values in {known} that it calls otherwise" if known else "other values"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    libraries = {name: of for name, of in LIBRARIES.items() if importlib.util.find_spec(name)}
    for name in LIBRARIES.keys() - libraries:
        print(f"{name} is not installed and was left out; pip install {name}.")
    counts = {name: collections.Counter() for name in libraries}
    examples: dict[tuple[str, str], str] = {}
    refused = 0
    for path in find_ecgs(folder):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                recording = read_ecg(path)
            except ECGError as error:
                refused += 1
                print(f"refused by us: {str(error)[:200]}")
                continue
            ours = dict(zip(recording.leads, recording.signal_mv, strict=True))
            derived = any("were computed from I and II" in note for note in recording.notes)
            with path.open("rb") as file:
                head = file.read(200)
            for name, (read, knows) in libraries.items():
                if not knows(path, head):
                    continue
                try:
                    outcome = difference(ours, read(path), derived=derived) or "equal"
                except Exception as error:
                    outcome = f"not read ({type(error).__name__})"
                counts[name][outcome] += 1
                examples.setdefault((name, outcome), f"{path.parent.name}/{path.name}")
    print(f"{refused} files were refused by us")
    for name, outcomes in counts.items():
        for outcome, n in outcomes.most_common():
            print(f"{name:12}{n:>7}  {outcome}, as {examples[name, outcome]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
