"""The command `lamae`: its subcommands, and what happens when one is run.

Nothing here needs PyTorch: the options of a command are collected when it is asked for, and what it does is imported
when it runs. So `lamae --help` answers at once.
"""

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from lamae_toolkit import __version__
from lamae_toolkit._lazy import EXTRAS, MissingExtraError, missing_extra
from lamae_toolkit.cli import options
from lamae_toolkit.errors import ECGError


class Command(NamedTuple):
    """A subcommand: one sentence, an example, its options, and the function that carries it out ("module.function")."""

    help: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: str


COMMANDS = {
    "demo": Command(
        "Run the complete job on simulated ECGs (no download) and write an HTML report.",
        "lamae demo --out my_run",
        options.demo,
        "commands.demo_command",
    ),
    "explain": Command(
        "Show the predicted codes of one ECG, its pooling weights and its latent attention, as an HTML report.",
        "lamae explain record.hea --out record.html",
        options.explain,
        "commands.explain_command",
    ),
    "app": Command(
        "Serve the lead explorer for a folder of ECGs to the browsers of this computer, and to nobody else.",
        "lamae app my_ecgs",
        options.app,
        "app.app_command",
    ),
    "prepare": Command(
        "Turn ECGs into a store that models read: MIMIC-IV-ECG, PTB-XL, or your own files.",
        "lamae prepare folder my_ecgs --out my_store",
        options.prepare,
        "",
    ),
    "simulate": Command(
        "Simulate a cohort of patients with ICD-10-coded conditions, as a store.",
        "lamae simulate --out simulated --ecgs 500",
        options.simulate,
        "commands.simulate_command",
    ),
    "pretrain": Command(
        "Pretrain a model on the training patients of a store; the same command resumes.",
        "lamae pretrain --store simulated --out run --steps 500",
        options.pretrain,
        "commands.pretrain_command",
    ),
    "evaluate": Command(
        "Predict the ICD-10 codes of unseen patients from a frozen model, next to an untrained one.",
        "lamae evaluate --store simulated --checkpoint run/checkpoint",
        options.evaluate,
        "commands.evaluate_command",
    ),
    "embed": Command(
        "Write the embedding of each ECG (heart token and pooling weights) as a table.",
        "lamae embed my_ecgs --out embeddings.parquet",
        options.embed,
        "commands.embed_command",
    ),
    "research": Command(
        "Repeat the studies of the toolkit: compare methods, audit explanations, train the shipped weights.",
        "lamae research compare simulated --out runs/simulated",
        lambda parser: _add_commands(parser, RESEARCH, "studies", "STUDY"),
        "",
    ),
}

RESEARCH: dict[str, Command] = {
    "compare": Command(
        "Pretrain LAMAE and its baselines with several seeds, probe them, and write a table with intervals.",
        "lamae research compare simulated --out runs/simulated --variant LAMAE --variant 'independent leads'",
        options.compare,
        "research.compare_command",
    ),
    "audit": Command(
        "Test which explanations to trust, on simulated ECGs whose evidence is known: deletion, insertion,"
        " localization, agreement of seeds, and parameter randomization. The same command resumes.",
        "lamae research audit --out runs/audit --seeds 3",
        options.audit,
        "research.audit_command",
    ),
    "shipped-weights": Command(
        "Train the weights that come with the toolkit, on simulated ECGs and PTB-XL.",
        "lamae research shipped-weights --store runs/ptbxl/store --out runs/weights",
        options.shipped_weights,
        "research.shipped_weights_command",
    ),
}

RENAMED_COMMANDS = {"compare": "research compare", "audit": "research audit", "small": "research shipped-weights"}
RENAMED_OPTIONS = {
    "--minimum": "--min-records-per-code",
    "--replicates": "--n-bootstrap",
    "--data": "--data-location",
    "--accumulation": "--gradient-accumulation-steps",
    "--variants": "--variant, given once for each row of the table",
}
RENAMED_SIZES = {"lamae_tiny": "small", "lamae_small": "base", "lamae_base": "large"}
"""Names of version 0.1."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 if all went well, 1 if some records were refused, 2 for a refused input, 130 if interrupted.
    """
    words = sys.argv[1:] if words is None else list(words)
    # A lead that is left out is reported in one line, without Python's source lines around it.
    warnings.showwarning = lambda message, *_, **__: print(f"lamae: {message}", file=sys.stderr)
    try:
        _refuse_old_names(words)
        arguments = _parser().parse_args(words)
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and words[0] != "pretrain":
            raise ECGError("Only `lamae pretrain` runs in several processes; start this command without torchrun.")
        arguments.command_line = shlex.join(["lamae", *words])
        module, _, function = arguments.run.partition(".")
        return getattr(import_module(f"lamae_toolkit.cli.{module}"), function)(arguments) or 0
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        print(f"lamae: {missing_extra(f'lamae {words[0]}', error)}", file=sys.stderr)
        return 2
    except (ECGError, MissingExtraError) as error:
        print(f"lamae: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _refuse_old_names(words: list[str]) -> None:
    if words and words[0] in RENAMED_COMMANDS:
        raise ECGError(f"lamae {words[0]} is now lamae {RENAMED_COMMANDS[words[0]]}.")
    for word, value in zip(words, [*words[1:], ""], strict=True):
        option, _, joined = word.partition("=")
        if option == "--size" and (joined or value) in RENAMED_SIZES:
            raise ECGError(f"The size {joined or value} is now called {RENAMED_SIZES[joined or value]}.")
        if option in RENAMED_OPTIONS:
            raise ECGError(f"{option} is now {RENAMED_OPTIONS[option]}.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamae",
        description="Masked autoencoding on 12-lead ECGs: pretrain a model, predict ICD-10 codes, see what each lead"
        " contributes. For research and teaching, not for diagnosis.",
        epilog="Example:\n  lamae demo\n`lamae COMMAND --help` shows the options of a command.",
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"lamae {__version__}")
    _add_commands(parser, COMMANDS, "commands", "COMMAND")
    return parser


def _add_commands(parser: argparse.ArgumentParser, commands: dict[str, Command], title: str, metavar: str) -> None:
    subcommands = parser.add_subparsers(title=title, required=True, metavar=metavar, parser_class=CommandParser)
    for name, command in commands.items():
        sub = subcommands.add_parser(
            name,
            help=command.help,
            description=command.help,
            epilog=f"Example:\n  {command.example}",
            formatter_class=Help,
        )
        sub.set_defaults(run=command.run)
        sub.add_options = command.add_options


class CommandParser(argparse.ArgumentParser):
    """A subcommand that collects its options when it is asked for: their defaults may take seconds to import."""

    add_options: Callable[[argparse.ArgumentParser], None] | None = None

    def parse_known_args(self, args=None, namespace=None):
        if self.add_options is not None:
            add, self.add_options = self.add_options, None
            add(self)
        return super().parse_known_args(args, namespace)


class Help(argparse.HelpFormatter):
    """Help that names a default where there is one, and keeps the lines of an example."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        without = (None, False, (), argparse.SUPPRESS)
        return text if action.default in without or action.required else f"{text} (default: %(default)s)"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(
            line if line.startswith("  ") else super(Help, self)._fill_text(line, width, indent) for line in lines
        )


if __name__ == "__main__":
    sys.exit(main())
