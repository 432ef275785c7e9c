"""The command `lamae`: its subcommands, and how one is run.

Nothing here needs PyTorch: the options of a command are defined when it is chosen, and its function is imported when it
runs, so that `lamae --help` is fast.
"""

import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module

from lamae_toolkit import __version__
from lamae_toolkit._lazy import EXTRAS, MissingExtraError, missing_extra
from lamae_toolkit.cli.options import COMMANDS
from lamae_toolkit.cli.parser import CommandParser, Help, add_commands
from lamae_toolkit.cli.streams import lasting_output
from lamae_toolkit.cli.terminal import as_options, say
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import writing_to

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

    0 if all went well, 1 if some records were refused, 2 for a refused input or a full disk, 130 if interrupted. After
    a closed pipe (`| head`) the command goes on and writes its results.
    """
    try:
        with lasting_output():
            return _run(sys.argv[1:] if words is None else list(words))
    except OSError as error:
        say(f"lamae: What the command prints could not be written ({error.strerror}).", file=sys.stderr)
        return 2


def _run(words: list[str]) -> int:
    # A lead that is left out is reported in one line, without Python's source lines around it.
    warnings.showwarning = lambda message, *_, **__: say(f"lamae: {as_options(str(message))}", file=sys.stderr)
    try:
        _refuse_old_names(words)
        arguments = _parser().parse_args(words)
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and words[0] != "pretrain":
            raise ECGError("Only `lamae pretrain` runs in several processes; start this command without torchrun.")
        arguments.command_line = shlex.join(["lamae", *words])
        module, _, function = arguments.run.partition(".")
        out, is_main = getattr(arguments, "out", None), int(os.environ.get("RANK", 0)) == 0
        with nullcontext() if out is None or not is_main else writing_to(out):
            return getattr(import_module(f"lamae_toolkit.cli.{module}"), function)(arguments) or 0
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        say(f"lamae: {missing_extra(f'lamae {words[0]}', error)}", file=sys.stderr)
        return 2
    except (ECGError, MissingExtraError) as error:
        say(f"lamae: {as_options(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:  # of a file that no sentence was written for
        where = f"{error.filename} could not be read or written" if error.filename else "A file could not be written"
        say(f"lamae: {where} ({error.strerror or error}); check it, and the space on its disk.", file=sys.stderr)
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


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="lamae",
        description="Masked autoencoding on 12-lead ECGs: pretrain a model, predict ICD-10 codes, see what each lead"
        " contributes. For research and teaching, not for diagnosis.",
        epilog="Example:\n  lamae demo\n`lamae COMMAND --help` shows the options of a command.",
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"lamae {__version__}")
    add_commands(parser, COMMANDS, "commands", "COMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())
