"""Labels are saved with their ECG's fingerprint, read again with it, and with no other ECG."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lamae_toolkit.ecg.annotations import Annotation, fingerprint, read_annotations, write_annotations
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError

ECG = Recording(np.random.default_rng(0).normal(0, 0.2, (2, 1000)), 100, ("II", "V2"), ("read from Jane_Doe.xml",))
LABELS = (Annotation("V2", 1.25, "δ wave"), Annotation("II", 3.5, "noise"))


def test_labels_are_read_again_and_the_file_names_nobody(tmp_path):
    path = write_annotations(tmp_path / "labels.json", LABELS[::-1], ECG)
    assert read_annotations(path, ECG) == LABELS
    assert "Doe" not in path.read_text(encoding="utf-8")
    other_order = replace(ECG, signal_mv=ECG.signal_mv[::-1], leads=("V2", "II"), notes=())
    assert read_annotations(path, other_order) == LABELS  # the same ECG


def test_labels_of_another_ecg_and_damaged_files_are_refused(tmp_path):
    path = write_annotations(tmp_path / "labels.json", LABELS, ECG)
    with pytest.raises(ECGError, match=r"labels in labels\.json are of another ECG"):
        read_annotations(path, replace(ECG, signal_mv=ECG.signal_mv + 0.1))
    with pytest.raises(ECGError, match="no file absent"):
        read_annotations(tmp_path / "absent.json", ECG)
    kept = json.loads(path.read_text(encoding="utf-8"))
    for change, sentence in (
        ({"format": "other"}, "holds no labels"),
        ({"annotations": [{"lead": "II"}]}, "is not complete"),
        ({"annotations": [{"lead": "V9", "time_s": 1.0, "text": "x"}]}, "on lead 'V9'"),
        ({"annotations": [{"lead": "II", "time_s": 99.0, "text": "x"}]}, "at 99 s, but the ECG has 10 s"),
        ({"annotations": [{"lead": "II", "time_s": float("nan"), "text": "x"}]}, "at nan s"),
        ({"annotations": [{"lead": "II", "time_s": 1.0, "text": " "}]}, "1 to 200 letters"),
    ):
        path.write_text(json.dumps(kept | change), encoding="utf-8")
        with pytest.raises(ECGError, match=sentence):
            read_annotations(path, ECG)
    with pytest.raises(ECGError, match="on lead aVL, which this ECG does not have"):
        write_annotations(path, [Annotation("aVL", 1.0, "x")], ECG)
    assert fingerprint(ECG) != fingerprint(ECG.select(["II"]))
