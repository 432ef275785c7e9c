"""What the toolkit refuses or warns of, each in one sentence."""


class ECGError(ValueError):
    """What the toolkit refuses, in one sentence: what is wrong, where, and what to do.

    reason: the same in two or three words, by which a report counts what was refused.
    """

    def __init__(self, sentence: str = "", reason: str = "unreadable") -> None:
        super().__init__(sentence)
        self.reason = reason


class LeadWarning(UserWarning):
    """A lead that could not be used was left out, or gaps in it were filled."""
