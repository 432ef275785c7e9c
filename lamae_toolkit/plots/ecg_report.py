"""The sections of a report on one ECG: the codes, what each lead adds to them, and what the heart token is made of."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.explain.attention import AttentionSummary
from lamae_toolkit.explain.ecg_terms import LeadTerms
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.plots.attention import lead_attention_figure
from lamae_toolkit.plots.ecg import lead_bar_figure
from lamae_toolkit.plots.report import Section
from lamae_toolkit.plots.terms import lead_terms_figure

HEART_TOKEN = (
    "The heart token is the summary of all leads from which the model learned to reconstruct masked patches; the bars"
    " show how much of it comes from each lead. They do not show what the prediction above rests on: for that, see the"
    " lead terms."
)
NUMBERS = (
    "Numbers are log-odds: +1 multiplies the odds of the code by 2.7, -1 divides them by 2.7. A term is what a lead"
    " adds compared with the average ECG that the probe was fitted on: a lead like it, and an absent lead,"
    " has 0. The bias is what the average ECG is given; bias and terms sum to the log-odds of the code."
)
"""What the numbers of lead terms mean."""


def terms_sections(
    terms: LeadTerms,
    code: str,
    text: str,
    pictures: Sequence[go.Figure | str] = (),
    heading: str = "What the prediction rests on",
) -> list[Section]:
    """What the prediction of a code rests on, all codes, all terms, and what happens without each lead.

    text: about this ECG, for the first section. pictures: shown first in it.
    """
    ranked = terms.ranked()
    first = [code, *(str(other) for other in ranked.index if other != code)][:5]
    says = f"{name_of(code)}: {terms.sentence(code)}"
    columns = {"term": "term", "leave_one_out": "loss without"}
    without = {name_of(one): terms.of_code(one)[list(columns)].rename(columns=columns) for one in first}
    return [
        Section(heading, f"{says}\n{text}\n{NUMBERS}", [*pictures, lead_terms_figure(terms, code)]),
        codes_section(ranked),
        Section(
            "Lead terms of all codes",
            "In log-odds. Each row sums to the log-odds of its code.",
            [terms.table().loc[list(ranked.index)].rename(index=name_of).rename_axis(None)],
        ),
        Section(
            "Each lead left out",
            "Next to each term: what the log-odds lose if the ECG is read again without the lead. This differs from the"
            " term, since leads know of each other through latent attention.",
            [pd.concat(without, axis=1).rename_axis(None)],
        ),
    ]


def codes_section(ranked: pd.DataFrame) -> Section:
    """Probability and prevalence of each code; ranked: as from `ranked_codes`."""
    table = ranked.rename(index=name_of, columns={"above_prevalence": "log-odds above prevalence"}).rename_axis(None)
    return Section(
        "All codes",
        "The code whose log-odds lie furthest above those of its prevalence comes first. Probability and prevalence"
        " are those of the cohort that the probe was fitted on; in another cohort they differ.",
        [table],
    )


def heart_token_section(summary: AttentionSummary) -> Section:
    """The pooling weights and the attention between leads, and what they do not say."""
    return Section("Share in the heart token", HEART_TOKEN, [lead_bar_figure(summary), lead_attention_figure(summary)])
