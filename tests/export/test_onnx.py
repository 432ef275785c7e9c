"""A model as an ONNX file: what it computes is compared with PyTorch when it is exported, and here once more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lamae_toolkit as lt
from exported_models import KINDS, TINY, model_and_probe
from lamae_toolkit.cli.main import main
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.export.onnx_file import compare, onnx_bytes
from lamae_toolkit.export.onnx_graph import ONNXGraph
from small_models import some_ecgs

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]


def session(content: bytes):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with an ONNX file of each kind of model."""
    folder = tmp_path_factory.mktemp("exported")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    program = [sys.executable, TESTS / "export" / "exported_models.py", folder]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=880)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def tiny(exported) -> tuple[lt.LAMAE, lt.Probe, bytes]:
    """A tiny model with a probe on its lead latents, and its ONNX file."""
    return *model_and_probe("tiny"), (exported / "tiny.onnx").read_bytes()


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_model_equals_torch(name, exported):
    model, probe = model_and_probe(name)
    content = (exported / f"{name}.onnx").read_bytes()
    differences = compare(content, ONNXGraph(model, probe))
    names = [one.name for one in session(content).get_outputs()]
    assert list(differences.index) == names and 0 < differences.max() < 1e-4
    assert ("lead_terms" in names) == (probe.representation in ("heart", "leads"))
    assert ("lead_attention" in names) == (type(model) is lt.LAMAE and model.config.latent_depth > 0)


def test_outputs_are_those_of_the_library(tiny):
    """Three leads of a short ECG: the file has twelve rows, the library the leads that there are."""
    model, probe, content = tiny
    leads, rows = ("II", "aVF", "V5"), [1, 5, 10]
    signal_mv = some_ecgs(1, samples=125).signal_mv
    recording = lt.Recording(signal_mv[0, rows].numpy(), 100.0, leads)
    encoded = encode_ecg(model, recording, probe)
    lead_mask = np.zeros((1, 12), dtype=bool)
    lead_mask[0, rows] = True
    given = {"signal_mv": signal_mv.numpy(), "lead_mask": lead_mask, "mask": np.zeros((1, 12, 5), dtype=bool)}
    names = ["log_odds", "lead_terms", "lead_weights", "lead_attention"]
    log_odds, terms, weights, attention = session(content).run(names, given)
    summary = encoded.attention_summary()
    np.testing.assert_allclose(log_odds[0], encoded.log_odds(leads), atol=1e-5)
    np.testing.assert_allclose(terms[0, rows], encoded.lead_terms().terms, atol=1e-5)
    np.testing.assert_array_equal(np.delete(terms[0], rows, axis=0), 0)
    np.testing.assert_allclose(weights[0][:, rows], summary.lead_weights, atol=1e-5)
    np.testing.assert_allclose(attention[0][..., rows, :][..., rows], summary.lead_attention, atol=1e-5)
    # A masked sample counts for nothing where the scale is that of the visible patches only; here the lead's own is
    # used, as in `LAMAE.reconstruct`.
    given["mask"][0, 5] = True
    mask = torch.from_numpy(given["mask"])
    expected = model.reconstruct(lt.Batch(signal_mv, torch.from_numpy(lead_mask)), mask)
    (reconstruction,) = session(content).run(["reconstruction_mv"], given)
    np.testing.assert_allclose(reconstruction[0, rows], expected[0, rows].detach(), atol=1e-5)


def test_other_outputs_are_refused_and_nothing_is_written(tiny, tmp_path, monkeypatch):
    """As those of a model with other weights, and of one whose outputs are not numbers."""
    model, probe, content = tiny
    torch.manual_seed(1)
    other = lt.LAMAE(TINY).eval()
    with pytest.raises(ECGError, match=r"gives another reconstruction_mv than PyTorch: they differ by .*, and at most"):
        compare(content, ONNXGraph(other, probe))
    with torch.no_grad():
        other.load_state_dict(model.state_dict())
        other.decoder_pred.bias.fill_(float("nan"))
    with pytest.raises(ECGError, match="differ by nan"):
        compare(content, ONNXGraph(other, probe))
    monkeypatch.setattr("lamae_toolkit.export.onnx_file._exported", lambda graph: content)
    with pytest.raises(ECGError, match="no file was written"):
        lt.export_onnx(other, tmp_path / "model.onnx", probe)
    assert not list(tmp_path.iterdir())


def test_command_writes_the_file_with_its_configuration(tiny, tmp_path, monkeypatch, capsys):
    model, probe, content = tiny
    model.save_pretrained(tmp_path / "checkpoint")
    probe.save(tmp_path / "checkpoint")
    monkeypatch.setattr("lamae_toolkit.export.onnx_file._exported", lambda graph: content)
    words = ["export", "--checkpoint", str(tmp_path / "checkpoint"), "--onnx", str(tmp_path / "model.onnx")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "reconstruction_mv" in printed and "signal_mv, lead_mask, mask" in printed
    written = session((tmp_path / "model.onnx").read_bytes())
    about = written.get_modelmeta().custom_metadata_map
    assert json.loads(about["config"]) == TINY.to_dict() and json.loads(about["codes"]) == list(probe.codes)
    assert json.loads(about["leads"]) == list(lt.LEADS) and "not for diagnosis" in about["about"]
    assert [one.shape for one in written.get_inputs()] == [[1, 12, "25*patches"], [1, 12], [1, 12, "patches"]]


def test_half_precision_is_refused():
    with pytest.raises(ECGError, match="computed in float32"):
        onnx_bytes(lt.LAMAE(TINY).half())
