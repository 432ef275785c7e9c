"""Attention hooks: recording changes nothing, edits take effect, unused hooks are errors, and hooks are removed."""

import copy
from dataclasses import replace

import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.hooks import attention_names, edit_attention, record_attention
from lamae_toolkit.model.layers import Attention
from lamae_toolkit.model.masking import named_lead_mask, random_mask
from lamae_toolkit.model.pooling import LeadPooling
from small_models import SMALL

OPTIONS = [
    {},
    {"tokens": "cls"},
    {"tokens": "induced"},
    {"latent_depth": 0},
    {"pooling": "mean"},
    {"heart": "token"},
    {"lead_embedding": True, "amplitude_input": True, "normalization": "record"},
]


@pytest.fixture(scope="module")
def batch(cohort) -> Batch:
    """Two ECGs of 5 s, the second without leads III and V4."""
    whole = cohort.batch([0, 1])
    lead_mask = torch.ones_like(whole.lead_mask)
    lead_mask[1, [2, 9]] = False
    return Batch(whole.signal_mv[:, :, :500], lead_mask, whole.leads)


def masks(batch: Batch) -> list[torch.Tensor]:
    """As in pretraining; ragged, with a lead hidden altogether."""
    shape = (2, 12, 20)
    drawn = random_mask(shape, 0.7, torch.Generator().manual_seed(0))
    ragged = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5
    return [drawn, ragged | named_lead_mask(shape, batch.leads, ("V1",))]


def outputs(model, batch: Batch) -> list[torch.Tensor]:
    """All that the model gives, of the whole ECG and of masked ones."""
    reconstructions = [part for mask in masks(batch) for part in model(batch, mask)[:2]]
    return [*model.embed(batch), *reconstructions]


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor], atol: float) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=0)


def no_taps(model) -> bool:
    return all(module.hook is None for module in model.modules() if isinstance(module, Attention | LeadPooling))


@pytest.mark.parametrize("choice", OPTIONS, ids=str)
@torch.inference_mode()
def test_recording_and_identity_edits_change_nothing_in_any_configuration(batch, choice):
    model = random_encoder(replace(SMALL, **choice))
    plain = outputs(model, batch)
    with record_attention(model) as record:
        assert_equal(outputs(model, batch), plain, atol=1e-5)
    assert tuple(record) == attention_names(model), "every attention of the model ran and was recorded, in its order"
    for name, calls in record.items():
        assert len(calls) == (2 if name.startswith("decoder") else 3)
        for recorded in calls:
            torch.testing.assert_close(recorded.sum(-1), torch.ones_like(recorded[..., 0]))
    with edit_attention(model, dict.fromkeys(attention_names(model), lambda attention: attention)):
        assert_equal(outputs(model, batch), plain, atol=1e-5)
    assert no_taps(model)
    assert_equal(outputs(model, batch), plain, atol=0)


def test_the_names_are_those_of_the_modules():
    assert attention_names(random_encoder(replace(SMALL, tokens="induced", latent_depth=1, encoder_depth=1))) == (
        "encoder.0.attention",
        "latent_attention.0.gather.attention",
        "latent_attention.0.broadcast.attention",
        "pooling",
        "decoder.0.attention",
    )
    assert "pooling" not in attention_names(IndependentMAE(SMALL))


@torch.inference_mode()
def test_fused_and_explicit_attention_agree_under_masks():
    torch.manual_seed(0)
    attention, x = Attention(32, 4), torch.randn(3, 7, 32)
    keys = torch.rand(3, 7) < 0.6
    keys[:, 0] = True
    fused, seen = attention(x, keys), []
    attention.hook = seen.append
    torch.testing.assert_close(attention(x, keys), fused, atol=1e-5, rtol=0)
    assert seen[0][~keys[:, None, None].expand_as(seen[0])].max() == 0


@torch.inference_mode()
def test_the_lead_pooling_is_watched(batch):
    model = random_encoder(SMALL)
    with record_attention(model, "pooling") as record:
        weights = model.embed(batch).lead_weights
    assert list(record) == ["pooling"]
    torch.testing.assert_close(record["pooling"][0], weights, atol=0, rtol=0)


