"""Files that may hold an ECG but are not read, and what to do instead."""

AS_SAMPLES = "export the ECG from the device as DICOM, SCP-ECG, HL7 aECG or another format with its samples"

WAYS_OUT = {
    "HDF5": (
        "This is HDF5, in which every data set has a layout of its own; for CODE-15 run lamae prepare code15, otherwise"
        " save the signal of each ECG as .npz with the keys signal, leads, sampling_rate_hz and unit."
    ),
    "MATLAB 7.3": "This is a MATLAB file of version 7.3; save it again with save(..., '-v7').",
    "PDF": f"This is a PDF, which shows an ECG on paper without its samples; {AS_SAMPLES}.",
    "picture": f"This is a picture, which shows an ECG without its samples; {AS_SAMPLES}.",
    "Kardia": "This is a recording of AliveCor Kardia (.atc), which is not read; convert it to EDF or CSV first.",
    "CardioSoft": "This is XML of GE CardioSoft, which is not read; export the ECG as DICOM, MUSE XML or SCP-ECG.",
    "Schiller": "This is XML of Schiller, which is not read; export the ECG as DICOM, SCP-ECG or HL7 aECG.",
    "archive": "This is an archive of several files; unpack it and read what is inside of it.",
}
"""Kind of file, and the sentence by which it is refused."""

STARTS = {
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"MATLAB 7.3": "MATLAB 7.3",
    b"%PDF": "PDF",
    b"\x89PNG": "picture",
    b"\xff\xd8\xff": "picture",
    b"GIF8": "picture",
    b"II*\0": "picture",
    b"MM\0*": "picture",
    b"ALIVE": "Kardia",
    b"PK\x03\x04": "archive",
    b"\x1f\x8b": "archive",
    b"Rar!": "archive",
    b"7z\xbc\xaf": "archive",
}
"""Kind by the first bytes."""

XML_ROOTS = {"CardiologyXML": "CardioSoft", "examdescript": "Schiller"}
"""Kind by the name of the root element, without its namespace."""


def unread_kind(head: bytes) -> str | None:
    """The kind of a file that is not read, by its first bytes."""
    return next((kind for start, kind in STARTS.items() if head.startswith(start)), None)
