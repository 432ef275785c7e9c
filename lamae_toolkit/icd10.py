"""ICD-10-CM codes: their names, their ancestors, and the table of labels that a model learns."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import UInt8

from lamae_toolkit.ecg import ECGError

NAMES = {
    "I10": "Essential (primary) hypertension",
    "I21.09": "ST elevation myocardial infarction of the anterior wall",
    "I21.19": "ST elevation myocardial infarction of the inferior wall",
    "I25.2": "Old myocardial infarction",
    "I44.0": "Atrioventricular block, first degree",
    "I44.1": "Atrioventricular block, second degree",
    "I44.2": "Atrioventricular block, complete",
    "I44.7": "Left bundle-branch block, unspecified",
    "I45.10": "Right bundle-branch block, unspecified",
    "I45.81": "Long QT syndrome",
    "I47.1": "Supraventricular tachycardia",
    "I48.91": "Atrial fibrillation, unspecified",
    "I48.92": "Atrial flutter, unspecified",
    "I49.3": "Ventricular premature depolarization",
    "I51.7": "Cardiomegaly (hypertrophy)",
    "E87.5": "Hyperkalemia",
    "E87.6": "Hypokalemia",
    "R00.0": "Tachycardia, unspecified",
    "R00.1": "Bradycardia, unspecified",
    "Z95.0": "Presence of cardiac pacemaker",
}
"""Names of the codes that the toolkit's own cohorts use (ICD-10-CM, shortened)."""


def name_of(code: str) -> str:
    """The code with its name where the toolkit knows it: "I44.7 Left bundle-branch block, unspecified"."""
    return f"{code} {NAMES[code]}" if code in NAMES else code


def ancestors(code: str) -> tuple[str, ...]:
    """The code and everything above it down to its three-character category, most general first.

    Codes are cut to five characters as in Strodthoff et al. (arXiv 2312.11050), whose recipe counts
    an ECG with I48.91 for I48 and I48.9 as well: `ancestors("I48.91") == ("I48", "I48.9", "I48.91")`.
    """
    bare = code.replace(".", "").upper()
    if len(bare) < 3 or not bare.isalnum():
        raise ECGError(f"{code!r} is not an ICD-10 code; one looks like I48 or I48.91.")
    bare = bare[:5].rstrip("X") if len(bare) > 3 else bare
    return tuple(bare[:n] if n == 3 else f"{bare[:3]}.{bare[3:n]}" for n in range(3, len(bare) + 1))


def label_matrix(codes: Sequence[Iterable[str]], classes: Sequence[str]) -> UInt8[np.ndarray, "b c"]:
    """For each ECG, a 1 where it has the code of that column or one below it, else 0."""
    column = {ancestors(code)[-1]: index for index, code in enumerate(classes)}
    labels = np.zeros((len(codes), len(classes)), dtype=np.uint8)
    for row, present in enumerate(codes):
        for code in present:
            for general in ancestors(code):
                if general in column:
                    labels[row, column[general]] = 1
    return labels
