"""The board without a browser, and the frame of all widgets: description, code, export, still picture."""

import html
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import BytesIO

import matplotlib.image
import numpy as np
import plotly.graph_objects as go
import pytest
from IPython.display import DisplayHandle

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.thresholds import operating_point
from lamae_toolkit.plots.ecg import ecg_figure
from lamae_toolkit.plots.evaluation import WITH, WITHOUT, board_figure, codes_figure
from lamae_toolkit.plots.export import picture
from lamae_toolkit.widgets.base.plots import Plot
from lamae_toolkit.widgets.base.still import still
from lamae_toolkit.widgets.icd10_board.widget import PROBABILITIES, ICD10Board
from small_models import two_models


@pytest.fixture(scope="module")
def evaluations(cohort):
    return two_models(cohort)


def middle(probabilities, share=0.5) -> float:
    """The threshold on the slider that calls about this share of the ECGs."""
    return min(
        (probability for _, probability in PROBABILITIES),
        key=lambda probability: abs(probability - np.quantile(probabilities, 1 - share)),
    )


@pytest.fixture
def board(cohort, evaluations):
    return ICD10Board(cohort, evaluations, n_bootstrap=50)


def test_every_control_updates_the_board_and_its_description(board, evaluations):
    assert board.words.value.startswith("<p role='status'")
    labels, probabilities = evaluations[0].predictions.of_code(board.code_choice.value)
    board.threshold.value, board.prevalence.value = middle(probabilities), 0.02
    point = operating_point(labels, probabilities, middle(probabilities), board._weights(), 0.02)
    assert board.operating_point == point and point.in_words() in board.words.value
    assert f"{point.positive_predictive_value.value:.3f}" in board.numbers.value
    assert board._board.figure.data[1].y[0] == pytest.approx(point.sensitivity.value)
    assert board._board.figure.data[5].y is None and board.difference.value == ""
    board.baseline.value = "model 2"
    assert board._board.figure.data[5].y is not None and "Paired difference" in board.difference.value
    board.model.value = "model 2"
    assert board._board.figure.data[0].name == "model 2" and "model 2: AUROC" in board.words.value


def test_printed_code_reproduces_the_board(board, evaluations):
    _, probabilities = evaluations[0].predictions.of_code(board.code_choice.value)
    board.baseline.value, board.threshold.value, board.prevalence.value = "model 2", middle(probabilities), 0.3
    board.open_row(int(evaluations[0].predictions.rows[2]))
    scope = {"evaluations": evaluations}
    exec(board.code(), scope)
    assert scope["figure"] == board.figures()[0] and scope["point"] == board.operating_point


def test_a_click_opens_an_ecg_sets_the_threshold_or_chooses_a_code(board, evaluations, cohort):
    def click(plot, trace, point):
        plot._receive({"event": "click", "figure": "icd10-board", "trace": trace, "point": point})

    for number, label in ((WITH, 1), (WITHOUT, 0)):
        click(board._board, number, 0)
        at = evaluations[0].predictions.rows.tolist().index(board.opened)
        assert evaluations[0].predictions.of_code(board.code_choice.value)[0][at] == label
        assert f"row {board.opened}, patient {cohort.index.patient_id[board.opened]}" in board._ecg.children[0].value
    click(board._board, 0, 3)
    assert board.threshold.value == pytest.approx(board._board.figure.data[0].customdata[3], abs=0.01)
    other = next(code for code in board._overview.figure.data[0].customdata if code != board.code_choice.value)
    click(board._overview, 0, list(board._overview.figure.data[0].customdata).index(other))
    assert board.code_choice.value == other


def test_buttons_step_through_a_cell_of_the_confusion_matrix(board, evaluations):
    predictions = evaluations[0].predictions
    labels, probabilities = predictions.of_code(board.code_choice.value)
    board.threshold.value, board.group.value = middle(probabilities, 0.8), "true negatives"
    passed = np.flatnonzero((labels == 0) & (probabilities < board.threshold.value))
    assert len(passed) > 2
    seen = []
    for _ in passed:
        board.next.click()
        seen.append(board.opened)
    assert seen == predictions.rows[passed[np.argsort(probabilities[passed])]].tolist(), "the lowest probability first"
    board.previous.click()
    assert board.opened == seen[-2]
    board.group.value, board.threshold.value, before = "false positives", 0.999, board.opened
    board.next.click()
    assert "No ECG is among the false positives" in board._message.value and board.opened == before


def test_bad_evaluations_are_reported(board, cohort, evaluations):
    with pytest.raises(ECGError, match="no evaluation to show"):
        ICD10Board(cohort, [])
    with pytest.raises(ECGError, match="have the same name"):
        ICD10Board(cohort, [evaluations[0], evaluations[0]])
    predictions = evaluations[1].predictions
    elsewhere = replace(evaluations[1], predictions=replace(predictions, rows=predictions.rows + 1))
    board = ICD10Board(cohort, [evaluations[0], elsewhere], n_bootstrap=50)
    board.baseline.value = "model 2"
    assert "scored on different ECGs" in board.difference.value
    nobody = np.zeros_like(predictions.labels)
    none = replace(evaluations[0], prevalence=nobody.mean(axis=0), predictions=replace(predictions, labels=nobody))
    with pytest.raises(ECGError, match="No code is on some but not all"):
        ICD10Board(cohort, none)


