"""A model on disk: a folder with `config.json`, `model.safetensors` and a model card."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from lamae_toolkit.checksums import CHECKSUM_FILE, check_files, write_checksums
from lamae_toolkit.data.batch import Batch
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import read_json
from lamae_toolkit.model.config import LAMAEConfig

FILES = CONFIG_FILE, WEIGHTS_FILE, GOLDEN_FILE = "config.json", "model.safetensors", "golden.json"
"""The files of a model, whose checksums lie next to them."""
MAX_CONFIG_MB = 1.0
REMEDY = "copy the checkpoint again"

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = ("lamae-mini-ptbxl", "lamae-mini-ptbxl-independent")
"""Names of the weights that come with the toolkit, each a folder in `WEIGHTS`."""

_RENAMED = {"lamae-small": "lamae-mini-ptbxl", "lamae-small-independent": "lamae-mini-ptbxl-independent"}
"""Names of shipped weights in version 0.1."""

FORMAT = 2
"""Version of the names in a checkpoint. Version 0.1 of the toolkit wrote none; its names are translated on loading."""

_NAMES_OF_0_1 = {
    "embed_patch.": "patch_embed.",
    "lead_height.": "amplitude_embed.",
    "decoder_lead_name.": "decoder_lead_embed.",
    "draw_patch.": "decoder_pred.",
    ".norm_network.": ".norm_mlp.",
    ".network.": ".mlp.",
    ".query_key_value.": ".qkv.",
    ".spread.": ".broadcast.",
}
_CONFIG_OF_0_1 = {"normalisation": "normalization", "hidden_leads": "masked_leads"}

CARD = """---
license: mit
library_name: lamae_toolkit
tags: [ecg, masked-autoencoder, research]
---
# {name}, {parameters:,} parameters

A masked autoencoder for 12-lead ECGs (LAMAE, after arXiv 2603.26475, whose sizes and training recipe are not
public: this is a reconstruction from its abstract). For research and teaching, not for diagnosis.

    from lamae_toolkit.model.lamae import LAMAE
    model = LAMAE.from_pretrained("THIS FOLDER")

