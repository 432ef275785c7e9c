"""The state of one simulated heart, in the quantities that a clinician measures."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

QRS_SNAPSHOTS = 7
"""The QRS is drawn as the vectors of seven instants, evenly spaced."""


@dataclass(frozen=True, eq=False)
class Habit:
    """What makes the waves of one person differ from the mean: vectors added to those of QRS, ST-T and P, in mV."""

    qrs: Float[np.ndarray, "7 9"]
    st_t: Float[np.ndarray, "3 9"]
    p: Float[np.ndarray, "2 9"]

    @classmethod
    def individual(cls, person: np.random.Generator) -> "Habit":
        """A person like any other: spread as among normal PTB-XL records, neighbouring instants alike."""
        spread = np.array([0.2, 0.45, 0.9, 1.2, 1.2, 0.5, 0.2])[:, None]
        source = np.array([0.20, 0.14, 0.16, 0.18, 0.30, 0.26, 0.18, 0.13, 0.14])
        rough = person.standard_normal((QRS_SNAPSHOTS + 1, 9))
        qrs = 0.7 * spread * source * (rough[1:] + 0.25 * rough[:-1])
        t_source = np.array([0.055, 0.045, 0.050, 0.065, 0.060, 0.050, 0.035, 0.025, 0.030])
        st_t = np.array([0.3, 0.6, 0.9])[:, None] * t_source * person.standard_normal((3, 9))
        p_source = np.array([0.007, 0.012, 0.006, 0.006, 0.004, 0.004, 0.003, 0.003, 0.003])
        return cls(qrs, st_t, p_source * person.standard_normal((2, 9)))

    @classmethod
    def mean(cls, st_t: Float[np.ndarray, "3 9"]) -> "Habit":
        """The mean person, but for these ST-T vectors."""
        return cls(np.zeros((QRS_SNAPSHOTS, 9)), st_t, np.zeros((2, 9)))


@dataclass(frozen=True, eq=False)
class Heart:
    """The state of one heart during one ECG, in the quantities that a clinician measures.

    Rates in beats per minute, intervals in ms, amplitudes in mV. `injury` (9 sources) shifts the ST
    segment; `necrosis` (7 x 9) is taken out of the QRS; `habit` scatters the person's own waves about the mean.
    """

    rhythm: str = "sinus"  # "sinus", "fibrillation", "flutter" or "reentry"
    rate_bpm: float = 70.0
    rr_variation: float = 0.03  # standard deviation of the RR interval, as a share of its mean
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
    habit: Habit | None = None
