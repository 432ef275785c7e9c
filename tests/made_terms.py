"""Lead terms of given size, for tests of what shows them."""

from collections.abc import Mapping

import numpy as np
from scipy.special import logit

from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.ecg_terms import LeadTerms, TermsOverTime

CODES = ("I44.7", "I45.10")
PATCH_S = 0.25


def made_terms(
    recording: Recording, of_code: Mapping[str, Mapping[str, float]], bias: float = -3.0, split: bool = True
) -> LeadTerms:
    """Terms by code and lead, 0 where none is given. Without a lead, the prediction loses its term.

    split: over time, half of a term in the patch that begins at 1 s and a third of it in the standard deviation.
    """
    values = np.array([[of_code.get(code, {}).get(lead, 0.0) for code in CODES] for lead in recording.leads])
    log_odds = bias + values.sum(axis=0)
    patch = np.zeros((len(values), round(10 / PATCH_S), len(CODES)))
    patch[:, 4] = values / 2
    over_time = TermsOverTime(patch, values / 6, values / 6, values / 6, PATCH_S) if split else None
    usual = logit(np.full(len(CODES), 0.05))
    return LeadTerms(recording, CODES, values, np.full(len(CODES), bias), usual, log_odds - values, over_time)
