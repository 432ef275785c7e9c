"""Build the documentation site: `python start.py docs`, which writes `site/`.

The pages are those of `docs/`, some files from elsewhere in the repository, and a reference page for each package, made
from the table of its public names. They are assembled in `build/docs`, where the builder of `mkdocs.yml` finds them. A
link that leads nowhere and a public name without documentation fail the build.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]
DOCS, PAGES = ROOT / "docs", ROOT / "build" / "docs"
BUILDER = ("mkdocs", "build", "--strict", "--quiet")
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/RESULTS.md": "results/measurements.md",
    "lamae_toolkit/model/weights/*/README.md": "models/{folder}.md",
    "lamae_toolkit/experiments/results/*.json": "files/{name}",
    "lamae_toolkit/scp_icd10.csv": "files/{name}",
    "notebooks/*.ipynb": "notebooks/{name}",
    "docs/pretrain.slurm": "files/{name}",
    "docs/prepare.slurm": "files/{name}",
    "docs/jupyterhub_config.py": "files/{name}",
    "LICENSE": "files/LICENSE.txt",
    "CITATION.cff": "files/{name}",
}
"""Files outside of `docs/` that the site shows or offers: patterns, and where they are in the site."""
NOT_SHOWN = ("*.json", "*.slurm", "*.py")
PACKAGES = ("ecg", "simulate", "data", "model", "training", "evaluation", "explain", "export", "plots", "widgets")
PACKAGES += ("experiments",)
TRY_IT = "**[Try it in your browser](howto/web_page.md)**"
TRY_IT_BUTTON = "[Try it in your browser](lamae.html){ .md-button .md-button--primary }"
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"(^```.*?^```[ \t]*$)", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Assemble the pages and build the site; exits with 1 if anything is wrong. Arguments go to the builder."""
    if problems := assemble(PAGES):
        sys.exit("\n".join(problems))
    add_web_page(PAGES)
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    sys.exit(subprocess.run([sys.executable, "-m", *BUILDER, *sys.argv[1:]], cwd=ROOT, env=environment).returncode)


