"""The error for input that is refused, and the warning for a lead that was left out."""


class ECGError(ValueError):
    """Input was refused; the message says in one sentence what is wrong, where, and what to do.

    sentence: the message. reason: a category of two or three words, by which reports count refusals.

    Example:
        import lamae_toolkit as lt

        try:
            lt.read_ecg("absent.hea")
        except lt.ECGError as error:
            print(error)  # absent.hea: There is no such file; check the path.
    """

    def __init__(self, sentence: str = "", reason: str = "unreadable") -> None:
        super().__init__(sentence)
        self.reason = reason


class LeadWarning(UserWarning):
    """A lead that could not be used was left out, or gaps in it were filled.

    Example:
        import warnings
        import lamae_toolkit as lt

        warnings.simplefilter("ignore", lt.LeadWarning)  # the notes of a recording say the same
    """
