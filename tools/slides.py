"""The slides of docs/teaching/slides.md as one HTML file that opens offline and prints one slide a page:

python tools/slides.py slides.html
"""

import base64
import re
import sys
from pathlib import Path

from markdown import markdown

from lamae_toolkit.files import atomic_write

SLIDES = Path(__file__).resolve().parents[1] / "docs" / "teaching" / "slides.md"
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>LAMAE: slides</title>
<style>
@page {{ size: 297mm 167mm; margin: 0; }}
html {{ scroll-snap-type: y mandatory; font: 3.2vmin/1.4 system-ui, sans-serif; color: #222; background: #fff; }}
body {{ margin: 0; }}
section {{ box-sizing: border-box; height: 100vh; padding: 5vmin 8vmin; scroll-snap-align: start; break-after: page;
  display: flex; flex-direction: column; justify-content: center; }}
h2 {{ font-size: 1.7em; margin: 0 0 0.6em; color: #0072b2; }}
p, ul {{ margin: 0.4em 0; }}
img {{ display: block; max-width: 100%; max-height: 56vh; margin: auto; }}
</style>
{slides}
<script>
const slides = [...document.querySelectorAll("section")];
addEventListener("keydown", (event) => {{
  const on = ["ArrowRight", "ArrowDown", "PageDown", " "], back = ["ArrowLeft", "ArrowUp", "PageUp"];
  const step = on.includes(event.key) - back.includes(event.key);
  if (!step) return;
  event.preventDefault();
  const here = Math.round(scrollY / innerHeight);
  slides[Math.min(Math.max(here + step, 0), slides.length - 1)].scrollIntoView();
}});
</script>
</html>
"""


def slides_page(source: Path) -> str:
    """One section for each heading of the second level, with its pictures inside."""
    parts = re.split(r"^(?=## )", source.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]

    def inside(picture: re.Match) -> str:
        content = base64.b64encode((source.parent / picture[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{content}"'

    sections = "\n".join(f"<section>{markdown(part)}</section>" for part in parts)
    return PAGE.format(slides=re.sub(r'src="([^"]+\.png)"', inside, sections))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Give the file to write: python tools/slides.py slides.html")
    with atomic_write(Path(sys.argv[1])) as partial:
        partial.write_text(slides_page(SLIDES), encoding="utf-8")