def assemble(out: Path) -> list[str]:
    """Write every page of the site, its links those of the site; returns what is wrong, one sentence each."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(DOCS, out, ignore=shutil.ignore_patterns(*NOT_SHOWN))
    for source, site in site_of_source().items():
        (out / site).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, out / site)
    problems: list[str] = []
    source_of_site = {site: source for source, site in site_of_source().items()}
    for page in sorted(out.rglob("*.md")):
        site = page.relative_to(out).as_posix()
        text, wrong = page_text(page.read_text(encoding="utf-8"), source_of_site.get(site, f"docs/{site}"), site)
        page.write_text(text, encoding="utf-8")
        problems += wrong
    (out / "reference").mkdir()
    for name, text in reference_pages(problems).items():
        (out / "reference" / f"{name}.md").write_text(text, encoding="utf-8")
    return problems


def add_web_page(out: Path) -> None:
    """Build the web page into the site, and let the first button open it; without Node.js its description stays."""
    words = [sys.executable, "-m", "lamae_toolkit.cli", "page", "--out", str(out / "lamae.html")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(f"The site has no web page of LAMAE: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        return
    start = out / "index.md"
    start.write_text(start.read_text(encoding="utf-8").replace(TRY_IT, TRY_IT_BUTTON), encoding="utf-8")


def page_text(markdown: str, source: str, site: str) -> tuple[str, list[str]]:
    """A page whose links are those of the site, and its links that lead nowhere.

    source, site: where the page is in the repository and in the site.
    """
    problems: list[str] = []

    def moved(link: re.Match) -> str:
        before, target, after = link.groups()
        if re.match(r"[a-z]+:", target):
            return link[0]
        wanted = os.path.normpath(os.path.join(os.path.dirname(source), target)).replace(os.sep, "/")
        place = site_of_source().get(wanted, wanted.removeprefix("docs/"))
        if not (wanted in site_of_source() or (wanted.startswith("docs/") and (ROOT / wanted).is_file())):
            problems.append(f"{source}: {target} leads to no page of the site.")
        return before + os.path.relpath(place, os.path.dirname(site) or ".").replace(os.sep, "/") + after

    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(moved, _site_markdown(part)) for part in parts[::2]]
    return "".join(parts), problems


@cache
def site_of_source() -> dict[str, str]:
    """From each file outside of `docs/` that the site has to its path in the site."""
    found = {}
    for pattern, site in ELSEWHERE.items():
        for path in sorted(ROOT.glob(pattern)):
            found[path.relative_to(ROOT).as_posix()] = site.format(name=path.name, folder=path.parent.name)
    return found


def _site_markdown(text: str) -> str:
    """What GitHub reads as Markdown without being asked: the inside of a folded block, a list right after a line."""
    text = re.sub(r"<details>\s*<summary>(.*?)</summary>", r"<details markdown><summary>\1</summary>", text)
    return re.sub(r"(?m)^(?![-*|\s>#]|\d+\.)(.+)\n(?=[-*] |1\. )", r"\1\n\n", text)


def reference_pages(problems: list[str]) -> dict[str, str]:
    """The page of each package and the overview, from the tables of public names; what lacks documentation is added
    to the problems."""
    face = public_names("")
    first = {name: described(name, module, problems) for name, module in face.items()}
    pages = {package: _package_page(package, face, problems) for package in PACKAGES}
    lines = [
        "# API reference\n",
        "`import lamae_toolkit as lt` is the public face: the names of this table, each loaded when it is first used.",
        "Further functions are in its packages, such as `lt.plots`; each package has a page.\n",
        "| name | what it is |",
        "|---|---|",
    ]
    for name, module in face.items():
        package = module.split(".")[0]
        where = f"{package}.md#lt.{name}" if package in PACKAGES else f"#lt.{name}"
        lines.append(f"| [`lt.{name}`]({where}) | {first[name].replace('|', chr(92) + '|')} |")
    rest = [_entry(f"lt.{name}", module, name) for name, module in face.items() if module.split(".")[0] not in PACKAGES]
    pages["index"] = "\n".join([*lines, "", *rest])
    return pages


def _package_page(package: str, face: dict[str, str], problems: list[str]) -> str:
    init = _init_file(package).read_text(encoding="utf-8")
    parts = [f"# lt.{package}\n\n{ast.get_docstring(ast.parse(init))}\n"]
    parts += [_entry(f"lt.{name}", module, name) for name, module in face.items() if module.split(".")[0] == package]
    prefix = "lamae_toolkit.experiments" if package == "experiments" else f"lt.{package}"
    for name, module in public_names(package).items():
        if name not in face:
            described(name, module, problems)
            parts.append(_entry(f"{prefix}.{name}", module, name))
    return "\n".join(parts)


def _entry(shown: str, module: str, name: str) -> str:
    """What mkdocstrings replaces by the documentation of a name, with an anchor by its public name."""
    path = f"{module}.{name}" if module.startswith("widgets.") else f"lamae_toolkit.{module}.{name}"
    return f"<a id='{shown}'></a>\n\n::: {path}\n    options:\n      heading: {shown}\n      toc_label: {name}\n"


@cache
def public_names(package: str) -> dict[str, str]:
    """From each name that the package exports lazily to the module that defines it; "" is the toolkit itself."""
    init = _init_file(package)
    for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy":
            table = ast.literal_eval(node.args[1])
            return {name: module for module, names in table.items() for name in names.split()}
    raise ValueError(f"{init} has no table of lazy names")


def _init_file(package: str) -> Path:
    """The `__init__.py` of a package; widgets lie at the top of the repository."""
    folder = ROOT / "widgets" if package == "widgets" else ROOT / "lamae_toolkit" / package
    return folder / "__init__.py"


@cache
def _source(top: str) -> griffe.Object | griffe.Alias:
    return griffe.load(top, search_paths=[str(ROOT)], allow_inspection=False)


def described(name: str, module: str, problems: list[str]) -> str:
    """The first sentence of what the name's docstring says; "" with a problem if it has none."""
    top = "widgets" if module.startswith("widgets.") else "lamae_toolkit"
    try:
        docstring = _source(top)[f"{module.removeprefix('widgets.')}.{name}"].docstring
    except KeyError:
        problems.append(f"{name} is a public name, but {module} does not define it.")
        return ""
    if not docstring or not docstring.value.strip():
        problems.append(f"{name} of {module} is a public name without a docstring.")
        return ""
    paragraph = " ".join(re.split(r"\n\s*\n", docstring.value.strip())[0].split())
    return re.split(r"(?<=\.) ", paragraph)[0]


if __name__ == "__main__":
    main()
