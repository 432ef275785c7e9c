"""One simulated heart: its state in the quantities that a clinician measures, and the effect of each condition.

Every effect takes a heart, a severity (near 0 barely visible, 1 textbook) and a random generator, and
returns the changed heart.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

QRS_SNAPSHOTS = 7
"""The QRS is built from the vectors of seven instants, evenly spaced."""


@dataclass(frozen=True, eq=False)
class IndividualVariation:
    """How the waves of one person differ from the mean: vectors added to those of QRS, ST-T and P, in mV."""

    qrs: Float[np.ndarray, "7 9"]
    st_t: Float[np.ndarray, "3 9"]
    p: Float[np.ndarray, "2 9"]

    @classmethod
    def individual(cls, person: np.random.Generator) -> "IndividualVariation":
        """A random person; the variation is that among normal PTB-XL records."""
        qrs_std_over_time = np.array([0.15, 0.4, 0.9, 1.3, 1.2, 0.45, 0.12])[:, None]
        qrs_std_of_source = np.array([0.20, 0.14, 0.16, 0.20, 0.40, 0.36, 0.26, 0.18, 0.16])
        qrs = 0.7 * qrs_std_over_time * qrs_std_of_source * person.standard_normal((QRS_SNAPSHOTS, 9))
        t_std = np.array([0.055, 0.045, 0.050, 0.065, 0.060, 0.050, 0.035, 0.025, 0.030])
        st_t = np.array([0.3, 0.6, 0.9])[:, None] * t_std * person.standard_normal((3, 9))
        p_std = np.array([0.007, 0.012, 0.006, 0.006, 0.004, 0.004, 0.003, 0.003, 0.003])
        return cls(qrs, st_t, p_std * person.standard_normal((2, 9)))

    @classmethod
    def mean(cls, st_t: Float[np.ndarray, "3 9"]) -> "IndividualVariation":
        """The mean person, except for these ST-T vectors."""
        return cls(np.zeros((QRS_SNAPSHOTS, 9)), st_t, np.zeros((2, 9)))


@dataclass(frozen=True, eq=False)
class Heart:
    """The state of one heart during one ECG, in the quantities that a clinician measures.

    Rates in beats per minute, intervals in ms, amplitudes in mV. `injury` (9 sources) shifts the ST segment; `necrosis`
    (7 x 9) is subtracted from the QRS; `variation` is how the person's own waves differ from the mean.
    """

    rhythm: str = "sinus"  # "sinus", "fibrillation", "flutter" or "reentry"
    rate_bpm: float = 70.0
    rr_variation: float = 0.03  # standard deviation of the RR interval, as a fraction of its mean
    respiration_hz: float = 0.25
    av_conduction: str = "1:1"  # "1:1", "wenckebach", "mobitz" or "none"
    av_ratio: int = 4  # in second-degree block each av_ratio-th P wave is not conducted
    flutter_rate_bpm: float = 300.0
    escape_rate_bpm: float = 40.0
    wide_escape: bool = False
    p_ms: float = 105.0
    pr_ms: float = 155.0
    qrs_ms: float = 95.0
    wide_qrs_ms: float = 158.0  # of beats that start in a ventricle
    qtc_ms: float = 415.0  # at 60 beats per minute (Fridericia)
    p_gain: float = 1.0
    t_gain: float = 1.0
    t_narrowing: float = 1.0  # below 1 the T wave is peaked and symmetric
    u_mv: float = 0.0
    fibrillation_mv: float = 0.08
    left_bundle: float = 0.0
    right_bundle: float = 0.0
    hypertrophy: float = 0.0
    ectopic_beats: int = 0
    ectopic_site: str = "outflow"
    paced_share: float = 0.0
    paces_atrium: bool = False
    spike_mv: float = 0.0
    injury: Float[np.ndarray, "9"] | None = None
    necrosis: Float[np.ndarray, "7 9"] | None = None
    variation: IndividualVariation | None = None
    infarct_wall: str = "inferior"  # "inferior" or "anterior", for an old infarction


def sources_mv(x: float, y: float, z: float, **near: float) -> Float[np.ndarray, "9"]:
    """Nine sources in mV: a dipole and the near fields that are named."""
    return np.array([x, y, z, *(near.get(lead, 0.0) for lead in ("V1", "V2", "V3", "V4", "V5", "V6"))])


def hypertrophy(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """A thick left ventricle: high voltage, a little slower, with flat or inverted T waves over it."""
    strain = heart.t_gain * (1 - 0.5 * severity)
    return replace(heart, hypertrophy=0.3 + 1.1 * severity, qrs_ms=heart.qrs_ms + 9 * severity, t_gain=strain)


def old_infarction(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """A scar: Q waves or lost R waves over one wall, with flat T waves."""
    # Dead muscle on one wall: from the first 40 ms the vector that pointed there is missing.
    early = np.array([0.5, 1.0, 0.9, 0.5, 0.15, 0.0, 0.0])[:, None]
    if heart.infarct_wall == "inferior":
        gone, flat = sources_mv(-0.05, -0.42, 0.0), sources_mv(0.0, -0.10, 0.0)
    else:
        gone = sources_mv(-0.08, 0.0, -0.42, V1=0.05, V3=-0.10, V4=-0.08)
        flat = sources_mv(-0.10, 0.0, -0.08, V2=-0.05, V3=-0.06, V4=-0.06)
    scar = (0.35 + 0.65 * severity) * early * gone
    flat = 2.0 * severity * rng.uniform(0.0, 1.0) * flat * np.array([0.0, 1.0, 0.8])[:, None]
    variation = (
        replace(heart.variation, st_t=heart.variation.st_t + flat)
        if heart.variation
        else IndividualVariation.mean(st_t=flat)
    )
    return replace(heart, necrosis=scar, variation=variation)


def left_bundle(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Left bundle branch block: wide, to the left and back."""
    qrs_ms = 124 + 42 * severity
    qtc_ms = heart.qtc_ms + 0.45 * (qrs_ms - 95)
    return replace(heart, left_bundle=0.6 + 0.4 * severity, right_bundle=0.0, qrs_ms=qrs_ms, qtc_ms=qtc_ms)


