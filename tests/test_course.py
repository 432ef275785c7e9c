"""The pages of the course: plain Markdown with the results of a run of the notebooks."""

import base64
import io
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from nbformat import v4
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))

import course
from course_page import LIVE, PLOTLY, STATE, VIEW, Pictures, page
from course_pictures import MAX_BYTES, WIDTH_PX, plotly_in_chromium, small_png
from lamae_toolkit.errors import ECGError

FIRST = """# 00 · Start

**You will learn**

- to look;

**Time:** about 5 minutes. **You need:** nothing."""
QUESTION = "**Predict, then look.** What comes?"
SOLUTION = "<details><summary>Solution</summary>\n\n```python\nx = 1\n```\n\n</details>"


def png(width: int = 40, height: int = 20, pixels: np.ndarray | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.new("RGB", (width, height), "white") if pixels is None else Image.fromarray(pixels)
    image.save(file, "png")
    return file.getvalue()


def shown(*cells, widgets: dict | None = None, draw=lambda figure: png()) -> tuple[str, Pictures]:
    """The page of a notebook of these cells, and its pictures."""
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(FIRST), *cells])
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["widgets"] = {STATE: {"state": widgets or {}}}
    pictures = Pictures("00_files", draw)
    return page(notebook, pictures, "> of a run", {"/somewhere/else": "notebooks"}), pictures


def code(source: str, *outputs: dict, name: str = "cell"):
    return v4.new_code_cell(source, id=name, outputs=list(outputs))


def stream(text: str, name: str = "stdout") -> dict:
    return v4.new_output("stream", name=name, text=text)


def data(**kinds) -> dict:
    return v4.new_output("display_data", {kind.replace("_", "/"): value for kind, value in kinds.items()})


def widget(model: str, text: str) -> dict:
    return v4.new_output("display_data", {VIEW: {"model_id": model}, "text/plain": text})


def test_printed_text_follows_its_code():
    text, pictures = shown(code("print(1)", stream("1\n"), stream("2\n")))
    assert "> of a run" in text.split("**You will learn**")[0]
    assert "```python\nprint(1)\n```\n\n```text\n1\n2\n```" in text
    assert pictures.files == {}


def test_figure_becomes_a_picture_with_its_title_as_alternative_text():
    figure = {"data": [], "layout": {"title": {"text": "<b>How</b> many [ECGs]?"}}}
    rendered = []
    output = v4.new_output("display_data", {PLOTLY: figure, "text/html": "<script>plot()</script>"})
    text, pictures = shown(code("figure", output, output), draw=lambda given: rendered.append(given) or png())
    assert "![How many ECGs ?](00_files/cell.png)" in text and "(00_files/cell-2.png)" in text
    assert list(pictures.files) == ["cell.png", "cell-2.png"] and rendered == [figure, figure]
    assert "script" not in text


def test_widget_becomes_its_still_picture():
    still = data(image_png=base64.b64encode(png()).decode(), text_plain="An ECG\nof 12 leads.")
    text, pictures = shown(code("ECGPaper(ecg)", still, widget("a", "VBox(children=(FigureWidget(...")))
    assert "![An ECG of 12 leads.](00_files/cell.png)" in text
    assert len(pictures.files) == 1
    assert "VBox" not in text and LIVE not in text


