"""Every attention of the model by its name: read it while the model runs, or change it and see what follows.

The names are those of the modules: "encoder.0.attention" (within a lead), "latent_attention.0.attention" (between
leads; with tokens "induced" "latent_attention.0.gather.attention" and ".spread.attention"), "pooling" (lead weights)
and "decoder.0.attention". `attention_names` lists them. Blocks nest: the one that was opened first is asked first,
so a watcher inside an editing block sees what was edited, and one around it what the model computed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.layers import Attention, AttentionHook, LeadPooling

Edit = Callable[[Tensor], Tensor]


def attention_names(model: nn.Module) -> tuple[str, ...]:
    """The names of all attention that can be read and edited, in the order of the model."""
    return tuple(_attentions(model))


@contextmanager
def record_attention(model: nn.Module, prefix: str = "") -> Iterator[dict[str, list[Tensor]]]:
    """Record the softmax of every attention whose name starts with `prefix`, while the model runs.

    Yields a dictionary from the attention's name to its recordings, one per call: (b, h, i, j), how much of each
    token j each token i takes, or of "pooling" (b, h, l), the lead weights. In the lead encoder and the decoder
    the leads are folded into b: (b l). Recordings carry gradients where the model's run does. After the block
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

    edits: from a name to a function that is given the softmax, shaped as in `record_attention`, and returns what the
    model is to use instead, of the same shape. Rows need not sum to 1: knocking a column out leaves less, unless the
    function scales the rest up. ECGError for a name that there is not or that never ran in the block, for a result
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
            # A copy, since an edit in place would change what a watcher around it has recorded.
            return _check_edit(name, attention, edits[name](attention.clone()))

        return hook

    with _hooked(model, {name: checked(name) for name in edits}):
        yield
    silent = [name for name in edits if name not in ran]
    if silent:
        raise ECGError(
            f"The edit of {silent[0]!r} changed nothing, since it never ran in the `with` block:"
            " run the part of the model that uses it (`embed` leaves the decoder out)."
        )


def _attentions(model: nn.Module) -> dict[str, Attention | LeadPooling]:
    """Every attention by its name; ECGError if any part of the model is compiled, whose attention is out of reach."""
    for name, module in model.named_modules():
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            what = f"Part {name!r} of this model is compiled" if name else "A compiled model cannot be watched"
            raise ECGError(
                f"{what}, and compiled attention can be neither read nor edited: use the model as it was before"
                " torch.compile, or load it anew and do not compile it."
            )
    return {name: module for name, module in model.named_modules() if isinstance(module, Attention | LeadPooling)}


@contextmanager
def _hooked(model: nn.Module, hooks: Mapping[str, AttentionHook]) -> Iterator[None]:
    """Put these taps behind those that are there, and in the end, whatever happens, leave it as it was found."""
    attentions = _attentions(model)
    former = {name: attentions[name].hook for name in hooks}
    try:
        for name, hook in hooks.items():
            attentions[name].hook = _chained(former[name], hook)
        yield
    finally:
        for name, previous in former.items():
            attentions[name].hook = previous


def _chained(first: AttentionHook | None, second: AttentionHook) -> AttentionHook:
    if first is None:
        return second

    def both(attention: Tensor) -> Tensor | None:
        edited = first(attention)
        again = second(attention if edited is None else edited)
        return edited if again is None else again

    return both


def _check_edit(name: str, attention: Tensor, edited: object) -> Tensor:
    if not isinstance(edited, Tensor):
        raise ECGError(f"The edit of {name!r} returned {type(edited).__name__}; return the tensor to use instead.")
    if edited.shape != attention.shape or edited.dtype != attention.dtype:
        raise ECGError(
            f"The edit of {name!r} returned a tensor of shape {tuple(edited.shape)} and type {edited.dtype},"
            f" but it must be like the attention that it was given, {tuple(attention.shape)} and {attention.dtype}."
        )
    if not bool(torch.isfinite(edited).all()):
        raise ECGError(f"The edit of {name!r} returned values that are not finite; return numbers only.")
    return edited
