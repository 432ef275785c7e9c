"""The clinical side of the simulator: ICD-10-coded conditions, whom they strike and what they do to the heart.

Shares, odds and effects are plausible round numbers chosen so that each code is met often enough to
be learned; they are not epidemiology. Interval limits follow the usual definitions (first-degree
block: PR > 200 ms; bundle-branch block: QRS >= 120 ms; long QT: QTc > 470 ms; rates 60 and 100 a minute).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import NAMES
from lamae_toolkit.simulate import heart as effects
from lamae_toolkit.simulate.heart import Heart, IndividualVariation

INFERIOR_LEADS = ("II", "III", "aVF")
ANTERIOR_LEADS = ("V1", "V2", "V3", "V4")

Effect = Callable[[Heart, float, np.random.Generator], Heart]


@dataclass(frozen=True)
class Condition:
    """One diagnosis: its evidence in the ECG, who has it, and what it does to a heart.

    evidence_wave: "P", "PR", "QRS", "ST", "T", "ectopic" (the early beats),
        "paced" (the paced beats) or "rhythm" (the whole strip).
    share: how many of 65-year-old men have it in one ECG; the odds change by `per_decade` with each ten
        years of age and by `women` for women, and by `raised_by` for each condition that is there already.
    chronic: it stays with the patient through all ECGs; the others come and go.
    excluded_by: conditions with which it cannot be, or cannot be seen.
    """

    code: str
    evidence_leads: tuple[str, ...]
    evidence_wave: str
    effect: Effect
    share: float
    per_decade: float = 1.0
    women: float = 1.0
    chronic: bool = False
    raised_by: Mapping[str, float] | None = None
    excluded_by: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The condition's name in ICD-10-CM."""
        return NAMES[self.code]

    def probability(self, age_years: float, sex: str, others: Mapping[str, float]) -> float:
        """The chance that a patient of this age and sex with these conditions has this one in an ECG."""
        if any(code in others for code in self.excluded_by):
            return 0.0
        odds = self.share / (1 - self.share) * self.per_decade ** ((age_years - 65) / 10)
        odds *= self.women if sex == "F" else 1.0
        for code, factor in (self.raised_by or {}).items():
            odds *= factor if code in others else 1.0
        return odds / (1 + odds)


@dataclass(frozen=True)
class Patient:
    """One person: age, sex, chronic conditions with their severity, and the seed of an individual anatomy.

    infarct_wall: where an old infarction lies, "inferior" or "anterior".
    """

    patient_id: int
    age_years: float
    sex: str
    conditions: tuple[tuple[str, float], ...]
    anatomy_seed: int
    infarct_wall: str = "inferior"


_ATRIAL = ("I48.91", "I48.92", "I47.1")