def test_widget_without_a_picture_becomes_pictures_of_its_figures():
    figure = {"data": [{"type": "bar", "y": [1.0, 2.5]}], "layout": {}}
    part = {
        "model_name": "OutputModel",
        "state": {"outputs": [{"output_type": "display_data", "data": {PLOTLY: figure}}]},
    }
    box = {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_figure"]}}
    rendered = []
    text, _ = shown(
        code("box", widget("box", "VBox()")),
        widgets={"box": box, "figure": part},
        draw=lambda figure: rendered.append(figure) or png(),
    )
    assert rendered == [figure]
    assert "(00_files/cell.png)" in text and LIVE in text and "VBox" not in text


def test_progress_bars_are_left_out():
    bar = {
        "bar": {"model_name": "HBoxModel", "state": {"children": ["IPY_MODEL_p"]}},
        "p": {"model_name": "FloatProgressModel", "state": {}},
    }
    written = stream("simulating:   0%|          | 0/4\rsimulating: 100%|####| 4/4\n", "stderr")
    text, _ = shown(code("simulate()", widget("bar", "simulating:   0%|   | 0/400"), written), widgets=bar)
    assert "simulating" not in text and LIVE not in text
    assert text.rstrip().endswith("```python\nsimulate()\n```")


def test_table_keeps_its_numbers_without_style():
    columns = pd.MultiIndex.from_product([["AUROC"], ["low", "high"]])
    frame = pd.DataFrame([[0.5, 0.75]], index=["a < b"], columns=columns)
    text, _ = shown(code("table", data(text_html=frame.to_html(notebook=True), text_plain=str(frame))))
    assert "style" not in text and "<div" not in text and "1 rows" not in text
    assert '<th colspan="2">AUROC</th>' in text
    assert "<th>a &lt; b</th><td>0.5</td><td>0.75</td></tr>" in text
    (found,) = re.findall(r"<table.*</table>", text, flags=re.DOTALL)
    assert "\n\n" not in found  # an empty line would end it in Markdown


def test_results_after_a_question_are_folded_until_the_next_prose():
    text, _ = shown(
        v4.new_markdown_cell(QUESTION),
        code("a()", stream("one\n"), name="a"),
        code("b = 1", name="b"),
        code("c()", stream("three\n"), name="c"),
        v4.new_markdown_cell("It was this."),
        code("d()", stream("four\n"), name="d"),
        v4.new_markdown_cell(SOLUTION),
    )
    folded = re.findall(r"<details><summary>Look</summary>\n\n(.*?)\n\n</details>", text, flags=re.DOTALL)
    assert folded == ["```text\none\n```", "```text\nthree\n```"]
    assert "```text\nfour\n```" in text
    assert SOLUTION in text
    assert text.count("<details>") == text.count("</details>") == 3


def test_notebook_names_become_links_and_local_paths_are_replaced():
    text, _ = shown(
        v4.new_markdown_cell("**Next:** [10_explore_ecgs](10_explore_ecgs.ipynb) looks."),
        code("main()", stream("Open /somewhere/else/runs/page.html in a browser.\n")),
    )
    assert "**Next:** [10_explore_ecgs](10_explore_ecgs.md) looks." in text
    assert "Open notebooks/runs/page.html in a browser." in text


def test_pictures_are_limited_in_colors_bytes_and_width():
    rng = np.random.default_rng(0)
    plain = Image.open(io.BytesIO(small_png(png(1200, 600))))
    assert plain.mode == "P" and plain.size == (WIDTH_PX, WIDTH_PX // 2)
    lines = np.repeat(rng.integers(0, 255, (300, 9, 3), dtype=np.uint8), 100, axis=1)  # many colors
    lines[:, ::3] = 255
    few = small_png(png(pixels=lines))
    assert len(few) <= MAX_BYTES < len(png(pixels=rng.integers(0, 255, (300, 900, 3), dtype=np.uint8)))
    assert len(Image.open(io.BytesIO(few)).getcolors()) <= 64


@pytest.mark.slow
def test_plotly_renders_offline(chromium):
    figure = go.Figure(go.Bar(x=["I", "II"], y=np.array([1.0, 2.0]), marker_color="#0072B2"), {"height": 300})
    with plotly_in_chromium() as draw:
        image = Image.open(io.BytesIO(draw(json.loads(figure.to_json())))).convert("RGB")
    assert image.size == (WIDTH_PX, 300)
    blue = (np.asarray(image) == (0, 0x72, 0xB2)).all(axis=2)
    assert blue.sum() > 20_000


def write_notebook(path: Path, *sources: str) -> None:
    cells = [v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources, start=1)]
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell(FIRST, id="title"), *cells]), path)


@pytest.mark.slow
def test_failing_notebook_is_reported_with_its_cell(tmp_path):
    write_notebook(tmp_path / "00_start.ipynb", "x = 1", "1 / 0", "x = 2")
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(ECGError, match=r"00_start\.ipynb stopped at its cell cell-2.*ZeroDivisionError: division by"):
        course.run(tmp_path / "00_start.ipynb", folder, fast=True)


