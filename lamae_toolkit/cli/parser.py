"""The parser of a command: its options are collected when it is asked for, since their defaults may take seconds."""

import argparse
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Command(NamedTuple):
    """A subcommand: the function that adds its options, and the one that carries it out ("module.function").

    The docstring of the first is the help: a sentence, and below an empty line an example.
    """

    add_options: Callable[["CommandParser"], None]
    run: str = ""


class CommandParser(argparse.ArgumentParser):
    """A parser of a subcommand, without options until it is used."""

    add_options: Callable[["CommandParser"], None] | None = None

    def option(self, name: str, kind: Callable, text: str, default: Any = ..., **more: Any) -> None:
        """Add an option or argument; without a default it is required."""
        if default is not ...:
            more["default"] = default
        elif name.startswith("-"):
            more["required"] = True
        self.add_argument(name, type=kind, help=text, **more)

    def parse_known_args(self, args=None, namespace=None):
        if self.add_options is not None:
            add, self.add_options = self.add_options, None
            add(self)
        return super().parse_known_args(args, namespace)


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
