"""LAMAE, the latent attention masked autoencoder for ECGs, in reading order.

patches -> lead encoder -> latent attention -> lead pooling -> decoder -> loss on what was hidden.

After "latent attention masked autoencoder" (arXiv 2603.26475). The paper's sizes and training recipe
are not public: this is a reconstruction from its abstract, and its open choices are switches of
`LAMAEConfig`. Masked autoencoding after He et al. (arXiv 2111.06377).
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.layers import Block, InducedBlock, LeadPooling, sinusoidal_pos_embed
from lamae_toolkit.model.masking import random_mask, visible_patches, whole_lead_mask
from lamae_toolkit.model.outputs import Embedding, Latents, Reconstruction, mean_and_std, with_cls
from lamae_toolkit.model.patching import cut_patches, lead_statistics, patch_count, whole_patches
from lamae_toolkit.model.pretrained import PretrainedModel

ASKED_FOR_FREE = ("cpu",)
"""Devices that compute at once, so that to ask a tensor for a value is to wait for nothing."""


class LAMAE(PretrainedModel):
    """A masked autoencoder that reads every lead on its own and then connects the leads in latent space."""

    def __init__(self, config: LAMAEConfig) -> None:
        super().__init__()
        self.config = config
        d, dd, p = config.width, config.decoder_width, config.patch_samples

        # Lead encoder: one vision transformer for all leads.
        self.patch_embed = nn.Linear(p, d)
        self.lead_cls = nn.Parameter(torch.randn(d) * 0.02)
        self.lead_name = nn.Embedding(len(LEADS), d) if config.lead_embedding else None
        self.amplitude_embed = nn.Linear(1, d) if config.amplitude_input else None
        self.encoder = nn.ModuleList(Block(d, config.heads) for _ in range(config.encoder_depth))
        # Latent attention: the only place where leads meet.
        self.latent_attention = nn.ModuleList(
            InducedBlock(d, config.heads, config.induced_latents)
            if config.tokens == "induced"
            else Block(d, config.heads)
            for _ in range(config.latent_depth)
        )
        self.norm = nn.LayerNorm(d)
        # Lead pooling: how much each lead counts for the heart token.
        self.pooling = LeadPooling(d, config.pooling_heads, adaptive=config.pooling == "attention")
        # Decoder: told which lead to draw, since a hidden lead has nothing else to be known by.
        self.to_decoder = nn.Linear(d, dd)
        self.heart_to_decoder = nn.Linear(d, dd)
        self.mask_token = nn.Parameter(torch.randn(dd) * 0.02)
        self.decoder_lead_embed = nn.Embedding(len(LEADS), dd)
        self.decoder = nn.ModuleList(Block(dd, config.decoder_heads) for _ in range(config.decoder_depth))
        self.decoder_norm = nn.LayerNorm(dd)
        self.decoder_pred = nn.Linear(dd, p)

        self.register_buffer("encoder_pos_embed", sinusoidal_pos_embed(config.max_patches, d), persistent=False)
        self.register_buffer("decoder_pos_embed", sinusoidal_pos_embed(config.max_patches, dd), persistent=False)
        self.apply(_initialize)

    def forward(
        self,
        batch: Batch,
        mask: Bool[Tensor, "b l n"] | None = None,
        generator: torch.Generator | None = None,
        *,
        keep: int | None = None,
        divisor: Float[Tensor, ""] | None = None,
    ) -> Reconstruction:
        """Hide patches, reconstruct them, and score the reconstruction on the hidden patches alone.

        loss = mean over hidden patches of (prediction - target)^2, in units of each lead's variance.
        mask: True where hidden; drawn from `generator` as the config says if it is None. keep: what `sample_mask`
        returned with it; nothing is then checked, so that a GPU is not waited for. divisor: what the sum over the
        hidden patches is divided by, if not by their number: of parts of a batch, by the number that each has on
        average, so that the mean of their losses is the loss of the whole.
        """
        patches = self.patches(batch) if keep is None else cut_patches(batch, self.config)
        if mask is None:
            mask, keep = self.sample_mask(batch, generator)
        even = keep is not None
        keep = self._most_visible(batch, patches, mask) if keep is None else keep
        latents = self.connect(self.encode_leads(patches, batch, mask, keep, even))
        heart, _, time_steps = self.pool(latents, patches.shape[2])
        prediction = self.decode(latents, heart, time_steps, batch)
        error = (prediction - patches).square().mean(dim=-1)
        hidden = mask & batch.lead_mask[:, :, None]
        loss = (error * hidden).sum() / (hidden.sum() if divisor is None else divisor)
        return Reconstruction(loss + self.auxiliary_loss(latents), prediction, hidden)

    def auxiliary_loss(self, latents: Latents) -> Tensor | float:
        """What a rival asks of the latents besides the reconstruction; of LAMAE, nothing."""
        return 0.0

    def embed(self, batch: Batch) -> Embedding:
        """The whole ECG, nothing hidden, as a heart token, one latent per lead and the lead weights."""
        return self.embed_latents(self.connect(self.encode(batch)))

    def encode(self, batch: Batch) -> Latents:
        """Every lead encoded on its own, nothing hidden, as it is before the leads meet."""
        patches = self.patches(batch)
        return self.encode_leads(patches, batch, mask=None, keep=patches.shape[2])

    def embed_latents(self, latents: Latents) -> Embedding:
        """What is made of the latents once the leads have met: of all of them, or of some leads or patches."""
        heart, weights, _ = self.pool(latents, latents.position.shape[2], time_steps=False)
        spread = mean_and_std(*latents.time_steps())[1] * latents.lead_mask()[..., None]
        return Embedding(heart, self.lead_latents(latents), weights, spread, self.summary(latents, spread))

    def reconstruct(self, batch: Batch, mask: Bool[Tensor, "b l n"]) -> Float[Tensor, "b l t"]:
        """The ECG in mV as the model draws it from the visible patches (visible ones are drawn, too).

        It draws shapes in units of each lead's spread. Mean and spread in mV are taken from the lead itself,
        hidden patches included, so the amplitude of a hidden lead is given, not inferred.
        """
        mean, scale = lead_statistics(whole_patches(batch, self.config), self.config.normalization)
        return rearrange(self(batch, mask).prediction, "b l n p -> b l (n p)") * scale + mean

    # The steps, each one sentence.

    def patches(self, batch: Batch) -> Float[Tensor, "b l n p"]:
        """Normalize each lead and cut it into patches."""
        if not bool(batch.lead_mask.any(dim=1).all()):
            raise ECGError("An ECG of this batch has no usable lead at all; leave it out.")
        return cut_patches(batch, self.config)

    def encode_leads(
        self,
        patches: Float[Tensor, "b l n p"],
        batch: Batch,
        mask: Bool[Tensor, "b l n"] | None,
        keep: int,
        even: bool = False,
    ) -> Latents:
        """Encode the visible patches of each lead on their own: no information crosses leads here.

        keep: the largest number of visible patches that any lead has. even: every lead has that many or none at all.
        """
        b, l, n, _ = patches.shape
        tokens = self.patch_embed(patches) + self.encoder_pos_embed[:n]
        cls = repeat(self.lead_cls, "d -> b l 1 d", b=b, l=l)
        if self.lead_name is not None:
            name = _of_leads(self.lead_name, batch)[None, :, None]
            tokens, cls = tokens + name, cls + name
        if self.amplitude_embed is not None:
            _, amplitude_mv = lead_statistics(whole_patches(batch, self.config), "lead")
            cls = cls + self.amplitude_embed(amplitude_mv.log10())[:, :, None]
        if mask is None:
            position = torch.arange(n, device=patches.device).expand(b, l, n)
            visible = batch.lead_mask[:, :, None].expand(b, l, n)
        else:
            # Visible patches first, in the order of time; leads with fewer than `keep` are padded by hidden ones.
            position = mask.to(torch.uint8).argsort(dim=-1, stable=True)[:, :, :keep]
            tokens = tokens.gather(2, repeat(position, "b l k -> b l k d", d=tokens.shape[-1]))
            visible = ~mask.gather(2, position) & batch.lead_mask[:, :, None]
        # To ask a tensor is to wait for the GPU, so training asks none there: what is seen is then told, needed or not.
        # With leads hidden, not all is seen.
        leads_hidden = even and min(self.config.masked_leads, l - 1) > 0
        unasked = leads_hidden or (even and visible.device.type not in ASKED_FOR_FREE)
        all_seen = not unasked and bool(visible.all())
        seen = None if all_seen else torch.cat([visible.any(-1, keepdim=True), visible], dim=2)
        x = rearrange(torch.cat([cls, tokens], dim=2), "b l m d -> (b l) m d")
        # A lead of which nothing is seen is left out later. One that is seen in part must not look at its padding.
        in_part = not (all_seen or even or mask is None) and bool((visible.any(dim=-1) & ~visible.all(dim=-1)).any())
        keys = rearrange(with_cls(seen), "b l m -> (b l) m") if in_part else None
        for block in self.encoder:
            x = block(x, keys)
        return Latents(rearrange(x, "(b l) m d -> b l m d", b=b), seen, position)

    def connect(self, latents: Latents) -> Latents:
        """Latent attention: the latents of all leads look at each other, without knowing which lead is which."""
        tokens, seen, position = latents
        if self.config.tokens == "cls":
            x, keys = tokens[:, :, 0], None if seen is None else seen[:, :, 0]
        else:
            x = rearrange(tokens, "b l m d -> b (l m) d")
            keys = None if seen is None else rearrange(seen, "b l m -> b (l m)")
        for block in self.latent_attention:
            x = block(x, keys)
        if self.config.tokens == "cls":
            tokens = torch.cat([x[:, :, None], tokens[:, :, 1:]], dim=2)
        else:
            tokens = rearrange(x, "b (l m) d -> b l m d", l=tokens.shape[1])
        return Latents(self.norm(tokens), seen, position)

    def lead_latents(self, latents: Latents) -> Float[Tensor, "b l d"]:
        """One latent per lead: the mean of its tokens, or 0 for a lead that was not seen."""
        tokens, seen, _ = latents
        if seen is None:
            return tokens.mean(dim=2)
        return (tokens * seen[..., None]).sum(dim=2) / seen.sum(dim=2).clamp(min=1)[..., None]

    def summary(self, latents: Latents, spread: Float[Tensor, "b l d"]) -> Float[Tensor, "b s"]:
        """Five numbers for each latent dimension, of the leads that were seen, whatever their number and order.

        Mean and spread of the lead latents over the leads; the leads' mean spread over time; and, of the mean of
        the leads at each moment, spread over time and mean change from one patch to the next. The mean over time
        of a heart that beats evenly and of one that does not can be the same; spread and change are not.
        """
        there = latents.lead_mask()
        tokens, seen = latents.time_steps()
        mean, over_leads = mean_and_std(self.lead_latents(latents), there)
        heartbeat, _ = mean_and_std(tokens.transpose(1, 2), seen.transpose(1, 2))
        at_all = seen.any(dim=1)
        _, over_time = mean_and_std(heartbeat, at_all)
        change, _ = mean_and_std(heartbeat.diff(dim=1).abs(), at_all[:, 1:] & at_all[:, :-1])
        return torch.cat([mean, over_leads, mean_and_std(spread, there)[0], over_time, change], dim=1)

    def pool(self, latents: Latents, n: int, time_steps: bool = True):
        """Weigh the leads and add them up: the heart token, the weights, and the heart at each moment.

        Returns heart (b, d), lead weights (b, h, l) and, if `config.heart == "time_steps"`, the leads that
        are visible at each patch pooled with the same weights (b, n, d), else None.
        """
        tokens, seen, position = latents
        leads = self.lead_latents(latents)
        weights = self.pooling.weigh(leads, None if seen is None else seen[:, :, 0])
        heart = self.pooling.pool(leads, weights)
        if not time_steps or self.config.heart == "token":
            return heart, weights, None
        b, l = position.shape[:2]
        visible = torch.ones_like(position, dtype=torch.bool) if seen is None else seen[:, :, 1:]
        grid = tokens.new_zeros(b, l, n, tokens.shape[-1])
        grid = grid.scatter(2, repeat(position, "b l k -> b l k d", d=grid.shape[-1]), tokens[:, :, 1:])
        there = torch.zeros(b, l, n, dtype=torch.bool, device=grid.device).scatter(2, position, visible)
        return heart, weights, self.pooling.pool_time_steps(grid, weights, there)

    def decode(
        self,
        latents: Latents,
        heart: Float[Tensor, "b d"] | None,
        time_steps: Float[Tensor, "b n d"] | None,
        batch: Batch,
    ) -> Float[Tensor, "b l n p"]:
        """Draw each lead from the heart token, its own latents, and mask tokens where nothing was seen.

        heart, moments: None if the lead is to be drawn from its own latents alone.
        """
        tokens, seen, position = latents
        b, l = position.shape[:2]
        own = self.to_decoder(tokens)
        if seen is not None:
            own = torch.where(seen[..., None], own, self.mask_token)
        n = patch_count(batch, self.config)
        canvas = repeat(self.mask_token.to(own.dtype), "d -> b l n d", b=b, l=l, n=n)
        canvas = canvas.scatter(2, repeat(position, "b l k -> b l k d", d=own.shape[-1]), own[:, :, 1:])
        canvas = canvas + self.decoder_pos_embed[:n]
        if time_steps is not None:
            canvas = canvas + self.heart_to_decoder(time_steps)[:, None]
        whole = [] if heart is None else [repeat(self.heart_to_decoder(heart), "b d -> b l 1 d", l=l)]
        x = torch.cat([*whole, own[:, :, :1], canvas], dim=2)
        x = rearrange(x + _of_leads(self.decoder_lead_embed, batch)[None, :, None], "b l m d -> (b l) m d")
        for block in self.decoder:
            x = block(x)
        drawn = self.decoder_pred(self.decoder_norm(x[:, -n:]))
        return rearrange(drawn, "(b l) n p -> b l n p", b=b)

    # Masks.

    def sample_mask(
        self, batch: Batch, generator: torch.Generator | None = None, *, of: int | None = None, first: int = 0
    ) -> tuple[Bool[Tensor, "b l n"], int]:
        """Draw what to hide as the config says; returns the mask and how many patches of a lead it leaves visible.

        It leaves all leads that many, or none at all. of, first: the batch is a part of a larger one of `of` ECGs and
        begins at its ECG number `first`: its mask is what it is within the whole, and the generator goes on as after
        the whole.
        """
        here, ratio = slice(first, first + len(batch)), self.config.mask_ratio
        shape, device = (of or len(batch), len(batch.leads), patch_count(batch, self.config)), batch.lead_mask.device
        mask = torch.zeros(shape, dtype=torch.bool, device=device)
        if ratio:
            mask = random_mask(shape, ratio, generator, device)
        if self.config.masked_leads:
            lead_mask = torch.ones(shape[:2], dtype=torch.bool, device=device)
            lead_mask[here] = batch.lead_mask
            hidden = min(self.config.masked_leads, shape[1] - 1)
            mask = mask | whole_lead_mask(shape, hidden, generator, device, lead_mask)
        return mask[here], visible_patches(shape[2], ratio) if ratio else shape[2]

    def _most_visible(self, batch: Batch, patches: Tensor, mask: Tensor) -> int:
        """The largest number of patches that a mask leaves visible in a lead; ECGError if it does not fit."""
        shape = tuple(patches.shape[:3])
        if tuple(mask.shape) != shape:
            raise ECGError(f"The mask has shape {tuple(mask.shape)}, but these ECGs have patches of shape {shape}.")
        visible = ~mask & batch.lead_mask[:, :, None]
        if not bool(visible.any(dim=2).any(dim=1).all()):
            raise ECGError("The mask hides everything of an ECG; leave at least one patch visible.")
        return int(visible.sum(dim=-1).max())


def _of_leads(names: nn.Embedding, batch: Batch) -> Float[Tensor, "l d"]:
    """The name of each lead of the batch; those of all leads in their order need no look-up, which a GPU waits for."""
    if batch.leads == LEADS:
        return names.weight
    return names(torch.tensor([LEADS.index(name) for name in batch.leads], device=batch.signal_mv.device))


def _initialize(module: nn.Module) -> None:
    """Weights as in the masked autoencoder of He et al.: Xavier for linear layers, small for embeddings."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
