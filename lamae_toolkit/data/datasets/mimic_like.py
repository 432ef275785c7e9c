"""Files in the shape of MIMIC-IV-ECG and MIMIC-IV, written from the simulator, to practice without credentials.

No number is of a real patient. The labels are written from the simulation, independently of `mimic_labels`, so that the
two check each other.
"""

from collections import Counter, namedtuple
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lamae_toolkit.data.datasets.mimic import MEASURED, MEASUREMENTS, NOT_MEASURED, RECORD_LIST
from lamae_toolkit.data.datasets.mimic_labels import TIME
from lamae_toolkit.data.datasets.simulated import silent_codes
from lamae_toolkit.data.format import patient_fold
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import atomic_write, writing_to
from lamae_toolkit.simulate.simulator import SimulatedECG, simulate_patients

ECG, HOSP, ED, RELEASED = "mimic-iv-ecg", "mimic-iv/hosp", "mimic-iv-ed/ed", "records_w_diag_icd10.csv"
LEAD_ORDER = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
"""MIMIC-IV-ECG stores aVF before aVL."""
RATE_HZ, UNITS_PER_MV, INVALID = 500, 200, -32768

_ICD9 = """
I10 4019, I48.91 42731, I48.92 42732, I44.7 4263, I45.10 4264, I25.2 412, I44.2 4260, I44.0 42611, I44.1 42613,
I47.1 4270, I51.7 4293, I45.81 42682, Z95.0 V4501, E11.9 25000, E78.5 2724, E87.5 2767, E87.6 2768, I21.09 41011,
I21.19 41041, R00.0 7850, R00.1 42789"""
ICD9 = dict(pair.split() for pair in _ICD9.split(","))
"""Codes whose ICD-9 counterpart leads back to them; a stay that has others is coded in ICD-10."""

KINDS = {"hospital": 0.55, "emergency, admitted": 0.20, "emergency": 0.12, "none": 0.13}
"""Where an ECG is taken, and how often."""

RELEASED_COLUMNS = """
file_name study_id subject_id ecg_time ed_stay_id ed_hadm_id hosp_hadm_id ed_diag_ed ed_diag_hosp hosp_diag_hosp
all_diag_hosp all_diag_all gender age anchor_year anchor_age dod ecg_taken_in_ed ecg_taken_in_hosp
ecg_taken_in_ed_or_hosp fold strat_fold"""
QRS_ONSET_MS = 200

_Row = namedtuple("_Row", "subject_id study_id file_name ecg_time path")
_Patient = namedtuple("_Patient", "subject_id gender anchor_age anchor_year anchor_year_group dod")


@dataclass
class _Stay:
    """One stay: a hospital admission, an emergency visit, or a visit that led to an admission."""

    kind: str
    hadm_id: int | None
    stay_id: int | None
    start: pd.Timestamp
    version: int
    codes: set[str] = field(default_factory=set)
    ed_codes: set[str] = field(default_factory=set)


def write_mimic_like(
    root: Path | str, ecgs: int = 300, seed: int = 0, *, workers: int = 1, progress: bool = True
) -> Path:
    """Write a MIMIC-shaped tree of simulated ECGs below `root`; returns it.

    `mimic-iv-ecg/` has the records (format 16, 500 Hz, 200 units per mV, aVF before aVL, some leads with gaps or flat)
    and their lists, `mimic-iv/hosp/` and `mimic-iv-ed/ed/` the compressed tables of stays and diagnoses (ICD-9 and
    ICD-10, overlapping and missing stays, visits that led to an admission), and `records_w_diag_icd10.csv` the labels
    as the released table has them. The same seed gives the same files. ECGError if `root` exists already.
    """
    root = Path(root)
    if ecgs < 1:
        raise ECGError(f"{ecgs} ECGs cannot be written; ask for one or more.")
    with writing_to(root), atomic_write(root) as partial:
        for folder in (ECG, HOSP, ED):
            (partial / folder).mkdir(parents=True)
        tables = _Tables(np.random.default_rng([seed, 20]), seed)
        simulated = simulate_patients(ecgs, seed, sampling_rate_hz=RATE_HZ, workers=workers)
        with tqdm(simulated, total=ecgs, desc="writing", unit="ECG", disable=not progress) as bar:
            for ecg in bar:
                _write_record(partial / ECG, tables.add(ecg), ecg, tables.random)
        tables.write(partial)
    return root


