"""What the README says is so."""

import re
from pathlib import Path

from lamae_toolkit.cli.main import main
from lamae_toolkit.experiments.comparison.report import joined, markdown_table, published_results

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (training,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "model(" in block]
    smaller = training.replace("ecgs=500", "ecgs=40").replace("range(100)", "range(2)")
    assert smaller != training
    names: dict = {}
    exec(compile(smaller, "README.md", "exec"), names)
    assert names["loss"].item() > 0


def test_the_table_of_rivals_is_that_of_the_finished_results():
    results = joined(*map(published_results, ("ptbxl", "ptbxl_trained", "ptbxl_finetuned")))
    assert markdown_table(results, "superclasses") in README


def test_every_link_and_picture_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert link.startswith("https://") or (ROOT / link).is_file(), link


def test_the_notebooks_of_the_readme_are_the_notebooks():
    listed = re.findall(r"^\| `(\d\d_[a-z0-9_]+)`", README, re.MULTILINE)
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_commands_of_the_readme_are_commands(capsys):
    for command in re.findall(r"(?<![\w.])lamae ([a-z]+)", README):
        try:
            main([command, "--help"])
        except SystemExit as end:
            assert end.code == 0, command
    assert "usage: lamae" in capsys.readouterr().out
