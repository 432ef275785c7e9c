"""Long records: processor time and peak memory of reading a 24-hour Holter, complete and in stretches, by format.

    python benchmarks/long_records.py --hours 24 --leads 3 --rate 250 --formats WFDB EDF npy

Writes one synthetic record per format into a temporary folder, reads it in a fresh process each time, and deletes it.
Memory is the peak of the process above what it had after the imports; the limit of a complete record is twice its
size in float32. Fails (exit code 1) beyond that limit.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FORMATS = ("WFDB", "WFDB 212", "EDF", "npy", "npz", "CSV")
LEADS = ("II", "V1", "V5", "I", "V2", "V3", "V4", "V6")
BLOCK = 1_000_000

READ = """
import sys, time, warnings
import numpy as np, scipy.signal, wfdb, edfio, pandas
from lamae_toolkit.ecg.io.read import read_ecg

def peak_mb():
    with open("/proc/self/status") as file:
        return {line.split()[0]: int(line.split()[1]) / 1000 for line in file if line[:5] in ("VmHWM", "VmRSS")}

path, arguments = sys.argv[1], eval(sys.argv[2])
warnings.simplefilter("error")
before = peak_mb()["VmRSS:"]
start = time.process_time()
recording = read_ecg(path, **arguments)
print(time.process_time() - start, peak_mb()["VmHWM:"] - before, recording.signal_mv.nbytes / 1e6, recording.duration_s)
"""


def blocks(n_samples: int, n_leads: int):
    """Counts of 5 uV, (samples, leads), a part at a time, so that writing takes little memory."""
    rng = np.random.default_rng(0)
    for at in range(0, n_samples, BLOCK):
        time = np.arange(at, min(at + BLOCK, n_samples))
        beats = 150 * np.exp(-(((time % 200) - 60) ** 2) / 20)
        yield (beats[:, None] * np.linspace(0.5, 1, n_leads) + rng.normal(0, 5, (len(time), n_leads))).astype("<i2")


def write(folder: Path, kind: str, n_samples: int, leads: tuple[str, ...], rate_hz: int) -> tuple[Path, dict]:
    """A record of this format, and the arguments with which it is read."""
    if kind.startswith("WFDB"):
        code = 212 if "212" in kind else 16
        lines = [
            f"rec {len(leads)} {rate_hz} {n_samples}",
            *(f"rec.dat {code} 200(0)/mV 12 0 0 0 0 {x}" for x in leads),
        ]
        (folder / "rec.hea").write_text("\n".join([*lines, ""]))
        with (folder / "rec.dat").open("wb") as file:
            for part in blocks(n_samples, len(leads)):
                if code == 16:
                    file.write(part.tobytes())
                    continue
                first, second = part.ravel()[::2].astype(int) & 4095, part.ravel()[1::2].astype(int) & 4095
                packed = np.stack([first & 255, (first >> 8) | (second >> 8) << 4, second & 255], axis=1)
                file.write(packed.astype(np.uint8).tobytes())
        return folder / "rec.hea", {}
    if kind == "EDF":
        fields = [
            ("0", 8), ("X X X X", 80), ("Startdate X X X X", 80), ("01.01.20", 8), ("00.00.00", 8),
            (str(256 * (1 + len(leads))), 8), ("", 44), (str(n_samples // rate_hz), 8), ("1", 8), (str(len(leads)), 4),
        ]  # fmt: skip
        for values, width in (
            ([f"ECG {lead}" for lead in leads], 16), ([""], 80), (["mV"], 8), (["-163.84"], 8), (["163.835"], 8),
            (["-32768"], 8), (["32767"], 8), ([""], 80), ([str(rate_hz)], 8), ([""], 32),
        ):  # fmt: skip
            fields += [(value, width) for value in (values if len(values) > 1 else values * len(leads))]
        with (folder / "rec.edf").open("wb") as file:
            file.write("".join(text.ljust(width) for text, width in fields).encode())
            for part in blocks(n_samples, len(leads)):
                file.write(part.reshape(-1, rate_hz, len(leads)).swapaxes(1, 2).tobytes())
        return folder / "rec.edf", {}
    signal = np.concatenate(list(blocks(n_samples, len(leads)))).astype(np.float32) * np.float32(0.005)
    if kind == "npy":
        np.save(folder / "rec.npy", signal.T)
        return folder / "rec.npy", {"sampling_rate_hz": rate_hz, "unit": "mV", "leads": leads}
    if kind == "npz":
        np.savez(folder / "rec.npz", signal=signal, leads=leads, sampling_rate_hz=rate_hz, unit="mV")
        return folder / "rec.npz", {}
    with (folder / "rec.csv").open("w") as file:
        file.write(",".join(["time_s", *(f"{lead}_mV" for lead in leads)]) + "\n")
        for at in range(0, n_samples, BLOCK):
            rows = np.column_stack([np.arange(at, min(at + BLOCK, n_samples)) / rate_hz, signal[at : at + BLOCK]])
            np.savetxt(file, rows, fmt=["%.3f", *["%.3f"] * len(leads)], delimiter=",")
    return folder / "rec.csv", {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--leads", type=int, default=3)
    parser.add_argument("--rate", type=int, default=250)
    parser.add_argument("--formats", nargs="+", default=FORMATS[:4], choices=FORMATS)
    arguments = parser.parse_args()
    n_samples = round(arguments.hours * 3600) * arguments.rate
    stretches = ({}, {"start_s": 0.5 * n_samples / arguments.rate, "duration_s": 10.0})
    too_large = False
    print(f"{'format':10}{'read':>12}{'processor s':>13}{'peak MB':>10}{'float32 MB':>12}{'ratio':>7}")
    for kind in arguments.formats:
        with tempfile.TemporaryDirectory() as folder:
            path, given = write(Path(folder), kind, n_samples, LEADS[: arguments.leads], arguments.rate)
            for stretch in stretches:
                done = subprocess.run(
                    [sys.executable, "-c", READ, str(path), repr(given | stretch)], capture_output=True, text=True
                )
                what = f"{stretch['duration_s']:g} s" if stretch else "complete"
                if done.returncode:
                    print(f"{kind:10}{what:>12}  {done.stderr.strip().splitlines()[-1][:200]}")
                    too_large = True
                    continue
                seconds, peak_mb, size_mb, _ = map(float, done.stdout.split())
                print(f"{kind:10}{what:>12}{seconds:13.2f}{peak_mb:10.0f}{size_mb:12.1f}{peak_mb / size_mb:7.2f}")
                too_large |= not stretch and peak_mb > 2 * size_mb
    return int(too_large)


if __name__ == "__main__":
    sys.exit(main())