def test_a_board_of_one_code_and_of_codes_that_no_ecg_has(cohort, evaluations):
    first = evaluations[0]
    labels = first.predictions.labels.copy()
    labels[:, 1:] = 0
    one = replace(first, prevalence=labels.mean(axis=0), predictions=replace(first.predictions, labels=labels))
    board = ICD10Board(cohort, one, n_bootstrap=50)
    before = board.words.value
    assert board.code_choice.value == first.probe.codes[0]
    board.code_choice.value = first.probe.codes[1]
    assert "No ECG here has this code" in board._message.value and board.words.value == before
    board.code_choice.value = first.probe.codes[0]
    assert board._message.value == ""


@pytest.mark.slow
def test_it_is_saved_as_html_png_and_svg(board, chromium, tmp_path, monkeypatch):
    page = board.save(tmp_path / "board.html").read_text()
    assert "<h1>ICD-10 board</h1>" in page
    assert "plotly.js v" in page and 'src="http' not in page and board.describe().split(":")[0] in page
    assert board.code() in html.unescape(page), "with its lines"
    assert matplotlib.image.imread(board.save(tmp_path / "board.PNG")).shape[:2] == (470, 1000)
    assert ET.parse(board.save(tmp_path / "board.svg")).getroot().tag.endswith("svg")
    with pytest.raises(ECGError, match=r"does not end in \.html, \.png or \.svg"):
        board.save(tmp_path / "board.doc")
    monkeypatch.chdir(tmp_path)
    board._save_beside_the_notebook("svg")
    board._save_beside_the_notebook("svg")
    assert (tmp_path / "icd10-board-2.svg").is_file() and "icd10-board-2.svg" in board._message.value


def test_notebook_keeps_a_picture_next_to_the_widget(board, chromium, monkeypatch):
    shown = []
    monkeypatch.setenv("LAMAE_PICTURES", "1")

    class Handle(DisplayHandle):
        def update(self, data, raw):
            shown.append(data)

    monkeypatch.setattr("lamae_toolkit.widgets.base.still.display", lambda data, **_: shown.append(data) or Handle())
    board.renew_picture()
    assert shown == [], "there is nothing to renew before it is shown"
    board._ipython_display_()
    words, widget, still = shown
    assert words == {"text/plain": still["text/plain"]}
    assert still["image/png"].startswith(b"\x89PNG") and "AUROC" in still["text/plain"]
    view = widget["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == board.model_id and widget["text/plain"] == "ICD-10 board"
    board.renew_picture()
    assert shown[3]["image/png"] == still["image/png"]


def test_a_page_has_the_figure_without_asking_python(monkeypatch):
    figure = go.Figure(go.Scatter(x=[1, 2], y=[1, 2], name="a"), {"title": {"text": "<b>One</b>"}})
    plot, other = Plot(figure, "name"), Plot(figure, "other")
    (part,) = plot.get_state()["_state"]["parts"]
    assert part["data"][0]["y"] == [1, 2] and part["words"].strip() == "One"
    plot.redraw(go.Figure(go.Bar(y=[3])))
    state = plot.get_state()["_state"]
    assert [trace["type"] for trace in state["parts"][0]["data"]] == ["bar"] and state["number"] == 2
    assert part["data"][0]["y"] == [1, 2], "what was sent before is not changed"
    assert plot._library is other._library and len(plot._library.code) > 1_000_000, "plotly is sent once"
    plot._receive({"event": "click", "figure": "name", "trace": 0, "point": 0})  # nobody listens


def test_pictures_hold_what_the_figures_hold(evaluations, cohort, chromium):
    figures = (codes_figure(evaluations[0], baseline=evaluations[1]), ecg_figure(cohort.recording(0)))
    for figure in figures:
        pixels = matplotlib.image.imread(BytesIO(picture(figure)))
        assert pixels.shape[:2] == (figure.layout.height, 1000)
        assert 0.005 < (pixels[..., :3].min(axis=2) < 0.5).mean() < 0.3, "there is ink, and more paper"
    two = [picture(go.Figure(go.Scatter(x=[0, 1], y=[0, y])), "svg") for y in (1, 2)]
    assert two[0] != two[1]
    marks = go.Figure(go.Scatter(x=[0, 1], y=[0, 1], mode="markers", marker={"color": ["#D55E00", "#0072B2"]}))
    text = picture(marks, "svg").decode()
    assert "rgb(213, 94, 0)" in text and "rgb(0, 114, 178)" in text


def test_without_chrome_a_picture_is_refused_and_a_widget_leaves_a_description(board, tmp_path, monkeypatch):
    monkeypatch.setattr("choreographer.browsers.chromium.Chromium.find_browser", lambda **_: None)
    with pytest.raises(ECGError, match="Chrome, which is not installed"):
        board.save(tmp_path / "board.png")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("LAMAE_PICTURES", "1")
    assert still(lambda: picture(go.Figure()), "an ECG") == {"text/plain": "an ECG"}


def test_no_picture_is_drawn_unless_the_environment_asks_for_it(monkeypatch):
    monkeypatch.delenv("LAMAE_PICTURES", raising=False)
    assert still(lambda: pytest.fail("a Chrome is started"), "an ECG") == {"text/plain": "an ECG"}


def test_many_ecgs_are_subsampled_and_noted(evaluations, monkeypatch):
    monkeypatch.setattr("lamae_toolkit.plots.evaluation.MOST_ECGS", 5)
    code = max(evaluations[0].probe.codes, key=dict(evaluations[0].table().prevalence).get)
    figure = board_figure(evaluations[0], code, 0.3)
    assert len(figure.data[WITHOUT].x) == 5 and "5 of each kind" in figure.layout.xaxis4.title.text
    assert json.loads(figure.to_json())["data"][WITHOUT]["type"] == "scatter"
    few = codes_figure(evaluations[0], most=2)
    assert len(few.data[0].x) == 2 and "The 2 most frequent of" in few.layout.title.text
