"""The notebooks run from the first cell to the last, exercises included, and are kept without results."""

import ast
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import REAL_DATA

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
MAX_LINES = 21
SWITCH = "RETRAIN = False"
ASKED_ONLY = {"30_pretrain_lamae"}
"""Notebooks that train nothing unless their switch is set."""
GUARD = """
import functools
import lamae_toolkit.training.trainer as trainer_
pretrain_, asked_ = trainer_.pretrain, False

@functools.wraps(pretrain_)
def guarded(*arguments, **named):
    assert asked_, "it trains without being asked"
    return pretrain_(*arguments, **named)

trainer_.pretrain = guarded
"""
IMPORTS = ("import lamae_toolkit as lt", "from lamae_toolkit.experiments import ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for all notebooks together, so that the model is trained once."""
    path = tmp_path_factory.mktemp("notebooks")
    yield path
    shutil.rmtree(path)


def solutions(notebook) -> list[str]:
    """The code of the folded solutions."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown" and "<details>" in cell.source]
    return [code for text in texts for code in re.findall(r"```python\n(.*?)```", text, flags=re.S)]


def switched_on(notebook) -> list:
    """The cells that train only if asked, once more with their switch on, in their order."""
    again = [cell for cell in notebook.cells if cell.cell_type == "code" and "if RETRAIN:" in cell.source]
    sources = [cell.source.replace(SWITCH, "RETRAIN = True") for cell in again]
    # A run in the background must end before the kernel does.
    wait = ["if 'monitor' in globals(): monitor.wait()"]
    return [nbformat.v4.new_code_cell(source) for source in (["RETRAIN = True", *sources, *wait] if sources else [])]


# Last first: a notebook must not need that another one was run before it.
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[::-1], ids=lambda path: path.stem)
def test_notebook_and_its_solutions_run(path, folder, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    asked = [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    if path.stem in ASKED_ONLY:
        # From top to bottom nothing is trained; then every cell with a switch, and what follows it, as a reader asks.
        asked = [nbformat.v4.new_code_cell("asked_ = True"), *switched_on(notebook), *asked]
        notebook.cells.insert(0, nbformat.v4.new_code_cell(GUARD))
    notebook.cells += asked
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("LAMAE_FAST", "1")
    # Real ECGs come from the local folder; where there is none, the notebooks fall back to simulated ones.
    if (REAL_DATA / "ptb-xl").is_dir():
        monkeypatch.setenv("LAMAE_PTBXL", str(REAL_DATA / "ptb-xl"))
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute()  # an error in a cell is raised here, with the cell
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs
    # Progress bars are drawn on stderr only where there are no widgets, so nothing else may be written to it.
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


@pytest.mark.parametrize("name", sorted(ASKED_ONLY))
def test_training_has_a_switch_that_is_off(name):
    path = next(path for path in NOTEBOOKS if path.stem == name)
    code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    assert code.count(SWITCH) == 1 and "RETRAIN = True" not in code


def test_they_are_numbered_with_room_between():
    assert [path.name[:2] for path in NOTEBOOKS] == ["00", "10", "20", "30", "35", "40", "50", "60", "70"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", cell.id), f"give the cell {cell.id} a name"
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, f"cell {cell.id} has results in it"
            lines = [line for line in cell.source.split("\n") if line.strip()]
            assert len(lines) <= MAX_LINES, f"cell {cell.id} is long"


def imports(code: str) -> list[str]:
    """The import statements of the toolkit in this code, wherever they stand."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import) and any(name.name.split(".")[0] == "lamae_toolkit" for name in node.names):
            found.append(ast.unparse(node))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lamae_toolkit":
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_only_the_public_face_is_imported(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"] + solutions(notebook)
    found = [statement for source in code for statement in imports(source)]
    assert found.count(IMPORTS[0]) == 1
    assert [statement for statement in found if not statement.startswith(IMPORTS)] == []


def test_an_import_from_inside_the_toolkit_is_noticed():
    code = (
        "def f():\n    from lamae_toolkit.model.lamae import LAMAE\nimport lamae_toolkit.plots as p, os\nimport numpy"
    )
    assert sorted(imports(code)) == [
        "from lamae_toolkit.model.lamae import LAMAE",
        "import lamae_toolkit.plots as p, os",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_teaches(path):
    notebook = nbformat.read(path, as_version=4)
    first, text = notebook.cells[0].source, "\n".join(cell.source for cell in notebook.cells)
    assert first.startswith(f"# {path.name[:2]} ") and "**You will learn**" in first and "**Time:**" in first
    assert first.count("\n- ") == 3
    for part in ("**Predict, then look.**", "## Exercise", "*Hint:*", "## What to remember", "**Next:**"):
        assert part in text, f"it lacks {part}"
    assert solutions(notebook)
    # Every exercise has a function that explains a wrong answer, and every solution has its answer checked by it.
    names = set(re.findall(r"^def (check\w*)\(", text, flags=re.MULTILINE))
    assert names
    for code in solutions(notebook):
        assert any(f"{name}(" in code for name in names), "a solution is not checked"


def test_notebooks_are_linked_and_exist():
    names = {path.name for path in NOTEBOOKS}
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        named, links = re.findall(r"\d\d_\w+\.ipynb", text), re.findall(r"\[(\d\d_\w+)\]\(\1\.ipynb\)", text)
        assert set(named) <= names and len(named) == len(links), f"{path.name} names a notebook without a link"
