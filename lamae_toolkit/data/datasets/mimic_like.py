"""Files in the shape of MIMIC-IV-ECG and MIMIC-IV, written from the simulator: to practise without credentials.

No number in it is of a real patient. The labels are written from what was simulated, in another way than
`mimic_labels` finds them, so that the two check each other.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lamae_toolkit.data.datasets.mimic import MEASUREMENTS, NOT_MEASURED, RECORD_LIST
from lamae_toolkit.data.datasets.mimic_labels import TIME
from lamae_toolkit.data.datasets.simulated import silent_codes
from lamae_toolkit.data.store import patient_fold
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import atomic_write
from lamae_toolkit.simulate.simulator import SimulatedECG, simulate_patients

ECG, HOSP, ED, RELEASED = "mimic-iv-ecg", "mimic-iv/hosp", "mimic-iv-ed/ed", "records_w_diag_icd10.csv"
LEAD_ORDER = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
"""MIMIC-IV-ECG stores aVF before aVL."""
RATE_HZ, UNITS_PER_MV, INVALID = 500, 200, -32768

ICD9 = {
    "I10": "4019",
    "I48.91": "42731",
    "I48.92": "42732",
    "I44.7": "4263",
    "I45.10": "4264",
    "I25.2": "412",
    "I44.2": "4260",
    "I44.0": "42611",
    "I44.1": "42613",
    "I47.1": "4270",
    "I51.7": "4293",
    "I45.81": "42682",
    "Z95.0": "V4501",
    "E11.9": "25000",
    "E78.5": "2724",
    "E87.5": "2767",
    "E87.6": "2768",
    "I21.09": "41011",
    "I21.19": "41041",
    "R00.0": "7850",
    "R00.1": "42789",
}
"""Codes whose ICD-9 counterpart leads back to them; a stay that has others is coded in ICD-10."""

KINDS = {"hospital": 0.55, "emergency, admitted": 0.20, "emergency": 0.12, "none": 0.13}
"""Where an ECG is taken, and how often."""


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
    as the released table has them. The same seed gives the same files. ECGError if `root` is there already.
    """
    root = Path(root)
    if ecgs < 1:
        raise ECGError(f"{ecgs} ECGs cannot be written; ask for one or more.")
    with atomic_write(root) as partial:
        for folder in (ECG, HOSP, ED):
            (partial / folder).mkdir(parents=True)
        tables = _Tables(np.random.default_rng([seed, 20]), seed)
        simulated = simulate_patients(ecgs, seed, sampling_rate_hz=RATE_HZ, workers=workers)
        for ecg in tqdm(simulated, total=ecgs, desc="writing", unit="ECG", disable=not progress):
            _write_record(partial / ECG, tables.add(ecg), ecg, tables.random)
        tables.write(partial)
    return root


