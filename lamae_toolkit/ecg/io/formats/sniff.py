"""Which kind of file this is, recognized by its first bytes, since suffixes may be wrong or missing."""

import re
from pathlib import Path
from typing import BinaryIO

from lamae_toolkit.ecg.io.channels import MV_PER_UNIT
from lamae_toolkit.ecg.io.formats.safe_xml import root_tag
from lamae_toolkit.ecg.leads import lead_name

HEAD_BYTES = 1024

XML_HEAD_BYTES = 65536
"""An XML file may begin with comments of any length; its root is searched up to here."""

XML_STARTS = (b"<", b"\xff\xfe<\0", b"\xfe\xff\0<", b"\0<")
"""How XML begins in UTF-8 and UTF-16."""

XML_KINDS = {
    "RestingECG": "MUSE XML",
    "{http://www3.medical.philips.com}restingecgdata": "Sierra XML",
    "{urn:hl7-org:v3}AnnotatedECG": "aECG XML",
}
"""Kind by the name of the root element and its namespace."""


def kind_of_content(path: Path) -> str | None:
    """The kind of a file by its content, "XML" if it is XML but not of an ECG, None if it is unknown."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if head[128:132] == b"DICM":
            return "DICOM"
        # An .npz file is a zip archive of .npy files.
        if head.startswith(b"\x93NUMPY") or re.match(rb"PK\x03\x04.{26}[^\0]{1,200}?\.npy", head, re.DOTALL):
            return "NumPy"
        if head.startswith(b"0       ") and re.fullmatch(rb"\d+ *", head[184:192]):
            return "EDF"
        if head.startswith(b"\xffBIOSEMI"):
            return "BDF"
        if head.lstrip().removeprefix(b"\xef\xbb\xbf").startswith(XML_STARTS):
            return _xml_kind(head, file)
    return "CSV" if _is_table(head) else None


def _xml_kind(head: bytes, file: BinaryIO) -> str:
    # The root element may come later than the part that was read.
    return XML_KINDS.get(root_tag(head) or root_tag(head + file.read(XML_HEAD_BYTES)), "XML")


def _is_table(head: bytes) -> bool:
    """Whether this is a text whose first row names one of the twelve leads and whose second begins with a value."""
    if b"\0" in head:
        return False
    text = head.decode("utf-8-sig", errors="replace").lstrip("\r\n")
    first, _, second = text.partition("\n")
    columns = re.split(r"[,;\t]", first)
    units = "|".join(MV_PER_UNIT)
    names = [re.sub(rf"[ _(\[]+({units}|[µμ]V)[)\]]?$", "", column.strip(' "\r')) for column in columns]
    # A sentence may begin with "I, ...", but no row of numbers follows it.
    return any(lead_name(name) for name in names) and re.match(r'[\s"\d.,;+-]|nan|$', second, re.IGNORECASE) is not None