CONDITIONS: dict[str, Condition] = {
    condition.code: condition
    for condition in (
        Condition("I51.7", ("I", "aVL", "V1", "V2", "V5", "V6"), "QRS", effects.hypertrophy, 0.09, 1.35, 0.8, True),
        Condition("I25.2", INFERIOR_LEADS + ANTERIOR_LEADS, "QRS", effects.old_infarction, 0.08, 1.45, 0.5, True),
        Condition(
            "I44.7",
            ("I", "aVL", "V1", "V5", "V6"),
            "QRS",
            effects.left_bundle,
            0.05,
            1.6,
            1.0,
            True,
            {"I51.7": 2.0, "I25.2": 1.5},
        ),
        Condition(
            "I45.10", ("I", "V1", "V2", "V6"), "QRS", effects.right_bundle, 0.06, 1.5, 0.6, True, excluded_by=("I44.7",)
        ),
        Condition("I45.81", LEADS, "T", effects.long_qt, 0.03, 0.9, 1.7, True, excluded_by=("I44.7",)),
        Condition(
            "I48.91",
            ("II", "III", "aVF", "V1"),
            "rhythm",
            effects.fibrillation,
            0.07,
            1.9,
            0.75,
            True,
            {"I51.7": 1.6, "I25.2": 1.3},
        ),
        Condition(
            "Z95.0",
            LEADS,
            "paced",
            effects.pacemaker,
            0.04,
            1.7,
            0.75,
            True,
            {"I48.91": 2.0, "I44.7": 1.5, "I25.2": 1.3},
        ),
        Condition(
            "I44.0",
            ("II", "V1"),
            "PR",
            effects.first_degree,
            0.06,
            1.4,
            0.8,
            True,
            {"I25.2": 1.3, "I44.7": 1.5, "I45.10": 1.4},
            ("I48.91", "Z95.0"),
        ),
        Condition(
            "I48.92",
            ("II", "III", "aVF", "V1"),
            "rhythm",
            effects.flutter,
            0.045,
            1.4,
            0.6,
            False,
            {"I51.7": 1.4, "I44.0": 1.3},
            ("I48.91", "Z95.0"),
        ),
        Condition(
            "I47.1",
            ("II", "V1"),
            "rhythm",
            effects.reentry,
            0.026,
            0.75,
            1.5,
            False,
            excluded_by=("I48.91", "I48.92", "Z95.0"),
        ),
        Condition(
            "I44.2",
            ("II", "V1"),
            "rhythm",
            effects.third_degree,
            0.038,
            1.6,
            0.9,
            False,
            {"I44.7": 1.5, "I45.10": 2.0, "I44.0": 2.0},
            (*_ATRIAL, "Z95.0"),
        ),
        Condition(
            "I44.1",
            ("II", "V1"),
            "PR",
            effects.second_degree,
            0.045,
            1.3,
            0.9,
            False,
            {"I44.0": 2.5, "I45.10": 1.5, "I44.7": 1.5},
            (*_ATRIAL, "I44.2", "Z95.0"),
        ),
        Condition(
            "R00.0",
            ("II",),
            "rhythm",
            effects.tachycardia,
            0.06,
            0.85,
            1.3,
            False,
            {"I51.7": 1.2},
            (*_ATRIAL, "I44.2", "I44.1", "Z95.0"),
        ),
        Condition(
            "R00.1",
            ("II",),
            "rhythm",
            effects.bradycardia,
            0.065,
            1.1,
            0.8,
            False,
            {"I44.0": 1.6},
            (*_ATRIAL, "I44.2", "I44.1", "R00.0", "Z95.0"),
        ),
        Condition(
            "I21.19",
            (*INFERIOR_LEADS, "I", "aVL"),
            "ST",
            effects.inferior_infarction,
            0.055,
            1.2,
            0.5,
            False,
            {"I44.2": 2.5, "I44.1": 2.0, "R00.1": 1.6},
            ("Z95.0", "I44.7"),
        ),
        Condition(
            "I21.09",
            ("V1", "V2", "V3", "V4", "III", "aVF"),
            "ST",
            effects.anterior_infarction,
            0.06,
            1.2,
            0.5,
            False,
            {"R00.0": 1.8},
            ("Z95.0", "I44.7", "I21.19"),
        ),
        Condition(
            "I49.3",
            LEADS,
            "ectopic",
            effects.ectopy,
            0.07,
            1.35,
            0.9,
            False,
            {"I51.7": 1.6, "I25.2": 1.8, "E87.6": 1.8, "I21.09": 1.5, "I21.19": 1.5},
            ("I47.1",),
        ),
        Condition(
            "E87.5",
            ("II", "V2", "V3", "V4"),
            "T",
            effects.hyperkalaemia,
            0.04,
            1.2,
            0.9,
            False,
            {"I51.7": 1.4},
            ("I21.09", "I21.19"),
        ),
        Condition(
            "E87.6",
            ("II", "V2", "V3", "V4", "V5"),
            "T",
            effects.hypokalaemia,
            0.035,
            1.0,
            1.4,
            False,
            {"I49.3": 1.3, "I48.91": 1.2},
            ("E87.5", "I45.81"),
        ),
    )
}
"""All conditions, in the order in which they are drawn and in which they act on the heart."""


def sample_patient(patient_id: int, rng: np.random.Generator) -> Patient:
    """A simulated patient: mostly older than 50, with chronic conditions as frequent as at that age and sex.

    patient_id: the number by which the patient is known in a cohort. rng: the source of random numbers.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        patient = lt.sample_patient(0, np.random.default_rng(0))
        patient.age_years, patient.sex, patient.conditions
    """
    age_years = float(np.clip(rng.normal(62, 17) if rng.random() < 0.85 else rng.uniform(18, 50), 18, 97))
    sex = "F" if rng.random() < 0.49 else "M"
    severity: dict[str, float] = {}
    for condition in CONDITIONS.values():
        if condition.chronic and rng.random() < condition.probability(age_years, sex, severity):
            severity[condition.code] = _severity(rng)
    wall = "inferior" if rng.random() < 0.55 else "anterior"
    return Patient(patient_id, round(age_years, 1), sex, tuple(severity.items()), int(rng.integers(2**63)), wall)