class _Tables:
    """The rows of all tables, as the ECGs are added."""

    def __init__(self, random: np.random.Generator, seed: int) -> None:
        self.random, self.seed = random, seed
        self.records: list[_Row] = []
        self.measurements: list[tuple] = []
        self.stays: list[tuple[int, _Stay]] = []
        self.patients: dict[int, _Patient] = {}
        self.visits: Counter[int] = Counter()
        self.stay_of_record: list[_Stay | None] = []

    def add(self, ecg: SimulatedECG) -> str:
        """Add one ECG; returns its path below the folder of ECGs, without suffix."""
        subject = 10_000_000 + 37 * ecg.patient.patient_id
        study = 40_000_000 + 11 * len(self.records)
        stay, time = self._stay(ecg, subject)
        path = f"files/p{str(subject)[:4]}/p{subject}/s{study}/{study}"
        self.records.append(_Row(subject, study, str(study), time, path))
        self.stay_of_record.append(stay)
        truth, onset = ecg.truth, QRS_ONSET_MS
        p = [NOT_MEASURED] * 2 if truth.pr_ms is None else [round(onset - truth.pr_ms + after) for after in (0, 90)]
        qrs_t = (onset, round(onset + truth.qrs_ms), round(onset + truth.qt_ms))
        measured = (round(60_000 / truth.heart_rate_bpm), *p, *qrs_t, 50, 30, 40)  # the last three are the axes
        self.measurements.append((subject, study, 1, time, "Simulated ECG", *measured))
        return path

    def _stay(self, ecg: SimulatedECG, subject: int) -> tuple[_Stay | None, pd.Timestamp]:
        """The stay of this ECG, an old one or a new one, and when in it the ECG is taken."""
        random, patient = self.random, ecg.patient
        if subject not in self.patients:
            year = int(random.integers(2110, 2190))
            self.patients[subject] = _Patient(subject, patient.sex, round(patient.age_years), year, "2014 - 2016", "")
        own = [stay for number, stay in self.stays[-3:] if number == subject and stay.kind == "hospital"]
        if own and random.random() < 0.3:
            stay = own[-1]
        else:
            kind = random.choice(list(KINDS), p=list(KINDS.values()))
            minutes = int(random.integers(0, 525_000)) + 525_600 * self.visits[subject]
            start = pd.Timestamp(f"{self.patients[subject].anchor_year}-01-01") + pd.Timedelta(minutes=minutes)
            self.visits[subject] += 1  # a year after the one before, so that no two stays of a patient overlap
            if kind == "none":
                return None, start
            hadm_id = None if kind == "emergency" else 20_000_000 + 13 * len(self.stays)
            stay_id = None if kind == "hospital" else 30_000_000 + 17 * len(self.stays)
            stay = _Stay(kind, hadm_id, stay_id, start, 9 if random.random() < 0.4 else 10)
            self.stays.append((subject, stay))
        stay.codes |= {*ecg.truth.codes, *silent_codes(patient, self.seed)}
        if stay.stay_id is not None:
            stay.ed_codes |= {"R07.9", *ecg.truth.codes[:1]}
        hours = random.uniform(0.5, 5.5) if stay.stay_id is not None else random.uniform(1, 47)
        return stay, (stay.start + pd.Timedelta(hours=hours)).floor("s")

    def write(self, root: Path) -> None:
        """Write all tables."""
        columns = " ".join(("subject_id study_id cart_id ecg_time report_0", *MEASURED))
        _write_table(root / ECG / RECORD_LIST, " ".join(_Row._fields), self.records)
        _write_table(root / ECG / MEASUREMENTS, columns, self.measurements)
        _write_table(root / HOSP / "patients.csv.gz", " ".join(_Patient._fields), self.patients.values())
        admissions: list[tuple] = []
        diagnoses: list[tuple] = []
        visits: list[tuple] = []
        visit_diagnoses: list[tuple] = []
        for subject, stay in self.stays:
            version = stay.version if stay.codes <= ICD9.keys() else 10
            visit_ends = stay.start + pd.Timedelta(hours=6)
            admitted = stay.start if stay.stay_id is None else visit_ends
            if stay.hadm_id is not None:
                died = self.random.random() < 0.03
                end = admitted + pd.Timedelta(hours=48)
                discharged, death = (end + pd.Timedelta(hours=2), end) if died else (end, pd.NaT)
                admissions.append((subject, stay.hadm_id, admitted, discharged, death))
                diagnoses += _diagnoses(subject, stay.hadm_id, stay.codes, version)
                if self.random.random() < 0.1:  # a second admission that overlaps the first: the first one counts
                    later = stay.hadm_id + 5
                    admissions.append((subject, later, admitted + pd.Timedelta(minutes=30), end, pd.NaT))
                    diagnoses += _diagnoses(subject, later, {"Z51.5"}, 10)
            if stay.stay_id is not None:
                visits.append((subject, stay.hadm_id, stay.stay_id, stay.start, visit_ends))
                visit_diagnoses += _diagnoses(subject, stay.stay_id, stay.ed_codes, 10)
        for file, columns, rows in (
            (f"{HOSP}/admissions", "subject_id hadm_id admittime dischtime deathtime", admissions),
            (f"{HOSP}/diagnoses_icd", "subject_id hadm_id seq_num icd_code icd_version", diagnoses),
            (f"{ED}/edstays", "subject_id hadm_id stay_id intime outtime", visits),
            (f"{ED}/diagnosis", "subject_id stay_id seq_num icd_code icd_version", visit_diagnoses),
        ):
            _write_table(root / f"{file}.csv.gz", columns, rows)
        _write_table(root / RELEASED, RELEASED_COLUMNS, self._released())

    def _released(self) -> Iterator[tuple]:
        """The rows of the released table."""
        for record, stay in zip(self.records, self.stay_of_record, strict=True):
            patient = self.patients[record.subject_id]
            in_ed = stay is not None and stay.stay_id is not None
            in_hospital = stay is not None and not in_ed
            hadm_id, stay_id = (None, None) if stay is None else (stay.hadm_id, stay.stay_id)
            hospital = _bare(stay.codes) if stay is not None and hadm_id is not None else []
            emergency = _bare(stay.ed_codes) if stay is not None and in_ed else []
            numbers = (stay_id, hadm_id if in_ed else None, hadm_id if in_hospital else None)
            codes = (emergency, hospital if in_ed else [], hospital if in_hospital else [], hospital)
            age = patient.anchor_age + record.ecg_time.year - patient.anchor_year
            about = (patient.gender, age, patient.anchor_year, patient.anchor_age, "")
            ecg = (record.path, record.study_id, record.subject_id, record.ecg_time)
            taken, folds = (in_ed, in_hospital, stay is not None), [patient_fold(record.subject_id)] * 2
            yield (*ecg, *numbers, *codes, hospital or emergency, *about, *taken, *folds)


