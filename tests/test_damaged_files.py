"""Damaged and hostile checkpoints, runs, probes and stores: each opens or is refused in one sentence.

`benchmarks/fuzz_checkpoints.py` tries far more of them.
"""

import json
import re
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import damaged_files as files
from lamae_toolkit.checksums import check_files
from lamae_toolkit.cli.main import main
from lamae_toolkit.errors import ECGError
from limits import limited

DAMAGES = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return files.make(tmp_path_factory.mktemp("undamaged"))


def refusal(kind, folder):
    """The sentence of the refusal, empty if the file opens; any other error fails the test."""
    try:
        files.KINDS[kind].open(folder)
    except ECGError as error:
        assert re.fullmatch(r"[^\n\x1b]{20,1100}\.", str(error)), str(error)
        return str(error)
    return ""


@pytest.mark.parametrize("checksums", [True, False], ids=["checksums", "as an earlier version"])
@pytest.mark.parametrize("kind", files.KINDS)
def test_undamaged_file_opens(kind, checksums, made, tmp_path):
    assert refusal(kind, files.fresh(made, tmp_path / "x", checksums=checksums)) == ""


@pytest.mark.parametrize("kind", files.KINDS)
def test_changed_file_is_refused_by_its_checksum(kind, made, tmp_path):
    for number in range(DAMAGES):
        folder = files.fresh(made, tmp_path / "x")
        path = folder / files.KINDS[kind].file
        content = path.read_bytes()
        path.write_bytes(files.damaged(kind, content, 1, number))
        sentence = refusal(kind, folder)
        if path.read_bytes() != content and files.KINDS[kind].checked:
            assert sentence, number


@pytest.mark.parametrize("kind", files.KINDS)
def test_damaged_file_without_checksum_opens_or_is_refused(kind, made, tmp_path):
    for number in range(DAMAGES):
        folder = files.fresh(made, tmp_path / "x", checksums=False)
        path = folder / files.KINDS[kind].file
        if path.exists():
            path.write_bytes(files.damaged(kind, path.read_bytes(), 2, number))
            refusal(kind, folder)


CONFIG, PROBE, META = "configuration", "probe", "store.json"


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (CONFIG, {"width": 16_384}, r"at least 6,\d+,\d+,\d+ parameters: the weights have \d,\d+"),
        (CONFIG, {"decoder_depth": 1000}, "has at least 774,672 parameters: the weights have 9,209"),
        (CONFIG, {"width": 2**70}, "width is 1180591620717411303424, but it must be at most 16384"),
        (CONFIG, {"max_patches": 10**9}, "max_patches is 1000000000, but it must be at most 2000"),
        (CONFIG, {"patch_samples": 10_000}, "at least 16.,.* parameters"),
        (CONFIG, {"latent_depth": 0}, "does not match the config.json next to it: latent_attention.0"),
        (CONFIG, {"heads": None}, "heads is None, but it must be of type int"),
        (CONFIG, {"model": ["LAMAE"] * 10_000}, "holds a model of the class .* characters .*load it with that class"),
        (CONFIG, {"sampling_rate_hz": float("nan")}, "sampling_rate_hz is nan, but it must be a finite number"),
        (CONFIG, None, "config.json is damaged: it holds no JSON object; copy the checkpoint again"),
        (PROBE, {"bias": [float("nan"), 0.0]}, "bias holds what is not a number; run `lamae evaluate` again"),
        (PROBE, {"scale": [0.0] * 16}, "scale is 0 or below"),
        (PROBE, {"codes": ["I44.7", "I44.7"]}, "code I44.7 is given twice"),
        (PROBE, {"codes": "ab"}, "codes are not names"),
        (PROBE, {"weight": None}, "its weight is missing"),
        (PROBE, {"scale": [[0.0], []]}, "its numbers are no arrays"),
        (PROBE, {"weight": [[0.0]] * 2}, r"weight has the shape \(2, 1\) and not \(2, 16\)"),
        (PROBE, {"representation": []}, r"there is no representation \[\]"),
        (PROBE, {"C": "1"}, "C is not a number above 0"),
        (PROBE, {"prevalence": [0.0, 0.5]}, "prevalence is not between 0 and 1"),
        (PROBE, {"another": 1}, "lacks an entry of a probe or has another one"),
        (META, {"mv_per_unit": 1.0}, r"states other mv_per_unit \(1.0\) than every store has"),
        (META, {"leads": ["II", "I"]}, r"states other leads .* than every store has; pack the cohort again"),
        (META, {"folds": 10}, "states other folds"),
        (META, {"ecgs": 10**12}, "should hold 1000000000000 ECGs, but its index has 8 rows"),
        (META, {"samples": -1000}, "its numbers of ECGs, samples or Hz are not usable"),
        (META, {"sampling_rate_hz": 0}, "its numbers of ECGs, samples or Hz are not usable"),
    ],
)
def test_hostile_value_is_refused_without_checksum(kind, change, message, made, tmp_path):
    folder = files.fresh(made, tmp_path / "x", checksums=False)
    path = folder / files.KINDS[kind].file
    path.write_text(json.dumps(None if change is None else json.loads(path.read_text()) | change))
    with limited(path):
        assert re.search(message, refusal(kind, folder)), refusal(kind, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"step": 10**9}, "is of step 1000000000 of a run of 4 steps"),
        (lambda state: state | {"step": 2.0}, "is not the state of a pretraining run"),
        (lambda state: state | {"train_config": {"steps": torch.zeros(2)}}, "is not the state of a pretraining run"),
        (lambda state: [state], "is not the state of a pretraining run"),
        (lambda state: with_moment(state, exp_avg=torch.full((16,), torch.nan)), "or holds what is not a number"),
        (lambda state: with_moment(state, exp_avg_sq=torch.full((16,), -1.0)), "or holds what is not a number"),
        (lambda state: with_moment(state, exp_avg=torch.zeros(1).expand(10**9)), "does not fit its weights"),
        (lambda state: with_moment(state, step=torch.tensor(1e9)), "does not fit its weights"),
        (lambda state: Path("x"), "has a damaged training.pt; copy it again, or choose another folder"),  # a pickle
        (lambda state: {"more": torch.zeros(5_000_000)}, "too large for its weights"),
    ],
)
def test_hostile_training_state_is_refused_without_checksum(change, message, made, tmp_path):
    folder = files.fresh(made, tmp_path / "x", checksums=False)
    path = folder / files.KINDS["training state"].file
    torch.save(change(torch.load(path, weights_only=True)), path)
    with limited(path):
        assert re.search(message, refusal("training state", folder)), refusal("training state", folder)


