"""The clinical part of the simulator: ICD-10-coded conditions, their prevalence and their effect on the heart.

Prevalences, odds and effects are plausible round numbers chosen so that each code is frequent enough to
be learned; they are not epidemiology. Interval limits follow the usual definitions (first-degree
block: PR > 200 ms; bundle-branch block: QRS >= 120 ms; long QT: QTc > 470 ms; rates 60 and 100 a minute).
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from io import StringIO

import numpy as np

from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import NAMES
from lamae_toolkit.simulate import heart as effects
from lamae_toolkit.simulate.heart import Heart, IndividualVariation

INFERIOR_LEADS = ("II", "III", "aVF")
ANTERIOR_LEADS = ("V1", "V2", "V3", "V4")

Effect = Callable[[Heart, float, np.random.Generator], Heart]


@dataclass(frozen=True)
class Condition:
    """One diagnosis: its evidence in the ECG, its prevalence, and its effect on a heart.

    evidence_wave: "P", "PR", "QRS", "ST", "T", "ectopic" (the early beats),
        "paced" (the paced beats) or "rhythm" (the complete strip).
    prevalence: of an ECG of a 65-year-old man. The odds are multiplied by `per_decade` for each further ten years of
        age, by `women` for women, and by `odds_ratios` for each of these conditions that the patient has.
    chronic: present in all ECGs of the patient; other conditions are sampled for each ECG.
    excluded_by: conditions with which it cannot occur, or cannot be recognized.
    """

    code: str
    evidence_leads: tuple[str, ...]
    evidence_wave: str
    effect: Effect
    prevalence: float
    per_decade: float = 1.0
    women: float = 1.0
    chronic: bool = False
    odds_ratios: Mapping[str, float] = field(default_factory=dict)
    excluded_by: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The condition's name in ICD-10-CM."""
        return NAMES[self.code]

    def probability(self, age_years: float, sex: str, others: Mapping[str, float]) -> float:
        """The probability that a patient of this age and sex with these other conditions has this one in an ECG."""
        if any(code in others for code in self.excluded_by):
            return 0.0
        odds = self.prevalence / (1 - self.prevalence) * self.per_decade ** ((age_years - 65) / 10)
        odds *= self.women if sex == "F" else 1.0
        for code, factor in self.odds_ratios.items():
            odds *= factor if code in others else 1.0
        return odds / (1 + odds)


@dataclass(frozen=True)
class Patient:
    """One person: age, sex, chronic conditions with their severity, and the seed of an individual anatomy.

    infarct_wall: the wall of an old infarction, "inferior" or "anterior".
    """

    patient_id: int
    age_years: float
    sex: str
    conditions: tuple[tuple[str, float], ...]
    anatomy_seed: int
    infarct_wall: str = "inferior"


def _conditions() -> Iterator[Condition]:
    """The rows of conditions.csv; lists are separated by spaces, and each of `odds_ratios` is a code and its factor."""
    text = resources.files("lamae_toolkit.simulate").joinpath("conditions.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(StringIO(text)):
        factors = (pair.split(":") for pair in row["odds_ratios"].split())
        yield Condition(
            code=row["code"],
            evidence_leads=tuple(row["evidence_leads"].split()),
            evidence_wave=row["evidence_wave"],
            effect=getattr(effects, row["effect"]),
            prevalence=float(row["prevalence"]),
            per_decade=float(row["per_decade"]),
            women=float(row["women"]),
            chronic=row["chronic"] == "yes",
            odds_ratios={code: float(factor) for code, factor in factors},
            excluded_by=tuple(row["excluded_by"].split()),
        )


CONDITIONS = {condition.code: condition for condition in _conditions()}
"""All conditions, in the order in which they are sampled and change the heart."""


def sample_patient(patient_id: int, rng: np.random.Generator) -> Patient:
    """A simulated patient: mostly older than 50, with chronic conditions as frequent as at that age and sex.

    patient_id: the patient's number in a cohort. rng: the source of random numbers.

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
    """Requested codes with their severities, in the order in which they are applied; ECGError for an unknown one."""
    unknown = [code for code in codes if code not in CONDITIONS]
    if unknown:
        raise ECGError(f"{unknown[0]!r} cannot be simulated; the codes that can are {', '.join(CONDITIONS)}.")
    for code, severity in codes.items():
        if not 0 < severity <= 1:
            raise ECGError(f"The severity of {code} is {severity}; give a number above 0 and up to 1.")
    return {code: float(codes[code]) for code in CONDITIONS if code in codes}


def resting_heart(patient: Patient, rng: np.random.Generator) -> Heart:
    """This patient's heart on a day without any condition: rate, intervals and waves by age, sex and individual."""
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
        variation=IndividualVariation.individual(person),
        infarct_wall=patient.infarct_wall,
        injury=_variant_st(patient, person),
    )


def _variant_st(patient: Patient, person: np.random.Generator) -> np.ndarray | None:
    # Normal variants that mimic: early repolarization in young men, unspecific ST depression with age.
    young_man = patient.sex == "M" and patient.age_years < 50
    if person.random() < (0.35 if young_man else 0.06):
        return person.uniform(0.02, 0.10) * effects.sources_mv(0.5, 0.35, 0.5, V2=0.3, V3=0.4, V4=0.3)
    if person.random() < 0.10:
        return -person.uniform(0.01, 0.06) * effects.sources_mv(0.8, 0.5, 0.2)
    return None


def heart_with(patient: Patient, codes: Mapping[str, float | int], rng: np.random.Generator) -> Heart:
    """This patient's heart with these conditions, applied in sequence."""
    heart = resting_heart(patient, rng)
    for code, severity in check_codes(codes).items():
        heart = CONDITIONS[code].effect(heart, severity, rng)
    return heart


def evidence_leads(code: str, patient: Patient) -> tuple[str, ...]:
    """The leads in which a reader finds this condition in this patient."""
    if code == "I25.2":
        return INFERIOR_LEADS if patient.infarct_wall == "inferior" else ANTERIOR_LEADS
    return CONDITIONS[code].evidence_leads
