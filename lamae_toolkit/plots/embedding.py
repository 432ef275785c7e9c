"""The map of a cohort: every ECG at its position, in the color of a code, of age or of sex."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int

from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import label_matrix, name_of
from lamae_toolkit.palette import GRAY, GREEN, PURPLE, WITH_CODE, WITHOUT_CODE
from lamae_toolkit.plots._plotly import finish

AGE_SCALE = "Cividis"
MANY_ECGS = 5000
"""With more ECGs, the map is drawn by WebGL."""


def map_figure(
    positions: Float[np.ndarray, "b 2"],
    index: pd.DataFrame,
    color: str = "sex",
    *,
    chosen: Int[np.ndarray, " k"] | None = None,
    asked: int | None = None,
    neighbors: pd.DataFrame | None = None,
    title: str = "",
) -> go.Figure:
    """Every ECG at its position: colored by "sex", "age", or whether it has an ICD-10 code (or one below it).

    positions: from `map_positions`. index: the rows of the store's index for these ECGs. chosen: indices of the
    selected ECGs; the others fade. asked: index of the ECG to mark. neighbors: its `nearest`, marked by thinner rings,
    or by squares if they are of the same patient. The data are always the ECGs, three names for the legend, two kinds
    of neighbors, and the asked one.
    """
    kinds, marker = _kinds(index, color)
    kind = go.Scattergl if len(positions) > MANY_ECGS else go.Scatter
    figure = go.Figure(
        kind(
            x=positions[:, 0],
            y=positions[:, 1],
            mode="markers",
            marker=marker | {"size": 7, "opacity": 0.8},
            selectedpoints=None if chosen is None else chosen,
            unselected={"marker": {"opacity": 0.12}},
            showlegend=False,
            hovertext=_words(index),
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    for number in range(3):
        name, (color_of, symbol) = kinds[number] if number < len(kinds) else ("", (GRAY, "circle"))
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=name,
            showlegend=bool(name),
            marker={"color": color_of, "symbol": symbol, "size": 9},
        )
    near = pd.DataFrame({"row": [], "same_patient": []}) if neighbors is None else neighbors
    own = near.same_patient.to_numpy(dtype=bool)
    rings = (
        ("neighbors", near.row[~own], "circle-open", 14),
        ("neighbors of the same patient", near.row[own], "square-open", 15),
        ("asked for", [] if asked is None else [asked], "star-open", 21),
    )
    for name, where, symbol, size in rings:
        where = np.asarray(where, dtype=int)
        figure.add_scatter(
            x=positions[where, 0],
            y=positions[where, 1],
            mode="markers",
            name=name,
            hoverinfo="skip",
            showlegend=len(where) > 0,
            unselected={"marker": {"opacity": 1}},
            marker={"symbol": symbol, "size": size, "color": "black", "line": {"width": 2}},
        )
    figure.update_xaxes(showticklabels=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, zeroline=False)
    title = title or f"{len(positions)} ECGs by {color if color in ('age', 'sex') else name_of(color)}"
    return finish(figure, title, height=560, hovermode="closest", dragmode="lasso")


def _kinds(index: pd.DataFrame, color: str) -> tuple[list, dict]:
    """The names of the legend with their looks, and the marks of all ECGs."""
    if color == "age":
        ages = index.age_years.to_numpy(dtype=float)
        known = np.isfinite(ages)
        if not known.any():
            raise ECGError("No ECG of this cohort has an age; color by sex or by a code instead.")
        marker = {
            "color": np.where(known, ages, np.nan),
            "symbol": "circle",
            "colorscale": AGE_SCALE,
            "showscale": True,
            "cmin": float(ages[known].min()),
            "cmax": float(ages[known].max()),
            "colorbar": {"title": "age in years"},
        }
        return [], marker
    if color == "sex":
        kinds = [("women", (PURPLE, "diamond")), ("men", (GREEN, "circle")), ("sex unknown", (GRAY, "x"))]
        group = index.sex.map({"F": 0, "M": 1}).fillna(2).astype(int).to_numpy()
    else:
        group = 1 - label_matrix(index.codes.tolist(), [color])[:, 0].astype(int)
        if group.all():
            raise ECGError(f"No ECG of this cohort has {name_of(color)}; choose a code that one of them has.")
        kinds = [(f"with {color}", (WITH_CODE, "diamond")), (f"without {color}", (WITHOUT_CODE, "circle"))]
    looks = np.array([look for _, look in kinds], dtype=object)[group]
    kinds = [kind if (group == number).any() else ("", kind[1]) for number, kind in enumerate(kinds)]
    return kinds, {"color": looks[:, 0].tolist(), "symbol": looks[:, 1].tolist(), "showscale": False}


def _words(index: pd.DataFrame) -> list[str]:
    ages = ["age unknown" if age != age else f"{age:.0f} years" for age in index.age_years]
    lines = zip(index.index, index.patient_id, index.sex, ages, index.codes, strict=True)
    return [
        f"row {row}, patient {patient}<br>{sex or 'sex unknown'}, {age}<br>{', '.join(codes) or 'no code'}"
        for row, patient, sex, age, codes in lines
    ]
