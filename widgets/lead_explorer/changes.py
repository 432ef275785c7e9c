"""The perturbations that are chosen in the lead explorer: what they do to an ECG, as Python, and in words."""

from dataclasses import dataclass

from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.counterfactuals import electrodes_reversed, scaled_leads


@dataclass(frozen=True)
class Changes:
    """What is changed in an ECG before the model reads it: first electrodes are reversed, then leads are scaled.

    electrodes: two of them, as for `electrodes_reversed`. scaled: leads whose voltages are multiplied by factor.
    """

    electrodes: tuple[str, str] | None = None
    scaled: tuple[str, ...] = ()
    factor: float = 1.0

    def __call__(self, recording: Recording) -> Recording:
        """The ECG with these changes; scaled leads that it lacks are ignored."""
        if self.electrodes:
            recording = electrodes_reversed(recording, *self.electrodes)
        scaled = [lead for lead in self.scaled if lead in recording.leads]
        return scaled_leads(recording, scaled, self.factor) if scaled and self.factor != 1.0 else recording

    def lines(self, recording: Recording) -> list[str]:
        """These changes as lines of Python that change `recording`, with the toolkit imported as `lt`."""
        lines = []
        if self.electrodes:
            lines.append(
                f"recording = lt.explain.electrodes_reversed(recording, {self.electrodes[0]!r}, {self.electrodes[1]!r})"
            )
        scaled = [lead for lead in self.scaled if lead in recording.leads]
        if scaled and self.factor != 1.0:
            lines.append(f"recording = lt.explain.scaled_leads(recording, {scaled}, {self.factor:g})")
        return lines

    def in_words(self) -> str:
        """These changes as a sentence, empty if nothing is changed."""
        parts = []
        if self.electrodes:
            parts.append(f"electrodes {self.electrodes[0]} and {self.electrodes[1]} reversed")
        if self.scaled and self.factor != 1.0:
            parts.append(f"{', '.join(self.scaled)} at {self.factor:.0%} of their amplitude")
        text = " and ".join(parts)
        return f"{text[0].upper()}{text[1:]}." if parts else ""
