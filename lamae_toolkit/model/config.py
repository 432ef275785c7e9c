"""The sizes and open choices of a LAMAE, as one value that checks itself."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lamae_toolkit.errors import ECGError


@dataclass(frozen=True)
class LAMAEConfig:
    """Sizes and choices of the model; the defaults are those of the demo, small enough for a laptop.

    The paper's own sizes are not public; these are ours.

    Example:
        import lamae_toolkit as lt

        config = lt.LAMAEConfig(width=96, encoder_depth=4)
        config.duration_s  # 10.0, the longest ECG that the model reads
    """

    sampling_rate_hz: float = field(default=100.0, metadata={"help": "samples per second that the model reads"})
    patch_samples: int = field(
        default=25, metadata={"help": "samples in a patch, which is masked or visible as one piece"}
    )
    """Samples per patch: 0.25 s at 100 Hz."""
    max_patches: int = field(default=40, metadata={"help": "patches of the longest ECG"})
    """Patches of the longest ECG that the model reads: 10 s."""
    width: int = field(default=144, metadata={"help": "embedding dimension of the encoder"})
    heads: int = field(default=3, metadata={"help": "attention heads of the encoder"})
    encoder_depth: int = field(default=2, metadata={"help": "transformer blocks that read each lead by itself"})
    latent_depth: int = field(
        default=1, metadata={"help": "transformer blocks of latent attention, which connect the leads"}
    )
    pooling_heads: int = field(default=3, metadata={"help": "attention heads of the lead pooling"})
    decoder_width: int = field(default=64, metadata={"help": "embedding dimension of the decoder"})
    decoder_heads: int = field(default=2, metadata={"help": "attention heads of the decoder"})
    decoder_depth: int = field(default=1, metadata={"help": "transformer blocks that reconstruct the masked patches"})
    tokens: str = field(
        default="all",
        metadata={"help": "latents in latent attention: all, one per lead (cls), or all through a few (induced)"},
    )
    """Which latents meet in latent attention: "all", "cls" (one per lead), or "induced" (all, by way of a few)."""
    induced_latents: int = field(
        default=16, metadata={"help": "number of learned latents between the leads, with --tokens induced"}
    )
    """How many learned latents read all leads and are read back, with tokens "induced"."""
    pooling: str = field(default="attention", metadata={"help": "how leads are pooled: by attention, or by their mean"})
    """How leads are added up: by weights that depend on the ECG ("attention"), or all alike ("mean")."""
    heart: str = field(
        default="time_steps",
        metadata={"help": "what the decoder reads of the other leads: one heart token, or one per time step"},
    )
    """What the decoder hears of the other leads: "token" (one pooled heart token) or "time_steps" (and the leads
    pooled at each patch with the same weights)."""
    lead_embedding: bool = field(
        default=False, metadata={"help": "give the lead encoder an embedding of the lead's name"}
    )
    """Whether the lead encoder is told which lead it reads."""
    normalization: str = field(
        default="lead", metadata={"help": "divide by the standard deviation of each lead, or of the complete record"}
    )
    """Each lead by its own standard deviation ("lead") or all leads of an ECG by one ("record")."""
    amplitude_input: bool = field(
        default=False, metadata={"help": "give the lead encoder the amplitude of the lead in mV"}
    )
    """Whether the lead encoder is told the height in mV of the lead, which normalization takes away."""
    mask_ratio: float = field(default=0.75, metadata={"help": "fraction of the patches that is masked in pretraining"})
    """Share of the patches of every lead that is hidden in pretraining; 0 hides whole leads only."""
    masked_leads: int = field(
        default=1, metadata={"help": "complete leads masked in pretraining, in addition to the patches"}
    )
    """Whole leads hidden in pretraining, in addition to the random patches: with none, a hidden lead is drawn badly."""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ECGError(
                    f"The configuration's {name} is {getattr(self, name)!r}; choose from {', '.join(choices)}."
                )
        for name in (
            "patch_samples",
            "width",
            "heads",
            "encoder_depth",
            "induced_latents",
            "pooling_heads",
            "decoder_width",
            "decoder_heads",
            "decoder_depth",
        ):
            if getattr(self, name) < 1:
                raise ECGError(f"The configuration's {name} is {getattr(self, name)}, but it must be at least 1.")
        if self.latent_depth < 0:
            raise ECGError(f"The configuration's latent_depth is {self.latent_depth}, but it must be 0 or more.")
        for width, heads in (("width", "heads"), ("width", "pooling_heads"), ("decoder_width", "decoder_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ECGError(
                    f"The configuration's {width} of {getattr(self, width)} cannot be shared by"
                    f" {getattr(self, heads)} {heads}; choose a multiple."
                )
        if self.max_patches < 2:
            raise ECGError("The configuration's max_patches must be at least 2: one to see and one to hide.")
        if not 0.0 <= self.mask_ratio < 1.0:
            raise ECGError(f"The configuration's mask_ratio is {self.mask_ratio:g}, but it lies between 0 and 1.")
        if self.mask_ratio == 0 and self.masked_leads == 0:
            raise ECGError("The configuration hides nothing: give a mask_ratio or masked_leads above 0.")
        if not 0 <= self.masked_leads <= 11:
            raise ECGError(f"The configuration's masked_leads is {self.masked_leads}, but it lies between 0 and 11.")
        if not self.sampling_rate_hz > 0:
            raise ECGError("The configuration's sampling_rate_hz must be above 0.")

    @property
    def duration_s(self) -> float:
        """Length of the longest ECG that the model reads, in seconds."""
        return self.max_patches * self.patch_samples / self.sampling_rate_hz

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LAMAEConfig":
        """The configuration from plain values; ECGError if a key is unknown or of a wrong type."""
        unknown = sorted(set(values) - {setting.name for setting in fields(cls)})
        if unknown:
            raise ECGError(
                f"The configuration has the unknown key {unknown[0]!r}; it belongs to another version of the model."
            )
        for setting in fields(cls):
            value = values.get(setting.name, setting.default)
            if type(value) is not setting.type and not (setting.type is float and type(value) is int):
                raise ECGError(
                    f"The configuration's {setting.name} is {value!r}, but it must be of type {setting.type.__name__}."
                )
        return cls(**values)


CHOICES = {
    "tokens": ("all", "cls", "induced"),
    "pooling": ("attention", "mean"),
    "heart": ("token", "time_steps"),
    "normalization": ("lead", "record"),
}
"""The open choices of the model that are words."""