It reads up to {duration:g} s of any of the twelve leads at {rate:g} Hz, in mV. `golden.json` holds the lead weights and
the heart token that it gives for a fixed test signal; loading checks them. `log.jsonl` next to this folder, if
present, is the training log, and `training.pt` the state from which training resumes.
"""


Model = TypeVar("Model", bound="PretrainedModel")


class PretrainedModel(nn.Module, PyTorchModelHubMixin, library_name="lamae_toolkit", license="mit", tags=["ecg"]):
    """A model that can be saved to a folder, loaded from it, and shared on the Hugging Face hub.

    `save_pretrained(folder)`, `from_pretrained(folder or hub name)` and `push_to_hub(name)` as in
    huggingface_hub; a folder that does not hold such a model gives an ECGError that says why.
    """

    config: LAMAEConfig
    progress: float = 0.0
    """The fraction of pretraining after warm-up that is completed, 0 to 1, for losses with a schedule."""
    ecgs_meet_in_loss: bool = False
    """Whether the loss compares the ECGs of a batch with each other, so that a batch cannot be split to compute it."""

    def embed(self, batch: Batch) -> Any:
        """The heart token, the lead latents and the lead weights of each ECG."""
        raise NotImplementedError

    def _save_pretrained(self, save_directory: Path) -> None:
        folder = Path(save_directory)
        config = {"format": FORMAT, "model": type(self).__name__} | self.config.to_dict()
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        (folder / GOLDEN_FILE).write_text(json.dumps(golden_outputs(self)) + "\n", encoding="utf-8")
        write_checksums(folder, FILES)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README of a checkpoint."""
        return ModelCard(
            CARD.format(
                name=type(self).__name__,
                parameters=sum(parameter.numel() for parameter in self.parameters()),
                duration=self.config.duration_s,
                rate=self.config.sampling_rate_hz,
            )
        )

    @classmethod
    def from_pretrained(
        cls: type[Model], pretrained_model_name_or_path: str | Path, *, map_location: str = "cpu", **hub: Any
    ) -> Model:
        """A trained model, in evaluation mode.

        pretrained_model_name_or_path: the folder of a checkpoint, a name in `SHIPPED` (offline), or else a model's name
        on the Hugging Face hub. map_location: the device of the weights. hub: for the download, such as revision and
        token. Raises ECGError if there is no such model, or if its files are missing, damaged or of another version.
        """
        folder = shipped_or_own(pretrained_model_name_or_path)
        if not folder.is_dir():
            try:
                folder = Path(snapshot_download(str(folder), allow_patterns=[*FILES, CHECKSUM_FILE], **hub))
            except (HFValidationError, OSError) as error:
                raise ECGError(
                    f"{folder} is neither a local folder nor a model of the Hugging Face hub that can be downloaded"
                    f" ({type(error).__name__}); check the path."
                ) from error
        return cls._from_folder(folder, map_location)

    @classmethod
    def _from_folder(cls: type[Model], folder: Path, map_location: str) -> Model:
        for name in FILES:
            if not (folder / name).is_file():
                raise ECGError(f"{folder} is not a checkpoint: it has no {name}; give the folder of a model.")
        values, weights = read_json(folder / CONFIG_FILE, REMEDY, MAX_CONFIG_MB), folder / WEIGHTS_FILE
        written = values.pop("format", 1)
        if written != FORMAT and written != 1:
            raise ECGError(
                f"{folder} holds a checkpoint of format {written!r}, and this version reads formats 1 and {FORMAT};"
                " update lamae_toolkit."
            )
        check_files(folder, FILES)
        kind = values.pop("model", cls.__name__)
        if kind != cls.__name__:
            raise ECGError(f"{folder} holds a model of the class {kind}, not {cls.__name__}; load it with that class.")
        config = LAMAEConfig.from_dict(config_of_0_1(values) if written == 1 else values)
        try:
            _check_size(config, weights)
            state = load_file(weights, device=map_location)
        except (SafetensorError, OSError) as error:
            raise ECGError(f"{folder} holds a damaged checkpoint: {weights.name} cannot be read; {REMEDY}.") from error
        model = cls(config)
        _load(model, {name_of_0_1(name): value for name, value in state.items()} if written == 1 else state, weights)
        _check_golden(model, folder / GOLDEN_FILE)
        return model.eval()


def class_name(folder: Path) -> str:
    """The class of the model in this folder, as its configuration states it; empty if it states none."""
    config = folder / CONFIG_FILE
    return str(read_json(config, REMEDY, MAX_CONFIG_MB).get("model", "")) if config.is_file() else ""


