"""The architecture widget and the numbers behind it, without a browser."""

from pathlib import Path

import numpy as np
import pytest
import torch

import lamae_toolkit as lt
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.architecture import model_steps, root_mean_square
from lamae_toolkit.explain.reconstruction import reconstruct_masked, shipped_pair
from lamae_toolkit.widgets.architecture.widget import BLOCKS, LINES, Architecture

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recording() -> lt.Recording:
    rng = np.random.default_rng(0)
    return lt.simulate_ecg(lt.sample_patient(1, rng), rng, codes={"I44.7": 1.0}).recording


@pytest.fixture(scope="module")
def models() -> dict:
    return shipped_pair()


@pytest.fixture
def architecture(recording, models) -> Architecture:
    return Architecture(recording, models)


def test_steps_are_those_of_the_model(recording, models):
    mask = lt.random_mask((1, 12, 40), 0.75, torch.Generator().manual_seed(3))[0].numpy()
    mask[4] = True  # a complete lead
    for name, model in models.items():
        steps = model_steps(model, recording, mask)
        expected = reconstruct_masked({name: model}, recording, mask)[name].signal_mv
        np.testing.assert_allclose(steps.reconstruction.signal_mv, expected, atol=1e-5)
        with torch.inference_mode():
            weights = model.embed(lt.collate([recording]), torch.from_numpy(mask)[None]).lead_weights[0]
        np.testing.assert_allclose(steps.lead_weights, weights, atol=1e-6)
        np.testing.assert_allclose(steps.attention.sum(axis=-1), 1, atol=1e-5)
        assert len(steps.tokens) == (~mask).sum() + 11 and 4 not in steps.tokens[:, 0]
        errors_mv = steps.errors_mv()
        assert (np.isnan(errors_mv) == ~mask).all()
        difference = (expected - steps.recording.signal_mv).reshape(12, 40, 25)[mask]
        assert root_mean_square(errors_mv) == pytest.approx(float(np.sqrt(np.square(difference).mean())), rel=1e-3)


def test_without_a_mask_attention_between_leads_is_that_of_the_summary(recording, models):
    steps = model_steps(models["LAMAE"], recording, np.zeros((12, 40), dtype=bool))
    summary = lt.attention_summary(models["LAMAE"], recording)
    np.testing.assert_allclose(steps.between_leads(), summary.attention_table(), atol=1e-5)
    assert root_mean_square(steps.errors_mv()) is None


def test_lanes_of_the_twin_never_meet(architecture):
    np.testing.assert_allclose(architecture.steps["independent leads"].between_leads(), np.eye(12), atol=1e-5)
    assert np.diag(architecture.steps["LAMAE"].between_leads()).max() < 0.9
    assert "goes to other leads" in architecture.describe()
    architecture.picture.chosen = {"model": "independent leads", "head": 0, "block": "pooling"}
    assert "the lanes never meet" in architecture.describe() and "every lead 8.3%" in architecture.describe()
    assert "the lanes never meet" in architecture.words.value


def test_code_of_each_block_is_in_the_source(architecture):
    for sent in architecture.picture._models:
        assert [block["key"] for block in sent["blocks"]] == list(BLOCKS)
        for block in sent["blocks"]:
            path, line = block["where"].split(", ")[1], int(block["where"].rsplit(" ", 1)[1])
            source = (ROOT / path).read_text("utf-8").splitlines()
            lines = block["code"].splitlines()
            assert 0 < len(lines) <= LINES
            assert [one.strip() for one in lines] == [one.strip() for one in source[line - 1 : line - 1 + len(lines)]]
    connects = [sent["blocks"][2]["where"].split(",")[0] for sent in architecture.picture._models]
    assert connects == ["LAMAE.connect", "IndependentMAE.connect"]


def test_code_reproduces_the_numbers(architecture, recording, models):
    for head in (0, 2):
        architecture.picture.chosen = {"model": "LAMAE", "head": head, "block": "patches"}
        names = {"recording": recording, "models": models}
        exec(architecture.code(), names)
        steps = architecture.steps["LAMAE"]
        expected = steps.attention[0, 1] if head else steps.between_leads()
        np.testing.assert_allclose(names["attention"], expected, atol=1e-6)
        np.testing.assert_allclose(names["errors_mv"], steps.errors_mv(), atol=1e-6)
    assert "shipped_pair" in Architecture(recording).code()


def test_another_mask_another_ecg_and_figures(architecture, recording, tmp_path):
    before = architecture.mask
    architecture._another_mask()
    assert (architecture.mask != before).any()
    architecture.show(recording.select(("V2", "I")))
    assert architecture.picture._ecg["leads"] == ["V2", "I"]
    figure, masked = architecture.figures()
    assert list(figure.data[0].x) == ["V2", "I"] and masked.data
    page = architecture.save(tmp_path / "architecture.html").read_text("utf-8")
    assert "latent attention between leads" in page
    architecture.set_mask(np.zeros((2, 40), dtype=bool))
    assert "error" not in architecture.describe()


def test_what_cannot_be_shown_is_refused(recording, models, architecture):
    with pytest.raises(ECGError, match="tokens 'all'"):
        Architecture(recording, {"cls": lt.LAMAE(lt.LAMAEConfig(tokens="cls"))})
    with pytest.raises(ECGError, match="models, not 0"):
        Architecture(recording, {})
    before = architecture.mask
    with pytest.raises(ECGError):
        architecture.set_mask(np.ones((12, 40), dtype=bool))
    assert architecture.mask is before
