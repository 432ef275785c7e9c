"""The mask playground without a browser: masks, reconstructions, errors, figures, printed code, bad input."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from lamae_toolkit.data.batch import collate
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.explain.reconstruction import as_read, masked_errors, mean_error, reconstruct_masked, shipped_pair
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.masking import masked_ranges, named_lead_mask, random_mask, range_mask
from lamae_toolkit.palette import model_looks
from lamae_toolkit.plots.masks import error_figure, mask_figure
from lamae_toolkit.simulate.conditions import sample_patient
from lamae_toolkit.simulate.simulator import simulate_ecg
from lamae_toolkit.widgets.mask_playground.widget import MaskPlayground


def simulated(seed: int = 0, duration_s: float = 10.0) -> Recording:
    rng = np.random.default_rng(seed)
    return simulate_ecg(sample_patient(1, rng), rng, codes={"I44.7": 1.0}, duration_s=duration_s).recording


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulated()


@pytest.fixture(scope="module")
def models() -> dict:
    return shipped_pair()


@pytest.fixture
def playground(recording, models) -> MaskPlayground:
    return MaskPlayground(recording, models)


def sampled_mask(ratio: float = 0.75, seed: int = 0, leads: int = 12) -> np.ndarray:
    return random_mask((1, leads, 40), ratio, torch.Generator().manual_seed(seed))[0].numpy()


def test_errors_are_the_models_own_loss(recording, models):
    mask = sampled_mask()
    mask[8] = True
    for name, reconstruction in reconstruct_masked(models, recording, mask).items():
        errors = masked_errors(recording, reconstruction, mask)
        with torch.inference_mode():
            loss = float(models[name](collate([recording]), torch.from_numpy(mask)[None]).loss)
        assert mean_error(errors, mask) == pytest.approx(loss, rel=1e-3)


def test_errors_by_hand():
    """Two leads of 1 s in 4 patches: one reconstructed as its mean, one 0.1 mV too high."""
    true = np.stack([np.tile([1.0, -1.0], 50), np.tile([0.3, -0.1], 50)]).astype(np.float32)
    wrong = np.stack([np.zeros(100), true[1] + 0.1]).astype(np.float32)
    mask = np.array([[True, False, False, True], [False, True, False, False]])
    truth, reconstruction = Recording(true, 100, ("I", "II")), Recording(wrong[::-1], 100, ("II", "I"))
    errors = masked_errors(truth, reconstruction, mask)  # leads by name, not by row
    assert errors == pytest.approx([1 / (1 + 1e-4), 0.01 / (0.04 + 1e-4)], rel=1e-5)
    assert mean_error(errors, mask) == pytest.approx((2 * errors[0] + errors[1]) / 3)
    nothing = masked_errors(truth, reconstruction, ~mask & mask)
    assert np.isnan(nothing).all() and np.isnan(mean_error(nothing, ~mask & mask))
    with pytest.raises(ECGError, match=r"mask of shape \(3, 4\).*do not fit an ECG of 2 leads and 1 s"):
        masked_errors(truth, reconstruction, np.ones((3, 4), dtype=bool))


def test_lamae_reconstructs_a_masked_lead_and_independent_leads_cannot(models):
    """On eight ECGs: V3 from eleven leads, and three quarters of everything."""
    V3 = named_lead_mask((1, 12, 40), LEADS, ("V3",))[0].numpy()
    errors = {name: [] for name in models}
    for seed in range(8):
        ecg = simulated(seed)
        for mask in (V3, sampled_mask(seed=seed)):
            for name, reconstruction in reconstruct_masked(models, ecg, mask).items():
                errors[name].append(mean_error(masked_errors(ecg, reconstruction, mask), mask))
    lamae, independent = (np.reshape(errors[name], (8, 2)).mean(axis=0) for name in models)
    assert (lamae < 0.5).all() and independent[0] > 0.9 and (lamae < 0.6 * independent).all()


def test_ranges_make_the_mask_again():
    leads = ("V1", "I", "aVF")
    mask = sampled_mask(0.4, leads=3)
    mask[1], mask[2] = True, False
    ranges = masked_ranges(mask, leads)
    assert ranges["I"] == [(0, 40)] and "aVF" not in ranges
    assert (range_mask((1, 3, 40), leads, ranges)[0].numpy() == mask).all()
    with pytest.raises(ECGError, match="Lead II cannot be"):
        range_mask((1, 3, 40), leads, {"II": [(0, 1)]})
    with pytest.raises(ECGError, match="Patches 3 to 41 of lead I are not"):
        range_mask((1, 3, 40), leads, {"I": [(3, 41)]})


def test_figure_shows_reconstructions_of_masked_patches_only(recording, models):
    mask = named_lead_mask((1, 12, 40), recording.leads, ("V3",))[0].numpy().copy()
    mask[0, 4:6] = True
    reconstructions = reconstruct_masked(models, recording, mask)
    figure = mask_figure(recording, reconstructions, mask, "Two")
    for name, (color, dash, _) in model_looks(reconstructions).items():
        reconstruction = reconstructions[name]
        traces = [trace for trace in figure.data if trace.name == name]
        assert len(traces) == 12 and {(one.line.color, one.line.dash) for one in traces} == {(color, dash)}
        there = ~np.isnan(np.asarray(traces[0].y))
        assert there.sum() == 50 and there[100:150].all() and not np.isnan(np.asarray(traces[8].y)).any()
        assert traces[0].y[100] == pytest.approx(reconstruction.lead("I")[100]) and traces[0].x[100] == 1.0
    labels = [note.text for note in figure.layout.annotations]
    error = masked_errors(recording, reconstructions["LAMAE"], mask)[8]
    assert f"LAMAE {error:.2f}" in labels[8] and "all masked" in labels[8] and labels[1] == "<b>II</b>"
    assert len(figure.layout.shapes) == 2

    bars = error_figure(recording, reconstructions, mask)
    assert np.flatnonzero(~np.isnan(bars.data[0].y)).tolist() == [0, 8] and bars.data[0].y[8] == pytest.approx(error)
    assert bars.data[2].x == ("V3",) and bars.data[2].y[0] > np.nanmax(bars.data[1].y)  # the star
    assert bars.layout.yaxis.range[1] >= max(1.0, np.nanmax(bars.data[1].y))
    with pytest.raises(ECGError, match="5 models cannot be told apart"):
        mask_figure(recording, {str(number): reconstructions["LAMAE"] for number in range(5)}, mask)


def test_mask_set_on_the_page_is_reconstructed(playground):
    rows = ["0" * 40] * 12
    rows[8] = "1" * 40
    playground.grid._edit = {"number": 1, "masked": rows}
    assert playground.grid._reconstructed["edit"] == 1
    assert playground.mask.sum(axis=1).tolist() == [0] * 8 + [40] + [0] * 3
    lamae, independent = (playground.errors[name][8] for name in playground.models)
    assert lamae < independent and playground.grid._reconstructed["errors"][0][8] == pytest.approx(lamae)
    assert playground.grid._reconstructed["errors"][0][0] is None
    assert (
        "completely masked: V3" in playground.words.value
        and "LAMAE in 1, independent leads in 0" in playground.words.value
    )
    assert playground._bars.figure.data[0].y[8] == pytest.approx(lamae)
    sent = (
        np.frombuffer(playground.grid._reconstructed["data"], "<i2").reshape(2, 12, 1000)
        * playground.grid._reconstructed["scale_mv"]
    )
    assert sent[0, 8] == pytest.approx(playground.reconstructions["LAMAE"].lead("V3"), abs=1e-3)


def test_buttons_and_random_mask(playground):
    assert (playground.mask == sampled_mask()).all()
    playground.ratio.value = 0.5
    assert (playground.mask == sampled_mask(0.5)).all()
    playground.another.click()
    assert (playground.mask == sampled_mask(0.5, seed=1)).all()
    playground.chest.click()
    assert playground.mask.all(axis=1).tolist() == [False] * 6 + [True] * 6 and playground.mask.sum() == 240
    playground.grid.cursor = ["aVL", 3]
    playground.only.click()
    assert playground.only.description == "Mask only aVL" and playground.mask[4].all() and playground.mask.sum() == 40
    playground.keep.click()
    assert (
        playground.keep.description == "Keep only aVL" and not playground.mask[4].any() and playground.mask.sum() == 440
    )
    playground.clear.click()
    assert not playground.mask.any() and "Nothing is masked" in playground.describe()
    assert playground.grid._reconstructed["means"] == [None, None]


def test_one_qrs_one_moment_and_one_beat(playground):
    playground.grid.cursor = ["V2", 0]
    playground.beat.click()
    assert playground.mask.sum() == 1 and playground.mask[LEADS.index("V2")].any()
    patch = int(playground.mask.any(axis=0).argmax())
    steep = np.abs(np.diff(playground.read.signal_mv, axis=1)).sum(axis=0)
    assert steep[patch * 25 : patch * 25 + 25].max() >= 0.6 * steep.max(), "a QRS complex is the steepest part"
    playground.moment.click()
    assert playground.mask[:, patch].all() and playground.mask.sum() == 12
    playground.zoom.value = True
    first, end = playground.shown.value
    assert end - first == 4 and first <= patch < end and playground.grid._window == [first, end]
    playground.shown.value = (0, 20)
    assert playground.grid._window == [0, 20]
    playground.zoom.value = False
    assert playground.shown.value == (0, 40)
    playground.show(playground.recording.select(("I",)))
    assert playground.grid._window == [0, 40]


def test_a_guess_is_scored_next_to_the_models(playground):
    playground.grid.cursor = ["V2", 0]
    playground.beat.click()
    masked = np.repeat(playground.mask[LEADS.index("V2")], 25)
    playground.draw.value = True
    assert playground.hide.value, "the truth is hidden"
    truth = playground.read.lead("V2")
    playground.grid._guess = {"V2": [float(mv) if here else None for mv, here in zip(truth, masked, strict=True)]}
    assert playground.guessed["your guess"] == pytest.approx(0, abs=1e-6)
    assert set(playground.guessed) == {"your guess", *playground.models, "linear regression", "straight line"}
    assert playground.guessed["LAMAE"] < playground.guessed["straight line"]
    assert playground._score.value.index("your guess 0.000 mV") < playground._score.value.index("LAMAE")
    playground.grid._guess = {"I": [0.1] * 1000}
    assert "Nothing masked was guessed" in playground._message.value
    playground.draw.value = False
    assert playground.grid._guess == {} and playground._score.value == ""


def test_code_reproduces_the_view(playground, recording, models):
    for change in (lambda: None, playground._mask_chest):
        change()
        made: dict = {"recording": recording, "models": models}
        exec(playground.code(), made)
        assert (made["mask"] == playground.mask).all()
        for again, here in zip((made["figure"], made["errors"]), playground.figures(), strict=True):
            assert len(again.data) == len(here.data)
            for a, b in zip(again.data, here.data, strict=True):
                assert np.array_equal(np.asarray(a.y, float), np.asarray(b.y, float), equal_nan=True)
    assert "shipped_pair" not in playground.code()
    assert "models = lt.explain.shipped_pair()" in MaskPlayground(recording).code()


def test_saved_pages_and_pictures(playground, tmp_path):
    page = playground.save(tmp_path / "mask.html").read_text("utf-8")
    assert page.count("plotly-graph-div") == 2 and "<h1>Mask playground</h1>" in page and "Error: " in page
    assert not re.search(r"<script[^>]+src=", page)
    playground.show(playground.recording.select(("I", "II")))
    assert playground.save(tmp_path / "mask.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("leads", "samples", "said"),
    [
        (("I",), 5000, "lead I only"),
        (("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), 5000, "Not recorded: III, aVR, aVL, aVF."),
        (LEADS[:4] + LEADS[5:], 5000, "Not recorded: aVL."),
        (LEADS, 1000, "this ECG has 2 s"),
        (LEADS, 4950, "The models read the first 9.75 s"),
    ],
)
def test_ecgs_of_other_lengths_and_leads(playground, recording, leads, samples, said):
    playground.show(Recording(recording.select(leads).signal_mv[:, :samples], 500, leads))
    assert said in playground._about.value and "amplitude of a masked lead is given" in playground._about.value
    assert playground.mask.shape == (len(leads), samples // 125) and playground.mask.any()
    assert playground.grid._ecg["leads"] == [lead for lead in LEADS if lead in leads]
    for figure in playground.figures():
        assert figure.data
    assert np.isfinite(playground.errors["LAMAE"]).all()


def test_a_long_ecg_is_read_from_its_beginning(playground):
    playground.show(simulated(duration_s=60.0))
    assert "has 60 s, of which the models read the first 10" in playground._about.value
    assert playground.read.duration_s == 10.0 and max(playground.figures()[0].data[0].x) <= 10.0


def test_the_order_of_leads_in_a_file_changes_nothing(recording, models):
    here, there = MaskPlayground(recording, models), MaskPlayground(recording.select(LEADS[::-1]), models)
    here._mask_chest()
    there._mask_chest()
    assert here.grid.masked == there.grid.masked
    assert here.errors["LAMAE"] == pytest.approx(there.errors["LAMAE"][::-1], abs=1e-4, nan_ok=True)
    there.grid._edit = {"number": 1, "masked": ["1" + "0" * 39, *["0" * 40] * 11]}
    assert there.mask[-1, 0] and there.mask.sum() == 1  # lead I is the first on the page, the last of the recording


def test_bad_masks_are_reported_and_the_view_stays(playground, recording, models):
    before, count = playground.mask, playground.grid._reconstructed["count"]
    shown = playground.grid.masked
    playground.grid._edit = {"number": 1, "masked": ["1" * 40] * 12}
    assert "leave at least one patch visible" in playground._message.value and "alert" in playground._message.value
    assert playground.mask is before and playground.grid.masked == shown
    assert playground.grid._reconstructed["count"] > count  # the page hears of it
    playground.clear.click()
    assert playground._message.value == ""

    with pytest.raises(ECGError, match="at least two patches"):
        playground.show(Recording(recording.signal_mv[:, :200], 500, LEADS))
    assert playground.recording is recording
    playground.show(recording.select(("I", "II")))
    shown = playground.grid.masked
    playground.grid._edit = {"number": 2, "masked": ["1" * 40, *["0" * 40] * 11]}  # of the ECG before
    assert playground.grid.masked == shown and playground._message.value == ""
    playground.chest.click()
    assert "none of the leads V1 to V6" in playground._message.value
    with pytest.raises(ECGError, match=r"mask has the shape \(12, 40\)"):
        playground.set_mask(before)

    longer = random_encoder(LAMAEConfig(patch_samples=50, max_patches=20))
    with pytest.raises(ECGError, match="LAMAE reads 25 samples a patch, but long patches 50, so one mask does not fit"):
        MaskPlayground(recording, {"LAMAE": models["LAMAE"], "long patches": longer})
    with pytest.raises(ECGError, match="0 models"):
        MaskPlayground(recording, {})


def test_an_ecg_is_read_as_the_model_reads_it(recording, models):
    config = models["LAMAE"].config
    twice = np.concatenate([recording.signal_mv, recording.signal_mv[:, ::-1]], axis=1)
    for ecg in (recording, replace(recording, signal_mv=np.repeat(twice, 5, axis=1), sampling_rate_hz=500.0)):
        expected = collate([ecg]).signal_mv[0].numpy()
        np.testing.assert_allclose(as_read(ecg, config).signal_mv, expected, rtol=0, atol=1e-6)
