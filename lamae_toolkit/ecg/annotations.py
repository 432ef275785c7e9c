"""Labels that a reader writes on an ECG, and the small file that keeps them.

The file is JSON: {"format": "lamae annotations 1", "ecg_sha256": ..., "annotations": [{"lead": "II", "time_s": 1.25,
"text": "delta wave"}, ...]}. It names neither the patient nor the file of the ECG: `ecg_sha256` is `fingerprint`, by
which labels are read again with the ECG on which they were written, and with no other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path

import numpy as np

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import read_json, write_json

FORMAT = "lamae annotations 1"
LONGEST = 200
"""Letters of a label."""


@dataclass(frozen=True)
class Annotation:
    """A label at a time of one lead; ECGError unless it has 1 to 200 letters and a time of the ECG.

    lead: its name. time_s: seconds from the beginning of the ECG. text: what was written.
    """

    lead: str
    time_s: float | int
    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not 0 < len(self.text.strip()) <= LONGEST:
            raise ECGError(f"A label has 1 to {LONGEST} letters; write a shorter one, or take it away.")
        if self.lead not in LEADS:
            raise ECGError(f"A label is on lead {str(self.lead)[:20]!r}; choose one of {', '.join(LEADS)}.")
        if not isinstance(self.time_s, Real) or isinstance(self.time_s, bool) or not 0 <= self.time_s < np.inf:
            raise ECGError(f"A label is at {str(self.time_s)[:20]} s; give seconds from the beginning of the ECG.")


def fingerprint(recording: Recording) -> str:
    """A SHA-256 of the samples, in microvolts lead by lead, and the rate: the same for the same ECG in any format."""
    digest = hashlib.sha256(f"{recording.sampling_rate_hz:g}".encode())
    for lead in LEADS:
        if lead in recording.leads:
            digest.update(lead.encode() + np.round(recording.lead(lead) * 1000).astype("<i4").tobytes())
    return digest.hexdigest()


def check_annotations(annotations: Sequence[Annotation], recording: Recording) -> tuple[Annotation, ...]:
    """The labels in the order of time; ECGError for one on a lead or at a time that this ECG does not have."""
    for one in annotations:
        if one.lead not in recording.leads:
            raise ECGError(f"A label is on lead {one.lead}, which this ECG does not have; take the label away.")
        if one.time_s > recording.duration_s:
            raise ECGError(
                f"A label is at {one.time_s:g} s, but the ECG has {recording.duration_s:g} s; take the label away."
            )
    return tuple(sorted(annotations, key=lambda one: (one.time_s, LEADS.index(one.lead))))


def write_annotations(path: Path | str, annotations: Sequence[Annotation], recording: Recording) -> Path:
    """Save labels of an ECG as a JSON file, which holds no name of a patient or of a file.

    path: usually ending in .json. annotations: the labels. recording: their ECG. Returns the path. ECGError if a label
    does not fit the ECG, or if the file cannot be written.
    """
    path, kept = Path(path), check_annotations(annotations, recording)
    labels = [asdict(one) for one in kept]
    write_json(path, {"format": FORMAT, "ecg_sha256": fingerprint(recording), "annotations": labels})
    return path


def read_annotations(path: Path | str, recording: Recording) -> tuple[Annotation, ...]:
    """The labels in a file of `write_annotations`, or saved from the ECG paper, for the ECG on which they were written.

    ECGError if the file is damaged or absent, or if its labels are of another ECG.
    """
    path = Path(path)
    if not path.is_file():
        raise ECGError(f"There is no file {path.name}; check the path of the labels.")
    kept = read_json(path, "save the labels again")
    if kept.get("format") != FORMAT or not isinstance(kept.get("annotations"), list):
        raise ECGError(f"{path.name} holds no labels of this toolkit; choose another file.")
    if kept.get("ecg_sha256") != fingerprint(recording):
        raise ECGError(f"The labels in {path.name} are of another ECG; read that ECG first.")
    try:
        labels = [Annotation(one["lead"], one["time_s"], one["text"]) for one in kept["annotations"]]
    except (TypeError, KeyError) as error:
        raise ECGError(f"{path.name} is damaged: a label is not complete; save the labels again.") from error
    return check_annotations(labels, recording)
