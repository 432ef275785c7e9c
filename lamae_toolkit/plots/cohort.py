"""Figures of a cohort: functions that take the tables of `lamae_toolkit.data.summary` and return a plotly Figure."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.data.store import Store
from lamae_toolkit.data.summary import LEAD_SETS, CoOccurrence
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.palette import BLUE, GRAY, GREEN, ORANGE, PURPLE
from lamae_toolkit.plots._plotly import WEIGHT_SCALE, error_bars, finish, heatmap, shortened
from lamae_toolkit.plots.ecg import ecg_figure

AROUND_ONE = "RdBu_r"
LETTERS = 40
BLANK = "#ececec"


def age_figure(ages: pd.DataFrame, title: str = "Age and sex") -> go.Figure:
    """ECGs by age, women and men stacked. ages: from `age_table`."""
    figure = go.Figure(layout={"barmode": "stack", "bargap": 0.05})
    hover = "from %{x} years: %{y} ECGs of %{fullData.name}<extra></extra>"
    for sex, color in {"women": PURPLE, "men": GREEN, "unknown": GRAY}.items():
        if ages[sex].any():
            figure.add_bar(x=ages.index, y=ages[sex], offset=0, name=sex, marker_color=color, hovertemplate=hover)
    figure.update_xaxes(title_text="age in years").update_yaxes(title_text="ECGs")
    return finish(figure, title, height=320)


def code_figure(codes: pd.DataFrame, most: int = 25, title: str = "How frequent is each code?") -> go.Figure:
    """The share of ECGs that have each code, the most frequent on top. codes: from `code_table`."""
    shown = codes[:most][::-1]
    figure = go.Figure()
    figure.add_bar(
        x=shown["share of ECGs"],
        y=[_short(code) for code in shown.index],
        orientation="h",
        marker_color=BLUE,
        customdata=shown[["ECGs", "patients", "name"]],
        hovertemplate="%{customdata[2]}: %{x:.1%}, %{customdata[0]} ECGs of %{customdata[1]} patients<extra></extra>",
    )
    figure.update_xaxes(title_text="share of all ECGs", tickformat=".0%")
    return finish(figure, title, height=22 * len(shown) + 130)


def co_occurrence_figure(together: CoOccurrence, show: str = "ratio", title: str = "") -> go.Figure:
    """Codes by codes: the "ratio" of ECGs with both to independent codes, or the "share" P(column | row)."""
    codes = list(together.count.index)
    if show == "ratio":
        title = title or "Codes on the same ECG: observed / expected if independent"
        z = np.log2(together.ratio.to_numpy().clip(1 / 8, 8))
        scale = {"colorscale": AROUND_ONE, "zmin": -3, "zmax": 3}
        bar = {"title": "ratio", "tickvals": [-3, -2, -1, 0, 1, 2, 3], "ticktext": ["⅛", "¼", "½", "1", "2", "4", "8"]}
    else:
        title = title or "Of the ECGs with the row's code, the share with the column's"
        z = np.where(np.eye(len(codes), dtype=bool), np.nan, together.share)
        scale, bar = {"colorscale": WEIGHT_SCALE, "zmin": 0}, {"title": "share", "tickformat": ".0%"}
    names = np.array([name_of(code) for code in codes])
    details = np.stack(
        [together.count, together.expected, together.ratio, together.share, *np.meshgrid(names, names)], axis=2
    )
    hover = (
        "%{customdata[5]}<br>with %{customdata[4]}<br>%{customdata[0]} ECGs, expected %{customdata[1]:.1f}"
        "<br>%{customdata[3]:.1%} of the row's ECGs"
    )
    look = {**scale, "colorbar": bar, "customdata": details, "xgap": 1, "ygap": 1, "hoverongaps": True}
    figure = heatmap(z, codes, map(_short, codes), hover, **look)
    return finish(figure.update_xaxes(tickangle=-60), title, 24 * len(codes) + 170, plot_bgcolor=BLANK)


def quality_figure(quality: pd.DataFrame, title: str = "Which leads are bad, and how often?") -> go.Figure:
    """Leads by flags: the share of ECGs in which the lead is absent or flagged. quality: from `quality_table`."""
    look = {"colorscale": "Oranges", "zmin": 0, "zmax": max(0.01, float(quality.max().max())), "xgap": 2, "ygap": 2}
    words = {"texttemplate": "%{z:.2%}", "colorbar": {"title": "ECGs", "tickformat": ".1%"}}
    hover = "%{y} is %{x} in %{z:.2%} of the ECGs"
    figure = heatmap(quality.to_numpy(), quality.columns, quality.index, hover, **look, **words)
    return finish(figure, title, 420, plot_bgcolor=BLANK)


def flagged_figure(store: Store, row: int) -> go.Figure:
    """One ECG of a store with its flags in the title."""
    ecg = store.index.iloc[row]
    flags = [f"{name.removeprefix('flag_')}: {ecg[name]}" for name in FLAG_COLUMNS if ecg.get(name)]
    return ecg_figure(store.recording(row), title=f"Row {row}, " + ("; ".join(flags) or "no flag"))


def redundancy_figure(table: pd.DataFrame, title: str = "How much of each lead do other leads explain?") -> go.Figure:
    """R² of each lead in unseen patients, median and quartiles over ECGs, from each set of other leads."""
    figure = go.Figure()
    colors, symbols = (BLUE, ORANGE, GREEN), ("circle", "square", "diamond")
    for number, (name, color, symbol) in enumerate(zip(LEAD_SETS, colors, symbols, strict=True)):
        rows = table[table["from"] == name].set_index("lead").reindex(LEADS)
        figure.add_scatter(
            x=np.arange(len(LEADS)) + 0.2 * (number - 1),
            y=rows["median"],
            mode="markers",
            name=f"from {name}",
            marker={"color": color, "symbol": symbol, "size": 9},
            error_y=error_bars(rows, "median", "low", "high"),
            customdata=rows[["low", "high", "ECGs"]],
            hovertemplate=f"from {name}: R² %{{y:.3f}} (quartiles %{{customdata[0]:.3f}} to %{{customdata[1]:.3f}},"
            " %{customdata[2]} ECGs)<extra></extra>",
        )
    figure.update_xaxes(tickvals=list(range(len(LEADS))), ticktext=list(LEADS))
    figure.update_yaxes(title_text="R² in unseen patients, quartiles", range=[-0.6, 1.05])
    return finish(figure, title, height=440)


def lead_matrix_figure(matrix: pd.DataFrame, title: str = "R² of each lead from one other lead") -> go.Figure:
    """Leads by leads: how much of the row's lead the column's lead explains; below 0 is shown as 0."""
    look = {"colorscale": WEIGHT_SCALE, "zmin": 0, "zmax": 1, "colorbar": {"title": "R²"}, "xgap": 1, "ygap": 1}
    numbers = {"texttemplate": "%{z:.2f}", "textfont": {"size": 10}, "hoverongaps": False}
    hover = "%{y} from %{x}: median R² %{z:.2f}"
    figure = heatmap(matrix.to_numpy(), matrix.columns, matrix.index, hover, **look, **numbers)
    figure.update_yaxes(title_text="lead that is reconstructed")
    figure.update_xaxes(title_text="lead that it is reconstructed from")
    return finish(figure, title, 480, plot_bgcolor=BLANK)


def _short(code: str) -> str:
    return shortened(name_of(code), LETTERS)
