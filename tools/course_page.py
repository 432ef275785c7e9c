"""A notebook after a run as a Markdown page: prose, code, tables and still pictures, without scripts."""

import base64
import re
from dataclasses import dataclass, field
from html import unescape

from nbconvert.exporters import MarkdownExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output

from course_pictures import Draw, small_png

PNG, PLOTLY = "image/png", "application/vnd.plotly.v1+json"
VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
QUESTION = "**Predict, then look.**"
FOLD, UNFOLD = "<details><summary>Look</summary>\n", "</details>"
NOTEBOOK = re.compile(r"\[(\d\d_\w+)\]\(\1\.ipynb\)")
PROGRESS = re.compile(r"\d+%\|.*\|")
"""A progress bar that tqdm writes as text."""
LIVE = "*In the running notebook this is a widget.*"


@dataclass
class Pictures:
    """The pictures of one page, by their names in its folder."""

    folder: str
    draw: Draw
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, cell: str, png: bytes, words: str) -> str:
        """Keep a picture and return the Markdown that shows it. words: its alternative text."""
        names = (f"{cell}{number}.png" for number in ("", *(f"-{count}" for count in range(2, 100))))
        name = next(name for name in names if name not in self.files)
        self.files[name] = small_png(png)
        words = re.sub(r"\s+", " ", re.sub(r"[\[\]]|<[^>]*>", " ", unescape(words))).strip()
        return f"![{words}]({self.folder}/{name})"

    def add_figure(self, cell: str, figure: dict) -> str:
        """The same for the JSON of a plotly figure; its title is the alternative text."""
        title = figure.get("layout", {}).get("title") or {}
        return self.add(cell, self.draw(figure), title.get("text") or f"Figure: {cell}")


def page(notebook: NotebookNode, pictures: Pictures, note: str, neutral: dict[str, str]) -> str:
    """The Markdown page of a notebook that was run; its figures are added to `pictures`.

    note: what is written below the title. neutral: replacements for paths of this machine that outputs may contain.
    """
    state = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    CoalesceStreamsPreprocessor().preprocess(notebook, {})
    looking = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            looking = QUESTION in cell.source
            cell.source = linked(cell.source)
        elif cell.cell_type == "code":
            shown = [text for output in cell.outputs for text in _shown(output, cell, pictures, state)]
            for path, word in neutral.items():
                shown = [text.replace(path, word) for text in shown]
            shown = [FOLD, *shown, UNFOLD] if looking and shown else shown
            cell.outputs = [new_output("display_data", {"text/markdown": text}) for text in shown]
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{note}\n{rest}"
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def linked(source: str) -> str:
    """Prose in which the names of notebooks are links to their pages."""
    return NOTEBOOK.sub(r"[\1](\1.md)", source)


def _shown(output: NotebookNode, cell: NotebookNode, pictures: Pictures, state: dict) -> list[str]:
    """An output as Markdown; empty for a progress bar."""
    if output.output_type == "stream":
        return _text("\n".join(line for line in output.text.split("\n") if not PROGRESS.search(line)))
    data = output.data
    if PLOTLY in data:
        return [pictures.add_figure(cell.id, data[PLOTLY])]
    if PNG in data:
        return [pictures.add(cell.id, base64.b64decode(data[PNG]), data.get("text/plain", cell.id))]
    if VIEW in data:
        return _widget(data[VIEW]["model_id"], cell, pictures, state)
    if "text/html" in data:
        return [table(data["text/html"])]
    return [data["text/markdown"]] if "text/markdown" in data else _text(data.get("text/plain", ""))


def _text(text: str) -> list[str]:
    text = re.sub(r"\x1b\[[\d;]*m", "", text).strip("\n")
    return [f"```text\n{text}\n```\n"] if text.strip() else []


def _widget(model: str, cell: NotebookNode, pictures: Pictures, state: dict) -> list[str]:
    """The figures in a widget, unless the cell has a picture of it."""
    parts = list(_parts(model, state))
    if any("Progress" in part["model_name"] for part in parts):
        return []
    if any(PNG in output.get("data", {}) for output in cell.outputs):
        return []
    shown = [output.get("data", {}) for part in parts for output in part["state"].get("outputs", ())]
    return [pictures.add_figure(cell.id, data[PLOTLY]) for data in shown if PLOTLY in data] + [LIVE]


def _parts(model: str, state: dict):
    """A widget and all its children."""
    if model in state:
        yield state[model]
        for child in state[model]["state"].get("children", ()):
            yield from _parts(child.removeprefix("IPY_MODEL_"), state)


def table(html: str) -> str:
    """A pandas table as plain HTML: without its style and its count of rows, one line per row."""
    markup = re.search(r"<table.*?</table>", html, flags=re.DOTALL).group()
    markup = re.sub(r"\s*\n\s*", "", re.sub(r"<\w[^>]*>", _bare, markup))
    return re.sub(r"(?=<tr|</table)", "\n", markup) + "\n"


def _bare(tag: re.Match) -> str:
    """A tag without attributes but the columns and rows that it spans; numbers are right-aligned."""
    spans = re.findall(r" (?:row|col)span=\"\d+\"", tag.group())
    return re.match(r"<\w+", tag.group()).group() + "".join(spans) + (" align=right>" if "<tr" in tag.group() else ">")
