"""Lead terms on ECG paper: what is written for a code, and the color of each lead's field.

A lead's field is tinted by its term, with limits in log-odds that are the same for every ECG and code, so that an ECG
whose leads all look average stays white. The browser paints it (ecg_paper_terms.js).
"""

from dataclasses import asdict, dataclass

import numpy as np

from lamae_toolkit.ecg.leads import LIMB_LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.ecg_terms import LeadTerms, disagreeing, percent
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import AGAINST, FOR

TERM_LIMIT = 2.0
"""Log-odds at which tint and bar end: seven in eight of all odds."""
TINT = 0.5
"""Opacity of the tint at the limit: the black trace on it keeps a contrast above 7 to 1."""
HEAD_MM, BAR_MM, BAR_HEIGHT_MM = 25.0, 9.0, 2.4
"""Room for the words above the ECG; length of a bar at the limit, and its height."""
EXPLAINED = (
    f"Term: what the lead adds to the log-odds (0: as in the average ECG); tint and bar end at ±{TERM_LIMIT:g}."
    " Black mark: what is lost without the lead."
)
EXPLAINED_OVER_TIME = (
    "Tint: what each patch adds, times the number of patches. In brackets: the part of the term that belongs to no"
    " patch, which comes from the standard deviation over time."
)
NOT_FOR_DIAGNOSIS = "For research and teaching, not for diagnosis."


@dataclass(frozen=True)
class LeadOnPaper:
    """The term of a lead and what the log-odds lose without it; the same as written next to its name and in a table.

    of_no_patch: the part of the term that belongs to no patch that the paper shows.
    """

    term: float
    lost: float
    label: str
    of_no_patch: str
    cells: tuple[str, str]


@dataclass(frozen=True)
class CodeOnPaper:
    """What is written about one code, and its leads; words: the same for those who do not see it."""

    code: str
    choice: str
    heading: str
    sentence: str
    limb_label: str
    words: str
    leads: dict[str, LeadOnPaper]


def check_terms(
    recording: Recording, terms: LeadTerms | None, code: str | None, over_time: bool, overlay: object, mask: object
) -> None:
    """Refuse (ECGError) terms that are not of this ECG, or that cannot be shown in this way."""
    if terms is None:
        if code is not None or over_time:
            raise ECGError("A code is chosen among lead terms; give `terms` as well.")
        return
    if overlay is not None or mask is not None:
        raise ECGError("Lead terms are not shown with an overlay or a mask, since their colors would mix; show one.")
    read = terms.recording
    for lead in read.leads:
        same = lead in recording.leads and recording.sampling_rate_hz == read.sampling_rate_hz
        if not (same and np.array_equal(recording.lead(lead)[: read.signal_mv.shape[1]], read.lead(lead))):
            raise ECGError("These lead terms are of another ECG; compute them from the recording that is shown.")
    if code is not None:
        terms.column(code)
    if over_time and terms.over_time is None:
        raise ECGError('Only the terms of a probe on "leads" are split over time; use such a probe.')


def shown_code(terms: LeadTerms, code: str | None) -> str:
    """The code that is shown: the given one, or the one furthest above its prevalence."""
    return code or str(terms.ranked().index[0])


def code_on_paper(terms: LeadTerms, code: str) -> CodeOnPaper:
    """What the paper says about one code."""
    of_lead, ranked = terms.of_code(code), terms.ranked().loc[code]
    no_patch = _of_no_patch(terms, code)
    leads = {
        str(lead): LeadOnPaper(
            float(row.term),
            float(row.leave_one_out),
            signed(row.term),
            "" if no_patch is None else f" ({signed(no_patch[index])})",
            (f"{row.term:+.2f}", percent(row.probability_without)),
        )
        for index, (lead, row) in enumerate(of_lead.iterrows())
    }
    probability, sentence = percent(ranked.probability), terms.sentence(code)
    heading = f"{name_of(code)}: {probability}, prevalence {percent(ranked.prevalence)}"
    several = len(set(terms.leads) & set(LIMB_LEADS)) > 1
    limb = f"limb leads together {signed(terms.limb_term(code))} (six views of two leads)" if several else ""
    words = f"{heading}. {sentence} Lead terms in log-odds: "
    words += ", ".join(f"{lead} {one.label}" for lead, one in leads.items()) + (f"; {limb}." if several else ".")
    if others := disagreeing(of_lead.term, of_lead.leave_one_out):
        words += f" Term and loss without the lead disagree for {', '.join(others)}."
    words += f" {NOT_FOR_DIAGNOSIS}"
    choice = f"{probability}  {name_of(code)}"
    return CodeOnPaper(code, choice, heading, sentence, limb, words, leads)


def as_sent(terms: LeadTerms) -> dict:
    """The terms of all codes as the browser gets them, the code furthest above its prevalence first.

    data: float32 by code, lead and patch; None if the terms are not split over time.
    """
    codes, over_time = [str(code) for code in terms.ranked().index], terms.over_time
    sent = {
        "codes": [asdict(code_on_paper(terms, code)) for code in codes],
        "leads": terms.leads,
        "duration_s": terms.recording.duration_s,
        "limit": TERM_LIMIT,
        "tint": TINT,
        "bar_mm": BAR_MM,
        "bar_height_mm": BAR_HEIGHT_MM,
        "for": FOR,
        "against": AGAINST,
        "explained": [EXPLAINED, EXPLAINED_OVER_TIME],
        "not_for_diagnosis": NOT_FOR_DIAGNOSIS,
        "data": None,
    }
    if over_time is not None:
        patch = over_time.patch[:, :, [terms.column(code) for code in codes]]
        sent["patches"], sent["patch_s"] = patch.shape[1], over_time.patch_s
        sent["data"] = patch.transpose(2, 0, 1).astype("<f4").tobytes()
    return sent


def signed(value: float) -> str:
    """A number with its sign and one decimal, as "+2.3"; zero has no sign."""
    text = f"{value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def _of_no_patch(terms: LeadTerms, code: str) -> np.ndarray | None:
    """What remains of each term without the patches that were recorded; None if it is not split over time."""
    if terms.over_time is None:
        return None
    column, recorded = terms.column(code), round(terms.recording.duration_s / terms.over_time.patch_s)
    return terms.terms[:, column] - terms.over_time.patch[:, :recorded, column].sum(axis=1)
