"""The waves of the simulated heart: depolarization and repolarization as a moving dipole with its near field.

Nine sources describe the heart at each instant: the dipole in mV (x to the left, y to the feet, z to
the front) and six near fields, what each precordial electrode measures in addition to the dipole because it
lies close to the heart. A wave is a smooth bump in time multiplied by a vector of nine numbers.

The mean normal vectors were fitted by least squares to 128 normal PTB-XL records (odd numbers below
500; Wagner et al., Sci Data 7:154, 2020, CC BY 4.0), the P wave to 39 normal LUDB records (Kalyakulina
et al., IEEE Access 8, 2020, ODC-By 1.0); the abnormal ones were set by hand after textbook vector
loops, with the amplitudes of a few PTB-XL examples.
"""

import csv
from dataclasses import dataclass
from importlib import resources
from io import StringIO

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from lamae_toolkit.simulate.heart import QRS_SNAPSHOTS, Heart
from lamae_toolkit.simulate.rhythm import Schedule

SOURCES = ("x", "y", "z", "V1", "V2", "V3", "V4", "V5", "V6")
REFERENCE_QRS_MS = 90.0
SNAPSHOT_REACH = 1.3  # half-width of a snapshot in units of the time between two: neighbors blend without steps


def _tables() -> dict[str, np.ndarray]:
    """The waves of waves.csv, 9 sources in mV at each instant; a source that is not listed is zero.

    Normal QRS: sharpened slightly, since the mean of many hearts is smoother than each of them; from the septum (first
    instants) by the free wall to the base.
    Left bundle QRS: no septal q, leftwards and backwards from the start, slow, with a notch half-way.
    Right bundle QRS: the left ventricle as always, then the right one late and slowly: a terminal vector to the right
    and front.
    Right apex QRS, from the apex of the right ventricle (pacing lead, low escape): leftwards, upwards, backwards.
    Outflow QRS, from the right outflow tract, the commonest ectopic site: downwards, backwards.
    Left ventricle QRS: to the right, upwards, forwards.
    Normal ST-T: the early ST-T rise, the body of the T wave and its late part. Normal P: right, then left atrium.
    """
    text = resources.files("lamae_toolkit.simulate").joinpath("waves.csv").read_text(encoding="utf-8")
    tables: dict[str, np.ndarray] = {}
    for wave, source, *values in list(csv.reader(StringIO(text)))[1:]:
        course = [float(value) for value in values if value]
        table = tables.setdefault(wave, np.zeros((len(course), len(SOURCES))))
        table[:, SOURCES.index(source)] = course
    return tables


TABLES = _tables()
NORMAL_QRS, NORMAL_ST_T, NORMAL_P = TABLES["normal QRS"], TABLES["normal ST-T"], TABLES["normal P"]
# Peak, rise and fall of the bumps, as fractions of J to T end. The bump ends 4 % after T end: T end lies between the
# tangent end and the last visible part of T, where readers mark it.
ST_T_TIMES = np.array([[0.12, 0.20, 0.50], [0.57, 0.45, 0.45], [0.72, 0.40, 0.32]])
# The same as fractions of the P wave; the bump extends a little beyond its ends, where it is too small to see.
P_TIMES = np.array([[0.30, 0.42, 0.40], [0.58, 0.40, 0.44]])
RETROGRADE_P = np.array([[-0.01, -0.06, 0.02, 0.06, 0.02, 0.0, 0.0, 0.0, 0.0]])

U_WAVE = np.array([0.35, 0.25, 0.65, 0.0, 0.25, 0.2, 0.0, 0.0, 0.0])  # per mV of U wave in V2-V3
SPIKE = np.array([0.25, 0.85, -0.10, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])  # per mV, from the tip of the lead to its can
FIBRILLATION = np.array([0.15, 0.40, 0.30, 0.75, 0.25, 0.0, 0.0, 0.0, 0.0])  # f waves are largest in V1
FLUTTER = np.array([-0.10, -0.95, 0.10, 0.65, 0.20, 0.0, 0.0, 0.0, 0.0])  # sawtooth, negative in II, III and aVF


@dataclass(frozen=True, eq=False)
class Waves:
    """Bumps in time: peak, rise and fall in seconds, and the vector of nine sources in mV."""

    times_s: Float[np.ndarray, "w 3"]
    vectors_mv: Float[np.ndarray, "w 9"]


