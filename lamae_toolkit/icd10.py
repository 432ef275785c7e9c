"""ICD-10-CM codes: their names, their ancestors, and the table of labels that a model learns."""

import csv
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from lamae_toolkit.errors import ECGError

if TYPE_CHECKING:
    import pandas as pd


def _text(name: str) -> str:
    return resources.files("lamae_toolkit").joinpath(name).read_text(encoding="utf-8")


NAMES = {row["code"]: row["name"] for row in csv.DictReader(StringIO(_text("icd10_names.csv")))}
"""Names of the codes that the toolkit's own cohorts use (ICD-10-CM, shortened)."""


def scp_to_icd10(statement: str, acute: bool = False) -> str | None:
    """The ICD-10-CM code nearest to an SCP-ECG statement of PTB-XL, or None where no disease is named.

    The map is ours, made from the ICD-10-CM index for research: a statement about one ECG is not a coded
    discharge diagnosis. ICD-10-CM tells infarctions by site only while they are `acute` (PTB-XL's stadium I);
    all others become I25.2. Statements without a code: a normal ECG, sinus rhythm and its variation, a voltage
    criterion alone, and drug or electrolyte effects of an unnamed substance. `scp_table` gives the reason for
    each. ECGError if it is no statement.
    """
    if statement not in _scp_codes():
        raise ECGError(f"{statement!r} is not an SCP-ECG statement of PTB-XL; check the column scp_codes.")
    code, code_if_acute = _scp_codes()[statement]
    return (acute and code_if_acute) or code or None


def scp_table() -> "pd.DataFrame":
    """The map from the 71 SCP-ECG statements of PTB-XL to ICD-10-CM, a row each, with the reason for its code.

    Columns: description, icd10 (empty where no code fits), icd10_if_acute (empty where it makes no difference),
    and reason: why this code and what is lost, or why there is none.
    """
    import pandas as pd

    return pd.read_csv(StringIO(_text("scp_icd10.csv")), index_col="statement", keep_default_na=False)


@cache
def _scp_codes() -> dict[str, tuple[str, str]]:
    table = scp_table()
    return dict(zip(table.index, zip(table.icd10, table.icd10_if_acute, strict=True), strict=True))


def name_of(code: str) -> str:
    """An ICD-10-CM code with its name, as in "I44.7 Left bundle-branch block, unspecified".

    code: with its point. A code that the toolkit has no name for is returned as it is.

    Example:
        import lamae_toolkit as lt

        print(lt.name_of("I44.7"))
    """
    return f"{code} {NAMES[code]}" if code in NAMES else code


def is_icd10(code: str) -> bool:
    """Whether this has the form of an ICD-10 code: a letter, a digit, and one to five more of either."""
    return re.fullmatch(r"[A-Z][0-9][0-9A-Z]{1,5}", code.replace(".", "").upper()) is not None


def ancestors(code: str) -> tuple[str, ...]:
    """The code and everything above it down to its three-character category, most general first.

    Codes are cut to five characters as in Strodthoff et al. (arXiv 2312.11050), whose recipe counts
    an ECG with I48.91 for I48 and I48.9 as well: `ancestors("I48.91") == ("I48", "I48.9", "I48.91")`.
    """
    bare = code.replace(".", "").upper()
    if not is_icd10(bare):
        raise ECGError(f"{code!r} is not an ICD-10 code; one looks like I48 or I48.91.")
    bare = bare[:5].rstrip("X") if len(bare) > 3 else bare
    return tuple(bare[:n] if n == 3 else f"{bare[:3]}.{bare[3:n]}" for n in range(3, len(bare) + 1))


def label_matrix(codes: Sequence[Iterable[str]], classes: Sequence[str]) -> UInt8[np.ndarray, "b c"]:
    """For each ECG, a 1 where it has the code of that column or one below it, else 0."""
    column = {ancestors(code)[-1]: index for index, code in enumerate(classes)}
    labels = np.zeros((len(codes), len(classes)), dtype=np.uint8)
    for row, ecg_codes in enumerate(codes):
        for code in ecg_codes:
            for general in ancestors(code):
                if general in column:
                    labels[row, column[general]] = 1
    return labels


def column_of(codes: Sequence[str], code: str) -> int:
    """The index of a code among those that a probe predicts; ECGError if it is not one of them."""
    if code not in codes:
        raise ECGError(f"The probe does not predict {code!r}; choose from {', '.join(codes)}.")
    return codes.index(code)
