"""The figure of lead terms: what each lead adds to the log-odds of a code, and whether leaving it out agrees."""

import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.ecg.leads import LIMB_LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.ecg_terms import LeadTerms, disagreeing
from lamae_toolkit.explain.lead_shapley import LeadAttribution
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import BLACK
from lamae_toolkit.plots._plotly import finish, signed_colors

LIMIT = 3.0
"""The ends of the axis in log-odds, the same for every ECG and code, so that small terms look small. A single lead
rarely has more; what lies beyond ends at the limit, with an arrow behind its number."""
LIMB_ROW = "limb leads"


def lead_terms_figure(
    terms: LeadTerms, code: str, attribution: LeadAttribution | None = None, title: str = ""
) -> go.Figure:
    """What each lead of an ECG adds to the log-odds of a code, as a signed bar, and what the prediction loses without
    the lead, as a mark on it.

    terms: of one ECG, in log-odds, as from `lt.explain.encode_ecg(model, ecg, probe).lead_terms()`. code: one that the
    probe predicts. attribution: of the same ECG, as from `attribute_leads`, to mark the Shapley values as well. title:
    above the figure; the name of the code and what its prediction rests on if empty. The pale bar is the sum over the
    limb leads, which are six views of two. Where a mark and its bar disagree, a sentence below the figure says so.
    ECGError if the probe does not predict the code, or if the two are of different leads.

    Example:
        import lamae_toolkit as lt

        model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
        ecg = lt.example_ecg("right bundle branch block", offline="simulate")
        terms = lt.explain.encode_ecg(model, ecg, probe).lead_terms()
        figure = lt.lead_terms_figure(terms, "I45.10")
    """
    of_lead = terms.of_code(code)
    bars, marks = of_lead.term, {"without the lead": of_lead.leave_one_out}
    if attribution is not None:
        if attribution.leads != terms.leads:
            raise ECGError("Terms and Shapley values are of different leads; compute both from the same recording.")
        marks["Shapley value"] = attribution.table(code).attribution
    limb = [lead for lead in terms.leads if lead in LIMB_LEADS]
    rows = list(terms.leads)
    figure = go.Figure(_bars(bars, "term of the lead", opacity=1.0))
    if len(limb) > 1:
        rows.insert(rows.index(limb[-1]) + 1, LIMB_ROW)
        figure.add_trace(_bars(pd.Series({LIMB_ROW: terms.limb_term(code)}), "sum of the limb leads", opacity=0.4))
    for (name, values), symbol, size in zip(marks.items(), ("diamond", "circle-open"), (7, 13), strict=False):
        figure.add_scatter(
            x=values.clip(-LIMIT, LIMIT),
            y=values.index,
            mode="markers",
            name=f"loss {name}" if name.startswith("without") else name,
            marker={"symbol": symbol, "color": BLACK, "size": size, "line": {"width": 1.5}},
            cliponaxis=False,
            customdata=values,
            hovertemplate="%{y}: %{customdata:+.2f} log-odds",
        )
    figure.add_vline(x=0, line={"color": BLACK, "width": 1})
    figure.update_xaxes(range=[-1.15 * LIMIT, 1.15 * LIMIT], dtick=1, zeroline=False)
    figure.update_xaxes(title_text="← against the code, log-odds, for the code →")
    numbers = {**bars, LIMB_ROW: terms.limb_term(code)}
    figure.update_yaxes(categoryorder="array", categoryarray=rows, autorange="reversed")
    figure.update_yaxes(tickvals=rows, ticktext=[_number(row, numbers[row]) for row in rows])
    figure.add_annotation(
        text=_below(bars, marks), showarrow=False, align="left", x=0, y=0, yshift=-62, xref="paper", yref="paper"
    )
    figure.layout.annotations[-1].update(xanchor="left", yanchor="top")
    title = title or f"{name_of(code)}<br><sup>{terms.sentence(code)}</sup>"
    return finish(figure, title, height=30 * len(rows) + 230, margin={"t": 95, "b": 120}, barmode="overlay")


def _bars(values: pd.Series, name: str, opacity: float) -> go.Bar:
    """Bars that end at the limits."""
    return go.Bar(
        x=values.clip(-LIMIT, LIMIT),
        y=values.index,
        orientation="h",
        name=name,
        marker_color=signed_colors(values),
        opacity=opacity,
        showlegend=False,
        customdata=values,
        hovertemplate="%{y}: %{customdata:+.2f} log-odds",
    )


def _number(row: str, value: float) -> str:
    """A lead and its number, with an arrow if the bar would go on."""
    arrow = "" if abs(value) <= LIMIT else " ▸" if value > 0 else " ◂"
    return f"{row}  <b>{value:+.2f}</b>{arrow} "


def _below(bars: pd.Series, marks: dict[str, pd.Series]) -> str:
    """What the numbers are relative to, and where a mark and its bar disagree."""
    text = ["A lead that looks as in the average training ECG, or is absent, has the term 0."]
    for name, values in marks.items():
        leads = disagreeing(bars, values)
        if leads:
            text.append(
                f"{', '.join(leads)}: {'the loss ' if name.startswith('without') else 'the '}{name} differs from the"
                " term, since leads know of each other through latent attention."
            )
    return "<br>".join(text)
