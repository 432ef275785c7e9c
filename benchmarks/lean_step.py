"""What each saving of the training step is worth: the step with this saving undone, over the step as it is.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/lean_step.py [--rounds 7] [--seconds 3] [--device cpu]

All steps take turns in one process, with the same weights, ECGs and masks; before anything is measured, their losses
and gradients are compared. A ratio above 1 is time saved. The last row is a saving that the model does not make.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from einops import einsum, rearrange
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import VisiblePatches, sample_visible
from lamae_toolkit.model.normalization import Patches
from lamae_toolkit.model.outputs import Latents, keys_within_leads
from lamae_toolkit.model.random_numbers import Purpose, uniform
from lamae_toolkit.training.distributed import DistributedContext
from lamae_toolkit.training.presets import SIZES
from lamae_toolkit.training.step import RuntimeConfig
from measuring import in_turns, machine, median_and_range, training_step

LEAN = "the step as it is"
MASKED_LEADS, EMBEDDED, ENCODER_MASKS, GRID, ARGSORTS = UNDONE = (
    "masked leads are encoded, too",
    "patches are embedded, then gathered",
    "a mask within each lead",
    "leads are scattered over time, then pooled",
    "masks by argsort of argsort",
)
ALL = "all of these"
WITHOUT_MASK = "no mask in latent attention"


class Undone(LAMAE):
    """LAMAE, in training only, with some of its savings undone; for the sizes of the presets."""

    def __init__(self, config: LAMAEConfig, undone: tuple[str, ...]) -> None:
        super().__init__(config)
        self.undone = undone

    def sample_visible(self, batch: Batch, keys: Tensor) -> VisiblePatches:
        if ARGSORTS not in self.undone:
            return super().sample_visible(batch, keys)
        # The same patches: ranks of the same random numbers, and the visible ones in the order of time.
        first = sample_visible(keys, batch.lead_mask, 40, 10, self.config.masked_leads)
        noise = uniform(keys, Purpose.MASKED_PATCHES, (first.leads.shape[1], 40))
        mask = noise.argsort(dim=-1).argsort(dim=-1) >= 10
        return VisiblePatches(first.leads, mask.to(torch.uint8).argsort(dim=-1, stable=True)[:, :, :10])

    def encode_leads(self, normalized: Patches, batch: Batch, mask: Tensor, visible: VisiblePatches) -> Latents:
        patches = normalized.patches
        b, l, n, _ = patches.shape
        if MASKED_LEADS in self.undone:
            k = visible.patches.shape[2]
            index, first = visible.leads[..., None].expand(-1, -1, k), torch.arange(k, device=mask.device)
            leads = torch.arange(l, device=mask.device).expand(b, l)
            visible = VisiblePatches(leads, first.expand(b, l, k).scatter(1, index, visible.patches))
        if EMBEDDED in self.undone:
            tokens = self.patch_embed(patches) + self.encoder_pos_embed[:n]
            index = (visible.leads[..., None] * n + visible.patches).flatten(1)
            tokens = tokens.flatten(1, 2).gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
            tokens = tokens.unflatten(1, visible.patches.shape[1:])
        else:
            tokens = self.patch_embed(visible.of(patches)) + self.encoder_pos_embed[visible.patches]
        valid = visible.of(~mask & batch.lead_mask[:, :, None])
        valid_mask = torch.cat([valid.any(dim=-1, keepdim=True), valid], dim=2)
        cls = self.lead_cls.expand(b, len(visible.leads[0]), 1, -1)
        x = rearrange(torch.cat([cls, tokens], dim=2), "b l m d -> (b l) m d")
        for block in self.encoder:
            x = block(x, keys_within_leads(valid_mask) if ENCODER_MASKS in self.undone else None)
        tokens = rearrange(x, "(b l) m d -> b l m d", b=b)
        # The twelve leads come in the order of their names.
        return Latents(tokens, valid_mask, *visible[:2], visible.leads, tokens.new_zeros(*visible.leads.shape, 0))

    def connect(self, latents: Latents) -> Latents:
        if WITHOUT_MASK not in self.undone:
            return super().connect(latents)
        x = rearrange(latents.tokens, "b l m d -> b (l m) d")
        for block in self.latent_attention:
            x = block(x)
        return latents._replace(tokens=self.norm(x).unflatten(1, latents.tokens.shape[1:3]))

    def pool_time_steps(self, latents: Latents, weights: Tensor, n: int) -> Tensor:
        if GRID not in self.undone:
            return super().pool_time_steps(latents, weights, n)
        (tokens, valid), heads = latents.time_steps(), self.pooling.heads
        b, l, _, d = tokens.shape
        index = latents.position[..., None].expand_as(tokens)
        grid = tokens.new_zeros(b, l, n, d).scatter(2, index, tokens)
        visible = valid.new_zeros(b, l, n).scatter(2, latents.position, valid)
        share = einsum(weights, visible.to(weights.dtype), "b h l, b l n -> b h l n")
        share = share / share.sum(dim=2, keepdim=True).clamp(min=1e-6)
        value = rearrange(self.pooling.value(grid), "b l n (h e) -> b l n h e", h=heads)
        pooled = rearrange(einsum(share, value, "b h l n, b l n h e -> b h e n"), "b h e n -> b n (h e)")
        return self.pooling.out(pooled) * visible.any(dim=1)[..., None]


def steps_of(config: LAMAEConfig, batch: Batch) -> dict[str, Callable[[], Tensor]]:
    """The steps to compare, of models with equal weights; each as `lt.pretrain` computes it."""
    device, keys = batch.lead_mask.device, torch.arange(len(batch), device=batch.lead_mask.device)
    variants = {LEAN: (), **{name: (name,) for name in UNDONE}, ALL: UNDONE, WITHOUT_MASK: (WITHOUT_MASK,)}
    steps, first = {}, None
    for name, undone in variants.items():
        torch.manual_seed(0)
        model = (Undone(config, undone) if undone else LAMAE(config)).to(device).train()
        loss = model(batch, visible=model.sample_visible(batch, keys)).loss
        loss.backward()
        found = torch.cat([loss.detach()[None], *(p.grad.flatten() for p in model.parameters())])
        first = found if first is None else first
        torch.testing.assert_close(found, first, atol=1e-5, rtol=1e-3, msg=f"{name}: another loss or gradient")
        steps[name] = partial(training_step(model, DistributedContext(0, 1, device), RuntimeConfig()), batch)
    return steps


def main(arguments: list[str] | None = None) -> None:
    """Measure the sizes, and print one row per saving."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="per step and round")
    parser.add_argument("--sizes", nargs="+", default=["mini", "small"], choices=list(SIZES))
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    signal = torch.randn(chosen.batch, len(LEADS), 1000, generator=torch.Generator().manual_seed(0)).cumsum(dim=2) / 10
    batch = Batch(signal, torch.ones(chosen.batch, len(LEADS), dtype=torch.bool)).to(chosen.device)
    kind = "processor time" if chosen.device == "cpu" else "time"
    print(f"{machine(chosen.device, chosen.threads)}, float32, batch {chosen.batch}; ratios of {kind}")
    for size in chosen.sizes:
        taken = in_turns(
            steps_of(SIZES[size]().model, batch), chosen.rounds, chosen.seconds, torch.device(chosen.device)
        )
        seconds = {
            name: [one.processor_s if chosen.device == "cpu" else one.clock_s for one in spent]
            for name, spent in taken.items()
        }
        print(f"\n| {size} | time over that of the step as it is |\n|---|---|")
        for name, times in seconds.items():
            ratios = [time / lean for time, lean in zip(times, seconds[LEAN], strict=True)]
            print(f"| {name} | {median_and_range(ratios, 3)} |", flush=True)


if __name__ == "__main__":
    main()
