"""One palette: a model has one color everywhere, and nothing else in the repository names a color of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lamae_toolkit import palette
from lamae_toolkit.model.baselines import COMPARED_MODELS
from lamae_toolkit.palette import BLUE, DARK, MODEL_LOOKS, VERMILION, model_looks

ROOT = Path(__file__).parents[1]
OKABE_ITO = {value.upper() for value in vars(palette).values() if isinstance(value, str) and value.startswith("#")}


def luminance(color: str) -> float:
    """WCAG's relative luminance of a color like #0072B2."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_lamae_and_its_twin_have_their_colors_wherever_they_appear():
    looks = model_looks(["independent leads", "mine", "LAMAE", "LAMAE, fine-tuned"])
    assert looks["LAMAE"].color == looks["LAMAE, fine-tuned"].color == BLUE == "#0072B2"
    assert looks["independent leads"].color == VERMILION == "#D55E00"
    assert looks["mine"].color not in (BLUE, VERMILION)
    assert list(model_looks(["b", "a"])) == ["b", "a"] and VERMILION not in {look.color for look in looks.values()} - {
        VERMILION
    }
    assert set(COMPARED_MODELS) <= set(MODEL_LOOKS)
    compared = [MODEL_LOOKS[name] for name in COMPARED_MODELS]
    assert len({look.color for look in compared}) == len({look.symbol for look in compared}) == len(compared)


def test_unknown_models_have_looks_of_their_own_and_never_that_of_the_twin():
    looks = model_looks([f"model {number}" for number in range(7)])
    assert len(set(looks.values())) == 7 and VERMILION not in {look.color for look in looks.values()}


@pytest.mark.parametrize("color", [BLUE, VERMILION])
def test_models_can_be_seen_on_light_and_on_dark_pages(color):
    assert contrast(color, "#FFFFFF") >= 3 and contrast(DARK[color], "#16181B") >= 4.5


def test_only_the_palette_names_its_colors_in_python():
    folders = (ROOT / "lamae_toolkit", ROOT / "widgets", ROOT / "tools")
    for file in (path for folder in folders for path in folder.rglob("*.py") if "node_modules" not in path.parts):
        named = {found.upper() for found in re.findall(r"#[0-9a-fA-F]{6}\b", file.read_text("utf-8"))}
        if file.name not in ("palette.py", "look_page.py", "slides.py"):
            assert not named & {BLUE.upper(), VERMILION.upper()}, file


def test_style_sheets_and_scripts_use_the_colors_of_the_palette():
    page = (ROOT / "widgets/page/page.css").read_text("utf-8")
    light, dark = (re.findall(rf"--{name}: (#\w+);", page) for name in ("lamae", "twin"))
    assert [color.upper() for color in light] == [BLUE, DARK[BLUE]]
    assert [color.upper() for color in dark] == [VERMILION, DARK[VERMILION]]
    grid = (ROOT / "widgets/page/grid.js").read_text("utf-8")
    assert re.search(rf'lamae: {{ color: "{BLUE}".*twin: {{ color: "{VERMILION}"', grid)
    for file in (*(ROOT / "widgets").rglob("*.css"), *(ROOT / "widgets").rglob("*.js")):
        for color in re.findall(r"outline:[^;]*?(#[0-9a-fA-F]{6})", file.read_text("utf-8")):
            assert color.upper() == palette.ACCENT, file


def test_the_page_of_examples_is_up_to_date():
    done = subprocess.run([sys.executable, "tools/look_page.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
