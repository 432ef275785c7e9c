"""Check that notebooks are kept without results:

    python tools/check_notebooks.py notebooks/*.ipynb

In JupyterLab: Edit > Clear Outputs of All Cells, then save.
"""

import json
import sys
from pathlib import Path


def with_results(path: Path) -> list[str]:
    """The ids of the cells that keep results or the number of a run."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [str(cell.get("id")) for cell in cells if cell.get("outputs") or cell.get("execution_count")]


if __name__ == "__main__":
    kept = {name: with_results(Path(name)) for name in sys.argv[1:]}
    sys.exit("\n".join(f"{name} keeps results: cells {', '.join(ids)}" for name, ids in kept.items() if ids) or 0)
