"""Models of every kind of code path, and a program that exports them into a folder.

In a process of its own: the type checks that the tests put under every function refuse the symbolic sizes of an export.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from lamae_toolkit.evaluation.linear_probe import Probe, feature_sizes
from lamae_toolkit.export.onnx_file import export_onnx
from lamae_toolkit.model.baselines import IndependentMAE
from lamae_toolkit.model.lamae import LAMAE
from small_models import ONE_BLOCK, SMALL, VARIANTS, probe_of

TINY = replace(ONE_BLOCK, width=8, heads=1, pooling_heads=1, decoder_width=8, decoder_heads=1, max_patches=8)

KINDS = {
    "cls": (("cls", "names", "linear path", "named pooling", "complete leads"), LAMAE, "heart"),
    "induced": (("induced", "record", "all, token"), LAMAE, "summary"),
    "no latent attention": (("amplitude input", "mean pooling", "no latent attention"), LAMAE, "per_lead"),
    "twin": (("all, time steps",), IndependentMAE, "leads"),
    "tiny": ((), LAMAE, "leads"),
}
"""Options of which a model combines several, its class, and what its probe reads."""


def model_and_probe(name: str) -> tuple[LAMAE, Probe]:
    """The same weights at each call."""
    options, kind, representation = KINDS[name]
    config = TINY if name == "tiny" else replace(SMALL, encoder_depth=1, latent_depth=1)
    for option in options:
        changed = {key: value for key, value in vars(VARIANTS[option]).items() if value != getattr(SMALL, key)}
        config = replace(config, **changed)
    torch.manual_seed(0)
    model = kind(config).eval()
    by_lead, of_ecg = feature_sizes(model, representation)
    return model, probe_of(12 * by_lead + of_ecg, representation)


if __name__ == "__main__":
    for name in KINDS:
        model, probe = model_and_probe(name)
        export_onnx(model, Path(sys.argv[1]) / f"{name}.onnx", probe)
