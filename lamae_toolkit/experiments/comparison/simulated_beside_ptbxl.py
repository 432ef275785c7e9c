"""Simulated ECGs next to PTB-XL records of the same finding, as a figure, with a table of summary statistics.

    python -m lamae_toolkit.experiments.comparison.simulated_beside_ptbxl --ptbxl PTB-XL --out both.png [--rows 2]

The table compares amplitudes of R, S and T by lead, the share of power above 20 Hz, baseline wander,
and cross-lead redundancy: the variance of the eight independent leads that three principal components hold.
"""

import argparse
import ast
from pathlib import Path

import numpy as np
import pandas as pd
import wfdb
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.signal import butter, find_peaks, sosfiltfilt

from lamae_toolkit.ecg.leads import lead_name
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg, simulate_patients

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
# What to match: title -> (codes to simulate with a range of severity, SCP statements, old infarction's wall).
MATCHES = {
    "normal": ((), ("NORM",), None),
    "left bundle branch block": (("I44.7",), ("CLBBB",), None),
    "right bundle branch block": (("I45.10",), ("CRBBB",), None),
    "atrial fibrillation": (("I48.91",), ("AFIB",), None),
    "atrial flutter": (("I48.92",), ("AFLT",), None),
    "inferior infarction": (("I25.2",), ("IMI",), "inferior"),
    "anterior infarction": (("I25.2",), ("ASMI", "AMI"), "anterior"),
    "hypertrophy": (("I51.7",), ("LVH",), None),
    "first-degree block": (("I44.0",), ("1AVB",), None),
    "pacemaker": (("Z95.0",), ("PACE",), None),
    "ventricular ectopy": (("I49.3",), ("PVC",), None),
    "long QT": (("I45.81",), ("LNGQT",), None),
    "acute inferior infarction": (("I21.19",), ("INJIN", "INJIL"), None),
    "acute anterior infarction": (("I21.09",), ("INJAS", "INJAL"), None),
}


def read_ptbxl(folder: Path, rate: int = 500) -> tuple[pd.DataFrame, dict[int, Recording]]:
    """The records whose waveforms are present, with their SCP statements."""
    table = pd.read_csv(folder / "ptbxl_database.csv", index_col="ecg_id")
    table["statements"] = [set(ast.literal_eval(text)) for text in table.scp_codes]
    records = {}
    for ecg_id, name in table["filename_hr" if rate == 500 else "filename_lr"].items():
        if (folder / f"{name}.dat").exists():
            record = wfdb.rdrecord(str(folder / name))
            leads = tuple(lead_name(n) or n for n in record.sig_name)
            records[ecg_id] = Recording(record.p_signal.T.astype(np.float32), record.fs, leads)
    return table.loc[list(records)], records


def summary(recording: Recording) -> dict[str, float]:
    """R, S and T amplitude of the median beat by lead (mV), noise, wander, and redundancy of one recording."""
    rate = recording.sampling_rate_hz
    signal = np.stack([recording.lead(lead) for lead in INDEPENDENT]).astype(float)
    slow = sosfiltfilt(butter(2, 0.6, "lowpass", fs=rate, output="sos"), signal)
    flat = signal - slow
    band = sosfiltfilt(butter(2, (8, 25), "bandpass", fs=rate, output="sos"), flat)
    energy = np.convolve((band**2).sum(0), np.ones(int(0.08 * rate)), "same")
    peaks, _ = find_peaks(energy, height=0.25 * np.percentile(energy, 99), distance=int(0.28 * rate))
    peaks = peaks[(peaks > 0.35 * rate) & (peaks < signal.shape[1] - 0.5 * rate)]
    out: dict[str, float] = {}
    spectrum = np.abs(np.fft.rfft(flat - flat.mean(1, keepdims=True))) ** 2
    hz = np.fft.rfftfreq(flat.shape[1], 1 / rate)
    out["power share 1-8 Hz"] = float(spectrum[:, (hz >= 1) & (hz < 8)].sum() / spectrum.sum())
    out["power share 8-20 Hz"] = float(spectrum[:, (hz >= 8) & (hz < 20)].sum() / spectrum.sum())
    out["power share > 20 Hz"] = float(spectrum[:, hz >= 20].sum() / spectrum.sum())
    out["wander, SD mV"] = float(np.median(slow.std(1)))
    variances = np.linalg.eigvalsh(np.cov(flat))[::-1]
    out["variance in 3 components"] = float(variances[:3].sum() / variances.sum())
    if len(peaks) < 3:
        return out
    before, after = int(0.35 * rate), int(0.5 * rate)
    beats = np.stack([flat[:, p - before : p + after] for p in peaks])
    beat = np.median(beats, axis=0)
    beat -= np.median(beat[:, int(0.27 * rate) : int(0.29 * rate)], axis=1, keepdims=True)
    fast = sosfiltfilt(butter(2, 35, "highpass", fs=rate, output="sos"), flat)
    quiet = np.concatenate([fast[:, p + int(0.40 * rate) : p + int(0.46 * rate)] for p in peaks], axis=1)
    out["noise > 35 Hz, SD uV"] = float(1000 * np.median(quiet.std(1)))
    qrs = beat[:, int(0.29 * rate) : int(0.43 * rate)]
    t_wave = beat[:, int(0.50 * rate) : int(0.80 * rate)]
    for i, lead in enumerate(INDEPENDENT):
        out[f"R {lead}"], out[f"S {lead}"] = float(qrs[i].max()), float(qrs[i].min())
        out[f"T {lead}"] = float(t_wave[i][np.abs(t_wave[i]).argmax()])
        out[f"J60 {lead}"] = float(beat[i, int(0.46 * rate)])
    return out


