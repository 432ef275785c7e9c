"""Which files of a folder are ECGs, which may be, and which are none; the others are parts of a record."""

from pathlib import Path
from typing import NamedTuple

from lamae_toolkit.ecg.io.formats.sniff import kind_of_content
from lamae_toolkit.ecg.io.formats.wfdb_header import header_lines
from lamae_toolkit.ecg.io.read import KINDS, READERS, WFDB_SUFFIXES
from lamae_toolkit.errors import ECGError

SUFFIXES = (
    *[".xml", ".dcm", ".edf", ".bdf", ".gdf", ".csv", ".tsv", ".npy", ".npz", ".mat", ".dat", ".scp", ".ecg", ".mwf"],
    *[".hdf5", ".h5", ".atc", ".acq", ".aecg"],
)
"""A file with such a suffix may be an ECG whatever its content."""

BINARY_SUFFIXES = ("", ".bin", ".raw", ".data")
"""A file with such a suffix may be an ECG if its content is not a text."""

NO_SAMPLES = ("PDF", "picture", "archive")
"""Kinds that are no ECG, though one may be printed or packed in them."""


class Listing(NamedTuple):
    """The files of a folder and its subfolders, sorted.

    ecgs: of a kind that `read_ecg` knows; a WFDB record is listed once, by its header, and the segments of a longer
        one not at all. unclear: of another kind, but maybe an ECG. passed_over: no ECG.
    """

    ecgs: list[Path]
    unclear: list[Path]
    passed_over: list[Path]


def list_files(folder: str | Path) -> Listing:
    """Sort the files of a folder and its subfolders by their content; ECGError if there is no such folder."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ECGError(f"{folder.name}: There is no such folder; check the path.")
    files = {file for file in folder.rglob("*") if file.is_file()}
    headers = {file for file in files if file.suffix.lower() == ".hea"}
    of_records = headers | {
        file for file in files if file.suffix.lower() in WFDB_SUFFIXES and file.with_suffix(".hea") in headers
    }
    segments: set[Path] = set()
    for header in headers:
        of_header, signals = _parts(header)
        segments |= of_header
        of_records |= signals
    ecgs = headers - segments
    unclear: set[Path] = set()
    passed_over: set[Path] = set()
    for file in files - of_records:
        try:
            kind = kind_of_content(file)
        except OSError:  # it may be an ECG, and `read_ecg` reports what is wrong
            ecgs.add(file)
            continue
        except ECGError:  # XML that declares entities before its root element
            kind = "XML"
        (ecgs if kind in READERS else unclear if _may_be_ecg(file, kind) else passed_over).add(file)
    return Listing(sorted(ecgs), sorted(unclear), sorted(passed_over))


def find_ecgs(folder: str | Path) -> list[Path]:
    """All files in a folder and its subfolders whose content is an ECG that `read_ecg` knows, sorted.

    A WFDB record is listed once, by its header, and the segments of a longer record not at all. Raises ECGError if
    the folder is absent or holds no ECG.
    """
    ecgs = list_files(folder).ecgs
    if not ecgs:
        raise ECGError(f"{Path(folder).expanduser().name}: The folder holds no ECG; put {KINDS} there.")
    return ecgs


def _parts(header: Path) -> tuple[set[Path], set[Path]]:
    """The headers of the segments that a header lists, and its signal files."""
    try:
        lines = [line.split() for line in header_lines(header)]
    except (ECGError, OSError):  # it is no header, which `read_ecg` reports
        return set(), set()
    names = {line[0] for line in lines[1:] if "/" not in line[0] and "\\" not in line[0] and "\0" not in line[0]}
    if lines and "/" in lines[0][0]:
        return {header.with_name(f"{name}.hea") for name in names} - {header}, set()
    return set(), {header.parent / name for name in names} - {header}


def _may_be_ecg(file: Path, kind: str | None) -> bool:
    """Whether a file that is of no known kind may still be an ECG."""
    if file.name.startswith(".") or kind in NO_SAMPLES:
        return False
    suffix = file.suffix.lower()
    if kind == "XML":
        return suffix == ".xml"
    if kind is not None or suffix in SUFFIXES:
        return True
    with file.open("rb") as opened:
        head = opened.read(1024)
    if suffix == ".txt":  # a table without names, unlike notes
        return bool(head) and not head.strip(b"0123456789+-.,;eE \t\r\n")
    return suffix in BINARY_SUFFIXES and b"\0" in head
