"""Check that every relative link in the Markdown of the repository leads to a file and, with #, to a heading of it:

    python tools/check_links.py

Links to the web are not followed: the check needs no network.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "benchmarks/*.md", "lamae_toolkit/model/weights/*/README.md")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def problems(root: Path = ROOT) -> list[str]:
    """One sentence for each link that leads nowhere."""
    found = []
    for pattern in PATTERNS:
        for page in sorted(root.glob(pattern)):
            for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
                if reason := _reason(page, link):
                    found.append(f"{page.relative_to(root).as_posix()}: {link} {reason}.")
    return found


def _reason(page: Path, link: str) -> str:
    """Why this link leads nowhere; "" if it leads somewhere or to the web."""
    if re.match(r"(https?|mailto):", link):
        return ""
    target, _, anchor = link.partition("#")
    path = page.parent / target if target else page
    if not path.is_file():
        return "leads to no file"
    if anchor and path.suffix == ".md" and anchor not in anchors(path.read_text(encoding="utf-8")):
        return "leads to no heading of that page"
    return ""


def anchors(markdown: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", markdown), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
