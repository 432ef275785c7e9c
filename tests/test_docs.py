"""The documentation: links, tables, the picture of the packages, the API reference, and the site, opened offline."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, sync_playwright

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))

import check_links
import docs_site
import lamae_toolkit as lt
import package_picture
import results_tables
import slides
from check_notebooks import with_results
from docs_docstrings import docstring_markdown
from lamae_toolkit.experiments.transfer.report import transfer_tables

ROOT = Path(__file__).resolve().parents[1]
RESULTS_PAGE = ROOT / "docs" / "results" / "index.md"


def test_no_link_of_the_repository_leads_nowhere():
    assert check_links.problems() == []


def test_a_broken_link_or_anchor_is_reported(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# A `first` heading\n\n## Two: words\n")
    (tmp_path / "README.md").write_text(
        "# Title\n[a](docs/page.md#a-first-heading) [b](docs/page.md#two-words) [c](#title) [d](https://example.org/x)\n"
        "```\n[in code](nowhere.md)\n```\n[e](docs/other.md) [f](docs/page.md#three)\n"
    )
    assert check_links.problems(tmp_path) == [
        "README.md: docs/other.md leads to no file.",
        "README.md: docs/page.md#three leads to no heading of that page.",
    ]


def test_links_of_a_page_are_moved_to_the_site():
    text = "[own](../index.md#start) ![p](../ecg_paper.png) [card](../../CHANGELOG.md) [web](https://a.org/b.md)"
    moved, problems = docs_site.page_text(text, "docs/howto/your_ecg.md", "howto/your_ecg.md")
    assert moved == "[own](../index.md#start) ![p](../ecg_paper.png) [card](../changelog.md) [web](https://a.org/b.md)"
    assert problems == []
    moved, problems = docs_site.page_text("[s](docs/index.md) [t](tests/conftest.py)", "CHANGELOG.md", "changelog.md")
    assert moved.startswith("[s](index.md) ")
    assert problems == ["CHANGELOG.md: tests/conftest.py leads to no page of the site."]


def test_folded_blocks_and_lists_are_markdown_on_the_site_but_code_is_not_touched():
    text = "Words:\n- one\n- two\n\n<details><summary>Look</summary>\n\n```text\na:\n- [x](y.md)\n```\n\n</details>\n"
    page, problems = docs_site.page_text(text, "docs/index.md", "index.md")
    assert "Words:\n\n- one\n- two\n" in page
    assert "<details markdown><summary>Look</summary>" in page
    assert "```text\na:\n- [x](y.md)\n```" in page and problems == []


def test_a_plain_docstring_becomes_a_list_and_highlighted_code():
    text = (
        "One sentence\non two lines.\n\n"
        "width: of a token; more\n    words. depth: how many blocks.\nlow, high: bounds.\n"
        "Raises ECGError for anything else.\n\nExample:\n    import x\n\n    x.go()\n"
    )
    assert docstring_markdown(text, {"width", "depth", "low", "high"}) == (
        "One sentence\non two lines.\n\n"
        "- `width`: of a token; more\n    words.\n- `depth`: how many blocks.\n- `low`, `high`: bounds.\n\n"
        "Raises ECGError for anything else.\n\n**Example**\n\n```python\nimport x\n\nx.go()\n```"
    )


def test_every_public_name_is_documented_in_the_reference():
    problems: list[str] = []
    pages = docs_site.reference_pages(problems)
    assert problems == []
    names = set(lt.__all__) - set(docs_site.PACKAGES)
    assert names == set(docs_site.public_names(""))
    for name in names:
        anchors = [page for page, text in pages.items() if f"<a id='lt.{name}'></a>" in text]
        assert len(anchors) == 1, f"lt.{name} is described on the pages {anchors}"
        assert f"| [`lt.{name}`](" in pages["index"]


def test_names_of_the_public_face_in_readme_and_docs_exist():
    face, pages = docs_site.public_names(""), [ROOT / "README.md", ROOT / "CHANGELOG.md"]
    for page in [*pages, *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "howto").glob("*.md")]:
        for name, inner in re.findall(r"(?<!\w)lt\.(\w+)(?:\.(\w+))?", page.read_text(encoding="utf-8")):
            assert name in face or name in docs_site.PACKAGES, f"{page.name}: lt.{name}"
            if name in docs_site.PACKAGES and inner:
                assert inner in docs_site.public_names(name), f"{page.name}: lt.{name}.{inner}"


def test_a_name_without_docstring_or_source_is_a_problem():
    problems: list[str] = []
    assert docs_site.described("no_such_name", "ecg.leads", problems) == ""
    assert problems == ["no_such_name is a public name, but ecg.leads does not define it."]


def test_tables_are_those_of_the_published_results():
    page, readme = RESULTS_PAGE.read_text(encoding="utf-8"), (ROOT / "README.md").read_text(encoding="utf-8")
    assert results_tables.comparison_table() in page
    assert results_tables.claims_table() in page
    assert all(results_tables.audit_table(name) in page for name in results_tables.AUDITS)
    assert results_tables.short_table() in readme
    assert all(table in page for table in transfer_tables(results_tables.published("transfer")))
    terms = (ROOT / "docs" / "lead_weights.md").read_text(encoding="utf-8")
    for made in (results_tables.textbook_table, results_tables.territory_sentence, results_tables.additive_sentence):
        assert made() in terms
    assert results_tables.short_table().count("\n") == 6 and len(results_tables.SHORT) == 5


def test_the_picture_of_the_packages_is_of_the_order_that_is_tested():
    picture = package_picture.PICTURE.read_text(encoding="utf-8")
    assert picture == package_picture.picture(), "run `python tools/package_picture.py`"
    order = [name for stage in package_picture.order()[1:] for name in stage]
    assert set(docs_site.PACKAGES) | {"cli"} == set(order)
    positions = [picture.index(f">{name}</text>") for name in order]
    assert positions == sorted(positions)


def test_slides_are_one_file_and_each_fits_its_page(tmp_path, browser):
    text = slides.slides_page(slides.SLIDES)
    assert text.count("<section><h2>") == slides.SLIDES.read_text("utf-8").count("\n## ") == 9
    assert text.count('src="data:image/png;base64,') == 4 and not re.search(r'(src|href)="(?!data:)', text)
    (tmp_path / "slides.html").write_text(text, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto((tmp_path / "slides.html").as_uri())
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    taller = "[...document.querySelectorAll('section')].filter((one) => one.scrollHeight > one.clientHeight + 1).length"
    assert page.evaluate(taller) == 0
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(100)
    page.wait_for_function("Math.round(scrollY / innerHeight) === 2")
    page.close()


def test_notebooks_are_kept_without_results(tmp_path):
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert with_results(path) == [], path.name
    (tmp_path / "n.ipynb").write_text('{"cells": [{"id": "a", "outputs": [1]}, {"id": "b", "outputs": []}]}')
    assert with_results(tmp_path / "n.ipynb") == ["a"]


def test_checks_before_a_commit_fetch_nothing():
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    for hook in repositories[0]["hooks"]:
        assert hook["language"] == "system"
        python, script, *_ = hook["entry"].split()
        assert python == "python" and (script == "-m" or (ROOT / script).is_file())


def test_every_extra_is_documented():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = re.search(r"\| extra \|.*?\n\n", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.DOTALL)
    assert set(re.findall(r"`([a-z0-9]+)`", table.group())) == set(project["optional-dependencies"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, warnings being errors."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "tools" / "docs_site.py"), "--site-dir", str(out)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


@pytest.fixture(scope="module")
def browser(chromium) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.slow
def test_the_site_asks_no_other_machine_for_anything(site, browser):
    assert len(list(site.rglob("*.html"))) > 30
    shown = ("index", "course/20_masked_autoencoding", "reference/model", "results/measurements", "architecture")
    context = browser.new_context()
    context.set_default_timeout(120_000)  # a busy machine takes long to be idle
    asked, failed = [], []
    context.on("request", lambda request: asked.append(request.url))
    context.on("requestfailed", lambda request: failed.append(request.url))
    tab = context.new_page()
    tab.on("pageerror", lambda error: failed.append(str(error)))
    for name in shown:
        tab.goto((site / f"{name}.html").as_uri())
        tab.wait_for_load_state("networkidle")
    assert len(asked) > 20 and [url for url in asked if not url.startswith("file://")] == []
    assert failed == []
    context.close()


@pytest.mark.slow
def test_the_site_can_be_searched_from_disk(site, browser):
    tab = browser.new_page()
    tab.goto((site / "index.html").as_uri())
    tab.keyboard.press("f")
    tab.keyboard.type("edit_attention", delay=20)
    result = tab.locator(".md-search-result__item", has_text="lt.edit_attention").first
    result.wait_for()
    assert "reference/model.html" in result.locator("a").first.get_attribute("href")
    tab.close()


@pytest.mark.slow
def test_pages_show_their_examples_and_folded_results(site):
    model = (site / "reference" / "model.html").read_text(encoding="utf-8")
    assert 'id="lt.LAMAE"' in model or "id='lt.LAMAE'" in model
    assert "<code>mask</code>" in model  # a parameter is an item of a list
    course = (site / "course" / "20_masked_autoencoding.html").read_text(encoding="utf-8")
    assert "<details><summary>" in course.replace("\n", "") and "```" not in course
