"""The picture of the packages, `docs/packages.svg`, from the order that `tests/test_packages.py` holds:

python tools/package_picture.py
"""

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "packages.svg"
GROUND = "What everything may need: errors, files, ICD-10 codes, parallel work."
WIDTH, BOX, GAP, LINE = 760, 52, 22, 16
BORDER = 'stroke="#7986cb"'
FONT = 'font-family="system-ui, sans-serif"'


def order() -> list[list[str]]:
    """The packages, stage by stage, the ground floor first."""
    tree = ast.parse((ROOT / "tests" / "test_packages.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ORDER":
            return [sorted(stage) for stage in ast.literal_eval(node.value)]
    raise ValueError("tests/test_packages.py has no ORDER")


def described(package: str) -> str:
    """The first sentence of the package's docstring."""
    folder = ROOT / package if package == "widgets" else ROOT / "lamae_toolkit" / package
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def picture() -> str:
    """The SVG: a row for each stage, the packages of a stage next to each other, arrows between the rows."""
    parts, y = [], 10
    for number, stage in enumerate(order()):
        shown = [("ground floor", GROUND)] if number == 0 else [(name, described(name)) for name in stage]
        width = (WIDTH - 20 - GAP * (len(shown) - 1)) / len(shown)
        lines = [_wrapped(text, int(width / 7)) for _, text in shown]
        height = BOX + LINE * (max(map(len, lines)) - 1)
        if number:
            parts.append(f'<path d="M{WIDTH / 2} {y - GAP + 3}v{GAP - 8}" marker-end="url(#a)" stroke="#666"/>')
        for column, ((name, _), text) in enumerate(zip(shown, lines, strict=True)):
            x = 10 + column * (width + GAP)
            fill = "#eceff1" if number == 0 else "#e8eaf6"
            parts.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{height}" rx="6" fill="{fill}" {BORDER}/>'
            )
            middle = x + width / 2
            parts.append(_text(middle, y + 20, name, 'font-weight="700" font-size="15"'))
            parts += [_text(middle, y + 39 + LINE * row, line, 'font-size="13"') for row, line in enumerate(text)]
        y += height + GAP
    arrow = '<marker id="a" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - GAP + 10}" width="{WIDTH}" role="img">\n'
        f"<title>The packages of lamae_toolkit: each imports only from itself and from those above it</title>\n"
        f'<defs>{arrow}<path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>\n'
        f'<rect width="{WIDTH}" height="{y - GAP + 10}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.0f}" y="{y}" text-anchor="middle" fill="#1a1a2e" {FONT} {style}>{escape(text)}</text>'


def _wrapped(text: str, letters: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
