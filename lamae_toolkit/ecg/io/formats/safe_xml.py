"""Safe parsing of XML: no entities, limited depth, limited number of elements."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lamae_toolkit.errors import ECGError

MAX_DEPTH = 100
"""Elements inside one another: the ECG formats need about 20."""

MAX_ELEMENTS = 50_000
"""Elements in all: an ECG has some thousands, and each takes far more memory than its text in the file."""

MAX_EQUALS_SIGNS = 300_000
"""Of all attributes together, and of Base64: an element may have a million attributes, which take as much memory."""


def parse(path: Path) -> Element:
    """The tree of an XML file; refuses declarations inside the file, by which a small file can expand to a huge one.

    A file that is not in the encoding which it declares is read in the one that it is in.
    """
    content = path.read_bytes().lstrip()
    if content.count(b"=") > MAX_EQUALS_SIGNS:
        raise ECGError(f"The XML has more than {MAX_EQUALS_SIGNS} attributes, which no ECG does; export the ECG again.")
    try:
        return _tree(content, None)
    except ECGError:
        raise
    except (expat.ExpatError, LookupError, ValueError):  # LookupError: Python does not know the encoding
        return _tree(content, _encoding_of(content))


def _encoding_of(content: bytes) -> str:
    """The encoding by the bytes, whatever the text says: converters often keep an old declaration."""
    if b"\0" in content[:4] or content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(content):  # not only the last letter, which may be cut
            return "iso-8859-1"
    return "utf-8"


def _tree(content: bytes, encoding: str | None) -> Element:
    tree = TreeBuilder()
    depth = elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            problem = f"goes deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else f"has more than {MAX_ELEMENTS}"
            raise ECGError(f"The XML {problem} elements, which no ECG does; export the ECG again.")
        tree.start(_qualified(tag), {_qualified(name): value for name, value in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        tree.end(_qualified(tag))

    parser = _parser(start, encoding)
    parser.EndElementHandler, parser.CharacterDataHandler = end, tree.data
    parser.Parse(content, True)
    return tree.close()


def root_tag(head: bytes) -> str:
    """The first tag of XML that begins with these bytes, as `{namespace}name`, or "" if it comes later."""
    tags: list[str] = []
    head = head.lstrip()
    for encoding in (None, _encoding_of(head)):
        parser = _parser(lambda tag, _: tags.append(_qualified(tag)), encoding)
        try:
            parser.Parse(head, False)
        except ECGError:
            raise
        except (expat.ExpatError, LookupError, ValueError):  # it is damaged, or in an encoding unknown to Python
            pass
        if tags:
            return tags[0]
    return ""


def text_of(element: Element, name: str, where: str) -> str:
    """The text of a child that must occur exactly once."""
    children = element.findall(name)
    if len(children) != 1:
        problem = "has no" if not children else f"has {len(children)} times"
        raise ECGError(f"{where} {problem} {name.rpartition('}')[2]}; export the ECG again.")
    return (children[0].text or "").strip()


def bytes_of_base64(text: str, where: str) -> bytes:
    """The bytes of a Base64 text, in which only white space is allowed in addition."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise ECGError(
            f"{where} has samples that are not valid Base64, so they are damaged; export the ECG again."
        ) from error


def _parser(start: Callable[[str, dict[str, str]], Any], encoding: str | None) -> expat.XMLParserType:
    """Python's own parser, which fetches nothing, and refuses what it would need entities for.

    encoding: instead of the one that the file declares.
    """

    def doctype(_name: str, _system_id: Any, _public_id: Any, has_internal_subset: int) -> None:
        # MUSE refers to an external document type, which is never fetched; only declarations inside are refused.
        if has_internal_subset:
            raise ECGError("The XML declares entities or elements of its own, which is unsafe; export the ECG again.")

    def skipped(*_: Any) -> None:
        raise ECGError("The XML refers to entities or other files, which is unsafe; export the ECG again.")

    parser = expat.ParserCreate(encoding, namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler, parser.StartDoctypeDeclHandler, parser.SkippedEntityHandler = start, doctype, skipped
    return parser


def _qualified(name: str) -> str:
    """`{namespace}name`, as ElementTree writes it, of expat's `namespace}name`."""
    return f"{{{name}" if "}" in name else name
