"""Supervised networks: they learn, keep their best epoch, and fine-tuning starts at the probe."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import embed_rows, random_encoder
from lamae_toolkit.evaluation.linear_probe import REPRESENTATIONS, features, fit_probe, predict
from lamae_toolkit.evaluation.metrics import auroc
from lamae_toolkit.experiments.comparison.xresnet import XResNet1d
from lamae_toolkit.training.finetune import FineTuned, SupervisedConfig, fit_supervised, layers, supervised_logits
from lamae_toolkit.training.loader import Shuffle
from small_models import SMALL

QUICK = SupervisedConfig(epochs=6, batch_size=16, learning_rate=3e-3)


@pytest.fixture(scope="module")
def fast(cohort) -> np.ndarray:
    """Labels that the signal holds: whether the heart beats faster than 80 a minute."""
    return (cohort.index.heart_rate_bpm.to_numpy() > 80).astype(np.uint8)[:, None]


def test_network_learns_the_heart_rate_of_unseen_ecgs(cohort, fast):
    torch.manual_seed(0)
    train, validation, test = np.arange(0, 70), np.arange(70, 90), np.arange(90, 120)
    network = fit_supervised(XResNet1d(1), cohort, train, validation, fast, QUICK, progress=False)
    logits = supervised_logits(network, cohort, test)
    assert auroc(fast[test], logits, np.ones((1, len(test)))).value[0] > 0.75


def test_network_uses_leads_by_name_and_every_parameter_gets_a_gradient(cohort):
    torch.manual_seed(0)
    network, batch, order = XResNet1d(3), cohort.batch(range(8)), [11, 0, 5, 3, 1, 2, 4, 6, 10, 9, 8, 7]
    for module in network.modules():  # residual paths start at 0; here they shall speak
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.constant_(module.weight, 0.5)
    network(batch).square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    network.eval()
    shuffled = Batch(batch.signal_mv[:, order], batch.lead_mask[:, order], tuple(LEADS[i] for i in order))
    torch.testing.assert_close(network(shuffled), network(batch))


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_fine_tuning_starts_at_the_probe_and_leaves_the_given_model_unchanged(short_cohort, fast, representation):
    model, rows = random_encoder(SMALL), np.arange(len(short_cohort))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = features(embed_rows(model, short_cohort, rows, progress=False), representation)
    probe = fit_probe(x, fast, ["fast"], rows[:70], rows[70:90], representation=representation)
    network = FineTuned(model, probe)
    np.testing.assert_allclose(supervised_logits(network, short_cohort, rows), probe.logits(x), atol=2e-3)
    config = SupervisedConfig(epochs=1, batch_size=16, learning_rate=1e-3)
    fit_supervised(network, short_cohort, rows[:70], rows[70:90], fast, config, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_fine_tuning_uses_mean_features_for_an_absent_lead_like_the_probe(short_cohort, fast):
    model, rows = random_encoder(SMALL), np.arange(len(short_cohort))
    x = features(embed_rows(model, short_cohort, rows, progress=False), "per_lead")
    probe = fit_probe(x, fast, ["fast"], rows[:70], rows[70:90], representation="per_lead")
    batch = short_cohort.batch([0, 1])
    batch.lead_mask[:, [0, 7]] = False
    with torch.inference_mode():
        probabilities = FineTuned(model, probe)(batch).sigmoid().numpy()
    np.testing.assert_allclose(probabilities, predict(model, probe, batch), atol=1e-4)


def started(short_cohort, fast) -> FineTuned:
    model, rows = random_encoder(replace(SMALL, lead_embedding=True)), np.arange(len(short_cohort))
    x = features(embed_rows(model, short_cohort, rows, progress=False))
    return FineTuned(model, fit_probe(x, fast, ["fast"], rows[:70], rows[70:90]))


def test_layers_hold_every_parameter_once_from_the_ecg_to_the_read_out(short_cohort, fast):
    network = started(short_cohort, fast)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = [[names[id(parameter)] for parameter in layer] for layer in layers(network)]
    assert sorted(name for layer in found for name in layer) == sorted(names.values())
    parts = [sorted({".".join(name.split(".")[1:3]) for name in layer}) for layer in found[1:-1]]
    assert parts == [["encoder.0"], ["encoder.1"], ["latent_attention.0"], ["latent_attention.1"]]
    first = ["lead_cls", "patch_embed.weight", "patch_embed.bias", "lead_name.weight"]
    assert found[0] == [f"model.{name}" for name in first]
    assert {"head.weight", "model.pooling.query", "model.norm.weight", "model.mask_token"} <= set(found[-1])


@pytest.mark.slow
def test_rates_fall_layer_by_layer_and_one_rate_for_all_is_plain_adamw(short_cohort, fast, monkeypatch):
    config, rows = SupervisedConfig(epochs=1, batch_size=16, learning_rate=1e-3), np.arange(len(short_cohort))
    # The network as it is after its last step, whether or not that was its best.
    score = itertools.count()
    monkeypatch.setattr("lamae_toolkit.training.finetune._score", lambda *_: next(score))
    network = started(short_cohort, fast)
    plain, before = copy.deepcopy(network).train(), copy.deepcopy(network)
    optim = torch.optim.AdamW(plain.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, config.learning_rate, total_steps=4)
    for step in range(4):
        chosen = Shuffle(rows[:70], 16, 0).rows_of(step)
        target = torch.from_numpy(fast[chosen].astype(np.float32))
        optim.zero_grad(set_to_none=True)
        torch.nn.functional.binary_cross_entropy_with_logits(plain(short_cohort.batch(chosen)), target).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optim.step()
        schedule.step()
    fitted = {
        decay: fit_supervised(
            copy.deepcopy(network),
            short_cohort,
            rows[:70],
            rows[70:90],
            fast,
            config,
            layer_decay=decay,
            progress=False,
        )
        for decay in (1.0, 0.5)
    }
    ours, theirs = fitted[1.0].state_dict(), plain.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    def moved(network, layer) -> float:
        """How far a layer went: with AdamW, a step is about as long as the rate."""
        pairs = zip(layers(network)[layer], layers(before)[layer], strict=True)
        return float(np.mean([(after - start).abs().mean().item() for after, start in pairs]))

    shares = [moved(fitted[0.5], layer) / moved(fitted[1.0], layer) for layer in range(5)]
    assert shares == pytest.approx([0.5**5, 0.5**4, 0.5**3, 0.5**2, 0.5], rel=0.25)


def test_layer_decay_without_layers_is_refused(short_cohort, fast):
    arguments = (short_cohort, np.arange(70), np.arange(70, 90), fast, QUICK)
    with pytest.raises(ECGError, match="A layer_decay needs a pretrained model"):
        fit_supervised(XResNet1d(1), *arguments, layer_decay=0.8)
    with pytest.raises(ECGError, match="layer_decay is 0, but it must be above 0"):
        fit_supervised(started(short_cohort, fast), *arguments, layer_decay=0.0)


def test_best_epoch_may_be_the_start(short_cohort, fast):
    model, rows = random_encoder(SMALL), np.arange(len(short_cohort))
    x = features(embed_rows(model, short_cohort, rows, progress=False))
    probe = fit_probe(x, fast, ["fast"], rows[:70], rows[70:90])
    network = FineTuned(model, probe)
    # Learning the opposite can only make it worse.
    wrong = fast.copy()
    wrong[:70] = 1 - wrong[:70]
    config = SupervisedConfig(epochs=2, batch_size=16, learning_rate=1e-2)
    fit_supervised(network, short_cohort, rows[:70], rows[70:90], wrong, config, progress=False)
    np.testing.assert_allclose(supervised_logits(network, short_cohort, rows), probe.logits(x), atol=2e-3)


def test_too_few_ecgs_are_refused(cohort, fast):
    with pytest.raises(ECGError, match="do not fill a batch"):
        fit_supervised(XResNet1d(1), cohort, np.arange(5), np.arange(5, 9), fast, QUICK, progress=False)
    with pytest.raises(ECGError, match="epochs is 0"):
        SupervisedConfig(epochs=0)