class _Tables:
    """The rows of all tables, as they come up."""

    def __init__(self, random: np.random.Generator, seed: int) -> None:
        self.random, self.seed = random, seed
        self.records: list[dict] = []
        self.measurements: list[dict] = []
        self.stays: list[tuple[int, _Stay]] = []
        self.patients: dict[int, dict] = {}
        self.visits: Counter[int] = Counter()
        self.stay_of_record: list[_Stay | None] = []

    def add(self, ecg: SimulatedECG) -> str:
        """Add one ECG; returns its path below the folder of ECGs, without suffix."""
        subject = 10_000_000 + 37 * ecg.patient.patient_id
        study = 40_000_000 + 11 * len(self.records)
        stay, time = self._stay(ecg, subject)
        path = f"files/p{str(subject)[:4]}/p{subject}/s{study}/{study}"
        self.records.append(
            {"subject_id": subject, "study_id": study, "file_name": str(study), "ecg_time": time, "path": path}
        )
        self.stay_of_record.append(stay)
        rr_ms = round(60_000 / ecg.truth.heart_rate_bpm)
        pr_ms = ecg.truth.pr_ms
        onset = 200
        self.measurements.append(
            {
                "subject_id": subject,
                "study_id": study,
                "cart_id": 1,
                "ecg_time": time,
                "report_0": "Simulated ECG",
                "rr_interval": rr_ms,
                "p_onset": NOT_MEASURED if pr_ms is None else round(onset - pr_ms),
                "p_end": NOT_MEASURED if pr_ms is None else round(onset - pr_ms + 90),
                "qrs_onset": onset,
                "qrs_end": round(onset + ecg.truth.qrs_ms),
                "t_end": round(onset + ecg.truth.qt_ms),
                "p_axis": 50,
                "qrs_axis": 30,
                "t_axis": 40,
            }
        )
        return path

    def _stay(self, ecg: SimulatedECG, subject: int) -> tuple[_Stay | None, pd.Timestamp]:
        """The stay of this ECG, an old one or a new one, and when in it the ECG is taken."""
        random, patient = self.random, ecg.patient
        if subject not in self.patients:
            anchor_year = int(random.integers(2110, 2190))
            self.patients[subject] = {
                "subject_id": subject,
                "gender": patient.sex,
                "anchor_age": round(patient.age_years),
                "anchor_year": anchor_year,
                "anchor_year_group": "2014 - 2016",
                "dod": "",
            }
        own = [stay for number, stay in self.stays[-3:] if number == subject and stay.kind == "hospital"]
        if own and random.random() < 0.3:
            stay = own[-1]
        else:
            kind = random.choice(list(KINDS), p=list(KINDS.values()))
            start = pd.Timestamp(f"{self.patients[subject]['anchor_year']}-01-01") + pd.Timedelta(
                minutes=int(random.integers(0, 525_000)) + 525_600 * self.visits[subject]
            )
            self.visits[subject] += 1  # a year later than the one before, so that no two of a patient meet by chance
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
        for name, rows in ((RECORD_LIST, self.records), (MEASUREMENTS, self.measurements)):
            _timed(pd.DataFrame(rows)).to_csv(root / ECG / name, index=False)
        admissions, diagnoses, edstays, ed_diagnoses = [], [], [], []
        for subject, stay in self.stays:
            version = stay.version if stay.codes <= ICD9.keys() else 10
            admitted = stay.start if stay.stay_id is None else stay.start + pd.Timedelta(hours=6)
            if stay.hadm_id is not None:
                died = self.random.random() < 0.03
                end = admitted + pd.Timedelta(hours=48)
                admissions.append(
                    {
                        "subject_id": subject,
                        "hadm_id": stay.hadm_id,
                        "admittime": admitted,
                        "dischtime": end + pd.Timedelta(hours=2 if died else 0),
                        "deathtime": end if died else pd.NaT,
                    }
                )
                diagnoses += _diagnoses({"subject_id": subject, "hadm_id": stay.hadm_id}, stay.codes, version)
                if self.random.random() < 0.1:  # a second admission that overlaps the first: the first one counts
                    later = {"subject_id": subject, "hadm_id": stay.hadm_id + 5}
                    times = {"admittime": admitted + pd.Timedelta(minutes=30), "dischtime": end, "deathtime": pd.NaT}
                    admissions.append(later | times)
                    diagnoses += _diagnoses(later, {"Z51.5"}, 10)
            if stay.stay_id is not None:
                edstays.append(
                    {
                        "subject_id": subject,
                        "hadm_id": stay.hadm_id,
                        "stay_id": stay.stay_id,
                        "intime": stay.start,
                        "outtime": stay.start + pd.Timedelta(hours=6),
                    }
                )
                ed_diagnoses += _diagnoses({"subject_id": subject, "stay_id": stay.stay_id}, stay.ed_codes, 10)
        times = ["admittime", "dischtime", "deathtime"]
        for folder, name, rows, columns in (
            (HOSP, "admissions", admissions, ["subject_id", "hadm_id", *times]),
            (HOSP, "diagnoses_icd", diagnoses, ["subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"]),
            (HOSP, "patients", list(self.patients.values()), None),
            (ED, "edstays", edstays, ["subject_id", "hadm_id", "stay_id", "intime", "outtime"]),
            (ED, "diagnosis", ed_diagnoses, ["subject_id", "stay_id", "seq_num", "icd_code", "icd_version"]),
        ):
            table = _timed(pd.DataFrame(rows, columns=columns))
            table.to_csv(root / folder / f"{name}.csv.gz", index=False)
        pd.DataFrame(list(self._released())).to_csv(root / RELEASED, index=False)

    def _released(self) -> Iterator[dict]:
        """The rows of the released table, from what is known here."""
        for record, stay in zip(self.records, self.stay_of_record, strict=True):
            patient = self.patients[record["subject_id"]]
            in_hospital, in_ed = (
                stay is not None and stay.stay_id is None,
                stay is not None and stay.stay_id is not None,
            )
            hospital = _bare(stay.codes) if stay is not None and stay.hadm_id is not None else []
            emergency = _bare(stay.ed_codes) if in_ed else []
            fold = patient_fold(record["subject_id"])
            yield {
                "file_name": record["path"],
                "study_id": record["study_id"],
                "subject_id": record["subject_id"],
                "ecg_time": record["ecg_time"].strftime(TIME),
                "ed_stay_id": stay.stay_id if in_ed else None,
                "ed_hadm_id": stay.hadm_id if in_ed else None,
                "hosp_hadm_id": stay.hadm_id if in_hospital else None,
                "ed_diag_ed": emergency,
                "ed_diag_hosp": hospital if in_ed else [],
                "hosp_diag_hosp": hospital if in_hospital else [],
                "all_diag_hosp": hospital,
                "all_diag_all": hospital or emergency,
                "gender": patient["gender"],
                "age": patient["anchor_age"] + record["ecg_time"].year - patient["anchor_year"],
                "anchor_year": patient["anchor_year"],
                "anchor_age": patient["anchor_age"],
                "dod": "",
                "ecg_taken_in_ed": in_ed,
                "ecg_taken_in_hosp": in_hospital,
                "ecg_taken_in_ed_or_hosp": stay is not None,
                "fold": fold,
                "strat_fold": fold,
            }