def _bare(codes: set[str]) -> list[str]:
    return sorted(code.replace(".", "") for code in codes)


def _diagnoses(subject: int, stay: int, codes: set[str], version: int) -> list[tuple]:
    """Rows of a table of diagnoses, codes padded to seven characters as in MIMIC-IV."""
    written = [ICD9[code] if version == 9 else code.replace(".", "") for code in sorted(codes)]
    return [(subject, stay, number, f"{code:7}", version) for number, code in enumerate(written, 1)]


def _write_table(path: Path, columns: str, rows: Iterable[tuple]) -> None:
    """A table with its times as MIMIC-IV writes them."""
    table = pd.DataFrame(list(rows), columns=columns.split())
    for name in table.select_dtypes("datetime").columns:
        table[name] = table[name].dt.strftime(TIME)
    # gzip notes the time, unless told: the same seed gives the same files.
    table.to_csv(path, index=False, compression={"method": "gzip", "mtime": 1} if path.suffix == ".gz" else None)


def _write_record(root: Path, path: str, ecg: SimulatedECG, random: np.random.Generator) -> None:
    """One WFDB record of format 16, sometimes with a lead that is flat or has a gap."""
    rows = [LEAD_ORDER.index(lead) for lead in ecg.recording.leads]
    units = np.zeros((ecg.recording.signal_mv.shape[1], len(LEAD_ORDER)), dtype="<i2")  # an absent lead is flat
    units[:, rows] = np.rint(ecg.recording.signal_mv.T * UNITS_PER_MV).clip(-32767, 32767)
    if random.random() < 0.03:
        start, lead = int(random.integers(0, 4000)), int(random.integers(0, 12))
        units[start : start + int(random.integers(1, 900)), lead] = INVALID
    if random.random() < 0.02:
        units[:, int(random.integers(0, 12))] = 0
    file = root / path
    file.parent.mkdir(parents=True)
    file.with_suffix(".dat").write_bytes(units.tobytes())
    lines = [f"{file.name} 12 {RATE_HZ} {len(units)}"]
    checksums = units.sum(axis=0, dtype=np.int64) % 65536
    for name, first, checksum in zip(LEAD_ORDER, units[0], checksums, strict=True):
        lines.append(f"{file.name}.dat 16 {UNITS_PER_MV}.0(0)/mV 16 0 {first} {checksum} 0 {name}")
    file.with_suffix(".hea").write_text("\n".join(lines) + "\n")