def with_moment(state, **values):
    """The state with other moments of the parameter `lead_cls`, of 16 numbers."""
    moments = state["optimizer"]["state"]
    index = next(i for i, values in moments.items() if values["exp_avg"].shape == (16,))
    moments[index] |= values
    return state


def test_state_that_unpacks_to_more_is_refused(made, tmp_path):
    folder = files.fresh(made, tmp_path / "x", checksums=False)
    path = folder / files.KINDS["training state"].file
    torch.save({"zeros": torch.zeros(50_000_000)}, tmp_path / "large.pt")
    with ZipFile(tmp_path / "large.pt") as large, ZipFile(path, "w", ZIP_DEFLATED) as small:
        for entry in large.namelist():
            small.writestr(entry, large.read(entry))
    assert path.stat().st_size < 1_000_000
    with limited(path):
        assert "has a training.pt that is not the state" in refusal("training state", folder)


def test_weights_with_nan_or_of_another_type_are_refused(made, tmp_path):
    folder = files.fresh(made, tmp_path / "x", checksums=False)
    path = folder / files.KINDS["weights"].file
    state = load_file(path)
    save_file(state | {"decoder_pred.bias": torch.full((25,), torch.nan)}, path)
    assert "decoder_pred.bias holds what is not a number; copy the checkpoint again" in refusal("weights", folder)
    save_file(state | {"decoder_pred.bias": torch.zeros(25, dtype=torch.int64)}, path)
    assert "is of shape (25,) in integers in the weights and of shape (25,) in real numbers" in refusal(
        "weights", folder
    )
    path.write_bytes((2**62).to_bytes(8, "little") + b"{")
    assert "model.safetensors cannot be read; copy the checkpoint again" in refusal("weights", folder)


@pytest.mark.parametrize("kind", [CONFIG, "golden outputs", META, "checksums"])
def test_sparse_file_is_refused(kind, made, tmp_path):
    folder = files.fresh(made, tmp_path / "x", checksums=kind == "checksums")
    path = folder / files.KINDS[kind].file
    with path.open("ab") as file:
        file.truncate(3_000_000_000)
    with limited(path):
        assert refusal(kind, folder)


def test_index_with_impossible_rows_is_refused(made, tmp_path):
    folder = files.fresh(made, tmp_path / "x", checksums=False)
    path = folder / files.KINDS["index"].file
    index = pd.read_parquet(path)
    index.assign(fold=20).to_parquet(path)
    assert "has an ECG without a patient or a fold from 0 to 19" in refusal("index", folder)
    index.assign(text="x" * 30_000_000).to_parquet(path)
    with limited(path):
        assert re.search(r"unpacks to .* GB", refusal("index", folder))


def test_file_that_the_list_of_checksums_lost_is_refused(made, tmp_path):
    folder = files.fresh(made, tmp_path / "x", checksums=True)
    path = folder / files.KINDS["checksums"].file
    path.write_bytes(path.read_bytes().replace(b"golden.json", b"golden.jso."))
    with pytest.raises(ECGError, match=r"SHA256SUMS\.txt is damaged: it does not list golden\.json; copy the folder"):
        files.KINDS["checksums"].open(folder)


def test_every_changed_file_is_found_by_its_checksum(made, tmp_path):
    folder = files.fresh(made, tmp_path / "x") / files.STORE
    assert check_files(folder) == ["store.json", "index.parquet", "signals.int16"]
    assert main(["check", str(folder)]) == main(["check", str(tmp_path / "x" / "run" / "checkpoint")]) == 0
    with open(folder / "signals.int16", "r+b") as file:
        file.seek(1000)
        file.write(b"\1")
    with pytest.raises(ECGError, match=r"signals.int16 has changed since it was written"):
        check_files(folder)
    assert main(["check", str(folder)]) == 2
    (folder / "signals.int16").unlink()
    with pytest.raises(ECGError, match=r"has no signals.int16, which its SHA256SUMS.txt lists"):
        check_files(folder)
