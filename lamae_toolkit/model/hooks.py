"""Every attention of the model by its name: record it while the model runs, or edit it and see the effect.

The names are those of the modules: "encoder.0.attention" (within a lead), "latent_attention.0.attention" (between
leads; with tokens "induced" "latent_attention.0.gather.attention" and ".broadcast.attention"), "pooling" (lead
weights) and "decoder.0.attention". `attention_names` lists them. Blocks nest: hooks run in the order in which they were
set, so a recorder inside an editing block gets the edited attention, and one around it what the model computed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.layers import Attention, AttentionHook
from lamae_toolkit.model.pooling import LeadPooling, NamedPooling

Edit = Callable[[Tensor], Tensor]


def attention_names(model: nn.Module) -> tuple[str, ...]:
    """The names of all attention that can be recorded and edited, in the order of the model."""
    return tuple(_attentions(model))


@contextmanager
def record_attention(model: nn.Module, prefix: str = "") -> Iterator[dict[str, list[Tensor]]]:
    """Record the softmax of every attention whose name starts with `prefix`, while the model runs.

    Yields a dictionary from the attention's name to its recordings, one per call: (b, h, i, j), how much of each
    token j each token i takes, or of "pooling" (b, h, l), the lead weights. In the lead encoder and the decoder
    the leads are folded into b: (b l). Recordings carry gradients where the run of the model does. After the block
    the dictionary has only those that ran; ECGError if none did, and on a compiled model.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        model = lt.LAMAE(lt.LAMAEConfig()).eval()
        rng = np.random.default_rng(1)
        batch = lt.collate([lt.simulate_ecg(lt.sample_patient(0, rng), rng, codes={}).recording])
        with lt.record_attention(model, "pooling") as record:
            model.embed(batch)
        record["pooling"][0].shape  # (1, 3, 12): records, heads, leads
    """
    record: dict[str, list[Tensor]] = {name: [] for name in _attentions(model) if name.startswith(prefix)}
    with _hooked(model, {name: calls.append for name, calls in record.items()}):
        yield record
    for name in [name for name, calls in record.items() if not calls]:
        del record[name]
    if not record:
        raise ECGError(
            f"No attention was recorded{f' under the name {prefix!r}' if prefix else ''}:"
            " run the model inside the `with` block, and check the name."
        )


@contextmanager
def edit_attention(model: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Change attention while the model runs, to see what depends on it: a knock-out study.

    edits: from a name to a function that is given the softmax, shaped as in `record_attention`, and returns its
    replacement, of the same shape. Rows need not sum to 1: knocking out a column lowers the sum, unless the function
    rescales the rest. ECGError for a name that does not exist or did not run in the block, for a result
    of another shape or type or with values that are not finite, and on a compiled model.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        model = lt.LAMAE(lt.LAMAEConfig()).eval()
        rng = np.random.default_rng(1)
        batch = lt.collate([lt.simulate_ecg(lt.sample_patient(0, rng), rng, codes={}).recording])
        with lt.edit_attention(model, {"pooling": lambda weights: weights * 0 + 1 / 12}):
            mean_of_leads = model.embed(batch).heart  # every lead weighs the same
    """
    names = attention_names(model)
    for name in edits:
        if name not in names:
            raise ECGError(f"There is no attention {name!r} to edit; this model has {', '.join(names)}.")
    ran: set[str] = set()

    def checked(name: str) -> AttentionHook:
        def hook(attention: Tensor) -> Tensor:
            ran.add(name)
            # A copy, since an in-place edit would change what an outer recorder has recorded.
            return _check_edit(name, attention, edits[name](attention.clone()))

        return hook

    with _hooked(model, {name: checked(name) for name in edits}):
        yield
    unused = [name for name in edits if name not in ran]
    if unused:
        raise ECGError(
            f"The edit of {unused[0]!r} changed nothing, since it did not run in the `with` block:"
            " run the part of the model that uses it (`embed` leaves the decoder out)."
        )


def _attentions(model: nn.Module) -> dict[str, Attention | LeadPooling | NamedPooling]:
    """Every attention by its name; ECGError if any part of the model is compiled, which skips hooks."""
    for name, module in model.named_modules():
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            what = f"Part {name!r} of this model is compiled" if name else "This model is compiled"
            raise ECGError(
                f"{what}, and compiled attention can be neither recorded nor edited: use the model as it was before"
                " torch.compile, or load it again and do not compile it."
            )
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Attention | LeadPooling | NamedPooling)
    }


@contextmanager
def _hooked(model: nn.Module, hooks: Mapping[str, AttentionHook]) -> Iterator[None]:
    """Chain these hooks after the existing ones, and restore the existing ones at the end."""
    attentions = _attentions(model)
    previous = {name: attentions[name].hook for name in hooks}
    try:
        for name, hook in hooks.items():
            attentions[name].hook = _chained(previous[name], hook)
        yield
    finally:
        for name, hook_before in previous.items():
            attentions[name].hook = hook_before


def _chained(first: AttentionHook | None, second: AttentionHook) -> AttentionHook:
    if first is None:
        return second

    def both(attention: Tensor) -> Tensor | None:
        edited = first(attention)
        last = second(attention if edited is None else edited)
        return edited if last is None else last

    return both


def _check_edit(name: str, attention: Tensor, edited: object) -> Tensor:
    if not isinstance(edited, Tensor):
        raise ECGError(f"The edit of {name!r} returned {type(edited).__name__}; return the tensor to use instead.")
    if edited.shape != attention.shape or edited.dtype != attention.dtype:
        raise ECGError(
            f"The edit of {name!r} returned a tensor of shape {tuple(edited.shape)} and type {edited.dtype},"
            f" but it must match the attention that it received, {tuple(attention.shape)} and {attention.dtype}."
        )
    if not bool(torch.isfinite(edited).all()):
        raise ECGError(f"The edit of {name!r} returned values that are not finite; return finite numbers.")
    return edited
