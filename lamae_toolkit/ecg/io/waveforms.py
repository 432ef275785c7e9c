"""Which of several waveforms in one file is the ECG: one rule for DICOM, aECG and MUSE; a Sierra file has one."""

from collections.abc import Sequence
from typing import NamedTuple

from lamae_toolkit.ecg.leads import LEADS, lead_name
from lamae_toolkit.errors import WarningNote

MAX_WAVEFORMS = 100
"""Far more than an ECG has; each is compared with each."""


class Waveform(NamedTuple):
    """Channels that were sampled together.

    names: of the channels. rate_hz, n_samples: of each; 0 where the file does not say. start: when they were recorded,
    as the file says it. is_beat: whether they are a median or representative beat, not a rhythm.
    """

    names: tuple[str, ...]
    rate_hz: float
    n_samples: int
    start: str = ""
    is_beat: bool = False

    @property
    def leads(self) -> set[str]:
        return {lead for name in self.names if (lead := lead_name(name))}


def choose_waveforms(waveforms: Sequence[Waveform]) -> tuple[list[int], tuple[str, ...]]:
    """The waveforms to read as one ECG, by their indices, and notes on the others.

    A rhythm and never a beat; the most leads, then the longest, then the first. Waveforms that start together, of
    equal rate and length and with different leads, are parts of one. No index if there is no rhythm.
    """
    rhythms = [index for index, waveform in enumerate(waveforms) if not waveform.is_beat][:MAX_WAVEFORMS]
    if not rhythms:
        return [], ()
    joined = [_joined(waveforms, rhythms, first) for first in rhythms]

    def rank(group: list[int]) -> tuple[int, float]:
        return len(_leads(waveforms, group)), waveforms[group[0]].n_samples / (waveforms[group[0]].rate_hz or 1)

    best = max(joined, key=rank)
    others = [index for index in rhythms if index not in best and waveforms[index].leads]
    if not others:
        return best, ()
    lost = _leads(waveforms, others) - _leads(waveforms, best)
    if lost:
        listed = ", ".join(lead for lead in LEADS if lead in lost)
        note = (
            f"Read one of {len(rhythms)} waveforms; the others have {listed} as well, at another time, rate or length."
        )
        return best, (WarningNote(note, "lead not read"),)
    if any(rank([index]) == rank(best) for index in others):
        note = f"Read the first of {len(rhythms)} waveforms; another one has the same leads and length."
        return best, (WarningNote(note, "several ECGs"),)
    return best, (f"Read one of {len(rhythms)} waveforms, the one with the most leads or the longest.",)


def _leads(waveforms: Sequence[Waveform], group: Sequence[int]) -> set[str]:
    return {lead for index in group for lead in waveforms[index].leads}


def _joined(waveforms: Sequence[Waveform], candidates: Sequence[int], first: int) -> list[int]:
    """This waveform and those that belong to it, in the order of the file."""
    group, one = [first], waveforms[first]
    for index in candidates:
        other = waveforms[index]
        alike = (other.rate_hz, other.n_samples, other.start) == (one.rate_hz, one.n_samples, one.start)
        if index != first and alike and one.leads and other.leads and other.leads.isdisjoint(_leads(waveforms, group)):
            group.append(index)
    return sorted(group)
