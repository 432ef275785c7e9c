"""The parser of a command: its options are collected when it is asked for, since their defaults may take seconds."""

import argparse
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from lamae_toolkit.errors import printable

MAX_SEED = 2**32 - 1
MAX_PATH_BYTES, MAX_NAME_BYTES = 4000, 255
"""As long as a path, and a name in it, may be on the usual file systems."""


class Command(NamedTuple):
    """A subcommand: the function that adds its options, and the one that carries it out ("module.function").

    The docstring of the first is the help: a sentence, and below an empty line an example.
    """

    add_options: Callable[["CommandParser"], None]
    run: str = ""


class CommandParser(argparse.ArgumentParser):
    """A parser of a subcommand, without options until it is used."""

    add_options: Callable[["CommandParser"], None] | None = None

    def option(
        self,
        name: str,
        kind: Callable,
        text: str,
        default: Any = ...,
        *,
        at_least: float = 1,
        at_most: float = 1e9,
        **more: Any,
    ) -> None:
        """Add an option or argument; without a default it is required.

        at_least, at_most: the limits of a whole number; a real number must be above 0 and at most 1e6, or `at_most`.
        """
        if kind is int:
            kind = number(int, at_least, at_most)
        elif kind is float:
            kind = number(float, 0, min(at_most, 1e6))
        elif kind is Path:
            kind = path_argument
        if default is not ...:
            more["default"] = default
        elif name.startswith("-"):
            more["required"] = True
        self.add_argument(name, type=kind, help=text, **more)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, which may repeat what was typed, and exit with code 2."""
        super().error(printable(message, keep="\n"))

    def parse_known_args(self, args=None, namespace=None):
        if self.add_options is not None:
            add, self.add_options = self.add_options, None
            add(self)
        return super().parse_known_args(args, namespace)


def number(kind: type[int] | type[float], at_least: float, at_most: float) -> Callable[[str], Any]:
    """A type for argparse: a whole number within limits, or a finite real number above the lower one."""

    def parse(text: str) -> Any:
        what = "a whole number" if kind is int else "a number"
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if kind is float and not (math.isfinite(value) and at_least < value <= at_most):
            raise argparse.ArgumentTypeError(f"{text} is not a number above {at_least:g} and at most {at_most:g}")
        if kind is int and not at_least <= value <= at_most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {at_least:.0f} to {at_most:.0f}")
        return value

    return parse


def path_argument(text: str) -> Path:
    """A type for argparse: a path that a file system can have."""
    path = Path(text)
    if len(text) > MAX_PATH_BYTES or any(len(name.encode(errors="replace")) > MAX_NAME_BYTES for name in path.parts):
        raise argparse.ArgumentTypeError("a path or a name in it is too long for a file system")
    return path


class Help(argparse.HelpFormatter):
    """Help that gives defaults where they exist, and keeps the lines of an example."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        without = (None, False, (), argparse.SUPPRESS)
        return text if action.default in without or action.required else f"{text} (default: %(default)s)"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(
            line if line.startswith("  ") else super(Help, self)._fill_text(line, width, indent) for line in lines
        )


def add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, Command], title: str, metavar: str) -> None:
    """Add subcommands to a parser."""
    subcommands = parser.add_subparsers(title=title, required=True, metavar=metavar, parser_class=CommandParser)
    for name, command in commands.items():
        text, _, example = (inspect.getdoc(command.add_options) or "").partition("\n\n")
        text = " ".join(text.split())
        example = " ".join(example.split())
        epilog = f"Example:\n  {example}"
        sub = subcommands.add_parser(name, help=text, description=text, epilog=epilog, formatter_class=Help)
        sub.set_defaults(run=command.run)
        sub.add_options = command.add_options
