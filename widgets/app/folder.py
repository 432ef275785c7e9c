"""The ECGs of one folder by name, read on demand; nothing outside the folder is read."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from lamae_toolkit.ecg.io.formats.wfdb_header import header_lines
from lamae_toolkit.ecg.io.listing import find_ecgs
from lamae_toolkit.ecg.io.read import read_ecg, read_start
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError

UPLOAD_MB = 20
"""Limit of one upload; a resting ECG has 0.1 to 2 MB."""

SHOWN_S = 600.0
"""A Holter of days would fill the memory; `read_ecg` reads any other stretch of it."""


class ECGFolder(Mapping[str, Recording]):
    """The ECGs that `find_ecgs` finds in a folder, by their path below the folder, and ECGs that were added.

    A file that is, or whose WFDB header names, a link or path that points outside the folder is not part of it:
    `left_out` counts them. A file that cannot be read raises its ECGError on access. The folder may be
    without ECGs; ECGError if there is no such folder.
    """

    def __init__(self, folder: Path | str) -> None:
        if not Path(folder).expanduser().is_dir():
            raise ECGError(f"There is no folder {folder}; check the path.")
        self.root = Path(folder).expanduser().resolve()
        try:
            paths = find_ecgs(self.root)
        except ECGError:  # it holds none
            paths = []
        inside = [path for path in paths if self._is_inside(path)]
        self.left_out = len(paths) - len(inside)
        self._paths = {path.relative_to(self.root).as_posix(): path for path in inside}
        self._added: dict[str, Recording] = {}
        self._last: tuple[str, Recording] | None = None

    def __getitem__(self, name: str) -> Recording:
        if name in self._added:
            return self._added[name]
        if self._last is None or self._last[0] != name:
            path = self._paths[name]
            if not self._is_inside(path):  # it may have been replaced since
                raise ECGError(f"{name} points outside the folder {self.root.name}; copy the file itself there.")
            recording = read_start(path, SHOWN_S)
            if recording.duration_s >= SHOWN_S:
                recording = recording.with_note(f"Only its first {SHOWN_S / 60:g} minutes are read here.")
            self._last = name, recording
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._paths, *self._added))

    def __len__(self) -> int:
        return len(self._paths) + len(self._added)

    def add(self, name: str, recording: Recording) -> str:
        """Add an ECG to those of the folder, in memory; returns its name, with a number if the name is taken."""
        given, number = name, 2
        while name in self:
            name, number = f"{given} ({number})", number + 1
        self._added[name] = recording
        return name

    def _is_inside(self, path: Path) -> bool:
        return all(part.resolve().is_relative_to(self.root) for part in _parts(path))


def _parts(path: Path) -> set[Path]:
    """The file and, for a WFDB header, all files that it names, including those of its segments."""
    parts, waiting = set(), [path]
    while waiting:
        part = waiting.pop()
        if part in parts:
            continue
        parts.add(part)
        if part.suffix.lower() != ".hea" or not part.resolve().is_file():
            continue
        try:
            lines = header_lines(part)[1:]
        except ECGError:  # it is too large for a header, so nothing that it names will be read
            continue
        for line in lines:
            named = part.parent / line.split()[0]
            parts.add(named)
            waiting.append(named.with_name(f"{named.name}.hea"))
    return parts


def read_uploaded(files: Mapping[str, bytes]) -> dict[str, Recording]:
    """The ECGs of files that came from a browser: written to a temporary folder, read from there, and deleted.

    files: content by name; a WFDB record needs its header and its signal file together. ECGError if they are too large,
    or if one of them cannot be read.
    """
    size_mb = sum(len(content) for content in files.values()) / 1e6
    if size_mb > UPLOAD_MB:
        raise ECGError(
            f"The files have {size_mb:.0f} MB, but at most {UPLOAD_MB} MB are read; upload one ECG at a time."
        )
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / _plain(name)).write_bytes(content)
        ecgs = ECGFolder(folder)
        if ecgs.left_out:
            raise ECGError("A WFDB header names files outside of its folder; upload the record as it was published.")
        if not ecgs:
            for name in files:
                read_ecg(Path(folder) / _plain(name))  # which reports what is wrong with it
        return dict(ecgs)


def _plain(name: str) -> str:
    """The name of a file without any folder; ECGError if nothing is left, or if it is too long for a disk."""
    plain = PurePath(name.replace("\\", "/")).name
    if plain in ("", ".", "..") or "\0" in plain or len(plain.encode()) > 200:
        raise ECGError("An uploaded file has a name that no file can have; rename it.")
    return plain
