"""The core runs with its own dependencies only, and a missing extra gives a clear message."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

BLOCK = """
import sys
class WithoutBlocked:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(WithoutBlocked, sys.meta_path)
"""
"""Blocks packages from import in a fresh process, as if they were not installed."""

CORE = """
import numpy as np
import lamae_toolkit as lt

store = lt.simulate_store("store", 120, seed=1, workers=1, progress=False)
split = lt.Split.of(store)
model = lt.LAMAE(lt.LAMAEConfig(width=24, heads=2, pooling_heads=2, encoder_depth=1, decoder_width=16))
training = lt.TrainConfig(steps=3, batch_size=8)
lt.pretrain(model, store, store.rows(split.train), "run", training, progress=False)
assert lt.read_log("run")
rows = np.arange(len(store))
embedding = lt.embed_rows(model, store, rows, progress=False)
codes = lt.evaluation.codes_to_predict(store, split, 5)[:2]
evaluation = lt.evaluate(embedding, store.index, codes, n_bootstrap=20)
assert len(evaluation.probe.codes) == 2

# A WFDB record of format 16, and a table.
counts = np.random.default_rng(0).integers(-900, 900, (1000, 3)).astype("<i2")
counts.tofile("record.dat")
with open("record.hea", "w") as header:
    header.write("record 3 100 1000\\n")
    for lead in ("I", "II", "V1"):
        header.write(f"record.dat 16 1000(0)/mV 16 0 {counts[0, 0]} 0 0 {lead}\\n")
np.savetxt("table.csv", counts / 1000, delimiter=",", header="I_mV,II_mV,V1_mV", comments="")
recording = lt.read_ecg("record.hea")
table = lt.read_ecg("table.csv", sampling_rate_hz=100)
assert np.allclose(recording.signal_mv, table.signal_mv) and recording.leads == ("I", "II", "V1")
lt.quality_flags(recording)
summary = lt.attention_summary(model, recording, evaluation.probe)
assert abs(summary.weight_table().to_numpy().sum()) > 0
attribution = lt.attribute_leads(model, evaluation.probe, recording)
assert lt.name_of("I48.91").startswith("I48.91")

from lamae_toolkit.cli.main import main
assert main(["simulate", "--out", "second", "--ecgs", "20"]) == 0
assert main(["embed", "record.hea", "--checkpoint", "run/checkpoint", "--device", "cpu"]) == 0
words = "evaluate --store store --checkpoint run/checkpoint --device cpu --n-bootstrap 20 --min-records-per-code 5"
assert main(words.split()) == 0
print("finished")
"""

EXTRAS = """
import lamae_toolkit as lt
from lamae_toolkit.cli.main import main

def message(what, *arguments):
    try:
        what(*arguments)
    except (ImportError, lt.ECGError) as error:
        print(type(error).__name__, error)
    else:
        print("no error")

open("ecg.dcm", "wb").write(bytes(128) + b"DICM" + bytes(50))
open("ecg.xml", "w").write("<RestingECG></RestingECG>")
message(lt.read_ecg, "ecg.dcm")
message(lt.read_ecg, "ecg.xml")
message(getattr, lt, "ecg_figure")
message(getattr, lt, "ECGPaper")
import pathlib
pathlib.Path("ecgs").mkdir()
print(main(["app", "ecgs"]), main(["demo"]))
"""


def closure(names: list[str]) -> set[str]:
    """The distributions that these need, themselves included."""
    needed, open_names = set(), [normal(name) for name in names]
    while open_names:
        name = open_names.pop()
        if name in needed:
            continue
        needed.add(name)
        for text in requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                open_names.append(normal(requirement.name))
    return needed


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def block_all_but_the_core() -> str:
    """The code that blocks every package that the core does not need."""
    core = closure([Requirement(text).name for text in PROJECT["dependencies"]]) | {"lamae-toolkit"}
    distributions = packages_distributions()
    blocked = {name for name, owners in distributions.items() if not {normal(one) for one in owners} & core}
    assert {"plotly", "wfdb", "pydicom", "matplotlib", "anywidget"} <= blocked
    return f"BLOCKED = {blocked!r}\n{BLOCK}\n"


def run_with_core_only(code: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", block_all_but_the_core() + code], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.timeout(300)
def test_core_from_a_record_to_attributions(tmp_path):
    done = run_with_core_only(CORE, tmp_path)
    assert done.stdout.endswith("finished\n"), done.stderr


def test_missing_extras_are_named_with_the_pip_command(tmp_path):
    done = run_with_core_only(EXTRAS, tmp_path)
    lines = done.stdout.splitlines() + done.stderr.splitlines()
    needs = "needs the package {}, which is not installed: pip install 'lamae-toolkit[{}]'."
    assert lines == [
        "MissingExtraError ecg.dcm: This DICOM file " + needs.format("pydicom", "formats"),
        # XML is read without any extra; this file holds no ECG.
        "ECGError ecg.xml: It holds no rhythm waveform; export the ECG with its rhythm.",
        "MissingExtraError lamae_toolkit.ecg_figure " + needs.format("plotly", "notebooks"),
        "MissingExtraError lamae_toolkit.ECGPaper " + needs.format("anywidget", "notebooks"),
        "2 2",
        "lamae: lamae app " + needs.format("voila", "notebooks"),
        "lamae: lamae demo " + needs.format("plotly", "notebooks"),
    ], done.stderr
