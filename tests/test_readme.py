"""README and docs: their Python runs, and their commands and options exist."""

import re
from pathlib import Path

import pytest

from lamae_toolkit.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = ["README.md", "docs/index.md", *(f"docs/howto/{path.name}" for path in (ROOT / "docs" / "howto").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """The `lamae` commands of README and docs, in code blocks and in sentences, as words; placeholders stay."""
    found = set()
    for name in SHOWN:
        text = (ROOT / name).read_text(encoding="utf-8")
        lines = [line.partition("#")[0] for block in blocks(text, "") for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", text)
        found |= {line.strip() for line in lines if line.strip().startswith("lamae ")}
        found |= {f"lamae {line.split('lamae_toolkit.cli ')[1]}" for line in lines if "lamae_toolkit.cli " in line}
    return [line.split()[1:] for line in sorted(found)]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


@pytest.mark.timeout(300)
def test_the_python_of_the_readme_runs_in_its_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAMAE_PTBXL", raising=False)
    monkeypatch.setattr("lamae_toolkit.data.examples.PUBLISHED", "http://127.0.0.1:9/")  # nobody answers there
    reading, terms, training = blocks(README, "python")
    smaller = training.replace("ecgs=500", "ecgs=40").replace("range(100)", "range(2)")
    assert smaller != training
    names: dict = {}
    for block in (reading, terms, smaller):
        exec(compile(block, "README.md", "exec"), names)
    assert names["ecg"].signal_mv.shape[0] == 12
    values = names["terms"]
    assert len(values.codes) == 14 and "I45.10" in values.codes
    assert names["loss"].item() > 0


def test_the_pretraining_loop_of_the_docs_is_that_of_the_readme():
    loop = blocks(README, "python")[2].split("\n\n")[1]
    assert loop in (ROOT / "docs" / "howto" / "cohort.md").read_text(encoding="utf-8")


def test_the_readme_links_every_notebook_of_the_course_in_order():
    linked = re.findall(r"\(docs/course/(\d\d_\w+)\.md\)", README)
    assert linked == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_of_readme_and_docs_exist_with_their_options(words, capsys):
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    positional = words[: next((n for n, word in enumerate(words) if word.startswith("--")), len(words))]
    with pytest.raises(SystemExit) as end:
        main([*positional, "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and "usage: lamae" in shown
    assert options <= set(re.findall(r"--[a-z][\w-]*", shown)), f"lamae {' '.join(words)}"


def test_the_commands_of_start_are_those_of_start():
    shown = {word for name in SHOWN for word in re.findall(r"start\.py (\w+)", (ROOT / name).read_text("utf-8"))}
    help_text = (ROOT / "start.py").read_text(encoding="utf-8").split('"""')[1]
    assert shown and shown <= set(re.findall(r"start\.py (\w+)  ", help_text))