def config_of_0_1(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration that version 0.1 wrote, with its keys renamed."""
    values = {_CONFIG_OF_0_1.get(name, name): value for name, value in values.items()}
    return values | ({"heart": "time_steps"} if values.get("heart") == "moments" else {})


def name_of_0_1(name: str) -> str:
    """The present name of a parameter, from its name in version 0.1."""
    for old, new in _NAMES_OF_0_1.items():
        name = name.replace(old, new)
    return name


def shipped_or_own(name: str | Path) -> Path:
    """The folder of a checkpoint: that of the shipped weights if it is one of `SHIPPED` and no local folder.

    ECGError for a name of version 0.1.
    """
    if str(name) in _RENAMED and not Path(name).is_dir():
        raise ECGError(f"The weights {name} are now called {_RENAMED[str(name)]}; use that name.")
    return WEIGHTS / name if str(name) in SHIPPED and not Path(name).is_dir() else Path(name)


def check_rate(model: "PretrainedModel", sampling_rate_hz: float) -> None:
    """Refuse ECGs of another sampling rate than the model's (ECGError): it would read them at the wrong speed."""
    if sampling_rate_hz != model.config.sampling_rate_hz:
        raise ECGError(
            f"The ECGs are sampled at {sampling_rate_hz:g} Hz, but the model reads {model.config.sampling_rate_hz:g}"
            " Hz; pack them at that rate."
        )


def golden_signal(config: LAMAEConfig) -> Batch:
    """A fixed test signal without random numbers: a different sum of sinusoids in each of the twelve leads."""
    samples = config.max_patches * config.patch_samples
    time_s = torch.arange(samples, dtype=torch.float64) / config.sampling_rate_hz
    lead = torch.arange(1, len(LEADS) + 1, dtype=torch.float64)[:, None]
    signal_mv = 0.5 * torch.sin(2 * torch.pi * time_s * (1 + lead / 12)) + 0.2 * torch.cos(2 * torch.pi * time_s * lead)
    return Batch(signal_mv.float()[None], torch.ones(1, len(LEADS), dtype=torch.bool))


def golden_outputs(model: "PretrainedModel") -> dict[str, list[float]]:
    """The outputs of the model for the golden signal: the lead weights (mean over heads) and the heart token."""
    was_training = model.training
    device = next(model.parameters()).device
    with torch.inference_mode():
        embedding = model.eval().embed(golden_signal(model.config).to(device))
    model.train(was_training)
    return {"lead_weights": embedding.lead_weights[0].mean(dim=0).tolist(), "heart": embedding.heart[0].tolist()}


def _check_golden(model: "PretrainedModel", path: Path) -> None:
    """Refuse a checkpoint whose outputs differ from those when it was saved (by more than 1e-3)."""
    now, saved = golden_outputs(model), read_json(path, REMEDY, MAX_CONFIG_MB)
    try:
        same = {
            name: len(values) == len(saved[name]) and np.allclose(values, saved[name], atol=1e-3, rtol=1e-3)
            for name, values in now.items()
        }
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ECGError(f"{path} is damaged; {REMEDY}.") from error
    for name in now:
        if not same[name]:
            raise ECGError(
                f"The checkpoint {path.parent} gives another {name} than when it was saved: its files or this"
                " version of the toolkit have changed; copy it again, or use the version that saved it."
            )


def _check_size(config: LAMAEConfig, weights: Path) -> None:
    """Refuse a configuration of more parameters than the file of the weights has, by the header of that file.

    So a damaged or hostile configuration cannot take all memory (ECGError).
    """
    with safe_open(weights, framework="pt") as file:
        has = sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118, it is no dictionary
    d, dd = config.width, config.decoder_width
    # A transformer block has 12 d^2 weights in its four matrices.
    least = 12 * ((config.encoder_depth + config.latent_depth) * d**2 + config.decoder_depth * dd**2)
    least += d * config.patch_samples + d * dd + (d * config.induced_latents if config.tokens == "induced" else 0)
    if has < least:
        raise ECGError(
            f"{weights} does not match the {CONFIG_FILE} next to it, whose model has at least {least:,} parameters: the"
            f" weights have {has:,}; {REMEDY}."
        )


def _load(model: nn.Module, state: dict[str, torch.Tensor], weights: Path) -> None:
    """Load these weights into the model; ECGError if they are of another configuration or damaged."""

    def described(tensors: Mapping[str, torch.Tensor], name: str) -> str:
        if name not in tensors:
            return "absent"
        kind = "real numbers" if tensors[name].is_floating_point() else "integers"
        return f"of shape {tuple(tensors[name].shape)} in {kind}"

    expected = model.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        if described(state, name) != described(expected, name):
            raise ECGError(
                f"{weights} does not match the {CONFIG_FILE} next to it: {name} is {described(state, name)} in the"
                f" weights and {described(expected, name)} by the configuration; {REMEDY}."
            )
        if not state[name].isfinite().all():
            raise ECGError(f"{weights} is damaged: {name} holds what is not a number; {REMEDY}.")
    model.load_state_dict(state)
