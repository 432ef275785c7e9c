"""LAMAE, the latent attention masked autoencoder for ECGs, in reading order.

patches -> lead encoder -> latent attention -> lead pooling -> decoder -> loss on the masked patches.

After "latent attention masked autoencoder" (arXiv 2603.26475). The paper's sizes and training recipe are not public:
this is a reconstruction from its abstract, and its open choices are options of `LAMAEConfig`. Masked autoencoding after
He et al. (arXiv 2111.06377). Shapes: b records, l leads, t samples, n patches of p samples, m tokens of a lead (its CLS
token and its patches), d dimensions.

Every token always has a validity mask, and no branch depends on a value or a device, so that the model compiles as one
graph and exports. Only `check_input` depends on values; it is skipped when the model is compiled.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS, LIMB_LEADS
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.layers import Block, InducedBlock, sinusoidal_pos_embed
from lamae_toolkit.model.linear_path import LinearPath
from lamae_toolkit.model.masking import VisiblePatches, sample_mixed, sample_visible, visible_patches
from lamae_toolkit.model.normalization import Normalization, Patches
from lamae_toolkit.model.outputs import Embedding, Latents, Reconstruction, keys_within_leads
from lamae_toolkit.model.patches import check_input, patch_count
from lamae_toolkit.model.pooling import LeadPooling, NamedPooling, Pooling
from lamae_toolkit.model.pretrained import PretrainedModel


class LAMAE(PretrainedModel):
    """A masked autoencoder that encodes every lead of an ECG on its own and then connects the leads in latent space.

    config: sizes and open choices. `LAMAE.from_pretrained(name or folder)` loads trained weights; it raises an ECGError
    if there are none, or if they no longer reproduce their saved outputs. ECGs come as a `Batch`, signals in mV, any of
    the twelve leads in any order. `embed` gives features, `reconstruct` the ECG in mV, and a call the training loss.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        model = lt.LAMAE(lt.LAMAEConfig()).eval()
        rng = np.random.default_rng(1)
        ecg = lt.simulate_ecg(lt.sample_patient(0, rng), rng, codes={}).recording
        batch = lt.collate([ecg])
        embedding = model.embed(batch)
        embedding.heart.shape, embedding.lead_weights.shape  # (1, 144), (1, 3, 12)
    """

    encoder_pos_embed: Tensor
    decoder_pos_embed: Tensor

    def __init__(self, config: LAMAEConfig) -> None:
        super().__init__()
        self.config = config
        d, dd, p = config.width, config.decoder_width, config.patch_samples

        self.normalize = Normalization(config)
        self.linear_path = LinearPath() if config.linear_path else None
        # Lead encoder: one vision transformer for all leads.
        self.patch_embed = nn.Linear(p, d)
        self.lead_cls = nn.Parameter(torch.randn(d) * 0.02)
        self.lead_name = nn.Embedding(len(LEADS), d) if config.lead_embedding else None
        self.amplitude_embed = nn.Linear(1, d) if config.amplitude_input else None
        self.amplitude_unknown = nn.Parameter(torch.randn(d) * 0.02) if config.amplitude_input else None
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
        self.pooling: Pooling
        if config.pooling == "named":
            self.pooling = NamedPooling(d, config.pooling_heads)
        else:
            self.pooling = LeadPooling(d, config.pooling_heads, adaptive=config.pooling == "attention")
        # Decoder: with an embedding of the lead, the only mark of a fully masked lead.
        self.to_decoder = nn.Linear(d, dd)
        self.heart_to_decoder = nn.Linear(self.pooling.width(), dd)
        self.time_step_to_decoder = nn.Linear(self.pooling.time_step_width, dd) if config.pooling == "named" else None
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
        visible: VisiblePatches | None = None,
        divisor: Float[Tensor, ""] | None = None,
    ) -> Reconstruction:
        """Mask patches, reconstruct them, and score the reconstruction on the masked patches only.

        loss = mean over masked patches of (prediction - target)^2, in units of each lead's variance (see `Patches`).
        mask: True where masked; sampled with `generator` as the config says if it is None. visible: what
        `sample_visible` returned, instead of a mask: only these patches are then encoded, with the same result, and the
        input is not checked, which avoids waiting for a GPU. divisor: what the sum over masked patches is divided by,
        if not by their number: for a part of a batch, the mean number of masked patches of all parts, so that the mean
        of the parts' losses is the loss of the batch.
        """
        l, n = len(batch.leads), patch_count(batch, self.config)
        if mask is not None:
            check_input(batch, self.config, mask)
        else:
            if visible is None:
                check_input(batch, self.config)
                device = batch.lead_mask.device
                keys = torch.randint(2**63 - 1, (len(batch),), generator=generator, device=device)
                visible = self.sample_visible(batch, keys)
            mask = visible.mask(l, n)
        patches = self.normalize(batch, mask)
        latents, prediction = self.predict(patches, batch, mask, visible)
        error = (prediction - patches.patches).square().mean(dim=-1) * patches.weight
        masked = mask & batch.lead_mask[:, :, None]
        loss = (error * masked).sum() / (masked.sum() if divisor is None else divisor)
        return Reconstruction(loss + self.auxiliary_loss(latents), prediction, masked)

    def auxiliary_loss(self, latents: Latents) -> Tensor | float:
        """What a baseline adds to the reconstruction loss; LAMAE adds nothing."""
        return 0.0

    def embed(self, batch: Batch, mask: Bool[Tensor, "b l n"] | None = None) -> Embedding:
        """The features of each ECG: a heart token, one latent per lead and the lead weights.

        mask: True for masked patches; None masks nothing. ECGError if an ECG has no usable lead or no visible patch.
        """
        return self.embed_latents(self.connect(self.encode(batch, mask)))

    def encode(self, batch: Batch, mask: Bool[Tensor, "b l n"] | None = None) -> Latents:
        """The latents of every lead on its own, before the leads meet. mask: as in `embed`."""
        check_input(batch, self.config, mask)
        patches = self.normalize(batch, mask)
        if mask is None:
            mask = torch.zeros_like(patches.patches[..., 0], dtype=torch.bool)
        latents = self.encode_leads(patches, batch, mask)
        if self.amplitude_embed is None:
            return latents
        known = latents.lead_mask() & batch.in_mv()[:, None]
        return latents._replace(amplitude=patches.amplitudes(mask) * known[..., None])

    def embed_latents(self, latents: Latents) -> Embedding:
        """The features of connected latents, of all leads or of some."""
        heart, weights = self.pool(latents)
        leads = latents.lead_latents(), weights, latents.lead_std()
        return Embedding(heart, *leads, latents.summary(), latents.amplitude)

    def reconstruct(self, batch: Batch, mask: Bool[Tensor, "b l n"]) -> Float[Tensor, "b l t"]:
        """The ECG in mV as the model reconstructs it from the visible patches, visible ones included.

        mask: True where masked; ECGError if it masks everything or has another shape than the patches. The model
        predicts shapes in units of each lead's standard deviation. With normalization "visible", mean and standard
        deviation of a lead are those of its visible patches; a completely masked lead has the mean 0, and its amplitude
        is inferred from the other leads. Otherwise both are taken from the lead itself, masked patches included.
        """
        return self.reconstruct_latents(self.connect(self.encode(batch, mask)), batch, mask)

    def reconstruct_latents(
        self, latents: Latents, batch: Batch, mask: Bool[Tensor, "b l n"]
    ) -> Float[Tensor, "b l t"]:
        """`reconstruct` from the connected latents of these ECGs."""
        patches, names = self.normalize(batch, mask), batch.lead_indices()
        prediction_mv = self.predict_patches(latents, batch) * patches.scale_mv
        if self.linear_path is not None:
            visible = batch.lead_mask[:, :, None] & ~mask
            linear = self.linear_path(patches.centered_mv(), visible, batch.in_mv(), names)
            prediction_mv = self.linear_path.combine(prediction_mv, linear, visible)
        return rearrange(prediction_mv + patches.mean_mv, "b l n p -> b l (n p)")

    # The steps.

    def patches(self, batch: Batch, mask: Bool[Tensor, "b l n"] | None = None) -> Float[Tensor, "b l n p"]:
        """The patches that the model is to predict, in the units of its prediction; mask: as in `normalize`."""
        return self.normalize(batch, mask).patches

    def predict(
        self, patches: Patches, batch: Batch, mask: Bool[Tensor, "b l n"], visible: VisiblePatches | None = None
    ) -> tuple[Latents, Float[Tensor, "b l n p"]]:
        """All steps from normalized patches on: the connected latents, and every patch as it is reconstructed."""
        latents = self.connect(self.encode_leads(patches, batch, mask, visible))
        return latents, self.predict_patches(latents, batch)

    def predict_patches(self, latents: Latents, batch: Batch) -> Float[Tensor, "b l n p"]:
        """The last steps, from connected latents: every patch as it is reconstructed, in units of its lead's scale."""
        # The decoder reads the heart token without amplitudes, which training does not compute.
        heart, weights = self.pool(latents._replace(amplitude=latents.amplitude[..., :0]))
        time_steps = self.pool_time_steps(latents, weights, patch_count(batch, self.config))
        return self.decode(latents, heart, time_steps, batch)

    def encode_leads(
        self, patches: Patches, batch: Batch, mask: Bool[Tensor, "b l n"], visible: VisiblePatches | None = None
    ) -> Latents:
        """Encode the visible patches of each lead on its own: no information crosses leads here.

        visible: those that the mask leaves, so that only they are encoded; None keeps a token for every patch, and the
        masked ones are not attended to.
        """
        x = patches.patches
        b, l, n, _ = x.shape
        valid, cls = ~mask & batch.lead_mask[:, :, None], self.lead_cls.expand(b, l, -1)
        lead, position = (torch.arange(count, device=mask.device) for count in (l, n))
        lead, position, name = lead.expand(b, l), position.expand(b, l, n), batch.lead_indices().expand(b, l)
        about = self._about_leads(patches, batch)
        if visible is not None:
            x, valid, cls = visible.of(x), visible.of(valid), visible.of_leads(cls)
            about = None if about is None else visible.of_leads(about)
            lead, position, name = visible.leads, visible.patches, name.gather(1, visible.leads)
            if visible.shown is not None:
                valid = valid & visible.shown[..., None]
        tokens = self.patch_embed(x) + self.encoder_pos_embed[position]
        if about is not None:
            tokens, cls = tokens + about[:, :, None], cls + about
        valid_mask = torch.cat([valid.any(dim=-1, keepdim=True), valid], dim=2)
        x = rearrange(torch.cat([cls[:, :, None], tokens], dim=2), "b l m d -> (b l) m d")
        # Where all tokens of a lead are visible, there is none that must not be attended to.
        key_mask = keys_within_leads(valid_mask) if visible is None else None
        for block in self.encoder:
            x = block(x, key_mask)
        tokens = rearrange(x, "(b l) m d -> b l m d", b=b)
        return Latents(tokens, valid_mask, lead, position, name, tokens.new_zeros(*lead.shape, 0))

    def _about_leads(self, patches: Patches, batch: Batch) -> Float[Tensor, "b l d"] | None:
        """What the encoder is told about each lead in addition to its patches: amplitude and name, by the config."""
        about = None
        if self.amplitude_embed is not None and self.amplitude_unknown is not None:
            about = self.amplitude_embed(patches.scale_mv[..., 0].log10())
            about = torch.where(batch.in_mv()[:, None, None], about, self.amplitude_unknown)
        if self.lead_name is not None:
            name = self.lead_name(batch.lead_indices()).expand(*batch.lead_mask.shape, -1)
            about = name if about is None else about + name
        return about

    def connect(self, latents: Latents) -> Latents:
        """Latent attention: the tokens of all leads attend to each other, without an embedding of the lead."""
        tokens, valid_mask = latents.tokens, latents.valid_mask
        if self.config.tokens == "cls":
            x, key_mask = tokens[:, :, 0], valid_mask[:, :, 0]
        else:
            x, key_mask = rearrange(tokens, "b l m d -> b (l m) d"), rearrange(valid_mask, "b l m -> b (l m)")
        for block in self.latent_attention:
            x = block(x, key_mask)
        if self.config.tokens == "cls":
            tokens = torch.cat([x[:, :, None], tokens[:, :, 1:]], dim=2)
        else:
            tokens = rearrange(x, "b (l m) d -> b l m d", l=tokens.shape[1])
        return latents._replace(tokens=self.norm(tokens))

    def pool(self, latents: Latents) -> tuple[Float[Tensor, "b w"], Float[Tensor, "b h l"]]:
        """Weigh the leads and add them up: the heart token and the lead weights."""
        leads = latents.lead_latents(), latents.lead_std(), latents.amplitude
        return self.pooling(*leads, latents.lead_mask(), latents.name)

    def pool_time_steps(
        self, latents: Latents, weights: Float[Tensor, "b h l"], n: int
    ) -> Float[Tensor, "b n v"] | None:
        """The leads that are visible at each of the n patches, pooled by the same weights; None with heart "token"."""
        if self.config.heart == "token":
            return None
        return self.pooling.pool_time_steps(*latents.time_steps(), latents.position, weights, n)

    def decode(
        self,
        latents: Latents,
        heart: Float[Tensor, "b w"] | None,
        time_steps: Float[Tensor, "b n v"] | None,
        batch: Batch,
    ) -> Float[Tensor, "b l n p"]:
        """Reconstruct each lead from the heart token, its own latents, and mask tokens for its masked patches.

        heart, time_steps: None if the lead is to be reconstructed from its own latents alone.
        """
        tokens, valid_mask, lead, position, _, _ = latents
        (b, l), n = batch.lead_mask.shape, patch_count(batch, self.config)
        own = torch.where(valid_mask[..., None], self.to_decoder(tokens), self.mask_token)
        # Mask tokens everywhere, then the tokens of the visible patches at their lead and patch.
        mask_token, d = self.mask_token.to(own.dtype), own.shape[-1]
        cls = mask_token.expand(b, l, d).scatter(1, lead[..., None].expand(-1, -1, d), own[:, :, 0])
        index = (lead[..., None] * n + position).flatten(1)[..., None].expand(-1, -1, d)
        patches = mask_token.expand(b, l * n, d).scatter(1, index, own[:, :, 1:].flatten(1, 2)).unflatten(1, (l, n))
        patches = patches + self.decoder_pos_embed[:n]
        if time_steps is not None:
            to_decoder = self.heart_to_decoder if self.time_step_to_decoder is None else self.time_step_to_decoder
            patches = patches + to_decoder(time_steps)[:, None]
        first = [] if heart is None else [self.heart_to_decoder(heart)[:, None, None].expand(-1, l, -1, -1)]
        x = torch.cat([*first, cls[:, :, None], patches], dim=2)
        x = rearrange(x + self.decoder_lead_embed(batch.lead_indices())[None, :, None], "b l m d -> (b l) m d")
        for block in self.decoder:
            x = block(x)
        prediction = self.decoder_pred(self.decoder_norm(x[:, -n:]))
        return rearrange(prediction, "(b l) n p -> b l n p", b=b)

    def sample_visible(self, batch: Batch, keys: Int64[Tensor, " b"]) -> VisiblePatches:
        """Visible patches at random, as the configuration masks the others.

        keys: a number for each ECG, such as `random_keys` gives; what is visible of an ECG depends on its own alone.
        """
        n, ratio = patch_count(batch, self.config), self.config.mask_ratio
        if self.config.masks != "lead" and len(batch.leads) > 1:
            limb = batch.lead_indices() < len(LIMB_LEADS)
            kinds = self.config.masks.split("+")
            return sample_mixed(keys, batch.lead_mask, limb, n, visible_patches(n, ratio), kinds)
        masked_leads = min(self.config.masked_leads, len(batch.leads) - 1)
        return sample_visible(keys, batch.lead_mask, n, visible_patches(n, ratio) if ratio else n, masked_leads)


def _initialize(module: nn.Module) -> None:
    """Weights as in the masked autoencoder of He et al.: Xavier for linear layers, small for embeddings."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
