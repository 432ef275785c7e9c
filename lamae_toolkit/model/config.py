"""The sizes and open choices of a LAMAE, as one value that validates itself."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

from lamae_toolkit.errors import ECGError


def setting(
    default: Any,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    at_least: int | None = None,
    above: int | None = None,
    at_most: int | None = None,
) -> Any:
    """A field of a configuration: its default, its help on the command line, and its choices or its limits.

    The upper limits are far beyond any use: they keep a typing error or a damaged file from taking all memory.

    Choices are not a Literal type, since the type checker of the tests would refuse a value before `check_settings`.
    """
    metadata = {"help": text, "choices": choices, "at_least": at_least, "above": above, "at_most": at_most}
    return field(default=default, metadata=metadata)


def check_settings(config: Any, what: str) -> None:
    """Refuse a setting that is not among its choices or beyond its limit (ECGError). what: its name in the message."""
    for one in fields(config):
        value, choices = getattr(config, one.name), one.metadata.get("choices")
        least, above, most = (one.metadata.get(limit) for limit in ("at_least", "above", "at_most"))
        if choices and value not in choices:
            raise ECGError(f"The {what}'s {one.name} is {value!r}; choose from {', '.join(choices)}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ECGError(f"The {what}'s {one.name} is {value}, but it must be a finite number.")
        if least is not None and not value >= least:
            raise ECGError(f"The {what}'s {one.name} is {value}, but it must be at least {least}.")
        if above is not None and not value > above:
            raise ECGError(f"The {what}'s {one.name} is {value}, but it must be above {above}.")
        if most is not None and not value <= most:
            raise ECGError(f"The {what}'s {one.name} is {value}, but it must be at most {most}.")


MASK_KINDS = ("lead", "group", "time")


@dataclass(frozen=True)
class LAMAEConfig:
    """Sizes and choices of the model; the defaults are those of the demo, small enough for a laptop.

    The paper's own sizes are not public; these are ours.

    Example:
        import lamae_toolkit as lt

        config = lt.LAMAEConfig(width=96, encoder_depth=4)
        config.duration_s  # 10.0, the longest ECG that the model reads
    """

    sampling_rate_hz: float = setting(100.0, "samples per second that the model reads", above=0, at_most=100_000)
    patch_samples: int = setting(
        25, "samples in a patch, the unit that is masked or visible", at_least=1, at_most=10_000
    )
    """Samples per patch: 0.25 s at 100 Hz."""
    max_patches: int = setting(40, "patches of the longest ECG", at_least=2, at_most=2000)
    """Patches of the longest ECG that the model reads: 10 s."""
    width: int = setting(144, "embedding dimension of the encoder", at_least=1, at_most=16_384)
    heads: int = setting(3, "attention heads of the encoder", at_least=1, at_most=1024)
    encoder_depth: int = setting(2, "transformer blocks that read each lead by itself", at_least=1, at_most=1000)
    latent_depth: int = setting(
        1, "transformer blocks of latent attention, which connect the leads", at_least=0, at_most=1000
    )
    pooling_heads: int = setting(3, "attention heads of the lead pooling", at_least=1, at_most=1024)
    decoder_width: int = setting(64, "embedding dimension of the decoder", at_least=1, at_most=16_384)
    decoder_heads: int = setting(2, "attention heads of the decoder", at_least=1, at_most=1024)
    decoder_depth: int = setting(1, "transformer blocks that reconstruct the masked patches", at_least=1, at_most=1000)
    tokens: str = setting(
        "all",
        "latents in latent attention: all, one per lead (cls), or all through a few (induced)",
        choices=("all", "cls", "induced"),
    )
    """Which latents take part in latent attention: "all", "cls" (one per lead), or "induced" (all, through a few)."""
    induced_latents: int = setting(
        16, "number of learned latents between the leads, with --tokens induced", at_least=1, at_most=10_000
    )
    """How many learned latents gather from all leads and broadcast to them, with tokens "induced"."""
    pooling: str = setting(
        "attention",
        "how leads are pooled: by attention, by attention that hears their names, or by their mean",
        choices=("attention", "named", "mean"),
    )
    """How leads are pooled: by weights that depend on the ECG ("attention"), on the ECG and on the leads' names
    ("named"), or by their mean ("mean")."""
    heart: str = setting(
        "time_steps",
        "what the decoder reads of the other leads: one heart token, or one per time step",
        choices=("token", "time_steps"),
    )
    """What the decoder reads of the other leads: "token" (one pooled heart token) or "time_steps" (in addition,
    the leads pooled at each patch with the same weights)."""
    lead_embedding: bool = setting(False, "give the lead encoder an embedding of the lead's name")
    """Whether the lead encoder gets an embedding of the lead's name."""
    normalization: str = setting(
        "lead",
        "divide by the standard deviation of each lead, of its visible patches, or of the complete record",
        choices=("lead", "visible", "record"),
    )
    """Each lead by its own standard deviation ("lead"), by that of its visible patches, so that the amplitude of a
    masked lead is inferred ("visible"), or all leads of an ECG by one ("record")."""
    amplitude_input: bool = setting(False, "give the lead encoder the amplitude of the lead in mV")
    """Whether the lead encoder gets the amplitude of the lead in mV, which normalization removes; probes then get it
    as well, and the height of its waves (`Embedding.amplitude`)."""
    linear_path: bool = setting(False, "combine reconstructions with a linear regression on the visible leads")
    """Whether a reconstruction is combined with a linear regression on the leads that are visible at the same moment;
    both are fitted after pretraining."""
    mask_ratio: float = setting(0.75, "fraction of the patches that is masked in pretraining")
    """Fraction of the patches of every lead that is masked in pretraining; 0 masks complete leads only."""
    masks: str = setting(
        "lead",
        "kinds of masks in pretraining, joined by +: lead (random patches and complete leads), group (all limb leads,"
        " all chest leads, half of the leads or all but one), time (stretches of time in all leads at once)",
    )
    """Kinds of masks in pretraining, joined by "+", each ECG by one of them: "lead" (random patches and
    `masked_leads`), "group" and "time" (see `sample_mixed`)."""
    masked_leads: int = setting(1, "complete leads masked in pretraining, in addition to the patches")
    """Complete leads masked in pretraining, in addition to the random patches: without any, a masked lead is
    reconstructed badly."""

    @property
    def amplitudes(self) -> int:
        """How many amplitudes of each lead probes get."""
        return 3 if self.amplitude_input else 0

    def __post_init__(self) -> None:
        check_settings(self, "configuration")
        widths = [("width", "heads"), ("decoder_width", "decoder_heads")]
        for width, heads in widths + [("width", "pooling_heads")] * (self.pooling != "named"):
            if getattr(self, width) % getattr(self, heads):
                raise ECGError(
                    f"The configuration's {width} of {getattr(self, width)} cannot be divided among"
                    f" {getattr(self, heads)} {heads}; choose a multiple."
                )
        for kind in self.masks.split("+"):
            if kind not in MASK_KINDS:
                raise ECGError(
                    f"The configuration's masks have the kind {kind!r}; choose from {', '.join(MASK_KINDS)}."
                )
        if self.masks != "lead" and (self.mask_ratio == 0 or self.masked_leads != 1):
            raise ECGError("Masks of groups and stretches need a mask_ratio above 0 and masked_leads of 1.")
        if not 0.0 <= self.mask_ratio < 1.0:
            raise ECGError(f"The configuration's mask_ratio is {self.mask_ratio:g}, but it must be from 0 to below 1.")
        if self.mask_ratio == 0 and self.masked_leads == 0:
            raise ECGError("The configuration masks nothing: give a mask_ratio or masked_leads above 0.")
        if not 0 <= self.masked_leads <= 11:
            raise ECGError(f"The configuration's masked_leads is {self.masked_leads}, but it must be from 0 to 11.")

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
        unknown = sorted(set(values) - {one.name for one in fields(cls)})
        if unknown:
            raise ECGError(
                f"The configuration has the unknown key {unknown[0]!r}; it belongs to another version of the model."
            )
        for one in fields(cls):
            value = values.get(one.name, one.default)
            kind = cast(type, one.type)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ECGError(f"The configuration's {one.name} is {value!r}, but it must be of type {kind.__name__}.")
        return cls(**values)