def bump(time: np.ndarray, peak: np.ndarray, rise: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """A smooth wave that starts `rise` before its peak and ends `fall` after it: cos^2(pi/2 * s), |s| < 1."""
    after = time - peak
    s = np.clip(after / np.where(after < 0, rise, fall), -1.0, 1.0)
    return np.cos(0.5 * np.pi * s) ** 2


def qrs_table(heart: Heart, kind: str) -> Float[np.ndarray, "7 9"]:
    """The QRS loop of a beat of this kind ("conducted", "escape", "ectopic", "paced") in this heart, 7 x 9 in mV."""
    if kind == "paced" or (kind == "escape" and heart.wide_escape):
        table = TABLES["right apex QRS"]
    elif kind == "ectopic":
        table = TABLES[f"{heart.ectopic_site} QRS"]
    else:
        table = NORMAL_QRS
        table = (1 - heart.left_bundle) * table + heart.left_bundle * TABLES["left bundle QRS"]
        table = (1 - heart.right_bundle) * table + heart.right_bundle * TABLES["right bundle QRS"]
    if heart.variation is not None:
        table = table + heart.variation.qrs
    if heart.hypertrophy:
        # The thick left ventricle adds to the main and the late vectors: leftwards and backwards.
        growth = np.array([0.0, 0.5, 1.0, 1.0, 0.5, 0.2, 0.0])[:, None] * heart.hypertrophy
        table = table + growth * np.array([0.22, 0.06, -0.50, 0.15, 0.20, -0.30, 0, 0.20, 0.06])
    if heart.necrosis is not None:
        table = table + heart.necrosis * (0.3 if kind == "ectopic" else 1.0)
    return table


def st_t_table(heart: Heart, table: np.ndarray, qrs_ms: float, jt_ms: float) -> Float[np.ndarray, "3 9"]:
    """The ST-T loop that follows this QRS: primary repolarization, minus the change by the abnormal QRS.

    Wilson's ventricular gradient, the area of QRS and T together, hardly depends on the path of
    activation, so T_area = gradient - QRS_area and a wide QRS brings a discordant T wave
    (Wilson et al., Am Heart J 10:46, 1934).
    """
    # Potassium acts on the T wave proper, not on the ST segment before it.
    st_t = NORMAL_ST_T * np.array([min(1.0, heart.t_gain), heart.t_gain, heart.t_gain])[:, None]
    if heart.variation is not None:
        st_t = st_t + heart.variation.st_t * abs(heart.t_gain)
    per_snapshot = SNAPSHOT_REACH / (QRS_SNAPSHOTS - 1 + 2 * SNAPSHOT_REACH)
    # Individual variation and scar repolarize as `variation` says; only path and mass of activation count here.
    own = table - (0 if heart.variation is None else heart.variation.qrs)
    lost_area = per_snapshot * (NORMAL_QRS.sum(0) * REFERENCE_QRS_MS - own.sum(0) * qrs_ms)
    areas = ST_T_TIMES[:, 1:].sum(1) / 2 * jt_ms
    share = np.array([0.38, 0.57, 0.05])
    return st_t + 0.9 * share[:, None] * lost_area / areas[:, None]


def ventricular_waves(heart: Heart, schedule: Schedule, kind: str, gain: np.ndarray) -> list[Waves]:
    """QRS, ST segment, T and U waves of all beats of one kind; `gain` is the amplitude of each beat."""
    chosen = schedule.kind == kind
    onset, qrs, qt = (a[chosen, None] for a in (schedule.qrs_onset_s, schedule.qrs_s, schedule.qt_s))
    gain = gain[chosen, None, None]
    if not len(onset):
        return []
    table = qrs_table(heart, kind)
    step = qrs / (QRS_SNAPSHOTS - 1 + 2 * SNAPSHOT_REACH)
    half = np.broadcast_to(SNAPSHOT_REACH * step, (len(onset), QRS_SNAPSHOTS))
    waves = [_waves(onset + step * (SNAPSHOT_REACH + np.arange(QRS_SNAPSHOTS)), half, half, gain * table)]
    st_t = st_t_table(heart, table, 1000 * float(qrs.mean()), 1000 * float((qt - qrs).mean()))
    peak, rise, fall = (column * (qt - qrs) for column in ST_T_TIMES.T)
    j = onset + qrs
    squeeze = np.where(np.arange(3) > 0, heart.t_narrowing, 1.0)
    late = (1 - squeeze) * 0.06 * (qt - qrs)  # a peaked T wave keeps its end
    waves.append(_waves(j + peak + late, rise * squeeze, fall * squeeze, gain * st_t))
    if heart.injury is not None:
        waves.append(_waves(j + 0.035, np.full_like(j, 0.06), 0.75 * (qt - qrs), gain * heart.injury[None]))
    if heart.u_mv:
        width = 0.09 * np.ones_like(j)
        waves.append(_waves(onset + qt + 0.06, width, width, gain * heart.u_mv * U_WAVE[None]))
    return waves


def atrial_waves(heart: Heart, schedule: Schedule) -> list[Waves]:
    """P waves of sinus rhythm, or the small retrograde P waves at the end of the QRS in re-entry."""
    if heart.rhythm == "reentry":
        peak = (schedule.qrs_onset_s + schedule.qrs_s)[:, None] + 0.01
        width = np.full_like(peak, 0.035)
        return [_waves(peak, width, width, np.broadcast_to(RETROGRADE_P, (len(peak), 1, 9)))]
    onset = schedule.p_onset_s[:, None]
    if not len(onset):
        return []
    peak, rise, fall = (np.broadcast_to(column * heart.p_ms / 1000, (len(onset), 2)) for column in P_TIMES.T)
    table = heart.p_gain * (NORMAL_P + (0 if heart.variation is None else heart.variation.p))
    return [_waves(onset + peak, rise, fall, np.broadcast_to(table, (len(onset), 2, 9)))]


def _waves(peak: np.ndarray, rise: np.ndarray, fall: np.ndarray, vectors: np.ndarray) -> Waves:
    times = np.stack(np.broadcast_arrays(peak, rise, fall), axis=-1)
    vectors = np.broadcast_to(vectors, (*times.shape[:2], 9))
    return Waves(times.reshape(-1, 3), vectors.reshape(-1, 9))


def sources(
    heart: Heart, schedule: Schedule, time_s: Float[np.ndarray, " t"], rng: np.random.Generator
) -> Float[np.ndarray, "9 t"]:
    """The heart's dipole and near fields over the complete recording: 9 sources in mV.

    sources(t) = sum over waves of vector * bump(t).
    """
    breath = np.sin(2 * np.pi * heart.respiration_hz * schedule.qrs_onset_s)
    gain = 1 + 0.03 * breath + 0.02 * rng.standard_normal(len(breath))
    waves = atrial_waves(heart, schedule)
    for kind in ("conducted", "escape", "ectopic", "paced"):
        waves += ventricular_waves(heart, schedule, kind, gain)
    if heart.spike_mv and len(schedule.spike_s):
        # 2 ms are shorter than a sample at 100 Hz: what remains is a sample-wide spike of lower amplitude.
        width = max(0.002, float(time_s[1] - time_s[0]))
        amplitude = heart.spike_mv * (0.002 / width) ** 0.5
        peak = schedule.spike_s[:, None]
        waves.append(_waves(peak, np.full_like(peak, width), np.full_like(peak, width), amplitude * SPIKE[None]))
    total = render(waves, time_s)
    if heart.rhythm in ("fibrillation", "flutter"):
        vector = FIBRILLATION if heart.rhythm == "fibrillation" else FLUTTER
        total += vector[:, None] * atrial_flicker(heart, time_s, schedule.flutter_phase, rng)
    return total


def render(waves: list[Waves], time_s: np.ndarray) -> np.ndarray:
    """The sum of all waves at the given times; each wave is computed only where it is not zero."""
    times = np.concatenate([w.times_s for w in waves])
    vectors = np.concatenate([w.vectors_mv for w in waves])
    rate_hz = 1 / (time_s[1] - time_s[0])
    first = np.ceil((times[:, 0] - times[:, 1] - time_s[0]) * rate_hz).astype(int)
    length = int(np.ceil((times[:, 1] + times[:, 2]).max() * rate_hz)) + 1
    index = first[:, None] + np.arange(length)
    amplitude = bump(time_s[0] + index / rate_hz, times[:, :1], times[:, 1:2], times[:, 2:])
    inside = (index >= 0) & (index < len(time_s)) & (amplitude > 0)
    # A wave is zero nearly everywhere; a sparse matrix is faster, and starts no threads that compete for the cores.
    begins = np.concatenate([[0], np.cumsum(inside.sum(1))])
    course = csr_array((amplitude[inside], index[inside], begins), shape=(len(times), len(time_s)))
    return np.ascontiguousarray((course.T @ vectors).T)


def atrial_flicker(heart: Heart, time_s: np.ndarray, phase: float, rng: np.random.Generator) -> np.ndarray:
    """The baseline of atrial fibrillation (irregular, 5 to 8 waves a second) or flutter (a regular sawtooth)."""
    if heart.rhythm == "flutter":
        turn = (time_s * heart.flutter_rate_bpm / 60 + phase) % 1.0
        wave = np.where(turn < 0.35, turn / 0.35, (1 - turn) / 0.65)  # fast down, slow back
        return 1.6 * heart.fibrillation_mv * (wave - 0.5)
    drift = np.cumsum(rng.standard_normal(len(time_s))) * np.sqrt(time_s[1] - time_s[0])
    angle = 2 * np.pi * rng.uniform(5.0, 7.5) * time_s + 2.5 * drift
    swell = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * time_s + rng.uniform(0, 6.28))
    return 0.5 * heart.fibrillation_mv * swell * (np.sin(angle) + 0.35 * np.sin(2 * angle + rng.uniform(0, 6.28)))