@pytest.mark.slow
def test_course_is_written_completely_or_not_at_all(tmp_path, chromium):
    notebooks, pages = tmp_path / "notebooks", tmp_path / "course"
    notebooks.mkdir()
    figure = "import plotly.graph_objects as go\ngo.Figure(go.Bar(y=[1, 2]))"
    write_notebook(notebooks / "00_start.ipynb", figure, "import os; print(os.environ['LAMAE_FAST'], os.getcwd())")
    write_notebook(notebooks / "10_next.ipynb", "open('note', 'w').close()")
    course.write_course(notebooks, pages, [], fast=True)
    first = (pages / "00_start.md").read_text()
    assert "```text\n1 notebooks\n```" in first and "tiny mode" in first
    assert (pages / "00_start_files" / "cell-1.png").read_bytes().startswith(b"\x89PNG")
    index = (pages / "README.md").read_text()
    assert "## [00 · Start](00_start.md)" in index and "- to look;" in index and "about 5 minutes" in index

    write_notebook(notebooks / "10_next.ipynb", "1 / 0")
    with pytest.raises(ECGError, match="10_next"):
        course.write_course(notebooks, pages, [])
    assert (pages / "00_start.md").read_text() == first

    (notebooks / "10_next.ipynb").rename(notebooks / "20_other.ipynb")
    write_notebook(notebooks / "20_other.ipynb", "print(6 * 7)")
    course.write_course(notebooks, pages, ["20_other"])  # the page of the other notebook stays, one is gone
    assert (pages / "00_start.md").read_text() == first
    assert "42" in (pages / "20_other.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["course", "notebooks"]
    assert not (pages / "10_next.md").exists() and "10_next" not in (pages / "README.md").read_text()


def test_unknown_notebook_is_refused(tmp_path):
    with pytest.raises(ECGError, match=r"no notebook 35_baslines; choose from .*35_baselines"):
        course.write_course(course.NOTEBOOKS, tmp_path / "course", ["35_baslines"])


PAGES = sorted(path.stem for path in course.NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("name", PAGES)
def test_page_matches_its_notebook(name):
    again = f"docs/course/{name}.md is of an older {name}.ipynb: run `python tools/course.py {name}`"
    written = course.COURSE / f"{name}.md"
    assert written.exists(), again
    text = written.read_text(encoding="utf-8")
    assert f"](../../notebooks/{name}.ipynb)" in text, again
    differing = course.differing_cell(course.NOTEBOOKS / f"{name}.ipynb", text)
    if course.OLDER in text:  # allowed between releases, for a page of an earlier version that says so
        runs = json.loads((course.COURSE / "runs.json").read_text(encoding="utf-8"))
        assert f"{course.OLDER} {runs[name]['version']}." in text and runs[name]["version"] != version("lamae-toolkit")
        assert differing is not None, f"docs/course/{name}.md is of this notebook and says that it is not"
    else:
        assert differing is None, f"{again} (its cell {differing} is another)"


def test_course_has_one_page_per_notebook_from_full_runs():
    runs = json.loads((course.COURSE / "runs.json").read_text(encoding="utf-8"))
    assert sorted(runs) == sorted(path.stem for path in course.COURSE.glob("[0-9]*.md")) == PAGES
    index = (course.COURSE / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[.+\]\((.+)\.md\)$", index, re.MULTILINE) == PAGES
    for name, facts in runs.items():
        assert not facts["fast"], f"the page of {name} is of a tiny run: run `python tools/course.py {name}`"


def test_pages_are_plain_markdown_with_working_links_and_small():
    pictures = {path.relative_to(course.COURSE).as_posix() for path in course.COURSE.rglob("*.png")}
    used = set()
    for path in course.COURSE.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            if not link.startswith("https://"):
                assert (course.COURSE / link).exists(), f"{path.name}: {link} leads nowhere"
        used |= set(re.findall(r"\(([^()]+\.png)\)", text))
        for never in ("<script", "<style", "FigureWidget({", "Box(children", "data:image", "it/s]", "0x7", "Traceback"):
            assert never not in text, f"{path.name}: {never}"
        foreign = re.findall(r"(?<![\w./:])/(?:home|root|tmp|usr|opt|var|mnt|work|Users)/\S*", text)
        assert not foreign, f"{path.name} names paths of a machine: {foreign}"
        assert text.count("<details>") == text.count("</details>")
    assert pictures == used
    assert max((course.COURSE / name).stat().st_size for name in pictures) <= MAX_BYTES
    assert sum(path.stat().st_size for path in course.COURSE.rglob("*") if path.is_file()) <= 4_000_000