def sample_codes(patient: Patient, rng: np.random.Generator) -> dict[str, float]:
    """The conditions of this patient on the day of one ECG with their severity: the chronic and the acute ones."""
    severity = dict(patient.conditions)
    for condition in CONDITIONS.values():
        if not condition.chronic and rng.random() < condition.probability(patient.age_years, patient.sex, severity):
            severity[condition.code] = _severity(rng)
    return {code: severity[code] for code in CONDITIONS if code in severity}


def _severity(rng: np.random.Generator) -> float:
    return float(round(0.05 + 0.95 * rng.beta(1.6, 1.8), 3))


def check_codes(codes: Mapping[str, float | int]) -> dict[str, float]:
    """Codes with severities as asked for by name, in the order in which they act (ECGError if impossible)."""
    unknown = [code for code in codes if code not in CONDITIONS]
    if unknown:
        raise ECGError(f"{unknown[0]!r} cannot be simulated; the codes that can are {', '.join(CONDITIONS)}.")
    for code, severity in codes.items():
        if not 0 < severity <= 1:
            raise ECGError(f"The severity of {code} is {severity}; give a number above 0 and up to 1.")
    return {code: float(codes[code]) for code in CONDITIONS if code in codes}


def resting_heart(patient: Patient, rng: np.random.Generator) -> Heart:
    """This patient's heart on a day without any condition: rate, intervals and waves of age, sex and person."""
    person = np.random.default_rng([patient.anatomy_seed, 1])
    woman, age = patient.sex == "F", patient.age_years
    rate = person.normal(73 if woman else 70, 8) + rng.normal(0, 5)
    qtc_ms = person.normal(410 if woman else 399, 13) + rng.normal(0, 5)
    # Uncoded variants that mimic a block: incomplete right bundle branch block, unspecific delay.
    variant = person.random()
    right = person.uniform(0.12, 0.42) if variant < 0.07 else 0.0
    left = person.uniform(0.10, 0.45) if variant > 0.95 else 0.0
    qrs_ms = np.clip(person.normal(86 if woman else 92, 8), 72, 112) + 25 * (right + left)
    return Heart(
        rate_bpm=float(np.clip(rate, 60, 97)),
        rr_variation=float(np.exp(person.normal(-3.6, 0.4)) * 1.6 ** ((50 - age) / 30)),
        respiration_hz=float(rng.uniform(0.17, 0.36)),
        p_ms=float(np.clip(person.normal(108, 9), 88, 128)),
        pr_ms=float(np.clip(person.normal(156 + 0.25 * (age - 50), 17) + rng.normal(0, 4), 118, 197)),
        qrs_ms=float(min(qrs_ms, 118.0)),
        right_bundle=float(right),
        left_bundle=float(left),
        wide_qrs_ms=float(np.clip(person.normal(156, 11), 132, 185)),
        qtc_ms=float(np.clip(qtc_ms, 370, 452)),
        p_gain=float(np.exp(person.normal(0.1, 0.22))),
        t_gain=float(np.exp(person.normal(-0.18 if woman else -0.06, 0.25)) * 1.15 ** ((55 - age) / 20)),
        habit=IndividualVariation.individual(person),
        infarct_wall=patient.infarct_wall,
        injury=_variant_st(patient, person),
    )


def _variant_st(patient: Patient, person: np.random.Generator) -> np.ndarray | None:
    # Normal variants that mimic: early repolarisation in young men, unspecific ST depression with age.
    young_man = patient.sex == "M" and patient.age_years < 50
    if person.random() < (0.35 if young_man else 0.06):
        return person.uniform(0.02, 0.10) * effects.sources_mv(0.5, 0.35, 0.5, V2=0.3, V3=0.4, V4=0.3)
    if person.random() < 0.10:
        return -person.uniform(0.01, 0.06) * effects.sources_mv(0.8, 0.5, 0.2)
    return None


def heart_with(patient: Patient, codes: Mapping[str, float | int], rng: np.random.Generator) -> Heart:
    """This patient's heart with these conditions, each of which acts in turn."""
    heart = resting_heart(patient, rng)
    for code, severity in check_codes(codes).items():
        heart = CONDITIONS[code].effect(heart, severity, rng)
    return heart


def evidence_leads(code: str, patient: Patient) -> tuple[str, ...]:
    """The leads in which a reader finds this condition in this patient."""
    if code == "I25.2":
        return INFERIOR_LEADS if patient.infarct_wall == "inferior" else ANTERIOR_LEADS
    return CONDITIONS[code].evidence_leads