def _bare(codes: set[str]) -> list[str]:
    return sorted(code.replace(".", "") for code in codes)


def _diagnoses(of: dict, codes: set[str], version: int) -> list[dict]:
    """Rows of a table of diagnoses, codes padded to seven characters as in MIMIC-IV."""
    written = [ICD9[code] if version == 9 else code.replace(".", "") for code in sorted(codes)]
    return [
        of | {"seq_num": number, "icd_code": f"{code:7}", "icd_version": version}
        for number, code in enumerate(written, 1)
    ]


def _timed(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with its times as MIMIC-IV writes them."""
    for name in table.select_dtypes("datetime").columns:
        table[name] = table[name].dt.strftime(TIME)
    return table


def _write_record(root: Path, path: str, ecg: SimulatedECG, random: np.random.Generator) -> None:
    """One WFDB record of format 16, here and there with a lead that is flat or has a gap."""
    there = [LEAD_ORDER.index(lead) for lead in ecg.recording.leads]
    units = np.zeros((ecg.recording.signal_mv.shape[1], len(LEAD_ORDER)), dtype="<i2")  # what was not recorded is flat
    units[:, there] = np.rint(ecg.recording.signal_mv.T * UNITS_PER_MV).clip(-32767, 32767)
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
    for lead, first, checksum in zip(LEAD_ORDER, units[0], checksums, strict=True):
        lines.append(f"{file.name}.dat 16 {UNITS_PER_MV}.0(0)/mV 16 0 {first} {checksum} 0 {lead}")
    file.with_suffix(".hea").write_text("\n".join(lines) + "\n")
