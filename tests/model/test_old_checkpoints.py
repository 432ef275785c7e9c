"""Checkpoints and probes that version 0.1 wrote open; its runs, newer formats and old names are refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lamae_toolkit.checksums import CHECKSUM_FILE
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import golden_outputs, golden_signal
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, pretrain

TINY = LAMAEConfig(width=16, heads=2, pooling_heads=2, decoder_width=8, encoder_depth=1)
VARIANTS = {
    "default": TINY,
    "induced latents and amplitude": replace(TINY, tokens="induced", induced_latents=2, amplitude_input=True),
    "lead embedding and heart token": replace(TINY, lead_embedding=True, heart="token", masked_leads=0),
}


def parameter_name_in_0_1(name: str) -> str:
    """The name in version 0.1 of a present parameter, written independently of the translation in loading."""
    parts = name.split(".")
    first = {
        "patch_embed": "embed_patch",
        "amplitude_embed": "lead_height",
        "decoder_lead_embed": "decoder_lead_name",
        "decoder_pred": "draw_patch",
    }
    inner = {"norm_mlp": "norm_network", "mlp": "network", "qkv": "query_key_value", "broadcast": "spread"}
    return ".".join([first.get(parts[0], parts[0]), *(inner.get(part, part) for part in parts[1:])])


def as_0_1_wrote_it(checkpoint: Path) -> Path:
    """Rewrite the files of a checkpoint (configuration, weights, training state) as version 0.1 wrote them."""
    (checkpoint / CHECKSUM_FILE).unlink()
    config = json.loads((checkpoint / "config.json").read_text())
    del config["format"]
    config["normalisation"], config["hidden_leads"] = config.pop("normalization"), config.pop("masked_leads")
    config["heart"] = {"time_steps": "moments", "token": "token"}[config["heart"]]
    (checkpoint / "config.json").write_text(json.dumps(config))
    state = load_file(checkpoint / "model.safetensors")
    old = {parameter_name_in_0_1(name): value for name, value in state.items()}
    assert {"embed_patch.weight", "encoder.0.norm_network.bias", "encoder.0.network.2.weight"} < old.keys()
    save_file(old, checkpoint / "model.safetensors", metadata={"format": "pt"})
    if (checkpoint / "training.pt").is_file():
        training = torch.load(checkpoint / "training.pt", weights_only=True)
        del training["recipe"]
        training["optimiser"] = training.pop("optimizer")
        training["train_config"]["amplitude_spread"] = training["train_config"].pop("scale_jitter")
        torch.save(training, checkpoint / "training.pt")
    return checkpoint


@pytest.mark.parametrize("kind", [LAMAE, IndependentMAE])
@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_checkpoint_of_0_1_gives_equal_outputs(config, kind, tmp_path):
    torch.manual_seed(1)
    model = kind(config).eval()
    model.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(as_0_1_wrote_it(tmp_path))
    assert loaded.config == model.config
    assert golden_outputs(loaded) == golden_outputs(model)
    batch, mask = golden_signal(config), torch.zeros(1, 12, 40, dtype=torch.bool)
    mask[:, ::2, 10:30] = True
    with torch.inference_mode():
        assert torch.equal(loaded.reconstruct(batch, mask), model.reconstruct(batch, mask))


def test_checkpoint_of_a_newer_format_is_refused(tmp_path):
    random_encoder(TINY).save_pretrained(tmp_path)
    (tmp_path / CHECKSUM_FILE).unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"format": 3}))
    with pytest.raises(ECGError, match="a checkpoint of format 3, and this version reads formats 1 and 2; update"):
        LAMAE.from_pretrained(tmp_path)


def test_probe_of_0_1_gives_equal_probabilities(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"mean": rng.normal(size=3), "scale": rng.uniform(1, 2, 3), "weight": rng.normal(size=(2, 3))}
    probe = Probe(("I48.91", "I44.7"), "heart", **arrays, bias=rng.normal(size=2), C=0.03)
    probe.save(tmp_path)
    values = json.loads((tmp_path / "probe.json").read_text())
    values["penalty"] = values.pop("C")
    del values["sha256"]
    (tmp_path / "probe.json").write_text(json.dumps(values))
    loaded, x = Probe.load(tmp_path), rng.normal(size=(5, 3))
    assert (loaded.C, loaded.codes, loaded.representation) == (0.03, probe.codes, "heart")
    np.testing.assert_allclose(loaded.predict_proba(x), probe.predict_proba(x), rtol=1e-8)


def test_run_of_0_1_is_refused_with_what_to_do_and_its_model_opens(cohort, tmp_path):
    config = TrainConfig(steps=4, batch_size=4, warmup_steps=1, log_every=1)

    def run(**options) -> LAMAE:
        return pretrain(random_encoder(TINY), cohort, np.arange(12), tmp_path, config, progress=False, **options)

    paused = run(stop_after=2)
    as_0_1_wrote_it(tmp_path / CHECKPOINT)
    with pytest.raises(
        ECGError, match="of another version of lamae_toolkit, which samples other masks: finish it with"
    ):
        run()
    opened = LAMAE.from_pretrained(tmp_path / CHECKPOINT).state_dict()
    assert all(torch.equal(opened[name], value) for name, value in paused.state_dict().items())


@pytest.mark.parametrize("name", ["lamae-small", "lamae-small-independent"])
def test_old_name_of_shipped_weights_is_answered_with_the_new_one(name):
    with pytest.raises(ECGError, match=f"weights {name} are now called {name.replace('small', 'mini-ptbxl')}; use"):
        LAMAE.from_pretrained(name)
    with pytest.raises(ECGError, match=f"weights {name} are now called {name.replace('small', 'mini-ptbxl')}; use"):
        Probe.load(name)
