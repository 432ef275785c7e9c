"""Our docstrings as Markdown for the API reference: an extension of griffe, which mkdocstrings reads them with.

A docstring is plain: a first sentence, then `name: meaning` lines, then `Example:` and an indented block of Python.
Names become a list, and indented blocks become highlighted code.
"""

import re
import textwrap
from typing import Any

import griffe

NAMES = re.compile(r"(\*{0,2}[A-Za-z_]\w*(?:(?:, | and )\*{0,2}[A-Za-z_]\w*)*): +(?=\S)")
"""What a line that explains one or several parameters begins with."""


class PlainDocstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = docstring_markdown(obj.docstring.value, names_of(obj))


def names_of(obj: griffe.Object) -> set[str]:
    """What a docstring of this object may explain: parameters, and of a class its attributes."""
    functions = [obj, obj.members.get("__init__")] if obj.is_class else [obj]
    parameters = {p.name for f in functions if isinstance(f, griffe.Function) for p in f.parameters}
    return parameters | ({name for name in obj.members if not name.startswith("_")} if obj.is_class else set())


def docstring_markdown(text: str, names: set[str]) -> str:
    """The Markdown of a docstring. names: parameters and attributes; `name: meaning` is a list item for these only,
    or where a paragraph begins with it."""
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        heading, _, rest = block.partition("\n")
        if heading.strip() in ("Example:", "Examples:"):
            blocks += ["**Example**"] + ([_code(rest)] if rest.strip() else [])
        elif block.startswith("    "):
            continues = blocks and blocks[-1].endswith("```")  # an empty line within the code
            blocks[-1:] = [blocks[-1][:-4] + "\n\n" + _code(block)[10:]] if continues else [*blocks[-1:], _code(block)]
        else:
            blocks.append(_paragraph(block, names))
    return "\n\n".join(blocks)


def _words(found: re.Match) -> list[str]:
    """The names that a line explains."""
    return re.split(r", | and ", found[1])


def _code(block: str) -> str:
    return f"```python\n{textwrap.dedent(block).strip()}\n```"


def _paragraph(block: str, names: set[str]) -> str:
    """A paragraph in which each line that explains a parameter is an item of a list."""
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    if known:  # two short explanations on one line: "width: of a token. depth: how many blocks."
        block = re.sub(rf"(?<=[.;]) (?=(?:(?:{known})(?:, | and ))*(?:{known}): )", "\n", block)
    parts: list[str] = []
    listed = False
    for number, line in enumerate(block.split("\n")):
        found = NAMES.match(line)
        if found and not line.startswith("Raises") and (number == 0 or listed or set(_words(found)) & names):
            shown = ", ".join(f"`{name}`" for name in _words(found))
            parts.append(f"{'' if listed or not parts else chr(10)}- {shown}: {line[found.end() :]}")
            listed = True
        elif listed and not line.startswith(" ") and parts[-1].rstrip().endswith(".") and line[:1].isupper():
            parts.append(f"\n{line}")  # the sentences after the list
            listed = False
        else:
            parts.append(f"    {line.strip()}" if listed else line.strip())
    return "\n".join(parts)
