"""XML as hospitals export it, read so that no file can take the machine down: no entities, no depth, no size."""

import base64
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from lamae_toolkit.errors import ECGError

MAX_DEPTH = 100
"""Elements inside one another: the ECG formats need about 20."""

MAX_ELEMENTS = 200_000
"""Elements in all: an ECG has some thousands, and each takes far more memory than its few letters in the file."""


def parse(path: Path) -> Element:
    """The tree of an XML file; refuses declarations of its own, by which a small file can become a huge one."""
    parser = _Parser(target=_Tree(), forbid_dtd=True)
    return _loaded(parser, path.read_bytes()).close()


def root_tag(head: bytes) -> str:
    """The first tag of XML that begins with these bytes, as `{namespace}name`, or "" if it comes later."""
    try:
        _loaded(_Parser(target=_FirstTag(), forbid_dtd=True), head)
    except _TagFoundError as tag:
        return str(tag)
    except ECGError:
        raise
    except Exception:  # an encoding unknown to Python raises LookupError, and damage nearly any other
        return ""
    return ""


def text_of(element: Element, name: str, where: str) -> str:
    """The text of a child that must be there, exactly once."""
    children = element.findall(name)
    if len(children) != 1:
        problem = "has no" if not children else f"has {len(children)} times"
        raise ECGError(f"{where} {problem} {name.rpartition('}')[2]}; export the ECG again.")
    return (children[0].text or "").strip()


def bytes_of_base64(text: str, where: str) -> bytes:
    """The bytes that a text in Base64 stands for, refusing any other letter in it but white space."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise ECGError(
            f"{where} has samples that are no Base64, so they were damaged; export the ECG again."
        ) from error


class _TagFoundError(Exception):
    pass


class _FirstTag:
    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        raise _TagFoundError(tag)

    def end(self, _tag: str) -> None: ...

    def data(self, _text: str) -> None: ...

    def close(self) -> None: ...


class _Tree(TreeBuilder):
    """A tree that stops growing where no ECG would go on."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = self.elements = 0

    def start(self, tag: str, attributes: dict[str, str]) -> Element:
        self.depth += 1
        self.elements += 1
        if self.depth > MAX_DEPTH or self.elements > MAX_ELEMENTS:
            problem = f"goes deeper than {MAX_DEPTH}" if self.depth > MAX_DEPTH else f"has more than {MAX_ELEMENTS}"
            raise ECGError(f"The XML {problem} elements, which no ECG does; export the ECG again.")
        return super().start(tag, attributes)

    def end(self, tag: str) -> Element:
        self.depth -= 1
        return super().end(tag)


class _Parser(DefusedXMLParser):
    def defused_start_doctype_decl(self, name, sysid, pubid, has_internal_subset) -> None:
        # MUSE names a document type that lies elsewhere and is never fetched; declarations inside are another matter.
        if has_internal_subset:
            raise ECGError("The XML declares entities or elements of its own, which is unsafe; export the ECG again.")


def _loaded(parser: _Parser, content: bytes) -> _Parser:
    try:
        parser.feed(content.lstrip())
    except DefusedXmlException as error:
        raise ECGError("The XML refers to entities or other files, which is unsafe; export the ECG again.") from error
    return parser