def test_recordings_carry_gradients(batch):
    model = random_encoder(SMALL)
    with record_attention(model) as record:
        heart = model.embed(batch).heart.sum()
    names = [name for name in record if name != "pooling"]
    gradients = torch.autograd.grad(heart, [record[name][0] for name in [*names, "pooling"]])
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    # heart = out . sum over leads of weight . value + bias: the weights times their gradient are all but the bias.
    share = (gradients[-1] * record["pooling"][0]).sum()
    torch.testing.assert_close(share, heart - 2 * model.pooling.out.bias.sum(), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_edited_attention_is_used_by_the_model(batch):
    """With lead II alone in the pooling, and nobody looking beyond the own lead, the heart is that of lead II alone."""
    model = random_encoder(replace(SMALL, latent_depth=1))
    second = torch.tensor([name == "II" for name in batch.leads])

    def only_own_lead(attention):
        lead = torch.arange(attention.shape[-1]) // 21
        within = attention * (lead[:, None] == lead)
        return within / within.sum(dim=-1, keepdim=True).clamp(min=1e-9)  # an absent lead looks at nothing

    edits = {"latent_attention.0.attention": only_own_lead, "pooling": lambda weights: second.expand_as(weights) * 1.0}
    with edit_attention(model, edits):
        edited = model.embed(batch)
    torch.testing.assert_close(edited.heart[0], model.embed(batch.select(["II"])).heart[0], atol=1e-5, rtol=0)
    assert (edited.lead_weights[0] == second).all(), "what was edited is what the model uses and returns"
    with edit_attention(model, {"pooling": torch.zeros_like}):  # rows need not sum to 1
        torch.testing.assert_close(model.embed(batch).heart, model.pooling.out.bias.expand(2, -1))


@torch.inference_mode()
def test_watching_and_editing_nest(batch):
    model = random_encoder(SMALL)
    even = {"pooling": lambda weights: torch.full_like(weights, 1 / 12)}
    plain = model.embed(batch).lead_weights

    def spoil(weights):
        return weights.mul_(0)  # in place: what a watcher around it holds must stay as it was

    with record_attention(model, "pooling") as before, edit_attention(model, even), record_attention(model) as after:
        assert model.embed(batch).lead_weights.unique().numel() == 1
    torch.testing.assert_close(before["pooling"][0], plain)
    assert (after["pooling"][0] == 1 / 12).all()
    with record_attention(model, "pooling") as before, edit_attention(model, {"pooling": spoil}):
        model.embed(batch)
    torch.testing.assert_close(before["pooling"][0], plain)
    with edit_attention(model, even), edit_attention(model, {"pooling": lambda weights: weights * 2}):
        assert (model.embed(batch).lead_weights == 2 / 12).all()
    assert no_taps(model)


def test_silence_is_an_error_and_taps_never_stay(batch):
    model = random_encoder(SMALL)
    with pytest.raises(ECGError, match="No attention was recorded: run the model"), record_attention(model):
        pass
    with pytest.raises(ECGError, match="under the name 'nowhere'"), record_attention(model, "nowhere"):
        model.embed(batch)
    silent = {"decoder.0.attention": lambda attention: attention}
    with pytest.raises(ECGError, match=r"'decoder.0.attention' changed nothing"), edit_attention(model, silent):
        model.embed(batch)
    for block in (record_attention(model), edit_attention(model, silent)):
        with pytest.raises(RuntimeError, match="the model's own"), block:
            raise RuntimeError("the model's own")
        assert no_taps(model)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda attention: attention[..., :-1], r"'pooling' returned a tensor of shape \(2, 4, 11\)"),
        (lambda attention: attention.double(), "type torch.float64"),
        (lambda attention: attention / 0, "values that are not finite"),
        (lambda attention: None, "returned NoneType; return the tensor"),
    ],
)
def test_a_wrong_edit_is_refused(batch, edit, complaint):
    model = random_encoder(SMALL)
    with pytest.raises(ECGError, match=complaint), edit_attention(model, {"pooling": edit}):
        model.embed(batch)
    assert no_taps(model)


def test_an_unknown_name_is_refused_before_anything_runs():
    with pytest.raises(ECGError, match=r"no attention 'pool' to edit; this model has encoder.0.attention, .*pooling"):
        edit_attention(random_encoder(SMALL), {"pool": lambda attention: attention}).__enter__()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_models_and_parts_are_refused():
    model = random_encoder(SMALL)
    in_place, part, part_in_place = (copy.deepcopy(model) for _ in range(3))
    in_place.compile()
    part.latent_attention[1] = torch.compile(part.latent_attention[1])
    part_in_place.encoder[0].attention.compile()
    for compiled, complaint in (
        (torch.compile(model), "This model is compiled, .* as it was before torch.compile"),
        (in_place, "This model is compiled"),
        (part, r"Part 'latent_attention.1' of this model is compiled"),
        (part_in_place, r"Part 'encoder.0.attention' of this model is compiled"),
    ):
        for block in (record_attention(compiled), edit_attention(compiled, {})):
            with pytest.raises(ECGError, match=complaint), block:
                pass
        with pytest.raises(ECGError, match=complaint):
            attention_names(compiled)
