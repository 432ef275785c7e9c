"""Write the docs' page of colors and type sizes, light and dark: `python tools/look_page.py` makes `docs/look.md`.

Every example is drawn from `lamae_toolkit.palette`, the one place that names them. `--check` writes nothing and fails
where the page is not what this command makes.
"""

import sys
from pathlib import Path

from lamae_toolkit import palette
from lamae_toolkit.palette import MODEL_LOOKS
from lamae_toolkit.plots._plotly import TOOLBAR_PX

PAGE = Path(__file__).resolve().parents[1] / "docs" / "look.md"
GROUNDS = {"light": ("#FFFFFF", palette.INK), "dark": ("#16181B", "#ECEEF0")}
DASHES = {"solid": "", "dash": "9 5", "dashdot": "9 4 2 4", "dot": "2 4"}
SIZES = {
    "note below a figure": palette.SMALL_PX,
    "text, labels, controls": palette.TEXT_PX,
    "title of a figure": palette.TITLE_PX,
    "heading of a page": palette.HEADING_PX,
}
MEANINGS = {
    "evidence for a code": (palette.FOR, "+0.8"),
    "evidence against it": (palette.AGAINST, "−0.8"),
    "ECGs with the code": (palette.WITH_CODE, "◆"),
    "ECGs without it": (palette.WITHOUT_CODE, "●"),
    "baseline, chance, what is off": (palette.GRAY, "┄"),
}
WAVE = "q18 0 24 0 t8 0 l4 5 l6 -26 l6 33 l5 -12 q14 0 20 0 q12 -14 24 0 t40 0"
PROSE = """# Colors, type and controls

One palette for figures, widgets, the web page and the docs. It is defined in `lamae_toolkit/palette.py`; everything
else imports it, and `tests/test_palette.py` holds the style sheets and scripts to it. The colors are those of Okabe and
Ito, which the color-blind can tell apart. A color is never alone: a dash, a mark or a sign says the same, and no text
says "the blue line".

This page is made by `python tools/look_page.py`.

"""


def main() -> None:
    """Write the page, or compare it."""
    page = PROSE + "".join(
        f"## {heading}\n\n{drawn}\n\n{words}\n\n"
        for heading, drawn, words in (
            ("Models", _sheet(_models), "The same color, dash and mark in every figure: `model_looks(names)`."),
            ("Meanings", _sheet(_meanings), "What an ECG or a lead is, next to the sign that says it without color."),
            ("Type sizes", _sheet(_sizes), "Four sizes, in the font of the reader's system."),
            ("Controls", _controls(), CONTROLS),
        )
    )
    page = page.rstrip("\n") + "\n"
    if "--check" not in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text("utf-8") != page:
        sys.exit(f"{PAGE.name} is out of date: run python tools/look_page.py")


def _sheet(draw) -> str:
    """The same examples on a light and on a dark ground, next to each other."""
    boxes = []
    for name, (ground, ink) in GROUNDS.items():
        rows, height = draw(name == "dark", ink)
        boxes.append(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 380 {height}" width="380" role="img"'
            f' aria-label="Examples on a {name} page" style="background:{ground};max-width:100%"'
            f' font-family="system-ui, sans-serif" font-size="{palette.TEXT_PX}">{"".join(rows)}</svg>'
        )
    return f"<p>{' '.join(boxes)}</p>"


def _shade(color: str, dark: bool) -> str:
    return palette.DARK.get(color, color if color != palette.BLACK else "#FFFFFF") if dark else color


def _models(dark: bool, ink: str) -> tuple[list[str], int]:
    rows = []
    for number, (name, look) in enumerate(MODEL_LOOKS.items()):
        y, color = 30 + 34 * number, _shade(look.color, dark)
        rows.append(
            f'<path d="M12 {y} {WAVE}" fill="none" stroke="{color}" stroke-width="2"'
            f' stroke-dasharray="{DASHES[look.dash]}"/>'
            f'<text x="200" y="{y + 4}" fill="{ink}">{name}</text>'
        )
    return rows, 34 * len(rows) + 20


def _meanings(dark: bool, ink: str) -> tuple[list[str], int]:
    rows = []
    for number, (name, (color, sign)) in enumerate(MEANINGS.items()):
        y = 26 + 30 * number
        rows.append(
            f'<rect x="12" y="{y - 14}" width="60" height="18" fill="{_shade(color, dark)}"/>'
            f'<text x="84" y="{y}" fill="{ink}">{sign}</text><text x="130" y="{y}" fill="{ink}">{name}</text>'
        )
    return rows, 30 * len(rows) + 10


def _sizes(dark: bool, ink: str) -> tuple[list[str], int]:
    rows = [
        f'<text x="12" y="{28 + 32 * number}" fill="{ink}" font-size="{px}">{name}, {px} px</text>'
        for number, (name, px) in enumerate(SIZES.items())
    ]
    return rows, 32 * len(rows) + 12


CONTROLS = f"""Lists, buttons and sliders are those of ipywidgets, so that they look like the notebook around them, in
light and dark; a control that has the focus has an outline of 3 px in `{palette.ACCENT}`. A list stands above the
figure that it changes, within one screen. Plotly's toolbar stands upright in the right margin of a figure,
{TOOLBAR_PX} px wide, and covers no word. Every figure is as wide as its place."""


def _controls() -> str:
    style = "padding:3px 10px;border:1px solid #888;border-radius:2px"
    return (
        f'<p><span style="{style}">button</span> <span style="{style};outline:3px solid {palette.ACCENT};'
        f'outline-offset:1px">button with the focus</span> <span style="{style}">list ▾</span></p>'
    )


if __name__ == "__main__":
    main()
