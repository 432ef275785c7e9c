"""Which kind of file this is, recognized by its first bytes, since suffixes may be wrong or missing."""

import re
from pathlib import Path
from typing import BinaryIO

from lamae_toolkit.ecg.io.formats.apple_watch import is_watch
from lamae_toolkit.ecg.io.formats.matlab import is_version_4
from lamae_toolkit.ecg.io.formats.safe_xml import root_tag
from lamae_toolkit.ecg.io.formats.scp import kind_by_start
from lamae_toolkit.ecg.io.formats.table_head import head_of
from lamae_toolkit.ecg.io.formats.unread import XML_ROOTS, unread_kind
from lamae_toolkit.ecg.leads import lead_name
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import decoded

HEAD_BYTES = 1024

XML_HEAD_BYTES, TEXT_HEAD_BYTES = 65536, 16384
"""An XML file or a table may begin with comments of any length; its root or its names are searched up to here."""

WITHOUT_PREAMBLE = re.compile(
    rb"\x02\0[\0-\x10]\0(?:UL|OB|UI)|\x08\0[\x05\x08\x12-\x18]\0(?:(?:CS|UI|DA|TM)[^\0]\0|[^\0]\0\0\0)[\w.\\]{2}"
)
"""DICOM whose first 132 bytes, or whose header as well, are missing: it begins with an element of group 2 or 8."""

XML_STARTS = (b"<", b"\xff\xfe<\0", b"\xfe\xff\0<", b"\0<")
"""How XML begins in UTF-8 and UTF-16."""

XML_KINDS = {
    "RestingECG": "MUSE XML",
    "{http://www3.medical.philips.com}restingecgdata": "Sierra XML",
    "{urn:hl7-org:v3}AnnotatedECG": "aECG XML",
}
"""Kind by the name of the root element and its namespace."""


def kind_of_content(path: Path) -> str | None:
    """The kind of a file by its content: one that is read, one of `WAYS_OUT`, "XML" for any other XML, or None."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if head[128:132] == b"DICM" or WITHOUT_PREAMBLE.match(head):
            return "DICOM"
        # An .npz file is a zip archive of .npy files.
        if head.startswith(b"\x93NUMPY") or re.match(rb"PK\x03\x04.{26}[^\0]{1,200}?\.npy", head, re.DOTALL):
            return "NumPy"
        if head.startswith(b"0       ") and re.fullmatch(rb"\d+ *", head[184:192]):
            return "EDF"
        if head.startswith(b"\xffBIOSEMI"):
            return "BDF"
        if head.startswith(b"MATLAB 5") or is_version_4(head):
            return "MATLAB"
        if head.lstrip().removeprefix(b"\xef\xbb\xbf").startswith(XML_STARTS):
            return _xml_kind(head, file)
        if kind := unread_kind(head) or kind_by_start(head, path.suffix):
            return kind
        if head.startswith((b"#", b"\xff\xfe", b"\xfe\xff")):  # comments before a table, or two bytes a letter
            head += file.read(TEXT_HEAD_BYTES)
    return _text_kind(head)


def _xml_kind(head: bytes, file: BinaryIO) -> str:
    # The root element may come later than the part that was read.
    root = root_tag(head) or root_tag(head + file.read(XML_HEAD_BYTES))
    return XML_KINDS.get(root) or XML_ROOTS.get(root.rpartition("}")[2], "XML")


def _text_kind(head: bytes) -> str | None:
    """ "CSV" for a text whose first row names one of the twelve leads and whose next row begins with a value."""
    text = decoded(head)
    if "\0" in text:
        return None
    lines = text.splitlines()
    if is_watch(lines):
        return "Apple Watch CSV"
    try:
        table = head_of(lines)
    except ECGError:
        return None
    row = lines[table.n_lines] if len(lines) > table.n_lines else ""
    # A sentence may begin with "I, ...", but no row of numbers follows it.
    is_value = re.match(r"[\s\"'\d.,;+-]|nan|$", row, re.IGNORECASE) is not None
    return "CSV" if is_value and any(map(lead_name, table.columns)) else None
