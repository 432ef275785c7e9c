"""Turning ECG files into what a store holds, several at a time: those with the same leads, rate and length."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamae_toolkit.data.format import kept_samples, quantized
from lamae_toolkit.ecg.io.formats.wfdb_plain import read_alike
from lamae_toolkit.ecg.io.read import read_start
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS, flag_columns
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError, WarningNote

WARNINGS = "warnings"
"""The column of a store's index with what `read_ecg` warned of, one a line, as "kind: sentence"."""

FILTER_S = 10.0
"""Read beyond what is kept, if ECGs are filtered: as far as the end of a filter of 0.5 Hz reaches into the signal."""

AT_ONCE = 16
"""More ECGs leave the processor's cache, fewer spend the time on calls."""


class _Alike(NamedTuple):
    """ECGs with the same leads, rate and length: their rows in the list of files, and their signals, (t, b, l)."""

    rows: list[int]
    leads: tuple[str, ...]
    sampling_rate_hz: float
    flags: Sequence[tuple[tuple[str, str], ...]]
    notes: Sequence[tuple[str, ...]]
    signal_mv: np.ndarray
    cleaned_mv: np.ndarray


def stored_ecgs(
    root: Path,
    files: list[str],
    read: Callable[[Path, float], Recording],
    clean: Callable[[Recording], Recording] | None,
    sampling_rate_hz: float,
    duration_s: float,
) -> tuple[np.ndarray, list[dict[str, str]]]:
    """ECGs as they are stored, (b, 12, t), and of each the reason and sentence of a refusal, its flags and warnings.

    read, clean: as in `CohortSource`. An ECG gets the same values whichever others it is processed with.
    """
    stored = np.empty((len(files), len(LEADS), round(sampling_rate_hz * duration_s)), dtype=np.int16)
    results: list[dict[str, str]] = [{} for _ in files]
    paths = [root / name for name in files] if read is read_start and clean is None else []
    together = _read_together(paths, sampling_rate_hz, duration_s)
    for ecgs in chain(together, _read_others(root, files, results, read, clean, sampling_rate_hz, duration_s)):
        flags = flag_columns(ecgs.signal_mv, ecgs.sampling_rate_hz, ecgs.leads, ecgs.flags)
        stored[ecgs.rows], beyond = quantized(
            ecgs.cleaned_mv, ecgs.sampling_rate_hz, ecgs.leads, sampling_rate_hz, duration_s
        )
        for row, columns, notes, leads_beyond in zip(ecgs.rows, flags, ecgs.notes, beyond, strict=True):
            if leads_beyond.any():
                notes = (
                    *notes,
                    _beyond_note([lead for lead, is_so in zip(ecgs.leads, leads_beyond, strict=True) if is_so]),
                )
            results[row] = {"reason": "", "sentence": "", **columns, WARNINGS: _in_lines(notes)}
    return stored, results


def _read_together(paths: list[Path], sampling_rate_hz: float, duration_s: float) -> Iterator[_Alike]:
    """The records that can be read together and are long enough."""
    for rows, layout, signal_mv in read_alike(paths, at_once=AT_ONCE):
        rate_hz = layout.sampling_rate_hz
        with suppress(ECGError):
            kept_mv = signal_mv[: kept_samples(layout.n_samples, rate_hz, sampling_rate_hz, duration_s)]
            yield _Alike(rows, layout.leads, rate_hz, [()] * len(rows), [layout.notes] * len(rows), kept_mv, kept_mv)


def _read_others(
    root: Path,
    files: list[str],
    results: list[dict[str, str]],
    read: Callable[[Path, float], Recording],
    clean: Callable[[Recording], Recording] | None,
    sampling_rate_hz: float,
    duration_s: float,
) -> Iterator[_Alike]:
    """The ECGs that have no result yet, read one by one; one that cannot be used gets its refusal as the result."""
    waiting: dict[tuple, list[tuple]] = defaultdict(list)
    needed_s = duration_s if clean is None else duration_s + FILTER_S
    for row, name in enumerate(files):
        if results[row]:
            continue
        try:
            # A source may list the ECGs inside of one file, as entries below it.
            if not ((root / name).is_file() or (root / name).parent.is_file()):
                raise ECGError(f"{name} is listed, but the file is absent; copy it from the source.", "file missing")
            ecg = read(root / name, needed_s)
            cleaned = clean(ecg) if clean else ecg
            rate_hz = ecg.sampling_rate_hz
            samples = kept_samples(ecg.signal_mv.shape[1], rate_hz, sampling_rate_hz, duration_s)
        except ECGError as error:
            results[row] = _refusal(error.reason, str(error))
        except (ValueError, ArithmeticError, IndexError) as error:  # one bad ECG must not stop the others
            results[row] = _refusal("unreadable", f"{name}: It cannot be processed ({error}); check its signal.")
        else:
            alike = (ecg.leads, rate_hz, samples)
            kept_mv = (np.ascontiguousarray(of.signal_mv[:, :samples]) for of in (ecg, cleaned))
            waiting[alike].append((row, ecg.flags, ecg.notes, *kept_mv))
            if len(waiting[alike]) == AT_ONCE:
                yield _alike(alike, waiting.pop(alike))
    yield from map(_alike, waiting, waiting.values())


def _alike(alike: tuple, ecgs: list[tuple]) -> _Alike:
    (leads, rate_hz, _), (rows, flags, notes, read_mv, cleaned_mv) = alike, zip(*ecgs, strict=True)
    signal_mv = _together(read_mv)
    unchanged = cleaned_mv[0] is read_mv[0]
    cleaned = signal_mv if unchanged else _together(cleaned_mv)
    return _Alike(list(rows), leads, rate_hz, flags, notes, signal_mv, cleaned)


def _beyond_note(leads: list[str]) -> WarningNote:
    which = f"Lead {leads[0]} goes" if len(leads) == 1 else f"Leads {', '.join(leads)} go"
    sentence = f"{which} beyond the 32.767 mV that a store can hold, and lost the median and what was still beyond."
    return WarningNote(sentence, "beyond the store")


def _in_lines(notes: Sequence[str]) -> str:
    """The notes that warn, one a line after their kind."""
    return "\n".join(f"{note.kind}: {note}" for note in notes if isinstance(note, WarningNote))


def _together(signals_mv: Sequence[np.ndarray]) -> np.ndarray:
    """Signals of the same shape (l, t) as (t, b, l); a single one without a copy."""
    if len(signals_mv) == 1:
        return signals_mv[0].T[:, None]
    together = np.empty((signals_mv[0].shape[1], len(signals_mv), len(signals_mv[0])), dtype=np.float32)
    for ecg, signal_mv in enumerate(signals_mv):
        together[:, ecg] = signal_mv.T
    return together


def _refusal(reason: str, sentence: str) -> dict[str, str]:
    return {"reason": reason, "sentence": sentence, **dict.fromkeys(FLAG_COLUMNS, ""), WARNINGS: ""}
