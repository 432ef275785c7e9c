"""The table from SCP-ECG statements to ICD-10-CM: complete, well formed, with a reason for each, and installed."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import NAMES, ancestors, scp_table, scp_to_icd10

ROOT = Path(__file__).resolve().parents[1]

# Each written down here anew, from ICD-10-CM: (otherwise, while an infarction is acute).
EXPECTED = {
    "NORM": (None, None),
    "SR": (None, None),
    "SARRH": (None, None),
    "SVARR": (None, None),
    "VCLVH": (None, None),
    "DIG": (None, None),
    "EL": (None, None),
    "AFIB": ("I48.91", "I48.91"),
    "AFLT": ("I48.92", "I48.92"),
    "PSVT": ("I47.1", "I47.1"),
    "BIGU": ("I49.49", "I49.49"),
    "1AVB": ("I44.0", "I44.0"),
    "3AVB": ("I44.2", "I44.2"),
    "CLBBB": ("I44.7", "I44.7"),
    "CRBBB": ("I45.10", "I45.10"),
    "IRBBB": ("I45.19", "I45.19"),
    "LVH": ("I51.7", "I51.7"),
    "IMI": ("I25.2", "I21.19"),
    "ASMI": ("I25.2", "I21.09"),
    "LMI": ("I25.2", "I21.29"),
    "PMI": ("I25.2", "I21.29"),
    "INJAS": ("I24.9", "I24.9"),
    "ISC_": ("I25.9", "I25.9"),
    "LNGQT": ("R94.31", "R94.31"),
    "NDT": ("R94.31", "R94.31"),
    "PACE": ("Z95.0", "Z95.0"),
}


def test_every_statement_of_ptbxl_has_exactly_one_row(real_data):
    statements = pd.read_csv(real_data / "ptb-xl" / "scp_statements.csv").iloc[:, 0]
    assert len(scp_table()) == 71
    assert sorted(scp_table().index) == sorted(statements)


def test_every_row_is_complete():
    table = scp_table()
    assert table.columns.tolist() == ["description", "icd10", "icd10_if_acute", "reason"]
    assert table.index.is_unique and table.description.is_unique
    for column in ("description", "reason"):
        assert (table[column].str.strip() == table[column]).all() and (table[column].str.len() > 3).all()
    assert table.reason.str.endswith(".").all()


def test_every_code_is_well_formed_and_has_a_name():
    codes = {code for column in ("icd10", "icd10_if_acute") for code in scp_table()[column] if code}
    assert len(codes) > 25
    for code in codes:
        assert re.fullmatch(r"[A-Z]\d\d\.\d{1,2}", code) and ancestors(code)[-1] == code and code in NAMES


def test_only_infarctions_have_another_code_while_they_are_acute():
    table = scp_table()
    acute = table[table.icd10_if_acute != ""]
    assert set(acute.index) == {name for name in table.index if name.endswith("MI")} and len(acute) == 9
    assert set(acute.icd10) == {"I25.2"} and acute.icd10_if_acute.str.startswith("I21.").all()


def test_statements_get_the_codes_of_the_table():
    for statement, row in scp_table().iterrows():
        assert scp_to_icd10(statement) == (row.icd10 or None)
        assert scp_to_icd10(statement, acute=True) == (row.icd10_if_acute or row.icd10 or None)


@pytest.mark.parametrize("statement", EXPECTED)
def test_important_statements_get_the_code_that_icd10_names(statement):
    assert (scp_to_icd10(statement), scp_to_icd10(statement, acute=True)) == EXPECTED[statement]


@pytest.mark.parametrize("statement", ["", "XYZ", "norm", "I44.7", "statement"])
def test_unknown_statement_is_refused(statement):
    with pytest.raises(ECGError, match="not an SCP-ECG statement of PTB-XL; check the column scp_codes"):
        scp_to_icd10(statement)


def test_returned_table_is_a_copy():
    table = scp_table()
    table.loc["AFIB", "icd10"] = "I10"
    assert scp_to_icd10("AFIB") == "I48.91" and scp_table().icd10["AFIB"] == "I48.91"


def test_table_is_installed_with_the_package(tmp_path):
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = setup["tool"]["setuptools"]["package-data"]["lamae_toolkit"]
    package = ROOT / "lamae_toolkit"
    data = [path for pattern in patterns if pattern.endswith(".csv") for path in package.glob(pattern)]
    # An archive, as a wheel is: whoever looks for the table beside the code as a file on disk does not find it.
    with zipfile.ZipFile(tmp_path / "lamae_toolkit.whl", "w") as wheel:
        for path in (*package.glob("*.py"), *data):
            wheel.write(path, path.relative_to(ROOT).as_posix())
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'lamae_toolkit.whl')!r})\n"
        "from lamae_toolkit import icd10\n"
        "print('.whl' in icd10.__file__, icd10.scp_to_icd10('IMI', acute=True), len(icd10.scp_table()))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert shown.stdout == "True I21.19 71\n", shown.stderr
