"""The colors and type sizes of all that is drawn: figures, widgets, the web page and the docs. Nothing else names them.

A color says what a thing is, and never alone: a dash, a mark or a sign says it as well.
"""

from collections.abc import Iterable
from typing import NamedTuple

# Okabe and Ito's colors, which the color-blind can tell apart.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, YELLOW, BLACK, GRAY = "#56B4E9", "#CC79A7", "#D9C900", "#000000", "#777777"
INK, SOFT = "#1D1D1F", "#555555"
"""Of text, and of text that is less important."""
PAPER_LINE, PAPER_BOLD = "#f6d5d5", "#e9a8a8"
FOR, AGAINST = VERMILION, BLUE
"""Evidence for a code, and against it."""
WITH_CODE, WITHOUT_CODE = PURPLE, SKY
"""ECGs that have a code, and ECGs that do not."""
DARK = {BLUE: "#56B4E9", VERMILION: "#F0894A"}
"""The same color on a dark page, where the first would be too dim."""
ACCENT = BLUE
"""Of the control that has the focus, and of links."""

SMALL_PX, TEXT_PX, TITLE_PX, HEADING_PX = 11, 13, 16, 20
"""The type sizes: notes below a figure, text and labels, the title of a figure, the heading of a page."""


class Look(NamedTuple):
    """How a model is drawn."""

    color: str
    dash: str
    symbol: str


MODEL_LOOKS = {
    "LAMAE": Look(BLUE, "solid", "circle"),
    "independent leads": Look(VERMILION, "dash", "diamond"),
    "linear regression": Look(GREEN, "dashdot", "square"),
    "alignment, MSE": Look(PURPLE, "dot", "x"),
    "alignment, cosine": Look(SKY, "dashdot", "triangle-up"),
    "alignment, InfoNCE": Look(ORANGE, "dot", "cross"),
    "average joint": Look(YELLOW, "dash", "hexagon"),
    "dipole (Dower)": Look(PURPLE, "dot", "x"),
    "random encoder": Look(GRAY, "dot", "star"),
    "flat line": Look(GRAY, "dot", "star"),
}
"""The look of each model and method in every figure, by the name that the toolkit gives it."""
FREE = (
    Look(BLUE, "solid", "circle"),
    Look(GREEN, "dashdot", "square"),
    Look(PURPLE, "dot", "x"),
    Look(ORANGE, "dot", "cross"),
    Look(YELLOW, "dash", "hexagon"),
    Look(SKY, "dashdot", "triangle-up"),
    Look(BLACK, "solid", "pentagon"),
)
"""Of models that are not in the list, in this order; never the twin's."""


def model_looks(names: Iterable[str]) -> dict[str, Look]:
    """The look of each model by its name; a variant ("LAMAE, fine-tuned") has the look of its model.

    A name that the toolkit does not know gets a look that no other model here has, as long as there are any.
    """
    names = list(dict.fromkeys(names))
    looks = {name: MODEL_LOOKS[known] for name in names if (known := _known(name))}
    taken = {look.color for look in looks.values()}
    free = [look for look in FREE if look.color not in taken] or list(FREE)
    unknown = [name for name in names if name not in looks]
    looks |= {name: free[number % len(free)] for number, name in enumerate(unknown)}
    return {name: looks[name] for name in names}


def _known(name: str) -> str | None:
    """The longest name of the list with which this one begins, as a word."""
    fitting = [known for known in MODEL_LOOKS if name == known or name.startswith((f"{known},", f"{known} "))]
    return max(fitting, key=len, default=None)
