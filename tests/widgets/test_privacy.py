"""The name, id and path of a patient's own file are in nothing that the ECG paper saves, unless given as its title."""

import json

import numpy as np

import lamae_toolkit as lt
from lamae_toolkit.ecg.annotations import Annotation, write_annotations
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper

SECRETS = ("Jane", "Doe", "19501224")


def own_ecg(folder) -> Recording:
    """A WFDB record whose folder, name and comments name the patient."""
    (folder / "Jane_Doe").mkdir()
    name = "Doe_19501224"
    counts = np.random.default_rng(0).integers(-900, 900, (1000, 2)).astype("<i2")
    counts.tofile(folder / "Jane_Doe" / f"{name}.dat")
    lines = [f"{name} 2 100 1000"]
    lines += [f"{name}.dat 16 1000(0)/mV 16 0 {counts[0, k]} 0 0 {lead}" for k, lead in enumerate(("I", "V1"))]
    header = folder / "Jane_Doe" / f"{name}.hea"
    header.write_text("\n".join([*lines, "# Name: Jane Doe", "# Id: 19501224"]) + "\n", encoding="utf-8")
    return lt.read_ecg(header)


def test_the_paper_saves_no_name_id_or_path(tmp_path):
    ecg = own_ecg(tmp_path)
    labels = [Annotation("I", 2.0, "artifact")]
    paper = ECGPaper(ecg, annotations=labels)
    file = write_annotations(tmp_path / "labels.json", labels, ecg)
    state = json.dumps(paper.get_state(), default=repr)
    for saved in (state, paper.page(), paper.describe(), paper.code(), file.read_text(encoding="utf-8")):
        assert len(saved) > 30 and not [secret for secret in SECRETS if secret in saved]
    asked = ECGPaper(ecg, title="Jane Doe")
    assert "Jane Doe" in json.dumps(asked.get_state(), default=repr)
