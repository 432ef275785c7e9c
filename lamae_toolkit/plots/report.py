"""A report that opens anywhere: one HTML file with its figures inside, nothing loaded from elsewhere."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from lamae_toolkit.files import atomic_write
from lamae_toolkit.plots._plotly import PRIVATE

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
p { max-width: 46rem; white-space: pre-line; } table { border-collapse: collapse; font-size: 0.9rem; margin: 1rem 0; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #eee; }
th:first-child, td:first-child { text-align: left; } .note { color: #555; font-size: 0.9rem; }
.wide { overflow-x: auto; }
.page { width: 100%; aspect-ratio: 1.6; border: 0; }
"""


@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, and its figures and tables."""

    heading: str
    text: str
    content: Sequence[go.Figure | pd.DataFrame | str] = ()


def write_report(path: Path | str, title: str, introduction: str, sections: Sequence[Section]) -> Path:
    """Write the sections as one self-contained HTML file; returns its path."""
    body = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(introduction)}</p>"]
    for section in sections:
        body += [f"<h2>{html.escape(section.heading)}</h2>", f"<p>{html.escape(section.text)}</p>"]
        body += [_as_html(part) for part in section.content]
    body.append('<p class="note">For research and teaching, not for diagnosis. Written by lamae_toolkit.</p>')
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>'
        f"<body>{''.join(body)}</body></html>"
    )
    with atomic_write(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return Path(path)


def _as_html(part: go.Figure | pd.DataFrame | str) -> str:
    if isinstance(part, pd.DataFrame):
        return f'<div class="wide">{part.to_html(float_format="{:.3f}".format, border=0)}</div>'
    if isinstance(part, str):
        return f'<iframe class="page" title="ECG on paper" srcdoc="{html.escape(part)}"></iframe>'
    return part.to_html(full_html=False, include_plotlyjs=False, config=PRIVATE)
