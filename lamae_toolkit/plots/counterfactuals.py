"""The figure of counterfactuals: what the model would predict if the ECG were another."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import BLACK, GRAY
from lamae_toolkit.plots._plotly import finish, shortened, signed_colors

NAME_LETTERS = 26


def what_if_figure(
    table: pd.DataFrame, codes: Sequence[str], title: str = "What if the ECG were another?"
) -> go.Figure:
    """The probability of each chosen code after each change, a column per code; the dotted line is the ECG as it is.

    table: from `lt.what_if`. Probabilities are drawn on the scale of log-odds, on which equal steps are equal
    evidence.
    """
    missing = [code for code in codes if code not in table.probability]
    if missing or not codes:
        raise ECGError(f"The table has no code {missing[0]}." if missing else "No code was chosen; give at least one.")
    names = [_wrapped(code) for code in codes]
    figure = make_subplots(rows=1, cols=len(codes), shared_yaxes=True, subplot_titles=names, horizontal_spacing=0.025)
    positions = list(range(len(table)))[::-1]
    for column, code in enumerate(codes, start=1):
        probability, change = table.probability[code], table.log_odds_difference[code]
        odds = np.log(probability / (1 - probability))
        cell = {"row": 1, "col": column, "showlegend": False}
        figure.add_scatter(
            x=[end for value in odds for end in (odds.iloc[0], value, None)],
            y=[end for position in positions for end in (position, position, None)],
            mode="lines",
            line={"color": GRAY, "width": 2},
            hoverinfo="skip",
            **cell,
        )
        figure.add_scatter(
            x=odds,
            y=positions,
            mode="markers+text",
            **cell,
            cliponaxis=False,
            text=[f"{value:.1%}" for value in probability],
            textfont={"size": 10},
            textposition=["middle right" if value >= odds.iloc[0] else "middle left" for value in odds],
            marker={"size": 9, "color": [BLACK, *signed_colors(change[1:])]},
            customdata=np.stack([table.index, [f"{value:.2%}" for value in probability], change], axis=1),
            hovertemplate="%{customdata[0]}: %{customdata[1]}, log-odds %{customdata[2]:+.2f}<extra></extra>",
        )
        figure.add_vline(x=odds.iloc[0], line={"color": GRAY, "dash": "dot"}, row=1, col=column)
        low, high = min(odds.min(), -3.0), max(odds.max(), 0.5)
        ticks = [t for t in (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99) if low - 2 < np.log(t / (1 - t)) < high + 2]
        room = 0.3 * (high - low)
        figure.update_xaxes(
            tickvals=[np.log(t / (1 - t)) for t in ticks],
            ticktext=[f"{t:.6g}" for t in ticks],
            range=[low - room, high + room],
            row=1,
            col=column,
        )
    figure.update_yaxes(tickvals=positions, ticktext=list(table.index), col=1)
    figure.update_annotations(font={"size": 12})
    note = table.attrs.get("note", "").replace(": ", ":<br>")
    figure.add_annotation(
        text=f"Probabilities, on a scale of log-odds.<br>{note}",
        x=0,
        y=-0.09,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        font={"size": 11, "color": GRAY},
    )
    return finish(figure, title, height=34 * len(table) + 210, margin={"t": 100, "b": 100})


def _wrapped(code: str) -> str:
    return f"<b>{code}</b><br>{shortened(name_of(code).removeprefix(code).strip(), NAME_LETTERS)}"
