"""The error for input that is refused, and the warning for what changes the values of an ECG."""

import re

_UNPRINTABLE = re.compile(
    # Control characters, marks of the direction of writing and of no width, line separators, halves of surrogate pairs.
    "[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
MAX_SENTENCE = 1000


def printable(text: str, keep: str = "", longest: int = MAX_SENTENCE) -> str:
    """Text that may contain names and values from files, made safe for a terminal: an unprintable character becomes its
    escape sequence, except those in `keep`, and the middle of a text that is too long is left out."""
    if len(text) > longest:
        text = f"{text[: longest // 2]} ... {len(text) - longest} characters ... {text[-longest // 2 :]}"
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else ascii(match[0])[1:-1], text)


class ECGError(ValueError):
    """Input was refused; the message says in one sentence what is wrong, where, and what to do.

    sentence: the message; it is made `printable`. reason: a category of two or three words, by which reports count
    refusals.

    Example:
        import lamae_toolkit as lt

        try:
            lt.read_ecg("absent.hea")
        except lt.ECGError as error:
            print(error)  # absent.hea: There is no such file; check the path.
    """

    def __init__(self, sentence: str = "", reason: str = "unreadable") -> None:
        super().__init__(printable(sentence))
        self.reason = reason


class ContradictionError(ECGError):
    """An argument contradicts what the file says of itself.

    argument: the name of the argument ("sampling_rate_hz", "unit" or "leads").
    """

    def __init__(self, sentence: str, argument: str, reason: str = "argument contradicts the file") -> None:
        super().__init__(sentence, reason)
        self.argument = argument


class LeadWarning(UserWarning):
    """What a user must know of an ECG that was read: some values or leads may not be what the device recorded.

    The rule, for every format: what may change a value, or leaves out a lead or samples of it, is a LeadWarning. It
    is issued by `read_ecg`, printed by `lamae explain`, and counted and named in the report and the index of
    `prepare`. What is harmless, such as another unit or a dropped channel of respiration, is a note of the recording.
    The notes also hold the sentences of the warnings.

    Example:
        import warnings
        import lamae_toolkit as lt

        warnings.simplefilter("ignore", lt.LeadWarning)  # the notes of a recording say the same
    """


class WarningNote(str):
    """A note that is issued as a LeadWarning; the other notes of a recording are ordinary strings.

    kind: what the warning is about in two or three words, by which `prepare` counts.
    """

    kind: str

    def __new__(cls, sentence: str, kind: str = "other") -> "WarningNote":
        note = super().__new__(cls, sentence)
        note.kind = kind
        return note

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # for copies and worker processes
        return str(self), self.kind
