"""The course as it reads after a real run, for GitHub and for the documentation site:

    python tools/course.py                     all notebooks, in their order, in one folder: about half an hour
    python tools/course.py 35_baselines           only this notebook; the pages of the others stay
    python tools/course.py --fast              the tiny run that only checks that every cell works
    python tools/course.py --mark-older        run nothing: pages of a notebook that has changed since say so

Notebooks are kept without results. This runs them and writes `docs/course/NN_name.md` with a folder of pictures, and an
index, `docs/course/README.md`. The old pages stay until the new ones are complete. Needs Chromium.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from course_page import Pictures, linked, page
from course_pictures import Draw, plotly_in_chromium
from lamae_toolkit.errors import ECGError
from lamae_toolkit.files import atomic_write, write_json
from lamae_toolkit.parallel import machine

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS, COURSE = ROOT / "notebooks", ROOT / "docs" / "course"
INDEX, RUNS = "README.md", "runs.json"
OLDER = "The notebook has changed since version"
CELL_TIMEOUT_S = 3600
HEAD = """# The course, after a run

The notebooks in `notebooks/` are kept without results. These pages show them with the results of
a real run: prose, code, tables and figures. Where a notebook says **Predict, then look**, its results are folded, so
that you can predict first. Widgets are pictures here; `python start.py lab` opens the
notebooks. For research and teaching, not for diagnosis.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks, such as 35_baselines; by default all of them")
    parser.add_argument("--fast", action="store_true", help="the tiny run, whose numbers are meaningless")
    parser.add_argument("--mark-older", action="store_true", help="run nothing, say in old pages that they are old")
    chosen = parser.parse_args()
    if chosen.mark_older:
        mark_older(NOTEBOOKS, COURSE)
        return
    try:
        write_course(NOTEBOOKS, COURSE, chosen.names, fast=chosen.fast)
    except ECGError as error:
        sys.exit(str(error))


def write_course(notebooks: Path, course: Path, names: list[str], *, fast: bool = False) -> None:
    """Run these notebooks (all, if none is named) and write their pages and the index; on an error nothing changes."""
    paths = {path.stem: path for path in sorted(notebooks.glob("*.ipynb"))}
    if unknown := set(names) - set(paths):
        raise ECGError(f"There is no notebook {min(unknown)}; choose from {', '.join(paths)}.")
    ran, runs = {}, {}
    with tempfile.TemporaryDirectory() as machine_folder:
        folder = Path(machine_folder).resolve() / "notebooks"
        folder.mkdir()
        for name in [name for name in paths if name in names or not names]:
            start = time.perf_counter()
            ran[name] = run(paths[name], folder, fast=fast)
            runs[name] = {
                "date": date.today().isoformat(),
                "seconds": round(time.perf_counter() - start),
                "fast": fast,
                "machine": machine(),
                "version": version("lamae-toolkit"),
            }
            print(f"{name}: {runs[name]['seconds']} s", flush=True)
        neutral = {str(folder): "notebooks", sys.prefix: ".venv", str(ROOT): "lamae-toolkit"}
        with plotly_in_chromium() as draw, atomic_write(course, replaces=RUNS) as partial:
            if course.exists():
                shutil.copytree(course, partial)
                runs = json.loads((partial / RUNS).read_text(encoding="utf-8")) | runs
            partial.mkdir(exist_ok=True)
            for name, notebook in ran.items():
                write_page(partial, name, notebook, runs[name], draw, neutral)
            finish(partial, paths, {name: runs[name] for name in paths if name in runs})


def differing_cell(path: Path, text: str) -> str | None:
    """The first cell of a notebook that its page does not show as it is now, by its id; None if all are there."""
    for cell in nbformat.read(path, as_version=4).cells:
        shown = f"```python\n{cell.source}\n```" if cell.cell_type == "code" else linked(cell.source).partition("\n")[0]
        if re.sub(r"\n{3,}", "\n\n", shown) not in text:  # a page has one blank line where code has two
            return cell.id
    return None


