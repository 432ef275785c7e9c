"""Training is exact: the same run twice, or stopped and resumed, ends in the same bits."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lamae_toolkit.checksums import CHECKSUM_FILE
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training import trainer
from lamae_toolkit.training.step import RuntimeConfig
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig, learning_rate, pretrain, read_log
from small_models import ONE_BLOCK, TEN, TO_TRAIN, run, same_bits, without_speed


def test_ten_steps_are_five_and_five_bit_for_bit(cohort, tmp_path):
    whole = run(cohort, tmp_path / "whole")
    run(cohort, tmp_path / "parts", stop_after=5)
    assert not same_bits(LAMAE.from_pretrained(tmp_path / "parts" / CHECKPOINT), whole)
    torch.manual_seed(12345)
    resumed = run(cohort, tmp_path / "parts")
    assert same_bits(whole, resumed)
    assert same_bits(LAMAE.from_pretrained(tmp_path / "parts" / CHECKPOINT), whole)
    assert without_speed(tmp_path / "whole") == without_speed(tmp_path / "parts")
    states = [
        torch.load(tmp_path / name / CHECKPOINT / "training.pt", weights_only=True) for name in ("whole", "parts")
    ]
    for one, other in zip(*(state["optimizer"]["state"].values() for state in states), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_linear_path_is_fitted_after_the_last_step_and_does_not_change_what_is_learned(cohort, tmp_path):
    config = replace(TO_TRAIN, normalization="visible", amplitude_input=True, linear_path=True, pooling="named")
    rows, runs = np.arange(40), []
    for folder, stops in (("whole", (None,)), ("parts", (4, None))):
        for stop in stops:
            model = random_encoder(config)
            model = pretrain(model, cohort, rows, tmp_path / folder, TEN, stop_after=stop, progress=False)
            if stop:
                assert torch.equal(model.linear_path.covariance, torch.eye(12).repeat(2, 1, 1)), "not yet"
        runs.append(model)
    assert same_bits(*runs)
    plain = random_encoder(replace(config, linear_path=False))
    learned = pretrain(plain, cohort, rows, tmp_path / "plain", TEN, progress=False).state_dict()
    assert all(torch.equal(value, runs[0].state_dict()[name]) for name, value in learned.items())
    batch = cohort.batch(rows)
    variance = batch.signal_mv.var(dim=2, correction=0) * batch.lead_mask
    found = runs[0].linear_path.covariance[1].diagonal()
    torch.testing.assert_close(found, variance.sum(dim=0) / batch.lead_mask.sum(dim=0), atol=0, rtol=1e-3)


def test_killed_run_resumes_from_its_last_checkpoint(cohort, tmp_path, monkeypatch):
    whole = run(cohort, tmp_path / "whole")
    steps = []

    def batch_until_step_6(*arguments, **options):
        steps.append(1)
        if len(steps) == 7:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    original = cohort.batch
    monkeypatch.setattr(cohort, "batch", batch_until_step_6)
    with pytest.raises(KeyboardInterrupt):
        run(cohort, tmp_path / "killed")
    assert read_log(tmp_path / "killed")[-1]["step"] == 6
    monkeypatch.undo()
    assert same_bits(run(cohort, tmp_path / "killed"), whole)
    assert [row["step"] for row in read_log(tmp_path / "killed")] == list(range(1, 11))


def test_a_finished_run_is_not_run_again(cohort, tmp_path, monkeypatch):
    done = run(cohort, tmp_path / "run")
    monkeypatch.setattr(cohort, "batch", None)
    assert same_bits(run(cohort, tmp_path / "run"), done)


def test_a_run_of_another_configuration_is_refused(cohort, tmp_path):
    run(cohort, tmp_path, stop_after=2)
    with pytest.raises(ECGError, match=r"a run with learning_rate = 0\.001, not 0\.01"):
        run(cohort, tmp_path, replace(TEN, learning_rate=0.01))
    with pytest.raises(ECGError, match="a run with tokens = 'all', not 'cls'"):
        pretrain(random_encoder(replace(TO_TRAIN, tokens="cls")), cohort, np.arange(40), tmp_path, TEN, progress=False)
    (tmp_path / CHECKPOINT / "training.pt").write_bytes(b"damaged")
    with pytest.raises(ECGError, match=r"training\.pt has changed since it was written"):
        run(cohort, tmp_path)
    (tmp_path / CHECKPOINT / CHECKSUM_FILE).unlink()
    with pytest.raises(ECGError, match=r"cannot be resumed: it has a damaged training\.pt"):
        run(cohort, tmp_path)


def test_non_finite_loss_stops_the_run_and_keeps_the_checkpoint(cohort, tmp_path):
    run(cohort, tmp_path, replace(TEN, learning_rate=1e-3), stop_after=4)
    state = torch.load(tmp_path / CHECKPOINT / "training.pt", weights_only=True)
    model = random_encoder(TO_TRAIN)
    with torch.no_grad():
        model.lead_cls.fill_(float("nan"))
    with pytest.raises(ECGError, match="not a number at step 1"):
        pretrain(model, cohort, np.arange(40), tmp_path / "other", TEN, progress=False)
    assert state["step"] == 4 and not (tmp_path / "other" / CHECKPOINT).exists()


def test_exploded_loss_stops_the_run_and_keeps_the_checkpoint(cohort, tmp_path):
    model = random_encoder(TO_TRAIN)
    with torch.no_grad():
        model.decoder_pred.bias.fill_(1e4)
    with pytest.raises(ECGError, match=r"The loss is 1e\+08 at step 1, .* no checkpoint was written yet"):
        pretrain(model, cohort, np.arange(40), tmp_path / "other", TEN, progress=False)
    run(cohort, tmp_path, replace(TEN, save_every=1), stop_after=4)
    loaded = LAMAE.from_pretrained(tmp_path / CHECKPOINT)
    with torch.no_grad():
        loaded.decoder_pred.bias.fill_(1e4)
    loaded.save_pretrained(tmp_path / CHECKPOINT)
    with pytest.raises(
        ECGError, match=r"at step 5, .* lower the learning rate; the checkpoint of step 4 in .* is kept"
    ):
        run(cohort, tmp_path, replace(TEN, save_every=1))


def test_clock_that_stands_still_does_not_end_the_run(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: 0.0)
    run(cohort, tmp_path, stop_after=2)
    assert read_log(tmp_path)[-1]["step"] == 2


@pytest.mark.parametrize(
    "values",
    [{"seed": -1}, {"seed": 2**70}, {"learning_rate": 1e38}, {"learning_rate": float("nan")}, {"weight_decay": -0.1}],
)
def test_settings_outside_their_limits_are_refused(values):
    with pytest.raises(ECGError, match=f"The training's {next(iter(values))} is .*, but it must be"):
        TrainConfig(**values)


WITH_THREADS = """
import os, sys
import numpy as np, torch
import lamae_toolkit as lt
from lamae_toolkit.training.step import RuntimeConfig
store, out, threads = lt.Store.open(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.manual_seed(0)
model = lt.LAMAE(lt.LAMAEConfig(width=48, encoder_depth=1))
config = lt.TrainConfig(steps=2, batch_size=16, warmup_steps=1)
lt.pretrain(model, store, np.arange(40), out, config, runtime=RuntimeConfig(threads=threads), progress=False)
print(torch.get_num_threads())
"""


@pytest.mark.slow
def test_same_weights_with_a_fixed_number_of_threads(cohort, tmp_path):
    """Two processes that may use different numbers of threads give bitwise equal weights if the run fixes it."""
    weights = []
    for threads in (1, 2):
        out = tmp_path / str(threads)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", WITH_THREADS, str(cohort.folder), str(out), "2"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert result.stdout.split() == [str(threads)], result.stderr  # restored after the run
        weights.append((out / CHECKPOINT / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    state = torch.load(tmp_path / "1" / CHECKPOINT / "training.pt", weights_only=True)
    assert state["threads"] == 2


def test_run_resumes_with_its_number_of_threads_only(cohort, tmp_path):
    run(cohort, tmp_path, stop_after=1, runtime=RuntimeConfig(threads=1))
    with pytest.raises(ECGError, match="holds a run with threads = 1, not 0"):
        run(cohort, tmp_path)


@pytest.mark.slow
def test_training_lowers_the_loss(short_cohort, tmp_path):
    config = TrainConfig(steps=200, batch_size=16, learning_rate=1e-2, warmup_steps=20)
    pretrain(random_encoder(ONE_BLOCK), short_cohort, np.arange(100), tmp_path, config, progress=False)
    losses = [row["loss"] for row in read_log(tmp_path)]
    assert np.mean(losses[-3:]) < 0.9 < 0.97 < np.mean(losses[:2])


def test_learning_rate_has_linear_warm_up_and_cosine_decay():
    config = TrainConfig(steps=110, warmup_steps=10, learning_rate=1.0)
    assert learning_rate(0, config) == pytest.approx(0.1) and learning_rate(9, config) == 1.0
    assert learning_rate(60, config) == pytest.approx(0.5)
    assert learning_rate(109, config) == pytest.approx(0.0, abs=1e-3)


def test_checkpoint_states_its_class_and_mismatches_are_refused(cohort, tmp_path):
    run(cohort, tmp_path, stop_after=1)
    folder = tmp_path / CHECKPOINT
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "training.pt", "golden.json", "README.md", CHECKSUM_FILE}
    assert "not for diagnosis" in (folder / "README.md").read_text()
    (folder / CHECKSUM_FILE).unlink()
    golden = json.loads((folder / "golden.json").read_text())
    (folder / "golden.json").write_text(json.dumps(golden | {"heart": [v + 0.1 for v in golden["heart"]]}))
    with pytest.raises(ECGError, match="other heart than when it was saved"):
        LAMAE.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"width": 64}))
    with pytest.raises(ECGError, match=r"does not match the config\.json next to it"):
        LAMAE.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config | {"depth": 64}))
    with pytest.raises(ECGError, match="unknown key 'depth'"):
        LAMAE.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ECGError, match="damaged checkpoint"):
        LAMAE.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ECGError, match=r"it has no model\.safetensors"):
        LAMAE.from_pretrained(folder)


def test_training_log_has_the_expected_rows(cohort, tmp_path):
    run(cohort, tmp_path)
    row = read_log(tmp_path)[0]
    assert set(row) == {"step", "loss", "learning_rate", "gradient_norm", "ecgs_per_s"}
    with pytest.raises(ECGError, match=r"has no log\.jsonl"):
        read_log(tmp_path / "elsewhere")


def test_a_name_that_is_no_model_is_refused():
    with pytest.raises(ECGError, match="neither a local folder nor a model of the Hugging Face hub"):
        LAMAE.from_pretrained("no such/model/at all")


def test_a_run_on_other_ecgs_is_refused(cohort, tmp_path):
    run(cohort, tmp_path, stop_after=2)
    with pytest.raises(ECGError, match="holds a run on other ECGs"):
        pretrain(random_encoder(TO_TRAIN), cohort, np.arange(41), tmp_path, TEN, progress=False)


def test_ecgs_of_another_rate_are_refused(cohort, tmp_path):
    model = random_encoder(replace(TO_TRAIN, sampling_rate_hz=500.0))
    with pytest.raises(ECGError, match="sampled at 100 Hz, but the model reads 500 Hz"):
        pretrain(model, cohort, np.arange(40), tmp_path, TEN, progress=False)


def test_a_run_of_a_version_with_other_masks_is_refused_and_its_model_loads(cohort, tmp_path):
    run(cohort, tmp_path, stop_after=3)
    path = tmp_path / CHECKPOINT / "training.pt"
    (tmp_path / CHECKPOINT / CHECKSUM_FILE).unlink()
    state = torch.load(path, weights_only=True)
    assert state.pop("recipe") == 2
    torch.save(state | {"generator": torch.zeros(16, dtype=torch.uint8)}, path)
    with pytest.raises(ECGError, match="a run of another version of lamae_toolkit, which samples other masks: finish"):
        run(cohort, tmp_path)
    assert LAMAE.from_pretrained(tmp_path / CHECKPOINT).config == TO_TRAIN
