"""Still pictures of widgets: on GitHub, in a converted notebook, in a browser without scripts."""

import base64
import io
import os
import pickle

import nbclient
import nbformat
import pytest
from nbconvert import HTMLExporter
from PIL import Image

from lab import browser_page, screenshot
from small_models import two_models

SETUP = """
import pickle
from pathlib import Path
import numpy as np
from lamae_toolkit.model.pretrained import shipped_or_own
from lamae_toolkit.evaluation.embed import embed_rows
from lamae_toolkit.evaluation.evaluate import Split
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.data.store import Store
from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper
from lamae_toolkit.widgets.embedding_map.widget import EmbeddingMap
from lamae_toolkit.widgets.icd10_board.widget import ICD10Board
from lamae_toolkit.widgets.lead_explorer.widget import LeadExplorer
from lamae_toolkit.widgets.mask_playground.widget import MaskPlayground
from lamae_toolkit.widgets.training_monitor.widget import TrainingMonitor
folder = shipped_or_own("lamae-mini-ptbxl")
store, model, probe = Store.open({store!r}), LAMAE.from_pretrained(folder), Probe.load(folder)
ecg, rows = store.recording(0), np.arange(len(store))
"""
CELLS = {
    "ECG of 11 leads": 'ECGPaper(ecg, layout="12x1", overlay=ecg, mask=np.tile([True, False], (len(ecg.leads), 20)))',
    "Error: LAMAE": "MaskPlayground(ecg)",
    "Largest lead terms": "LeadExplorer(model, [ecg], probe)",
    "AUROC": "ICD10Board(store, pickle.loads(Path({evaluations!r}).read_bytes()), n_bootstrap=50)",
    "colored by sex": "EmbeddingMap(store, rows, embed_rows(model, store, rows, progress=False))",
    "Not started": "TrainingMonitor(model, store, int(store.rows(Split().test)[0]))",
}
MOST_BYTES = 80_000


@pytest.fixture(scope="module")
def notebook(cohort, tmp_path_factory):
    """A notebook with all six widgets that was run, and saved without the state of a widget."""
    evaluations = tmp_path_factory.mktemp("stills") / "evaluations.pickle"
    evaluations.write_bytes(pickle.dumps(two_models(cohort)))
    cells = [SETUP.replace("{store!r}", repr(str(cohort.folder)))]
    cells += [cell.replace("{evaluations!r}", repr(str(evaluations))) for cell in CELLS.values()]
    run = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    nbclient.NotebookClient(run, kernel_name="python3", timeout=300, store_widget_state=False).execute(
        env=os.environ | {"LAMAE_PICTURES": "1"}
    )
    return run


@pytest.mark.slow
def test_every_widget_leaves_a_small_picture_and_a_description(notebook):
    for words, cell in zip(CELLS, notebook.cells[1:], strict=True):
        # On a busy machine the browser that draws may complain on standard error, which is a stream.
        still, widget = (output.data for output in cell.outputs if output.output_type != "stream")
        content = base64.b64decode(still["image/png"])
        assert len(content) <= MOST_BYTES, f"{cell.source}: {len(content)} bytes"
        assert Image.open(io.BytesIO(content)).width >= 800
        assert words in still["text/plain"] and len(widget["text/plain"]) < 30, "what GitHub writes for a widget"
        assert "application/vnd.jupyter.widget-view+json" in widget


@pytest.mark.slow
def test_the_pictures_are_seen_without_scripts(notebook, chromium, tmp_path):
    page_file = tmp_path / "notebook.html"
    page_file.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    with browser_page(chromium, 1200, 1000, java_script_enabled=False, offline=True) as page:
        page.goto(page_file.as_uri())
        pictures = page.locator(".jp-OutputArea img")
        assert pictures.count() == len(CELLS)
        for picture in pictures.all():
            picture.scroll_into_view_if_needed()
            assert picture.is_visible() and picture.bounding_box()["width"] >= 500
        screenshot(page, "stills.png")