def statistics_table(real: list[Recording], simulated: list[Recording]) -> pd.DataFrame:
    """Median and quartiles of every summary, real next to simulated."""
    columns = {}
    for name, recordings in (("PTB-XL", real), ("simulated", simulated)):
        frame = pd.DataFrame([summary(r) for r in recordings])
        for label, q in (("25 %", 0.25), ("median", 0.5), ("75 %", 0.75)):
            columns[f"{name} {label}"] = frame.quantile(q)
    return pd.DataFrame(columns).round(3)


def draw(ax: Axes, recording: Recording, title: str, seconds: float = 2.5) -> None:
    """A 12-lead ECG in the usual three rows by four columns with lead II below, on ECG paper."""
    rate = recording.sampling_rate_hz
    rows = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
    n = int(seconds * rate)
    for r, leads in enumerate(rows):
        for c, lead in enumerate(leads):
            if lead in recording.leads:
                y = recording.lead(lead)[c * n : (c + 1) * n]
                ax.plot(c * seconds + np.arange(len(y)) / rate, y - np.median(y) - 2.2 * r, "k", lw=0.6)
            ax.text(c * seconds + 0.05, -2.2 * r + 0.75, lead, fontsize=6)
    y = recording.lead("II")[: int(10 * rate)]
    ax.plot(np.arange(len(y)) / rate, y - np.median(y) - 6.6, "k", lw=0.6)
    ax.set(xlim=(0, 10), ylim=(-8, 1.8), xticks=np.arange(0, 10.1, 0.2), yticks=np.arange(-8, 2, 0.5))
    ax.tick_params(labelbottom=False, labelleft=False, length=0)
    ax.grid(color="#f3b0b0", lw=0.3)
    ax.set_title(title, fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2, help="pairs for each finding")
    parser.add_argument("--only", nargs="*", default=None, help="findings to draw (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    table, records = read_ptbxl(args.ptbxl)
    rng = np.random.default_rng(args.seed)
    names = args.only or list(MATCHES)
    fig = Figure(figsize=(17, 4.0 * len(names) * args.rows), layout="constrained")
    axes = fig.subplots(len(names) * args.rows, 2, squeeze=False)
    for k, name in enumerate(names):
        codes, statements, wall = MATCHES[name]
        ids = [i for i, has in table.statements.items() if has & set(statements)]
        ids = list(rng.permutation(ids))
        for row in range(args.rows):
            left, right = axes[k * args.rows + row]
            left.set_visible(row < len(ids))
            if row < len(ids):
                draw(left, records[ids[row]], f"PTB-XL {ids[row]}: {name}, {' '.join(table.statements[ids[row]])}")
            patient = sample_patient(row, rng)
            if wall is not None:
                patient = type(patient)(**{**patient.__dict__, "infarct_wall": wall})
            severity = {code: float(rng.uniform(0.3, 1.0)) for code in codes}
            ecg = simulate_ecg(patient, rng, codes=severity)
            t = ecg.truth
            what = f"{t.heart_rate_bpm:.0f}/min PR {t.pr_ms or 0:.0f} QRS {t.qrs_ms:.0f} QT {t.qt_ms:.0f} {severity}"
            draw(right, ecg.recording, f"simulated: {name}, {patient.sex} {patient.age_years:.0f} y, {what}")
    fig.savefig(args.out, dpi=70)
    normal = [records[i] for i, has in table.statements.items() if "NORM" in has]
    ecgs = list(simulate_patients(800, args.seed, sampling_rate_hz=500))
    full = [e for e in ecgs if len(e.recording.leads) == 12]
    print("Normal ECGs\n", statistics_table(normal, [e.recording for e in full if not e.truth.codes]).to_string())
    print("All ECGs\n", statistics_table(list(records.values()), [e.recording for e in full]).to_string())


if __name__ == "__main__":
    main()
