"""Neighbors and maps: near ECGs are neighbors, the same patient is marked, and missing data are reported."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embedding_map import map_positions, nearest, standardized, variance_shown
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.plots.embedding import map_figure
from lamae_toolkit.widgets.embedding_map.widget import EmbeddingMap, selection_table


def latents(b=60, d=6, seed=0):
    """Two groups of ECGs, far apart in half of the latents."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(b, d)).astype(np.float32)
    x[: b // 2, : d // 2] += 12
    return x


def embedded(store, rows):
    """An embedding of random latents, for the widget's sake."""
    rng = torch.Generator().manual_seed(0)
    b = len(rows)
    leads = torch.zeros(b, 12, 4)
    heart, summary = torch.randn(b, 4, generator=rng), torch.randn(b, 20, generator=rng)
    return Embedding(heart, leads, torch.zeros(b, 1, 12), leads, summary, leads[..., :0])


def test_nearest_is_by_cosine_of_standardized_features():
    x, patients = latents(), np.arange(60) // 2
    z = standardized(x)
    assert np.allclose(z.mean(axis=0), 0) and np.allclose(z.std(axis=0), 1)
    similarity = cosine_similarity(z)
    for place in (0, 17, 59):
        near = nearest(x, place, patients, count=5)
        others = np.delete(np.arange(60), place)
        best = others[np.argsort(-similarity[place, others])[:5]]
        assert near.row.tolist() == best.tolist()
        assert np.allclose(near.similarity, similarity[place, best])
        assert near.same_patient.tolist() == [patients[other] == patients[place] for other in best]
    assert nearest(x, 3, patients, count=59).same_patient.sum() == 1
    with pytest.raises(ECGError, match="60 neighbors were asked for, but there are only 59 other ECGs"):
        nearest(x, 3, patients, count=60)
    with pytest.raises(ECGError, match="no ECG 60 among these 60"):
        nearest(x, 60, patients)


@pytest.mark.parametrize("method", ["pca", "t-sne"])
def test_maps_keep_groups_apart_and_are_the_same_every_time(method):
    x = latents()
    positions = map_positions(x, method)
    assert positions.shape == (60, 2) and np.array_equal(positions, map_positions(x, method))
    group = np.arange(60) < 30
    centres = positions[group].mean(axis=0), positions[~group].mean(axis=0)
    apart = np.linalg.norm(positions[:, None] - np.stack(centres), axis=2)
    assert ((apart[:, 0] < apart[:, 1]) == group).mean() > 0.9
    with pytest.raises(ECGError, match="at least 4 ECGs, but there are 3"):
        map_positions(x[:3], method)


def test_a_pca_map_says_how_much_it_shows():
    x = latents()
    values = np.linalg.eigvalsh(np.cov(standardized(x).T))[::-1]
    assert variance_shown(x, map_positions(x)) == pytest.approx(values[:2].sum() / values.sum())
    with pytest.raises(ECGError, match="choose from pca, t-sne"):
        map_positions(x, "umap")


def test_a_selection_is_counted_against_the_rest():
    codes = [["A"], ["A", "B", "A"], [], ["B"], ["B"], ["C"]]
    table = selection_table(codes, np.array([0, 1, 2]))
    assert table.loc["A"].tolist() == [2, 0, 2 / 3, 0]
    assert table.loc["B"].tolist() == [1, 2, 1 / 3, 2 / 3]
    assert table.index[0] == "A" and set(table.index) == {"A", "B", "C"}
    assert selection_table(codes, np.array([], dtype=np.int64)).chosen.sum() == 0


def test_the_figure_shows_groups_selection_and_neighbors(cohort):
    index, x = cohort.index.iloc[:40], latents(40)
    positions = map_positions(x)
    near = nearest(x, 5, index.patient_id.to_numpy(), 39)
    figure = map_figure(positions, index, "sex", chosen=np.array([1, 2]), asked=5, neighbors=near)
    assert list(figure.data[0].selectedpoints) == [1, 2] and len(figure.data) == 7
    shown = {trace.name: len(trace.x) for trace in figure.data[4:]}
    own = int((index.patient_id == index.patient_id.iloc[5]).sum()) - 1
    assert shown == {"neighbors": 39 - own, "neighbors of the same patient": own, "asked for": 1}
    code = index.codes[index.codes.str.len() > 0].iloc[0][0]
    marks = map_figure(positions, index, code).data[0].marker
    assert [symbol == "diamond" for symbol in marks.symbol] == [code in codes for codes in index.codes]
    assert map_figure(positions, index, "age").data[0].marker.cmax == index.age_years.max()
    with pytest.raises(ECGError, match="No ECG of this cohort has Q99"):
        map_figure(positions, index, "Q99")
    with pytest.raises(ECGError, match="has an age"):
        map_figure(positions, index.assign(age_years=np.nan), "age")


def test_the_map_without_a_browser(cohort):
    rows = np.arange(50)
    shell = EmbeddingMap(cohort, rows, embedded(cohort, rows))
    shell.ask(7)
    assert "its 8 nearest neighbors are marked" in shell.words.value and "Nearest to row 7" in shell.neighbor_list.value
    shell.reads.value, shell.color.value = "summary", "age"
    code = next(code for codes in cohort.index.codes[:50] for code in codes)
    shell.select.value = code
    has = [row for row in rows if code in cohort.index.codes[row]]
    assert shell.chosen.tolist() == has and f"{len(has)} ECGs selected" in shell.list.value
    scope = {"store": cohort, "rows": rows, "embedding": shell.embedding}
    exec(shell.code(), scope)
    assert scope["figure"] == shell.figures()[0], "the printed code draws the view again"
    shell.next.click()
    assert shell.asked == has[0]
    shell.clear.click()
    assert shell.list.value == "" and shell._map.figure.data[0].selectedpoints is None
    lasso = lambda *points: shell._map._receive({"event": "select", "figure": "map", "points": list(points)})  # noqa: E731
    lasso(3, 1, 4)
    assert shell.chosen.tolist() == [1, 3, 4] and list(shell._map.figure.data[0].selectedpoints) == [1, 3, 4]
    assert shell._map._state["parts"][0]["unselect"] is False, "the outline stays"
    shell.next.click()
    assert shell.asked == 1 and shell._map._state["parts"][0]["unselect"] is False
    shell.choose([5])
    assert shell._map._state["parts"][0]["unselect"] is True, "the outline is not of what is selected now"
    lasso()
    assert len(shell.chosen) == 0, "an outline around none"
    shell._map._receive({"event": "click", "figure": "map", "trace": 0, "point": 9})
    shell._map._receive({"event": "click", "figure": "map", "trace": 4, "point": 2})
    assert shell.asked == 9, "a ring is not an ECG"


def test_too_few_ecgs_are_reported_and_the_map_stays_usable(cohort):
    rows = np.arange(5)
    shell = EmbeddingMap(cohort, rows, embedded(cohort, rows))
    shell.ask(0)
    assert "only 4 other ECGs" in shell._message.value and shell.neighbors.row.nunique() == 4
    shell.count.value = 2
    assert shell._message.value == "" and len(shell.neighbors) == 2
    for some, message in ((np.arange(3), "at least 4 ECGs"), (np.arange(0), "no ECG to map")):
        with pytest.raises(ECGError, match=message):
            EmbeddingMap(cohort, some, embedded(cohort, some))
    with pytest.raises(ECGError, match="5 rows but 4 embedded ECGs"):
        EmbeddingMap(cohort, rows, embedded(cohort, rows[:4]))
    assert isinstance(shell.figures()[0], go.Figure)
