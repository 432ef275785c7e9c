"""Reading the published tables of a cohort."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from lamae_toolkit.errors import ECGError


def read_table(path: Path, columns: Iterable[str], advice: str = "check the path", **options: Any) -> pd.DataFrame:
    """A CSV file with at least these columns; ECGError if it is absent, damaged or lacks one.

    advice: what to do if there is no such file. options: of `pandas.read_csv`.
    """
    if not path.is_file():
        raise ECGError(f"{path.parent} has no {path.name}; {advice}.")
    try:
        table = pd.read_csv(path, **options)
    except (OSError, EOFError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise ECGError(f"{path.name} is damaged or no such table ({type(error).__name__}); copy it again.") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise ECGError(f"{path.name} has no column {missing[0]}; give the table as it was published.")
    return table
