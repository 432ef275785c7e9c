"""Real ECGs, one call away: records of PTB-XL that show one finding well, fetched from PhysioNet when first used.

PTB-XL 1.0.3: Wagner et al., Sci Data 7:154 (2020), doi 10.1038/s41597-020-0495-6, CC BY 4.0. The toolkit ships none of
its data, only `examples.csv`: which record shows what, and the SHA-256 of its files. The text on what to look at was
written for the toolkit, from the annotation, the plotted ECG, and measured intervals and amplitudes.
"""

import os
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from importlib import resources
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from lamae_toolkit.data.download import DownloadError, Published
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.simulate.conditions import Patient
from lamae_toolkit.simulate.simulator import simulate_ecg

PUBLISHED = "https://physionet.org/files/ptb-xl/1.0.3/"
RETRIES = 1
LOCAL = "LAMAE_PTBXL"
"""The environment variable that names a local folder of PTB-XL, used instead of the network."""

LICENSE = "PTB-XL 1.0.3 (Wagner et al., Sci Data 7:154, 2020; physionet.org/content/ptb-xl/1.0.3), CC BY 4.0"


def examples() -> pd.DataFrame:
    """The real ECGs that `example_ecg` fetches: 16 records of PTB-XL, each with one finding to learn from.

    Returns a table with the index name and the columns finding, record (PTB-XL's ecg_id), age_years (missing where it
    was not recorded), sex ("F" or "M"), fold (PTB-XL's strat_fold), unseen (True for folds 9 and 10, on which the
    shipped weights were neither trained nor chosen), and look_at: what to look at, in a sentence or two.

    Example:
        import lamae_toolkit as lt

        table = lt.examples()
        print(table[["finding", "age_years", "sex"]])
        print(table.look_at["right bundle branch block"])
    """
    table = _table()[["finding", "record", "age_years", "sex", "fold"]].copy()
    table["unseen"] = table.fold >= 9
    return table.join(_table().look_at)


def example_ecg(name: str, *, offline: str | None = None) -> Recording:
    """One real ECG by the name of its finding: 12 leads, 10 s at 500 Hz, in mV, as PTB-XL published it.

    name: a name of `examples()`, or a usual abbreviation or code of it, such as "RBBB", "AF" or "I44.7"; in upper or
        lower case.
    offline: what to return if the record cannot be fetched: None raises ECGError, "simulate" returns a simulated ECG
        with the same finding, and a note and a printed line that say so.

    The record (about 120 kB) is fetched from PhysioNet when it is first used, checked against its SHA-256 and kept in
    the user's cache. If the environment variable LAMAE_PTBXL names a folder of PTB-XL with records500/, it is read
    from there. The notes of the recording give the finding, the record, what to look at, and the license.

    Raises ECGError for an unknown name, for a folder that lacks the record, if the record cannot be fetched or its
    content is not the published one; MissingExtraError if pooch is needed and not installed.

    Source: PTB-XL 1.0.3, Wagner et al., Sci Data 7:154 (2020), CC BY 4.0.

    Example:
        import lamae_toolkit as lt

        ecg = lt.example_ecg("right bundle branch block", offline="simulate")
        print(ecg.signal_mv.shape, ecg.sampling_rate_hz)
        print(ecg.notes)
    """
    if offline not in (None, "simulate"):
        raise ECGError(f'offline is {offline!r}; give None or "simulate".')
    name = _resolve(name)
    row = _table().loc[name]
    file = f"records500/00000/{row.record:05d}_hr"
    sums = {f"{file}.hea": row.sha256_header, f"{file}.dat": row.sha256_signal}
    try:
        if os.environ.get(LOCAL):
            folder = _local(Path(os.environ[LOCAL]).expanduser(), sums)
        else:
            folder = _fetched(sums)
    except DownloadError as error:
        if offline != "simulate":
            raise ECGError(f'{error} Or set {LOCAL} to a local folder of PTB-XL, or use offline="simulate".') from error
        return _simulated(name, row)
    recording = read_ecg(folder / f"{file}.hea")
    _tell_license()
    years = "age unknown" if pd.isna(row.age_years) else f"{row.age_years:.0f} years"
    about = f"{row.finding}: PTB-XL record {row.record}, {row.sex}, {years}, fold {row.fold}."
    for note in (about, row.look_at, f"Source and license: {LICENSE}."):
        recording = recording.with_note(note)
    return recording


@cache
def _table() -> pd.DataFrame:
    text = resources.files("lamae_toolkit.data").joinpath("examples.csv").read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text), index_col="name", keep_default_na=False, na_values={"age_years": [""]})


def _resolve(name: str) -> str:
    """The name in the table of a name or alias, whatever its case; ECGError with near ones if there is none."""
    names = {name.casefold(): name for name in _table().index}
    for full, aliases in _table().aliases.items():
        names |= {alias.casefold(): str(full) for alias in aliases.split(";")}
    wanted = " ".join(name.casefold().split())
    if wanted in names:
        return names[wanted]
    near = list(dict.fromkeys(names[match] for match in get_close_matches(wanted, names, n=3)))
    near = near or [full for key, full in names.items() if wanted and wanted in key]
    hint = " or ".join(dict.fromkeys(near)) or ", ".join(_table().index)
    raise ECGError(f"There is no example {name!r}; lt.examples() lists all; use {hint}.")


def _local(folder: Path, sums: dict[str, str]) -> Path:
    for file, expected in sums.items():
        path = folder / file
        if not path.is_file():
            raise ECGError(f"{LOCAL} names {folder}, which has no {file}; give the folder of PTB-XL with records500/.")
        if sha256(path.read_bytes()).hexdigest() != expected:
            raise ECGError(f"{path} is not the file that PTB-XL 1.0.3 published; copy it again.")
    return folder


def _fetched(sums: dict[str, str]) -> Path:
    """The cache folder, with these files in it."""
    published = Published(PUBLISHED, RETRIES)
    import pooch

    folder = Path(pooch.os_cache("lamae_toolkit")) / "ptb-xl-1.0.3"
    for file, expected in sums.items():
        published.fetch(file, expected, folder)
    return folder


@cache
def _tell_license() -> None:
    """Once per process."""
    print(f"Example ECGs are from {LICENSE}.")


def _simulated(name: str, row: pd.Series) -> Recording:
    """A simulated ECG with the finding of this row, the same one at each call."""
    if not row.simulated:
        raise ECGError(f"PhysioNet cannot be reached, and {name} cannot be simulated; choose another example.")
    note = f"Simulated, not a patient: {name}, since the real ECG could not be fetched."
    print(note)
    return _simulate(row).with_note(note)


def _simulate(row: pd.Series) -> Recording:
    code, _, wall = row.simulated.partition(" ")
    age_years = 40.0 if pd.isna(row.age_years) else float(row.age_years)
    patient = Patient(int(row.record), age_years, row.sex, (), int(row.record), wall or "inferior")
    codes = {} if code == "normal" else {code: 0.8}
    return simulate_ecg(patient, np.random.default_rng(int(row.record)), codes=codes).recording


def simulated_examples() -> dict[str, Recording]:
    """Simulated ECGs instead of the real ones, by the names of `examples()`: those that can be simulated."""
    rows = ((str(name), row) for name, row in _table().iterrows() if row.simulated)
    return {name: _simulate(row).with_note(f"Simulated, not a patient: {name}.") for name, row in rows}
