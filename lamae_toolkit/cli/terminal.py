"""What commands print: names and values from files reach the terminal as plain text, never as control characters."""

import re
from typing import Any

from lamae_toolkit.errors import printable

MAX_TEXT = 200_000


def say(*texts: object, sep: str = " ", end: str = "\n", file: Any = None, flush: bool = False) -> None:
    """`print`, with everything but line breaks and tabs made `printable`."""
    text = printable(sep.join(str(text) for text in texts), keep="\n\t", longest=MAX_TEXT)
    print(text, end=end, file=file, flush=flush)


ARGUMENT = re.compile(r'\b(leads|unit|sampling_rate_hz)=(\[[^\]]*\]|"[^"]*"|[\d.]+\b)?')


def as_options(sentence: str) -> str:
    """What a message says of arguments in Python, said of the command's options.

    Example:
        as_options('pass leads=["I", "II"]')  # 'pass --leads I,II'
    """

    def option(found: re.Match) -> str:
        name, value = found[1].replace("_", "-"), re.sub(r'[\[\]" ]', "", found[2] or "")
        return f"--{name} {value}" if value else f"--{name}"

    return ARGUMENT.sub(option, sentence)