def right_bundle(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Right bundle branch block: wide, with late forces to the right and front."""
    qrs_ms = 123 + 37 * severity
    qtc_ms = heart.qtc_ms + 0.35 * (qrs_ms - 95)
    return replace(heart, right_bundle=0.5 + 0.5 * severity, left_bundle=0.0, qrs_ms=qrs_ms, qtc_ms=qtc_ms)


def long_qt(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Long QT: slow recovery."""
    return replace(heart, qtc_ms=max(heart.qtc_ms + 20, 475 + 100 * severity), rate_bpm=min(heart.rate_bpm, 88.0))


def fibrillation(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Atrial fibrillation: no P waves, f waves, irregular beats."""
    irregular = replace(heart, rhythm="fibrillation", rr_variation=0.13 + 0.12 * severity)
    waves_mv = 0.05 + 0.13 * severity * rng.uniform(0.6, 1.4)
    return replace(irregular, fibrillation_mv=waves_mv, rate_bpm=float(np.clip(rng.normal(88, 20), 48, 165)))


def flutter(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Atrial flutter: 240 to 330 waves a minute, of which each second to fourth is conducted."""
    wave_rate = rng.uniform(240, 330)
    rate = wave_rate / rng.choice([2, 2, 3, 4, 4, 2.5, 3.4])
    waves_mv = 0.09 + 0.14 * severity
    return replace(heart, rhythm="flutter", flutter_rate_bpm=wave_rate, rate_bpm=rate, fibrillation_mv=waves_mv)


def reentry(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Supraventricular re-entry: fast and regular, P waves at the end of the QRS."""
    depressed = -0.5 * severity * sources_mv(0.09, 0.08, 0.03)
    return replace(heart, rhythm="reentry", rate_bpm=138 + 75 * severity, injury=_add(heart.injury, depressed))


def tachycardia(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Sinus tachycardia, 101 to 150 a minute."""
    quick = replace(heart, rate_bpm=101 + 49 * severity, rr_variation=0.4 * heart.rr_variation)
    return replace(quick, pr_ms=max(110.0, heart.pr_ms - 25 * severity), p_gain=heart.p_gain * 1.2)


def bradycardia(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Sinus bradycardia, 58 down to 36 a minute."""
    return replace(heart, rate_bpm=58 - 22 * severity)


def first_degree(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """First-degree AV block: PR of 208 to 328 ms."""
    return replace(heart, pr_ms=208 + 120 * severity, rate_bpm=min(heart.rate_bpm, 105.0))


def second_degree(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Second-degree AV block: some P waves are not conducted, with (Wenckebach) or without growing PR."""
    kind = "wenckebach" if rng.random() < 0.6 else "mobitz"
    ratio = int(np.clip(round(5.4 - 3.6 * severity), 2, 5))
    ratio = max(3, ratio) if kind == "wenckebach" else ratio
    rate = float(np.clip(heart.rate_bpm, 60, 100))
    return replace(heart, av_conduction=kind, av_ratio=ratio, rate_bpm=rate, pr_ms=heart.pr_ms + 25)


def third_degree(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Complete AV block: atria and ventricles each at their own rate."""
    dissociated = replace(heart, av_conduction="none", rate_bpm=float(np.clip(heart.rate_bpm + 12, 66, 110)))
    return replace(dissociated, escape_rate_bpm=52 - 24 * severity, wide_escape=severity > 0.45)


def inferior_infarction(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Acute inferior infarction: a current of injury to the feet, so ST up in II, III, aVF and down in aVL."""
    up = rng.uniform(0.05, 0.11) + 0.27 * severity
    injury = up * sources_mv(rng.uniform(-0.40, 0.05), 1.0, rng.uniform(-0.35, 0.1))
    gone = np.array([0.3, 0.8, 0.6, 0.2, 0, 0, 0])[:, None] * sources_mv(0.0, -0.25 * rng.uniform(0, 1) * severity, 0.0)
    return replace(heart, injury=_add(heart.injury, injury), necrosis=_add(heart.necrosis, gone))


def anterior_infarction(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Acute anterior infarction: a current of injury to the front, so ST up in V1 to V4, down in III and aVF."""
    up = rng.uniform(0.05, 0.10) + 0.22 * severity
    injury = up * sources_mv(rng.uniform(0.0, 0.5), rng.uniform(-0.45, -0.1), 0.75, V2=0.3, V3=0.5, V4=0.4)
    weight = rng.uniform(0, 1) * severity
    gone = np.array([0.3, 0.8, 0.7, 0.3, 0, 0, 0])[:, None] * weight * sources_mv(0, 0, -0.10, V2=-0.12, V3=-0.15)
    return replace(heart, injury=_add(heart.injury, injury), necrosis=_add(heart.necrosis, gone))


def ectopy(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Ventricular ectopic beats: one to five in 10 s, from the right outflow tract or the left ventricle."""
    site = "outflow" if rng.random() < 0.6 else "left ventricle"
    return replace(heart, ectopic_beats=int(np.ceil(5 * severity)), ectopic_site=site)


def hyperkalemia(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Too much potassium: tall narrow T waves, flat P waves, and finally a wide QRS."""
    return replace(
        heart,
        t_gain=heart.t_gain * (1.25 + 1.2 * severity),
        t_narrowing=0.9 - 0.4 * severity,
        p_gain=heart.p_gain * (1 - 0.75 * severity),
        pr_ms=heart.pr_ms + 30 * severity,
        qrs_ms=heart.qrs_ms + 40 * severity**2,
    )


def hypokalemia(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """Too little potassium: flat T waves, U waves, depressed ST segments."""
    return replace(
        heart,
        t_gain=heart.t_gain * (0.75 - 0.75 * severity),
        u_mv=0.05 + 0.20 * severity,
        injury=_add(heart.injury, -0.09 * severity * sources_mv(0.7, 0.5, 0.3)),
        qtc_ms=heart.qtc_ms + 25 * severity,
    )


def pacemaker(heart: Heart, severity: float, rng: np.random.Generator) -> Heart:
    """A pacemaker: spikes, and beats that start at the apex of the right ventricle."""
    # Bipolar leads leave hardly visible spikes, unipolar ones tall spikes. A demand pacemaker may pace some beats, or
    # only sense: then the code is right and the ECG does not show it.
    spike_mv = 0.08 + rng.lognormal(-1.6, 0.8) * (0.5 + severity)
    share = 1.0 if severity > 0.3 else rng.uniform(0.4, 0.8) if severity > 0.15 else 0.0
    paced = replace(heart, paced_share=share, spike_mv=min(spike_mv, 2.5), paces_atrium=bool(rng.random() < 0.4))
    return replace(paced, escape_rate_bpm=rng.uniform(60, 78), pr_ms=rng.uniform(140, 185))


def _add(old: np.ndarray | None, new: np.ndarray) -> np.ndarray:
    return new if old is None else old + new