def mark_older(notebooks: Path, course: Path) -> None:
    """Let each page whose notebook has changed since say of which version it is."""
    runs = json.loads((course / RUNS).read_text(encoding="utf-8"))
    for name, facts in runs.items():
        page_path = course / f"{name}.md"
        text = page_path.read_text(encoding="utf-8")
        if OLDER not in text and differing_cell(notebooks / f"{name}.ipynb", text) is not None:
            end = f" [All pages]({INDEX})"
            page_path.write_text(text.replace(end, f" **{OLDER} {facts['version']}.**{end}", 1), encoding="utf-8")


def run(path: Path, folder: Path, *, fast: bool) -> NotebookNode:
    """The notebook with the results of all its cells, run in this folder."""
    notebook = nbformat.read(path, as_version=4)
    private = {name: str(folder.parent / name) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    environment = os.environ | private | {"LAMAE_FAST": "01"[fast], "PLOTLY_RENDERER": "plotly_mimetype"}
    environment["LAMAE_PICTURES"] = "1"
    started: list[str] = []
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT_S, resources={"metadata": {"path": str(folder)}})
    client.on_cell_start = lambda cell, cell_index: started.append(cell.id)
    try:
        return client.execute(env=environment)
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        reason = str(error).strip().partition("\n")[0]
    where = f"cell {started[-1]}" if started else "start"
    raise ECGError(f"{path.name} stopped at its {where}, and no page was written: {' '.join(reason.split())}")


def write_page(course: Path, name: str, notebook: NotebookNode, facts: dict, draw: Draw, neutral: dict) -> None:
    """Write the page of a notebook that was run, and replace the pictures of an earlier run."""
    pictures = Pictures(f"{name}_files", draw)
    mode = "in the **tiny mode, whose numbers are meaningless**" if facts["fast"] else "in full"
    note = (
        f"> [`{name}.ipynb`](../../notebooks/{name}.ipynb) as it reads after a run {mode} on {facts['date']},"
        f" {_minutes(facts['seconds'])}. [All pages]({INDEX})"
    )
    (course / f"{name}.md").write_text(page(notebook, pictures, note, neutral), encoding="utf-8")
    shutil.rmtree(course / pictures.folder, ignore_errors=True)
    for file, png in pictures.files.items():
        (course / pictures.folder).mkdir(exist_ok=True)
        (course / pictures.folder / file).write_bytes(png)


def finish(course: Path, paths: dict[str, Path], runs: dict[str, dict]) -> None:
    """Write the index and the record of the runs; remove pages of notebooks that no longer exist."""
    for old in course.iterdir():
        if re.match(r"\d\d_", old.name) and old.stem.removesuffix("_files") not in paths:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    (course / INDEX).write_text(index({name: nbformat.read(paths[name], 4) for name in runs}, runs), encoding="utf-8")
    write_json(course / RUNS, runs)


def index(notebooks: dict[str, NotebookNode], runs: dict[str, dict]) -> str:
    """The index: what each notebook teaches, and when and on which machine it was run."""
    parts = [HEAD]
    for name, notebook in notebooks.items():
        first, facts = notebook.cells[0].source, runs[name]
        title = re.match(r"# (.+)", first).group(1)
        learned = re.search(r"\*\*You will learn\*\*\n\n((?:- .+\n)+)", first).group(1)
        minutes = re.search(r"\*\*Time:\*\* ([^.]+)\.", first).group(1)
        mode = ", tiny run" if facts["fast"] else ""
        parts.append(f"## [{title}]({name}.md)\n\nTime: {minutes}.\n\n{linked(learned)}")
        parts.append(
            f"<sub>Run on {facts['date']}, {_minutes(facts['seconds'])}{mode}: {facts['machine']},"
            f" lamae-toolkit {facts['version']}.</sub>\n"
        )
    parts.append(
        "Written by `python tools/course.py`; after a change to a notebook, run `python tools/course.py NN_name`.\n"
    )
    return "\n".join(parts)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


if __name__ == "__main__":
    main()
