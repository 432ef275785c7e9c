"""How long it takes to start: `lamae --help`, reading one ECG, and the class LAMAE, each in a fresh process.

    python benchmarks/import_time.py --rounds 9

Processor time (user and system) of the complete process, the median over the rounds. The cases are interleaved, so that
a busy minute of the computer falls on all of them; the ratios compare with an empty Python and with `import torch`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

CASES = {
    "python -c pass": "pass",
    "import torch": "import torch",
    "lamae --help": "from lamae_toolkit.cli.main import main; main(['--help'])",
    "lt.read_ecg of a WFDB record": "import lamae_toolkit as lt; lt.read_ecg('record.hea')",
    "lt.LAMAE": "import lamae_toolkit as lt; lt.LAMAE",
}
LIMITS = {
    "lamae --help": "at most 0.5 s",
    "lt.read_ecg of a WFDB record": "at most 0.7 s",
    "lt.LAMAE": "at most 1.3 x torch",
}


def processor_s(code: str, folder: Path) -> float:
    """Processor time of a fresh Python that runs this code, in seconds."""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{code!r} ended with exit code {process.returncode}.")
    return usage.ru_utime + usage.ru_stime


def write_record(folder: Path) -> None:
    """A WFDB record of format 16, twelve leads of 10 s at 500 Hz, as the large archives have it."""
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    counts = np.random.default_rng(0).integers(-900, 900, (5000, len(leads))).astype("<i2")
    counts.tofile(folder / "record.dat")
    lines = [
        "record 12 500 5000",
        *(f"record.dat 16 1000(0)/mV 16 0 {counts[0, i]} 0 0 {lead}" for i, lead in enumerate(leads)),
    ]
    (folder / "record.hea").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="fresh processes of each case")
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as name:
        write_record(Path(name))
        for _ in range(rounds):
            for case, code in CASES.items():
                times[case].append(processor_s(code, Path(name)))
    middle = {case: median(values) for case, values in times.items()}
    print(f"{'':30} {'median s':>9} {'x pass':>8} {'x torch':>8}  limit")
    for case, seconds in middle.items():
        ratios = f"{seconds / middle['python -c pass']:8.1f} {seconds / middle['import torch']:8.2f}"
        print(f"{case:30} {seconds:9.2f} {ratios}  {LIMITS.get(case, '')}")


if __name__ == "__main__":
    main()
